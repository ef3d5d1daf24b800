"""One image file: every mode as 8 bits of grey or RGB, by values worked out by hand; sides, turns and pieces."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from mtvae_jax.data.image_file import colour, examine, pixels

WHITE, BLUE = (255, 255, 255), (0, 0, 255)
HOW = {"size": None, "crop": "center", "background": WHITE}


def saved(tmp_path, image, suffix="png", **how):
    path = tmp_path / f"image.{suffix}"
    image.save(path, **how)
    return path


def png_of_16_bits(path, values, colour_type=0):
    """Written by hand: uint16 [H, W] or [H, W, 3]."""
    rows = values.astype(">u2")
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, colour_type, 0, 0, 0)),
              (b"IDAT", zlib.compress(raw)), (b"IEND", b"")]  # fmt: skip
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for name, data in chunks:
            file.write(struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)))
    return path


GREY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp"])
def test_grey_and_rgb_come_back_as_they_were(suffix, tmp_path):
    rgb = np.stack([GREY, GREY[::-1], 255 - GREY], axis=-1)
    how = {"lossless": True} if suffix == "webp" else {}
    path = saved(tmp_path, Image.fromarray(rgb), suffix, **how)
    assert examine(path, WHITE) == (3, 4, False)
    np.testing.assert_array_equal(pixels(path, **HOW, channels=3), rgb)
    if suffix != "webp":  # which knows no grey
        path = saved(tmp_path, Image.fromarray(GREY), suffix)
        assert examine(path, WHITE) == (3, 4, True)
        np.testing.assert_array_equal(pixels(path, **HOW, channels=1), GREY[..., None])
        np.testing.assert_array_equal(pixels(path, **HOW, channels=3), np.repeat(GREY[..., None], 3, -1))


def test_a_jpeg_is_about_what_it_was(tmp_path):
    grey = np.linspace(0, 255, 64 * 64).reshape(64, 64).astype(np.uint8)
    path = saved(tmp_path, Image.fromarray(grey), "jpg", quality=95)
    assert examine(path, WHITE) == (64, 64, True)
    assert np.abs(pixels(path, **HOW, channels=1)[..., 0].astype(int) - grey).max() < 8


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_sixteen_bits_are_scaled_and_not_clipped(kind, tmp_path):
    values = np.array([[0, 128, 129, 257], [256, 30000, 65278, 65535]], np.uint16)
    expected = [[0, 0, 1, 1], [1, 117, 254, 255]]  # to the nearest of 256 levels: v / 257
    path = tmp_path / f"image.{kind}"
    if kind == "png":
        png_of_16_bits(path, values)
    else:
        Image.fromarray(values).save(path)
    assert examine(path, WHITE) == (2, 4, True)
    np.testing.assert_array_equal(pixels(path, **HOW, channels=1)[..., 0], expected)


def test_sixteen_bits_of_colour_are_scaled(tmp_path):
    values = np.array([[[0, 30000, 65535], [257 * 7, 257 * 8, 257 * 9]]], np.uint16)
    path = png_of_16_bits(tmp_path / "image.png", values, colour_type=2)
    np.testing.assert_allclose(pixels(path, **HOW, channels=3), [[[0, 117, 255], [7, 8, 9]]], atol=1)


def test_floats_are_of_0_to_1(tmp_path):
    path = saved(tmp_path, Image.fromarray(np.array([[0, 0.5, 1]], np.float32)), "tif")
    assert pixels(path, **HOW, channels=1).ravel().tolist() == [0, 128, 255]
    for odd in (2.0, -1.0, np.nan):
        path = saved(tmp_path, Image.fromarray(np.array([[0, odd]], np.float32)), "tif")
        with pytest.raises(ValueError, match="and no floats of 0 … 1"):
            pixels(path, **HOW, channels=1)


def test_transparent_pixels_show_the_background(tmp_path):
    rgba = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 100, 200, 51]]], np.uint8)  # 51: a fifth
    path = saved(tmp_path, Image.fromarray(rgba))
    assert examine(path, WHITE) == (1, 3, False)
    shown = pixels(path, **HOW, channels=3)[0]
    assert shown[:2].tolist() == [[10, 20, 30], [255, 255, 255]]
    np.testing.assert_allclose(shown[2], [204, 224, 244], atol=1)  # (v + 4 · 255) / 5
    assert pixels(path, **HOW | {"background": BLUE}, channels=3)[0, 1].tolist() == list(BLUE)


def test_grey_with_transparency_is_grey_before_a_grey_background_only(tmp_path):
    path = saved(tmp_path, Image.fromarray(np.array([[[9, 255], [9, 0]]], np.uint8)))
    assert (examine(path, WHITE)[2], examine(path, BLUE)[2]) == (True, False)
    assert pixels(path, **HOW, channels=1).ravel().tolist() == [9, 255]
    assert pixels(path, **HOW | {"background": BLUE}, channels=3)[0].tolist() == [[9, 9, 9], [0, 0, 255]]


def test_palettes_and_black_and_white(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 0])
    image.putdata([0, 1])
    path = saved(tmp_path, image)
    assert examine(path, WHITE) == (1, 2, False)
    assert pixels(path, **HOW, channels=3)[0].tolist() == [[10, 20, 30], [200, 100, 0]]
    path = saved(tmp_path, image, transparency=1)
    assert pixels(path, **HOW, channels=3)[0].tolist() == [[10, 20, 30], [255, 255, 255]]
    image.putpalette([10, 10, 10, 200, 200, 200])
    path = saved(tmp_path, image)
    assert examine(path, WHITE) == (1, 2, True)
    assert pixels(path, **HOW, channels=1).ravel().tolist() == [10, 200]
    path = saved(tmp_path, Image.fromarray(np.array([[True, False]])))
    assert examine(path, WHITE) == (1, 2, True)
    assert pixels(path, **HOW, channels=1).ravel().tolist() == [255, 0]


SHOWN = {1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: lambda a: np.swapaxes(a, 0, 1),
         6: lambda a: np.rot90(a, -1), 7: lambda a: np.swapaxes(np.rot90(a, 2), 0, 1), 8: np.rot90}  # fmt: skip


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
@pytest.mark.parametrize("orientation", SHOWN)
def test_an_image_is_turned_as_exif_says(orientation, suffix, tmp_path):
    rgb = np.random.default_rng(0).integers(0, 256, (3, 5, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    how = {"lossless": True, "exact": True} if suffix == "webp" else {}
    path = saved(tmp_path, Image.fromarray(rgb), suffix, exif=exif, **how)
    expected = SHOWN[orientation](rgb)
    assert examine(path, WHITE)[:2] == expected.shape[:2]
    np.testing.assert_array_equal(pixels(path, **HOW, channels=3), expected)


def halves():
    """40 × 160: black, white, white, black quarters from left to right."""
    image = np.zeros((40, 160), np.uint8)
    image[:, 40:120] = 255
    return image


def test_the_central_piece_of_the_wanted_shape_or_all_of_it(tmp_path):
    path = saved(tmp_path, Image.fromarray(halves()))
    centre = pixels(path, (20, 40), "center", WHITE, 1)  # of 40 × 80
    assert centre.shape == (20, 40, 1)
    assert (centre == 255).all()
    all_of_it = pixels(path, (20, 40), "none", WHITE, 1)[..., 0]
    assert (all_of_it[:, 12:28] == 255).all()
    assert (all_of_it[:, :8] == 0).all()
    upright = saved(tmp_path, Image.fromarray(halves().T))
    assert (pixels(upright, (40, 20), "center", WHITE, 1) == 255).all()


def test_halving_averages_over_what_lies_below_a_pixel(tmp_path):
    """A chequerboard of single pixels becomes grey: antialiased."""
    board = np.uint8(255 * (np.indices((64, 64)).sum(0) % 2))
    small = pixels(saved(tmp_path, Image.fromarray(board)), (16, 16), "center", WHITE, 1)
    assert np.abs(small[2:-2, 2:-2].astype(int) - 127).max() <= 2


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_jpeg_decoded_coarsely_is_nearly_what_it_is_decoded_finely(orientation, tmp_path):
    smooth = np.add.outer(np.linspace(0, 120, 480), np.linspace(0, 130, 800)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, Image.fromarray(smooth), "jpg", quality=95, exif=exif)
    size = (30, 20) if orientation == 6 else (20, 30)
    fine = Image.fromarray(SHOWN[orientation](np.asarray(Image.open(path))))
    wide = fine.crop((0, 40, 480, 760)) if orientation == 6 else fine.crop((40, 0, 760, 480))
    expected = np.asarray(wide.resize(size[::-1], Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(pixels(path, size, "center", WHITE, 1)[..., 0] - expected).max() <= 2


@pytest.mark.parametrize("crop", ["center", "none"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_jpeg_is_decoded_no_coarser_than_is_needed(orientation, crop, tmp_path):
    """Stored 80 high and 640 wide, of which the long side is to become much shorter; stripes along it are kept."""
    stripes = np.broadcast_to(127.5 + 127.5 * np.sin(np.arange(80) * np.pi / 4)[:, None], (80, 640))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, Image.fromarray(stripes.astype(np.uint8)), "jpg", quality=98, exif=exif)
    size = (64, 8) if orientation == 1 else (8, 64)
    assert pixels(path, size, crop, WHITE, 1).std() > 60


def test_colours_are_those_of_css():
    assert [colour(text) for text in ("white", "#102030", "rgb(1,2,3)")] == [(255,) * 3, (16, 32, 48), (1, 2, 3)]


def test_what_is_no_image_raises(tmp_path):
    data = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)).save(data, "PNG")
    for content in (b"", b"no image", data.getvalue()[:-2000]):
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(Exception):  # noqa: B017, PT011  Pillow raises a dozen kinds
            pixels(tmp_path / "a.png", **HOW, channels=1)
