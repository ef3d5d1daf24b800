"""A run of several processes, on one host or many: how they find each other, and what only process 0 does.

Every process computes on its own devices and takes the same decisions from the same numbers. Process 0, the main one,
alone touches the run's files and speaks: what it reads, and its errors, are sent to the others, so that the work
directory need not be visible to them. In a run of one process all of this is nothing: functions are called, values
returned.
"""

import functools
import json
import os
import sys
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils

from mtvae_jax.errors import UserError
from mtvae_jax.process import environment

# A process that ends alone, in an error, waits so long for the others before it takes them down.
_SHUTDOWN_SECONDS = 20

_OF_A_TASK = {"SLURM_JOB_ID", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_NODELIST"}

_running_alone = False  # on the main process, inside a function that only it calls


def start():
    """Joins the other processes of the run, if there are any; to be called before JAX touches a device.

    They are those of the Slurm step, one task each, where srun has told each who it is. Elsewhere three variables say
    so: JAX_COORDINATOR_ADDRESS, the host and a free port of process 0; JAX_NUM_PROCESSES; and JAX_PROCESS_ID, counted
    from 0. JAX_NUM_PROCESSES=1 keeps the tasks of a Slurm step apart.

    **Raises:** `UserError` where the variables are not whole, or the processes have not equally many devices.
    """
    explicit = "JAX_NUM_PROCESSES" in os.environ
    # Not SLURM_NTASKS, which a batch script's own shell has too: outside srun there is nobody to join.
    num_processes = _integer("JAX_NUM_PROCESSES" if explicit else "SLURM_STEP_NUM_TASKS", default=1, least=1)
    if num_processes == 1 or not (explicit or os.environ.keys() >= _OF_A_TASK):
        return
    arguments = {}
    if explicit:
        arguments = {
            "coordinator_address": _address(),
            "num_processes": num_processes,
            "process_id": _integer("JAX_PROCESS_ID", least=0, most=num_processes - 1),
            "cluster_detection_method": "deactivate",
        }
    elif os.environ["SLURM_PROCID"] == "0":  # be it a shell that srun has started, whose variables all inherit
        print(
            f"waiting for the {num_processes} processes of Slurm step {os.environ['SLURM_JOB_ID']}; "
            "JAX_NUM_PROCESSES=1 for a run of its own",
            file=sys.stderr,
        )
    jax.config.update("jax_enable_preemption_service", False)  # SIGTERM is the run's own business, see `stopping`
    try:
        jax.distributed.initialize(**arguments, shutdown_timeout_seconds=_SHUTDOWN_SECONDS)
    except RuntimeError as error:
        raise UserError(
            f"the {num_processes} processes of the run do not find each other ({' '.join(str(error).split())[:200]}); "
            "start them together, or each with JAX_NUM_PROCESSES=1 for a run of its own"
        ) from error
    environment.require_device()
    counts = [len(jax.local_devices(process)) for process in range(jax.process_count())]
    if len(set(counts)) > 1:
        raise UserError(f"the processes have {counts} devices; give each the same number")


def is_main():
    """Tells whether this is the process that speaks and touches files: process 0, or the only one."""
    return not _several() or jax.process_index() == 0


def on_main(function):
    """Lets the main process run a function that every process calls; all return its result, or raise its error.

    While it runs it may call others of its kind. Its result is made of what `encode` knows.
    """

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        global _running_alone
        if _running_alone or not _several():
            return function(*args, **kwargs)
        result = error = None
        if is_main():
            _running_alone = True
            try:
                result = function(*args, **kwargs)
            except Exception as caught:
                error = caught
            finally:
                _running_alone = False
            _broadcast((None, _words(error)) if error is not None else (result, None))
        else:
            result, words = _broadcast(None)
            error = None if words is None else _error(*words)
        if error is not None:
            raise error
        return result

    return wrapper


def main_first(function):
    """Calls a function on every process, the main one first, and returns what it returns to each.

    For work that leaves something behind for those who come later, such as a download.
    """
    results = []
    on_main(lambda: results.append(function()))()
    return results[0] if results else function()


def from_main(value):
    """Returns the main process' value, on all."""
    return on_main(lambda: value)()


def any_process(flag):
    """Tells whether the flag is set on any process, on all."""
    return bool(np.any(multihost_utils.process_allgather(np.asarray(flag)))) if _several() else flag


def require_same(value):
    """Raises `UserError`, on all processes, unless all give an equal value: what the run is."""
    if any_process(value != from_main(value)):
        raise UserError(
            "the processes of this run have different settings, work directories or data; give all the same command, "
            "or each JAX_NUM_PROCESSES=1 for a run of its own"
        )


def _several():
    # Asked in this order: to count processes is to touch the devices.
    return jax.distributed.is_initialized() and jax.process_count() > 1


def _broadcast(value):
    """The main process' value, whatever the others pass."""
    data = np.frombuffer(encode(value) if is_main() else b"", np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.uint32(len(data))))
    padded = np.zeros(1 << (size - 1).bit_length(), np.uint8)  # a power of two: few programs for many sizes
    padded[: len(data)] = data
    return decode(multihost_utils.broadcast_one_to_all(padded)[:size].tobytes())


def encode(value):
    """Returns bytes for `decode`: JSON, whose length comes first, and after it the elements of all arrays. No code
    travels.

    **Arguments:** `value`: None, bool, int, float, str, `Path`, a numpy array or scalar, or a list, tuple or dict of
    these. **Raises:** `TypeError` for anything else.
    """
    arrays = []
    text = json.dumps(_described(value, arrays)).encode()
    return b"".join([len(text).to_bytes(8, "little"), text, *(array.tobytes() for array in arrays)])


def decode(data):
    """Returns the value that `encode` was given."""
    start = 8 + int.from_bytes(data[:8], "little")
    return _restored(json.loads(data[8:start]), memoryview(data)[start:])


def _described(value, arrays):
    """`value` as JSON has it, with every kind of its own named; appends its arrays."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) in (list, tuple):
        return {type(value).__name__: [_described(item, arrays) for item in value]}
    if type(value) is dict:
        return {"dict": [[_described(part, arrays) for part in item] for item in value.items()]}
    if isinstance(value, Path):
        return {"path": str(value)}
    if isinstance(value, (np.ndarray, np.generic)) and not value.dtype.hasobject:
        offset = sum(array.nbytes for array in arrays)
        arrays.append(np.asarray(value))
        kind = "array" if isinstance(value, np.ndarray) else "scalar"
        return {kind: [value.dtype.name if value.dtype.kind == "V" else value.dtype.str, list(value.shape), offset]}
    raise TypeError(f"{type(value).__name__} cannot be sent to other processes")


def _restored(value, data):
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind in ("array", "scalar"):
        dtype, shape, offset = content
        array = np.ndarray(shape, np.dtype(dtype), data, offset).copy()
        return array if kind == "array" else array[()]
    if kind == "path":
        return Path(content)
    if kind == "dict":
        return {_restored(key, data): _restored(item, data) for key, item in content}
    return {"list": list, "tuple": tuple}[kind](_restored(item, data) for item in content)


def _words(error):
    """Whether the user can mend an error, and its text."""
    is_users = isinstance(error, UserError)
    return is_users, str(error) if is_users else f"{type(error).__name__}: {error}"


def _error(is_users, text):
    return UserError(text) if is_users else RuntimeError(f"process 0 failed: {text}")


def _address():
    address = os.environ.get("JAX_COORDINATOR_ADDRESS", "")
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise UserError(f"JAX_COORDINATOR_ADDRESS = {address!r}: must be HOST:PORT of process 0, the same on all")
    return address


def _integer(name, *, default=None, least, most=None):
    text = os.environ.get(name, "" if default is None else str(default))
    bounds = f"at least {least}" if most is None else f"in {least} … {most}"
    if not text.isdigit() or int(text) < least or (most is not None and int(text) > most):
        raise UserError(f"{name} = {text!r}: must be an integer {bounds}")
    return int(text)
