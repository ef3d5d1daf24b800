"""What a latent is: the facts that a config, a loop or a report asks it for, and what it computes."""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Protocol

import jax

from mtvae_jax.settings import Setting


class LatentOutput(NamedTuple):
    """**z**: float [B, …], what the decoders see. **terms**: name → float32 [B, …], the latent's own loss terms and
    statistics. **posterior**: [B, …], all that there is to know of q(z|x): what a learned prior is trained on."""

    z: jax.Array
    terms: dict[str, jax.Array]
    posterior: jax.Array


class Finding(NamedTuple):
    """What is wrong with a latent whose numbers are all finite. **short**: for the progress line; **sentence**: for the
    summary, with the settings that help."""

    short: str
    sentence: str


class Latent(Protocol):
    """A Flax module that turns an encoder's features into z, and knows what a run with it needs.

    Facts of the class, which need no parameters:

    - `short`: in the names of configs and runs, "gauss"; `title`: in headings, "Gaussian VAE".
    - `prior`: a key of `mtvae_jax.models.priors.PRIORS`, what the second stage learns; `knows_prior`: p(z) is known, so
      that the second stage has only p(z|m) to learn.
    - `settings`: of its own, joined to `mtvae_jax.config.SETTINGS`; `refuses`: settings that mean nothing to it → why,
      which must keep their default.
    - `terms`: metrics of the loss terms that it adds to the reconstruction → (title, unit or "").
    """

    short: ClassVar[str]
    title: ClassVar[str]
    prior: ClassVar[str]
    knows_prior: ClassVar[bool]
    settings: ClassVar[dict[str, Setting]]
    refuses: ClassVar[dict[str, str]]
    terms: ClassVar[dict[str, tuple[str, str]]]

    @staticmethod
    def defaults(dataset: str) -> dict[str, Any]:
        """Returns the values of settings that differ from the table's defaults, {dotted name: value}."""

    @staticmethod
    def resolve(config, num_values: int) -> None:
        """Works out in place the fields that depend on the data: β above all. `num_values`: D = H·W·C."""

    @classmethod
    def build(cls, settings, grid, dtype, axis_name) -> "Latent":
        """Makes the module of a config's section `model`; `grid`: (h, w) of the encoder's features."""

    @classmethod
    def describe(cls, config, grid) -> str:
        """Writes its line in a run's headline."""

    # What it computes with parameters, within `apply`

    def __call__(self, features, keys=None, train=False) -> LatentOutput:
        """Turns features [B, h, w, F] into a `LatentOutput`; `keys`: typed keys [B], None for no sampling noise."""

    def prior_sample(self, key, num) -> jax.Array:
        """Draws z [num, …] from the prior p(z) that needs no training."""

    def embed(self, posterior_sample) -> jax.Array:
        """Turns what a learned prior draws into z [B, …]."""

    # What it computes without, also outside of `apply`

    def between(self, a, b, share) -> jax.Array:
        """Returns z [B, …] on the way from z `a` to z `b`: `a` where `share` is 0, `b` where it is 1."""

    num_codes: int | None  # K, the values that a code may have; None where z is continuous
    codes_per_image: int  # that a prior predicts one by one; 1 where z is one thing
    posterior_row: jax.ShapeDtypeStruct  # what is known of q(z|x) for one image
    term_shapes: dict[str, tuple]  # name → shape an image of each of its terms
    start: Callable | None  # (parameters, outputs [n, D], key) → parameters to start from; None where random ones do

    def objective(self, terms, beta) -> jax.Array:
        """Returns its part of the loss, [B], from its terms."""

    def statistics(self, posterior) -> dict[str, jax.Array]:
        """Returns what evaluation averages besides its terms, name → [B, …]."""

    varying: tuple[str, ...]  # names of those whose variance over a split is wanted too: NAME_variance among the means

    def metrics(self, means, beta) -> dict[str, float]:
        """Returns what is reported, from the means over a split; in training those of its terms alone. `nats`, what z
        costs an image, is among them."""

    def findings(self, metrics) -> list[Finding]:
        """Finds what is wrong by the validation metrics {"val/…": …}; a metric that is missing is not judged."""

    def after_update(self, before, params, stats) -> tuple[dict, dict]:
        """Returns parameters and batch statistics after the optimiser's step, from its parameters before and after."""
