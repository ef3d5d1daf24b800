"""The verdicts as the report reads them: one flat record for each part of a claim on each dataset."""

import math
from types import SimpleNamespace


def parts_of(claim):
    """Returns the parts of one claim in its main cells, a part with its places before the next part.

    **Arguments:** `claim`: as `mtvae_jax.study.verdicts.ClaimResult.to_dict` gives it.
    **Returns:** a list of records with what that says of the part and of what was found on `dataset` in `cell`, and:
    `claim`: its id; `cell_words`: the cell where there are several, else ""; `expected`: (low, high), open ends
    infinite.
    """
    return [part for part in all_parts_of(claim) if part.main]


def all_parts_of(claim):
    """Returns the same with all cells of the map."""
    several = len(claim["directions"]) > 1
    return [
        SimpleNamespace(**part | found | {
            "claim": claim["id"],
            "cell_words": found["cell"] if several or not found["main"] else "",
            "expected": tuple(open_ if end is None else end
                              for end, open_ in zip(part["expected"], (-math.inf, math.inf), strict=True)),
        })
        for part in claim["parts"] for found in part["findings"]
    ]


def place_of(part, names):
    """Returns the dataset, and the cell where there are several, for text."""
    return f"{names[part.dataset]}, {part.cell_words}" if part.cell_words else names[part.dataset]


def spoken_to(claim):
    """Tells whether any run of the study speaks to a claim."""
    return any(part.pairs for part in parts_of(claim))


def decisive(claim):
    """Returns the part that a claim's verdict hangs on: the first of those that have the same verdict, or the first at
    all.
    """
    parts = [part for part in parts_of(claim) if not part.exploratory]
    agreeing = [part for part in parts if part.verdict == claim["verdict"]]
    return next((part for part in agreeing if part.pairs), (agreeing or parts)[0])
