"""How much a study trains: the thesis' own settings, a few hours on two cores, or minutes."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Protocol:
    """**Attributes:** `datasets`: names, as in `data.name`; `seeds`: runs of each kind; `folds`: of the
    cross-validation, `fold_seeds` runs each; `epochs`; `max_train`: images, None for all; `exponents`, `beta_scales`,
    `depths`, `kl_warmups`: the values of the axes; `narrower`: the networks' channels are the thesis' divided by this;
    `data_dir`: of tensorflow-datasets.
    """

    name: str
    datasets: tuple
    seeds: int
    folds: int
    fold_seeds: int
    epochs: int
    max_train: int | None
    exponents: tuple
    beta_scales: tuple
    depths: tuple
    kl_warmups: tuple
    narrower: int = 1
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
            beta_scales=(0.25, 0.5, 1.0, 2.0, 4.0),
            depths=(2, 4, 6, 8),
            kl_warmups=(10.0,),
        ),
        Protocol(
            name="small",
            datasets=("fashion_mnist",),
            seeds=3,
            folds=3,
            fold_seeds=1,
            epochs=20,
            max_train=10_000,
            exponents=(20.0, 40.0, 60.0),
            beta_scales=(0.25, 0.5, 1.0, 2.0, 4.0),
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
            beta_scales=(0.25, 1.0, 4.0),
            depths=(4, 8),
            kl_warmups=(2.0,),
            narrower=4,
        ),
    )
}
