"""Training speed against a PyTorch twin of the same models, on the same machine at the same time.

    python -m benchmarks.training_speed                         # all eight models on the sample that the package ships
    python -m benchmarks.training_speed --dataset=npz:my.npz --latents=vq --methods=plain --peers=eager --rounds=9

Needs PyTorch (the extra `bench`). All competitors take turns, a few seconds each, round after round; a ratio is taken
within a round, and its median over the rounds is the result. Before, a step with the same parameters, masks and noise
shows that the twin computes the same outputs and gradients; how far they are apart is printed and recorded.
"""

import argparse
import datetime
import itertools
import json
import re
import statistics
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.worker import Worker
from mtvae_jax.config import LATENTS, check, model_name, resolve, thesis_config, to_dict
from mtvae_jax.data import load_dataset
from mtvae_jax.methods import METHODS

OURS = "mtvae_jax"
RESULTS = Path(__file__).parent / "results"

# Differences of rounding are a thousandth of this.
_SAME = 1e-4

# What helps PyTorch on CPUs: memory that is kept instead of given back a thousand times a step, and threads that do not
# spin while others work.
_PYTORCH_ENVIRONMENT = {
    "MALLOC_TRIM_THRESHOLD_": "2000000000",
    "MALLOC_MMAP_THRESHOLD_": "2000000000",
    "OMP_WAIT_POLICY": "PASSIVE",
}


def compare(config, images, peers, *, rounds, seconds):
    """One model, all competitors.

    **Arguments:** `config`: resolved; `images`: uint8 [N, H, W, C]; `peers`: modes of the PyTorch twin.
    **Returns:** competitor → {"images_per_second": a list, one a round, "peak_bytes", "parameters", …}; and how far the
    twin is from ours, see `benchmarks.twin.port.max_difference`.
    """
    workers = {}
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "config.json").write_text(json.dumps(to_dict(config)))
        np.save(Path(directory) / "images.npy", images)
        # In a process of its own: the peak memory of those that start from this one begins with its own peak.
        port = Worker("benchmarks.twin.port", directory)
        port.close()
        if not max(port.facts.values()) < _SAME:
            raise RuntimeError(f"the twin is not the same function, by its differences from ours: {port.facts}")
        try:
            workers[OURS] = Worker("benchmarks.jax_worker", directory)
            for mode in peers:
                name = f"PyTorch {mode}"
                workers[name] = Worker("benchmarks.twin.worker", directory, mode, environment=_PYTORCH_ENVIRONMENT)
            results = {name: worker.facts | {"images_per_second": []} for name, worker in workers.items()}
            for worker in workers.values():
                worker.measure(seconds)  # a warm-up
            for turn in range(rounds):
                order = list(workers) if turn % 2 == 0 else list(reversed(workers))
                for name in order:
                    measured = workers[name].measure(seconds)
                    results[name]["images_per_second"].append(measured["images_per_second"])
                    results[name]["peak_bytes"] = measured["peak_bytes"]
        finally:
            for worker in workers.values():
                worker.close()
    counts = {name: result["parameters"] for name, result in results.items()}
    if len(set(counts.values())) != 1:
        raise RuntimeError(f"these are not the same model, by their numbers of parameters: {counts}")
    return results, port.facts


HEADER = "| model | parameters | competitor | images/s | ours / theirs | peak memory |\n|---|---|---|---|---|---|"


def rows(model, results):
    """The lines of a Markdown table for `compare`'s results. Ratios are ours / theirs: median (least – greatest)."""
    for name, result in results.items():
        speeds = result["images_per_second"]
        ratios = sorted(ours / theirs for ours, theirs in zip(results[OURS]["images_per_second"], speeds, strict=True))
        ratio = "" if name == OURS else f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} – {ratios[-1]:.2f})"
        yield (
            f"| {model} | {result['parameters']:,} | {name} | {statistics.median(speeds):,.0f} | {ratio} | "
            f"{result['peak_bytes'] / 2**20:,.0f} MiB |"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="mnist_sample")
    parser.add_argument("--latents", default=",".join(LATENTS))
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--sampling", choices=("exact", "uniform"), help="default: each method's own")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--peers", default="eager,channels_last", help="of eager, channels_last, compile")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of one turn")
    parser.add_argument("--output", type=Path, help="default: benchmarks/results/training-DEVICE-DATE.json")
    flags = parser.parse_args()

    dataset = load_dataset(flags.dataset)
    today = datetime.date.today().isoformat()
    record = {
        "date": today,
        "dataset": dataset.name,
        "image_shape": dataset.image_shape,
        "precision": flags.precision,
        "comparisons": {},
        "port": {},
    }
    print(HEADER)
    for latent, method in itertools.product(flags.latents.split(","), flags.methods.split(",")):
        config = thesis_config(flags.dataset, latent=latent, method=method)
        config.conditioning.sampling = flags.sampling or config.conditioning.sampling
        config.train.precision = flags.precision
        check(config)
        config = resolve(config, dataset.image_shape)
        model = model_name(config) + (f", {config.conditioning.sampling}" if method != "plain" else "")
        results, record["port"][model] = compare(
            config, dataset.train, flags.peers.split(","), rounds=flags.rounds, seconds=flags.seconds
        )
        print(*rows(model, results), sep="\n", flush=True)
        record["comparisons"][model] = results
        device = re.sub(r"\W+", "-", results[OURS]["device"]).strip("-")
        suffix = "" if flags.precision == "float32" else f"-{flags.precision}"
        output = flags.output or RESULTS / f"training-{device}-{today}{suffix}.json"
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(record, indent=1) + "\n")
    print("\nA step of the twin's against ours, largest differences of intensities and, relatively, of gradients:")
    for model, difference in record["port"].items():
        print(f"{model}: {difference['outputs']:.1g}, {difference['gradients']:.1g}")
    for facts in {facts["device"]: facts for facts in results.values()}.values():
        print(f"\n{facts['device']}; {', '.join(f'{k} {v}' for k, v in facts['versions'].items())}")


if __name__ == "__main__":
    main()
