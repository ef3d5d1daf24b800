"""Parameters from our models to their twins and gradients back: shows that both are the same function.

    python -m benchmarks.twin.port DIRECTORY      # prints `max_difference` of a batch of its images, as JSON

A twin is ours in mirrored images (see `networks`), in PyTorch's order of axes:

    images     [B, H, W, C]     → [B, C, H, W], both sides mirrored
    kernels    [kh, kw, C, D]   → [D, C, kh, kw], both sides mirrored, of convolutions and of transposed ones
    matrices   [inputs, outputs] → [outputs, inputs], the flattened maps among them reordered as images are

Layers are compared in float64: in float32 rounding now and then decides on which side of its kink an activation is, and
moves gradients by up to a hundredth of their size.
"""

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import torch
from flax.traverse_util import flatten_dict
from torch import nn

from benchmarks.twin.networks import Dense, MultitaskVAE, VectorQuantiser
from mtvae_jax.conditioning import condition, draw_masks
from mtvae_jax.config import from_dict, to_dict
from mtvae_jax.models import build_model
from mtvae_jax.objective import Objective, intensities
from mtvae_jax.process import environment
from mtvae_jax.randomness import image_keys

# Images of the check.
_BATCH = 32

# Codebooks that are drawn, to take the one whose choices are the clearest.
_CODEBOOKS = 50


class Inputs(NamedTuple):
    """What one training step of both starts from.

    **objective**: ours; **variables**: {"params": …, "batch_stats": …}; **images**: uint8 [B, H, W, C]; **latent_keys**
    and **mask_keys**: typed keys [B]; what ours draws from them: **noise**, float [B, Z] or None, and **masks**, bool
    [B, H, W, 1] or None.
    """

    objective: Objective
    variables: dict[str, Any]
    images: np.ndarray
    latent_keys: jax.Array
    mask_keys: jax.Array
    noise: np.ndarray | None
    masks: np.ndarray | None


class Step(NamedTuple):
    """What a training step computes, as numpy arrays in Flax's layout.

    **loss**; **reconstructions**: a list of float [B, H, W, C], one a decoder; **gradients**: path → array, of the loss
    by each parameter; **statistics**: path → array, running statistics after the step.
    """

    loss: float
    reconstructions: list[np.ndarray]
    gradients: dict[str, np.ndarray]
    statistics: dict[str, np.ndarray]


def max_difference(config, images):
    """How far a training step of the twin is from ours.

    **Arguments:** `config`: resolved; `images`: uint8 [B, H, W, C], a batch.
    **Returns:** {"outputs": the largest difference of two intensities in [0, 1], "gradients": the largest difference
    of two derivatives, as a share of the largest derivative by the same array of parameters}.
    """
    inputs = make_inputs(config, images)
    ours, theirs = our_step(inputs), their_step(inputs)
    outputs = [np.abs(a - b).max() for a, b in zip(ours.reconstructions, theirs.reconstructions, strict=True)]
    gradients = [relative_difference(theirs.gradients[path], ours.gradients[path]) for path in ours.gradients]
    return {"outputs": float(np.max(outputs)), "gradients": float(np.max(gradients))}


def relative_difference(array, reference):
    """The largest difference as a share of the largest number of `reference`."""
    return np.abs(array - reference).max() / np.abs(reference).max()


def make_inputs(config, images):
    """**Arguments:** as `max_difference`. **Returns:** `Inputs`, with parameters none of which is 0."""
    config = config.copy_and_resolve_references()
    with config.unlocked():
        config.train.precision = "float64"  # of layers; parameters, z and losses stay float32
    objective = Objective(build_model(config, images.shape[1:], axis_name=None), config, images.shape[1:])
    init_key, latent_key, mask_key = jax.random.split(jax.random.key(0), 3)
    latent_keys, mask_keys = (image_keys(key, len(images)) for key in (latent_key, mask_key))
    with jax.enable_x64(True):
        variables = _away_from_zero(objective.init(init_key))
        if config.model.latent == "vq":
            variables = _with_codes_in_use(objective.model, variables, images)
        noise = masks = None
        if config.model.latent == "gaussian":
            draws = jax.vmap(lambda key: jax.random.normal(key, (config.model.latent_dim,)))(latent_keys)
            noise = np.asarray(draws)
        if objective.method.conditional_decoder:
            masks = np.asarray(draw_masks(config, mask_keys, *images.shape[1:3]))
    return Inputs(objective, variables, images, latent_keys, mask_keys, noise, masks)


def our_step(inputs):
    """`Inputs` → `Step`, by the objective that training minimises."""
    objective = inputs.objective

    @jax.jit
    def step(variables, images):
        gradient = jax.value_and_grad(objective.training_loss, has_aux=True)
        (loss, (statistics, _)), gradients = gradient(
            variables["params"], variables["batch_stats"], {"images": images}, inputs.latent_keys, inputs.mask_keys
        )
        x = intensities(images)
        m = None if inputs.masks is None else condition(x, inputs.masks)
        output, _ = objective.model.apply(variables, x, m, inputs.latent_keys, train=True, mutable=["batch_stats"])
        return loss, [getattr(output, name) for name in objective.decoder_terms], gradients, statistics

    with jax.enable_x64(True):
        loss, reconstructions, *trees = jax.device_get(step(inputs.variables, inputs.images))
    return Step(float(loss), reconstructions, *(flatten_dict(tree, sep="/") for tree in trees))


def their_step(inputs):
    """`Inputs` → `Step`, by the twin on the CPU."""
    model = MultitaskVAE(to_dict(inputs.objective.config), inputs.images.shape[1:])
    copy_variables(inputs.variables, model)
    model.double()
    for part in (model.encoder, model.decoder, model.conditional_decoder):
        if part is not None:  # as ours do at their doors
            part.register_forward_pre_hook(lambda _, inputs: tuple(x.double() for x in inputs))
    # Compiled as ours is, which divides by 255 with another rounding than numpy.
    images = images_to_twin(jax.jit(intensities)(inputs.images))
    masks = None if inputs.masks is None else images_to_twin(inputs.masks).float()
    output = model.outputs(images, masks, None if inputs.noise is None else torch.tensor(inputs.noise))
    loss = model.loss(output, images)
    loss.backward()
    reconstructions = [images_to_flax(x) for x in output.reconstructions]
    gradients = to_flax(model, "params", lambda parameter: parameter.grad)
    return Step(loss.item(), reconstructions, gradients, to_flax(model, "batch_stats", lambda buffer: buffer))


def _away_from_zero(variables):
    """Changes all variables a little at random: those that start at 0 or 1 would hide that they are in wrong places."""
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: np.float32(leaf + 0.05 * rng.normal(size=leaf.shape)), variables)


def _with_codes_in_use(model, variables, images):
    """Takes codes that lie among the encoder's outputs, so that many are chosen, and each clearly.

    Where rounding decides between two codes, two steps differ by more than rounding, and rightly so. Of several
    codebooks this takes the one that leaves it the least to decide.
    """

    @jax.jit
    def outputs(variables, images):
        x = intensities(images)
        return model.apply(variables, x, train=True, mutable=["batch_stats"], method="encoder_outputs")

    z_e, _ = outputs(variables, images)
    z_e = np.asarray(z_e, np.float64).reshape(-1, z_e.shape[-1])
    latent, rng = variables["params"]["latent"], np.random.default_rng(0)

    def draw():
        codes = z_e[rng.choice(len(z_e), len(latent["codebook"]))]
        return codes + 0.3 * z_e.std(axis=0) * rng.normal(size=codes.shape)

    def clearness(codes):
        distances = np.sum(codes**2, axis=1) - 2.0 * z_e @ codes.T
        nearest, second = np.partition(distances, 1, axis=1)[:, :2].T
        return np.min(second - nearest)

    codebook = max((draw() for _ in range(_CODEBOOKS)), key=clearness)
    return variables | {"params": variables["params"] | {"latent": latent | {"codebook": np.float32(codebook)}}}


# ------------------------------------------------------------------------------------------------------- there and back


def images_to_twin(images):
    """[B, H, W, C] → tensor [B, C, H, W], mirrored."""
    return torch.tensor(np.asarray(images)[:, ::-1, ::-1].transpose(0, 3, 1, 2).copy())


def images_to_flax(images):
    """Tensor [B, C, H, W] → numpy [B, H, W, C], mirrored."""
    return images.detach().numpy().transpose(0, 2, 3, 1)[:, ::-1, ::-1]


def copy_variables(variables, model):
    """Copies ours, {"params": …, "batch_stats": …}, into a twin.

    **Raises:** `ValueError` where an array of the one has no counterpart of its shape in the other.
    """
    ours = flatten_dict({"params": variables["params"], "batch_stats": variables.get("batch_stats", {})})
    leaves = {leaf.path: leaf for leaf in _leaves(model)}
    if unpaired := set(ours) ^ set(leaves):
        raise ValueError(f"without a counterpart: {', '.join(sorted('/'.join(path) for path in unpaired))}")
    for path, leaf in leaves.items():
        expected = leaf.layout.to_flax(leaf.tensor.detach().numpy()).shape
        if ours[path].shape != expected:
            raise ValueError(f"{'/'.join(path)}: {ours[path].shape} of ours, {expected} of the twin's")
        with torch.no_grad():
            leaf.tensor.copy_(torch.tensor(leaf.layout.to_twin(np.asarray(ours[path])).copy()))


def to_flax(model, collection, value_of):
    """Path → array like ours, of `value_of(tensor)` of all of a twin's tensors of a collection.

    Running variances differ by convention: PyTorch averages n / (n − 1) times the variance of the n values of a batch.
    """
    return {
        "/".join(leaf.path[1:]): leaf.layout.to_flax(value_of(leaf.tensor).detach().numpy())
        for leaf in _leaves(model)
        if leaf.path[0] == collection
    }


class _Layout(NamedTuple):
    """How an array of a kind goes from Flax's order to the twin's, and back."""

    to_twin: Callable
    to_flax: Callable


_SAME = _Layout(lambda array: array, lambda array: array)
# Of convolutions, and of transposed ones: both frameworks write them as the convolution they undo.
_KERNEL = _Layout(
    lambda kernel: kernel[::-1, ::-1].transpose(3, 2, 0, 1), lambda weight: weight.transpose(2, 3, 1, 0)[::-1, ::-1]
)


def _matrix(dense):
    inputs, outputs = _order(dense.input_shape), _order(dense.output_shape)
    there = np.ix_(inputs, outputs)
    back = np.ix_(np.argsort(inputs), np.argsort(outputs))
    return _Layout(lambda kernel: kernel[there].T, lambda weight: weight.T[back])


def _outputs(dense):
    outputs = _order(dense.output_shape)
    return _Layout(lambda bias: bias[outputs], lambda bias: bias[np.argsort(outputs)])


def _order(shape):
    """For each number of a twin's flat array of a shape, (C, h, w) or (Z,), its place in ours."""
    places = np.arange(math.prod(shape))
    if len(shape) == 3:
        channels, height, width = shape
        places = places.reshape(height, width, channels)[::-1, ::-1].transpose(2, 0, 1).ravel()
    return places


class _Leaf(NamedTuple):
    """An array of a twin: its path among our variables, the collection first; the tensor; its layout."""

    path: tuple[str, ...]
    tensor: torch.Tensor
    layout: _Layout


def _leaves(model):
    for name, module in model.named_modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            arrays = {"kernel": (module.weight, _KERNEL), "bias": (module.bias, _SAME)}
        elif isinstance(module, Dense):
            arrays = {"kernel": (module.weight, _matrix(module)), "bias": (module.bias, _outputs(module))}
        elif isinstance(module, nn.BatchNorm2d):
            arrays = {"scale": (module.weight, _SAME), "bias": (module.bias, _SAME)}
            arrays |= {"mean": (module.running_mean, _SAME), "var": (module.running_var, _SAME)}
        elif isinstance(module, VectorQuantiser):
            arrays = {"codebook": (module.codebook, _SAME)}
        else:
            continue
        # What a twin's `layers` only group lies side by side in ours.
        path = [part for part in name.split(".") if part != "layers"]
        for array, (tensor, layout) in arrays.items():
            if tensor is not None:
                collection = "batch_stats" if array in ("mean", "var") else "params"
                yield _Leaf((collection, *path, array), tensor, layout)


def main(directory):
    """**Arguments:** `directory`: with config.json and images.npy (uint8 [N, H, W, C])."""
    environment.configure()
    config = from_dict(json.loads((directory / "config.json").read_text()))
    print(json.dumps(max_difference(config, np.load(directory / "images.npy")[:_BATCH])))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
