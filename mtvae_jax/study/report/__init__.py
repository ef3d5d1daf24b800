"""The answer of a study as a page: what was run, a verdict a claim, and the thesis' sections with what was measured."""

import dataclasses
import json
from pathlib import Path

import numpy as np

from mtvae_jax.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pictures:
    """Test images and what one run makes of them.

    **Attributes:** `figure`: the thesis' number, "4.1" or "4.3"; `dataset`: as in the table; `model`: the run in words;
    `images`, `reconstruction` (from z), `reconstruction_conditioned` (from z and m): float [n, H, W, C] in [0, 1];
    `masks`: bool [n, H, W, 1], true where revealed.
    """

    figure: str
    dataset: str
    model: str
    images: np.ndarray
    masks: np.ndarray
    reconstruction: np.ndarray
    reconstruction_conditioned: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingTypes:
    """An image, float [H, W, C], and the name of each sampling type to its mask, bool [H, W, 1]."""

    dataset: str
    image: np.ndarray
    masks: dict


@dataclasses.dataclass(frozen=True, kw_only=True)
class Results:
    """All that a report is made of.

    **Attributes:** `study`, `protocol`: names; `settings`: of the protocol, name to value; `date`, `device`: text;
    `versions`: package to version; `hours`: of computing, all runs together; `data`: dataset to what summary.json says
    of it (`fingerprint`, `image_shape`, `images` a split, `provenance`, `remarks` if there are any); `planned`,
    `complete`: numbers of runs;
    `earlier`: of the complete ones those known from the table of an earlier report alone, without time and curves;
    `failed`: dicts of `name`, `run` and `error`, one line; `rows`: the tidy table, see `mtvae_jax.study.collect`;
    `claims`: dicts, see `mtvae_jax.study.verdicts`; `curves`: run to the records of its metrics.jsonl; `pictures`,
    `sampling_types`: images of figures 4.1, 4.3 and 3.6, where there are any; `factors`: what moves the effects, see
    `mtvae_jax.study.effect_map.moving_factors`, None where that is not known.
    """

    study: str
    protocol: str
    settings: dict
    date: str
    device: str
    versions: dict
    hours: float
    data: dict
    planned: int
    complete: int
    earlier: int = 0
    failed: tuple = ()
    rows: list
    claims: list
    curves: dict
    pictures: tuple = ()
    sampling_types: SamplingTypes | None = None
    factors: list | None = ()


def write_report(results, folder):
    """Writes report.html, which needs no other file, report.md with figures/NAME.png, the same figures as PDF, and
    claims.json. What is there is replaced.

    **Arguments:** `results`: `Results`; `folder`: made if it is missing.
    **Returns:** the path of report.html.
    **Raises:** `UserError` if the folder cannot be written.
    """
    from mtvae_jax.study.report.compose import compose
    from mtvae_jax.study.report.document import Figure
    from mtvae_jax.study.report.drawings import draw
    from mtvae_jax.study.report.render import to_html, to_markdown

    folder = Path(folder)
    document = compose(results)
    shown = [block for section in document.sections for block in section.blocks if isinstance(block, Figure)]
    drawings = {figure.name: draw(figure, folder / "figures") for figure in shown}
    texts = {
        "report.html": to_html(document, drawings),
        "report.md": to_markdown(document),
        "claims.json": json.dumps(results.claims, indent=2, ensure_ascii=False, allow_nan=False) + "\n",
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{folder}: the report cannot be written ({error.strerror}); free the path or choose another "
                        "folder") from error
    return folder / "report.html"
