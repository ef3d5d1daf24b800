"""Whatever stands on a command line, it is refused in one line with status 2, or it is what will be run."""

import contextlib
import io
import os
import re
import shutil
import sys
import tempfile
from unittest import mock

import pytest
from fuzz.values import RESOLVED, TEXTS, edits, in_two_lengths, put, refused, value_of
from hypothesis import strategies as st
from small_runs import ROOT

import launch
from mtvae_jax.config import SETTINGS, thesis_config
from mtvae_jax.data import DatasetUnavailable
from mtvae_jax.errors import UserError
from mtvae_jax.runs import command_line as runs
from mtvae_jax.settings import field_names
from mtvae_jax.study.config import study_config
from mtvae_jax.study.study import run_study

RUN, STUDY = thesis_config(latent="vq", method="multi_decoder"), study_config()
CONFIGS = sorted(path.name for path in (ROOT / "configs").glob("*.py"))
BROKEN = {
    "empty.py": "",
    "syntax.py": "def get_config(:\n    pass\n",
    "raises.py": "def get_config():\n    raise ValueError('two\\nlines')\n",
    "import.py": "import no_such_module\ndef get_config():\n    return None\n",
    "missing.py": "def get_config():\n    return open('missing')\n",
    "exits.py": "def get_config():\n    raise SystemExit(0)\n",
    "none.py": "def get_config():\n    return None\n",
    "dict.py": "def get_config():\n    return {'seed': 0}\n",
    "number.py": "def get_config():\n    return 5\n",
    "field.py": "get_config = 5\n",
    "bare.py": "from ml_collections import ConfigDict\ndef get_config():\n    return ConfigDict()\n",
    "partial.py": "from ml_collections import ConfigDict\ndef get_config():\n    return ConfigDict({'seed': 0})\n",
    "study.py": "from ml_collections import ConfigDict\ndef get_config():\n    return ConfigDict({'study': 5})\n",
    "arguments.py": "def get_config(one, two):\n    return None\n",
    "typed.py": "from mtvae_jax.config import thesis_config\ndef get_config():\n"
    "    config = thesis_config(latent='vq', method='plain')\n    config.train.epochs = 2.5\n    return config\n",
    "unknown.py": "from mtvae_jax.config import thesis_config\ndef get_config():\n"
    "    config = thesis_config(latent='vq', method='plain')\n    config.train.epoch = 2\n    return config\n",
    "latent.py": "from mtvae_jax.config import thesis_config\ndef get_config():\n"
    "    return thesis_config(latent='vqq', method='plain')\n",
    "binary.py": "\0\1\2",
}


def in_files(name):
    return str(ROOT / "configs" / name)


SUFFIXES = st.one_of(
    st.sampled_from(("", ":mnist_sample")),
    st.sampled_from(("", ":mnist_sample")),
    st.sampled_from((":", ":cifar11", "::", ":npz:", ":npz:nowhere.npz", ":all")),
    st.sampled_from(TEXTS).map(":{}".format),
)
FILES = st.one_of(
    st.sampled_from(CONFIGS).map(in_files),
    st.sampled_from([in_files(name) for name in CONFIGS if name.startswith(("gauss", "vq"))]),
    st.sampled_from((*BROKEN, "folder.py", "nowhere.py", "configs", "", ".", "no\0where", "~", "x" * 300)),
)


def sensible_texts(tree, name):
    """What is likely to be taken: the value that a field has, the words that it may be, a small number."""
    value = value_of(tree, name)
    words = re.findall("'(.*?)'", SETTINGS[name].rule.text) if tree is RUN else []
    numbers = () if isinstance(value, (str, bool)) else ("1", "2", "3")
    return [str(value).strip("()").rstrip(","), *words, *numbers]


def texts_for(tree, name):
    near = ("True", "false", "1", "0", "2", "2.5", "-1", "1e3", "nan", "inf", "None", "", "8,16", "(8,)", "0.5,")
    texts = st.one_of(st.sampled_from(near), st.sampled_from(TEXTS), st.text(max_size=8), st.floats().map(str))
    return st.one_of(texts, st.just(str(value_of(tree, name))))


def overrides(tree):
    fields = [n for n in field_names(tree) if n != "study"]
    sensible = st.sampled_from(fields).flatmap(
        lambda n: st.sampled_from(sensible_texts(tree, n)).map(lambda text: f"--config.{n}={text}")
    )
    right = st.sampled_from(fields).flatmap(lambda n: texts_for(tree, n).map(lambda text: f"--config.{n}={text}"))
    names = st.one_of(
        st.sampled_from(fields).map(lambda n: n[:-1]),
        st.sampled_from(fields).map(lambda n: n.rpartition(".")[0]),
        st.sampled_from(fields).map(lambda n: n + ".x"),
        st.sampled_from(fields).map(str.upper),
        st.sampled_from(fields),
        st.text(max_size=6),
    )
    forms = st.sampled_from(("--config.{}=1", "--config.{}", "--noconfig.{}", "-config.{}=2", "--config[{}]=1"))
    return st.one_of(sensible, sensible, right, right, st.builds(lambda form, name: form.format(name), forms, names))


STRAY = st.one_of(
    st.sampled_from((
        "--workdir=there", "--workdir=", "--workdir", "--workdir=\0", "--config", "--config=", "--help", "-h", "--",
        "-", "", "--=", "--confg=x", "train", "5", "--flagfile=nowhere", "--version", "--helpxml",
        "--dry_run", "--config.", "--workdir=" + "x" * 300, "--workdir=file.txt", "--no", "-=",
    )),
    st.text(max_size=10),
    st.sampled_from(TEXTS),
)  # fmt: skip
ARGUMENTS = st.builds(
    lambda file, suffix, first, rest: [*first, f"--config={file}{suffix}", *rest],
    FILES,
    SUFFIXES,
    st.lists(STRAY, max_size=1),
    st.one_of(
        st.lists(overrides(RUN), max_size=3), st.lists(overrides(STUDY), max_size=2), st.lists(STRAY, max_size=2)
    ),
)
ACCEPTED = "ACCEPTED"


@contextlib.contextmanager
def somewhere():
    """An empty folder to be in, with the broken config files, that is gone afterwards."""
    before, folder = os.getcwd(), tempfile.mkdtemp()
    try:
        sys.modules.pop("config_config", None)  # ml_collections adds to what it loaded before
        os.makedirs(f"{folder}/some/way/down/here")  # ../.. is nobody else's
        os.chdir(f"{folder}/some/way/down/here")
        for name, content in BROKEN.items():
            with open(name, "w") as file:
                file.write(content)
        os.mkdir("folder.py")
        with open("file.txt", "w") as file:
            file.write("text")
        yield
    finally:
        os.chdir(before)
        shutil.rmtree(folder)


@contextlib.contextmanager
def nothing_trains(seen):
    """Runs and studies end where they would begin, and keep what they were asked to be in `seen`."""

    def began(config, *_, **__):
        seen.append(config)
        raise UserError(ACCEPTED)

    def offline(name, directory=None):
        raise DatasetUnavailable(f"data.name = {name}: there is no network in a test")

    with (
        mock.patch("mtvae_jax.training.first_stage.train", began),
        mock.patch("mtvae_jax.study.study._outcomes", began),
        mock.patch("mtvae_jax.study.results.write_results", began),
        mock.patch("mtvae_jax.data.prepared.read", offline),
    ):
        yield


def status_of(main, arguments):
    """Exit status, output and errors of a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(arguments)
    return status, out.getvalue(), err.getvalue()


def a_command(arguments):
    seen = []
    with somewhere(), nothing_trains(seen):
        status, out, err = status_of(launch.main, ["launch.py", *arguments])
    if status == 0:
        assert out.startswith(("usage: ", "mtvae_jax ")) or "--dry" in "".join(arguments), out
        return
    assert status == 2, err
    *warnings, line = err.removesuffix("\n").split("\n")
    assert all(warning.startswith("WARNING: ") for warning in warnings), err
    assert line.startswith("launch.py: "), err
    assert line.isprintable(), err
    assert (line == "launch.py: ACCEPTED") == bool(seen), err
    for config in seen:
        kept(config, arguments)


def kept(config, arguments):
    """The last word on each field is what it is."""
    said = dict(a.lstrip("-").removeprefix("config.").split("=", 1) for a in arguments if "config." in a and "=" in a)
    for name, text in said.items():
        if name in RESOLVED:
            continue
        value = value_of(config, name)
        if isinstance(value, bool):
            assert text.lower() in (("true", "1") if value else ("false", "0")), (name, text, value)
        elif isinstance(value, (int, float)):
            assert float(text) == value, (name, text, value)
        elif isinstance(value, str) and name != "data.name":  # mnist_sample may stand in for mnist
            assert text == value


test_a_command_is_refused_or_run, test_a_command_is_refused_or_run_at_length = in_two_lengths(
    a_command, short=120, long=3000, arguments=ARGUMENTS
)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_config_file_is_named(name):
    with somewhere(), nothing_trains([]):
        status, out, err = status_of(launch.main, ["launch.py", f"--config={name}"])
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert (name in err and "there is no such field" not in err) or "config." in err or "model.latent" in err
    assert "Traceback" not in err


def a_study(changes):
    """A study's config, changed in any way."""
    config = put(study_config("figure_4_1"), {"protocol": "quick"} | changes)
    seen = []
    with somewhere(), nothing_trains(seen):
        found, message = refused(lambda: run_study(config, "there", stream=io.StringIO()))
    assert found is None
    if message != ACCEPTED:
        assert any(name in message for name in ("config.", "study ", "data.", "npz:")), message


test_a_study_is_refused_or_begun, test_a_study_is_refused_or_begun_at_length = in_two_lengths(
    a_study, short=80, long=2000, changes=edits(STUDY)
)

FIELDS = ("name", "state", "val/loss", "train.epochs", "size", "nope", "", "-", "-size", "a,b", ",")
VALUES = st.one_of(
    st.sampled_from((*FIELDS, "complete", "0.1", "100MB", "1e999", "nan")), st.sampled_from(TEXTS), st.text(max_size=5)
)
RUNS = st.lists(
    st.one_of(
        st.sampled_from(("list", "compare", "clean", "--json", "--csv", "--markdown", "--yes", "--best-only")),
        st.sampled_from(("runs", ".", "nowhere", "file.txt", "", "--", "-", "--help", "--where", "--sort", "--idle")),
        st.builds("--where={}{}{}".format, VALUES, st.sampled_from(("=", "<", "!=", "~", ">=", "", "=<")), VALUES),
        st.builds("--{}={}".format, st.sampled_from(("sort", "columns", "idle", "where", "json", "nope")), VALUES),
        st.sampled_from(TEXTS),
        st.text(max_size=8),
    ).filter(lambda argument: not argument.startswith("/")),  # `clean --yes` works on what it is given
    max_size=5,
)


def a_list_of_runs(arguments, folder_of_runs):
    with somewhere():
        shutil.copytree(folder_of_runs, "runs")
        status, out, err = status_of(runs.main, arguments)
    assert status in (0, 2), err
    if status == 2:
        assert err.startswith("runs: ")
        assert err.count("\n") == 1
        assert err.removesuffix("\n").isprintable()
    else:
        assert (err, bool(out)) == ("", True)


@pytest.fixture(scope="module")
def folder_of_runs(tmp_path_factory):
    """Runs in every state, as far as they can be written by hand."""
    folder = tmp_path_factory.mktemp("runs")
    description = '{"config": {"model": {"latent": "vq", "method": "plain"}, "train": {"epochs": 2}}, "data": {}}'
    for name, content in {"empty": description, "damaged": "{", "vq_plain-a-00000000": description}.items():
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(content)
    (folder / "vq_plain-a-00000000" / "metrics.jsonl").write_text('{"epoch": 1, "step": 2, "val/loss": 0.5}\n')
    return folder


test_runs_are_listed_or_the_command_refused, test_runs_are_listed_or_the_command_refused_at_length = in_two_lengths(
    a_list_of_runs, short=100, long=2000, arguments=RUNS
)
