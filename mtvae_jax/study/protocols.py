"""How much a study trains: the thesis' own settings, a few hours on two cores, or minutes."""

import dataclasses

from mtvae_jax.study.cells import CELLS
from mtvae_jax.study.sequential import MOST_PAIRS

AUTO = "auto"  # as the number of seeds: as many as the rule asks for


@dataclasses.dataclass(frozen=True, kw_only=True)
class Protocol:
    """**Attributes:** `datasets`: names, as in `data.name`; `seeds`: runs of each kind, or `AUTO`; `folds`: of the
    cross-validation, `fold_seeds` runs each; `epochs`; `max_train`: images, None for all; `exponents`, `betas`,
    `depths`, `kl_warmups`: the values of the axes; `narrower`: the networks' channels are the thesis' divided by this;
    `cells`: see `mtvae_jax.study.cells`; `first_pairs`: runs of everything in the main cells before the rule asks for
    more, `map_pairs` in the others, `most_pairs`: at most; `num_samples`: images from the prior that are judged, 0:
    none; `data_dir`: of tensorflow-datasets.
    """

    name: str
    datasets: tuple
    seeds: int | str
    folds: int
    fold_seeds: int
    epochs: int
    max_train: int | None
    exponents: tuple
    betas: tuple
    depths: tuple
    kl_warmups: tuple
    narrower: int = 1
    cells: tuple = CELLS
    first_pairs: int = 4
    map_pairs: int = 2
    most_pairs: int = MOST_PAIRS
    num_samples: int = 2000
    data_dir: str | None = None


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="full",
            datasets=("mnist", "cifar10", "celeb_a"),
            seeds=5,
            folds=5,
            fold_seeds=1,
            epochs=100,
            max_train=None,
            exponents=(20.0, 30.0, 40.0, 50.0, 60.0),
            betas=(None, 8e-5, 2.5e-4, 8e-4, 2.5e-3),
            depths=(2, 4, 6, 8),
            kl_warmups=(10.0,),
        ),
        Protocol(
            name="small",
            datasets=("mnist", "fashion_mnist"),
            seeds=3,
            folds=5,
            fold_seeds=1,
            epochs=20,
            max_train=10_000,
            exponents=(20.0, 40.0, 60.0),
            betas=(None, 8e-5, 2.5e-4, 8e-4, 2.5e-3),
            depths=(2, 4, 8),
            kl_warmups=(5.0,),
            # More steps teach more about the claims than wider networks do in the same time.
            narrower=2,
        ),
        Protocol(
            name="quick",
            datasets=("mnist_sample",),
            seeds=2,
            folds=2,
            fold_seeds=1,
            epochs=3,
            max_train=1_024,
            exponents=(20.0, 60.0),
            betas=(None, 1e-4, 1e-3),
            depths=(4, 8),
            kl_warmups=(2.0,),
            narrower=4,
            cells=CELLS[:1],
            num_samples=0,
        ),
    )
}
