"""The long tests are for those who ask for them."""

import pytest


def pytest_collection_modifyitems(config, items):
    if "fuzz_long" in config.option.markexpr:
        return
    for item in items:
        if item.get_closest_marker("fuzz_long"):
            item.add_marker(pytest.mark.skip(reason="takes minutes; asked for with -m fuzz_long"))
