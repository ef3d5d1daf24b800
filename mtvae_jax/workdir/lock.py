"""One process at a time in a work directory.

The lock is an flock on the file `lock` in it (on Windows, of its byte at 1 GiB), which the kernel lets go of when the
process ends, however it ends. In the file stands who holds it, for people. Not every file system has locks, or shares
them among hosts: there, what the file says is all that is known of another process, and a person has to say that
nothing is at work. That is what libraries for file locks do not have.
"""

import contextlib
import json
import os
import re
import socket
import time
from pathlib import Path

from mtvae_jax.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt

FILE_NAME = "lock"
# A process that is told to stop saves first: who starts the next one at once need not fail.
PATIENCE = 10.0  # seconds

_held = {}  # real path of the file: (descriptor, how many hold it), of this process


class Hold:
    """What `hold` returns: a context manager that lets go at its end. Otherwise the process holds on until it ends."""

    def __init__(self, path):
        self._path = path

    def release(self):
        """Lets go, unless this process holds the directory for another reason too."""
        descriptor, count = _held.pop(self._path, (None, 0))
        if count > 1:
            _held[self._path] = descriptor, count - 1
        elif count == 1:
            _let_go(self._path, descriptor)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.release()


def hold(workdir, *, patience=None):
    """Keeps other processes out of a work directory; this one may hold it several times.

    **Arguments:** `workdir`: exists; `patience`: seconds to wait for another process to end, None for `PATIENCE`.
    **Returns:** `Hold`.
    **Raises:** `UserError` where another process is at work there.
    """
    path = os.path.join(os.path.realpath(workdir), FILE_NAME)
    descriptor, count = _held.get(path) or (_take(path, PATIENCE if patience is None else patience), 0)
    _held[path] = descriptor, count + 1
    return Hold(path)


def holder(workdir):
    """Returns who is at work in a directory, in words; None where nobody is, or only this process."""
    path = os.path.join(os.path.realpath(workdir), FILE_NAME)
    if path in _held:
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY if fcntl else os.O_RDWR)
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"somebody unknown, {FILE_NAME} cannot be read ({error.strerror})"
    try:
        return _stranger(path, _read(descriptor), locked=_flock(descriptor, shared=True))
    except BlockingIOError:
        return _words(_read(descriptor))
    finally:
        os.close(descriptor)


def _take(path, patience):
    """A descriptor of the file, locked and signed."""
    deadline = time.monotonic() + patience
    while True:
        descriptor = _open(path)
        try:
            locked = _flock(descriptor)
            if not _still_there(path, descriptor):  # let go of and deleted between the two
                os.close(descriptor)
                continue
            stranger = _stranger(path, _read(descriptor), locked)
            if stranger is None:
                os.truncate(descriptor, 0)
                os.lseek(descriptor, 0, os.SEEK_SET)
                os.write(descriptor, json.dumps(_me()).encode())
                return descriptor
            refusal = f"{stranger}; if that is no longer so, delete {path}"
        except BlockingIOError:
            refusal = (
                f"{_words(_read(descriptor))}; wait for it, stop it, or give another directory with --workdir"
            )
        except OSError as error:
            os.close(descriptor)
            raise _unwritable(path, error) from error
        os.close(descriptor)
        if time.monotonic() >= deadline:
            raise UserError(f"{os.path.dirname(path)}: is in use by {refusal}")
        time.sleep(0.1)


def _open(path):
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise _unwritable(path, error) from error


def _flock(descriptor, shared=False):
    """Whether the file system has locks at all. **Raises:** `BlockingIOError` where another process has this one."""
    try:
        if fcntl is None:
            return _lock_a_byte(descriptor)
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


def _lock_a_byte(descriptor):
    # Windows keeps others from reading what is locked: a byte that nobody reads, far beyond the signature.
    os.lseek(descriptor, 1 << 30, os.SEEK_SET)
    try:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    except PermissionError as error:
        raise BlockingIOError from error
    return True


def _let_go(path, descriptor):
    # Deleted while it is still locked: nobody else can take it for theirs.
    with contextlib.suppress(OSError):
        if _still_there(path, descriptor):
            os.unlink(path)  # Windows deletes no open file: an empty one stays
    with contextlib.suppress(OSError):
        os.truncate(descriptor, 0)
    os.close(descriptor)


def _still_there(path, descriptor):
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(descriptor))


def _stranger(path, signed, locked):
    """Of a file that nobody has locked, as far as can be seen: who may be at work nevertheless, None for nobody."""
    if signed is None or (locked and _locks_are_shared(path)):
        return None
    if signed["host"] != socket.gethostname():
        return _words(signed)
    # This host's own locks are seen where there are any.
    return None if locked or not _is_alive(signed["pid"]) else _words(signed)


def _is_alive(pid):
    if pid == os.getpid():
        return False
    if fcntl is None:  # os.kill would end it, and a process of this host is seen by its lock
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _me():
    return {"host": socket.gethostname(), "pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}


def _read(descriptor):
    """What the holder wrote, None where it is nothing that `_me` wrote."""
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        signed = json.loads(os.read(descriptor, 1000))
    except (OSError, ValueError):
        return None
    if not isinstance(signed, dict) or signed.keys() != _me().keys() or not isinstance(signed["pid"], int):
        return None
    return signed


def _words(signed):
    if signed is None:
        return "another process"
    return f"process {signed['pid']} on {signed['host']}, since {signed['since']}"


def _locks_are_shared(path, mounts="/proc/self/mounts"):
    """Whether a lock taken on another host would be seen here; for all but known exceptions that is so, or there is
    no other host."""
    kind, options = _mount(path, mounts)
    if kind in ("nfs", "nfs4"):
        return not {"nolock", "local_lock=all", "local_lock=flock"} & options
    if kind == "lustre":
        return "localflock" not in options
    return kind not in ("beegfs", "fuse.sshfs")


def _mount(path, mounts):
    """(kind, options) of the file system that a path lies on, ("", set()) where that is unknown."""
    found = "", "", set()
    with contextlib.suppress(OSError):
        for line in Path(mounts).read_text(errors="surrogateescape").splitlines():
            point, kind, options = line.split(" ")[1:4]
            point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), point).rstrip("/")
            if (path + "/").startswith(point + "/") and len(point) >= len(found[0]):
                found = point, kind, set(options.split(","))
    return found[1:]


def _unwritable(path, error):
    return UserError(f"{path}: cannot be written ({error.strerror}); give another directory with --workdir")
