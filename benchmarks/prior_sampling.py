"""Sampling codes from the Gated PixelCNN: the incremental sampler against one evaluation of the network a position.

    python -m benchmarks.prior_sampling                              # 16 grids of 16 × 16 codes
    python -m benchmarks.prior_sampling --grid=8 --batch=64 --layers=10 --rounds=9

Both draw the same codes from the same keys, taking turns, round after round; a ratio is taken within a round, and its
median over the rounds is the result. One evaluation of the network, a bound for any such sampler, is timed as well.
Compilation is timed apart.
"""

import argparse
import datetime
import json
import re
import statistics
import time
from pathlib import Path

import jax
import jax.numpy as jnp

from mtvae_jax import environment
from mtvae_jax.models.pixelcnn import GatedPixelCNN

INCREMENTAL, PLAIN, EVALUATION = "incremental", "plain", "one evaluation"
RESULTS = Path(__file__).parent / "results"


def compare(model, grid, batch, *, rounds):
    """Times both samplers and an evaluation.

    **Arguments:** `model`: a `GatedPixelCNN` without conditions; `grid`: h = w; `batch`: grids a call.
    **Returns:** name → {"compile_seconds": number, "seconds": a list, one a round}; and the fraction of codes that the
    samplers agree on: 1, where rounding does not decide between two codes.
    """
    keys = jax.random.split(jax.random.key(0), batch)
    codes = jnp.zeros((batch, grid, grid), jnp.int32)
    variables = jax.jit(model.init)(jax.random.key(1), codes)

    def sampler(method):
        return jax.jit(lambda variables, codes, keys: model.apply(variables, keys, (grid, grid), method=method))

    functions = {
        INCREMENTAL: sampler("sample"),
        PLAIN: sampler("sample_plain"),
        EVALUATION: jax.jit(lambda variables, codes, keys: model.apply(variables, codes)),
    }
    results, outputs = {}, {}
    for name, function in functions.items():
        start = time.perf_counter()
        functions[name] = function.lower(variables, codes, keys).compile()
        results[name] = {"compile_seconds": time.perf_counter() - start, "seconds": []}
        outputs[name] = jax.block_until_ready(functions[name](variables, codes, keys))  # a warm-up
    for turn in range(rounds):
        for name in functions if turn % 2 == 0 else reversed(functions):
            start = time.perf_counter()
            jax.block_until_ready(functions[name](variables, codes, keys))
            results[name]["seconds"].append(time.perf_counter() - start)
    return results, float(jnp.mean(outputs[INCREMENTAL] == outputs[PLAIN]))


HEADER = "| what | compilation, s | median, s | grids/s | incremental is … times as fast |\n|---|---|---|---|---|"


def rows(results, batch):
    """The lines of a Markdown table for `compare`'s results. Ratios: median (least – greatest)."""
    for name, result in results.items():
        seconds = result["seconds"]
        ratios = sorted(s / ours for ours, s in zip(results[INCREMENTAL]["seconds"], seconds, strict=True))
        ratio = "" if name == INCREMENTAL else f"{statistics.median(ratios):.3g} ({ratios[0]:.3g} – {ratios[-1]:.3g})"
        median = statistics.median(seconds)
        grids = "" if name == EVALUATION else f"{batch / median:,.1f}"
        yield f"| {name} | {result['compile_seconds']:.1f} | {median:.3g} | {grids} | {ratio} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grid", type=int, default=16, help="codes a side")
    parser.add_argument("--batch", type=int, default=16, help="grids a call")
    parser.add_argument("--codes", type=int, default=128)
    parser.add_argument("--hidden", type=int, default=64, help="channels")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="default: benchmarks/results/prior-sampling-DEVICE-DATE.json")
    flags = parser.parse_args()

    model = GatedPixelCNN(num_codes=flags.codes, hidden_dim=flags.hidden, num_layers=flags.layers)
    results, agreement = compare(model, flags.grid, flags.batch, rounds=flags.rounds)
    settings = {name: getattr(flags, name) for name in ("grid", "batch", "codes", "hidden", "layers")}
    print(HEADER, *rows(results, flags.batch), sep="\n")
    versions = environment.versions()
    print(f"\n{', '.join(f'{name} {value}' for name, value in settings.items())}; the same codes: {agreement:.2%}")
    print(f"{environment.device()}; {', '.join(f'{name} {version}' for name, version in versions.items())}")

    today = datetime.date.today().isoformat()
    device = re.sub(r"\W+", "-", environment.device()).strip("-")
    output = flags.output or RESULTS / f"prior-sampling-{device}-{today}.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    record = {"date": today, "device": environment.device(), "versions": versions, "settings": settings}
    output.write_text(json.dumps(record | {"same_codes": agreement, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
