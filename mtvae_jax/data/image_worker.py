"""Jobs on image files, done here or by processes that do nothing else.

Such a process reads a job a line, as JSON, and answers each with a line of JSON and the bytes of pixels, if any. It
imports neither JAX nor, as multiprocessing would, the program that the user runs.
"""

import concurrent.futures
import contextlib
import json
import os
import queue
import subprocess
import sys
from pathlib import Path

from mtvae_jax.data import image_file
from mtvae_jax.errors import UserError, first_line

_PROGRAM = "from mtvae_jax.data.image_worker import serve; serve()"
_MOST_PROCESSES = 16
_BYTES_WORTH_A_PROCESS = 4 << 20  # of files: half a second or so to decode


def perform(job):
    """Does a job.

    **Arguments:** `job`: {"do": "examine" or "pixels", "paths": […], "with": further arguments of that function of
    `image_file`}.
    **Returns:** a list, of each path what the function returned, None for pixels, or, of a file that cannot be read,
    why not, a text; and the bytes of the pixels of the others, in order.
    """
    function, found, data = getattr(image_file, job["do"]), [], []
    for path in job["paths"]:
        try:
            result = function(path, **job["with"])
        except MemoryError:
            raise
        except Exception as error:  # damaged bytes make Pillow raise a dozen kinds
            found.append(_reason(error))
            continue
        if job["do"] == "pixels":
            data.append(result.tobytes())
        found.append(None if job["do"] == "pixels" else list(result))
    return found, b"".join(data)


def performed(jobs, *, size):
    """Does jobs, as many at a time as there are cores where that is worth it.

    **Arguments:** `jobs`: a list; `size`: bytes of the files of all of them.
    **Returns:** a generator of what `perform` returns, in the order of the jobs; to be closed where it is left early.
    **Raises:** `UserError` where a process ends.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    processes = min(cores, _MOST_PROCESSES, len(jobs), size // _BYTES_WORTH_A_PROCESS)
    return (perform(job) for job in jobs) if processes < 2 else _by_processes(jobs, processes)


def _by_processes(jobs, number):
    with contextlib.ExitStack() as ended:
        idle = queue.SimpleQueue()
        for _ in range(number):
            idle.put(ended.enter_context(_Process()))
        threads = ended.enter_context(concurrent.futures.ThreadPoolExecutor(number))

        def perform_there(job):
            process = idle.get()
            try:
                return process(job)
            finally:
                idle.put(process)

        yield from threads.map(perform_there, jobs)


class _Process:
    """A process that does one job at a time."""

    def __enter__(self):
        path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is for the parent
        )
        return self

    def __call__(self, job):
        try:
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            self._process.stdin.flush()
            answer = json.loads(self._process.stdout.readline())
            data = self._process.stdout.read(answer["bytes"])
        except (OSError, ValueError):
            data = None
        if data is None or len(data) < answer["bytes"]:
            raise UserError(
                f"{job['paths'][0]}: a process that decodes this file, or one of the {len(job['paths']) - 1} after it, "
                f"ended with status {self._process.wait()}; take them out, or free some memory"
            )
        return answer["found"], data

    def __exit__(self, *_):
        with contextlib.suppress(BrokenPipeError):  # it has ended
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


def _reason(error):
    from PIL import UnidentifiedImageError

    return "no image of a kind that is read" if isinstance(error, UnidentifiedImageError) else first_line(error)


def serve():
    """Does the jobs that come in, until no more can come."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # should a library say something
    with contextlib.suppress(BrokenPipeError):  # the parent has gone
        for line in sys.stdin.buffer:
            found, data = perform(json.loads(line))
            answers.write(json.dumps({"found": found, "bytes": len(data)}).encode() + b"\n" + data)
            answers.flush()
