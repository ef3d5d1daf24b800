"""From what the user asked for to what will run: the dataset, loaded, and the config, resolved and checked for both."""

import os

from mtvae_jax.config import check, data_arguments, has_second_stage, resolve
from mtvae_jax.data import DatasetUnavailable, load_dataset
from mtvae_jax.errors import UserError
from mtvae_jax.judging.inception import CHANNELS, load_inception
from mtvae_jax.judging.judge import left_out
from mtvae_jax.methods import METHODS
from mtvae_jax.process.progress import counted
from mtvae_jax.trackers import TRACKERS
from mtvae_jax.training.loop import count_steps
from mtvae_jax.training.second_stage import count_labels

SUBSTITUTE = "mnist_sample"


def prepare(config, *, warn, stream=None):
    """Checks the config, loads its data and works out what depends on it.

    Whatever either stage or judging would refuse is refused here, before anything is trained.

    Where `mnist` cannot be had and `data.substitute` allows it, the sample that comes with the package takes its place,
    under its own name: in the config, and so in everything that the run writes.

    **Arguments:** `config`: as given by the user; `warn`: called with a text for each substitution, and for what
    will not be judged; `stream`: where the progress of reading files goes, standard output if None.
    **Returns:** the resolved config and the `Dataset`.
    **Raises:** `UserError`.
    """
    check(config)
    for name in config.train.trackers:
        TRACKERS[name].check()
    weights = config.generation.inception
    # Files and labels are refused now, not after hours of training
    if weights is not None and not os.path.isfile(os.path.expanduser(weights)):
        raise UserError(f"config.generation.inception = {weights}: no such file")
    try:
        dataset = _load(config, stream)
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
        dataset = _load(config, stream)
    config = resolve(config, dataset.image_shape)
    _check(config, dataset)
    for part, reason in left_out(config, dataset).items():
        warn(f"not to be judged: {part.replace('_', ' ').replace('/', ', ')} ({reason})")
    return config, dataset


def _check(config, dataset):
    """**Raises:** `UserError` for settings that do not fit the images or the devices."""
    count_steps(config.train.batch_size, len(dataset.train), "train")
    if has_second_stage(config):
        count_labels(config, dataset)
        count_steps(config.prior.batch_size, len(dataset.train), "prior")
    weights, channels = config.generation.inception, dataset.image_shape[-1]
    if weights is not None and config.generation.num_samples and METHODS[config.model.method].unconditioned:
        if channels not in CHANNELS:
            raise UserError(
                f"config.generation.inception = {weights}: describes grey and RGB images, and these have {channels} "
                "channels; must be None"
            )
        load_inception(weights)


def _load(config, stream):
    with counted("images read", stream=stream) as progress:
        return load_dataset(config.data.name, **data_arguments(config), progress=progress)
