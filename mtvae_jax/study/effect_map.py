"""The map of a claim: its effects in every cell, and which factor moves them."""

import importlib.util
import math
from typing import NamedTuple

import numpy as np

from mtvae_jax.study.cells import CELLS

_CELLS = {cell.name: cell for cell in CELLS}
DEFAULT = "default"  # what a cell does not vary


class Spot(NamedTuple):
    """One effect on a map. **beta**: None for the default; **other**: what else the cell varies, or `DEFAULT`;
    **effect**: mean over pairs; **half**: half the width of its pooled 95 % interval, None where there is none."""

    dataset: str
    beta: float | None
    other: str
    effect: float
    half: float | None
    pairs: int

    @property
    def sure(self):
        """Whether the interval leaves out 0."""
        return self.half is not None and abs(self.effect) > self.half


def spots(part):
    """Returns the effects of a part at all its places, with intervals that share one standard deviation.

    Two pairs say little of their own spread. So that is taken from all places of the part together: the residual mean
    square of a one-way analysis of variance.

    **Arguments:** `part`: a part of a claim as `mtvae_jax.study.verdicts.PartResult.to_dict` gives it.
    **Returns:** a list of `Spot`, in the order of the findings, those with an effect.
    """
    from scipy.stats import t

    found = [found for found in part["findings"] if found["pairs"]]
    effects = [np.array(of["pair_effects"], float) for of in found]
    degrees = sum(len(values) - 1 for values in effects)
    squares = sum(float(((values - values.mean()) ** 2).sum()) for values in effects)
    width = t.ppf(0.975, degrees) * math.sqrt(squares / degrees) if degrees else None
    return [
        Spot(of["dataset"], *_coordinates(of["cell"], part["latents"]), of["effect"],
             None if width is None else width / math.sqrt(len(values)), len(values))
        for of, values in zip(found, effects, strict=True)
    ]


def _coordinates(name, latents):
    """(β, what else the cell varies) for models of these latents."""
    cell = _CELLS[name]
    betas = [cell.of_latent[latent]["beta"] for latent in latents if "beta" in cell.of_latent.get(latent, {})]
    return betas[0] if betas else None, DEFAULT if cell.factor == "beta" else name.partition(", ")[0]


def moving_factors(claims):
    """Returns what moves the headline effects of the claims, where a mixed model finds it; None without statsmodels.

    **Arguments:** `claims`: as `mtvae_jax.study.verdicts.ClaimResult.to_dict` gives them.
    **Returns:** a list of {"claim": id, "part": name, "unit", "factors": what `factors_that_move` gives}.
    """
    if importlib.util.find_spec("statsmodels") is None:
        return None
    moved = [(claim["id"], part, factors_that_move(part))
             for claim in claims for part in claim["parts"] if part["headline"]]
    return [{"claim": id_, "part": part["name"], "unit": part["unit"], "factors": found}
            for id_, part, found in moved if found]


def factors_that_move(part):
    """Returns a mixed model of the effects of single pairs: what each factor adds to them.

    Fixed: log10 β, dataset and what else varies, each against the default; random: the seed within a dataset, whose
    plain run several pairs may share. Needs statsmodels (`pip install mtvae-jax[study]`).

    **Arguments:** `part`: as for `spots`.
    **Returns:** {name of a factor's value: (what it adds, low, high)}, with 95 % intervals; None where there are too
    few effects, or the model does not converge to finite intervals.
    """
    rows = [
        (effect, found["dataset"], *_coordinates(found["cell"], part["latents"]), seed)
        for found in part["findings"] if found["pairs"]
        for effect, seed in zip(found["pair_effects"], found["pair_seeds"], strict=True)
    ]
    if not rows:
        return None
    effects, datasets, betas, others, seeds = map(list, zip(*rows, strict=True))
    columns = {}
    if len(set(betas)) > 1:
        columns["β × 10"] = [math.log10(_DEFAULT_BETA if beta is None else beta) for beta in betas]
    for values in (datasets, others):
        _, *rest = dict.fromkeys(sorted(values, key=lambda value: value != DEFAULT))
        columns |= {value: [float(each == value) for each in values] for value in rest}
    if not columns or len(effects) < 2 * len(columns) + 4:
        return None
    return _fit(np.array(effects), columns, [f"{dataset}, seed {seed}" for dataset, seed in
                                             zip(datasets, seeds, strict=True)])


_DEFAULT_BETA = 2.55e-5  # σ² = 0.01 with 28 × 28 pixels


def _fit(effects, columns, groups):
    import warnings

    from statsmodels.regression.mixed_linear_model import MixedLM

    design = np.column_stack([np.ones(len(effects)), *columns.values()])
    if np.linalg.matrix_rank(design) < design.shape[1]:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a variance between seeds that is 0: then all seeds are alike
        fitted = MixedLM(effects, design, groups=np.array(groups)).fit(reml=True)
    ends = np.asarray(fitted.conf_int())[1 : design.shape[1]]
    if not np.isfinite(ends).all():
        return None
    return {name: (float(fitted.fe_params[i]), float(ends[i - 1, 0]), float(ends[i - 1, 1]))
            for i, name in enumerate(columns, 1)}
