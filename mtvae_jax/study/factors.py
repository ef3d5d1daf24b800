"""What varies between the runs of a study, and the config of the run that a set of factors stands for."""

import dataclasses

from mtvae_jax.conditioning import COUNTS
from mtvae_jax.config import check, thesis_config
from mtvae_jax.errors import UserError, number_of
from mtvae_jax.methods import METHODS
from mtvae_jax.models.latents import LATENTS

# Name → fields of config.loss: the loss-balancing techniques of thesis 4.1.1.
BALANCING = {
    "fixed": {},
    "coefficients": {"weights": (1.0, 0.5)},  # of a multi-decoder's two reconstructions
    "halves": {"weights": (0.5, 0.5)},  # as much reconstruction against the latent's term as with one decoder
    "softadapt": {"balancing": "softadapt", "softadapt_variant": "original"},
    "softadapt_normalized": {"balancing": "softadapt", "softadapt_variant": "normalized"},
    "softadapt_loss_weighted": {"balancing": "softadapt", "softadapt_variant": "loss_weighted"},
}
ALL_IMAGES = 0
_THESIS_DEPTH = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Factors:
    """One run, said by what makes it differ from others; every field has the thesis' own value as its default.

    **Attributes:** `sampling`, `exponent`: None where the method has none, and filled in where it has; `beta`: weight
    of the KL divergence or the commitment term, None: the default, σ² = 0.01 or 0.25; `balancing`: a key of
    `BALANCING`; `depth`: hidden layers of a Gaussian model, None: as many as its images ask for; `latent_dim`, `merge`,
    `head`: of the model's config, None: the default, and `merge` where there is nothing to merge; `kl_warmup`: epochs;
    `narrower`: the thesis' channels are divided by it, `images`: for training at most, `ALL_IMAGES` for all, None: both
    as the protocol has them; `fold`: None outside of a cross-validation.
    """

    dataset: str
    latent: str
    method: str
    sampling: str | None = None
    replacement: bool = True
    exponent: float | None = None
    beta: float | None = None
    balancing: str = "fixed"
    depth: int | None = None
    latent_dim: int | None = None
    merge: str | None = None
    head: str | None = None
    kl_warmup: float = 0.0
    narrower: int | None = None
    images: int | None = None
    seed: int = 0
    fold: int | None = None

    def __post_init__(self):
        counts = METHODS[self.method].counts
        if counts is not None and self.sampling is None:
            object.__setattr__(self, "sampling", "exact" if COUNTS[counts].constant else "uniform")
        if counts is not None and not COUNTS[counts].constant and self.exponent is None:
            object.__setattr__(self, "exponent", 20.0)
        if not METHODS[self.method].conditional_decoder:
            object.__setattr__(self, "merge", None)

    def __str__(self):
        """As a person would say it: "gauss_single, gaussian sampling, exponent 60, seed 1"."""
        method = METHODS[self.method]
        parts = [f"{LATENTS[self.latent].short}_{self.method.split('_')[0]}"]
        if method.conditional_decoder:
            parts.append(f"{self.sampling} sampling{'' if self.replacement else ' without replacement'}")
        if self.exponent is not None:
            parts.append(f"exponent {self.exponent:g}")
        for field, text in _SAID_WHERE_UNUSUAL.items():
            if getattr(self, field) != Factors.__dataclass_fields__[field].default:
                parts.append(text(getattr(self, field)))
        return ", ".join([*parts, f"seed {self.seed}"])


_SAID_WHERE_UNUSUAL = {
    "beta": "β = {:g}".format,
    "balancing": "{}".format,
    "depth": lambda layers: number_of(layers, "layer"),
    "latent_dim": "latent of {}".format,
    "merge": "{} merge".format,
    "head": "{} head".format,
    "kl_warmup": lambda epochs: f"KL warm-up of {number_of(epochs, 'epoch')}",
    "narrower": "1/{} of the channels".format,
    "images": lambda images: "all images" if images == ALL_IMAGES else number_of(images, "image"),
    "fold": "fold {}".format,
}


def config_of(factors, protocol):
    """Returns the config of a run, ready for `mtvae_jax.cli.prepare.prepare`.

    There is no second stage: no claim is about it, and its training would take as long as the first.

    **Arguments:** `factors`: `Factors`; `protocol`: `mtvae_jax.study.protocols.Protocol`.
    **Raises:** `UserError` for factors that contradict each other.
    """
    config = thesis_config(factors.dataset, latent=factors.latent, method=factors.method)
    config.seed = factors.seed
    config.data.substitute = False  # a study never answers for other data than its name says
    config.data.dir = protocol.data_dir
    config.data.max_train = protocol.max_train if factors.images is None else factors.images or None
    config.data.fold = factors.fold
    config.data.num_folds = None if factors.fold is None else protocol.folds
    _set_model(config.model, factors, factors.narrower or protocol.narrower)
    if METHODS[factors.method].conditional_decoder:
        config.conditioning.sampling = factors.sampling
        config.conditioning.replacement = factors.replacement
    if factors.exponent is not None:
        config.conditioning.exponent = factors.exponent
    if factors.beta is not None:
        config.loss.beta = factors.beta
    config.loss.kl_warmup_epochs = factors.kl_warmup
    for field, value in BALANCING[factors.balancing].items():
        config.loss[field] = value
    config.train.epochs = protocol.epochs
    config.train.figures_every = 0
    config.prior.epochs = 0
    # Claims are about images from a prior that needs no training; each fold would take a classifier of its own
    judged = LATENTS[factors.latent].knows_prior and METHODS[factors.method].unconditioned and factors.fold is None
    config.generation.num_samples = protocol.num_samples if judged else 0
    check(config)
    return config


def _set_model(model, factors, narrower):
    model.hidden_dims = tuple(max(1, channels // narrower) for channels in model.hidden_dims)
    model.residual_dim = max(1, model.residual_dim // narrower)
    for name in ("latent_dim", "merge", "head"):
        if getattr(factors, name) is not None:
            model[name] = getattr(factors, name)
    if factors.depth is None:
        return
    if model.residual_layers:
        raise UserError(f"depth = {factors.depth}: is of models without residual layers, and {factors.latent} has some")
    # Images allow only so many layers of stride 2: what is deeper keeps the size of its features.
    model.residual_layers = max(0, factors.depth - _THESIS_DEPTH)
    model.hidden_dims = tuple(model.hidden_dims)[: factors.depth]
