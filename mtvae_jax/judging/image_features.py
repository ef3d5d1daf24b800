"""Features that describe images for the Fréchet distance, precision and recall, from a classifier trained on the spot.

Networks that others have trained know photographs, not digits or garments, and their weights have to be downloaded.
A small classifier of the dataset itself is at hand everywhere, and its features are about what differs between these
images. Figures from different extractors cannot be compared: compare models by the same one, kept in a cache, or all by
InceptionV3.
"""

import hashlib
import os
import sys
import tempfile
import time
import zipfile
import zlib
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from mtvae_jax.errors import number_of
from mtvae_jax.judging.classifier import Classifier
from mtvae_jax.judging.inception import InceptionV3, load_inception

_VERSION = 1  # of all that decides the weights: to be raised with every change to it
_BATCH_SIZE, _LEARNING_RATE = 128, 1e-3
_EPOCHS, _MIN_STEPS, _MAX_STEPS = 4, 500, 1300
_STEPS_PER_CALL = 100  # the compiled call cannot be interrupted
_NUM_FLIPS = 4
_APPLIED_AT_ONCE, _INCEPTION_BATCH = 256, 32  # images
_MOST_OF_NAME = 100  # bytes of a dataset's name in a file name, which may have 255 of them, on encrypted disks 143

# What NumPy and zipfile raise for files that are missing, cut short, changed, or something else altogether.
_DAMAGE = (
    *(OSError, EOFError, ValueError, TypeError, KeyError, SyntaxError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error),
)


class FeatureExtractor:
    """Describes images by an inner layer of a network.

    **Attributes:** `description`: one line for reports, such as "penultimate features of a classifier trained on
    fashion_mnist, validation accuracy 0.90"; `accuracy`: of the network's own task on the validation split, 0 … 1, or
    None where it has none; `image_shape`: (H, W, C) of the images that it takes, None for any; `warning`: a sentence
    on why distances between such features tell little, or None.
    """

    def __init__(self, describe, *, description, accuracy=None, image_shape=None, warning=None):
        self.description, self.accuracy, self.image_shape = description, accuracy, image_shape
        self.warning = warning
        self._describe = describe

    def __call__(self, images):
        """Describes images.

        **Arguments:** `images`: [N, H, W, C], uint8, or float in [0, 1].

        **Returns:** float32 [N, F], on the host.
        **Raises:** `ValueError` for images of another shape than those the network was trained on.
        """
        if self.image_shape is not None and images.shape[1:] != self.image_shape:
            raise ValueError(f"images {images.shape}: must be [N, {', '.join(map(str, self.image_shape))}]")
        return self._describe(images)


def train_feature_extractor(dataset, *, cache_dir=None, num_steps=None, seed=0, stream=None):
    """Trains a classifier of a dataset's training images, or finds it in a cache.

    It tells apart the labels. Where there are none, or all are alike, it tells apart whether an image has been flipped
    horizontally, vertically, both or not at all: the features of a pretext task, which know less of what the images
    show, and whose accuracy is low where the images are symmetric.

    The same on the same kind of device, to the bit.

    **Arguments:** `dataset`: a `Dataset`; `cache_dir`: folder where the weights are kept for the next call, None for
    not at all: a cache that is damaged or of other data is not used but written anew, and one that cannot be written
    is done without, after a word to `stream`; `num_steps`: of 128 images each,
    None for 4 epochs, though at least 500 steps and at most 1300; `seed`; `stream`: where progress goes, standard
    output if None.
    **Returns:** a `FeatureExtractor`.
    """
    if num_steps is None:
        num_steps = min(max(_EPOCHS * len(dataset.train) // _BATCH_SIZE, _MIN_STEPS), _MAX_STEPS)
    classes = _classes(dataset)
    model = Classifier(num_classes=_NUM_FLIPS if classes is None else len(classes))
    task = f"a classifier {'of flips ' if classes is None else ''}trained on {dataset.name}"

    # Find it in the cache
    stream = sys.stdout if stream is None else stream
    path = None if cache_dir is None else _cache_path(cache_dir, dataset, num_steps, seed)
    cached = None if path is None else _read_cache(path, _shapes(model, dataset.image_shape))
    if cached is not None:
        variables, accuracy = cached
    else:
        # Train it
        start = time.monotonic()
        _say(stream, f"image features: {task}, {number_of(num_steps, 'step')}")
        variables = _train(model, dataset, classes, num_steps, jax.random.key(seed))
        accuracy = _accuracy(_in_batches(partial(_predict, model), variables), dataset, classes)
        _say(stream, f"image features: validation accuracy {accuracy:.2f} after {time.monotonic() - start:.0f} s")
        if path is not None:
            try:
                _write_cache(path, variables, accuracy)
            except OSError as error:  # what is judged does not need it
                _say(stream, f"image features: not kept for the next run, {path.parent}: {error.strerror}")

    description = f"penultimate features of {task}, validation accuracy {accuracy:.2f}"
    describe = _in_batches(lambda *given: model.apply(*given)[0], variables)
    warning = _warning(accuracy, _accuracy_of_guessing(dataset, classes))
    return FeatureExtractor(
        describe, description=description, accuracy=accuracy, image_shape=dataset.image_shape, warning=warning
    )


def inception_feature_extractor(path):
    """Returns an extractor of the 2048 features of InceptionV3 behind the FID, for grey and RGB images of any size.

    **Arguments:** `path`: of the weights, which `mtvae_jax.judging.inception.load_inception` says how to write.
    **Returns:** a `FeatureExtractor`.
    **Raises:** `UserError` for a file that cannot be used.
    """
    describe = _in_batches(InceptionV3().apply, load_inception(path), batch_size=_INCEPTION_BATCH)
    return FeatureExtractor(describe, description=f"pool3 features of torchvision's InceptionV3, {Path(path).name}")


def _say(stream, line):
    stream.write(f"{line}\n")
    stream.flush()


# ------------------------------------------------------------------------------------------------------------ the task


def _classes(dataset):
    """The labels of the training split, each once, in order; None where they tell nothing apart."""
    if dataset.train_labels is None:
        return None
    classes = np.unique(dataset.train_labels)
    return classes if len(classes) > 1 else None


def _flip(images, flips):
    """Flips image b [H, W, C] horizontally where `flips[b]` is odd, and vertically where it is 2 or 3."""
    flips = flips[:, None, None, None]
    images = jnp.where(flips % 2 == 1, images[:, :, ::-1], images)
    return jnp.where(flips >= 2, images[:, ::-1], images)


def _accuracy(predict, dataset, classes):
    """The share of right answers on the validation split; of labels, or of flips, with every image in all four."""
    if classes is not None:
        return float(np.mean(classes[predict(dataset.validation)] == dataset.validation_labels))
    flip = jax.jit(_flip)
    right = [
        np.mean(predict(flip(dataset.validation, np.full(len(dataset.validation), number))) == number)
        for number in range(_NUM_FLIPS)
    ]
    return float(np.mean(right))


def _accuracy_of_guessing(dataset, classes):
    """The accuracy of an answer that does not look at the image: the most frequent class, or any of the flips."""
    if classes is None:
        return 1 / _NUM_FLIPS
    return float(np.mean(dataset.validation_labels == classes[:, None], axis=1).max())


def _warning(accuracy, guessing):
    """A sentence for a classifier that is nearer to guessing than to being right, else None."""
    if accuracy >= (1 + guessing) / 2:
        return None
    return (
        f"the classifier behind these features is right on {accuracy:.0%} of the validation images, where guessing is "
        f"right on {guessing:.0%}: Fréchet distance, precision and recall tell little; "
        "give generation.inception for features of another network"
    )


# ------------------------------------------------------------------------------------------------------------ training


def _train(model, dataset, classes, num_steps, key):
    """The trained variables, on the host."""
    # What to tell apart: given, or made at every step anew
    images = jnp.asarray(dataset.train)
    labels = None if classes is None else jnp.asarray(np.searchsorted(classes, dataset.train_labels))
    init_key, steps_key = jax.random.split(key)
    optimizer = optax.adam(optax.cosine_decay_schedule(_LEARNING_RATE, num_steps))

    def batch(key, images, labels):
        index_key, shift_key, flip_key = jax.random.split(key, 3)
        indices = jax.random.randint(index_key, (_BATCH_SIZE,), 0, len(images))
        some = _shift(shift_key, images[indices].astype(jnp.float32) / 255)
        if labels is not None:
            return some, labels[indices]
        flips = jax.random.randint(flip_key, (_BATCH_SIZE,), 0, _NUM_FLIPS)
        return _flip(some, flips), flips

    def loss(params, batch_stats, some, targets):
        variables = {"params": params, "batch_stats": batch_stats}
        (_, logits), updated = model.apply(variables, some, train=True, mutable=["batch_stats"])
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
        return jnp.mean(losses), updated["batch_stats"]

    @partial(jax.jit, donate_argnums=0)
    def train_steps(state, key, images, labels, first, last):
        def step(number, state):
            variables, optimizer_state = state
            params, batch_stats = variables["params"], variables["batch_stats"]
            some, targets = batch(jax.random.fold_in(key, number), images, labels)
            gradient, batch_stats = jax.grad(loss, has_aux=True)(params, batch_stats, some, targets)
            updates, optimizer_state = optimizer.update(gradient, optimizer_state, params)
            params = optax.apply_updates(params, updates)
            return {"params": params, "batch_stats": batch_stats}, optimizer_state

        return lax.fori_loop(first, last, step, state)

    @jax.jit
    def init(key):
        variables = model.init(key, jnp.zeros((1, *dataset.image_shape)))
        return variables, optimizer.init(variables["params"])

    state = init(init_key)
    for first in range(0, num_steps, _STEPS_PER_CALL):
        last = min(first + _STEPS_PER_CALL, num_steps)
        state = jax.block_until_ready(train_steps(state, steps_key, images, labels, first, last))
    return jax.device_get(state[0])


def _shift(key, images):
    """Shifts each image [B, H, W, C] by up to a fourteenth of its height and width, edges repeated."""
    _, height, width, channels = images.shape
    most = np.array([height // 14, width // 14])
    padded = jnp.pad(images, ((0, 0), (most[0],) * 2, (most[1],) * 2, (0, 0)), mode="edge")
    corners = jax.random.randint(key, (len(images), 2), 0, 2 * most + 1)

    def cut(image, corner):
        return lax.dynamic_slice(image, (corner[0], corner[1], 0), (height, width, channels))

    return jax.vmap(cut)(padded, corners)


# ---------------------------------------------------------------------------------------------------------- application


def _predict(model, variables, images):
    _, logits = model.apply(variables, images)
    return jnp.argmax(logits, axis=-1)


def _in_batches(function, variables, batch_size=_APPLIED_AT_ONCE):
    """The compiled function images [N, H, W, C] → [N, …] of `function(variables, images)`, for any number of images."""
    function, variables = jax.jit(function), jax.device_put(variables)

    def apply(images):
        results = []
        # Full float32 on every device: features are compared across runs.
        with jax.default_matmul_precision("highest"):
            for start in range(0, len(images), batch_size):
                some = np.asarray(images[start : start + batch_size])
                padded = np.zeros((batch_size, *some.shape[1:]), np.float32)
                padded[: len(some)] = some / np.float32(255) if some.dtype == np.uint8 else some
                results.append(np.asarray(function(variables, padded))[: len(some)])
        return np.concatenate(results)

    return apply


# --------------------------------------------------------------------------------------------------------------- cache


def _cache_path(cache_dir, dataset, num_steps, seed):
    identity = f"{_VERSION} {dataset.fingerprint} {num_steps} {seed}"
    name = dataset.name.encode()[:_MOST_OF_NAME].decode(errors="ignore")
    return Path(cache_dir) / f"features-{name}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.npz"


def _shapes(model, image_shape):
    return jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, *image_shape), jnp.float32))


def _read_cache(path, expected):
    """(variables, accuracy); None where there is no file, or not one that was written here and is whole."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}  # each checked against its CRC-32
    except _DAMAGE:
        return None
    leaves, structure = jax.tree_util.tree_flatten_with_path(expected)
    shapes = {_name(key): leaf.shape for key, leaf in leaves} | {"accuracy": ()}
    if {name: array.shape for name, array in arrays.items()} != shapes:
        return None
    accuracy = float(arrays["accuracy"])
    return jax.tree.unflatten(structure, [arrays[_name(key)] for key, _ in leaves]), accuracy


def _write_cache(path, variables, accuracy):
    """Writes the file whole or not at all; two processes may do so at the same time."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(variables)
    arrays = {_name(key): leaf for key, leaf in leaves} | {"accuracy": np.float64(accuracy)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="incomplete-", dir=path.parent) as folder:
        incomplete = Path(folder) / path.name
        with open(incomplete, "wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(incomplete, path)


def _name(key):
    return jax.tree_util.keystr(key, simple=True, separator="/")
