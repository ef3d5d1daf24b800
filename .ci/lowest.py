"""Prints the lowest versions that pyproject.toml admits, one "name==version" a line: pip's constraints for trying them.

    python .ci/lowest.py > lowest.txt && pip install '.[test]' -c lowest.txt
"""

import re
import tomllib
from pathlib import Path

LOWER_BOUND = re.compile(r"([\w.-]+)(?:\[[^]]*\])?>=([\w.]+)")


def lowest(pyproject):
    """**Arguments:** `pyproject`: the text of a pyproject.toml, each of whose dependencies begins "name>=version".
    **Returns:** {name: version}, of the dependencies and of all extras.
    **Raises:** `ValueError` where a dependency has no lower bound, or two.
    """
    project = tomllib.loads(pyproject)["project"]
    versions = {}
    for requirement in sum(project["optional-dependencies"].values(), project["dependencies"]):
        bound = LOWER_BOUND.match(requirement)
        if bound is None:
            raise ValueError(f"{requirement}: has no lower bound")
        name, version = bound.groups()
        if versions.setdefault(name, version) != version:
            raise ValueError(f"{name}: two lower bounds, {versions[name]} and {version}")
    return versions


if __name__ == "__main__":
    pyproject = Path(__file__).parent.parent / "pyproject.toml"
    print("\n".join(f"{name}=={version}" for name, version in lowest(pyproject.read_text()).items()))
