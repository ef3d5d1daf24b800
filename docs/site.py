"""What the site needs beside Markdown: pages that live at the root of the repository, and the table of settings."""

from pathlib import Path

ROOT = Path(__file__).parent.parent


def on_page_markdown(markdown, page, **_):
    """Fills the page of settings, and lets links of root pages point into the site."""
    if page.file.src_uri == "api/settings.md":
        return f"{markdown}\n{_settings()}"
    return markdown.replace("](docs/", "](")


def _settings():
    from mtvae_jax.config import SECTIONS, SETTINGS

    lines = []
    for section in ("", *SECTIONS):
        own = {name: setting for name, setting in SETTINGS.items() if name.rpartition(".")[0] == section}
        lines += [f"## {section or 'run'}", "", SECTIONS.get(section, "The run as a whole").capitalize() + ".", ""]
        lines += ["| setting | default | meaning | may be |", "|---|---|---|---|"]
        for name, setting in own.items():
            cells = f"`{name}`", f"`{setting.default}`", setting.meaning, setting.rule.text
            lines.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
        lines.append("")
    return "\n".join(lines)
