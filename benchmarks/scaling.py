"""How training scales: over the devices of one process, and over processes of one device each.

    python -m benchmarks.scaling                             # gauss_multi on 1 and 2 devices, then on 2 processes
    python -m benchmarks.scaling --latent=vq --method=plain --devices=1,2,4,8 --rounds=9

Strong scaling divides a batch of 128 among the devices; weak scaling gives 128 images to each. On a machine without
GPUs the devices are virtual and share the same cores, so that nothing can be gained: what a second one costs is what
is seen. All arrangements take turns, a few seconds each, round after round; a ratio to one device is taken within a
round, and its median over the rounds is the result.
"""

import argparse
import contextlib
import datetime
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.jax_worker import trainer
from mtvae_jax import distributed, environment
from mtvae_jax.config import LATENTS, check, model_name, resolve, thesis_config, to_dict
from mtvae_jax.data import load_dataset
from mtvae_jax.methods import METHODS

RESULTS = Path(__file__).parent / "results"
BATCH = 128  # images
_TRIAL_STEPS = 10


class Arrangement(NamedTuple):
    """`processes` × `devices`, the latter of each process; `batch`: images in all."""

    scaling: str
    processes: int
    devices: int
    batch: int


def arrangements(counts):
    """One device first; then every other number of devices in one process, and of processes with a device each."""
    yield Arrangement("", 1, 1, BATCH)
    for scaling, grows in (("strong", False), ("weak", True)):
        for count in counts:
            if count > 1:
                batch = BATCH * count if grows else BATCH
                yield Arrangement(scaling, 1, count, batch)
                yield Arrangement(scaling, count, 1, batch)


class Team:
    """The processes of an arrangement, which wait for their turn without using the processor.

    **Arguments:** `config`: resolved; `images`: path of an .npy file; `directory`: an empty one; `gpus`: the numbers of
    those to use, none for virtual devices.
    **Attributes:** `facts`: what process 0 said of itself.
    """

    def __init__(self, arrangement, config, images, directory, gpus):
        config = config.copy_and_resolve_references()
        config.train.batch_size = arrangement.batch
        (directory / "config.json").write_text(json.dumps(to_dict(config)))
        (directory / "images.npy").symlink_to(images)
        with contextlib.closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        self._batch = arrangement.batch
        self._processes = []
        for process in range(arrangement.processes):
            variables = {
                "JAX_COORDINATOR_ADDRESS": address,
                "JAX_NUM_PROCESSES": str(arrangement.processes),
                "JAX_PROCESS_ID": str(process),
                "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # many teams share a GPU
            }
            if gpus:
                first = process * arrangement.devices
                variables["CUDA_VISIBLE_DEVICES"] = ",".join(gpus[first : first + arrangement.devices])
            else:
                count = f"--xla_force_host_platform_device_count={arrangement.devices}"
                variables["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {count}"
            command = [sys.executable, "-m", "benchmarks.scaling", "--serve", str(directory)]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            self._processes.append(subprocess.Popen(command, env=os.environ | variables, **pipes))
        self.facts = self._replies()[0]
        self._speed = self._train(_TRIAL_STEPS)

    def measure(self, seconds):
        """Trains for about so long. **Returns:** images a second."""
        self._speed = self._train(max(1, round(seconds * self._speed / self._batch)))
        return self._speed

    def close(self):
        for process in self._processes:
            process.stdin.close()
        for process in self._processes:
            process.wait()

    def _train(self, num_steps):
        for process in self._processes:
            print(num_steps, file=process.stdin, flush=True)
        return num_steps * self._batch / max(reply["seconds"] for reply in self._replies())

    def _replies(self):
        return [self._reply(process) for process in self._processes]

    def _reply(self, process):
        for line in process.stdout:
            if line.startswith("{"):  # collectives announce themselves on standard output
                return json.loads(line)
        raise RuntimeError(f"{' '.join(process.args)} ended with status {process.wait()}")


def serve(directory):
    """A team's process: trains as many steps as it is told to, until its input ends."""
    environment.configure()
    distributed.start()
    train, _, facts = trainer(directory)
    train(1)
    print(json.dumps(facts), flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        train(int(line))
        print(json.dumps({"seconds": time.perf_counter() - start}), flush=True)


def compare(config, images, counts, gpus, *, rounds, seconds):
    """One model, all arrangements.

    **Returns:** a list of {"arrangement": …, "images_per_second": a list, one a round}, one device first; and the facts
    of the machine.
    """
    teams = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        np.save(path, images)
        try:
            for number, arrangement in enumerate(arrangements(counts)):
                directory = Path(folder) / str(number)
                directory.mkdir()
                teams[arrangement] = Team(arrangement, config, path, directory, gpus)
            speeds = {arrangement: [] for arrangement in teams}
            for turn in range(rounds):
                for arrangement in teams if turn % 2 == 0 else reversed(teams):
                    speeds[arrangement].append(teams[arrangement].measure(seconds))
        finally:
            for team in teams.values():
                team.close()
    facts = next(iter(teams.values())).facts
    return [{"arrangement": a._asdict(), "images_per_second": s} for a, s in speeds.items()], facts


HEADER = (
    "| scaling | processes × devices | batch | images/s | as many as one device | efficiency |\n"
    "|---|---|---|---|---|---|"
)


def rows(results):
    """The lines of a Markdown table. Ratios to one device: median (least – greatest)."""
    for result in results:
        arrangement, speeds = Arrangement(**result["arrangement"]), result["images_per_second"]
        ratios = sorted(s / one for s, one in zip(speeds, results[0]["images_per_second"], strict=True))
        median, ratio, efficiency = statistics.median(ratios), "", ""
        if arrangement.scaling:
            ratio = f"{median:.2f} ({ratios[0]:.2f} – {ratios[-1]:.2f})"
            efficiency = f"{median / (arrangement.processes * arrangement.devices):.0%}"
        yield (
            f"| {arrangement.scaling} | {arrangement.processes} × {arrangement.devices} | {arrangement.batch} | "
            f"{statistics.median(speeds):,.0f} | {ratio} | {efficiency} |"
        )


def find_gpus():
    """The numbers of the GPUs that JAX sees, as CUDA_VISIBLE_DEVICES wants them. In a process of its own, which gives
    them back.
    """
    program = "import jax; print('devices', jax.device_count() if jax.default_backend() == 'gpu' else 0)"
    out = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True).stdout
    count = int(out.split()[-1])
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",")[:count] if visible and count else [str(number) for number in range(count)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="mnist_sample")
    parser.add_argument("--latent", choices=LATENTS, default="gaussian")
    parser.add_argument("--method", choices=METHODS, default="multi_decoder")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--devices", help="numbers of them; default: 1,2, or powers of two up to all GPUs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of one turn")
    parser.add_argument("--output", type=Path, help="default: benchmarks/results/scaling-MODEL-DEVICE-DATE.json")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.serve:
        serve(flags.serve)
        return

    gpus = find_gpus()
    powers = [2**n for n in range(len(gpus).bit_length())] if gpus else [1, 2]
    counts = sorted({int(count) for count in flags.devices.split(",")}) if flags.devices else powers
    if gpus and counts[-1] > len(gpus):
        parser.error(f"--devices={flags.devices}: there are {len(gpus)} GPUs")
    dataset = load_dataset(flags.dataset)
    config = thesis_config(flags.dataset, latent=flags.latent, method=flags.method)
    config.train.precision = flags.precision
    check(config)
    config = resolve(config, dataset.image_shape)
    results, facts = compare(config, dataset.train, counts, gpus, rounds=flags.rounds, seconds=flags.seconds)
    print(HEADER, *rows(results), sep="\n")
    shared = "" if gpus else f"virtual devices and processes share {len(os.sched_getaffinity(0))} cores; "
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    print(f"\n{model_name(config)} on {dataset.name}, {flags.precision}; {shared}{facts['device']}; {versions}")

    today = datetime.date.today().isoformat()
    device = re.sub(r"\W+", "-", facts["device"]).strip("-")
    output = flags.output or RESULTS / f"scaling-{model_name(config)}-{device}-{today}.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "date": today,
        "model": model_name(config),
        "dataset": dataset.name,
        "image_shape": dataset.image_shape,
        "precision": flags.precision,
        "virtual_devices_share_cores": None if gpus else len(os.sched_getaffinity(0)),
        **facts,
        "results": results,
    }
    output.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
