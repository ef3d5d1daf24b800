"""Arrays on disk: whole or not there at all."""

import json
import threading

import numpy as np
import pytest

from mtvae_jax.data import array_cache

ARRAYS = {
    "images": np.random.default_rng(0).integers(0, 256, (50, 4, 4, 3), np.uint8),
    "labels": np.arange(50, dtype=np.int32),
}


def write(folder, version=1):
    with array_cache.writing(folder, version) as create:
        for name, array in ARRAYS.items():
            create(name, array.shape, array.dtype)[:] = array


def assert_whole(found):
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_what_was_written_is_found_and_cannot_be_changed(tmp_path):
    write(tmp_path / "a" / "b")
    found = array_cache.load(tmp_path / "a" / "b", 1)
    assert_whole(found)
    with pytest.raises(ValueError, match="read-only"):
        found["images"][0] = 0


def test_nothing_is_found_where_nothing_was_written_or_by_another_version(tmp_path):
    assert array_cache.load(tmp_path, 1) is None
    write(tmp_path, version=1)
    assert array_cache.load(tmp_path, 2) is None


@pytest.mark.parametrize("file", ["images.npy", "labels.npy", "arrays.json"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes()[:-20] + bytes(20)),
        lambda path: path.write_text("[]"),
        lambda path: path.write_text('{"version": 1, "sha256": 3}'),
    ],
)
def test_damage_is_found(file, damage, tmp_path):
    write(tmp_path)
    damage(tmp_path / file)
    assert array_cache.load(tmp_path, 1) is None
    write(tmp_path)
    assert_whole(array_cache.load(tmp_path, 1))


def test_one_changed_pixel_is_found(tmp_path):
    write(tmp_path)
    images = np.lib.format.open_memmap(tmp_path / "images.npy", mode="r+")
    images[17, 2, 1, 0] ^= 1
    images.flush()
    assert array_cache.load(tmp_path, 1) is None


def test_a_failure_leaves_nothing_and_an_older_cache_as_it_was(tmp_path):
    for expected in ([], ["arrays.json", "images.npy", "labels.npy"]):
        with pytest.raises(TypeError), array_cache.writing(tmp_path, 1) as create:
            create("images", (3, 3), np.uint8)[:] = None
        assert sorted(path.name for path in tmp_path.iterdir()) == expected
        write(tmp_path)
    assert_whole(array_cache.load(tmp_path, 1))


def test_many_may_write_the_same_at_once(tmp_path):
    together = threading.Barrier(4)

    def write_at_once():
        together.wait()
        for _ in range(5):
            write(tmp_path)

    threads = [threading.Thread(target=write_at_once) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_whole(array_cache.load(tmp_path, 1))
    assert set(json.loads((tmp_path / "arrays.json").read_text())["sha256"]) == set(ARRAYS)
    assert len(list(tmp_path.iterdir())) == 3
