"""What processes tell each other, tried by several of them: python agreements.py FOLDER; prints what each found."""

import json
import sys
from pathlib import Path

import jax
import numpy as np

from mtvae_jax.errors import UserError
from mtvae_jax.process import distributed

folder = Path(sys.argv[1])
distributed.start()
me = jax.process_index()


@distributed.on_main
def visit(name):
    """Leaves a file that says who was here, by way of another function of its kind."""
    distributed.on_main((folder / f"{name}-{me}").touch)()
    return {"by": me, "image": np.arange(6.0)[::-1].reshape(2, 3), "nothing": -0.0}


@distributed.on_main
def fail(error):
    raise error


def message(function, *arguments):
    try:
        function(*arguments)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def first():
    """Whether the main process has been here before."""
    before = (folder / "first").exists()
    (folder / "first").touch()
    return before


found = visit("visited")
print(
    json.dumps(
        {
            "process": me,
            "main": distributed.is_main(),
            "by": found["by"],
            "image": found["image"].tolist(),
            "nothing": str(found["nothing"]),
            "user error": message(fail, UserError("metrics.jsonl: is damaged")),
            "other error": message(fail, OSError("the disk is full")),
            "from main": distributed.from_main(["a", me]),
            "found": distributed.main_first(first),
            "any": [distributed.any_process(flag) for flag in (False, me == 1, me == 0, True)],
            "same": message(distributed.require_same, {"epochs": 3}),
            "differs": message(distributed.require_same, {"epochs": me}),
        }
    )
)
