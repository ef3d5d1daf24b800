"""Figures as files: PNG for Markdown, PDF for papers, and what the HTML page holds in itself."""

import base64
import io
from typing import NamedTuple

import matplotlib

from mtvae_jax.errors import UserError
from mtvae_jax.figures import save

_CSS_PIXELS = 124  # for an inch of a figure, so that its text is about as large as the page's
_SALT = "mtvae_jax"  # names inside an SVG come from its content and this, so that the same figure is the same file


class Image(NamedTuple):
    """**Attributes:** `uri`: which holds the image itself; `width`, `height`: CSS pixels."""

    uri: str
    width: int
    height: int


def draw(figure, folder):
    """Draws a `document.Figure` and writes NAME.png and NAME.pdf to `folder`.

    **Returns:** an `Image` for a wide screen and one for a narrow screen, SVG; of a figure made of images its PNG and
    None.
    """
    plot = figure.draw(narrow=False)
    plot.draw_without_rendering()
    plot.set_layout_engine("none")  # found once, and not again for each format
    path = folder / f"{figure.name}.png"
    wide = None if figure.picture else _svg(plot)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        plot.savefig(path.with_suffix(".pdf"), metadata={"CreationDate": None, "Creator": None, "Producer": None})
    except OSError as error:
        raise UserError(f"{path.with_suffix('.pdf')}: the figure cannot be written ({error.strerror}); free the path "
                        "or choose another folder for the report") from error
    save(plot, path)
    if figure.picture:
        return _image(path.read_bytes(), "image/png", plot), None
    return wide, _svg(figure.draw(narrow=True))


def _svg(plot):
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": _SALT}):
        plot.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return _image(buffer.getvalue(), "image/svg+xml", plot)


def _image(content, media_type, plot):
    size = (round(inches * _CSS_PIXELS) for inches in plot.get_size_inches())
    return Image(f"data:{media_type};base64,{base64.b64encode(content).decode()}", *size)
