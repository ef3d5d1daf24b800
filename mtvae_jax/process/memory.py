"""What a user is told where a program needs more memory than there is."""

import contextlib

from mtvae_jax.errors import UserError


@contextlib.contextmanager
def enough_memory(what, config, *fields):
    """Returns a context in which running out of memory is a mistake that can be mended.

    **Arguments:** `what`: is done in it, for the message; `config`; `fields`: names of those that a smaller value of
    helps, such as "train.batch_size".
    **Raises:** `UserError`, where NumPy or XLA could not have the memory that they asked for.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # XLA's are a RuntimeError, whatever was the matter
        if isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        reason = str(error).rpartition("RESOURCE_EXHAUSTED:")[2].strip().split("\n")[0].rstrip(".")[:120]
        settings = " or ".join(f"config.{name} = {_text(config[name])}" for name in fields)
        raise UserError(f"{what}: {reason or 'out of memory'}; make {settings} smaller") from error


def _text(value):
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
