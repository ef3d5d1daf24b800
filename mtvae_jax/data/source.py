"""What a reader hands over: images as they were found, not yet split."""

import dataclasses
from typing import NamedTuple

import numpy as np


class Labelled(NamedTuple):
    """Images, uint8 [N, H, W, C], and their labels, int32 [N] or None."""

    images: np.ndarray
    labels: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class Source:
    """The parts that a dataset comes in; `validation` and `test` are None where it has none of its own. `remarks`:
    sentences for the user, about what was odd while reading; `found`: about what was there, which is not."""

    name: str
    provenance: str
    train: Labelled
    validation: Labelled | None = None
    test: Labelled | None = None
    remarks: tuple = ()
    found: tuple = ()
