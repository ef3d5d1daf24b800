"""What --help shows: every setting once, with the value that it has, in a terminal of eighty columns."""

import re

import pytest
from small_runs import ROOT

from launch import main
from mtvae_jax import config as run
from mtvae_jax.cli.help import help_text
from mtvae_jax.settings import field_names
from mtvae_jax.study import config as study

CONFIGS = [
    (run.thesis_config(latent="vq", method="multi_decoder"), run),
    (study.study_config("all"), study),
]


@pytest.mark.parametrize(("config", "tables"), CONFIGS, ids=["run", "study"])
def test_every_field_has_a_meaning_and_no_meaning_is_of_nothing(config, tables):
    assert sorted(tables.SETTINGS) == sorted(field_names(config))
    assert {name.rpartition(".")[0] for name in tables.SETTINGS} == {"", *tables.SECTIONS}
    assert all(setting.meaning for setting in tables.SETTINGS.values())


@pytest.mark.parametrize(("config", "tables"), CONFIGS, ids=["run", "study"])
def test_a_meaning_stands_on_its_own(config, tables):
    """None begins in mid-phrase, as if the name of the field before it were part of it."""
    for text in (*(setting.meaning for setting in tables.SETTINGS.values()), *tables.SECTIONS.values()):
        assert not re.match(r"(of|in|which|for|with|by|whose|None|above|below|and|or)\b", text), text


@pytest.mark.parametrize(
    ("name", "value"), [("data.dir", "/a/folder/" + 12 * "of many letters/"), ("data.name", "npz:" + 90 * "x")]
)
def test_a_long_value_has_its_meaning_below_it(name, value):
    config = run.thesis_config(latent="vq", method="multi_decoder")
    with config.unlocked():
        section, field = name.split(".")
        config[section][field] = value
    text = help_text(config, run.SETTINGS, run.SECTIONS)
    assert max(map(len, text.splitlines())) <= 80
    assert "".join(value.split()) in "".join(text.split())


@pytest.mark.parametrize("option", ["--help", "-h", "--helpfull", "--helpshort"])
def test_without_a_config_it_teaches_with_the_thesis_own(option, capsys):
    assert main(["launch.py", option]) == 0
    out, err = capsys.readouterr()
    assert (out.startswith("usage: "), err) == (True, "")
    assert max(map(len, out.splitlines())) <= 80
    for part in ("--config=configs/gauss_multi.py", "--workdir=DIR", "--dry_run", "Exit status"):
        assert part in out
    for line in ("epochs              100 ", "learning_rate       0.001 ", "codebook_size     128 "):
        assert f"\n  {line}" in out


def test_of_a_config_it_shows_the_values_and_what_they_may_be(capsys):
    files = f"--config={ROOT / 'configs' / 'vq_single.py'}:cifar10"
    assert main(["launch.py", "--help", files, "--config.model.hidden_dims=8,16,32"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "name cifar10 name of a dataset" in out
    assert "hidden_dims 8,16,32 channels of" in out
    assert "method single_decoder decoders, and the pixels that they see; see the README ('plain', 'semi_" in out


def test_of_a_study_too(capsys):
    assert main(["launch.py", "--help", f"--config={ROOT / 'configs' / 'thesis.py'}:depth", "--config.seeds=7"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "study depth name of the study" in out
    assert "seeds 7 number of runs" in out
    assert "--config.slurm.FIELD=VALUE" in out


def test_a_mistake_beside_it_is_answered(capsys):
    assert main(["launch.py", "--help", "--config=nowhere.py"]) == 2
    assert "nowhere.py does not exist" in capsys.readouterr().err
