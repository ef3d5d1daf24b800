"""The programs that a GPU would run, compiled for one on a machine that has none, and what is in them.

    pip install '.[gpu-compile]'                                # 3 GB: XLA for GPUs and CUDA's libraries, no driver
    python -m benchmarks.gpu_program --json=programs.json       # the programs that matter, for an H100; minutes
    python -m benchmarks.gpu_program --only=training,evaluation --latents=vq --shapes=64x64x3 --targets=h100,a100
    python -m benchmarks.gpu_program --export                   # what XLA is asked for; without the extra, in seconds

XLA compiles ahead of time for a card that it knows by a description (`targets/`): fusions, calls of libraries, kernels,
buffers are those that the card would run. Nothing is timed, and nothing runs: which plan cuDNN takes for a convolution,
and which tiles a product, is chosen on a card alone. Such programs are to be read, not to be carried to one.

A *launch* is a kernel or a library call, all loops within a step counted as often as they turn. The last column is an
estimate on paper (`estimate.py`).
"""

import argparse
import itertools
import json
import os
import sys
import time
from pathlib import Path

# Before anything starts a device: with CUDA's plugin, JAX would look for a driver.
os.environ["JAX_PLATFORMS"] = "cpu"

import jax

from benchmarks.gpu_program import estimate, hlo, programs, stablehlo
from benchmarks.harness import Table
from benchmarks.models import SHAPES, Model
from mtvae_jax.config import has_second_stage
from mtvae_jax.ops.backend import backend
from mtvae_jax.process import environment

TARGETS = Path(__file__).parent / "targets"
PROGRAMS = {
    "training": programs.training,
    "replicas": lambda config, shape: programs.training(config, shape, replicas=programs.REPLICAS),
    "second_stage": programs.second_stage,
    "sampler": programs.sampler,
    "evaluation": programs.evaluation,
}
# What is compiled without `--only`: (programs, models).
_SMALL, _LARGE = (28, 28, 1), (64, 64, 3)
MATRIX = (
    (("training",), [Model(latent, "multi_decoder", shape, precision)
                     for shape in (_SMALL, _LARGE) for latent in ("gaussian", "vq")
                     for precision in ("float32", "bfloat16")]),
    (("training",), [Model("gaussian", "single_decoder", sampling=sampling) for sampling in ("uniform", "gaussian")]),
    (("replicas",), [Model("gaussian", "multi_decoder", shape, precision)
                     for shape in (_SMALL, _LARGE) for precision in ("float32", "bfloat16")]
                    + [Model("vq", "multi_decoder")]),
    (("second_stage", "evaluation"), [Model(latent, "multi_decoder") for latent in ("gaussian", "vq")]),
    (("sampler",), [Model("vq", "multi_decoder")]),
)  # fmt: skip


def compile_for(target, program, model, *, options=None, keep=None):
    """Figures of a program: `hlo.report`, with its memory and the estimate.

    **Arguments:** `target`: the name of a file of `targets/`; `program`: of `PROGRAMS`; `model`: a `Model`; `options`:
    more of XLA's, name → value; `keep`: a folder for its text.
    """
    from jax.experimental import topologies

    start = time.perf_counter()
    description = (TARGETS / f"{target}.txtpb").read_text()
    topology = topologies.get_topology_desc(platform="cuda", target_config=description, topology="1x1x1")
    with programs.on_a_gpu(topology.devices):
        lowered = programs.lower(*PROGRAMS[program](model.config, model.shape))
        steps = program in ("training", "replicas", "second_stage")
        own = backend().options if steps else {}
        compiled = lowered.compile(compiler_options={"xla_gpu_autotune_level": 0} | own | (options or {}))
    text = compiled.as_text()
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        name = "-".join([target, program, *model.full_name.replace("×", "x").split(", ")])
        (keep / f"{name}.hlo").write_text(text)
    figures, memory, read = hlo.report(text, steps=steps), compiled.memory_analysis(), hlo.Program(text)
    step = estimate.seconds(read, read.step if steps else read.entry, estimate.CARDS[target])
    images = {"replicas": programs.REPLICAS * model.config.train.batch_size, "evaluation": programs.EVALUATED,
              "sampler": programs.SAMPLED}.get(program, model.config.train.batch_size)  # fmt: skip
    return figures | {
        "argument_bytes": memory.argument_size_in_bytes,
        "temporary_bytes": memory.temp_size_in_bytes,
        "estimated_seconds": step,
        "estimated_images_per_second": images / step,
        "compile_seconds": time.perf_counter() - start,
    }


def export(program, model):
    """`stablehlo.report` of a program, with its arithmetic and its bytes by XLA's count, before anything is fused."""
    with programs.on_a_gpu():
        lowered = programs.lower(*PROGRAMS[program](model.config, model.shape))
        cost = lowered.cost_analysis()
        return stablehlo.report(lowered.as_text()) | {"flops": cost["flops"], "bytes": cost["bytes accessed"]}


def compiled_rows(name, figures):
    convolutions = figures["convolutions"]
    kinds = (convolutions.get(kind, 0) for kind in ("forward", "backward input", "backward filter"))
    grouped = sum(number for kind, number in convolutions.items() if kind.startswith("grouped"))
    yield (
        name, figures["launches"], figures["before"], "/".join(map(str, (*kinds, grouped))),
        *(figures[key] for key in ("products", "copies", "sorts", "scatters", "unknown_loops", "collectives")),
        f"{figures['argument_bytes'] / 2**20:,.0f} + {figures['temporary_bytes'] / 2**20:,.0f}",
        f"{figures['estimated_seconds'] * 1e3:.2g} ms, {figures['estimated_images_per_second']:,.0f}",
    )  # fmt: skip


def exported_rows(name, figures):
    operations = ", ".join(f"{number} {kind}" for kind, number in figures["operations"].items())
    yield name, operations, f"{figures['flops'] / 1e9:.2f}", f"{figures['bytes'] / 1e9:.2f}", len(figures["faults"])


COMPILED = Table(
    "Programs as compiled",
    (
        "program", "launches a step", "a call besides", "convolutions f/i/w/grouped", "products", "copies", "sorts",
        "scatters", "loops of unknown length", "collectives", "arguments + temporaries, MiB",
        "estimate: a step, images/s",
    ),
    compiled_rows,
)  # fmt: skip
EXPORTED = Table("Programs as exported", ("program", "operations", "GFLOP", "GB", "faults"), exported_rows)


def main():
    flags = _flags()
    environment.configure()
    jax.config.update("jax_enable_compilation_cache", False)  # made for no card, of no use to any
    units = _units(flags)
    results, table = {}, EXPORTED if flags.export else COMPILED
    print(*table.header(), sep="\n", flush=True)
    for target, (program, model) in itertools.product(["export"] if flags.export else flags.targets.split(","), units):
        name = f"{program}, {model.full_name}" + (f", {target}" if flags.targets.count(",") else "")
        try:
            figures = export(program, model) if flags.export else compile_for(
                target, program, model, options=dict(flags.xla), keep=flags.keep
            )
        except ImportError as error:
            sys.exit(f"{error}; pip install '.[gpu-compile]' for XLA's compiler for GPUs; --export needs none")
        results.setdefault(target, {})[f"{program}, {model.full_name}"] = figures
        print(*table.lines(name, figures), sep="\n", flush=True)
        for fault in figures.get("faults", ()):
            print(f"    {fault}", flush=True)
        if flags.json is not None:
            facts = {"versions": environment.versions(), "xla_options": dict(flags.xla)}
            facts |= {} if flags.export else {"assumptions": estimate.ASSUMPTIONS}
            flags.json.write_text(json.dumps(facts | {"programs": results}, indent=1) + "\n")


def _flags():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--export", action="store_true", help="StableHLO alone: no compiler for GPUs is needed")
    add("--json", type=Path, help="a file for the figures")
    add("--targets", default="h100", help=f"of {', '.join(path.stem for path in sorted(TARGETS.iterdir()))}")
    add("--only", default="", help=f"of {', '.join(PROGRAMS)}; default: the programs and models that matter")
    add("--latents", default="gaussian,vq", help="with --only; default: %(default)s")
    add("--methods", default="multi_decoder", help="with --only; default: %(default)s")
    add("--precisions", default="float32", help="with --only; of float32, bfloat16; default: %(default)s")
    add("--sampling", help="with --only; exact, uniform or gaussian; default: each method's own")
    shapes = ", ".join("x".join(map(str, shape)) for shape in SHAPES)
    add("--shapes", default="28x28x1", help=f"with --only; of {shapes}; default: %(default)s")
    add("--xla", type=lambda text: text.split("=", 1), action="append", default=[], metavar="OPTION=VALUE",
        help="an option of XLA, such as xla_gpu_exclude_nondeterministic_ops=True; may be repeated")
    add("--keep", type=Path, help="a folder for the texts of the programs")
    return parser.parse_args()


def _units(flags):
    """(program, model) in order."""
    if not flags.only:
        return [(program, model) for names, models in MATRIX for program in names for model in models]
    lists = [getattr(flags, name).split(",") for name in ("latents", "methods", "shapes", "precisions")]
    models = [
        Model(latent, method, tuple(map(int, shape.split("x"))), precision, flags.sampling)
        for latent, method, shape, precision in itertools.product(*lists)
    ]
    units = [(program, model) for program in flags.only.split(",") for model in models]
    second = ("second_stage", "sampler")
    return [(program, model) for program, model in units if program not in second or has_second_stage(model.config)]


if __name__ == "__main__":
    main()
