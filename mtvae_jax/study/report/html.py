"""A report as one HTML file that needs nothing else: no script, no font, no file, no network."""

import base64
import html

from mtvae_jax.study.report.document import Figure, Paragraph, Table, Verdict, tidy

SIGNS = {"supported": "●", "refuted": "✕", "undecided": "○"}  # the shapes that the figures use

_STYLE = """
:root { color-scheme: light dark; --page: #fdfdfc; --ink: #1d1f21; --soft: #5c6166; --rule: #d9dcdf; --stripe: #f3f5f6;
  --accent: #0b5c94; --supported: #00684e; --refuted: #a93f00; --undecided: #565b60; }
@media (prefers-color-scheme: dark) {
  :root { --page: #16181a; --ink: #e6e7e8; --soft: #a3a9af; --rule: #3a3f44; --stripe: #1e2124; --accent: #7cc0f0;
    --supported: #4fd0a8; --refuted: #ff9a5c; --undecided: #b4babf; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body { margin: 0; background: var(--page); color: var(--ink); font: 1rem/1.55 system-ui, "Segoe UI", Roboto,
  "Helvetica Neue", Arial, sans-serif; }
main, header, nav { max-width: 58rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 2.5rem; }
main { padding-bottom: 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .3rem; text-wrap: balance; }
h2 { font-size: 1.4rem; line-height: 1.25; margin: 3rem 0 .8rem; padding-top: .9rem;
  border-top: 1px solid var(--rule); }
h3 { font-size: 1.12rem; margin: 2.2rem 0 .6rem; }
p { margin: .7rem 0; max-width: 44rem; overflow-wrap: break-word; }
.subtitle, .note, figcaption, caption { color: var(--soft); }
.note, figcaption, caption { font-size: .875rem; line-height: 1.45; }
nav ol { list-style: none; margin: 1.4rem 0 0; padding: 0; columns: 2 16rem; font-size: .9rem; }
nav li { break-inside: avoid; padding: .1rem 0; }
nav .inner { padding-left: 1.1rem; }
a { color: var(--accent); text-decoration: none; } a:hover, a:focus { text-decoration: underline; }
figure { margin: 1.6rem 0; }
figure img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
.card { background: #fff; border: 1px solid var(--rule); border-radius: 4px; padding: .7rem; }
figcaption { margin-top: .5rem; max-width: 48rem; }
.scroll { overflow-x: auto; margin: 1.4rem 0; }
/* A table that needs more than the column of text takes what it needs of both margins. */
@media (min-width: 60rem) {
  .scroll { width: calc(100vw - 4rem); margin-left: calc(50% - 50vw + 2rem); }
  .scroll table { width: 55.5rem; margin: 0 auto; }
}
table { border-collapse: collapse; width: 100%; font-size: .9rem; line-height: 1.4;
  font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: .5rem; }
th, td { text-align: left; vertical-align: top; padding: .4rem .9rem .4rem 0; border-bottom: 1px solid var(--rule);
  overflow-wrap: break-word; }
th:last-child, td:last-child { padding-right: 0; }
thead th { font-weight: 600; border-bottom: 2px solid var(--rule); vertical-align: bottom; }
tbody th { font-weight: 600; }
.number { text-align: right; }
td.number { white-space: nowrap; }
.pairs th { white-space: nowrap; padding-right: 2rem; } .pairs td { width: 100%; overflow-wrap: anywhere; }
.verdict { font-weight: 600; white-space: nowrap; }
.supported { color: var(--supported); } .refuted { color: var(--refuted); } .undecided { color: var(--undecided); }
.sign { display: inline-block; width: 1.1em; }
@media (max-width: 40rem) {
  header { padding-top: 1.4rem; } h1 { font-size: 1.5rem; } h2 { font-size: 1.25rem; margin-top: 2.2rem; }
  main, header, nav { padding-left: 1rem; padding-right: 1rem; }
  .card { padding: .3rem; }
  .pairs th { white-space: normal; padding-right: 1rem; min-width: 7.5rem; }
}
@media (max-width: 48rem) {
  .stacked thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  .stacked, .stacked caption, .stacked tbody, .stacked tr, .stacked th, .stacked td { display: block; }
  .stacked tr { padding: .6rem 0; border-bottom: 1px solid var(--rule); }
  .stacked th, .stacked td { border: 0; padding: .08rem 0; text-align: left; white-space: normal; }
  .stacked td[data-label]::before { content: attr(data-label) ": "; color: var(--soft); font-weight: 400; }
}
@media print { body { background: #fff; color: #000; } nav { display: none; } figure, tr { break-inside: avoid; } }
"""


def escape(text):
    return html.escape(tidy(text))


def to_html(document, drawings):
    """**Arguments:** `document`: `Document`; `drawings`: name of a figure to its `Drawing`.
    **Returns:** the page, as text.
    """
    body = "\n".join(_section(section, drawings) for section in document.sections)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(document.title)}</title>
<link rel="icon" href="data:,">
<style>{_STYLE}</style>
</head>
<body>
<header>
<h1>{escape(document.title)}</h1>
<p class="subtitle">{escape(document.subtitle)}</p>
</header>
{_contents(document)}
<main>
{body}
</main>
</body>
</html>
"""


def _contents(document):
    inner = ' class="inner"'
    items = "\n".join(
        f'<li{inner if section.level > 2 else ""}><a href="#{escape(section.anchor)}">'
        f"{escape(section.heading)}</a></li>"
        for section in document.sections
    )
    return f'<nav aria-label="Contents">\n<ol>\n{items}\n</ol>\n</nav>'


def _section(section, drawings):
    blocks = "\n".join(_block(block, drawings) for block in section.blocks)
    tag = f"h{section.level}"
    return (f'<section aria-labelledby="{escape(section.anchor)}">\n'
            f'<{tag} id="{escape(section.anchor)}">{escape(section.heading)}</{tag}>\n{blocks}\n</section>')


def _block(block, drawings):
    if isinstance(block, Paragraph):
        lead = f"<strong>{escape(block.lead)}</strong> " if block.lead else ""
        kind = ' class="note"' if block.note else ""
        return f"<p{kind}>{lead}{escape(block.text)}</p>"
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Figure):
        return _figure(block, drawings[block.name])
    raise TypeError(f"no such block: {block!r}")


def _table(table):
    # Said again as roles, because a table that is laid out as blocks is none to some readers.
    head = "".join(
        f'<th scope="col" role="columnheader"{_class(index, table)}>{escape(name)}</th>'
        for index, name in enumerate(table.columns)
    )
    rows = "\n".join(f'<tr role="row">{_row(row, table)}</tr>' for row in table.rows)
    kind = "stacked" if table.stacked else "pairs" if len(table.columns) == 2 else "wide"
    return (f'<div class="scroll"><table role="table" class="{kind}">\n'
            f'<caption>{escape(table.caption)}</caption>\n'
            f'<thead role="rowgroup"><tr role="row">{head}</tr></thead>\n'
            f'<tbody role="rowgroup">\n{rows}\n</tbody>\n</table></div>')


def _row(row, table):
    cells = [f'<th scope="row" role="rowheader"{_class(0, table)}>{_cell(row[0])}</th>']
    for index, cell in list(enumerate(row))[1:]:
        label = f' data-label="{escape(table.columns[index])}"' if table.stacked and table.columns[index] else ""
        cells.append(f'<td role="cell"{_class(index, table)}{label}>{_cell(cell)}</td>')
    return "".join(cells)


def _class(index, table):
    return ' class="number"' if index in table.numeric else ""


def _cell(cell):
    if isinstance(cell, Verdict):
        note = " (exploratory)" if cell.exploratory else ""
        return (f'<span class="verdict {escape(cell.word)}"><span class="sign" aria-hidden="true">'
                f"{SIGNS.get(cell.word, '')}</span>{escape(cell.word)}</span>{note}")
    return escape(cell)


def _figure(figure, drawing):
    width, height = drawing.size
    image = f'<img src="{_data(drawing)}" alt="{escape(figure.alt)}" width="{width}" height="{height}">'
    if drawing.narrow is not None:
        narrow_width, narrow_height = drawing.narrow.size
        image = (f'<picture><source media="(max-width: 40rem)" srcset="{_data(drawing.narrow)}" '
                 f'width="{narrow_width}" height="{narrow_height}">{image}</picture>')
    return (f'<figure id="figure-{escape(figure.name)}">\n<div class="card">{image}</div>\n'
            f"<figcaption>{escape(figure.caption)}</figcaption>\n</figure>")


def _data(drawing):
    return f"data:{drawing.media_type};base64,{base64.b64encode(drawing.content).decode()}"
