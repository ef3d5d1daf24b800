"""Tables for people: the list of runs, a line each, and runs side by side, as wide as the terminal."""

from rich.cells import cell_len, set_cell_size

from mtvae_jax.runs.run import DAMAGED, EMPTY, FAILED, RUNNING, STOPPED, is_number
from mtvae_jax.runs.words import amount, count, figure, printable

# With their heads, and in which order they go where the terminal is narrow: the highest number first.
_COLUMNS = {
    "state": ("state", 0),
    "second_stage": ("prior", 4),
    "best_epoch": ("best epoch", 7),
    "val/loss": ("val loss", 1),
    "test/loss": ("test loss", 5),
    "test/reconstruction": ("test rec.", 2),
    "test/reconstruction_conditioned": ("given m", 3),
    "parameters": ("parameters", 9),
    "size": ("size", 6),
    "touched": ("touched, UTC", 8),
}
_LEAST_NAME, _LEAST_NAME_BESIDE = 24, 12  # columns of a run's name in a list, and in a comparison
_TAIL = 9  # of a name that is cut in the middle: its hash


def listing(rows, fields=None, terminal=None):
    """Lays out a list of runs.

    **Arguments:** `rows`: see `rows.row`; `fields`: to show, the usual ones if None; `terminal`: its columns, None
    for no limit. **Returns:** text.
    """
    shown = fields or [field for field in _COLUMNS if any(row.get(field) is not None for row in rows)]
    cells = {field: [_head(field), *(_cell(row, field) for row in rows)] for field in shown}
    names, hidden = ["run", *(printable(row["name"]) for row in rows)], []
    if terminal is not None:
        room = _width(names)
        while (left := terminal - sum(2 + _width(column) for column in cells.values())) < min(room, _LEAST_NAME):
            if len(cells) == 1:
                break
            last = list(cells)[-1] if fields else max(cells, key=lambda field: _COLUMNS[field][1])
            hidden.append(_head(last))
            del cells[last]
        names = [cut_middle(name, max(1, min(room, left))) for name in names]
    names = _column(names, right=False)
    lines = _beside([names, *(_column(cells[x], right=x not in ("state", "second_stage")) for x in cells)])
    for number, row in enumerate(rows, start=1):
        if row["state"] == DAMAGED and not fields:
            lines[number] = f"{names[number]}  damaged: {printable(row['problem'])}"
    lines += [f"--csv shows all; hidden here: {', '.join(hidden)}"] if hidden else []
    return _fitted(lines, terminal)


def side_by_side(comparison, terminal=None):
    """Lays out a comparison.

    **Arguments:** `comparison`: a `compare.Comparison`; `terminal`: its columns, None for no limit; runs that do not
    fit beside the others follow below. **Returns:** text.
    """
    labels, columns = [""], [[] for _ in comparison.names]
    for title, section in (("settings that differ", comparison.settings), ("results", comparison.measured)):
        labels += [title if section else "", *(printable(line.name) for line in section)]
        for i, column in enumerate(columns):
            column += ["", *(printable(figure(x.values[i])) + (" *" if i in x.best else "  ") for x in section)]
    names, labels = list(map(printable, comparison.names)), _column(labels, right=False)
    label = cell_len(labels[0])
    if terminal is not None:
        least = max((terminal - label) // len(names) - 2, _LEAST_NAME_BESIDE)
        names = [cut_middle(name, max(least, _width(column))) for name, column in zip(names, columns, strict=True)]
    blocks, used = [], 0
    for name, column in zip(names, columns, strict=True):
        cells = _column([name, *column])
        used += 2 + cell_len(cells[0])
        if not blocks or (terminal is not None and used > terminal):
            blocks.append([labels])
            used = label + 2 + cell_len(cells[0])
        blocks[-1].append(cells)
    lines = [line for block in blocks for line in (*_beside(block), "")]
    lines += [] if comparison.settings else ["their settings are the same"]
    lines += ["* the best of its line"] if any(line.best for line in comparison.measured) else []
    return _fitted([*lines, *map(printable, comparison.notes)], terminal)


def cut_middle(text, columns):
    """Returns the text without its middle where it does not fit: the end of a run's name is its hash."""
    if cell_len(text) <= columns or columns <= _TAIL + 2:
        return _cut(text, columns)
    tail = text[-_TAIL:]
    return _cut(text, columns - cell_len(tail)) + tail


def _cut(text, columns):
    if cell_len(text) <= columns:
        return text
    return set_cell_size(text, columns - 1).rstrip() + "…" if columns > 0 else ""


def _width(texts):
    return max(map(cell_len, texts))


def _fitted(lines, terminal):
    return "".join(f"{line if terminal is None else _cut(line, terminal)}\n" for line in lines)


def _column(cells, *, right=True):
    """The cells, all of one width.

    No `rich.table.Table`: it strips the spaces that stand for a mark from cells aligned to the right, and none of its
    cells spans several columns.
    """
    width = _width(cells)
    return [" " * (width - cell_len(cell)) + cell if right else set_cell_size(cell, width) for cell in cells]


def _beside(columns):
    return ["  ".join(cells).rstrip() for cells in zip(*columns, strict=True)]


def _head(field):
    return _COLUMNS[field][0] if field in _COLUMNS else field


def _cell(row, field):
    value = row.get(field)
    if value is None:
        return ""
    if field == "state":
        return _state(value, row.get("epoch"), row.get("epochs"))
    if field == "second_stage":
        return _state(value, row.get("second_stage_epoch"), row.get("prior.epochs"))
    if field == "touched":
        return value[:16].replace("T", " ")  # UTC to the minute, as `--where=touched>…` compares it
    if field == "size":
        return amount(value)
    return count(value) if field == "parameters" and is_number(value) else printable(figure(value))


def _state(state, epoch, epochs):
    if state in (STOPPED, FAILED, RUNNING):
        return f"{state} {epoch}/{epochs}"
    return "nothing saved" if state == EMPTY else state
