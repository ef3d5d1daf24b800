"""The verdicts as the report reads them: one flat record for each part of a claim on each dataset."""

import math
from types import SimpleNamespace


def parts_of(claim):
    """The parts of one claim, a part with its datasets before the next part.

    **Arguments:** `claim`: as `mtvae_jax.study.verdicts.ClaimResult.to_dict` gives it.
    **Returns:** a list of records with what that says of the part and of what was found on `dataset`, and: `claim`: its
    id; `name`: without the remark that the part is exploratory; `expected`: (low, high), open ends infinite.
    """
    return [
        SimpleNamespace(**part | found | {
            "claim": claim["id"],
            "dataset": dataset,
            "name": part["name"].removesuffix(" (exploratory)"),
            "expected": tuple(open_ if end is None else end
                              for end, open_ in zip(part["expected"], (-math.inf, math.inf), strict=True)),
        })
        for part in claim["parts"] for dataset, found in part["datasets"].items()
    ]


def spoken_to(claim):
    """Whether any run of the study speaks to a claim."""
    return any(part.pairs for part in parts_of(claim))


def decisive(claim):
    """The part that a claim's verdict hangs on: the first of those that have the same verdict."""
    parts = [part for part in parts_of(claim) if not part.exploratory]
    agreeing = [part for part in parts if part.verdict == claim["verdict"]]
    return next((part for part in agreeing if part.pairs), (agreeing or parts)[0])
