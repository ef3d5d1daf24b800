"""What a user is told: errors of one line, warnings, numbers in a sentence."""

import sys
import warnings


class UserError(Exception):
    """What the user gave cannot be used: a config value, a file, an argument.

    The message is one line that names the field or file, says what is wrong and how to mend it. `launch.py` prints it
    without a traceback and exits with status 2. What it quotes may hold anything: line ends and other characters that a
    terminal takes for commands are escaped.
    """

    def __init__(self, message):
        super().__init__("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message))

    def _render_traceback_(self):
        """What IPython shows in place of a traceback, which would be of this package and not of the user's mistake."""
        return [f"{type(self).__name__}: {self}"]


def first_line(error):
    """Returns the first line that an error of another library has to say, its type where that is none."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:500]


def warn(text):
    """Warns of what the user's own line asks for, however deep in the package that is noticed."""
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and f"{frame.f_globals.get('__name__')}.".startswith("mtvae_jax."):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, stacklevel=level)


def number_of(n, what):
    """Returns "1 epoch", "2 epochs", "10,000 training images": a number and what it counts, of which there is one or
    there are several.

    **Arguments:** `n`: the number, an int, or a float that is shown to six digits; `what`: one of them, a noun whose
    plural ends in s.
    """
    return f"{f'{n:g}' if isinstance(n, float) else f'{n:,}'} {what}{'' if n == 1 else 's'}"
