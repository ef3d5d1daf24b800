"""A report as data: what it says, before the templates decide how it looks as HTML and as Markdown.

All text is plain: what it may hold of either format's own signs is escaped where it is written.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Paragraph:
    """**Attributes:** `lead`: its first words, in bold; `note`: said in a smaller voice."""

    kind = "paragraph"
    text: str
    lead: str = ""
    note: bool = False


@dataclass(frozen=True)
class Verdict:
    """A cell of a table. **Attributes:** `word`: a key of `render.SIGNS`; `exploratory`: whether it has no say in the
    verdict of the claim."""

    word: str
    exploratory: bool = False


@dataclass(frozen=True)
class Table:
    """**Attributes:** `columns`: headings; `rows`: tuples of as many cells, text or `Verdict`, the first of which names
    the row; `numeric`: indices of columns of numbers; `stacked`: a narrow screen shows a row as a block of lines.
    """

    kind = "table"
    caption: str
    columns: tuple
    rows: tuple
    numeric: tuple = ()
    stacked: bool = False


@dataclass(frozen=True)
class Figure:
    """**Attributes:** `name`: of its files; `alt`: what it shows, in one sentence; `draw`: a function of `narrow` that
    gives a matplotlib figure; `picture`: made of images, which have no narrow form and stay pixels.
    """

    kind = "figure"
    name: str
    caption: str
    alt: str
    draw: Callable
    picture: bool = False


@dataclass(frozen=True)
class Section:
    """**Attributes:** `number`: the thesis' own, or "" for what it does not have; `blocks`: of the kinds above."""

    number: str
    title: str
    level: int
    blocks: tuple

    @property
    def anchor(self):
        return f"section-{self.number}" if self.number else "-".join(self.title.lower().split())

    @property
    def heading(self):
        return f"{self.number} {self.title}".strip()


@dataclass(frozen=True)
class Document:
    title: str
    subtitle: str
    sections: tuple
