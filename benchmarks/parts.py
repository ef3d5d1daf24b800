"""Where the time of a training step goes: each part alone, in turns with the whole step and the device's ceilings.

    python -m benchmarks.parts                                  # gauss_multi and vq_multi, 28×28×1
    python -m benchmarks.parts --latents=vq --methods=plain,single_decoder --shapes=64x64x3

A part is a compiled program that does what the step does for it, gradients included, and nothing else; a share is its
time over that of the whole step, within a round of turns. The parts need not sum to 1: what the step does besides
(gathering the batch, random keys, metrics) is in none of them, and alone a part cannot share what XLA fuses, nor, on a
GPU, the start of its kernels. Masks are timed for every sampling type that the method can have, against the same step.

A model's floor is the time that its arithmetic takes at the ceiling of products, or its memory traffic at the ceiling
of the memory, whichever is longer.
"""

import statistics

import jax
import jax.numpy as jnp
import optax

from benchmarks import ceiling
from benchmarks.harness import Benchmark, Table, command, spread
from benchmarks.program_cost import bytes_per_image, step_bytes, step_flops
from benchmarks.training import Training, objective_of
from benchmarks.turns import depending_on, ratio, recurrence, repeated, take_turns
from mtvae_jax.conditioning import COUNTS, SAMPLINGS, condition, draw_masks
from mtvae_jax.losses import mean_squared_error
from mtvae_jax.models import build_model
from mtvae_jax.objective import Objective, intensities
from mtvae_jax.randomness import image_keys
from mtvae_jax.training.optimizer import make_optimizer

STEP, MATMUL, TRIAD = "whole step", "product of matrices", "triad"


def measure(config, images, *, rounds, seconds):
    """Measures the step, its parts and the ceilings.

    **Returns:** {"images_per_second": a list, one a round, "compile_seconds", "memory_bytes", "flops_per_image",
    "bytes_per_image": None if unknown; "ceilings": of the machine, in the same rounds, and "reached": of them,
    "flops_per_second" and "bytes_per_second"; "shares": part → `turns.ratio` to the step}.
    """
    image_shape = images.shape[1:]
    training = Training({"images": images}, objective_of(config, image_shape))
    matmul, flops = ceiling.product(ceiling.training_precision(config.train.precision))
    triad, traffic = ceiling.triad()
    competitors = {STEP: training, MATMUL: matmul, TRIAD: triad, **programs(config, images)}
    times = take_turns(competitors, rounds=rounds, seconds=seconds)
    whole = times.pop(STEP)
    on_cpu = jax.default_backend() == "cpu"  # whose own program is not the one to count
    figures = {
        "images_per_second": [training.images_per_step / time for time in whole],
        "compile_seconds": training.compile_seconds,
        "memory_bytes": training.memory_bytes,
        "flops_per_image": step_flops(config, image_shape),
        "bytes_per_image": step_bytes(config, image_shape) if on_cpu else bytes_per_image(training.compiled, config),
        "ceilings": {
            "flops_per_second": [flops / time for time in times.pop(MATMUL)],
            "bytes_per_second": [traffic / time for time in times.pop(TRIAD)],
        },
        "shares": {name: ratio(time, whole) for name, time in times.items()},
    }
    return figures | {"reached": reached(figures)}


def reached(figures):
    """Holds training against the two ceilings.

    **Returns:** {"flops_per_second", "bytes_per_second"} → {"median": of training, "share": of the ceiling, a
    `turns.ratio`}; None for what is unknown.
    """
    shares = {}
    for name, cost in (("flops_per_second", "flops_per_image"), ("bytes_per_second", "bytes_per_image")):
        if figures[cost] is None:
            shares[name] = None
            continue
        speeds = [speed * figures[cost] for speed in figures["images_per_second"]]
        shares[name] = {"median": statistics.median(speeds), "share": ratio(speeds, figures["ceilings"][name])}
    return shares


def programs(config, images):
    """Returns part → `Program`, on one device."""
    image_shape, batch = images.shape[1:], config.train.batch_size
    images = intensities(jnp.asarray(images[:batch]))
    model = build_model(config, image_shape, axis_name=None)
    objective = Objective(model, config, image_shape)
    variables = objective.init(objective.base_key)
    keys = image_keys(objective.base_key, batch)
    m = None
    if objective.method.conditional_decoder:
        m = condition(images, draw_masks(config, keys, *image_shape[:2]))
    output = jax.jit(lambda variables: model.apply(variables, images, m, keys))(variables)

    parts = {}
    for sampling in _samplings(objective.method):
        parts[f"masks and m, {sampling}"] = repeated(_masks(config, sampling, objective.base_key), images)
    encoder_keys = jax.random.key_data(keys)
    parts["encoder and latent"] = repeated(
        _encoder(model, config), images, (_of(variables, "encoder", "latent"), encoder_keys)
    )
    for name, x in (("decoder", None), ("conditional_decoder", m)):
        if getattr(model, name) is not None:
            function = _decoder(model, name)
            parts[name.replace("_", " ")] = repeated(function, (output.latent.z, x), (_of(variables, name), images))
    reconstructions = [getattr(output, name) for name in objective.decoder_terms]
    parts["loss"] = repeated(_loss(config.loss.weights), reconstructions, images)
    optimizer = make_optimizer(config.train, steps_per_epoch=1)
    params = variables["params"]
    start = jax.tree.map(jnp.copy, params), optimizer.init(params)
    parts["optimiser"] = recurrence(_optimizer(optimizer), start, params)
    return parts


# ----------------------------------------------------------------- the functions, as `repeated` and `recurrence` want


def _masks(config, sampling, base_key):
    config = config.copy_and_resolve_references()
    with config.unlocked():
        config.conditioning.sampling = sampling

    def masks_and_m(number, images, _):
        keys = image_keys(jax.random.fold_in(base_key, number), len(images))
        return condition(images, draw_masks(config, keys, *images.shape[1:3]))

    return masks_and_m


def _encoder(model, config):
    def gradient(_, images, fixed):
        variables, keys = fixed

        def loss(params):
            latent, updates = model.apply(
                variables | {"params": params}, images, jax.random.wrap_key_data(keys), train=True,
                mutable=["batch_stats"], method="encode",
            )
            own = jnp.mean(model.latent.objective(latent.terms, config.loss.beta))
            return own + jnp.sum(latent.z * latent.z), updates

        return jax.grad(loss, has_aux=True)(variables["params"])

    return gradient


def _decoder(model, name):
    def gradient(_, inputs, fixed):
        (z, m), (variables, images) = inputs, fixed

        def loss(params, z):
            reconstruction, updates = model.apply(
                variables | {"params": params}, z, m, train=True, mutable=["batch_stats"],
                method=lambda model, *inputs, train: getattr(model, name)(*inputs, train=train),
            )
            return jnp.sum(reconstruction * images), updates

        return jax.grad(loss, argnums=(0, 1), has_aux=True)(variables["params"], z)

    return gradient


def _loss(weights):
    def gradient(_, reconstructions, images):
        def loss(reconstructions):
            errors = [mean_squared_error(images, reconstruction) for reconstruction in reconstructions]
            return jnp.mean(sum(weight * error for weight, error in zip(weights, errors, strict=True)))

        return jax.value_and_grad(loss)(reconstructions)

    return gradient


def _optimizer(optimizer):
    def update(_, results, gradients):
        params, state = results
        updates, state = optimizer.update(depending_on(params, gradients), state, params)
        return optax.apply_updates(params, updates), state

    return update


def _of(variables, *parts):
    """The variables of some parts of a model."""
    return {kind: {part: tree[part] for part in parts if part in tree} for kind, tree in variables.items()}


def _samplings(method):
    if not method.conditional_decoder:
        return ()
    constant = COUNTS[method.counts].constant
    return tuple(name for name, sampling in SAMPLINGS.items() if constant or not sampling.fixed_grid)


# ----------------------------------------------------------------------------------------------------------- the tables


def against_the_ceilings(name, figures):
    flops, traffic = figures["reached"]["flops_per_second"], figures["reached"]["bytes_per_second"]
    yield (
        name,
        f"{statistics.median(figures['images_per_second']):,.0f}",
        f"{figures['flops_per_image'] / 1e6:,.1f}",
        f"{flops['median'] / 1e9:,.0f}",
        spread(flops["share"], ".0f", 100),
        "unknown" if traffic is None else f"{figures['bytes_per_image'] / 1e3:,.0f}",
        "" if traffic is None else f"{traffic['median'] / 1e9:,.1f}",
        "" if traffic is None else spread(traffic["share"], ".0f", 100),
        f"{figures['memory_bytes'] / 2**20:,.0f} MiB",
        f"{figures['compile_seconds']:.1f}",
    )


def shares(name, figures):
    for part, share in figures["shares"].items():
        yield name, part, spread(share, ".2g", 100)


CEILINGS = (
    "model", "images/s", "MFLOP an image", "GFLOP/s", "of the ceiling, %", "KB an image", "GB/s", "of the ceiling, %",
    "memory", "compilation, s",
)  # fmt: skip
TABLES = (
    Table("Training against the ceilings", CEILINGS, against_the_ceilings),
    Table("Parts of a training step", ("model", "part", "share of the step, %"), shares),
)
BENCHMARK = Benchmark("parts", measure, TABLES, seconds=0.3)

if __name__ == "__main__":
    command(__doc__, BENCHMARK, seconds=0.5)
