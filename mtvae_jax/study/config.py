"""The config of a study: which one, how much, where its runs run."""

import dataclasses
import difflib
import hashlib
import json
import os

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from mtvae_jax.config import field_names
from mtvae_jax.errors import UserError
from mtvae_jax.study.catalogue import ALL, STUDIES
from mtvae_jax.study.protocols import PROTOCOLS

WHERE = ("here", "processes", "slurm")

# What changes none of the runs, nor what is asked of them.
_NOT_PART_OF_THE_STUDY = ("where", "jobs", "replicates", "slurm", "runs", "data_dir", "earlier", "report_only")

# The least and the most; what makes lists or processes has a most that is beyond all use.
_INTEGERS = {
    "seeds": (1, 1000),
    "folds": (2, 1000),
    "epochs": (1, 2**31 - 1),
    "max_train": (1, 2**31 - 1),
    "jobs": (1, 10_000),
    "replicates": (1, 1000),
    "slurm.minutes": (1, 10_000_000),
    "slurm.cpus": (1, 10_000),
    "slurm.gpus": (0, 1000),
}
_TEXTS = {
    "datasets": "names of datasets, a comma between them",
    "data_dir": "a folder",
    "earlier": "results.parquet files of earlier reports, a comma between them",
    "runs": "a folder",
    "slurm.partition": "the name of a partition",
    "slurm.memory": "an amount, like 16GB",
}
_OPTIONAL = ("datasets", "seeds", "folds", "epochs", "max_train", "data_dir", "earlier", "jobs", "replicates",
             "slurm.partition")


def study_config(name=ALL):
    """**Arguments:** `name`: of a study, see `mtvae_jax.study.catalogue.STUDIES`, or "all".
    **Returns:** a `ConfigDict`. What is None is as the protocol has it.
    """
    if name not in (*STUDIES, ALL):
        near = difflib.get_close_matches(name, [*STUDIES, ALL], n=1)
        hint = f"did you mean {near[0]}?" if near else f"must be one of {', '.join([*STUDIES, ALL])}"
        raise UserError(f"study {name}: there is no such study; {hint}")
    return ConfigDict(
        {
            "study": name,
            "protocol": "full",
            "datasets": placeholder(str),  # names as in data.name, a comma between them
            "seeds": placeholder(int),
            "folds": placeholder(int),
            "epochs": placeholder(int),
            "max_train": placeholder(int),
            "data_dir": placeholder(str),  # of tensorflow-datasets
            "runs": "runs",  # the folder of all runs, shared with those trained by hand
            "where": "here",  # in this process, one after another; or in "processes", or on "slurm"
            "jobs": placeholder(int),  # runs at the same time; None: one a device, or as many as Slurm starts
            "replicates": placeholder(int),  # runs side by side in one program; None: 8 on a GPU, 1 on a CPU
            "slurm": {
                "partition": placeholder(str),
                "minutes": 240,  # of one run; one that is stopped goes on in its next job
                "cpus": 4,
                "gpus": 1,
                "memory": "16GB",
            },
            "earlier": placeholder(str),  # results.parquet of earlier reports: its runs count and are not trained again
            "report_only": False,  # writes the report on what is there, and trains nothing
        }
    )


def is_study(config):
    """Whether a config describes a study and not a run."""
    return "study" in config


def protocol_of(config):
    """The protocol of a study, with what its config changes.

    **Raises:** `UserError` for values out of range.
    """
    _check(config)
    protocol = PROTOCOLS[config.protocol]
    given = {name: config[name] for name in ("seeds", "folds", "epochs", "max_train", "data_dir")}
    if config.datasets is not None:
        given["datasets"] = tuple(name.strip() for name in config.datasets.split(","))
    return dataclasses.replace(protocol, **{name: value for name, value in given.items() if value is not None})


def earlier_tables(config):
    """The paths of `config.earlier`, a list."""
    return [] if config.earlier is None else [os.path.expanduser(path.strip()) for path in config.earlier.split(",")]


def study_hash(config):
    """Eight hexadecimal digits that two configs share exactly if they describe the same study."""
    values = {name: config[name] for name in config if name not in _NOT_PART_OF_THE_STUDY}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


def _check(config):
    values = {name: _value(config, name) for name in field_names(config)}
    expected = field_names(study_config(ALL))
    for name in values:
        if name not in expected:
            raise UserError(f"config.{name}: there is no such field; a study has {', '.join(expected)}")
    for name in expected:
        if name not in values:
            raise UserError(f"config.{name}: is missing; make the config with study_config")
    for name, choices in {"study": (*STUDIES, ALL), "protocol": tuple(PROTOCOLS), "where": WHERE}.items():
        _check_choice(name, values[name], choices)
    for name, (least, most) in _INTEGERS.items():
        value = values[name]
        _require(_is_integer(value) and least <= value <= most, name, value, f"an integer in {least} … {most}")
    for name, text in _TEXTS.items():
        value = values[name]
        _require(isinstance(value, str) and all(part.strip() for part in value.split(",")), name, value, text)
    if values["where"] != "here" and values["replicates"] not in (None, 1):
        raise UserError(
            f"config.replicates = {values['replicates']}: with config.where = {values['where']!r} each run is trained "
            "alone; must be None or 1, or config.where 'here'"
        )
    _require(isinstance(values["report_only"], bool), "report_only", values["report_only"], "True or False")


def _value(config, name):
    for part in name.split("."):
        config = config[part]
    return config


def _is_integer(value):
    return isinstance(value, int) and not isinstance(value, bool)


def _require(test, name, value, text):
    optional = name in _OPTIONAL
    if not test and not (optional and value is None):
        raise UserError(f"config.{name} = {value!r}: must be {text}{', or None' if optional else ''}")


def _check_choice(name, value, choices):
    near = difflib.get_close_matches(str(value), choices, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    _require(isinstance(value, str) and value in choices, name, value, f"one of {', '.join(choices)}{hint}")
