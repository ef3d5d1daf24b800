import pytest
from study.report.synthetic_results import synthetic_results

from mtvae_jax.study.report import write_report


@pytest.fixture(scope="session")
def results():
    """All studies on two datasets, nothing missing."""
    return synthetic_results(images=True)


@pytest.fixture(scope="session")
def report(tmp_path_factory):
    """(results, folder of their report): all studies on one dataset."""
    results = synthetic_results(datasets=("fashion_mnist",))
    folder = tmp_path_factory.mktemp("report")
    assert write_report(results, folder) == folder / "report.html"
    return results, folder
