"""Figures on disk: whole or not at all, of known size, from any thread, without pyplot."""

import io
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image

from mtvae_jax.errors import UserError
from mtvae_jax.figures import loss_curves, samples, save


def figure(value=0.5):
    return samples(np.full((4, 8, 8, 1), value))


def test_a_png_of_200_dpi_in_folders_made_for_it(tmp_path):
    drawn = figure()
    width, height = drawn.get_size_inches()
    save(drawn, tmp_path / "a" / "b" / "samples.png")
    with Image.open(tmp_path / "a" / "b" / "samples.png") as image:
        assert image.format == "PNG"
        assert image.size == (round(200 * width), round(200 * height))
        assert image.info["dpi"] == pytest.approx((200, 200), abs=0.1)
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["samples.png"]


def test_a_saved_figure_lets_go_of_its_arrays(tmp_path):
    drawn = figure()
    save(drawn, tmp_path / "samples.png")
    assert not drawn.axes


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "samples.png"
    path.write_text("old")
    drawn = figure()

    def fail_half_way(file, **_):
        file.write_text("half")
        raise RuntimeError("half way")

    drawn.savefig = fail_half_way
    with pytest.raises(RuntimeError, match="half way"):
        save(drawn, path)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["samples.png"]


@pytest.mark.parametrize("path", ["file/samples.png", "folder"])
def test_a_path_that_cannot_be_written_is_the_users_mistake(tmp_path, path):
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=f"{path}: the figure cannot be written") as error:
        save(figure(), tmp_path / path)
    assert "\n" not in str(error.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def test_threads_draw_the_same_pixels_as_one(tmp_path):
    records = [{"epoch": e, "train/loss": 1 / e, "val/loss": 2 / e} for e in range(1, 20)]

    def draw(index):
        save(loss_curves(records, title=f"Model {index}"), tmp_path / f"{index}.png")

    draw("alone")
    threads = [threading.Thread(target=draw, args=("alone" if i == 0 else i,)) for i in range(3)]
    before = np.asarray(Image.open(tmp_path / "alone.png"))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "alone.png")), before)
    assert {p.name for p in tmp_path.iterdir()} == {"alone.png", "1.png", "2.png"}


def test_importing_the_figures_needs_neither_pyplot_nor_jax():
    code = "import sys, mtvae_jax.figures; print({'matplotlib.pyplot', 'jax', 'tensorboardX'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_notebook_shows_a_figure_that_a_cell_ends_with():
    shown = Image.open(io.BytesIO(samples(np.zeros((4, 8, 8, 1)))._repr_png_()))
    assert shown.format == "PNG"
    assert min(shown.size) > 50
