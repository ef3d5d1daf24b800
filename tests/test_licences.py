"""docs/licences.md names every dependency and dataset, with the licences that the installed packages state."""

import re
import tomllib
from importlib import metadata

import pytest
from small_runs import ROOT

from mtvae_jax.data.loading import DATASETS

DOCUMENT = (ROOT / "docs" / "licences.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def rows(heading):
    table = DOCUMENT.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line] for line in lines[2:]]


def names(requirements):
    return [re.match(r"[\w.-]+", requirement)[0] for requirement in requirements]


def test_packages_are_those_of_pyproject():
    listed = [(name, extra) for name, extras, *_ in rows("Packages") for extra in extras.split(", ")]
    needed = [(name, "") for name in names(PROJECT["dependencies"])]
    for extra, requirements in PROJECT["optional-dependencies"].items():
        needed += [(name, extra) for name in names(requirements)]
    assert sorted(listed) == sorted(needed)


def test_datasets_are_those_of_the_package():
    assert [name for name, *_ in rows("Datasets")] == list(DATASETS)


@pytest.mark.parametrize(("name", "licence"), sorted({(row[0], row[2]) for row in rows("Packages")}))
def test_licence_is_that_of_the_metadata(name, licence):
    try:
        stated = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        pytest.skip("not installed")
    classifiers = [line for line in stated.get_all("Classifier", []) if line.startswith("License")]
    fields = [stated["License-Expression"] or "", stated["License"] or "", *classifiers]
    family = re.match(r"[A-Za-z]+", licence)[0]  # the rest of the wording differs between releases
    assert re.search(rf"\b{family}\b", " ".join(fields))
