"""Images for training: uint8 arrays, split once and for all.

`load_dataset` is the one way in. Behind it: `folder` and `npz` (a user's own images, the shipped sample),
`prepared` (datasets of tensorflow-datasets), `splits` (who trains, who validates, who tests).
"""

from mtvae_jax.data.dataset import Dataset
from mtvae_jax.data.loading import DATASETS, load_dataset
from mtvae_jax.data.unavailable import DatasetUnavailable

__all__ = ["DATASETS", "Dataset", "DatasetUnavailable", "load_dataset"]
