"""How training scales: over the devices of one process, and over processes of one device each.

    python -m benchmarks.scaling                             # gauss_multi on 1 and 2 devices, then on 2 processes
    python -m benchmarks.scaling --latents=vq --methods=plain --devices=1,2,4,8 --rounds=9

Strong scaling divides a batch of 128 among the devices; weak scaling gives 128 images to each. On a machine without
GPUs the devices are virtual and share the same cores, so that nothing can be gained: what a second one costs is what
is seen.
"""

import contextlib
import os
import socket
import statistics
import tempfile
from pathlib import Path
from typing import NamedTuple

import jax

from benchmarks.harness import Benchmark, Table, command, spread
from benchmarks.processes import Team
from benchmarks.training import write_job
from benchmarks.turns import ratio, take_turns

BATCH = 128  # images


class Arrangement(NamedTuple):
    """`processes` × `devices`, the latter of each process; `batch`: images in all."""

    scaling: str
    processes: int
    devices: int
    batch: int


def arrangements(counts):
    """Yields one device first; then every other number of devices in a process, and of processes with one each."""
    yield Arrangement("", 1, 1, BATCH)
    for scaling, grows in (("strong", False), ("weak", True)):
        for count in counts:
            if count > 1:
                batch = BATCH * count if grows else BATCH
                yield Arrangement(scaling, 1, count, batch)
                yield Arrangement(scaling, count, 1, batch)


def measure(config, images, *, rounds, seconds, devices):
    """Measures each arrangement.

    **Arguments:** `devices`: numbers of them, with commas between them; "": all GPUs and powers of two below.

    **Returns:** a list of {"arrangement": …, "images_per_second": a list, one a round}, one device first.
    **Raises:** `ValueError` where there are not so many GPUs.
    """
    gpus = find_gpus()
    powers = [2**power for power in range(len(gpus).bit_length())] if gpus else [1, 2]
    counts = sorted({int(count) for count in devices.split(",")}) if devices else powers
    if gpus and counts[-1] > len(gpus):
        raise ValueError(f"--devices={devices}: there are {len(gpus)} GPUs")
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        teams = {}
        for number, arrangement in enumerate(arrangements(counts)):
            directory, config = Path(folder) / str(number), config.copy_and_resolve_references()
            config.train.batch_size = arrangement.batch
            write_job(directory, config, images)
            teams[arrangement] = stack.enter_context(_team(arrangement, directory, gpus))
        times = take_turns(teams, rounds=rounds, seconds=seconds)
    return [
        {"arrangement": one._asdict(), "images_per_second": [one.batch / time for time in times[one]]} for one in teams
    ]


def _team(arrangement, directory, gpus):
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    commands = []
    for process in range(arrangement.processes):
        variables = {
            "JAX_COORDINATOR_ADDRESS": address,
            "JAX_NUM_PROCESSES": str(arrangement.processes),
            "JAX_PROCESS_ID": str(process),
        }
        if gpus:
            first = process * arrangement.devices
            variables["CUDA_VISIBLE_DEVICES"] = ",".join(gpus[first : first + arrangement.devices])
        else:
            count = f"--xla_force_host_platform_device_count={arrangement.devices}"
            variables["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {count}"
        commands.append((["benchmarks.training", str(directory)], variables))
    return Team(commands)


def find_gpus():
    """Returns the numbers of the GPUs that JAX sees, as CUDA_VISIBLE_DEVICES wants them."""
    count = jax.device_count() if jax.default_backend() == "gpu" else 0
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",")[:count] if visible and count else [str(number) for number in range(count)]


def rows(name, figures):
    one_device = figures[0]["images_per_second"]
    for result in figures:
        arrangement, speeds = Arrangement(**result["arrangement"]), result["images_per_second"]
        times = ratio(speeds, one_device)
        efficiency = times["median"] / (arrangement.processes * arrangement.devices)
        yield (
            name,
            arrangement.scaling,
            f"{arrangement.processes} × {arrangement.devices}",
            arrangement.batch,
            f"{statistics.median(speeds):,.0f}",
            spread(times, ".2f") if arrangement.scaling else "",
            f"{efficiency:.0%}" if arrangement.scaling else "",
        )


COLUMNS = (
    "model", "scaling", "processes × devices", "batch", "images/s", "as many as one device", "efficiency",
)  # fmt: skip
BENCHMARK = Benchmark(
    "scaling",
    measure,
    (Table("Scaling over devices and processes", COLUMNS, rows),),
    seconds=2.0,
    options={"devices": ("", "numbers of them; 1,2, or powers of two up to all GPUs")},
)

if __name__ == "__main__":
    command(__doc__, BENCHMARK, latents="gaussian", rounds=3, seconds=3.0)
