"""What is odd about images that can be used nevertheless, in sentences for the user."""

import hashlib

import numpy as np

_FEW_LEVELS = 16  # of 256: a span that is within noise for any loss over [0, 1]
_ROWS_AT_ONCE = 4096


def remarks(train, validation, test):
    """Describes what makes figures on these splits mean less than they seem to.

    Images of one colour, images that use hardly any of the 256 levels, images of one split that are found in another
    too (equal to the bit), and a validation split that is the test split.

    **Arguments:** `train`, `validation`, `test`: uint8 [N, H, W, C]; the last two may be one array.
    **Returns:** a list of sentences, empty for ordinary images.
    """
    chosen_on_test = validation is test
    splits = {"training": train, **({} if chosen_on_test else {"validation": validation}), "test": test}
    found = [*_range(train), *_of_one_colour(splits), *_in_two_splits(splits)]
    if chosen_on_test:
        found.append(
            "the validation images are the test images: the best epoch is chosen on them, so no test figure is one of "
            "unseen images; set config.data.validation above 0"
        )
    return found


def _range(images):
    low, high = int(images.min()), int(images.max())
    if low == high:
        colour = {0: "black", 255: "white"}.get(low, f"of the one level {low}")
        yield f"all training images are {colour}: there is nothing to learn"
    elif high - low < _FEW_LEVELS:
        yield (
            f"the training images use only the levels {low} … {high} of 0 … 255, too few for any loss to see; scale "
            "them to 0 … 255, or floats to 0 … 1"
        )


def _of_one_colour(splits):
    for name, images in splits.items():
        pixels = images.reshape(len(images), -1, images.shape[-1])
        if pixels.shape[1] == 1:
            return
        # Hardly any image is asked about more than two of its pixels
        maybe = np.flatnonzero((pixels[:, 0] == pixels[:, pixels.shape[1] // 2]).all(axis=1))
        maybe = maybe[(pixels[maybe, 0] == pixels[maybe, -1]).all(axis=1)]
        chunks = (pixels[maybe[start : start + _ROWS_AT_ONCE]] for start in range(0, len(maybe), _ROWS_AT_ONCE))
        count = sum(int(np.count_nonzero((some == some[:, :1]).all(axis=(1, 2)))) for some in chunks)
        if count:
            yield f"{_share(count, len(images), name)} are of one colour"


def _in_two_splits(splits):
    """Exact copies, by a digest of each image."""
    seen = {}
    for name, images in splits.items():
        digests = [hashlib.blake2b(np.ascontiguousarray(image), digest_size=16).digest() for image in images]
        for earlier, known in seen.items():
            count = sum(digest in known for digest in digests)
            if count:
                yield (
                    f"{_share(count, len(digests), name)} are {earlier} images too, to the bit: figures on them are "
                    "not of unseen images"
                )
        seen[name] = set(digests)


def _share(count, total, name):
    return f"{f'all {total:,}' if count == total else f'{count:,} of {total:,}'} {name} images"
