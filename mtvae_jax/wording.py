"""Numbers in a sentence."""


def number_of(n, what):
    """"1 epoch", "2 epochs", "10,000 training images": a number and what it counts, of which there is one or there are
    several.

    **Arguments:** `n`: the number, an int, or a float that is shown to six digits; `what`: one of them, a noun whose
    plural ends in s.
    """
    return f"{f'{n:g}' if isinstance(n, float) else f'{n:,}'} {what}{'' if n == 1 else 's'}"
