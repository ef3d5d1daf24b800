"""The command line of `launch.py`: a config file, overrides of its fields, a work directory."""

import contextlib
import dataclasses
import difflib
import functools
import os
import re
import sys
import traceback
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

from mtvae_jax import config as run_config
from mtvae_jax import configs
from mtvae_jax.cli.help import help_text
from mtvae_jax.config import from_dict, thesis_config
from mtvae_jax.data.loading import OWN
from mtvae_jax.errors import UserError
from mtvae_jax.settings import field_names, nearest_field, unknown_field
from mtvae_jax.study import config as study_config
from mtvae_jax.workdir.directory import read_run, user_path

HELP = ("--help", "-h", "--helpfull", "--helpshort", "-help")
_EXAMPLES = {"config": "gauss_multi", "workdir": "DIR"}


@dataclasses.dataclass(frozen=True)
class Arguments:
    """**config**: as the file and the overrides give it, not yet checked; **workdir**: a path, or None; **dry_run**:
    whether nothing is to be trained; **finish**: whether the stage under way is to end with its best epoch so far."""

    config: ConfigDict
    workdir: Path | None
    dry_run: bool = False
    finish: bool = False


def parse(argv):
    """Reads the command line `argv`, the program's name first, and returns `Arguments`.

    **Raises:** `UserError` for anything that cannot be understood.
    """
    argv = _with_equals(argv, lambda option: re.fullmatch("--?(config|workdir)", option))
    path, workdir = _option("config", argv), _option("workdir", argv)
    if path is None and workdir is None:
        raise UserError("--config: is missing; for example --config=gauss_multi")
    if path is None:
        if not os.path.exists(os.path.join(os.path.expanduser(workdir), "config.json")):
            raise UserError(f"--workdir={workdir}: holds no run to go on with; give a --config too")
        saved = _saved(read_run(user_path(workdir)))
        define = functools.partial(config_flags.DEFINE_config_dict, "config", saved)
        first = []
    else:
        path = _config_file(path)
        define = functools.partial(config_flags.DEFINE_config_file, "config", None)
        first = [f"--config={path}"]
    config, *_ = _parse([argv[0], *first], path, define)
    # The overrides are of a config that has to be there before them.
    argv = [argv[0], *first, *(a for a in argv[1:] if not re.match("--?config=", a))]
    argv = _with_equals(argv, functools.partial(_takes_value, config))
    # None, which absl takes for a text: fields that may not be None are refused by `check`. The last of several counts.
    emptied = {}
    for argument in argv[1:]:
        if (field := _field(argument, config)) is not None:
            emptied[field] = argument.partition("=")[2] == "None"
    argv = [
        argument
        for argument in argv
        if (field := _field(argument, config)) is None
        or not (emptied[field] or argument.partition("=")[2] == "None")
    ]
    arguments = Arguments(*_parse(argv, path, define, config))
    for field in filter(emptied.get, emptied):
        section, _, name = field.rpartition(".")
        (arguments.config[section] if section else arguments.config)[name] = None
    return arguments


def _config_file(path):
    """FILE[:ARGUMENT] of a `--config`, which may be the bare name of a shipped config instead of a file."""
    path = os.path.expanduser(path)
    file, colon, argument = path.partition(":")
    if os.path.isfile(file):  # unlike Path.is_file, never an error
        return path
    if (shipped := configs.path_of(file)) is not None:
        return f"{shipped}{colon}{argument}"
    near = difflib.get_close_matches(os.path.basename(file).removesuffix(".py"), configs.names(), n=1)
    hint = f"did you mean --config={near[0]}?" if near else f"the project's own are {', '.join(configs.names())}"
    raise UserError(f"--config={path}: {file} does not exist; {hint}")


def help_for(argv):
    """Returns the text of help for `argv`; of a config that it names, its settings.

    **Raises:** `UserError` as `parse`.
    """
    argv = [argument for argument in argv if argument not in HELP]
    described = any(re.match("--?(config|workdir)(=|$)", argument) for argument in argv)
    config = parse(argv).config if described else thesis_config(latent="gaussian", method="multi_decoder")
    tables = _tables(config)
    return help_text(config, tables.SETTINGS, tables.SECTIONS)


def _tables(config):
    """The module with the `SETTINGS` and the `SECTIONS` of a config, be it of a run or of a study."""
    return study_config if study_config.is_study(config) else run_config


def _allowed(name, config):
    setting = _tables(config).SETTINGS.get(name)
    return "set field by field" if setting is None else setting.rule.text


def _saved(run):
    """The config of a run, with the place of the user's file or folder as it is seen from any folder."""
    config, found = from_dict(run["config"]), str(run["data"].get("provenance"))
    kind, _, path = config.data.name.partition(":")
    theirs = f"{kind}:" in OWN and not os.path.isabs(os.path.expanduser(path))
    if theirs and os.path.exists(found.removeprefix(f"{kind}:")):
        config.data.name = found
    return config


def _option(name, argv):
    values = [argument.split("=", 1)[1] for argument in argv[1:] if re.match(f"--?{name}=", argument)]
    if any("\0" in value for value in values):  # no shell can, but a program
        raise UserError(f"--{name}: holds a null character, and is no path")
    if len(values) > 1:
        raise UserError(f"--{name}={values[1]}: there is a --{name}={values[0]} already; give one of them")
    return values[0] if values else None


def _field(argument, config):
    """The field that an argument such as --config.train.epochs=3 sets; None for one that sets none.

    **Raises:** `UserError` where there is no such field.
    """
    override = re.match(r"--?(?:no)?config\.([^=]*)", argument)
    if override is None:
        return None
    if override[1] not in field_names(config):
        raise unknown_field(override[1], _tables(config).SETTINGS)
    return override[1]


def _with_equals(argv, takes_value):
    """`argv`, with "--name value" as "--name=value".

    **Arguments:** `takes_value`: whether an option, such as --workdir, does. **Raises:** `UserError` where it has none.
    """
    joined, rest = [], iter(argv)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if name.startswith("-") and takes_value(name) and not (equals and value):
            value = "-" if equals else next(rest, "-")
            if re.match("-(?![0-9.])", value):  # the next option
                example = _EXAMPLES.get(name.lstrip("-"), "VALUE")
                raise UserError(f"{argument}: has no value; give it one, as in {name}={example}")
            argument = f"{name}={value}"
        joined.append(argument)
    return joined


def _takes_value(config, option):
    field = _field(option, config)
    if field is None:
        return False
    *sections, name = field.split(".")
    for section in sections:
        config = config[section]
    return config.get_type(name) is not bool


def _parse(argv, path, define, known=None):
    """The values of `Arguments`, from flags of this call alone. `known`: the config without overrides."""
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "", flag_values=values)
    flags.DEFINE_boolean("dry_run", False, "", flag_values=values)
    flags.DEFINE_boolean("finish", False, "", flag_values=values)
    try:
        with _neighbours_importable(path or ""):
            define(flag_values=values, sys_argv=argv)
            stray = values(argv)[1:]
            getattr(values.config, "seed", None)  # where ml_collections raises an OSError of the config file
    except flags.IllegalFlagValueError as error:
        bad = re.match(r"flag --config\.([\w.]+)=(.*?): ", str(error))
        if bad is None:
            raise _of_config_file(error, path) from error
        raise UserError(f"config.{bad[1]} = {bad[2]}: must be {_allowed(bad[1], known)}") from error
    except flags.UnrecognizedFlagError as error:
        near = None if known is None else nearest_field(error.flagname, _tables(known).SETTINGS)
        if near is not None:
            raise UserError(f"--{error.flagname}: is not an option; did you mean --config.{near}=VALUE?") from error
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
    return values.config, None if values.workdir is None else user_path(values.workdir), values.dry_run, values.finish


@contextlib.contextmanager
def _neighbours_importable(path):
    """Meanwhile a config file may import what lies beside it, as a script may."""
    folder = os.path.dirname(os.path.abspath(path.partition(":")[0]))
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _of_config_file(error, path):
    """The `UserError` for what the program in a config file has raised, with the line of the file that did."""
    file, line, text = os.path.abspath((path or "").partition(":")[0]), None, None
    while True:
        frames = traceback.extract_tb(error.__traceback__)
        line = next((frame.lineno for frame in reversed(frames) if os.path.abspath(frame.filename) == file), line)
        if str(error).startswith("Could not override field"):
            text = _one_line(error).replace(" (reference)", "")  # the one of a chain that names the field
        if error.__context__ is None:  # ml_collections and absl raise it again as others of their own
            break
        error = error.__context__
    if isinstance(error, SyntaxError) and os.path.abspath(error.filename or "") == file:
        line = error.lineno
    where = "" if line is None else f"line {line}: "
    return UserError(f"--config={path}: {where}{type(error).__name__}: {text or _one_line(error)}")


def _one_line(error):
    return " ".join(str(error).split())
