"""What all figures share: sizes, fonts, colours, and text that is measured instead of guessed."""

import contextlib
import io
from dataclasses import dataclass
from functools import lru_cache

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

DPI = 200
_NOTEBOOK_DPI = 110
TEXT_WIDTH = 6.5  # inches: the text block of a page, the widest a figure gets
COLUMN_WIDTH = 3.3  # inches: a column of a two-column page
MARGIN = 0.04  # inches

FONT_FAMILY = "DejaVu Sans"  # comes with matplotlib, so figures look the same on every machine
TITLE_SIZE, LABEL_SIZE, TICK_SIZE = 9, 8, 7  # points

# Okabe and Ito's palette: told apart by colour-blind readers, and of unlike lightness, so by a grey printer too.
VALIDATION = "#0072B2"
TRAIN = "#E69F00"
INK = "#222222"
RULE = "#999999"
HIDDEN = (0.60, 0.48, 0.80)  # violet: neither black nor white nor common in photographs


@contextlib.contextmanager
def own_style():
    """Gives matplotlib its default settings meanwhile, whatever the user's matplotlibrc says (LaTeX, grids)."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield


@dataclass(frozen=True)
class Mark:
    """How a line of a figure looks; lines of one figure differ in dash and marker too, for who prints in grey."""

    color: str
    dash: str | tuple = "-"
    marker: str = "o"


def font(size, weight="normal"):
    return FontProperties(family=FONT_FAMILY, size=size, weight=weight)


class ShownFigure(Figure):
    """A figure that a notebook shows where a cell ends with it, without pyplot."""

    def _repr_png_(self):
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=_NOTEBOOK_DPI)
        return buffer.getvalue()


def new_figure(width, height, **options):
    """Returns an empty white figure of `width` × `height` inches with an Agg canvas of its own."""
    figure = ShownFigure(figsize=(width, height), dpi=DPI, facecolor="white", **options)
    FigureCanvasAgg(figure)
    return figure


@lru_cache(maxsize=1024)
def text_size(text, size, weight="normal"):
    """Measures `text`: width and height in inches; it may have several lines."""
    renderer = FigureCanvasAgg(Figure(figsize=(1, 1), dpi=DPI)).get_renderer()
    lines = [renderer.get_text_width_height_descent(line, font(size, weight), False) for line in text.split("\n")]
    return max(width for width, _, _ in lines) / DPI, len(lines) * line_height(size)


def line_height(size):
    """Returns the inches from one line of text of `size` points to the next."""
    return 1.3 * size / 72


def wrap(text, width, size, weight="normal"):
    """Puts line breaks into `text` at spaces so that no line is wider than `width` inches, where words allow it."""
    lines = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_size(longer, size, weight)[0] <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return "\n".join(lines)
