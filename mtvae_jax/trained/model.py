"""What a trained model is for: encoding, reconstructing and sampling images."""

import copy
import functools
import numbers
import os

import jax
import numpy as np

from mtvae_jax.conditioning import condition
from mtvae_jax.config import from_dict
from mtvae_jax.errors import UserError, number_of, warn
from mtvae_jax.methods import METHODS
from mtvae_jax.models import build_model, init_variables
from mtvae_jax.models.factors import covariance_root
from mtvae_jax.objective import reconstruct_unconditioned
from mtvae_jax.process.environment import own_numbers
from mtvae_jax.trained.acquisition import greedy_pixels
from mtvae_jax.trained.batches import batched, batched_draws
from mtvae_jax.trained.inputs import as_array, as_images, check_count, check_key, without_hidden
from mtvae_jax.trained.masks import unlike_training
from mtvae_jax.trained.prior import LearnedPrior, load_prior
from mtvae_jax.workdir.checkpoints import read_checkpoint
from mtvae_jax.workdir.directory import read_run, user_path

LEAST_VARIANCE = 1e-4  # of a pixel's noise; codes have no variance of their own


# The network is an argument, and equal ones share a program: all models of one description, at all points of training.
@functools.partial(jax.jit, static_argnums=0)
def _encode(network, variables, images, keys):
    return network.apply(variables, images, keys, method="encode")


@functools.partial(jax.jit, static_argnums=0)
def _embed(network, variables, codes):
    return network.apply(variables, codes, method="embed")


@functools.partial(jax.jit, static_argnums=0)
def _decode(network, variables, z, m):
    return network.apply(variables, z, m, method="decode")[1]


@functools.partial(jax.jit, static_argnums=(0, 3))
def _prior_sample(network, variables, key, num):
    return network.apply(variables, key, num, method="prior_sample")


_decode_alone = jax.jit(reconstruct_unconditioned, static_argnums=(0, 1, 2))
_condition = jax.jit(condition)
_covariance_root = jax.jit(covariance_root)
_keys = jax.jit(jax.vmap(jax.random.fold_in, (None, 0)))  # those of `image_keys`, by the images' positions


@jax.jit
def _draw_keys(key, places):
    """Keys of places int [R, 2]: which draw, of which image."""
    return jax.vmap(lambda place: jax.random.fold_in(jax.random.fold_in(key, place[0]), place[1]))(places)


class Model:
    """A trained model, and the prior of its second stage where there is one.

    **Arguments:** `config`: resolved; `image_shape`: (H, W, C); `variables`: {"params": …, "batch_stats": …};
    `prior`: a `LearnedPrior` or None; `step`: of training, for reports.

    Methods take images as float [N, H, W, C] in [0, 1] or uint8, masks as bool [N, H, W, 1] or [H, W, 1], of which the
    first that is unlike those of training is warned of, and return numpy arrays; any N works, in batches of a few
    sizes, so that another N seldom compiles anything. A model can be pickled.
    """

    def __init__(self, config, image_shape, variables, *, prior=None, step=None):
        self.config = config
        self.prior = prior
        self.step = step
        self.image_shape = tuple(image_shape)
        self.variables = variables
        self.method = METHODS[config.model.method]
        self._warned = []  # of masks unlike training's, once; the list is shared by copies of the model
        self._network = build_model(config, image_shape, axis_name=None)
        self._knows_prior = self._network.latent.knows_prior
        if config.prior.joint:
            self.prior = LearnedPrior.within(self._network, config, image_shape, variables)

    def with_variables(self, variables):
        """Returns the same model at another point of its training."""
        model = copy.copy(self)
        model.variables = variables
        if model.config.prior.joint and model.prior is not None:
            model.prior = LearnedPrior.within(model._network, model.config, model.image_shape, variables)
        return model

    def with_prior(self, prior):
        """Returns the same model with another prior."""
        model = copy.copy(self)
        model.prior = prior
        return model

    @own_numbers
    def encode(self, images, key=None):
        """Returns z of each image: for a Gaussian latent float32 [N, Z], the posterior's mean, or a draw from it with
        `key`; for a vector-quantised one the embedded codes, float32 [N, h, w, D].
        """
        return self._encoded("z", images, key)

    @own_numbers
    def posterior(self, images):
        """Returns q(z|x) of each image: codes int32 [N, h, w], or mean and log-variance, float32 [N, 2, Z]."""
        return self._encoded("posterior", images, None)

    @own_numbers
    def codes(self, images):
        """Returns the codes of each image, int32 [N, h, w], in 0 … K − 1. **Raises:** `UserError` where z is no codes.
        """
        if self._network.latent.num_codes is None:
            raise UserError(f"codes: a {self.config.model.latent} z is no codes; encode gives z")
        return self._encoded("posterior", images, None)

    @own_numbers
    def decode(self, z, images=None, mask=None):
        """Returns x̂ of each z, as `encode` gives it, from z alone or with the pixels of `images` that `mask` reveals.

        **Arguments:** `z`: float [N, …], or codes, int [N, h, w]; `images`, `mask`: both or neither, as in `sample`.
        **Returns:** float32 [N, H, W, C]. **Raises:** `UserError` as `sample`.
        """
        _both_or_neither("decode", images, mask)
        z, network = as_array("z", z), self._network
        if z.dtype.kind in "iu" and network.latent.num_codes is not None:
            grid, most = network.latent.grid, network.latent.num_codes - 1
            if z.shape[1:] != tuple(grid) or len(z) == 0 or z.min() < 0 or z.max() > most:
                shape = ", ".join(map(str, grid))
                raise UserError(f"z: codes must have the shape (N, {shape}), N at least 1, and lie in 0 … {most}")
            z = batched(lambda codes: _embed(network, self.variables, codes), z.astype(np.int32))
        shape = self._z_shape()
        if z.shape[1:] != shape or len(z) == 0 or not np.issubdtype(z.dtype, np.floating) or not np.isfinite(z).all():
            raise UserError(f"z: must be finite floats of shape ({', '.join(map(str, ('N', *shape)))}), as encode "
                            f"gives them; has shape {z.shape} and type {z.dtype}")
        if images is not None:
            images = as_images(without_hidden(images, mask), self.image_shape)
            if len(images) != len(z):
                raise UserError(f"images: must be as many as there are z; got {len(images)} and {len(z)}")
        return self._decode(z.astype(np.float32), self._revealed(images, mask))

    @own_numbers
    def interpolate(self, a, b, steps):
        """Returns x̂ on the way from each image of `a` to the one of `b`, from z alone: the first are the
        reconstructions of `a`, the last those of `b`.

        A normal z turns from one to the other (spherical interpolation: between two draws from N(0, I) a straight line
        passes places where there are hardly any); of codes the embeddings are mixed.

        **Arguments:** `a`, `b`: images [N, H, W, C]; `steps`: how many, at least 2.
        **Returns:** float32 [steps, N, H, W, C]. **Raises:** `UserError` for a model that always needs revealed pixels.
        """
        check_count("steps", steps)
        if steps < 2:
            raise UserError(f"steps = {steps}: must be at least 2, the two ends")
        a, b = self.encode(a), self.encode(b)
        if len(a) != len(b):
            raise UserError(f"b: must be as many images as a; got {len(b)} and {len(a)}")
        between = self._network.latent.between
        return np.stack([self.decode(np.asarray(between(a, b, share))) for share in np.linspace(0, 1, steps)])

    @own_numbers
    def traverse(self, images, dimension, values, mask=None):
        """Returns x̂ of each image with one dimension of its z set to each of `values`, the others as they are.

        **Arguments:** `images`; `dimension`: in 0 … Z − 1; `values`: floats [V]; z ~ N(0, I), so −3 … 3 is its range;
        `mask`: which of the images' pixels the decoder sees, None for z alone.
        **Returns:** float32 [V, N, H, W, C]. **Raises:** `UserError` for codes, which have no dimensions of that kind.
        """
        if self._network.latent.num_codes is not None:
            raise UserError(f"traverse: a {self.config.model.latent} z is codes, of which no dimension can be set")
        values = as_array("values", values)
        if values.ndim != 1 or len(values) == 0 or values.dtype.kind not in "iuf" or not np.isfinite(values).all():
            raise UserError("values: must be a list of finite numbers")
        size = self.config.model.latent_dim
        if not isinstance(dimension, numbers.Integral) or isinstance(dimension, bool) or not 0 <= dimension < size:
            raise UserError(f"dimension = {dimension!r}: must be an integer in 0 … {size - 1}")
        z, known = self.encode(images), None if mask is None else images
        here = np.arange(size) == dimension
        return np.stack([self.decode(np.where(here, np.float32(value), z), known, mask) for value in values])

    def export(self, path):
        """Writes encoder and decoders as programs that need JAX alone; see `mtvae_jax.trained.export.export`."""
        from mtvae_jax.trained.export import export  # its libraries are an extra

        export(self, path)

    def _z_shape(self):
        """Of one image."""
        image = jax.ShapeDtypeStruct((1, *self.image_shape), np.float32)
        return jax.eval_shape(functools.partial(_encode, self._network), self.variables, image, None).z.shape[1:]

    def _encoded(self, part, images, key):
        check_key(key)
        images = as_images(images, self.image_shape)

        def encode(images, position):
            keys = None if key is None else _keys(key, position)
            return getattr(_encode(self._network, self.variables, images, keys), part)

        return batched(encode, images, np.arange(len(images)))

    @own_numbers
    def reconstruct(self, images, mask=None, num_samples=1, key=None):
        """Returns x̂ of each image: from z alone, or with `mask` from z and the revealed pixels (thesis 3.2, 3.3).

        **Arguments:** `mask`: which pixels the decoder sees; `num_samples`: draws of z an image, of which codes have
        but one; `key`: for the draws; None takes z at the posterior's mean.
        **Returns:** float32 [N, H, W, C], or [num_samples, N, H, W, C] for more than one.
        **Raises:** `UserError` for a mask that the model cannot use, or cannot do without, and for several draws of
        codes.
        """
        images = as_images(images, self.image_shape)
        check_count("num_samples", num_samples)
        check_key(key)
        if num_samples > 1 and key is None:
            raise UserError(f"num_samples = {num_samples}: several draws need a key, such as jax.random.key(0)")
        if num_samples > 1 and self._network.latent.num_codes is not None:
            raise UserError(
                f"num_samples = {num_samples}: an image has one reconstruction from its codes, which are not drawn; "
                "must be 1, or use sample, which draws codes from the prior"
            )
        m = self._revealed(images, mask)
        if num_samples == 1:
            return self._decode(self._encoded("z", images, None if key is None else jax.random.fold_in(key, 0)), m)
        z = [self._encoded("z", images, jax.random.fold_in(key, sample)) for sample in range(num_samples)]
        return self._decode_draws(np.stack(z), m)

    @own_numbers
    def sample(self, n, key, images=None, mask=None, *, labels=None, prior=None):
        """Returns images from nothing, or from the pixels of `images` that `mask` reveals; the hidden ones are never
        looked at.

        z comes from the best prior there is: given pixels from p(z|m), if the second stage has learned it, and without
        them from the learned p(z), if there is one, else from the latent's own. It goes through the decoder that sees
        m, or through the one that does not. Draws of one image given pixels are draws of what its hidden pixels may
        be: their mean and standard deviation are over the first axis.

        Each draw depends on `key` and its place alone: `sample(5, key)` is the first five of `sample(10, key)`, and an
        image's draws are the same whatever images stand behind it.

        **Arguments:** `n`: number of draws; `key`: one typed key; `images`, `mask`: both or neither; `labels`: int [n],
        or [N] with `images`, for a prior that was trained with classes; None draws them too, from p(y|m), or from
        their frequencies in training for p(z); `prior`: None, "conditional" for p(z|m), "unconditional" for p(z), or
        "untrained" for the latent's own: N(0, I), or codes that are all equally likely.
        **Returns:** float32 [n, H, W, C], or with `images` [n, N, H, W, C].
        **Raises:** `UserError` for a model that cannot do without revealed pixels, or a prior that it has not; and as
        `reconstruct`.
        """
        check_count("n", n)
        if key is None:
            raise UserError("key = None: draws need a key, such as jax.random.key(0)")
        check_key(key)
        _both_or_neither("sample", images, mask)
        prior = self._which_prior(prior, mask)
        images = None if images is None else as_images(without_hidden(images, mask), self.image_shape)
        labels = self._labels(n if images is None else len(images), labels, prior)
        if images is None:
            self._revealed(np.zeros((0, *self.image_shape), np.float32), None)
            return self._decode(self._draw(prior, key, n, labels), None)
        m = self._revealed(images, mask)
        return self._decode_draws(self._draw_given(prior, key, n, m, labels), m)

    @own_numbers
    def next_pixels(self, images, mask, n, key, *, draws=64):
        """Returns the `n` pixels of each image whose values would say most about the rest, given those that `mask`
        reveals.

        They are those that lower the variance of draws of p(x|m) most, and with `model.factors` what factor analysis
        says of it, see `acquisition.greedy_pixels`: nothing is trained for it, and the hidden pixels are never looked
        at. Chosen one at a time, each after a look at the one before, they are better than `n` at once.

        **Arguments:** `images`, `mask`: as in `sample`; `n`: at most as many as are hidden in each image; `key`: one
        typed key; `draws`: of p(x|m), by which variances are estimated.
        **Returns:** int32 [N, n, 2], row and column, the most telling first.
        **Raises:** `UserError` as `sample`, and for an `n` that is too large.
        """
        check_count("n", n)
        check_count("draws", draws)
        if draws < 2:
            raise UserError(f"draws = {draws}: a variance needs at least 2")
        sampled = self.sample(draws, key, images, mask)
        mask = np.broadcast_to(np.asarray(mask, bool), (*sampled.shape[1:4], 1))
        hidden = int((~mask).sum((1, 2, 3)).min())
        if n > hidden:
            raise UserError(f"n = {n}: an image has {number_of(hidden, 'hidden pixel')} left; must be at most {hidden}")
        variance = max(self.config.loss.variance or 0.0, LEAST_VARIANCE)
        return np.asarray(greedy_pixels(sampled, mask, int(n), variance, self._linear_root(images, mask)))

    def _linear_root(self, images, mask):
        """What the first guess of the image knows of its covariance, [N, K, H·W·C]; None without one."""
        if not self.config.model.factors:
            return None
        guess = self.variables["batch_stats"]["context"]["guess"]
        m = self._revealed(as_images(without_hidden(images, mask), self.image_shape), mask)
        return batched(lambda m: _covariance_root(m, guess["loadings"], guess["noise"].reshape(-1)), m)

    def _which_prior(self, prior, mask):
        """The prior asked for, or the best there is."""
        learned = self.prior is not None and self.prior.knows_nothing_revealed
        conditional = self.prior is not None and self.prior.sees_pixels
        known = self._knows_prior
        if prior is None:
            if mask is not None and conditional:
                return "conditional"
            return "unconditional" if learned or known else "untrained"
        if not isinstance(prior, str) or prior not in ("conditional", "unconditional", "untrained"):
            raise UserError(f"prior = {prior!r}: must be 'conditional', 'unconditional', 'untrained' or None")
        if prior == "conditional" and (mask is None or not conditional):
            missing = "images and a mask" if mask is None else "a second stage that has learned p(z|m)"
            raise UserError(f"prior = 'conditional': needs {missing}")
        if prior == "unconditional" and not (learned or known):
            raise UserError("prior = 'unconditional': needs a second stage that has learned p(z)")
        return prior

    def _draw(self, prior, key, num, labels):
        """`num` draws of z."""
        if prior == "untrained" or (prior == "unconditional" and self._knows_prior and labels is None):
            more = 1 << (int(num) - 1).bit_length()  # a program for each power of 2; the first are the same
            return np.asarray(_prior_sample(self._network, self.variables, key, more))[:num]

        def draw(position, labels):
            return self._embed(self.prior.sample(_keys(key, position), None, labels))

        return batched(draw, np.arange(num), labels)

    def _draw_given(self, prior, key, n, m, labels):
        """`n` draws of z for each m, [n, N, …]."""
        if prior != "conditional":
            return np.stack([self._draw(prior, jax.random.fold_in(key, i), len(m), labels) for i in range(n)])

        def draw(places, m, labels):
            return self._embed(self.prior.sample(_draw_keys(key, places), m, labels))

        places = np.stack(np.meshgrid(np.arange(n), np.arange(len(m)), indexing="ij"), axis=-1)
        return batched_draws(draw, places, m, labels)

    def _embed(self, drawn):
        return _embed(self._network, self.variables, drawn)

    def _labels(self, num, labels, prior):
        """The labels that were given, int32 [num], or None."""
        classes = 0 if self.prior is None or prior == "untrained" else self.prior.num_classes
        if labels is None and prior == "unconditional" and self._knows_prior:
            return None
        if not classes:
            if labels is not None:
                raise UserError("labels: the prior was trained without; train one with config.prior.class_conditional")
            return None
        counts = self.prior.label_counts
        if labels is None:
            if counts is None:
                warn(
                    "labels: all classes are drawn alike, because the prior was trained by an earlier version, which "
                    "did not learn how likely each is; give labels, or delete the folder prior-… of the run and run "
                    "its command again",
                )
            return None
        labels = as_array("labels", labels)
        if labels.shape != (num,) or labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= classes:
            raise UserError(f"labels: must be {num} integers in 0 … {classes - 1}")
        unseen = [] if counts is None else labels[np.asarray(counts)[labels] == 0]
        if len(unseen):
            raise UserError(f"labels: {unseen[0]} is the label of no image that the prior was trained on")
        return labels.astype(np.int32)

    def _decode(self, z, m):
        return self._decode_draws(z[None], m)[0]

    def _decode_draws(self, z, m):
        """z [S, N, …], and m [N, H, W, C+1] or None → images [S, N, H, W, C]."""
        network, variables = self._network, self.variables
        if m is not None:
            return batched_draws(lambda z, m: _decode(network, variables, z, m), z, m)
        rows = batched(
            lambda z: _decode_alone(network, self.method, self.image_shape, variables, z), z.reshape(-1, *z.shape[2:])
        )
        return rows.reshape(*z.shape[:2], *self.image_shape)

    def _revealed(self, images, mask):
        """m of the images for the conditional decoder, None for reconstruction from z alone."""
        name = self.config.model.method
        if mask is None:
            if not self.method.unconditioned:
                raise UserError(f"mask = None: a {name} model always needs revealed pixels; give a mask [N, H, W, 1]")
            return None
        if not self.method.conditional_decoder:
            raise UserError(f"mask: a {name} model has no decoder that sees pixels; leave the mask out")
        mask = as_array("mask", mask)
        height, width, _ = self.image_shape
        allowed = (len(images), height, width, 1), (height, width, 1)
        if mask.shape not in allowed:
            raise UserError(f"mask: has shape {mask.shape}, must be {allowed[0]} or {allowed[1]}")
        if mask.dtype.kind not in "biuf" or not np.isin(mask, (0, 1)).all():
            raise UserError("mask: must be True or 1 where a pixel is revealed and False or 0 elsewhere")
        if not self._warned:
            unlike = unlike_training(self.config, mask.reshape(-1, height, width).astype(bool))
            if unlike is not None:
                self._warned.append(unlike)
                warn(unlike)
        return batched(_condition, images, np.broadcast_to(mask, allowed[0]))

def _both_or_neither(method, images, mask):
    if (images is None) != (mask is None):
        raise UserError(f"{method}: images and mask say together which pixels are known; give both or neither")


@own_numbers
def load(workdir, which="best", *, prior=True):
    """Returns the model that a run trained.

    **Arguments:** `workdir`: a run's work directory; `which`: "best" by validation loss, or "latest"; `prior`: with the
    prior that the second stage has learned for it, if there is one.
    **Returns:** a `Model`.
    **Raises:** `UserError` where there is no such run or no checkpoint yet.
    """
    if not isinstance(which, str) or which not in ("best", "latest"):
        raise UserError(f"which = {which!r}: must be 'best' or 'latest'")
    if not isinstance(prior, bool):
        raise UserError(f"prior = {prior!r}: must be True or False")
    if not isinstance(workdir, (str, os.PathLike)) or "\0" in str(workdir):
        raise UserError(f"workdir = {workdir!r}: must be the path of a run's work directory")
    workdir = user_path(workdir)
    run = read_run(workdir)
    config = from_dict(run["config"])
    image_shape = run["data"].get("image_shape")
    if not isinstance(image_shape, list) or len(image_shape) != 3 or not all(isinstance(n, int) for n in image_shape):
        raise UserError(f"{workdir / 'config.json'}: is not the description of a run; restore it from a copy")
    network = build_model(config, image_shape, axis_name=None)
    template = jax.eval_shape(lambda key: init_variables(network, key, image_shape), jax.random.key(0))
    found = read_checkpoint(workdir / "checkpoints", template, which)
    if found is None:
        raise UserError(f"{workdir / 'checkpoints'}: no checkpoint yet; train the model for an epoch first")
    variables, step = found
    model = Model(config, image_shape, variables, step=step)
    if prior and not config.prior.joint:
        model = model.with_prior(load_prior(workdir, config, image_shape, step))
    return model if prior else model.with_prior(None)


