"""The settings that both models of a pair share, as data: under which conditions does a claim hold?

Two of them are the main ones, at which every claim is judged with as many pairs as it takes. The draft names no β, so
one main setting has what is likely to have been its author's, one this project's default. The others vary one thing at
a time, and a claim's headline parts are measured in each: together they are a map of the claim.
"""

import dataclasses

from mtvae_jax.models.merge import MERGES
from mtvae_jax.study.factors import ALL_IMAGES


@dataclasses.dataclass(frozen=True)
class Cell:
    """**Attributes:** `name`; `factor`: the field of `Factors` that it is about; `common`: fields of `Factors` that it
    sets for every model; `of_latent`: those that it sets for a latent alone, {latent: fields}; `claims`: ids of those
    whose headline parts are measured in it, None: every part of every claim, which makes it a main setting; `costly`:
    its runs take several times as long, and are left to the end."""

    name: str
    factor: str
    common: dict
    of_latent: dict
    claims: tuple | None = None
    costly: bool = False

    @property
    def main(self):
        return self.claims is None

    def fields(self, model_factors):
        """Returns a model's fields of `Factors` in this cell; what the model sets itself is kept."""
        return self.common | self.of_latent.get(model_factors["latent"], {}) | model_factors


# That code which the draft's networks resemble has beside a pixel mean; with 784 pixels σ² = 0.1.
THESIS_BETA = {"gaussian": {"beta": 2.5e-4}}
_COMPARED = ("C1", "C2", "C5", "C6", "C9", "C13", "C14")


def _beta(beta):
    claims = "C1", "C2", "C6", "C8", "C10", "C13", "C14"
    return Cell(f"β = {beta:g}", "beta", {}, {"gaussian": {"beta": beta}}, claims)


def _commitment(beta):
    return Cell(f"commitment = {beta:g}", "beta", {}, {"vq": {"beta": beta}}, ("C5", "C9"))


def _varied(name, factor, common=None, of_latent=THESIS_BETA, claims=_COMPARED, costly=False):
    return Cell(f"{name}, β = 0.00025", factor, common or {}, of_latent, claims, costly)


CELLS = (
    Cell("σ² = 0.01", "beta", {}, {}),
    Cell("β = 0.00025", "beta", {}, THESIS_BETA),
    *(_beta(beta) for beta in (8e-5, 8e-4, 2.5e-3, 2.5e-5)),
    *(cell for merge in MERGES if merge != "dense" for cell in (
        _varied(f"{merge} merge", "merge", {"merge": merge}, claims=(*_COMPARED, "C3")),
        Cell(f"{merge} merge, σ² = 0.01", "merge", {"merge": merge}, {}, (*_COMPARED, "C3")),
    )),
    _varied("latent of 64", "latent_dim", of_latent={
        "gaussian": {**THESIS_BETA["gaussian"], "latent_dim": 64}, "vq": {"latent_dim": 64},
    }),
    _varied("latent of 16", "latent_dim", of_latent={**THESIS_BETA, "vq": {"latent_dim": 16}}),
    *(_commitment(beta) for beta in (0.025, 2.5)),
    _varied("full head", "head", {"head": "full"}),
    _varied("full width", "narrower", {"narrower": 1}, costly=True),
    _varied("all images", "images", {"images": ALL_IMAGES}, costly=True),
)
MAIN = tuple(cell for cell in CELLS if cell.main)
