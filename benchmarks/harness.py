"""What all benchmarks share: the command line, the run until the time is over, the tables and the record."""

import argparse
import datetime
import functools
import itertools
import json
import math
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax

from benchmarks.models import SHAPES, Model, load
from mtvae_jax.data import load_dataset
from mtvae_jax.methods import METHODS
from mtvae_jax.process import environment

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"


class Table(NamedTuple):
    """**title**; **columns**: names; **rows(name, figures)**: what was measured and its figures → cells of each row."""

    title: str
    columns: tuple[str, ...]
    rows: Callable

    def header(self):
        return [_line(self.columns), "|" + "---|" * len(self.columns)]

    def lines(self, name, figures):
        return [_line(cells) for cells in self.rows(name, figures)]


def _line(cells):
    return f"| {' | '.join(map(str, cells))} |"


def spread(figures, form, scale=1):
    """Writes "median (least – greatest)" of `turns.ratio`'s figures, each times `scale` in the format `form`."""
    median, least, greatest = (format(scale * figures[name], form) for name in ("median", "least", "greatest"))
    return f"{median} ({least} – {greatest})"


class Benchmark(NamedTuple):
    """A measurement, and how to show it.

    **name**: of its section and its file; **measure(config, images, *, rounds, seconds, **options)** → figures, as
    JSON values, of a resolved config on uint8 [N, H, W, C]; of the device, where not `per_model`, without these two;
    **tables** of the figures; **seconds**: of one turn; **options**: name → (default, help) of its own flags;
    **wanted(config)**: whether there is something to measure.
    """

    name: str
    measure: Callable
    tables: tuple[Table, ...]
    seconds: float = 0.0
    options: dict = {}  # noqa: RUF012
    per_model: bool = True
    wanted: Callable = lambda config: True


class Unit(NamedTuple):
    """A benchmark of one model, or of the device: `measure()` → figures."""

    section: str
    name: str
    measure: Callable
    tables: tuple[Table, ...]


# ----------------------------------------------------------------------------------------------------- the command line


def command(description, *benchmarks, rank=lambda benchmark, model: 0, **defaults):
    """Runs one benchmark, or several: parses the command line, measures, prints and writes.

    **Arguments:** `rank(benchmark, model)`: the lower, the earlier; None leaves a model out; `defaults`: of the flags.
    """
    flags = _parser(description, benchmarks, defaults).parse_args()
    environment.configure()
    only = flags.only.split(",") if len(benchmarks) > 1 else [benchmarks[0].name]
    if unknown := set(only) - {benchmark.name for benchmark in benchmarks}:
        sys.exit(f"--only={','.join(sorted(unknown))}: the sections are {', '.join(b.name for b in benchmarks)}")
    wanted = [benchmark for benchmark in benchmarks if benchmark.name in only]
    images = _images(flags) if any(benchmark.per_model for benchmark in wanted) else {}
    units = _units(wanted, flags, images, rank)
    shown = {"×".join(map(str, shape)): what for shape, (_, what) in images.items()}
    facts = {"rounds": flags.rounds, "seconds": flags.seconds, "images": shown}
    record = Record(flags.output, "" if len(benchmarks) > 1 else only[0], units, **facts)
    failed = run(units, record, time.monotonic() + 60 * flags.minutes)
    record.say()
    sys.exit(failed)


def _parser(description, benchmarks, defaults):
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add, names = parser.add_argument, [benchmark.name for benchmark in benchmarks]
    if len(benchmarks) > 1:
        add("--only", default=",".join(names), help="sections, all by default: %(default)s")
    if any(benchmark.per_model for benchmark in benchmarks):
        add("--latents", default="gaussian,vq", help="default: %(default)s")
        add("--methods", default="multi_decoder", help=f"of {', '.join(METHODS)}; default: %(default)s")
        add("--precisions", default="float32", help="of float32, bfloat16; default: %(default)s")
        add("--sampling", help="exact, uniform or gaussian; default: each method's own")
        add("--images", default="mnist_sample", help="datasets (npz:PATH, …) to train on; default: %(default)s")
        shapes = ", ".join("x".join(map(str, shape)) for shape in SHAPES)
        add("--shapes", default="", help=f"of {shapes}, digits enlarged if need be; default: those of --images")
    add("--rounds", type=int, default=5, help="of turns; default: %(default)s")
    seconds = ", ".join(f"{defaults.get('seconds', benchmark.seconds)}" for benchmark in benchmarks)
    add("--seconds", type=float, help=f"of one turn; default: {seconds}")
    add("--minutes", type=float, default=math.inf, help="after which it ends; default: %(default)s")
    add("--output", type=Path, default=RESULTS, help="a folder; default: benchmarks/results")
    for benchmark in benchmarks:
        for name, (default, text) in benchmark.options.items():
            add(f"--{name}", type=type(default), default=default, help=f"{text}; default: {default}")
    parser.set_defaults(**defaults)
    return parser


def _images(flags):
    """Shape → (images, what they are)."""
    datasets = [name for name in flags.images.split(",") if name]
    shapes = [tuple(map(int, shape.split("x"))) for shape in flags.shapes.split(",") if shape]
    return {shape: load(shape, datasets) for shape in shapes or [load_dataset(name).image_shape for name in datasets]}


def _units(benchmarks, flags, images, rank):
    """All that the flags ask for, the lowest rank first."""
    units = []
    for benchmark in benchmarks:
        options = {name: getattr(flags, name) for name in benchmark.options}
        seconds = flags.seconds or benchmark.seconds
        measure = functools.partial(benchmark.measure, rounds=flags.rounds, seconds=seconds, **options)
        if not benchmark.per_model:
            units.append((rank(benchmark, None), Unit(benchmark.name, "device", measure, benchmark.tables)))
            continue
        lists = (getattr(flags, name).split(",") for name in ("latents", "methods", "precisions"))
        for shape, latent, method, precision in itertools.product(images, *lists):
            model = Model(latent, method, shape, precision, flags.sampling)
            if (order := rank(benchmark, model)) is not None and benchmark.wanted(model.config):
                one = functools.partial(measure, model.config, images[shape][0])
                units.append((order, Unit(benchmark.name, model.full_name, one, benchmark.tables)))
    return [unit for _, unit in sorted(units, key=lambda pair: pair[0])]


# -------------------------------------------------------------------------------------------------------------- the run


def run(units, record, deadline=math.inf, *, clock=time.monotonic, end=os._exit):
    """Measures one unit after the other. No unit is begun that is likely to outlast the deadline, as far as others of
    its section tell; of those that remain, shorter ones still have their turn. What fails ends nothing.

    **Arguments:** `deadline`: on the `clock`, when the process ends wherever it is, be it in XLA's compiler.
    **Returns:** whether a unit failed.
    """
    longest, failed, lock = {}, False, threading.Lock()

    def end_now():
        with lock:  # not while the record is written
            record.say()
            end(0)

    timer = threading.Timer(min(deadline - clock(), threading.TIMEOUT_MAX), end_now)
    timer.daemon = True
    timer.start()
    for unit in units:
        began = clock()
        if began + longest.get(unit.section, 0.0) > deadline:
            continue
        try:
            figures = unit.measure()
            lines = {table: table.lines(unit.name, figures) for table in unit.tables}
        except Exception as error:
            traceback.print_exc()
            failed = True
            with lock:
                record.leave_out(unit, f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")
        else:
            with lock:
                record.add(unit, figures, lines)
            longest[unit.section] = max(longest.get(unit.section, 0.0), clock() - began)
            print(f"\n{unit.section}, {unit.name} ({clock() - began:.0f} s)")
            for table, rows in lines.items():
                print(*table.header(), *rows, sep="\n", flush=True)
        jax.clear_caches()
    timer.cancel()
    return failed


# ----------------------------------------------------------------------------------------------------------- the record


class Record:
    """What has been measured so far: a JSON file and one of Markdown tables, written anew after every measurement.

    **Arguments:** `directory`: for [NAME-]DEVICE-DATE.json and .md; `name`: of the benchmark, "" for all; `units`: all
    that is to be measured; `facts`: JSON values of the whole run.
    """

    def __init__(self, directory, name, units, **facts):
        date, device = datetime.date.today().isoformat(), environment.device()
        words = re.findall("[0-9A-Za-z_]+", f"{name.replace('_', '-')} {device}")
        self.path = Path(directory) / f"{'-'.join([*words, date])}.json"
        self.results = {}  # section → measurement → figures
        self.left_out = {f"{unit.section}, {unit.name}": "no time left" for unit in units}  # measurement → why
        self._facts = {
            "date": date,
            "device": device,
            "cores": len(os.sched_getaffinity(0)),
            "versions": environment.versions(),  # of this project with its commit
            **facts,
        }
        self._tables = {}  # title → lines

    def add(self, unit, figures, lines):
        """Adds what was measured, and writes. **Arguments:** `lines`: `Table` → its rows for the figures."""
        self.results.setdefault(unit.section, {})[unit.name] = figures
        del self.left_out[f"{unit.section}, {unit.name}"]
        for table, rows in lines.items():
            self._tables.setdefault(table.title, table.header()).extend(rows)
        self._write()

    def leave_out(self, unit, why):
        self.left_out[f"{unit.section}, {unit.name}"] = why
        self._write()

    def say(self):
        done = sum(map(len, self.results.values()))
        print(f"\n{self.path.with_suffix('.md')}: {done} of {done + len(self.left_out)} measurements", flush=True)

    def _write(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        values = self._facts | {"left_out": self.left_out, "results": self.results}
        self.path.write_text(json.dumps(values, indent=1) + "\n")
        self.path.with_suffix(".md").write_text(self._markdown())

    def _markdown(self):
        facts = self._facts
        versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
        blocks = [f"# {facts['device']}, {facts['date']}", versions]
        blocks += [f"{name}: {value}" for name, value in facts.items() if name not in ("date", "device", "versions")]
        blocks += [f"## {title}\n\n" + "\n".join(lines) for title, lines in self._tables.items()]
        if self.left_out:
            blocks.append("## Left out")
        for why in dict.fromkeys(self.left_out.values()):
            names = [name for name, reason in self.left_out.items() if reason == why]
            blocks.append(f"{why[0].upper()}{why[1:]}: {'; '.join(names)}.")
        return "\n\n".join(blocks) + "\n"
