"""From the runs that a study wants to work directories: what is there, what is still to be trained."""

import dataclasses
import functools
import os
from pathlib import Path

from ml_collections import FrozenConfigDict

from mtvae_jax.config import data_arguments, resolve
from mtvae_jax.data import load_dataset
from mtvae_jax.errors import UserError
from mtvae_jax.study.factors import config_of
from mtvae_jax.workdir.directory import default_workdir, is_complete, read_summary, require_storable, user_path


@dataclasses.dataclass(frozen=True)
class Task:
    """One run. **Attributes:** `name`: for people; `config`: resolved; `workdir`: a `Path`."""

    name: str
    config: FrozenConfigDict
    workdir: Path

    @property
    def complete(self):
        """Whether it has been trained to its end, and judged where it is to be."""
        judged = self.config.generation.num_samples == 0 or (self.workdir / "generation.json").exists()
        return judged and is_complete(read_summary(self.workdir), self.config.train)


def make_tasks(plan, protocol, runs):
    """Returns the runs of a plan, each with its place.

    Two sets of factors may describe one run, such as the thesis' own depth said and unsaid.

    **Arguments:** `plan`: a list of `Factors`; `protocol`: `Protocol`; `runs`: the folder of all runs.
    **Returns:** {`Factors`: `Task`}, in the order of the plan.
    **Raises:** `UserError` where there can be no runs in the folder, a dataset cannot be had, or a setting does not fit
    its images.
    """
    runs = user_path(runs)
    _check_runs(runs)
    tasks = dict.fromkeys(plan)
    for factors in sorted(plan, key=lambda factors: (factors.dataset, factors.images is not None)):  # each loaded once
        config = config_of(factors, protocol)
        # Folds are of one dataset's images: all have its shape
        dataset = dataset_of(config, folds=False)
        config = resolve(config, dataset.image_shape)
        tasks[factors] = Task(str(factors), config, default_workdir(config, dataset, runs))
    return tasks


def _check_runs(folder):
    require_storable(folder, "--config.runs")
    try:
        os.stat(folder)
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:  # the latter for characters that no path can have
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"config.runs = {str(folder)!r}: {reason}; must be a folder") from error


def dataset_of(config, *, folds=True):
    """Returns the data of a run; of the last two kinds asked for no second copy is loaded.

    **Arguments:** `folds`: False for the dataset without its division into folds.
    """
    without = {} if folds else {"fold": None, "num_folds": None}
    return _load(config.data.name, **data_arguments(config) | without)


_load = functools.lru_cache(maxsize=2)(load_dataset)
