"""The same report in Markdown, its figures as files beside it."""

import re

from mtvae_jax.study.report.document import Figure, Paragraph, Table, Verdict, tidy
from mtvae_jax.study.report.html import SIGNS

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~])")


def to_markdown(document):
    """**Arguments:** `document`: `Document`. **Returns:** text that refers to `figures/NAME.png`."""
    parts = [f"# {_escape(document.title)}", _escape(document.subtitle)]
    for section in document.sections:
        parts.append(f"{'#' * section.level} {_escape(section.heading)}")
        parts += [_block(block) for block in section.blocks]
    return "\n\n".join(parts) + "\n"


def _block(block):
    if isinstance(block, Paragraph):
        lead = f"**{_escape(block.lead)}** " if block.lead else ""
        return f"*{_escape(block.text)}*" if block.note else lead + _escape(block.text)
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Figure):
        return f"![{_escape(block.alt)}](figures/{block.name}.png)\n\n*{_escape(block.caption)}*"
    raise TypeError(f"no such block: {block!r}")


def _table(table):
    rules = ["---:" if index in table.numeric else "---" for index in range(len(table.columns))]
    lines = [[_escape(column) for column in table.columns], rules]
    lines += [[_cell(cell) for cell in row] for row in table.rows]
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"*{_escape(table.caption)}*\n\n{body}"


def _cell(cell):
    if isinstance(cell, Verdict):
        return f"{SIGNS.get(cell.word, '')} **{_escape(cell.word)}**{' (exploratory)' if cell.exploratory else ''}"
    return _escape(cell)


def _escape(text):
    """Signs that Markdown or HTML would take for their own are said with a backslash."""
    return _SPECIAL.sub(r"\\\1", tidy(text)).replace("&", "&amp;")
