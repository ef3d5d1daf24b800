"""The command line of `launch.py`: a config file, overrides of its fields, a work directory."""

import dataclasses
import functools
import os
import re
import traceback
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

from mtvae_jax.config import allowed_values, field_names, from_dict, unknown_field
from mtvae_jax.errors import UserError
from mtvae_jax.workdir import read_run

USAGE = """\
usage: python launch.py --config=FILE[:DATASET] [--config.SECTION.FIELD=VALUE …] [--workdir=DIR]
       python launch.py --workdir=DIR [--config.SECTION.FIELD=VALUE …]

  --config=configs/gauss_multi.py          what to train; see configs/
  --config=configs/gauss_multi.py:cifar10  on mnist (the default), fashion_mnist, cifar10, celeb_a, mnist_sample
                                           or npz:PATH, arrays of your own
  --config.train.epochs=20                 any field of the config; --config.model.hidden_dims=32,64 for a tuple
  --config=configs/thesis.py:all           a study: many runs and one report; --config.protocol=quick|small|full, see
                                           configs/thesis.py
  --workdir=DIR                            where everything is written; runs/NAME-HASH by default, so that the same
                                           command goes on with the same run

A --workdir without a --config goes on with the run in it, as it was configured: to its end, or with other settings of
the second stage (--config.prior.hidden_dim=128) to another prior for the same model.
"""


@dataclasses.dataclass(frozen=True)
class Arguments:
    """**config**: as the file and the overrides give it, not yet checked; **workdir**: a path, or None."""

    config: ConfigDict
    workdir: Path | None


def parse(argv):
    """**Arguments:** `argv`: the program's name first. **Returns:** `Arguments`.

    **Raises:** `UserError` for anything that cannot be understood.
    """
    for argument in argv[1:]:
        if re.fullmatch("--?(config|workdir)=?", argument):  # absl would take the next option for its value
            raise UserError(f"{argument}: has no value; give it with = and without a space, as in --workdir=DIR")
    path, workdir = _option("config", argv), _option("workdir", argv)
    if path is None and workdir is None:
        raise UserError("--config: is missing; for example --config=configs/gauss_multi.py")
    if path is None:
        if not os.path.exists(os.path.join(workdir, "config.json")):
            raise UserError(f"--workdir={workdir}: holds no run to go on with; give a --config too")
        saved = from_dict(read_run(workdir)["config"])
        define = functools.partial(config_flags.DEFINE_config_dict, "config", saved)
        first = []
    else:
        if not os.path.isfile(path.partition(":")[0]):  # unlike Path.is_file, never an error
            raise UserError(
                f"--config={path}: {path.partition(':')[0]} does not exist; the project's own are in configs/"
            )
        define = functools.partial(config_flags.DEFINE_config_file, "config", None)
        first = [f"--config={path}"]
    config, _ = _parse([argv[0], *first], path, define)
    # The overrides are of a config that has to be there before them.
    argv = [argv[0], *first, *(a for a in argv[1:] if not re.match("--?config=", a))]
    for argument in argv[1:]:
        override = re.match(r"--?(?:no)?config\.([^=]*)", argument)
        if override and override[1] not in field_names(config):
            raise unknown_field(override[1], config)
        if override and "=" not in argument and not _is_switch(override[1], config):
            raise UserError(f"{argument}: has no value; give it with = and without a space, as in --config.seed=3")
    return Arguments(*_parse(argv, path, define, config))


def _option(name, argv):
    values = [argument.split("=", 1)[1] for argument in argv[1:] if re.match(f"--?{name}=", argument)]
    if len(values) > 1:
        raise UserError(f"--{name}={values[1]}: there is a --{name}={values[0]} already; give one of them")
    return values[0] if values else None


def _is_switch(name, config):
    *sections, field = name.split(".")
    for section in sections:
        config = config[section]
    return config.get_type(field) is bool


def _parse(argv, path, define, known=None):
    """The config and the work directory, from flags of this call alone. `known`: the config without overrides."""
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "", flag_values=values)
    try:
        define(flag_values=values, sys_argv=argv)
        stray = values(argv)[1:]
        getattr(values.config, "seed", None)  # where ml_collections raises an OSError of the config file
    except flags.IllegalFlagValueError as error:
        bad = re.match(r"flag --config\.([\w.]+)=(.*?): ", str(error))
        if bad is None:
            raise _of_config_file(error, path) from error
        raise UserError(f"config.{bad[1]} = {bad[2]}: must be {allowed_values(bad[1], known)}") from error
    except flags.Error as error:
        raise UserError(_one_line(error)) from error
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # the config file is a program, which may do anything
        raise _of_config_file(error, path) from error
    if stray:
        raise UserError(f"{stray[0]}: is not an option; options begin with --, like --config.train.epochs=20")
    if not isinstance(values.config, ConfigDict):
        raise UserError(f"--config={path}: get_config must return a ConfigDict, as thesis_config does")
    return values.config, None if values.workdir is None else Path(values.workdir)


def _of_config_file(error, path):
    """The `UserError` for what the program in a config file has raised, with the line of the file that did."""
    while error.__context__ is not None:  # ml_collections and absl raise it again as others of their own
        error = error.__context__
    file = os.path.abspath((path or "").partition(":")[0])
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    if isinstance(error, SyntaxError) and error.filename == file:
        lines = [error.lineno]
    where = f"line {lines[-1]}: " if lines else ""
    return UserError(f"--config={path}: {where}{type(error).__name__}: {_one_line(error)}")


def _one_line(error):
    return " ".join(str(error).split())
