"""The one exception that stands for a mistake of the user's."""


class UserError(Exception):
    """What the user gave cannot be used: a config value, a file, an argument.

    The message is one line that names the field or file, says what is wrong and how to mend it. `launch.py` prints it
    without a traceback and exits with status 2.
    """
