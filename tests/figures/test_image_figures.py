"""The figures made of images: what lies where, in the mosaics and in the rendered pixels, and that no texts touch."""

import itertools

import numpy as np
import pytest
from figures.layout import assert_apart_and_inside

from mtvae_jax.figures import draws, failure, reconstructions, samples, sampling_types
from mtvae_jax.figures.mosaic import hide, tile, to_rgb
from mtvae_jax.figures.style import HIDDEN, TEXT_WIDTH


def random_images(n, height=28, width=28, channels=1, seed=0):
    return np.random.default_rng(seed).random((n, height, width, channels))


def mosaics(figure):
    """The arrays that are drawn, a row each."""
    return [axes.images[0].get_array() for axes in figure.axes]


def cell(mosaic, column, width):
    """The `column`th image of a mosaic of one row, its gap found by the white columns between the images."""
    gap = max(1, width // 16)
    return mosaic[:, column * (width + gap) : column * (width + gap) + width]


def pixels(figure):
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3] / 255


def test_grey_colour_and_other_channel_counts():
    grey, colour, odd = (random_images(2, channels=channels) for channels in (1, 3, 5))
    for channel in range(3):
        np.testing.assert_allclose(to_rgb(grey)[..., channel], grey[..., 0], rtol=1e-6)
        np.testing.assert_allclose(to_rgb(colour)[..., channel], colour[..., channel], rtol=1e-6)
        np.testing.assert_allclose(to_rgb(odd)[..., channel], odd[..., 0], rtol=1e-6)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_picture_of_one_channel_of_several_says_so(channels):
    images, mask = random_images(2, channels=channels), np.ones((28, 28, 1), bool)
    drawn = [
        samples(images),
        samples(images, title="t"),
        reconstructions(images, mask, images, images, title="t"),
        sampling_types(images[0], {"Exact": mask}, title="t"),
        draws(images, mask, np.stack([images, images]), title="t"),
        failure([1], {"loss": [np.nan]}, images, [0, 1], [True, True], split="training", title="t"),
    ]
    for figure in drawn:
        texts = [text.get_text() for text in figure.texts if "in grey" in text.get_text()]
        assert len(texts) == (channels in (2, 4))
        assert all(f"channel 1 of {channels}, in grey" in text for text in texts)
        assert_apart_and_inside(figure, [*figure.texts, *figure.axes])


def test_values_outside_are_clipped_and_bytes_are_scaled():
    odd = np.array([-0.5, 1.5, np.nan, np.inf, 0.25]).reshape(1, 1, 5, 1)
    np.testing.assert_array_equal(to_rgb(odd)[0, 0, :, 0], [0, 1, 0, 1, 0.25])
    np.testing.assert_array_equal(to_rgb(np.array([[0], [51], [255]], np.uint8).reshape(1, 1, 3, 1))[0, 0, :, 0],
                                  np.float32([0, 0.2, 1]))


@pytest.mark.parametrize("shape", [(28, 28, 1), (0, 28, 28, 1), (2, 28, 28)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="images must be"):
        samples(np.zeros(shape))


@pytest.mark.parametrize(("n", "columns"), [(1, 1), (5, 3), (6, 3), (7, 7)])
def test_tile_puts_every_image_in_its_place(n, columns):
    rgb = to_rgb(random_images(n, 4, 3, 3))
    picture, gap = tile(rgb, columns, gap=2), 2
    expected = np.ones((-(-n // columns) * 6 - gap, columns * 5 - gap, 3))
    for index in range(n):
        row, column = divmod(index, columns)
        for y in range(4):
            for x in range(3):
                expected[row * 6 + y, column * 5 + x] = rgb[index, y, x]
    np.testing.assert_array_equal(picture, expected.astype(np.float32))


def test_hidden_pixels_are_neither_black_nor_white_nor_grey():
    black = np.zeros((1, 4, 4, 3), np.float32)
    mask = np.zeros((4, 4, 1), bool)
    mask[1, 2] = True
    hidden = hide(black, mask)[0]
    assert (hidden[1, 2] == 0).all()
    others = hidden[~mask[..., 0]]
    assert (others.min(axis=1) > 0.3).all()
    assert (others.max(axis=1) < 0.9).all()
    assert (np.ptp(others, axis=1) > 0.2).all()


def test_sampling_types_shows_original_mask_and_result_of_each_type():
    image = random_images(1, channels=3)[0]
    masks = {name: random_images(1, seed=seed)[0] < 0.1 for seed, name in enumerate(("Exact", "Uniform", "Gaussian"))}
    figure = sampling_types(image, masks, title="MNIST")
    assert [axes.get_label().split("\n") for axes in figure.axes] == [
        [name, f"{mask.sum()} pixels"] for name, mask in masks.items()
    ]
    assert {"Original", "Mask", "Result", "MNIST"} <= {text.get_text() for text in figure.texts}
    for mosaic, mask in zip(mosaics(figure), masks.values(), strict=True):
        revealed = mask[..., 0]
        np.testing.assert_array_equal(cell(mosaic, 0, 28), image.astype(np.float32))
        assert (cell(mosaic, 1, 28)[revealed] == 1).all()
        np.testing.assert_array_equal(cell(mosaic, 2, 28)[revealed], image.astype(np.float32)[revealed])
        for column in (1, 2):
            assert (cell(mosaic, column, 28)[~revealed] == np.float32(HIDDEN)).all()


def test_sampling_types_refuses_no_mask_and_masks_of_another_size():
    with pytest.raises(ValueError, match="at least one mask"):
        sampling_types(np.zeros((8, 8, 1)), {})
    with pytest.raises(ValueError, match="'Exact'"):
        sampling_types(np.zeros((8, 8, 1)), {"Exact": np.zeros((8, 9, 1), bool)})


@pytest.mark.parametrize("present", itertools.product([False, True], repeat=3))
def test_reconstructions_leaves_out_the_rows_without_images(present):
    images = random_images(3)
    arguments = images > 0.5, random_images(3, seed=1), random_images(3, seed=2)
    masks, unconditioned, conditioned = (
        argument if there else None for argument, there in zip(arguments, present, strict=True)
    )
    figure = reconstructions(images, masks, unconditioned, conditioned)
    rows = [images, None if masks is None else np.where(masks, images, HIDDEN), unconditioned, conditioned]
    rows = [np.broadcast_to(row, (3, 28, 28, 3)).astype(np.float32) for row in rows if row is not None]
    drawn = mosaics(figure)
    assert len(drawn) == len(rows) == 1 + sum(present)
    for mosaic, row in zip(drawn, rows, strict=True):
        for index in range(3):
            np.testing.assert_array_equal(cell(mosaic, index, 28), row[index])
    names = [axes.get_label().replace("\n", " ") for axes in figure.axes]
    every = ["Input", "Revealed pixels", "Reconstruction from z", "Reconstruction from z and m"]
    assert names == [name for name, there in zip(every, (True, *present), strict=True) if there]


def test_one_mask_serves_all_images():
    images, mask = random_images(3), random_images(1)[0] > 0.5
    one, three = (mosaics(reconstructions(images, masks))[1] for masks in (mask, np.stack([mask] * 3)))
    np.testing.assert_array_equal(one, three)


@pytest.mark.parametrize(("argument", "shape"), [("masks", (2, 28, 28, 1)), ("masks", (3, 27, 28, 1)),
                                                 ("unconditioned", (2, 28, 28, 1)), ("conditioned", (3, 8, 8, 1))])
def test_reconstructions_refuses_what_does_not_match(argument, shape):
    with pytest.raises(ValueError, match="images"):
        reconstructions(np.zeros((3, 28, 28, 1)), **{argument: np.zeros(shape)})


@pytest.mark.parametrize(("n", "rows", "columns"), [(1, 1, 1), (2, 1, 2), (3, 1, 3), (5, 1, 5), (7, 2, 4), (12, 3, 4),
                                                    (16, 4, 4), (64, 8, 8)])
def test_samples_fill_a_grid_wider_than_high(n, rows, columns):
    (mosaic,) = mosaics(samples(random_images(n, 32, 32)))
    assert mosaic.shape == (rows * 34 - 2, columns * 34 - 2, 3)


@pytest.mark.parametrize(("n", "side"), [(1, 28), (8, 28), (12, 28), (5, 32), (12, 64)])
def test_every_image_pixel_is_the_same_square_on_paper(n, side):
    """Rendered at 200 dpi, a random image comes out as a whole-number enlargement, to the last pixel."""
    images = np.round(random_images(n, side, side) * 255) / 255
    figure = reconstructions(images, unconditioned=1 - images, title="A title")
    page = pixels(figure)
    for axes, expected in zip(figure.axes, (images, 1 - images), strict=True):
        box = axes.get_window_extent()
        scale = round(box.width) / axes.images[0].get_array().shape[1]
        assert scale == int(scale) >= 1
        left, top = round(box.x0), round(page.shape[0] - box.y1)
        picture = np.kron(expected[0, ..., 0], np.ones((int(scale), int(scale))))
        drawn = page[top : top + len(picture), left : left + len(picture), 0]
        np.testing.assert_allclose(drawn, picture, atol=1 / 255)


@pytest.mark.parametrize(("n", "height", "width"), [(1, 28, 28), (12, 28, 28), (12, 64, 64), (40, 28, 28),
                                                    (12, 200, 200), (2, 32, 8), (3, 8, 40)])
@pytest.mark.parametrize("title", [None, "Multi-decoder Gaussian VAE, latent dimension 16, uniform sampling, CIFAR-10"])
def test_texts_never_touch_and_the_page_is_wide_enough(n, height, width, title):
    images = random_images(n, height, width)
    for figure in (
        reconstructions(images, images > 0.5, images, images, title=title),
        sampling_types(images[0], {"Exact": images[0] > 0.9, "Gaussian": images[0] > 2}, title=title),
    ):
        assert_apart_and_inside(figure, [*figure.texts, *figure.axes])
        assert figure.get_figwidth() <= TEXT_WIDTH + 0.01
