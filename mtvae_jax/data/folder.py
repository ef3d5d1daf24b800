"""A folder of a user's own image files, decoded once and then kept as one array."""

import contextlib
import hashlib
import json
import os
import shutil
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np

from mtvae_jax.data import array_cache
from mtvae_jax.data.cache_folder import cache_directory
from mtvae_jax.data.image_file import NOT_READ, SUFFIXES, colour
from mtvae_jax.data.image_worker import performed
from mtvae_jax.data.source import Labelled, Source
from mtvae_jax.errors import UserError, first_line, number_of

VERSION = 1  # to be raised when the same files become other pixels, so that older arrays are not found
FILES_AT_ONCE = 32
MOST_KEPT = 10 << 30  # bytes of arrays in the cache; of others than the newest what was not used for longest goes
_NAMED = 3  # files or sizes in a sentence
_SPLIT_NAMES = {"train", "training", "val", "valid", "validation", "test", "testing"}


def read_folder(
    path, *, size=None, crop="center", background="white", labels=None, skip_broken=False,
    progress=lambda done, of: None,
):
    """Reads all PNG, JPEG, WebP, TIFF and BMP files of a folder and of its sub-folders, in the order of their paths.

    The images are grey where all files are, else RGB; see `mtvae_jax.data.image_file`. They are decoded once, by
    several processes, and kept in the user's cache folder until a file is another, by its path, size or time of change.
    Hidden files and folders do not count.

    **Arguments:** `path`: the folder; `size`: (H, W), or None where all files have one; `crop`, `background`: of
    `image_file.pixels`, but the latter as text, of `image_file.colour`; `labels`: "folders" for the first folder on the
    way to each file, numbered in the order of their names, or None; `skip_broken`: whether files that cannot be read
    are left out, with a remark; `progress`: called with the number of steps that are done and of all.
    **Returns:** a `Source`.
    **Raises:** `UserError`, one line that names the folder, where it cannot be used.
    """
    root = Path(os.path.expanduser(path))  # unlike Path.expanduser, never an error
    files, not_read = _files(path, root)
    names = list(files)
    images, about = _images(root, files, size, crop, colour(background), skip_broken, progress)
    broken = about["broken"]
    if broken and not skip_broken:
        raise _broken(root, broken)
    names = [name for name in names if name not in broken]
    numbers, classes = _labels(root, names, labels)
    return Source(
        name=root.resolve().name or "folder",
        provenance=f"folder:{root.resolve()}",
        train=Labelled(images, numbers),
        remarks=tuple(_remarks(names, broken, about, not_read, size)),
        found=(_found(about, images.shape, crop), *classes),
    )


def _files(path, root):
    """The image files, {path from the root, with slashes: (bytes, time of change)}, sorted alike on every system, and
    the sorted suffixes of images that are not read."""
    if not os.path.isdir(root) or not path:
        why = "a file, not a folder" if os.path.isfile(root) else "no such folder"
        raise UserError(f"folder:{path}: {why}; data.name takes folder:PATH of a folder with image files")
    files, not_read, seen = {}, set(), set()
    try:
        for top, folders, names in os.walk(root, onerror=_raise, followlinks=True):
            real = os.path.realpath(top)
            if real in seen:  # a link that leads back
                folders.clear()
                continue
            seen.add(real)
            folders[:] = sorted(folder for folder in folders if not folder.startswith((".", "__MACOSX")))
            for name in sorted(names):
                suffix = os.path.splitext(name)[1].lower()
                if name.startswith("."):
                    continue
                if suffix in SUFFIXES:
                    file = Path(top, name)
                    files[file.relative_to(root).as_posix()] = _state(file)
                elif suffix in NOT_READ:
                    not_read.add(suffix)
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror}); make it readable, or take it out"
                        ) from error
    if not files:
        hint = f" ({', '.join(sorted(not_read))} are not read)" if not_read else ""
        raise UserError(f"folder:{root}: holds no image files, which end in {', '.join(SUFFIXES)}{hint}")
    # macOS takes letters with accents apart
    return dict(sorted(files.items(), key=lambda item: unicodedata.normalize("NFC", item[0]))), sorted(not_read)


def _state(file):
    try:
        status = file.stat()
    except OSError:  # a link to nowhere, which is a broken file like others
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _raise(error):
    raise error


def _images(root, files, size, crop, background, skip_broken, progress):
    """uint8 [N, H, W, C] of the files that can be read, and what else was found, {"broken": {name: why}, …}."""
    settings = [os.path.realpath(root), size, crop, background]
    folder = cache_directory() / "images" / _sha256(settings)[:16]
    version = f"{VERSION}, {_sha256(list(files.items()))}"
    arrays = array_cache.load(folder, version)
    if arrays is None:
        arrays = _decoded(root, files, size, crop, background, skip_broken, progress, folder, version)
    else:
        with contextlib.suppress(OSError):
            os.utime(folder / array_cache.MANIFEST)  # when it was used
    about = json.loads(arrays["about"].tobytes())
    return arrays["images"][: about["count"]], about


def _decoded(root, files, size, crop, background, skip_broken, progress, folder, version):
    """The arrays of the cache, which are written there, if possible."""
    about = {"broken": {}, "sizes": [], "enlarged": 0, "not_kept": None}
    grey, shapes = True, {}
    for name, found, _ in _in_turn("examine", root, files, {"background": background}):
        if isinstance(found, str):
            about["broken"][name] = found
            continue
        shapes[name] = tuple(found[:2])
        grey &= found[2]
    if (about["broken"] and not skip_broken) or not shapes:
        raise _broken(root, about["broken"], all_of_them=not shapes)
    sizes = Counter(shapes.values())
    about["sizes"] = sorted(sizes, key=lambda sides: (sides[0] * sides[1], sides))
    if size is None:
        size = _only_size(root, sizes)
    about["enlarged"] = sum(high < size[0] or wide < size[1] for high, wide in shapes.values())
    shape = (len(shapes), *size, 1 if grey else 3)
    _check_memory(root, shape)
    how = {"size": size, "crop": crop, "background": background, "channels": shape[-1]}

    def fill(create):
        images, row, broken = create("images", shape, np.uint8), 0, dict(about["broken"])
        for done, (name, found, pixels) in enumerate(_in_turn("pixels", root, shapes, how, files), 1):
            progress(done, len(shapes))
            if found is None:
                images[row], row = np.frombuffer(pixels, np.uint8).reshape(shape[1:]), row + 1
            elif not skip_broken:
                raise _broken(root, {name: found})
            else:
                broken[name] = found
        if not row:
            raise _broken(root, broken, all_of_them=True)
        text = json.dumps(about | {"count": row, "broken": broken}).encode()
        create("about", (len(text),), np.uint8)[:] = np.frombuffer(text, np.uint8)

    try:
        _make_room(folder, int(np.prod(shape)))
        with array_cache.writing(folder, version) as create:
            fill(create)
        arrays = array_cache.load(folder, version)
        if arrays is not None:
            return arrays
        about["not_kept"] = "what was written does not read back"
    except OSError as error:
        about["not_kept"] = first_line(error)
    arrays = {}
    fill(lambda name, shape, dtype: arrays.setdefault(name, np.zeros(shape, dtype)))
    return arrays


def _in_turn(do, root, names, how, files=None):
    """Yields of each file, in order: its name, what was found, its pixels.

    **Arguments:** `files`: {name: (bytes, …)}, `names` if None.
    """
    files, names = names if files is None else files, list(names)
    parts = [names[start : start + FILES_AT_ONCE] for start in range(0, len(names), FILES_AT_ONCE)]
    jobs = [{"do": do, "paths": [str(root / name) for name in part], "with": how} for part in parts]
    # To look at its head is to read a few thousand bytes of a file
    size = sum(min(files[name][0], 1 << 12 if do == "examine" else 1 << 40) for name in names)
    with contextlib.closing(performed(jobs, size=size)) as answers:
        for part, (found, data) in zip(parts, answers, strict=True):
            good = found.count(None)
            each, start = len(data) // good if good else 0, 0
            for name, result in zip(part, found, strict=True):
                yield name, result, data[start : start + each]
                start += each if result is None else 0


def _only_size(root, sizes):
    """(H, W) of all images. **Raises:** `UserError` where they have several."""
    if len(sizes) == 1:
        return next(iter(sizes))
    few = ", ".join(f"{high}×{wide} ({count:,})" for (high, wide), count in sizes.most_common(_NAMED))
    rest = f" and {number_of(len(sizes) - _NAMED, 'other size')}" if len(sizes) > _NAMED else ""
    raise UserError(
        f"folder:{root}: the images are of {len(sizes):,} sizes, {few}{rest}; give all the same by data.size, such as "
        "--config.data.size=64"
    )


def _check_memory(root, shape):
    with contextlib.suppress(AttributeError, ValueError, OSError):  # not known everywhere
        memory, size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), int(np.prod(shape))
        if size > memory:
            raise UserError(
                f"folder:{root}: {number_of(shape[0], 'image')} of {'×'.join(map(str, shape[1:]))} are "
                f"{size / 1e9:,.0f} GB, more than the memory of this machine; make them smaller by data.size"
            )


def _make_room(folder, size):
    """Deletes from the cache what is too much with `size` bytes more. **Raises:** `OSError` where there is no room."""
    folder.mkdir(parents=True, exist_ok=True)
    others = []
    for other in folder.parent.iterdir():
        with contextlib.suppress(OSError):
            used = (other / array_cache.MANIFEST).stat().st_mtime
            if other != folder:
                others.append((used, sum(file.stat().st_size for file in other.iterdir()), other))
    kept = size
    for _, of_other, other in sorted(others, reverse=True):
        kept += of_other
        if kept > MOST_KEPT:
            shutil.rmtree(other, ignore_errors=True)
    if shutil.disk_usage(folder).free < 1.1 * size:  # a memory-mapped file on a full disk ends the process
        raise OSError(f"{folder} has no {size / 1e6:,.0f} MB left")


def _broken(root, broken, *, all_of_them=False):
    name, why = next(iter(broken.items()))
    others = f", and so cannot {number_of(len(broken) - 1, 'other file')}" if len(broken) > 1 else ""
    mend = "none of the files can" if all_of_them else "take it out, or --config.data.skip_broken=True leaves it out"
    return UserError(f"folder:{root}: {name} cannot be read ({why}){others}; {mend}")


def _labels(root, names, labels):
    """int32 [N] or None, and a sentence that says which is which, in a list."""
    if labels is None:
        return None, []
    astray = [name for name in names if "/" not in name]
    if astray:
        raise UserError(
            f"folder:{root}: {number_of(len(astray), 'image')} in no sub-folder ({_some(astray)}), whose name would be "
            "the label; move them into sub-folders, or leave out data.labels"
        )
    of_each = [name.partition("/")[0] for name in names]
    classes = sorted(set(of_each), key=lambda name: unicodedata.normalize("NFC", name))
    number = {name: index for index, name in enumerate(classes)}
    counts = Counter(of_each)
    said = ", ".join(f"{index} {name} ({counts[name]:,})" for name, index in number.items())
    return np.array([number[name] for name in of_each], np.int32), [f"labels: {said}"]


def _remarks(names, broken, about, not_read, size):
    if broken:
        some = ", ".join(f"{name} ({why})" for name, why in list(broken.items())[:_NAMED])
        more = ", …" if len(broken) > _NAMED else ""
        yield f"{len(broken):,} of {len(names) + len(broken):,} files cannot be read and are left out: {some}{more}"
    if about["enlarged"]:
        small = f"{about['enlarged']:,} of {len(names):,} images"
        yield f"{small} are smaller than {size[0]}×{size[1]} and were enlarged to it"
    if not_read:
        yield f"there are files that are not read: {', '.join(not_read)}"
    splits = sorted({name.partition("/")[0] for name in names if "/" in name} & _SPLIT_NAMES)
    if splits:
        yield (
            f"the sub-folders {' and '.join(splits)} are not taken for splits: all images are split anew; an npz may "
            "bring its own splits"
        )
    if about["not_kept"]:
        yield f"the decoded images could not be kept for the next start ({about['not_kept']})"


def _found(about, shape, crop):
    """What the files were, and what they have become."""
    (smallest, *_), (*_, largest) = [["×".join(map(str, sides)) for sides in about["sizes"]]] * 2
    made, number = "×".join(map(str, shape[1:])), number_of(shape[0], "image")
    if len(about["sizes"]) == 1 and made.startswith(f"{smallest}×"):
        return f"{number} of {made}"
    of = smallest if len(about["sizes"]) == 1 else f"{len(about['sizes']):,} sizes, {smallest} … {largest}"
    return f"{number} of {of}; {'the central piece of each' if crop == 'center' else 'each'} resized to {made}"


def _some(names):
    return ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")


def _sha256(value):
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
