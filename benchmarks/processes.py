"""Processes that take turns at training: of another framework, or of other devices, than this one."""

import contextlib
import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

from benchmarks.turns import Program


class Team(Program):
    """Processes that train together when told to, and wait for their turn without using the processor; a context
    manager, which waits until all are ready and in the end until all are gone.

    **Arguments:** `commands`: of each process the arguments of `python -m`, of a module that calls `serve`, and
    variables of its environment.
    **Attributes:** `facts`: what the first process said of itself.
    """

    def __init__(self, commands):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._processes = [
            subprocess.Popen([sys.executable, "-m", *arguments], env=os.environ | variables, **pipes)
            for arguments, variables in commands
        ]
        super().__init__(self._train)

    def __enter__(self):
        try:
            self.facts = self._replies()[0]
        except RuntimeError as error:
            self.__exit__(error)
            raise
        return self

    def __exit__(self, error, *_):
        for process in self._processes:
            if error:  # others may wait for one that has died
                process.kill()
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        for process in self._processes:
            process.wait()
            process.stdout.close()

    def _train(self, num_steps):
        for process in self._processes:
            print(num_steps, file=process.stdin, flush=True)
        peaks = [reply["peak_bytes"] for reply in self._replies()]
        self.peak_bytes = None if None in peaks else sum(peaks)  # since their start

    def _replies(self):
        return [self._reply(process) for process in self._processes]

    def _reply(self, process):
        for line in process.stdout:
            if line.startswith("{"):  # collectives announce themselves on standard output
                return json.loads(line)
        raise RuntimeError(f"{' '.join(process.args)} ended with status {process.wait()}")


def serve(train, facts, peak_bytes):
    """Runs a team's process: trains as many steps as it is told to, until its input ends.

    **Arguments:** `train`: num_steps → None, once they are done on the device; `facts`: JSON values for the parent;
    `peak_bytes()`: of the memory where the arrays lie, None if unknown.
    """
    train(1)
    print(json.dumps(facts), flush=True)
    for line in sys.stdin:
        train(int(line))
        print(json.dumps({"peak_bytes": peak_bytes()}), flush=True)


def host_peak_bytes():
    """Returns the most memory that this process has had, which is where the arrays of a CPU lie."""
    status = Path("/proc/self/status")  # without that of the process that has started this one, unlike getrusage
    found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text()) if status.exists() else None
    return 1024 * int(found[1] if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
