"""The command line of `python -m mtvae_jax.runs`; exit status as that of launch.py."""

import argparse
import math
import os
import re
import shutil
import sys
import traceback
from pathlib import Path

from mtvae_jax.errors import UserError, number_of
from mtvae_jax.runs import clean, compare
from mtvae_jax.runs.find import Holders, find, looks_like_run
from mtvae_jax.runs.loadable import loadable
from mtvae_jax.runs.rows import as_csv, as_json, check_field, choose, fields, parse_condition, row, sort
from mtvae_jax.runs.run import read_run
from mtvae_jax.runs.words import amount, printable

USAGE = """\
usage: python -m mtvae_jax.runs [list] [DIR …] [--where=CONDITION …]
                                [--sort=FIELD] [--columns=FIELD,…]
                                [--json | --csv]
       python -m mtvae_jax.runs compare RUN RUN … [--json | --csv | --markdown]
       python -m mtvae_jax.runs clean [DIR …] [--best-only] [--idle=HOURS]
                                      [--yes]

list: the runs in folders and the folders in them, runs/ by default, a line each

  python -m mtvae_jax.runs
  python -m mtvae_jax.runs --where=state=complete --sort=val/loss
  python -m mtvae_jax.runs --where=model.latent=vq --where='test/loss<0.02'
  python -m mtvae_jax.runs --where=name~mnist --sort=-size
  python -m mtvae_jax.runs --columns=state,loss.beta,test/kl,prior/test/nats
  python -m mtvae_jax.runs --csv > runs.csv     every field of every run

  A sort begins with the lowest value; with a - before the field, with the
  highest. A condition is FIELD, one of = != < <= > >= ~ (contains), and a
  value. Fields are those of the config (train.epochs, model.hidden_dims=32,64),
  metrics (val/loss, test/psnr, of the second stage prior/test/nats, of the
  judge generation/…), and name, path, state, problem, epoch, epochs,
  best_epoch, second_stage, second_stage_epoch, parameters, size (size>100MB),
  touched (touched>2026-11-01), device. The state is complete, stopped, running,
  empty or damaged. All times are UTC.

compare: the settings in which runs differ, and beside them what came of each

  python -m mtvae_jax.runs compare runs/gauss_*-mnist-*
  python -m mtvae_jax.runs compare runs/vq_*-mnist-* --markdown > comparison.md

  The best of a metric is marked, where one end is better and the runs measure
  the same thing. Figures of a run that is not complete are those of its best
  epoch so far.

clean: what can go, and how much it is; only --yes deletes

  python -m mtvae_jax.runs clean
  python -m mtvae_jax.runs clean runs --best-only --yes

  Temporary files, half-written checkpoints, checkpoints of complete runs that
  are neither the best nor the latest, empty folders, runs that never saved
  anything. What is no run, what is damaged, links and what is in use stay.

  --best-only   also the latest checkpoint of complete runs, once the best has
                been read back, and what a complete second stage was trained on.
                Such a run still loads (which="latest" is then the best); made
                longer with --config.train.epochs, it goes on from its best
                epoch.
  --idle=HOURS  folders that have changed since are taken to be in use: 1 by
                default, three epochs if that is more, 24 before a run has saved
                anything; 0 looks only for processes and lock files

Exit status: 0 done; 2 the command or a file is wrong, and one line on stderr
says how to mend it; 75 stopped by Ctrl-C, the same command goes on; 1 anything
else.
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        message = re.sub(r"^unrecognized arguments: (.*)", r"\1: is not an option here", message)
        raise UserError(f"{message}; see python -m mtvae_jax.runs --help")


def main(arguments):
    """Runs one command and returns its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # names are bytes, and not all terminals speak UTF-8
    commands = {"list": _list, "compare": _compare, "clean": _clean}
    try:
        if {"--help", "-h"} & set(arguments):
            print(USAGE, end="")
        elif arguments and arguments[0] in commands:
            commands[arguments[0]](arguments[1:])
        else:
            _list(arguments)
        sys.stdout.flush()
        return 0
    except UserError as error:
        print(f"runs: {printable(str(error))}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has gone (`| head`)
        return 1
    except KeyboardInterrupt:
        print("runs: stopped; the same command goes on", file=sys.stderr)
        return 75
    except Exception:
        traceback.print_exc()
        return 1


def _list(arguments):
    parser = _parser(["runs"], "json", "csv")
    parser.add_argument("--where", action="append", default=[])
    parser.add_argument("--sort", default="name")
    parser.add_argument("--columns")
    options = parser.parse_args(arguments)
    conditions = [parse_condition(text) for text in options.where]
    found, holders = find(options.paths), Holders()
    rows = [row(read_run(path, name, holders.of(path))) for path, name in found.runs.items()]
    columns = None if options.columns is None else [field.strip() for field in options.columns.split(",")]
    for field in columns or ():
        check_field(field, rows, "--columns")
    check_field(options.sort.removeprefix("-"), rows, "--sort")
    chosen = sort(sort(choose(rows, conditions), "name"), options.sort)
    names = list(dict.fromkeys(["name", *columns])) if columns else fields(chosen)
    if options.format == "json":
        print(as_json([{n: r.get(n) for n in names} if columns else r for r in chosen]), end="")
    elif options.format == "csv":
        print(as_csv([names, *([r.get(name) for name in names] for r in chosen)]), end="")
    elif chosen:
        from mtvae_jax.runs.tables import listing  # rich: only those who see a table wait for it

        print(listing(chosen, columns, _terminal()), end="")
    else:
        where = " and ".join(str(path) for path in options.paths)
        print(printable(f"{where}: " + (f"none of {number_of(len(rows), 'run')} is so" if rows else "holds no runs")))


def _compare(arguments):
    options = _parser([], "json", "csv", "markdown").parse_args(arguments)
    paths = list(dict.fromkeys(Path(os.path.expanduser(path)) for path in options.paths))
    for path in paths:
        if not looks_like_run(path):
            what = "holds no run" if os.path.isdir(path) else "is a file" if os.path.exists(path) else "does not exist"
            raise UserError(f"{path}: {what}; give work directories, as python -m mtvae_jax.runs lists them")
    if len(paths) < 2:
        raise UserError("compare: takes two runs or more; for example compare runs/vq_*")
    names, holders = [os.path.basename(os.path.realpath(path)) for path in paths], Holders()
    if len(set(names)) < len(names):
        names = list(map(str, paths))
    comparison = compare.compare([read_run(path, n, holders.of(path)) for path, n in zip(paths, names, strict=True)])
    if options.format:
        print(getattr(compare, f"to_{options.format}")(comparison), end="")
    else:
        from mtvae_jax.runs.tables import side_by_side

        print(side_by_side(comparison, _terminal()), end="")


def _clean(arguments):
    parser = _parser(["runs"])
    parser.add_argument("--best-only", action="store_true")
    parser.add_argument("--idle", type=_hours)
    parser.add_argument("--yes", action="store_true")
    options = parser.parse_args(arguments)
    settings = {"best_only": options.best_only, "idle": options.idle}
    found = find(options.paths)
    plans = clean.make_plans(found, **settings)
    going = [plan for plan in plans if plan.items and plan.left_alone is None]
    refused = {plan.name: plan.left_alone for plan in plans if plan.left_alone is not None}
    good, gone, failures = set(), [], {}
    if options.yes:
        answers = loadable([plan.folder for plan in going if any(item.needs_best for item in plan.items)])
        good = {path for path, error in answers.items() if error is None}
        refused |= {str(p): f"its best cannot be loaded, so the rest stays: {e}" for p, e in answers.items() if e}
    for plan in going:
        items, failed = clean.delete(plan, **settings, loadable=good) if options.yes else (plan.items, {})
        failures |= {str(plan.folder / path): reason for path, reason in failed.items()}
        if items:
            gone.append(items)
            print(printable(plan.name))
        for item in items:
            what = "all of it" if item.path == "." else item.path
            print(printable(f"  {amount(item.size):>8}  {what}: {item.what}"))
    if refused:
        print("left alone:", *(printable(f"  {name}: {reason}") for name, reason in refused.items()), sep="\n")
    runs, size = number_of(len(found.runs), "run"), amount(sum(item.size for items in gone for item in items))
    what = f"{number_of(sum(map(len, gone)), 'thing')} in {number_of(len(gone), 'folder')}, {size},"
    if options.yes:
        print(f"{what} deleted" if gone else f"nothing to delete in {runs}")
    else:
        print(f"{what} can go; nothing is deleted yet: the same command with --yes does it" if gone else
              f"nothing can go from {runs}")
    if failures:
        (path, reason), *others = failures.items()
        more = f" (and {number_of(len(others), 'other')})" if others else ""
        raise UserError(f"{path}: is not deleted ({reason}){more}; mend that, and give the same command again")


def _hours(text):
    try:
        hours = float(text)
    except ValueError:
        hours = math.nan
    if not 0 <= hours < math.inf:
        raise UserError(f"--idle={text}: must be a number of hours, 0 or more")
    return 3600 * hours


def _parser(paths, *formats):
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("paths", nargs="*", default=paths)
    group = parser.add_mutually_exclusive_group()
    for name in formats:
        group.add_argument(f"--{name}", dest="format", action="store_const", const=name)
    return parser


def _terminal():
    """The columns of the terminal, None where the output goes elsewhere."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
