"""All speed benchmarks in one run, the most important first, until its time is over.

    python -m benchmarks                                        # of everything what fits into nine minutes
    python -m benchmarks --quick --only=parts,start             # a look
    python -m benchmarks --minutes=60 --images=npz:a.npz,npz:b.npz

After every measurement DEVICE-DATE.json and the tables of DEVICE-DATE.md are written anew. What this machine lacks,
what fails and what there is no time for is said there, and ends nothing.
"""

import argparse
import contextlib
import os
import signal
import time
import traceback
from pathlib import Path

# The processes that a benchmark compares share the GPU with this one.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax

from benchmarks import images
from benchmarks.record import RESULTS, Record
from benchmarks.sections import SECTIONS, Sections, Unavailable
from mtvae_jax import environment


class TimeIsOver(BaseException):
    """Raised wherever the program is when its minutes are over; not to be taken for a failure."""


def run(units, record, deadline, *, clock=time.monotonic, say=print):
    """Measures one unit after the other. No unit is begun that is likely to outlast the deadline, as far as others of
    its section tell; of those that remain, shorter ones still have their turn.

    **Arguments:** `units`: of `sections.Unit`; `deadline`: on the `clock`.
    **Returns:** whether a unit was cut off.
    """
    longest, cut_off = {}, False
    for unit in units:
        began = clock()
        if began + longest.get(unit.section, 0.0) > deadline:
            record.leave_out(unit.section, unit.name, "no time left")
            continue
        try:
            figures, tables = unit.measure()
            tables = [table._replace(lines=list(table.lines)) for table in tables]
        except TimeIsOver:
            record.leave_out(unit.section, unit.name, "begun, but no time left")
            deadline, cut_off = began, True  # for all that follow
        except Unavailable as error:
            record.leave_out(unit.section, unit.name, str(error))
            say(f"\n{unit.section}, {unit.name}: left out, {error}")
        except Exception as error:
            traceback.print_exc()
            record.leave_out(unit.section, unit.name, f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")
        else:
            record.add(unit.section, unit.name, figures, tables)
            longest[unit.section] = max(longest.get(unit.section, 0.0), clock() - began)
            say(f"\n{unit.section}, {unit.name} ({clock() - began:.0f} s)")
            for table in tables:
                say(table.header, *table.lines, sep="\n", flush=True)
        if not cut_off:
            jax.clear_caches()
    return cut_off


@contextlib.contextmanager
def interrupted_after(seconds):
    """Raises `TimeIsOver` in the block once so many seconds have passed."""

    def stop(number, frame):
        raise TimeIsOver

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, all by default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="one short round of each: a look, no result")
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--images", default="", help="datasets (npz:PATH, …); without, digits enlarged and coloured")
    parser.add_argument("--peers", default="eager,channels_last,compile", help="PyTorch's; empty for none")
    parser.add_argument("--output", type=Path, default=RESULTS, help="a folder; default: benchmarks/results")
    flags = parser.parse_args()
    began = time.monotonic()
    sections = flags.only.split(",")
    if unknown := set(sections) - set(SECTIONS):
        parser.error(f"--only={','.join(sorted(unknown))}: the sections are {', '.join(SECTIONS)}")

    environment.configure()
    datasets = [name for name in flags.images.split(",") if name]
    loaded = {shape: images.load(shape, datasets) for shape in images.SHAPES}
    shown = {"×".join(map(str, shape)): what for shape, (_, what) in loaded.items()}
    record = Record(flags.output, {"quick": flags.quick, "images": shown})
    pictures = {shape: array for shape, (array, _) in loaded.items()}
    peers = [peer for peer in flags.peers.split(",") if peer]
    units = Sections(pictures, peers, flags.quick).units(sections)
    deadline = began + 60 * flags.minutes
    try:
        with interrupted_after(deadline - time.monotonic()):
            cut_off = run(units, record, deadline)
    except TimeIsOver:  # between two measurements
        record.save()
        cut_off = True
    done = sum(map(len, record.results.values()))
    print(f"\n{record.path.with_suffix('.md')}: {done} of {len(units)} measurements", flush=True)
    if cut_off:
        os._exit(0)  # the device is still at work, which the end of the interpreter would trip over


if __name__ == "__main__":
    main()
