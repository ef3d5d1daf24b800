"""A folder of image files: order, sizes, labels, broken files, and the arrays that are kept."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from mtvae_jax.data import image_worker, load_dataset
from mtvae_jax.data.folder import read_folder
from mtvae_jax.errors import UserError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The folder of kept arrays, empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "mtvae_jax" / "images"


@pytest.fixture
def faces(tmp_path):
    """A function (**{path: image or bytes}) → the folder of these, whose images are numbers: a grey level, 4 × 4."""
    root = tmp_path / "faces"

    def make(files):
        for name, image in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(image, bytes):
                path.write_bytes(image)
            else:
                image = np.full((4, 4), image, np.uint8) if np.ndim(image) == 0 else image
                Image.fromarray(image).save(path)
        return root

    return make


def levels(source):
    return source.train.images[:, 0, 0, 0].tolist()


def refusal(root, **settings):
    with pytest.raises(UserError) as refused:
        read_folder(str(root), **settings)
    assert str(refused.value).startswith(f"folder:{root}: ")
    return str(refused.value).removeprefix(f"folder:{root}: ")


def test_files_come_in_the_order_of_their_paths_whatever_their_kind_and_hidden_ones_not(faces):
    root = faces({
        "b/z.png": 3, "a.TIF": 0, "b/a/x.bmp": 1, "B.png": 5, "b/y.tiff": 2, "c.png": 4, ".hidden.png": 9,
        ".git/a.png": 9, "notes.txt": b"none", "__MACOSX/a.png": 9,
    })  # fmt: skip
    source = read_folder(str(root))
    assert levels(source) == [5, 0, 1, 2, 3, 4]
    assert source.train.images.shape == (6, 4, 4, 1)
    assert (source.name, source.provenance) == ("faces", f"folder:{root}")
    assert (source.found, source.remarks, source.train.labels) == (("6 images of 4×4×1",), (), None)


def test_one_file_of_colour_makes_all_of_them_rgb(faces):
    root = faces({"a.png": 7, "b.png": np.full((4, 4, 3), (1, 2, 3), np.uint8)})
    images = read_folder(str(root)).train.images
    assert images[:, 0, 0].tolist() == [[7, 7, 7], [1, 2, 3]]


def test_names_of_sub_folders_become_labels(faces):
    root = faces({"dog/1.png": 0, "cat/deep/2.png": 1, "dog/3.png": 2, "Ähre/4.png": 3})
    source = read_folder(str(root), labels="folders")
    assert list(zip(levels(source), source.train.labels.tolist(), strict=True)) == [(1, 0), (0, 1), (2, 1), (3, 2)]
    assert source.found[1] == "labels: 0 cat (1), 1 dog (2), 2 Ähre (1)"
    faces({"stray.png": 1})
    assert refusal(root, labels="folders").startswith("1 image in no sub-folder (stray.png), whose name would be the")


def test_images_of_several_sizes_need_one(faces):
    small, wide = np.zeros((4, 4), np.uint8), np.zeros((4, 8), np.uint8)
    root = faces({"a.png": small, "b.png": wide, "c.png": wide, "d.png": wide.T, "e.png": small[:3]})
    assert refusal(root) == (
        "the images are of 4 sizes, 4×8 (2), 4×4 (1), 8×4 (1) and 1 other size; give all the same by data.size, "
        "such as --config.data.size=64"
    )
    source = read_folder(str(root), size=(4, 4))
    assert source.train.images.shape == (5, 4, 4, 1)
    assert source.found == ("5 images of 4 sizes, 3×4 … 8×4; the central piece of each resized to 4×4×1",)
    assert source.remarks == ("1 of 5 images are smaller than 4×4 and were enlarged to it",)


def test_a_broken_file_is_named_and_where_it_is_asked_for_left_out_and_counted(faces, digits):
    good = [np.ascontiguousarray(image[..., 0]) for image in digits[:3]]
    root = faces({"a.png": good[0], "b.png": good[1], "c.png": b"no image", "d.png": good[2], "e.jpg": b""})
    assert refusal(root) == (
        "c.png cannot be read (no image of a kind that is read), and so cannot 1 other file; take it out, or "
        "--config.data.skip_broken=True leaves it out"
    )
    cut = (root / "b.png").read_bytes()[:-60]  # whose head is whole
    (root / "b.png").write_bytes(cut)
    (root / "e.jpg").unlink()
    (root / "e.jpg").symlink_to("nowhere.jpg")
    (root / "c.png").unlink()
    assert refusal(root).startswith("e.jpg cannot be read (No such file or directory); ")
    (root / "e.jpg").unlink()
    assert refusal(root).startswith("b.png cannot be read (")
    for _ in range(2):  # decoded, and kept
        source = read_folder(str(root), skip_broken=True)
        np.testing.assert_array_equal(source.train.images[..., 0], [good[0], good[2]])
        assert source.found == ("2 images of 28×28×1",)
        (remark,) = source.remarks
        assert remark.startswith("1 of 3 files cannot be read and are left out: b.png (")
    assert refusal(root).startswith("b.png cannot be read (")  # what is kept knows it
    for name in ("a.png", "d.png"):
        (root / name).write_bytes(cut)
    assert refusal(root, skip_broken=True).endswith("none of the files can")


def test_a_second_start_decodes_nothing_and_a_changed_file_is_noticed(faces, monkeypatch):
    root = faces({"a.png": 1, "sub/b.png": 2})
    assert levels(read_folder(str(root))) == [1, 2]
    decoded = []
    perform = image_worker.perform
    monkeypatch.setattr(image_worker, "perform", lambda job: decoded.extend(job["paths"]) or perform(job))
    assert levels(read_folder(str(root))) == [1, 2]
    assert levels(read_folder(os.path.relpath(root))) == [1, 2]
    assert not decoded
    about = (root / "a.png").stat()
    faces({"a.png": 3})  # as long as it was
    os.utime(root / "a.png", ns=(about.st_atime_ns, about.st_mtime_ns + 1))
    assert levels(read_folder(str(root))) == [3, 2]
    faces({"c.png": 4})
    assert levels(read_folder(str(root))) == [3, 4, 2]
    (root / "a.png").unlink()
    assert levels(read_folder(str(root))) == [4, 2]
    decoded.clear()
    assert read_folder(str(root), size=(2, 2)).train.images.shape == (2, 2, 2, 1)
    assert len(decoded) == 4  # looked at, then decoded
    assert levels(read_folder(str(root))) == [4, 2]
    assert len(decoded) == 4  # both are kept


def test_where_nothing_can_be_kept_it_says_so_and_goes_on(faces, cache):
    root = faces({"a.png": 1, "b.png": 2})
    cache.parent.mkdir(parents=True)
    cache.write_text("no folder")
    source = read_folder(str(root))
    assert levels(source) == [1, 2]
    assert source.remarks[0].startswith("the decoded images could not be kept for the next start (")


def test_of_kept_arrays_those_unused_for_longest_go(faces, cache, monkeypatch):
    monkeypatch.setattr("mtvae_jax.data.folder.MOST_KEPT", 25_000)  # two of some 11,000 bytes
    root, used = faces({"a.png": 1}), []
    for side in (100, 101, 102):
        read_folder(str(root), size=(side, side))
        (new,) = set(cache.iterdir()) - set(used)
        used.append(new)
        if side == 101:
            os.utime(used[0] / "arrays.json", (2, 2))
            os.utime(used[1] / "arrays.json", (1, 1))
    assert set(cache.iterdir()) == {used[0], used[2]}


def test_several_processes_give_what_one_does_and_import_no_jax(faces, digits, monkeypatch):
    root = faces({f"{i % 7}/{i:03}.png": np.ascontiguousarray(digits[i, ..., 0]) for i in range(100)})
    (root / "3" / "broken.png").write_bytes(b"no")
    alone = read_folder(str(root), size=(14, 14), skip_broken=True)
    started, seen = [], []
    monkeypatch.setattr(image_worker, "_BYTES_WORTH_A_PROCESS", 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    monkeypatch.setattr("mtvae_jax.data.folder.VERSION", 0)  # nothing is kept of it
    enter = image_worker._Process.__enter__
    monkeypatch.setattr(image_worker._Process, "__enter__", lambda self: started.append(self) or enter(self))
    progress = lambda *numbers: seen.append(numbers)  # noqa: E731
    several = read_folder(str(root), size=(14, 14), skip_broken=True, progress=progress)
    assert len(started) == 6  # three for each of two passes
    np.testing.assert_array_equal(several.train.images, alone.train.images)
    assert several.remarks == alone.remarks
    assert seen == [(i, 100) for i in range(1, 101)]
    assert all(process._process.returncode == 0 for process in started)


def test_a_process_that_is_killed_is_an_error_of_one_line(faces, monkeypatch):
    root = faces({f"{i:02}.png": 1 for i in range(70)})
    monkeypatch.setattr(image_worker, "_BYTES_WORTH_A_PROCESS", 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(image_worker, "_PROGRAM", "import os; os.kill(os.getpid(), 9)")
    with pytest.raises(UserError, match=r"/\d\d\.png: a process that decodes this file, or one of the \d+ after it, "):
        read_folder(str(root))


def test_a_process_for_images_imports_neither_jax_nor_the_main_program():
    program = "import mtvae_jax.data.image_worker, sys; print({'jax', 'flax', 'ml_collections'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no such folder; data.name takes folder:PATH of a folder with image files"),
        ({"a.gif": b"", "b.txt": b""}, "holds no image files, which end in .png, .jpg, .jpeg, .webp, .tif, .tiff, .bmp "
         "(.gif are not read)"),
    ],
)
def test_a_folder_without_images_is_refused(files, message, faces, tmp_path):
    assert refusal(faces(files)) == message


def test_what_may_surprise_is_said(faces):
    source = read_folder(str(faces({"train/a.png": 1, "test/b.png": 2, "c.heic": b""})))
    assert source.remarks == (
        "there are files that are not read: .heic",
        "the sub-folders test and train are not taken for splits: all images are split anew; an npz may bring its own "
        "splits",
    )


def test_links_are_followed_once(faces, tmp_path):
    root = faces({"a.png": 1})
    (tmp_path / "elsewhere").mkdir()
    (root / "b").symlink_to(tmp_path / "elsewhere")
    (root / "a.png").rename(tmp_path / "elsewhere" / "a.png")
    (tmp_path / "elsewhere" / "back").symlink_to(root)
    assert levels(read_folder(str(root))) == [1]


def test_a_dataset_of_a_folder_is_split_like_any_other(faces, digits):
    root = faces({f"{i % 2}/{i:02}.png": np.ascontiguousarray(digits[i, ..., 0]) for i in range(40)})
    dataset = load_dataset(f"folder:{root}", labels="folders", size=14)
    assert [len(split) for split in (dataset.train, dataset.validation, dataset.test)] == [32, 4, 4]
    assert dataset.image_shape == (14, 14, 1)
    assert dataset.found[1] == "labels: 0 0 (20), 1 1 (20)"
    assert set(dataset.train_labels) == {0, 1}


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("mnist_sample", {"size": 32}, "data.size = 32: is for folder:PATH, and these are mnist_sample; must be N"),
        ("npz:a.npz", {"labels": "folders"}, "data.labels = folders: is for folder:PATH, and these are npz:a.npz"),
        ("mnist", {"skip_broken": True}, "data.skip_broken = True: is for folder:PATH, and these are mnist; must"),
        ("mnits", {"size": 32}, "data.name = mnits: must be one of mnist, fashion_mnist, "),
        ("folder:a", {"crop": "none"}, "data.crop = none: is how images become of data.size, which is None; must"),
        ("folder:a", {"background": "whit"}, "data.background = whit: must be a colour, like white or #808080"),
        ("folder:a", {"size": (1, 2, 3)}, "data.size = (1, 2, 3): must be a side, or height and width, in pixels"),
        ("folder:a", {"size": 0}, "data.size = 0: must be a side"),
        ("folder:a", {"labels": "names"}, "data.labels = names: must be folders, or None"),
        ("folder:", {}, "folder:: no such folder"),
        ("folder:a\0b", {}, "folder:a\\x00b: no such folder"),
    ],
)
def test_settings_that_are_wrong_or_of_no_effect_are_refused(name, settings, message):
    with pytest.raises(UserError) as refused:
        load_dataset(name, **settings)
    assert str(refused.value).startswith(message)
