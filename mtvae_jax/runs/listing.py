"""The list of runs: a line each."""

import datetime

from mtvae_jax.runs.files import is_number
from mtvae_jax.runs.run import COMPLETE, DAMAGED, FAILED, RUNNING, STOPPED
from mtvae_jax.runs.text import amount, count, cut, cut_middle, figure, moment, pad, printable, width

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
_LEAST_NAME = 24
_GAP = "  "


def listing(rows, columns=None, terminal=None):
    """**Arguments:** `rows`: see `row.row`; `columns`: fields to show, the usual ones if None; `terminal`: its columns,
    None for no limit. **Returns:** text.
    """
    chosen = columns is not None
    columns = columns if chosen else [c for c in _COLUMNS if any(row.get(c) is not None for row in rows)]
    cells = {c: [_head(c), *(_cell(row, c) for row in rows)] for c in columns}
    widths = {c: max(map(width, cells[c])) for c in columns}
    names = [printable(row["name"]) for row in rows]
    room, hidden = max(map(width, ["run", *names])), []
    if terminal is not None:
        def left():
            return terminal - sum(w + len(_GAP) for w in widths.values())

        while left() < min(room, _LEAST_NAME) and len(widths) > 1:
            last = list(widths)[-1] if chosen else max(widths, key=lambda c: _COLUMNS[c][1])
            hidden.append(last)
            del widths[last]
        room = max(1, min(room, left()))
    lines = [_line("run", room, widths, cells, 0)]
    for number, (name, row) in enumerate(zip(names, rows, strict=True), start=1):
        if row["state"] == DAMAGED and not chosen:
            lines.append(pad(cut_middle(name, room), room) + _GAP + f"damaged: {printable(row['problem'])}")
        else:
            lines.append(_line(name, room, widths, cells, number))
    if hidden:
        lines.append(f"--csv shows all; hidden here: {', '.join(_head(c) for c in hidden)}")
    return "".join(f"{line if terminal is None else cut(line, terminal)}\n" for line in map(str.rstrip, lines))


def _head(column):
    return _COLUMNS[column][0] if column in _COLUMNS else column


def _line(name, room, widths, cells, number):
    shown = [pad(cells[c][number], w, right=c not in ("state", "second_stage")) for c, w in widths.items()]
    return _GAP.join([pad(cut_middle(name, room), room), *shown])


def _cell(row, column):
    value = row.get(column)
    if value is None:
        return ""
    if column == "state":
        return _state(value, row.get("epoch"), row.get("epochs"))
    if column == "second_stage":
        return _state(value, row.get("second_stage_epoch"), row.get("prior.epochs"))
    if column == "touched":
        return moment(datetime.datetime.fromisoformat(value).timestamp())
    if column == "size":
        return amount(value)
    if column == "parameters" and is_number(value):
        return count(value)
    return printable(figure(value))


def _state(state, epoch, epochs):
    if state == STOPPED:
        return f"stopped {epoch}/{epochs}"
    if state == FAILED:
        return f"failed {epoch}/{epochs}"
    if state == RUNNING:
        return f"running {epoch}/{epochs}"
    return state if state in (COMPLETE, DAMAGED, "to come") else "nothing saved"
