"""Kills real runs at random moments until they have been killed so often, and compares what they leave with what
undisturbed ones do:

    python -m tests.torture --kills 50 [--kinds gauss,vq,second_stage,study] [--seed 0] [--folder torture]
                            [--output FILE]

FILE has the table, also of what is done so far.
"""

import argparse
import shutil
import sys
from pathlib import Path

from tests.torture.kinds import kinds, write_data
from tests.torture.torture import table, torture

DEFAULT = "gauss,vq,second_stage,study"


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description="Kills real runs at random moments.")
    parser.add_argument("--kills", type=int, default=50, help="of each kind, by SIGKILL")
    parser.add_argument("--kinds", default=DEFAULT, help=f"{DEFAULT}, study_processes")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--epochs", type=int, default=16, help="of the runs")
    parser.add_argument("--folder", type=Path, default=Path("torture"), help="for the runs")
    parser.add_argument("--output", type=Path, help="file for the table")
    options = parser.parse_args()

    folder = options.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "digits.npz"
    if not data.exists():
        write_data(data)
    available = kinds(data, epochs=options.epochs)
    names = options.kinds.split(",")
    if unknown := [name for name in names if name not in available]:
        parser.error(f"--kinds: {', '.join(unknown)}; there are {', '.join(available)}")

    results = {}

    def tell(result):
        results[result.kind] = result
        if options.output is not None:
            options.output.write_text("\n".join(table(results.values())) + "\n")
        line = f"{result.kind}: {result.kills} kills, {result.stops} stops, {result.runs} runs, {result.seconds:.0f} s"
        print(line + (f", WRONG: {result.wrong[-1]}" if result.wrong else ""), flush=True)

    for name in names:
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir()
        torture(available[name], folder / name, kills=options.kills, seed=options.seed, tell=tell)
    print("\n".join(table(results.values())))
    return int(any(result.wrong for result in results.values()))


if __name__ == "__main__":
    sys.exit(main())
