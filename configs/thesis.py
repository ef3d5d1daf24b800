"""The studies of the thesis: the runs that a figure or a section takes, the claims they test, and one report.

    python launch.py --config=configs/thesis.py:all --config.protocol=quick

NAME, after the colon: figure_3_6, figure_4_1 … figure_4_6, exponents, balancing, depth, rate_distortion,
cross_validation, or all. Protocols: full (the thesis' own: 100 epochs, three datasets, 5 seeds), small (a few hours on
two cores), quick (minutes, on the shipped sample). docs/studies.md says which sentence of the thesis is answered by
which, and how long it takes.
"""

from mtvae_jax.study.config import study_config


def get_config(name="all"):
    return study_config(name)
