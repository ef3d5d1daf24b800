"""Random numbers: one typed base key a run, folded by purpose first, then by step, then by image."""

import enum

import jax
import jax.numpy as jnp

# Not the run's seed: every model of a sampling type is judged on the same masks, at every epoch.
_EVALUATION_SEED = 20240502


class Purpose(enum.IntEnum):
    """What a random number is for: folded into the run's base key first, then the step, then the image's position.

    The position in the global batch stands for the device too, so that one device and many draw the same numbers.
    """

    INIT = 0
    SHUFFLE = 1
    LATENT = 2
    MASK = 3
    CODEBOOK = 4  # where it starts
    PRIOR = 5  # the base key of the second stage
    FACTORS = 6  # where the fit of a factor analysis starts


def image_keys(key, batch, first=0):
    """Returns one key an image, which depends on the image's position alone.

    **Arguments:** `key`: one typed key; `batch`: number of images; `first`: position of the first one (may be traced).
    **Returns:** typed keys [B].
    """
    return jax.vmap(jax.random.fold_in, (None, 0))(key, first + jnp.arange(batch))


def epoch_order(key, epoch, num_images):
    """Returns the order in which an epoch shows its images, int32 [N]: every step takes the next batch of them.

    **Arguments:** `key`: the run's base key; `epoch`: counted from 0.
    """
    key = jax.random.fold_in(key, Purpose.SHUFFLE)
    return jax.random.permutation(jax.random.fold_in(key, epoch), num_images)


def step_keys(key, step, batch, first):
    """Returns, for each image of a step, the keys of its latent and of its mask: two arrays of typed keys [B].

    **Arguments:** `key`: the run's base key; `batch`: how many images; `first`: the position of the first of them in
    the global batch.
    """
    return [
        image_keys(jax.random.fold_in(jax.random.fold_in(key, purpose), step), batch, first)
        for purpose in (Purpose.LATENT, Purpose.MASK)
    ]


def evaluation_keys(position):
    """Returns for each image the keys of its latent and of its mask, two arrays of typed keys [B], from its place in
    the split.

    **Arguments:** `position`: int [B].
    """
    base = jax.random.key(_EVALUATION_SEED)
    return [
        jax.vmap(jax.random.fold_in, (None, 0))(jax.random.fold_in(base, purpose), position)
        for purpose in (Purpose.LATENT, Purpose.MASK)
    ]
