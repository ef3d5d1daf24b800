"""What is raised where a dataset exists but cannot be had here."""

from mtvae_jax.errors import UserError


class DatasetUnavailable(UserError):
    """A dataset of tensorflow-datasets cannot be had here: no network, a download that failed, a package missing.

    Never raised for data that are here but wrong: those are the user's to mend, not to be replaced by others.
    """
