"""The cache folder: what is kept of it and what goes."""

import os

import jax
import pytest

from mtvae_jax import environment


@pytest.fixture
def files(tmp_path):
    """Ten files of 100 bytes in two folders; file 0 was used last, 9 first; by being read, the odd ones."""
    (tmp_path / "xla").mkdir()
    for number in range(10):
        path = tmp_path / ("xla" if number % 2 else ".") / str(number)
        path.write_bytes(bytes(100))
        used = 1_000_000 - 1000 * number
        os.utime(path, (used, 5) if number % 2 else (5, used))
    return tmp_path


def left(folder):
    return sorted(int(path.name) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(("most", "kept"), [(0, 0), (99, 0), (100, 1), (450, 4), (1000, 10), (10**9, 10)])
def test_what_was_used_last_is_kept(files, most, kept):
    environment.bound(files, most)
    assert left(files) == list(range(kept))


def test_a_folder_that_is_not_there_or_cannot_be_written_is_no_error(files, monkeypatch):
    environment.bound(files / "nowhere", 0)
    monkeypatch.setattr(os, "unlink", lambda _: (_ for _ in ()).throw(PermissionError()))
    environment.bound(files, 0)
    assert left(files) == list(range(10))


def test_every_process_keeps_the_cache_within_its_bound(files, monkeypatch):
    monkeypatch.setattr(environment, "cache_directory", lambda: files)
    monkeypatch.setattr(environment, "_MOST_CACHED", 300)
    monkeypatch.setattr(jax.config, "update", lambda *_: None)
    environment.configure()
    assert left(files) == [0, 1, 2]
