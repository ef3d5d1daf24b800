"""The PixelCNN on pixels is trained as the package trains its own models."""

import json
import math

import numpy as np
import pytest

from benchmarks import pixelcnn_on_pixels


def test_a_run_of_the_command_trains_and_its_figures_fit_together(digits, tmp_path, monkeypatch):
    np.savez(tmp_path / "small.npz", images=digits[:120, ::3, ::3])
    settings = {"epochs": 1, "batch-size": 16, "hidden-dim": 2, "num-layers": 2}
    settings |= {"dataset": f"npz:{tmp_path / 'small.npz'}", "workdir": tmp_path, "output": tmp_path}
    flags = [f"--{name}={value}" for name, value in settings.items()]
    monkeypatch.setattr("sys.argv", ["pixelcnn_on_pixels", *flags])
    with pytest.raises(SystemExit, match="False"):
        pixelcnn_on_pixels.main()
    (path,) = tmp_path.glob("pixelcnn-*.json")
    (figures,) = json.loads(path.read_text())["results"]["pixelcnn"].values()
    pixels = 10 * 10
    assert figures["test"]["bits_per_dim"] == pytest.approx(figures["test"]["nats"] / pixels / math.log(2))
    assert 0 < figures["test"]["bits_per_dim"] < 1.5  # of a fair coin: 1
