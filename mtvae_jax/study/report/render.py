"""A report as text: templates/ has what it looks like as an HTML page and as Markdown."""

import re

from jinja2 import Environment, PackageLoader

# The shapes that the figures use
SIGNS = {"supported": "●", "refuted": "✕", "no difference": "■", "undecided": "○", "depends": "◐"}
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~])")


def to_html(document, drawings):
    """**Arguments:** `document`: `Document`; `drawings`: name of a figure to what `drawings.draw` gives.
    **Returns:** the page, as text.
    """
    return _render("report.html", _tidy, document=document, drawings=drawings)


def to_markdown(document):
    """**Arguments:** `document`: `Document`. **Returns:** text that refers to `figures/NAME.png`."""
    return _render("report.md", _markdown, document=document)


def _render(name, said, **values):
    """`said` is applied to all text that the template is given, but for what it calls safe."""
    environment = Environment(
        loader=PackageLoader("mtvae_jax.study.report"),
        autoescape=name.endswith(".html"),
        finalize=lambda value: said(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(name).render(signs=SIGNS, **values)


def _tidy(text):
    """`text` on one line, no per cent sign torn from its number."""
    return text.replace("\n", " ").replace(" %", "\u202f%")


def _markdown(text):
    """Signs that Markdown or HTML would take for their own are said with a backslash."""
    return _MARKDOWN.sub(r"\\\1", _tidy(text)).replace("&", "&amp;")
