"""The config of a study: which one, how much, where its runs run."""

import dataclasses
import difflib
import hashlib
import json

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from mtvae_jax.config import field_names
from mtvae_jax.errors import UserError
from mtvae_jax.study.catalogue import ALL, STUDIES
from mtvae_jax.study.protocols import PROTOCOLS

WHERE = ("here", "processes", "slurm")

# What changes neither the runs nor the tables.
_NOT_PART_OF_THE_STUDY = ("where", "jobs", "slurm", "runs", "data_dir", "report_only")

_AT_LEAST = {
    "seeds": 1,
    "folds": 2,
    "epochs": 1,
    "max_train": 1,
    "jobs": 1,
    "slurm.minutes": 1,
    "slurm.cpus": 1,
    "slurm.gpus": 0,
}


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
            "slurm": {
                "partition": placeholder(str),
                "minutes": 240,  # of one run; one that is stopped goes on in its next job
                "cpus": 4,
                "gpus": 1,
                "memory": "16GB",
            },
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


def study_hash(config):
    """Eight hexadecimal digits that two configs share exactly if they describe the same study."""
    values = {name: config[name] for name in config if name not in _NOT_PART_OF_THE_STUDY}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


def _check(config):
    expected = field_names(study_config(ALL))
    for name in field_names(config):
        if name not in expected:
            raise UserError(f"config.{name}: there is no such field; a study has {', '.join(expected)}")
    if config.protocol not in PROTOCOLS:
        near = difflib.get_close_matches(config.protocol, PROTOCOLS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UserError(f"config.protocol = {config.protocol!r}: must be one of {', '.join(PROTOCOLS)}{hint}")
    if config.where not in WHERE:
        raise UserError(f"config.where = {config.where!r}: must be one of {', '.join(WHERE)}")
    for name, least in _AT_LEAST.items():
        section, _, field = name.rpartition(".")
        value = (config[section] if section else config)[field]
        if value is not None and value < least:
            raise UserError(f"config.{name} = {value}: must be an integer of at least {least}")
    if config.datasets is not None and not all(name.strip() for name in config.datasets.split(",")):
        raise UserError(f"config.datasets = {config.datasets!r}: must be names of datasets, a comma between them")
