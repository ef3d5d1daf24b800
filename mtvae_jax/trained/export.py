"""A trained model as programs for people who have JAX and not this project: StableHLO with the weights in it."""

from importlib import metadata

import jax
import jax.numpy as jnp

from mtvae_jax.conditioning import condition
from mtvae_jax.config import model_name
from mtvae_jax.errors import UserError, number_of
from mtvae_jax.objective import reconstruct_unconditioned
from mtvae_jax.ops.backend import for_any_number
from mtvae_jax.workdir.directory import user_path, write_json

SUFFIX = ".jax_export"
_PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
_MEANINGS = {
    "encoder": "images → z: the mean of the posterior, or the embedded codes",
    "decoder": "z → images, from z alone",
    "conditional_decoder": "z, images, mask → images: the mask is 1 where a pixel is known, 0 elsewhere",
    "prior": "seed, images, mask → z drawn from p(z|m), what the known pixels leave open; another seed, another draw",
}


def export(model, path):
    """Writes the encoder, the decoders and p(z|m) of a `Model` into a folder, each for any number of images.

    **Arguments:** `model`; `path`: a folder, made if missing. What is there under the same names is replaced.
    **Raises:** `UserError` where the extra is missing, or the folder cannot be written.
    """
    try:
        import flatbuffers  # noqa: F401  jax.export writes with it
    except ImportError as error:
        raise UserError("export: flatbuffers is not installed; pip install 'mtvae-jax[export]'") from error
    path = user_path(path)
    programs, written = _programs(model), {}
    try:
        path.mkdir(parents=True, exist_ok=True)
        for name, (function, *arguments) in programs.items():
            with for_any_number():
                exported = jax.export.export(jax.jit(function), platforms=_PLATFORMS)(*arguments)
            (path / f"{name}{SUFFIX}").write_bytes(exported.serialize())
            written[name] = {
                "arguments": [_described(argument) for argument in exported.in_avals],
                "returns": [_described(returned) for returned in exported.out_avals],
            }
        description = {"model": model_name(model.config), "step": model.step, "image_shape": model.image_shape,
                       "jax": metadata.version("jax"), "programs": written}
        write_json(path / "programs.json", description)
        (path / "README.md").write_text(_readme(description), encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); choose another folder") from error


def _programs(model):
    """Name → function and the shapes of its arguments, whose first axis is any number."""
    network, variables, method, prior = model._network, model.variables, model.method, model.prior
    (num,) = jax.export.symbolic_shape("n")
    images = jax.ShapeDtypeStruct((num, *model.image_shape), jnp.float32)
    mask = jax.ShapeDtypeStruct((num, *model.image_shape[:2], 1), jnp.float32)
    z = jax.ShapeDtypeStruct((num, *model._z_shape()), jnp.float32)
    programs = {"encoder": (lambda images: network.apply(variables, images, None, method="encode").z, images)}
    if method.unconditioned:
        programs["decoder"] = (
            lambda z: reconstruct_unconditioned(network, method, model.image_shape, variables, z), z
        )  # fmt: skip
    if method.conditional_decoder:
        programs["conditional_decoder"] = (
            lambda z, images, mask: network.apply(variables, z, condition(images, mask), method="decode")[1],
            z, images, mask,
        )  # fmt: skip
    if prior is not None and prior.sees_pixels:
        programs["prior"] = (_drawing(model), jax.ShapeDtypeStruct((), jnp.uint32), images, mask)
    return programs


def _drawing(model):
    def draw(seed, images, mask):
        places = jnp.arange(images.shape[0], dtype=jnp.uint32)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), places)
        m = condition(images, mask)
        drawn = model.prior.network.apply(model.prior.variables, keys, m, None, method="sample")
        return model._network.apply(model.variables, drawn, method="embed")

    return draw


def _described(array):
    return f"{array.dtype} [{', '.join(map(str, array.shape))}]"


def _readme(description):
    rows = [
        (f"`{name}{SUFFIX}`", _MEANINGS[name].replace("|", r"\|"), ", ".join(program["arguments"]),
         ", ".join(program["returns"]))
        for name, program in description["programs"].items()
    ]
    programs = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    given = ""
    if "prior" in description["programs"]:
        given = """
# What may be behind the known pixels: here the left half of the images
mask = np.zeros((*images.shape[:3], 1), np.float32)
mask[:, :, : images.shape[2] // 2] = 1
draws = np.stack([
    program("conditional_decoder")(program("prior")(np.uint32(seed), images, mask), images, mask) for seed in range(16)
])
print(draws.mean(0).shape, draws.std(0).mean())
"""
    back = "decoder" if "decoder" in description["programs"] else "conditional_decoder"
    arguments = "z" if back == "decoder" else "z, images, mask"
    mask = "" if back == "decoder" else "mask = np.ones((*images.shape[:3], 1), np.float32)\n"
    height, width, channels = description["image_shape"]
    channels_in_words = number_of(channels, "channel")
    return f"""# {description["model"]}, exported

Programs with the weights in them, for CPUs, NVIDIA and AMD GPUs and TPUs, and for any number of images n. They need JAX
(written by {description["jax"]}; JAX promises to read them for six months) and `flatbuffers`, nothing else.

| file | what it does | takes | returns |
|---|---|---|---|
{programs}

Images are {height}×{width} with {channels_in_words}, in this order, floats in [0, 1]. Hidden pixels are not looked at.

```python
from functools import cache
from pathlib import Path

import jax
import numpy as np
from jax import export

here = Path(".")  # this folder


@cache  # read and compiled once
def program(name):
    return jax.jit(export.deserialize((here / f"{{name}}{SUFFIX}").read_bytes()).call)


images = np.random.rand(4, {height}, {width}, {channels}).astype(np.float32)  # yours
z = program("encoder")(images)
{mask}print(program("{back}")({arguments}).shape)
{given}```
"""
