"""The command line of `launch.py`: a config file, overrides of its fields, a work directory."""

import dataclasses
import functools
import os
import re
import traceback
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

from mtvae_jax.config import allowed_values, field_names, from_dict, thesis_config, unknown_field
from mtvae_jax.errors import UserError
from mtvae_jax.help import help_text
from mtvae_jax.workdir import read_run

HELP = ("--help", "-h", "--helpfull", "--helpshort", "-help")


@dataclasses.dataclass(frozen=True)
class Arguments:
    """**config**: as the file and the overrides give it, not yet checked; **workdir**: a path, or None; **dry_run**:
    whether nothing is to be trained."""

    config: ConfigDict
    workdir: Path | None
    dry_run: bool = False


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
    config, *_ = _parse([argv[0], *first], path, define)
    # The overrides are of a config that has to be there before them.
    argv = [argv[0], *first, *(a for a in argv[1:] if not re.match("--?config=", a))]
    for argument in argv[1:]:
        override = re.match(r"--?(?:no)?config\.([^=]*)", argument)
        if override and override[1] not in field_names(config):
            raise unknown_field(override[1], config)
        if override and "=" not in argument and not _is_switch(override[1], config):
            raise UserError(f"{argument}: has no value; give it with = and without a space, as in --config.seed=3")
    return Arguments(*_parse(argv, path, define, config))


def help_for(argv):
    """**Arguments:** `argv`: with an option that asks for help. **Returns:** the text; of a config that it names too,
    its settings.

    **Raises:** `UserError` as `parse`.
    """
    argv = [argument for argument in argv if argument not in HELP]
    described = any(_option(name, argv) is not None for name in ("config", "workdir"))
    return help_text(parse(argv).config if described else thesis_config(latent="gaussian", method="multi_decoder"))


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
    """The values of `Arguments`, from flags of this call alone. `known`: the config without overrides."""
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "", flag_values=values)
    flags.DEFINE_boolean("dry_run", False, "", flag_values=values)
    try:
        define(flag_values=values, sys_argv=argv)
        stray = values(argv)[1:]
        getattr(values.config, "seed", None)  # where ml_collections raises an OSError of the config file
    except flags.IllegalFlagValueError as error:
        bad = re.match(r"flag --config\.([\w.]+)=(.*?): ", str(error))
        if bad is None:
            raise _of_config_file(error, path) from error
        raise UserError(f"config.{bad[1]} = {bad[2]}: must be {allowed_values(bad[1], known)}") from error
    except flags.UnrecognizedFlagError as error:
        raise UserError(f"{_one_line(error)}; --help has all options") from error
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
    return values.config, None if values.workdir is None else Path(values.workdir), values.dry_run


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
