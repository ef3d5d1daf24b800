"""The command line of `launch.py`: a config file, overrides of its fields, a work directory."""

import dataclasses
import re
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

from mtvae_jax.config import allowed_values, field_names, unknown_field
from mtvae_jax.errors import UserError

USAGE = """\
usage: python launch.py --config=FILE[:DATASET] [--config.SECTION.FIELD=VALUE …] [--workdir=DIR]

  --config=configs/gauss_multi.py          what to train; see configs/
  --config=configs/gauss_multi.py:cifar10  on mnist (the default), fashion_mnist, cifar10, celeb_a, mnist_sample
                                           or npz:PATH, arrays of your own
  --config.train.epochs=20                 any field of the config; --config.model.hidden_dims=32,64 for a tuple
  --workdir=DIR                            where everything is written; runs/NAME-HASH by default, so that the same
                                           command goes on with the same run
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
    path = next((a.split("=", 1)[1] for a in argv if re.match("--?config=", a)), None)
    if path is None:
        raise UserError("--config: is missing; for example --config=configs/gauss_multi.py")
    config, _ = _parse([argv[0], f"--config={path}"], path)
    for argument in argv[1:]:
        override = re.match(r"--?(?:no)?config\.([^=]*)", argument)
        if override and override[1] not in field_names(config):
            raise unknown_field(override[1], config)
    return Arguments(*_parse(argv, path))


def _parse(argv, path):
    """The config and the work directory, from flags of this call alone."""
    if not Path(path.partition(":")[0]).is_file():
        raise UserError(f"--config={path}: {path.partition(':')[0]} does not exist; the project's own are in configs/")
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", None, flag_values=values, sys_argv=argv)
    flags.DEFINE_string("workdir", None, "", flag_values=values)
    try:
        stray = values(argv)[1:]
    except flags.IllegalFlagValueError as error:
        bad = re.match(r"flag --config\.([\w.]+)=(.*?): ", str(error))
        if bad is None:
            raise UserError(_one_line(error)) from error
        raise UserError(f"config.{bad[1]} = {bad[2]}: must be {allowed_values(bad[1])}") from error
    except flags.Error as error:
        raise UserError(_one_line(error)) from error
    if stray:
        raise UserError(f"{stray[0]}: is not an option; options begin with --, like --config.train.epochs=20")
    if not isinstance(values.config, ConfigDict):
        raise UserError(f"--config={path}: get_config must return a ConfigDict, as thesis_config does")
    return values.config, None if values.workdir is None else Path(values.workdir)


def _one_line(error):
    return " ".join(str(error).split())
