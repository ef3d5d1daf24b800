"""A study of two runs of a few seconds: small_study.py DATA.npz EPOCHS [WHERE]"""

import sys

from launch import main
from mtvae_jax.study.cells import CELLS
from mtvae_jax.study.protocols import PROTOCOLS, Protocol
from tests.torture.kinds import ROOT

data, epochs, where = (*sys.argv[1:], "here")[:3]
PROTOCOLS["tiny"] = Protocol(
    name="tiny", datasets=(f"npz:{data}",), seeds=2, folds=2, fold_seeds=1, epochs=int(epochs), max_train=128,
    exponents=(20.0, 60.0), betas=(None, 1e-4, 1e-3), depths=(2, 4), kl_warmups=(1.0,), narrower=16,
    cells=CELLS[:1], num_samples=0,
)  # fmt: skip
config = [f"--config={ROOT / 'configs' / 'thesis.py'}:figure_4_1", "--config.protocol=tiny", f"--config.where={where}"]
sys.exit(main(["launch.py", *config, "--config.jobs=1", "--workdir=study"]))
