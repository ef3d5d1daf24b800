"""Figures as files: PNG for Markdown, PDF for papers, and what the HTML page holds in itself."""

import dataclasses
import io

import matplotlib

from mtvae_jax.errors import UserError
from mtvae_jax.figures import save

_CSS_PIXELS = 124  # for an inch of a figure, so that its text is about as large as the page's
_SALT = "mtvae_jax"  # names inside an SVG come from its content and this, so that the same figure is the same file


@dataclasses.dataclass(frozen=True)
class Drawing:
    """What a page holds of a figure. **Attributes:** `content`: bytes; `size`: CSS pixels; `narrow`: the `Drawing` for
    a narrow screen, or None."""

    content: bytes
    media_type: str
    size: tuple
    narrow: "Drawing | None" = None


def draw(figure, folder):
    """Draws a `document.Figure` and writes NAME.png and NAME.pdf to `folder`.

    **Returns:** its `Drawing`: the PNG itself of one made of images, SVG of all others.
    """
    plot = _laid_out(figure.draw(narrow=False))
    size = _size(plot)
    path = folder / f"{figure.name}.png"
    svg = None if figure.picture else _svg(plot)
    _write_pdf(plot, folder / f"{figure.name}.pdf")
    save(plot, path)
    if figure.picture:
        return Drawing(path.read_bytes(), "image/png", size)
    plot = figure.draw(narrow=True)
    return Drawing(svg, "image/svg+xml", size, Drawing(_svg(plot), "image/svg+xml", _size(plot)))


def _laid_out(plot):
    """The same figure with its layout found once, and not again for each format."""
    plot.draw_without_rendering()
    plot.set_layout_engine("none")
    return plot


def _size(plot):
    return tuple(round(inches * _CSS_PIXELS) for inches in plot.get_size_inches())


def _svg(plot):
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": _SALT}):
        plot.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def _write_pdf(plot, path):
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        plot.savefig(path, format="pdf", metadata={"CreationDate": None, "Creator": None, "Producer": None})
    except OSError as error:
        raise UserError(f"{path}: the figure cannot be written ({error.strerror}); free the path or choose another "
                        "folder for the report") from error
