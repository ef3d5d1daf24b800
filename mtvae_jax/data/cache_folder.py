"""Where the project keeps what it can make again."""

import os
import tempfile
from pathlib import Path


def cache_directory():
    """Returns the project's place in the user's cache folder: what can be deleted, at the price of being made again. Of
    a user without a home, as in a container, it is in the folder for temporary files.
    """
    home = os.path.expanduser("~")  # unlike Path.home, never an error
    if not os.path.isabs(home):
        home = os.path.join(tempfile.gettempdir(), f"home-of-{os.getuid()}")
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")) / "mtvae_jax"
