"""The shipped configs, wherever the package is: `gauss_multi("fashion_mnist", train__epochs=20)`, and so on.

Each file NAME.py of the repository's folder configs/ is a function NAME here; its docstring is the file's. Installed
from a wheel the files lie in the package.
"""

import functools
import importlib.util
import inspect
from pathlib import Path

_PACKAGE = Path(__file__).parent.parent
# Where a wheel has them; the repository's own. The first that is there.
_FOLDERS = (_PACKAGE / "shipped_configs", _PACKAGE.parent / "configs")


def names():
    """Returns the names of the shipped configs, sorted."""
    return sorted(path.stem for path in _folder().glob("[a-z]*.py"))


def path_of(name):
    """Returns the file of a shipped config; None where there is none of that name."""
    return _folder() / f"{name}.py" if name in names() else None


def __getattr__(name):
    path = path_of(name)
    if path is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; the configs are {', '.join(names())}")
    function = globals()[name] = _function(path)
    return function


def __dir__():
    return names()


def _folder():
    return next(folder for folder in _FOLDERS if folder.is_dir())


def _function(path):
    """The function of this module for a config file."""
    spec = importlib.util.spec_from_file_location(f"mtvae_jax.shipped_configs.{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    @functools.wraps(module.get_config)
    def make(*arguments, **overrides):
        return _overridden(module.get_config(*arguments), overrides)

    make.__name__ = make.__qualname__ = path.stem
    make.__module__ = __name__
    signature = inspect.signature(module.get_config)
    overrides = inspect.Parameter("overrides", inspect.Parameter.VAR_KEYWORD)
    make.__signature__ = signature.replace(parameters=[*signature.parameters.values(), overrides])
    make.__doc__ = (
        f"{module.__doc__.strip()}\n\n**Arguments:** those of the file, such as the dataset; any setting as "
        "section__field=value.\n**Returns:** a `ConfigDict`. **Raises:** `UserError` for a setting that does not exist "
        "or has an impossible value.\n"
    )
    return make


def _overridden(config, overrides):
    """The config with {"train__epochs": 2, …}."""
    from mtvae_jax import config as of_runs
    from mtvae_jax.settings import set_fields
    from mtvae_jax.study import config as of_studies

    table = of_studies.SETTINGS if of_studies.is_study(config) else of_runs.SETTINGS
    set_fields(config, {name.replace("__", "."): value for name, value in overrides.items()}, table)
    return config
