"""Figures on disk."""

import os
import threading
from contextlib import suppress
from pathlib import Path

from mtvae_jax.errors import UserError
from mtvae_jax.figures.style import DPI


def save(figure, path):
    """Writes `figure` to `path` as a PNG of 200 dpi and clears it, which frees its arrays.

    The file appears whole or not at all: whoever reads it while it is written sees the old one. Missing folders are
    made.

    **Arguments:** `figure`: a matplotlib `Figure`, not to be used afterwards; `path`: of the file.
    **Raises:** `UserError` if the file cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(temporary, format="png", dpi=DPI)
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{path}: the figure cannot be written ({error.strerror}); free the path or choose another "
                        "work directory") from error
    finally:
        with suppress(OSError):
            temporary.unlink()
        figure.clear()
