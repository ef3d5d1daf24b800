"""What the thesis claims, as data: which runs are compared in what, and what is expected of the difference.

Written down before the runs, but for what looks into a refutation and has no say (`_asked_later`);
`mtvae_jax.study.verdicts` holds the one rule that is applied to all of it. Words became intervals once and for all:
"improves" and "lower" are any change for the better, "slightly" is up to 10 %, "substantially" at least 10 %, "similar"
within a margin that `METRICS` states. Reconstruction is an error: better is lower.
"""

import dataclasses
import math

HIGHEST = "highest"  # as the value of a factor: the highest one that the study has


@dataclasses.dataclass(frozen=True)
class Model:
    """**Attributes:** `label`: in a sentence; `factors`: fields of `Factors` that differ from the method's defaults,
    without dataset, seed and fold."""

    label: str
    factors: dict


@dataclasses.dataclass(frozen=True)
class Expected:
    """**Attributes:** `low`, `high`: of the mean effect, both exclusive, either may be infinite; `words`."""

    low: float
    high: float
    words: str


@dataclasses.dataclass(frozen=True)
class Part:
    """One comparison of model `a` with model `b`, on pairs that share dataset, seed and fold.

    **Attributes:** `name`: in a table; `metric`: a column of the tidy table, a key of `METRICS`; `quote`: the words
    of the thesis that `expected` stands for, "" where it is this project that expects; `metric_b`: of `b`, where it is
    another one; `unit`: "%": of `b`'s figure; else that of the difference itself; `along`: a factor. With `b`, both
    are swept along it and compared by their rate–distortion curves; without, the effect is the fitted change of `a`
    from the lowest to the highest value of the factor. `folds`: compared over folds and seeds, not over seeds;
    `exploratory`: reported, without a say in the claim's verdict; `headline`: measured in every cell of the claim's
    map.
    """

    name: str
    a: Model
    b: Model | None
    metric: str
    expected: Expected
    quote: str
    _: dataclasses.KW_ONLY
    metric_b: str | None = None
    unit: str = "%"
    along: str | None = None
    folds: bool = False
    exploratory: bool = False
    headline: bool = False


@dataclasses.dataclass(frozen=True)
class Claim:
    """**Attributes:** `id`; `section`: of the thesis; `sentence`; `parts`: those that count before the exploratory."""

    id: str
    section: str
    sentence: str
    parts: tuple


RECONSTRUCTION, CONDITIONED = "test/reconstruction", "test/reconstruction_conditioned"
KL, VQ, PERPLEXITY, QUANTISATION = "test/kl", "test/vq", "test/perplexity", "test/quantisation_error"


@dataclasses.dataclass(frozen=True)
class Metric:
    """**Attributes:** `words`; `margin`: what differs by less is similar, in the unit of its comparisons."""

    words: str
    margin: float


METRICS = {
    RECONSTRUCTION: Metric("reconstruction error from z", 2.0),
    CONDITIONED: Metric("reconstruction error from z and m", 2.0),
    KL: Metric("KL divergence", 5.0),
    VQ: Metric("VQ objective", 5.0),
    "conditioned_gap": Metric("gain in reconstruction by m", 2.0),
    "fluctuation": Metric("fluctuation of the validation loss", 10.0),
    "test/active_units": Metric("number of active latent dimensions", 0.5),
    "kl_per_unit": Metric("KL divergence per latent dimension", 5.0),
    PERPLEXITY: Metric("perplexity of its codes", 5.0),
    "generalisation_gap": Metric("rise of the reconstruction error from z from training to validation images", 1.0),
    "generation/frechet_distance": Metric("Fréchet distance of samples from the prior to test images", 5.0),
    "generation/precision": Metric("precision of samples from the prior", 2.0),
    "generation/recall": Metric("recall of samples from the prior", 2.0),
    QUANTISATION: Metric("quantisation error as a share of the variance of the encoder's outputs", 5.0),
}

LOWER, HIGHER = Expected(-math.inf, 0.0, "lower"), Expected(0.0, math.inf, "higher")
SLIGHTLY_LOWER = Expected(-10.0, 0.0, "slightly lower (by 0 to 10 %)")
SLIGHTLY_HIGHER = Expected(0.0, 10.0, "slightly higher (by 0 to 10 %)")
SUBSTANTIALLY_LOWER = Expected(-math.inf, -10.0, "substantially lower (by at least 10 %)")
SIMILAR, SIMILAR_LATENT = Expected(-2.0, 2.0, "similar (within ± 2 %)"), Expected(-5.0, 5.0, "similar (within ± 5 %)")

_GAUSSIAN_MULTI = {"latent": "gaussian", "method": "multi_decoder"}
_GAUSSIAN_SINGLE = {"latent": "gaussian", "method": "single_decoder"}
_VQ_MULTI = {"latent": "vq", "method": "multi_decoder"}
_VQ_SINGLE = {"latent": "vq", "method": "single_decoder"}
_VQ_SINGLE_GAUSSIAN = {**_VQ_SINGLE, "sampling": "gaussian"}
_DEEP = {"latent": "gaussian", "method": "plain", "depth": HIGHEST}

GAUSSIAN = Model("the plain Gaussian VAE", {"latent": "gaussian", "method": "plain"})
GAUSSIAN_4 = Model("the plain Gaussian VAE of 4 layers", {**GAUSSIAN.factors, "depth": 4})
DEEPEST = Model("the deepest plain Gaussian VAE", _DEEP)
DEEPEST_WARM = Model("the deepest plain Gaussian VAE with a KL warm-up", {**_DEEP, "kl_warmup": HIGHEST})
MULTI = Model("the Gaussian multi-decoder", _GAUSSIAN_MULTI)
MULTI_EXACT = Model("the Gaussian multi-decoder with exact sampling", _GAUSSIAN_MULTI)
MULTI_UNIFORM = Model("the Gaussian multi-decoder with uniform sampling", {**_GAUSSIAN_MULTI, "sampling": "uniform"})
MULTI_COEFFICIENTS = Model("the Gaussian multi-decoder with half the weight on the conditioned decoder",
                           {**_GAUSSIAN_MULTI, "balancing": "coefficients"})
MULTI_HALVES = Model("the Gaussian multi-decoder with half the weight on each decoder",
                     {**_GAUSSIAN_MULTI, "balancing": "halves"})
MULTI_SOFTADAPT = Model("the Gaussian multi-decoder with SoftAdapt", {**_GAUSSIAN_MULTI, "balancing": "softadapt"})
MULTI_NORMALIZED = Model("the Gaussian multi-decoder with normalized SoftAdapt",
                         {**_GAUSSIAN_MULTI, "balancing": "softadapt_normalized"})
MULTI_WEIGHTED = Model("the Gaussian multi-decoder with loss-weighted SoftAdapt",
                       {**_GAUSSIAN_MULTI, "balancing": "softadapt_loss_weighted"})
SINGLE = Model("the Gaussian single decoder", _GAUSSIAN_SINGLE)
SINGLE_UNIFORM = Model("the Gaussian single decoder with uniform sampling", _GAUSSIAN_SINGLE)
SINGLE_20 = Model("the Gaussian single decoder at exponent 20", _GAUSSIAN_SINGLE)
SINGLE_60 = Model("the Gaussian single decoder at exponent 60", {**_GAUSSIAN_SINGLE, "exponent": 60.0})
SINGLE_GAUSSIAN = Model("the Gaussian single decoder with gaussian sampling",
                        {**_GAUSSIAN_SINGLE, "sampling": "gaussian"})
SINGLE_DISTINCT = Model("the Gaussian single decoder with gaussian sampling of distinct pixels",
                        {**_GAUSSIAN_SINGLE, "sampling": "gaussian", "replacement": False})
VQ_PLAIN = Model("the plain VQ-VAE", {"latent": "vq", "method": "plain"})
VQ_MULTI = Model("the VQ multi-decoder", _VQ_MULTI)
VQ_MULTI_EXACT = Model("the VQ multi-decoder with exact sampling", _VQ_MULTI)
VQ_FIXED = Model("the VQ multi-decoder with fixed weights", _VQ_MULTI)
VQ_MULTI_UNIFORM = Model("the VQ multi-decoder with uniform sampling", {**_VQ_MULTI, "sampling": "uniform"})
VQ_HALVES = Model("the VQ multi-decoder with half the weight on each decoder", {**_VQ_MULTI, "balancing": "halves"})
VQ_SOFTADAPT = Model("the VQ multi-decoder with SoftAdapt", {**_VQ_MULTI, "balancing": "softadapt"})
VQ_NORMALIZED = Model("the VQ multi-decoder with normalized SoftAdapt",
                      {**_VQ_MULTI, "balancing": "softadapt_normalized"})
VQ_WEIGHTED = Model("the VQ multi-decoder with loss-weighted SoftAdapt",
                    {**_VQ_MULTI, "balancing": "softadapt_loss_weighted"})
VQ_SINGLE = Model("the VQ single decoder", _VQ_SINGLE)
VQ_SINGLE_20 = Model("the VQ single decoder at exponent 20", _VQ_SINGLE)
VQ_SINGLE_60 = Model("the VQ single decoder at exponent 60", {**_VQ_SINGLE, "exponent": 60.0})
VQ_SINGLE_GAUSSIAN_20 = Model("the VQ single decoder with gaussian sampling at exponent 20", _VQ_SINGLE_GAUSSIAN)
VQ_SINGLE_GAUSSIAN_60 = Model("the VQ single decoder with gaussian sampling at exponent 60",
                              {**_VQ_SINGLE_GAUSSIAN, "exponent": 60.0})


def _asked_later(name, a, b, metric, expected, **fields):
    """What looks into a refutation: added once there was one, and so without a say."""
    return Part(name, a, b, metric, expected, "", exploratory=True, **fields)


CLAIMS = (
    Claim("C1", "4.1.1", "A second, conditioned decoder improves what a Gaussian VAE reconstructs from z alone; its KL "
          "divergence rises slightly.", (
        Part("reconstruction from z", MULTI, GAUSSIAN, RECONSTRUCTION, LOWER,
             "improve the quality of non-conditioned decoder reconstruction", headline=True),
        Part("KL divergence", MULTI, GAUSSIAN, KL, SLIGHTLY_HIGHER, "a slight increase in the KL divergence loss",
             headline=True),
        _asked_later("each decoder at half weight, reconstruction from z", MULTI_HALVES, GAUSSIAN, RECONSTRUCTION,
                     LOWER),
        _asked_later("each decoder at half weight, KL divergence", MULTI_HALVES, GAUSSIAN, KL, SLIGHTLY_HIGHER),
    )),
    Claim("C2", "4.1.1, 4.1.2", "The conditioned decoder reconstructs better than the other one; on Gaussian VAEs the "
          "gain is larger than on VQ-VAEs.", (
        Part("Gaussian, conditioned against not", MULTI, MULTI, CONDITIONED, LOWER,
             "the reconstruction loss of the conditioned decoder was improved", metric_b=RECONSTRUCTION, headline=True),
        Part("VQ, conditioned against not", VQ_MULTI, VQ_MULTI, CONDITIONED, LOWER,
             "with a higher quality compared to the non-conditioned decoder", metric_b=RECONSTRUCTION, headline=True),
        Part("gain by m, Gaussian against VQ", MULTI, VQ_MULTI, "conditioned_gap", HIGHER,
             "the difference observed was not as significant as in the Gaussian VAEs", unit="percentage points",
             headline=True),
    )),
    Claim("C3", "4.1.1, 4.1.2", "Exact and uniform sampling give similar results; on VQ-VAEs uniform is slightly "
          "better.", (
        Part("Gaussian, reconstruction from z", MULTI_UNIFORM, MULTI_EXACT, RECONSTRUCTION, SIMILAR,
             "similar results for both exact sampling and uniform sampling", headline=True),
        Part("Gaussian, KL divergence", MULTI_UNIFORM, MULTI_EXACT, KL, SIMILAR_LATENT,
             "similar results for both exact sampling and uniform sampling", headline=True),
        Part("VQ, reconstruction from z is similar", VQ_MULTI_UNIFORM, VQ_MULTI_EXACT, RECONSTRUCTION, SIMILAR,
             "very little difference between the two", headline=True),
        Part("VQ, reconstruction from z is better", VQ_MULTI_UNIFORM, VQ_MULTI_EXACT, RECONSTRUCTION, SLIGHTLY_LOWER,
             "the Uniform sampling showed slightly better results"),
        Part("VQ objective", VQ_MULTI_UNIFORM, VQ_MULTI_EXACT, VQ, SIMILAR_LATENT,
             "very little difference between the two"),
        Part("Gaussian, reconstruction from z and m", MULTI_UNIFORM, MULTI_EXACT, CONDITIONED, SIMILAR,
             "similar results for both exact sampling and uniform sampling", exploratory=True),
        Part("VQ, reconstruction from z and m", VQ_MULTI_UNIFORM, VQ_MULTI_EXACT, CONDITIONED, SIMILAR,
             "very little difference between the two", exploratory=True),
    )),
    Claim("C4", "4.1.1, 4.1.2", "Loss balancing leaves what a second decoder does to Gaussian VAEs; on VQ-VAEs "
          "SoftAdapt changes the results little, but the loss fluctuates less.", (
        Part("coefficients, reconstruction from z", MULTI_COEFFICIENTS, GAUSSIAN, RECONSTRUCTION, LOWER,
             "the quality of the reconstruction was improved"),
        Part("coefficients, KL divergence", MULTI_COEFFICIENTS, GAUSSIAN, KL, SLIGHTLY_HIGHER,
             "at the expense of a slightly higher KL divergence loss"),
        Part("SoftAdapt, reconstruction from z", MULTI_SOFTADAPT, GAUSSIAN, RECONSTRUCTION, LOWER,
             "the quality of the reconstruction was improved"),
        Part("SoftAdapt, KL divergence", MULTI_SOFTADAPT, GAUSSIAN, KL, SLIGHTLY_HIGHER,
             "at the expense of a slightly higher KL divergence loss"),
        Part("VQ, SoftAdapt against none, reconstruction from z", VQ_SOFTADAPT, VQ_FIXED, RECONSTRUCTION, SIMILAR,
             "little to no difference between the two"),
        Part("VQ, SoftAdapt against none, VQ objective", VQ_SOFTADAPT, VQ_FIXED, VQ, SIMILAR_LATENT,
             "little to no difference between the two"),
        Part("VQ, SoftAdapt against none, fluctuation", VQ_SOFTADAPT, VQ_FIXED, "fluctuation", LOWER,
             "fewer fluctuations in the loss"),
        Part("normalized SoftAdapt, reconstruction from z", MULTI_NORMALIZED, GAUSSIAN, RECONSTRUCTION, LOWER,
             "a range of loss-balancing techniques", exploratory=True),
        Part("normalized SoftAdapt, KL divergence", MULTI_NORMALIZED, GAUSSIAN, KL, SLIGHTLY_HIGHER,
             "a range of loss-balancing techniques", exploratory=True),
        Part("loss-weighted SoftAdapt, reconstruction from z", MULTI_WEIGHTED, GAUSSIAN, RECONSTRUCTION, LOWER,
             "a range of loss-balancing techniques", exploratory=True),
        Part("loss-weighted SoftAdapt, KL divergence", MULTI_WEIGHTED, GAUSSIAN, KL, SLIGHTLY_HIGHER,
             "a range of loss-balancing techniques", exploratory=True),
        Part("VQ, normalized SoftAdapt against none, fluctuation", VQ_NORMALIZED, VQ_FIXED, "fluctuation", LOWER,
             "fewer fluctuations in the loss", exploratory=True),
        Part("VQ, loss-weighted SoftAdapt against none, fluctuation", VQ_WEIGHTED, VQ_FIXED, "fluctuation", LOWER,
             "fewer fluctuations in the loss", exploratory=True),
    )),
    Claim("C5", "4.1.2", "A second, conditioned decoder improves both the reconstruction and the VQ objective of a "
          "VQ-VAE, with either sampling.", (
        Part("exact, reconstruction from z", VQ_MULTI, VQ_PLAIN, RECONSTRUCTION, LOWER,
             "both the quality of the reconstruction and the VQ objective loss improved", headline=True),
        Part("exact, VQ objective", VQ_MULTI, VQ_PLAIN, VQ, LOWER,
             "both the quality of the reconstruction and the VQ objective loss improved", headline=True),
        Part("uniform, reconstruction from z", VQ_MULTI_UNIFORM, VQ_PLAIN, RECONSTRUCTION, LOWER,
             "for both Exact Same Sampling and Uniform Sampling"),
        Part("uniform, VQ objective", VQ_MULTI_UNIFORM, VQ_PLAIN, VQ, LOWER,
             "for both Exact Same Sampling and Uniform Sampling"),
        _asked_later("exact, each decoder at half weight, reconstruction from z", VQ_HALVES, VQ_PLAIN, RECONSTRUCTION,
                     LOWER),
        _asked_later("exact, each decoder at half weight, VQ objective", VQ_HALVES, VQ_PLAIN, VQ, LOWER),
        _asked_later("exact, quantisation error", VQ_MULTI, VQ_PLAIN, QUANTISATION, LOWER, headline=True),
        _asked_later("uniform, quantisation error", VQ_MULTI_UNIFORM, VQ_PLAIN, QUANTISATION, LOWER),
    )),
    Claim("C6", "4.2.1", "One decoder for both tasks lowers the KL divergence of a Gaussian VAE substantially; what it "
          "reconstructs from z alone is slightly worse.", (
        Part("uniform, KL divergence", SINGLE, GAUSSIAN, KL, SUBSTANTIALLY_LOWER,
             "can substantially reduce the KL divergence loss", headline=True),
        Part("uniform, reconstruction from z", SINGLE, GAUSSIAN, RECONSTRUCTION, SLIGHTLY_HIGHER,
             "a slightly lower quality of the reconstruction", headline=True),
        # That the fall is substantial is said of the approach; of both samplings only that there is one
        Part("gaussian, KL divergence", SINGLE_GAUSSIAN, GAUSSIAN, KL, LOWER,
             "reduced the KL divergence loss of the latent space for both of the sampling methods"),
        Part("gaussian, reconstruction from z", SINGLE_GAUSSIAN, GAUSSIAN, RECONSTRUCTION, SLIGHTLY_HIGHER,
             "for both Uniform and Gaussian sampling … a slightly lower quality of the reconstruction"),
    )),
    Claim("C7", "4.2.1", "With one decoder for both tasks, uniform sampling lowers the KL divergence of a Gaussian VAE "
          "more than gaussian sampling.", (
        Part("KL divergence, uniform against gaussian", SINGLE_UNIFORM, SINGLE_GAUSSIAN, KL, LOWER,
             "was reduced more compared to Gaussian sampling"),
        Part("KL divergence, gaussian sampling of distinct pixels against repeated ones", SINGLE_DISTINCT,
             SINGLE_GAUSSIAN, KL, LOWER, "a higher probability of sampling the same pixel multiple times",
             exploratory=True),
    )),
    Claim("C8", "4.2.1", "With one decoder for both tasks, a higher exponent gives a Gaussian VAE better "
          "reconstruction from z alone and a higher KL divergence.", (
        Part("reconstruction from z, exponent 60 against 20", SINGLE_60, SINGLE_20, RECONSTRUCTION, LOWER,
             "the more the model was able to reduce the reconstruction loss", headline=True),
        Part("KL divergence, exponent 60 against 20", SINGLE_60, SINGLE_20, KL, HIGHER,
             "the KL divergence loss of the latent space increased with higher exponent values", headline=True),
        Part("reconstruction from z, trend over exponents", SINGLE, None, RECONSTRUCTION, LOWER,
             "the more the model was able to reduce the reconstruction loss", along="exponent", exploratory=True),
        Part("KL divergence, trend over exponents", SINGLE, None, KL, HIGHER,
             "the KL divergence loss of the latent space increased with higher exponent values", along="exponent",
             exploratory=True),
    )),
    # "With a high enough exponent value": 60 is the highest of the thesis
    Claim("C9", "4.2.2", "With a high enough exponent, one decoder for both tasks lowers the VQ objective of a VQ-VAE "
          "substantially and improves its reconstruction from z alone; more so with a higher exponent, and slightly "
          "more with gaussian than with uniform sampling.", (
        Part("uniform, exponent 60, VQ objective", VQ_SINGLE_60, VQ_PLAIN, VQ, SUBSTANTIALLY_LOWER,
             "substantially reduce the VQ objective loss", headline=True),
        Part("uniform, exponent 60, reconstruction from z", VQ_SINGLE_60, VQ_PLAIN, RECONSTRUCTION, LOWER,
             "improve the quality of the reconstruction when no conditioning information is given", headline=True),
        Part("gaussian, exponent 60, VQ objective", VQ_SINGLE_GAUSSIAN_60, VQ_PLAIN, VQ, SUBSTANTIALLY_LOWER,
             "for both Uniform and Gaussian sampling with a high enough exponent value"),
        Part("gaussian, exponent 60, reconstruction from z", VQ_SINGLE_GAUSSIAN_60, VQ_PLAIN, RECONSTRUCTION, LOWER,
             "for both Uniform and Gaussian sampling with a high enough exponent value"),
        Part("reconstruction from z, exponent 60 against 20", VQ_SINGLE_60, VQ_SINGLE_20, RECONSTRUCTION, LOWER,
             "the higher the exponent value the better the reconstruction"),
        Part("reconstruction from z, gaussian against uniform, exponent 60", VQ_SINGLE_GAUSSIAN_60, VQ_SINGLE_60,
             RECONSTRUCTION, SLIGHTLY_LOWER, "Gaussian sampling performed slightly better than Uniform sampling"),
        Part("reconstruction from z, gaussian against uniform, exponent 20", VQ_SINGLE_GAUSSIAN_20, VQ_SINGLE_20,
             RECONSTRUCTION, SLIGHTLY_LOWER, "Gaussian sampling performed slightly better than Uniform sampling",
             exploratory=True),
        Part("uniform, exponent 20, VQ objective", VQ_SINGLE_20, VQ_PLAIN, VQ, SUBSTANTIALLY_LOWER,
             "substantially reduce the VQ objective loss", exploratory=True),
        Part("uniform, exponent 20, reconstruction from z", VQ_SINGLE_20, VQ_PLAIN, RECONSTRUCTION, LOWER,
             "improve the quality of the reconstruction when no conditioning information is given", exploratory=True),
        Part("reconstruction from z, trend over exponents", VQ_SINGLE, None, RECONSTRUCTION, LOWER,
             "the higher the exponent value the better the reconstruction", along="exponent", exploratory=True),
        _asked_later("uniform, exponent 60, perplexity", VQ_SINGLE_60, VQ_PLAIN, PERPLEXITY, SIMILAR_LATENT),
        _asked_later("gaussian, exponent 60, perplexity", VQ_SINGLE_GAUSSIAN_60, VQ_PLAIN, PERPLEXITY, SIMILAR_LATENT),
        _asked_later("uniform, exponent 60, quantisation error", VQ_SINGLE_60, VQ_PLAIN, QUANTISATION,
                     SUBSTANTIALLY_LOWER),
    )),
    Claim("C10", "4.1.1", "In deeper Gaussian VAEs the posterior collapses.", (
        Part("active dimensions, deepest against 4 layers", DEEPEST, GAUSSIAN_4, "test/active_units", LOWER,
             "the posterior collapse was more likely to happen", unit="dimensions", headline=True),
        Part("KL divergence per dimension, deepest against 4 layers", DEEPEST, GAUSSIAN_4, "kl_per_unit", LOWER,
             "the posterior collapse was more likely to happen", headline=True),
        Part("KL divergence per dimension, trend over depths", GAUSSIAN, None, "kl_per_unit", LOWER,
             "the posterior collapse was more likely to happen", along="depth", exploratory=True),
        Part("active dimensions, deepest with a KL warm-up against without", DEEPEST_WARM, DEEPEST,
             "test/active_units", HIGHER, "", unit="dimensions", exploratory=True),
        Part("KL divergence per dimension, deepest with a KL warm-up against without", DEEPEST_WARM, DEEPEST,
             "kl_per_unit", HIGHER, "", exploratory=True),
    )),
    Claim("C11", "5.1.1", "At equal KL divergence a Gaussian VAE with a second decoder still reconstructs better: it "
          "is more than a smaller β.", (
        Part("multi-decoder against plain, at equal KL", MULTI, GAUSSIAN, RECONSTRUCTION, LOWER, "",
             along="beta"),
        Part("single decoder against plain, at equal KL", SINGLE, GAUSSIAN, RECONSTRUCTION, LOWER, "",
             along="beta", exploratory=True),
    )),
    Claim("C12", "4.3", "What C1, C5, C6 and C9 say of both methods holds in cross-validation.", (
        Part("C1, reconstruction from z", MULTI, GAUSSIAN, RECONSTRUCTION, LOWER, "", folds=True),
        Part("C1, KL divergence", MULTI, GAUSSIAN, KL, SLIGHTLY_HIGHER, "", folds=True),
        Part("C5, reconstruction from z", VQ_MULTI, VQ_PLAIN, RECONSTRUCTION, LOWER, "", folds=True),
        Part("C5, VQ objective", VQ_MULTI, VQ_PLAIN, VQ, LOWER, "", folds=True),
        Part("C6, KL divergence", SINGLE, GAUSSIAN, KL, SUBSTANTIALLY_LOWER, "", folds=True),
        Part("C6, reconstruction from z", SINGLE, GAUSSIAN, RECONSTRUCTION, SLIGHTLY_HIGHER, "", folds=True),
        Part("C9, VQ objective", VQ_SINGLE_60, VQ_PLAIN, VQ, SUBSTANTIALLY_LOWER, "", folds=True),
        Part("C9, reconstruction from z", VQ_SINGLE_60, VQ_PLAIN, RECONSTRUCTION, LOWER, "", folds=True),
    )),
    Claim("C13", "5.2.1", "The lower KL divergence of one decoder for both tasks makes samples from N(0, I) more "
          "accurate than those of a plain Gaussian VAE.", (
        Part("Fréchet distance", SINGLE, GAUSSIAN, "generation/frechet_distance", LOWER,
             "it is possible to generate more accurate samples from the latent space", headline=True),
        Part("precision", SINGLE, GAUSSIAN, "generation/precision", HIGHER,
             "it is possible to generate more accurate samples from the latent space", headline=True),
        Part("recall", SINGLE, GAUSSIAN, "generation/recall", HIGHER, "", exploratory=True, headline=True),
    )),
    Claim("C14", "5.1.1, 5.1.2", "Learning both tasks improves generalisation: from training to validation images the "
          "reconstruction error from z rises less.", (
        Part("Gaussian multi-decoder", MULTI, GAUSSIAN, "generalisation_gap", LOWER, "", unit="percentage points",
             headline=True),
        Part("Gaussian single decoder", SINGLE, GAUSSIAN, "generalisation_gap", LOWER, "", unit="percentage points",
             headline=True),
        Part("VQ multi-decoder", VQ_MULTI, VQ_PLAIN, "generalisation_gap", LOWER, "", unit="percentage points"),
        Part("VQ single decoder, exponent 60", VQ_SINGLE_60, VQ_PLAIN, "generalisation_gap", LOWER, "",
             unit="percentage points"),
    )),
)

AXES = {
    "exponent": (20.0, 30.0, 40.0, 50.0, 60.0),
    "beta": (None, 8e-5, 2.5e-4, 8e-4, 2.5e-3),  # None: the default
    "depth": (2, 4, 6, 8),
    "kl_warmup": (0.0, 10.0),
}


def runs_needed(parts, axes=AXES):
    """Returns the runs that parts of claims compare, each once, as fields of `Factors` without dataset, seed, fold and
    cell.

    **Arguments:** `parts`; `axes`: the values of each factor that is swept.
    """
    needed = []
    for part in parts:
        for model in (part.a, part.b):
            if model is not None:
                needed += [run for run in along(model.factors, part.along, axes) if run not in needed]
    return needed


def along(factors, axis, axes):
    """Returns the factors of a model, once for each value of `axis`, or once alone if that is None; `HIGHEST` becomes
    what it stands for in `axes`. None at all where `axes` lacks what it takes.
    """
    factors = dict(factors)
    for name in [name for name, value in factors.items() if value == HIGHEST]:
        if not axes.get(name):
            return []
        factors[name] = max(axes[name])
    return [factors] if axis is None else [{**factors, axis: value} for value in axes.get(axis, ())]


def sides(part, cell, axes):
    """Returns the runs of both models of a part in a cell, or of the one that it has: a list of lists, see `along`."""
    return [along(cell.fields(model.factors), part.along, axes) for model in (part.a, part.b) if model is not None]
