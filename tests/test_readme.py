"""What the README and the guides say exists: commands, files, settings, and the table from the thesis to the code."""

import importlib
import re
import shlex

import pytest
from small_runs import ROOT

from mtvae_jax.cli.command_line import parse
from mtvae_jax.config import check, thesis_config
from mtvae_jax.settings import field_names
from mtvae_jax.study.config import is_study, protocol_of

README = (ROOT / "README.md").read_text()
PAGES = "".join((ROOT / "docs" / name).read_text() for name in ("guide.md", "devices.md", "architecture.md"))
COMMANDS = re.sub(r"\\\n\s*", "", README + PAGES)
CODE_TABLE = (ROOT / "docs" / "thesis.md").read_text().split("\n\n")[1]
NAMES = re.findall(r"`([a-z_.]+\.?\w*)`", CODE_TABLE)


def test_quick_start_is_two_commands():
    quick_start = README.split("## Two commands")[1].split("\n## ")[0]
    commands = re.findall(r"```\n(.*?)\n```", quick_start, re.DOTALL)
    assert [command.split(" && ")[0] for command in commands] == ["pip install .", "pip install '.[test]'"]
    assert all("\n" not in command for command in commands)


@pytest.mark.parametrize("arguments", re.findall(r"python launch\.py (.*)", COMMANDS))
def test_every_launch_command_is_understood(arguments, monkeypatch):
    monkeypatch.chdir(ROOT)
    if "--help" in arguments:
        pytest.skip("needs no config to be checked")
    if "--config=" not in arguments:  # goes on with a run, which needs one; its settings are looked up below
        pytest.skip("needs a run")
    config = parse(["launch.py", *shlex.split(arguments, comments=True)]).config
    if is_study(config):
        protocol_of(config)
    else:
        check(config)


FILES = re.findall(r"[`(]((?:configs|mtvae_jax|docs)/[\w/.]+)[`)]", README + PAGES)


@pytest.mark.parametrize("path", sorted(set(FILES)))
def test_every_file_named_exists(path):
    assert (ROOT / path).exists()


def test_every_setting_named_exists():
    text = (README + PAGES).replace("`conditioning.py`", "").replace("`conditioning.draw_masks`", "")
    # Not what is called, such as a method of a model
    named = set(re.findall(r"(?:--config\.|`)((?:data|model|conditioning|loss|train|prior)\.\w+)\b(?!\()", text))
    assert named <= set(field_names(thesis_config(latent="gaussian", method="plain")))
    assert len(named) > 8


@pytest.mark.parametrize("name", sorted(set(NAMES)))
def test_every_function_of_the_thesis_table_exists(name):
    row = next(line for line in CODE_TABLE.splitlines() if f"`{name}`" in line)
    if "." not in name:  # a second name of the same module
        name = re.search(r"`([a-z_.]+)\.\w+`", row)[1] + "." + name
    module, _, attribute = name.rpartition(".")
    assert hasattr(importlib.import_module(f"mtvae_jax.{module}"), attribute)
