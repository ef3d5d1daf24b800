"""From what the user asked for to what will run: the dataset, loaded, and the config, resolved."""

import os

from mtvae_jax.config import check, resolve
from mtvae_jax.data import DatasetUnavailable, load_dataset
from mtvae_jax.errors import UserError
from mtvae_jax.prior import count_labels, has_second_stage

SUBSTITUTE = "mnist_sample"


def prepare(config, *, warn):
    """Checks the config, loads its data and works out what depends on it.

    Where `mnist` cannot be had and `data.substitute` allows it, the sample that comes with the package takes its place,
    under its own name: in the config, and so in everything that the run writes.

    **Arguments:** `config`: as given by the user; `warn`: called with a text for each substitution.
    **Returns:** the resolved config and the `Dataset`.
    **Raises:** `UserError`.
    """
    check(config)
    weights = config.generation.inception
    # Files and labels are refused now, not after hours of training
    if weights is not None and not os.path.isfile(os.path.expanduser(weights)):
        raise UserError(f"config.generation.inception = {weights}: no such file")
    try:
        dataset = _load(config)
    except DatasetUnavailable as error:
        if config.data.name != "mnist" or not config.data.substitute:
            raise
        warn(
            f"WARNING: {error}\n"
            f"WARNING: this run trains on {SUBSTITUTE} instead, 5,000 MNIST digits that come with the package, and is "
            f"named so. Its figures are not MNIST's. To refuse: --config.data.substitute=False"
        )
        config = config.copy_and_resolve_references()
        with config.unlocked():
            config.data.name = SUBSTITUTE
        dataset = _load(config)
    config = resolve(config, dataset.image_shape)
    if has_second_stage(config):
        count_labels(config, dataset)
    return config, dataset


def _load(config):
    data = config.data
    return load_dataset(
        data.name,
        directory=data.dir,
        validation=data.validation,
        fold=data.fold,
        num_folds=data.num_folds,
        max_train=data.max_train,
    )
