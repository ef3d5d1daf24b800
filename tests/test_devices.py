"""Two devices train as one does, with the same global batch."""

import os
import subprocess
import sys

import numpy as np
import pytest
from small_runs import ROOT


def train(tmp_path, devices, *model):
    out = tmp_path / f"{devices}.npz"
    environment = os.environ | {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        "JAX_PLATFORMS": "cpu",
    }
    command = [sys.executable, str(ROOT / "tests" / "programs" / "few_steps.py"), *model, str(out)]
    subprocess.run(command, check=True, env=environment, timeout=300)
    return np.load(out)


@pytest.mark.parametrize(
    "model",
    [
        ("gaussian", "multi_decoder", "uniform"),
        ("gaussian", "single_decoder", "gaussian"),
        ("vq", "multi_decoder", "exact"),
    ],
    ids="-".join,
)
def test_two_devices_train_as_one(tmp_path, model):
    one, two = (train(tmp_path, devices, *model) for devices in (1, 2))
    assert (one["devices"], two["devices"]) == (1, 2)
    assert one["step"] == two["step"] == 12
    for name in one.files:
        if name.startswith(("params/", "batch_stats/")):
            scale = np.abs(one[name]).max()
            np.testing.assert_allclose(one[name], two[name], atol=2e-3 * scale + 1e-5, err_msg=name)
        if name.startswith(("metrics/", "val/")):
            np.testing.assert_allclose(one[name], two[name], rtol=1e-3, err_msg=name)
