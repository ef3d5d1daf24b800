"""What a run of the benchmarks has measured so far: one JSON file and one of Markdown tables, always up to date."""

import datetime
import json
import re
from pathlib import Path
from typing import NamedTuple

from mtvae_jax import environment

RESULTS = Path(__file__).parent / "results"


class Table(NamedTuple):
    """Lines for one of the tables; those of the same title go into one."""

    title: str
    header: str
    lines: list[str]


class Record:
    """**Arguments:** `directory`: for DEVICE-DATE.json and DEVICE-DATE.md; `facts`: JSON values of the whole run."""

    def __init__(self, directory, facts):
        date, device = datetime.date.today().isoformat(), environment.device()
        self.path = Path(directory) / f"{'-'.join(re.findall('[0-9A-Za-z_]+', device))}-{date}.json"
        self.results = {}  # section → measurement → figures
        self.left_out = {}  # measurement → why
        self._facts = {"date": date, "device": device, "versions": environment.versions(), **facts}
        self._tables = {}

    def add(self, section, name, figures, tables):
        self.results.setdefault(section, {})[name] = figures
        for title, header, lines in tables:
            self._tables.setdefault(title, [header]).extend(lines)
        self.save()

    def leave_out(self, section, name, why):
        self.left_out[f"{section}, {name}"] = why
        self.save()

    def save(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        values = self._facts | {"left_out": self.left_out, "results": self.results}
        self.path.write_text(json.dumps(values, indent=1) + "\n")
        self.path.with_suffix(".md").write_text(self._markdown())

    def _markdown(self):
        facts = self._facts
        versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
        blocks = [f"# {facts['device']}, {facts['date']}", versions]
        blocks += [f"{name}: {value}" for name, value in facts.items() if name not in ("date", "device", "versions")]
        blocks += [f"## {title}\n\n" + "\n".join(lines) for title, lines in self._tables.items()]
        if self.left_out:
            blocks.append("## Left out")
        for why in dict.fromkeys(self.left_out.values()):
            names = [name for name, reason in self.left_out.items() if reason == why]
            blocks.append(f"{why[0].upper()}{why[1:]}: {'; '.join(names)}.")
        return "\n\n".join(blocks) + "\n"
