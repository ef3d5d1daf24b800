"""Conditioning information: which pixels of an image a decoder may see (thesis 3.1, 3.2.1, 3.3.1, figure 3.6).

A mask is True where a pixel is *revealed*. Every random function takes either one typed key, from which image `i` of
the batch draws with `fold_in(key, i)`, or one key an image: image `i` then gets the same pixels however a batch is
split over devices. Counts are traced, so that one compiled program serves every number of revealed pixels.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from scipy.special import log_ndtr

from mtvae_jax.errors import number_of
from mtvae_jax.methods import METHODS
from mtvae_jax.ops.backend import backend
from mtvae_jax.ops.selection import mark_smallest, sortable
from mtvae_jax.randomness import image_keys

# Gaussian draws come in chunks of this many pixels: few power-law counts need more than one or two of them.
_DRAWS_PER_CHUNK = 64

# Logarithms of two float32 draws from an exponential never differ by more: they lie between log 2⁻²⁴ and log(24 log 2).
_MOST_NOISE = 20.0


def _per_image(key, batch):
    return image_keys(key, batch) if key.ndim == 0 else key


def power_law_counts(key, exponent, num_pixels, batch):
    """Returns how many pixels each image reveals, drawn from the power law of thesis 2.5.2 and 3.3.1.

    The density f(u) = a·u^(a−1) on [0, 1] has the quantile function u = U^(1/a). The fraction revealed is 1 − u, so
    that a higher exponent reveals fewer pixels: 1/(a+1) of them on average.

    **Arguments:** `key`: typed key or keys [B]; `exponent`: a > 0; `num_pixels`: N = H·W; `batch`: B.
    **Returns:** int32 [B], floor((1 − u)·N), in 0 … N.
    """
    uniform = jax.vmap(jax.random.uniform)(_per_image(key, batch))
    # 1 − U^(1/a) without the cancellation that rounds small fractions at large exponents.
    fraction = -jnp.expm1(jnp.log(uniform) / exponent)
    return jnp.floor(fraction * num_pixels).astype(jnp.int32)


def exact_grid_mask(height, width, stride):
    """Returns the mask of exact same sampling: a centred grid of every `stride`-th pixel (thesis 3.2.1, figure 3.6).

    **Returns:** bool [H, W, 1] with ceil(H / stride) · ceil(W / stride) pixels revealed.
    """

    def on_grid(size):
        return jnp.arange(size) % stride == grid_offset(size, stride)

    return (on_grid(height)[:, None] & on_grid(width)[None, :])[..., None]


def grid_offset(size, stride):
    """Returns the first of every `stride`-th pixel of `size` that lie centred: as many are left over before as after.
    """
    return (size - 1) % stride // 2


def uniform_mask(key, counts, height, width):
    """Draws masks of uniform random sampling: exactly `counts[b]` distinct pixels of image b, all subsets alike (thesis
    3.2.1).

    **Arguments:** `key`: typed key or keys [B]; `counts`: int [B], 0 … H·W.
    **Returns:** bool [B, H, W, 1].
    """
    keys = _per_image(key, len(counts))
    priority = jax.vmap(lambda k: jax.random.bits(k, (height * width,), jnp.uint32))(keys)
    return mark_smallest(priority, counts).reshape(-1, height, width, 1)


def gaussian_mask(key, counts, height, width, std, *, replacement=True):
    """Draws masks of gaussian sampling: pixels near the centre of the image are likelier (thesis 3.3.1, figure 3.6).

    A coordinate is drawn from a normal centred on the image, truncated to the image and rounded to a pixel.

    **Arguments:** `key`: typed key or keys [B]; `counts`: int [B], 0 … H·W, draws an image; `std`: standard deviation
    as a fraction of the side; `replacement`: with it (the thesis) a pixel may be drawn several times, so that fewer
    than `counts[b]` are revealed; without it, a pixel drawn before is drawn again until `counts[b]` are revealed.
    `height`, `width` and, without replacement, `std` are Python numbers.
    **Returns:** bool [B, H, W, 1].
    """
    keys = _per_image(key, len(counts))
    if replacement:
        return _gaussian_draws(keys, counts, height, width, std)
    # The order in which exponential clocks of rate p ring is the order of draws without replacement; in logarithms,
    # because the probabilities of a small spread are no float32 numbers.
    log_rate = _ordered_log_weights(height, width, std).reshape(-1)
    times = jax.vmap(lambda k: jax.random.exponential(k, (height * width,)))(keys)
    times = jnp.maximum(times, 2.0**-24)  # 0 is what is below the smallest draw, and has no logarithm
    return mark_smallest(sortable(jnp.log(times) - log_rate), counts).reshape(-1, height, width, 1)


def box_mask(key, counts, height, width):
    """Draws masks of box sampling: the pixels of one rectangle, anywhere in the image.

    Its height is drawn from those that a rectangle of `counts[b]` pixels can have, and its width is the one that comes
    nearest to so many pixels: with a height of h there are at most h/2 more or fewer.

    **Arguments:** `key`: typed key or keys [B]; `counts`: int [B], 0 … H·W.
    **Returns:** bool [B, H, W, 1].
    """

    def rectangle(key, count):
        uniform = jax.random.uniform(key, (3,))

        def draw(u, low, high):  # an integer in low … high
            return jnp.minimum(low + jnp.floor(u * (high - low + 1)).astype(jnp.int32), high)

        rows = draw(uniform[0], -(-count // width), jnp.minimum(count, height))
        columns = jnp.minimum(jnp.round(count / jnp.maximum(rows, 1)).astype(jnp.int32), width)
        top, left = draw(uniform[1], 0, height - rows), draw(uniform[2], 0, width - columns)
        y, x = jnp.arange(height)[:, None], jnp.arange(width)[None, :]
        return (y >= top) & (y < top + rows) & (x >= left) & (x < left + columns)

    return jax.vmap(rectangle)(_per_image(key, len(counts)), counts)[..., None]


# How often each kind of `mixture_mask` hides pixels, and the least share of the image that its rectangles hide.
_MIXTURE = np.array([2, 1, 1, 1, 1, 2, 2]) / 10
_LEAST_RECTANGLE = 0.3


def mixture_mask(keys, height, width):
    """Draws the masks by which arbitrary conditioning is compared on MNIST (Ivanov, Figurnov and Vetrov 2019; Li, Akbar
    and Oliva 2020; Strauss and Oliva 2022).

    What is hidden is one of seven kinds: each pixel with probability ½; the left, upper, right or lower half; a square
    of half the side; a rectangle with two random corners that covers 30 to 100 % of the image. Weights 2, 1, 1, 1, 1,
    2, 2.

    **Arguments:** `keys`: typed keys [B]; `height`, `width`: Python numbers of at least 2.
    **Returns:** bool [B, H, W, 1], True where a pixel is revealed.
    """
    # Of all pairs of corners whose rectangle is large enough: how many have each height and width.
    rows, columns = np.arange(1, height + 1), np.arange(1, width + 1)
    pairs = np.outer(*(np.where(sides == 1, side, 2 * (side - sides + 1))
                       for sides, side in ((rows, height), (columns, width))))
    pairs = np.where(np.outer(rows, columns) >= _LEAST_RECTANGLE * height * width, pairs, 0)
    rectangles = np.cumsum(pairs.ravel()) / pairs.sum()
    middle, centre, bottom, right = height // 2, width // 2, height - 1, width - 1
    # First and last row, first and last column of what is hidden.
    left_half, upper_half = (0, bottom, 0, centre - 1), (0, middle - 1, 0, right)
    right_half, lower_half = (0, bottom, centre, right), (middle, bottom, 0, right)

    def draw(key):
        kind_key, noise_key, place_key = jax.random.split(key, 3)
        kind = _place(np.cumsum(_MIXTURE), jax.random.uniform(kind_key))
        u = jax.random.uniform(place_key, (3,))
        y, x = (jnp.floor(u[i] * side).astype(jnp.int32) for i, side in enumerate((middle, centre)))
        square = (y, y + middle - 1, x, x + centre - 1)
        h, w = jnp.divmod(_place(rectangles, u[2]), width)  # less one
        y, x = (jnp.floor(u[i] * room).astype(jnp.int32) for i, room in enumerate((height - h, width - w)))
        rectangle = (y, y + h, x, x + w)
        noise = left_half  # of no matter
        kinds = [noise, left_half, upper_half, right_half, lower_half, square, rectangle]
        hidden = jnp.array(kinds, jnp.int32)[kind]
        row, column = jnp.arange(height)[:, None], jnp.arange(width)[None, :]
        within = (hidden[0] <= row) & (row <= hidden[1]) & (hidden[2] <= column) & (column <= hidden[3])
        return ~jnp.where(kind == 0, jax.random.bernoulli(noise_key, 0.5, (height, width)), within)

    return jax.vmap(draw)(keys)[..., None]


def _place(cumulative, uniform):
    """The index that a number in [0, 1) falls on, int32."""
    found = jnp.sum(jnp.asarray(cumulative, jnp.float32) <= uniform, dtype=jnp.int32)
    return jnp.minimum(found, len(cumulative) - 1)  # float32 may end below 1


class Sampling(NamedTuple):
    """A type of sampling (thesis figure 3.6).

    **title**: for figures; **draw**: (keys [B], counts int [B], height, width, settings) → bool [B, H, W, 1];
    `settings` is the config's section `conditioning`; **describe**: settings → how its pixels are drawn, in a clause;
    **distinct**: as `draw`, where `counts` are different pixels and not draws, None where `draw` does that;
    **weights**: (height, width, settings) → float64 [H, W] that sum to 1, the chance of each pixel to be the next one,
    None where pixels are not drawn one by one; **fixed_grid**: it always reveals the same pixels, however many it is
    asked for; **own_counts**: where a method asks for a constant number, it draws any number of pixels instead, all
    alike; **own_law**: it draws any number of pixels by a law of its own, whatever the method asks for.
    """

    title: str
    draw: Callable
    describe: Callable
    distinct: Callable | None = None
    weights: Callable | None = None
    fixed_grid: bool = False
    own_counts: bool = False
    own_law: bool = False

    def any_number(self, law):
        """Whether masks have any number of pixels where a method has the `Counts` law, and not the law's."""
        return self.own_law or (self.own_counts and law.constant)


def _exact(keys, counts, height, width, settings):
    grid = exact_grid_mask(height, width, settings.grid_stride)
    return jnp.broadcast_to(grid, (len(keys), *grid.shape))


def _uniform(keys, counts, height, width, settings):
    return uniform_mask(keys, counts, height, width)


def _uniform_weights(height, width, settings):
    return np.full((height, width), 1 / (height * width))


def _gaussian(keys, counts, height, width, settings):
    return gaussian_mask(keys, counts, height, width, settings.gaussian_std, replacement=settings.replacement)


def _gaussian_distinct(keys, counts, height, width, settings):
    return gaussian_mask(keys, counts, height, width, settings.gaussian_std, replacement=False)


def _gaussian_weights(height, width, settings):
    log_weights = log_pixel_weights(height, settings.gaussian_std)[:, None]
    log_weights = log_weights + log_pixel_weights(width, settings.gaussian_std)
    weights = np.exp(log_weights - log_weights.max())
    return weights / weights.sum()


def _box(keys, counts, height, width, settings):
    return box_mask(keys, counts, height, width)


def _mixture(keys, counts, height, width, settings):
    return mixture_mask(keys, height, width)


# A new type is a function and a line here.
SAMPLINGS = {
    "exact": Sampling("Exact", _exact, lambda s: f"on a grid of stride {s.grid_stride}", fixed_grid=True),
    "uniform": Sampling("Uniform", _uniform, lambda s: "drawn uniformly", weights=_uniform_weights),
    "gaussian": Sampling(
        "Gaussian", _gaussian, lambda s: f"drawn from a Gaussian of standard deviation {s.gaussian_std:g} of the side",
        distinct=_gaussian_distinct, weights=_gaussian_weights,
    ),
    "box": Sampling("Box", _box, lambda s: "in one rectangle", own_counts=True),
    "mixture": Sampling(
        "Mixture", _mixture, lambda s: "outside of random pixels, a half, a square or a rectangle", distinct=_uniform,
        own_law=True,
    ),
}


class Counts(NamedTuple):
    """How many pixels of each image a method reveals. **draw**: (keys [B], settings, N = H·W, exponent) → int32 [B];
    **describe**: (settings, N) → text; **usual**: (settings, N) → the fewest and the most that are usual in training;
    **constant**: it is always the same number."""

    draw: Callable
    describe: Callable
    usual: Callable
    constant: bool = False


def _most_of_power_law(settings, num_pixels):
    """One image of a hundred reveals more pixels."""
    return math.ceil((1 - 0.01 ** (1 / settings.exponent)) * num_pixels)


COUNTS = {
    "constant": Counts(
        lambda keys, settings, num_pixels, exponent: jnp.full((len(keys),), settings.num_pixels),
        lambda settings, num_pixels: f"{settings.num_pixels} of {number_of(num_pixels, 'pixel')} revealed",
        lambda settings, num_pixels: (settings.num_pixels, settings.num_pixels),
        constant=True,
    ),
    "power_law": Counts(
        lambda keys, settings, num_pixels, exponent: power_law_counts(keys, exponent, num_pixels, len(keys)),
        lambda settings, num_pixels: f"power law of exponent {settings.exponent:g} reveals pixels",
        lambda settings, num_pixels: (0, _most_of_power_law(settings, num_pixels)),
    ),
}


def describe_masks(config, num_pixels):
    """Returns what a run reveals in training, in words; None for a method that sees no pixels."""
    law = METHODS[config.model.method].counts
    if law is None:
        return None
    settings, law = config.conditioning, COUNTS[law]
    if SAMPLINGS[settings.sampling].any_number(law):
        return f"any number of {number_of(num_pixels, 'pixel')} revealed, {settings.sampling} sampling"
    return f"{law.describe(settings, num_pixels)}, {settings.sampling} sampling"


def draw_masks(config, keys, height, width, count=None, exponent=None):
    """Draws the masks of a batch, as the config's method and sampling type have them (thesis 3.2.1, 3.3.1).

    **Arguments:** `config`: resolved; `keys`: typed keys [B]; `count`: how many different pixels to reveal, instead of
    the method's own number of them or of draws, of no effect on a fixed grid; `exponent`: of the power law, instead of
    the config's. Both may be traced.
    **Returns:** bool [B, H, W, 1].
    """
    settings, num_pixels = config.conditioning, height * width
    sampling, law = SAMPLINGS[settings.sampling], COUNTS[METHODS[config.model.method].counts]
    if sampling.fixed_grid:
        return sampling.draw(keys, None, height, width, settings)
    count_keys, pixel_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
    if count is not None:
        counts = jnp.full((len(keys),), count)
    elif sampling.own_law:
        counts = None
    elif sampling.any_number(law):
        counts = jax.vmap(lambda key: jax.random.randint(key, (), 1, num_pixels + 1))(count_keys)
    else:
        counts = law.draw(count_keys, settings, num_pixels, settings.exponent if exponent is None else exponent)
    draw = sampling.draw if count is None or sampling.distinct is None else sampling.distinct
    return draw(pixel_keys, counts, height, width, settings)


def condition(images, mask):
    """Returns the conditioning information m = concat(mask · x, mask) on the channels (thesis 3.1, figure 3.1).

    **Arguments:** `images`: float [B, H, W, C]; `mask`: bool or float, [B, H, W, 1] or [H, W, 1] for all images.
    **Returns:** float [B, H, W, C + 1] of the images' dtype.
    """
    mask = jnp.broadcast_to(mask, (*images.shape[:-1], 1)).astype(images.dtype)
    return jnp.concatenate([mask * images, mask], axis=-1)


def _gaussian_draws(keys, counts, height, width, std):
    sides = jnp.array([height, width], jnp.float32)
    bound = 0.5 / std  # half a side in standard deviations: the truncation

    def draw_chunk(chunk):
        chunk_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, chunk)
        normal = jax.vmap(lambda k: jax.random.truncated_normal(k, -bound, bound, (_DRAWS_PER_CHUNK, 2)))(chunk_keys)
        pixel = jnp.round((sides - 1) / 2 + normal * std * sides).astype(jnp.int32)
        pixel = jnp.clip(pixel, 0, sides.astype(jnp.int32) - 1)  # a draw on the very edge rounds outwards
        drawn = chunk * _DRAWS_PER_CHUNK + jnp.arange(_DRAWS_PER_CHUNK) < counts[:, None]
        row = jnp.where(drawn, pixel[..., 0], height)  # out of bounds: dropped
        return row, pixel[..., 1]  # [B, draws] each

    def reveal(mask, row, column):
        return mask.at[jnp.arange(len(counts))[:, None], row, column].max(True, mode="drop")

    nothing = jnp.zeros((len(counts), height, width), bool)
    if backend().draws_at_once:
        chunks = jnp.arange(-(-height * width // _DRAWS_PER_CHUNK))
        row, column = (jnp.concatenate(places, axis=1) for places in jax.vmap(draw_chunk)(chunks))
        return reveal(nothing, row, column)[..., None]
    chunks = (jnp.max(counts, initial=0) + _DRAWS_PER_CHUNK - 1) // _DRAWS_PER_CHUNK
    return lax.fori_loop(0, chunks, lambda chunk, mask: reveal(mask, *draw_chunk(chunk)), nothing)[..., None]


def log_pixel_weights(size, std):
    """Returns the log-probability of each pixel of a side in `gaussian_mask`, but for a constant: float64 [size].

    By the distance from the middle, so that it is the same on both sides, and from the normal's lower tail, which
    float64 knows to full relative precision.
    """
    distance = np.abs(np.arange(size) - (size - 1) / 2)
    scale = max(std, 1e-100) * size  # squares of what is divided by it must be finite
    above, below = log_ndtr((0.5 - distance) / scale), log_ndtr((-0.5 - distance) / scale)
    return above + np.log(-np.expm1(below - above))


def _ordered_log_weights(height, width, std):
    """Log-weights of pixels, float32 [H, W], that order draws without replacement as exact ones do.

    Those of small spreads span more than float32 can hold beside the noise that is added to them. Where one value is
    above the next by more than noise ever bridges, how much more is no matter and left out.
    """
    weights = log_pixel_weights(height, std)[:, None] + log_pixel_weights(width, std)
    values, place = np.unique(weights, return_inverse=True)
    steps = np.minimum(np.diff(values), _MOST_NOISE)
    below_largest = np.append(np.cumsum(steps[::-1])[::-1], 0.0)
    return (-below_largest[place]).reshape(height, width).astype(np.float32)
