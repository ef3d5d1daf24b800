"""Competitors in processes of their own, which take turns at training.

The speed of a machine drifts by tens of per cent within minutes, so that only figures taken seconds apart compare. All
competitors are started and warmed up once and then wait, without using the processor, for their turns.
"""

import json
import os
import resource
import subprocess
import sys
import time

# Steps between two looks at the clock.
_STEPS = 20


class Worker:
    """A competitor: `python -m MODULE *arguments`, which calls `serve`.

    **Attributes:** `facts`: what it said of itself, see `serve`.
    """

    def __init__(self, module, *arguments, environment=None):
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | (environment or {}),
            text=True,
        )
        self.facts = self._read()

    def measure(self, seconds):
        """Trains for so long. **Returns:** {"images_per_second": float, "peak_bytes": int} (peak since the start)."""
        print(seconds, file=self._process.stdin, flush=True)
        return self._read()

    def close(self):
        self._process.communicate()

    def _read(self):
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(self._process.args)} ended with status {self._process.wait()}")
        return json.loads(line)


def serve(train, batch_size, facts):
    """The worker's side: trains when told to, until the parent closes its input.

    **Arguments:** `train`: num_steps → None, once they are done on the device; `batch_size`: images a step; `facts`:
    JSON values for the parent.
    """
    reply = sys.stdout
    sys.stdout = sys.stderr  # whatever a library prints
    train(1)
    print(json.dumps(facts), file=reply, flush=True)
    for line in sys.stdin:
        start, elapsed, steps = time.perf_counter(), 0.0, 0
        while elapsed < float(line):
            train(_STEPS)
            steps += _STEPS
            elapsed = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        measured = {"images_per_second": steps * batch_size / elapsed, "peak_bytes": peak}
        print(json.dumps(measured), file=reply, flush=True)
