"""The files of a work directory, read with distrust: whatever a crash or a hand has left, there is an answer."""

import json
import math
import stat
from pathlib import Path

_NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}  # as metrics.jsonl spells them


class Damaged(Exception):
    """A file is not what it should be: the message names it and says how."""


def read_json(path):
    """The object in a JSON file, None where there is no file. **Raises:** `Damaged`."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Damaged(f"{path.name} cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{path.name} is not JSON ({_one_line(error)})") from error
    if not isinstance(values, dict):
        raise Damaged(f"{path.name} holds no object")
    return values


def read_records(path):
    """The records of a metrics.jsonl, oldest first; of two with the same epoch the later one, and no torn last line.

    **Raises:** `Damaged`.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise Damaged(f"{path.name} cannot be read ({error.strerror})") from error
    while lines and not lines[-1].strip():
        lines.pop()
    records = {}
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            if not is_integer(record["epoch"]):
                raise ValueError
            records[record["epoch"]] = {name: _finite_again(value) for name, value in record.items()}
        except (ValueError, TypeError, KeyError, RecursionError):
            if number < len(lines):
                raise Damaged(f"{path.name}, line {number} is not the record of an epoch") from None
    return [records[epoch] for epoch in sorted(records)]


def flat(values, separator=".", prefix=""):
    """{"a": {"b": 1}} as {"a.b": 1}."""
    result = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        result |= flat(value, separator, f"{name}{separator}") if isinstance(value, dict) else {name: value}
    return result


def is_integer(value):
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def entries(folder):
    """Paths of what is in a folder, by name; none where it does not exist or may not be looked into."""
    try:
        return sorted(Path(folder).iterdir())
    except OSError:
        return []


def is_real_folder(path):
    """Whether it is a folder itself, and not a link to one."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def usage(path):
    """(bytes on disk, seconds since 1970 of the last change) of a file, or of a folder and all in it.

    Bytes as `du` counts them: in blocks, a file of several names once. Links are not followed. Folders change with what
    is deleted from them: they say when only where there is no file.
    """
    size, touched, folder_touched, seen, waiting = 0, 0.0, 0.0, set(), [path]
    while waiting:
        path = waiting.pop()
        try:
            found = path.lstat()
        except OSError:  # gone meanwhile
            continue
        if (found.st_dev, found.st_ino) in seen:
            continue
        seen.add((found.st_dev, found.st_ino))
        size += 512 * found.st_blocks if hasattr(found, "st_blocks") else found.st_size
        if stat.S_ISDIR(found.st_mode):
            folder_touched = max(folder_touched, found.st_mtime)
            waiting += entries(path)
        else:
            touched = max(touched, found.st_mtime)
    return size, touched or folder_touched


def _finite_again(value):
    return _NON_FINITE.get(value, value) if isinstance(value, str) else value


def _one_line(error):
    return " ".join(str(error).split())[:100]
