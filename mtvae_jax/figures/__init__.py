"""The figures of a run: plain arrays and records in, a matplotlib figure out.

Nothing here touches pyplot, so figures can be drawn without a display; `own_style` keeps the user's settings out.
Images are float [n, H, W, C] in [0, 1]: one channel is drawn grey, three in colour, of any other number the first.
"""

from mtvae_jax.figures.draws import draws
from mtvae_jax.figures.failure import failure
from mtvae_jax.figures.loss_curves import loss_curves
from mtvae_jax.figures.reconstructions import reconstructions
from mtvae_jax.figures.samples import samples
from mtvae_jax.figures.sampling_types import sampling_types
from mtvae_jax.figures.save import save
from mtvae_jax.figures.style import own_style

__all__ = ["draws", "failure", "loss_curves", "own_style", "reconstructions", "samples", "sampling_types", "save"]
