"""The config of a study: which one, how much, where its runs run."""

import dataclasses
import difflib
import hashlib
import json
import os

from mtvae_jax.errors import UserError
from mtvae_jax.settings import Rule, Setting, check_fields, config_of, integer, one_of, optional, switch, text
from mtvae_jax.study.catalogue import ALL, STUDIES
from mtvae_jax.study.protocols import AUTO, PROTOCOLS
from mtvae_jax.study.sequential import MOST_PAIRS


def _names(meaning):
    """The rule of texts with a comma between each two."""
    return Rule(lambda v: isinstance(v, str) and all(part.strip() for part in v.split(",")), meaning, str)


_SEEDS = Rule(lambda v: v == AUTO or (isinstance(v, str) and v.isdecimal() and 1 <= int(v) <= 1000),
              f"an integer in 1 … 1000, or {AUTO!r}", str)
SECTIONS = {"slurm": "the jobs of a cluster"}


# What does not count changes none of the runs, nor what is asked of them.
SETTINGS = {
    "study": Setting(ALL, one_of((*STUDIES, ALL)), "name of the study; see configs/thesis.py"),
    "protocol": Setting("full", one_of(PROTOCOLS),
                        "amount of training: a look, hours on two cores, or the thesis' own settings"),
    "datasets": Setting(None, optional(_names("names of datasets, a comma between them")),
                        "names of datasets as in data.name, a comma between them; None as the protocol has it"),
    "seeds": Setting(None, optional(_SEEDS), "number of runs of everything, or 'auto' for as many as the rule asks "
                     "for; None as the protocol has it"),
    "most_pairs": Setting(None, optional(integer(1, MOST_PAIRS)), "largest number of pairs with seeds 'auto'; None: "
                          f"{MOST_PAIRS}", names_run=False),
    "folds": Setting(None, optional(integer(2, 1000)),
                     "number of folds of the cross-validation; None as the protocol has it"),
    "epochs": Setting(None, optional(integer(1)), "number of epochs of each run; None as the protocol has it"),
    "max_train": Setting(None, optional(integer(1)),
                         "largest number of training images; None as the protocol has it"),
    "data_dir": Setting(None, optional(text("a folder")), "folder of tensorflow-datasets", names_run=False),
    "runs": Setting("runs", text("a folder"), "folder of all runs, shared with those trained by hand",
                    names_run=False),
    "where": Setting("here", one_of(("here", "processes", "slurm")),
                     "place of the runs: this process, several at the same time, or jobs of a cluster",
                     names_run=False),
    "jobs": Setting(None, optional(integer(1, 10_000)),
                    "number of runs at the same time; None: one a device, or as many as Slurm starts",
                    names_run=False),
    "replicates": Setting(None, optional(integer(1, 1000)),
                          "number of runs side by side in one program, here; None: 8 on a GPU, 1 on a CPU",
                          names_run=False),
    "slurm.partition": Setting(None, optional(text("the name of a partition")),
                               "partition, None for the cluster's default", names_run=False),
    "slurm.minutes": Setting(240, integer(1, 10_000_000),
                             "time of a job; a run that is stopped goes on in its next one, minutes", names_run=False),
    "slurm.cpus": Setting(4, integer(1, 10_000), "number of CPU cores of a job", names_run=False),
    "slurm.gpus": Setting(1, integer(0, 1000), "number of GPUs of a job", names_run=False),
    "slurm.memory": Setting("16GB", text("an amount, like 16GB"), "memory of a job", names_run=False),
    "earlier": Setting(None, optional(_names("results.parquet files of earlier reports, a comma between them")),
                       "results.parquet of earlier reports, whose runs count and are not trained again",
                       names_run=False),
    "report_only": Setting(False, switch(), "whether only the report is written, on the runs that there are",
                           names_run=False),
}


def study_config(name=ALL):
    """Makes the config of a study.

    **Arguments:** `name`: of a study, see `mtvae_jax.study.catalogue.STUDIES`, or "all".
    **Returns:** a `ConfigDict` of `SETTINGS`. **Raises:** `UserError` for a study that does not exist.
    """
    if name not in (*STUDIES, ALL):
        near = difflib.get_close_matches(name, [*STUDIES, ALL], n=1)
        hint = f"did you mean {near[0]}?" if near else f"must be one of {', '.join([*STUDIES, ALL])}"
        raise UserError(f"study {name}: there is no such study; {hint}")
    return config_of(SETTINGS, {"study": name})


def is_study(config):
    """Tells whether a config describes a study and not a run."""
    return "study" in config


def protocol_of(config):
    """Returns the protocol of a study, with what its config changes.

    **Raises:** `UserError` for values out of range.
    """
    _check(config)
    protocol = PROTOCOLS[config.protocol]
    given = {name: config[name] for name in ("folds", "epochs", "max_train", "most_pairs", "data_dir")}
    if config.seeds is not None:
        given["seeds"] = AUTO if config.seeds == AUTO else int(config.seeds)
    if config.datasets is not None:
        given["datasets"] = tuple(name.strip() for name in config.datasets.split(","))
    return dataclasses.replace(protocol, **{name: value for name, value in given.items() if value is not None})


def earlier_tables(config):
    """Returns the paths of `config.earlier`, a list."""
    return [] if config.earlier is None else [os.path.expanduser(path.strip()) for path in config.earlier.split(",")]


def study_hash(config):
    """Returns eight hexadecimal digits that two configs share exactly if they describe the same study."""
    values = {name: config[name] for name in SETTINGS if SETTINGS[name].names_run}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


def _check(config):
    check_fields(config, SETTINGS)
    if config.seeds == AUTO and config.study != ALL:
        raise UserError(f"config.seeds = {AUTO!r}: the rule is of all claims; must be a number, or the study {ALL!r}")
    if config.where != "here" and config.replicates not in (None, 1):
        raise UserError(
            f"config.replicates = {config.replicates}: with config.where = {config.where!r} each run is trained "
            "alone; must be None or 1, or config.where 'here'"
        )
