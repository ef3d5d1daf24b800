"""All that `python -m benchmarks` measures, as a list in the order of importance."""

import importlib
import importlib.util
import itertools
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from benchmarks import ceiling, evaluation_speed, floor, images, parts, prior_speed, start_up
from benchmarks.apart import apart
from benchmarks.record import Table
from benchmarks.worker import Worker
from mtvae_jax.config import LATENTS, from_dict, model_name, to_dict
from mtvae_jax.methods import METHODS
from mtvae_jax.prior import has_second_stage

SECTIONS = ("training", "parts", "start", "replicates", "prior", "evaluation", "scaling")


class Unavailable(Exception):
    """This machine has not what the measurement needs."""


class Unit(NamedTuple):
    """A measurement of a section. `measure() -> (figures, tables)`; the lowest `rank` comes first."""

    section: str
    name: str
    rank: int
    measure: Callable


class Model(NamedTuple):
    latent: str
    method: str
    shape: tuple[int, int, int] = (28, 28, 1)
    precision: str = "float32"

    @property
    def config(self):
        return images.thesis_model(self.latent, self.method, self.shape, train__precision=self.precision)

    @property
    def name(self):
        """"gauss_multi", "gauss_multi bfloat16"."""
        return model_name(self.config) + (f" {self.precision}" if self.precision != "float32" else "")

    @property
    def full_name(self):
        return f"{self.name}, {'×'.join(map(str, self.shape))}"

    @property
    def rank(self):
        """The multi-decoder models on the smallest images, then on the largest, in bfloat16, and then the others."""
        by_size = {(28, 28, 1): 0, (64, 64, 3): 1, (32, 32, 3): 3}[self.shape]
        return by_size + 2 * (self.precision != "float32") + 10 * (self.method != "multi_decoder")


class Sections:
    """**Arguments:** `pictures`: shape → uint8 [N, H, W, C]; `peers`: modes of the PyTorch twin; `quick`: one short
    round, and the multi-decoder models alone.
    """

    def __init__(self, pictures, peers, quick):
        self._pictures, self._peers, self._quick = pictures, peers, quick
        self._on_cpu = jax.default_backend() == "cpu"

    def units(self, sections):
        """The device's ceilings, then all measurements of these of `SECTIONS`."""
        units = [unit for section in sections for unit in getattr(self, f"_{section}_units")()]
        return [Unit("ceilings", "device", -1, self._measure_ceilings), *sorted(units, key=lambda unit: unit.rank)]

    def _measure_ceilings(self):
        figures = ceiling.measure(**self._turns(5, 0.5))
        return figures, [Table("The device's ceilings", ceiling.HEADER, ceiling.rows(figures))]

    def _training_units(self):
        return [Unit("training", m.full_name, m.rank, lambda m=m: self._training(m)) for m in self._models()]

    def _training(self, model):
        config, pictures = model.config, self._pictures[model.shape]
        if self._peers and importlib.util.find_spec("torch"):
            results, port = apart(_compare, to_dict(config), pictures, self._peers, **self._turns(3, 2.0))
        else:
            results, port = apart(_ours_alone, to_dict(config), pictures, **self._turns(3, 2.0)), "no PyTorch"
        training_speed = importlib.import_module("benchmarks.training_speed")
        lines = training_speed.rows(model.full_name, results)
        figures = {"competitors": results, "difference_of_the_twin": port}
        return figures, [Table("Training", training_speed.HEADER, lines)]

    def _parts_units(self):
        return [Unit("parts", m.full_name, m.rank, lambda m=m: self._parts(m)) for m in self._models()]

    def _parts(self, model):
        figures = parts.measure(model.config, self._pictures[model.shape], **self._turns(3, 0.3))
        figures["reached"] = floor.reached(figures)
        return figures, [
            Table("Training against the ceilings", floor.HEADER, floor.rows(model.name, model.shape, figures)),
            Table("Parts of a training step", parts.HEADER, parts.rows(model.name, model.shape, figures)),
        ]

    def _start_units(self):
        configs = ("gauss_multi", "vq_multi")
        return [Unit("start", config, 1, lambda config=config: self._start(config)) for config in configs]

    def _start(self, config):
        figures = start_up.measure(config)
        title = "From the start of the process to the first step"
        return figures, [Table(title, start_up.HEADER, start_up.rows(config, figures))]

    def _replicates_units(self):
        models = [Model(latent, "multi_decoder") for latent in LATENTS]
        return [Unit("replicates", m.full_name, 2, lambda m=m: self._replicates(m)) for m in models]

    def _replicates(self, model):
        replicates = self._optional("replicates")
        numbers = (1, 2) if self._quick else (1, 2, 4) if self._on_cpu else (1, 2, 4, 8, 16)
        figures = replicates.compare(model.config, self._pictures[model.shape], numbers, **self._turns(3, 2.0))
        lines = replicates.rows(model.name, figures)
        return figures, [Table("Several trainings as one program", replicates.HEADER, lines)]

    def _prior_units(self):
        models = [model for model in self._models(("float32",)) if has_second_stage(model.config)]
        return [Unit("prior", m.full_name, m.rank, lambda m=m: self._prior(m)) for m in models]

    def _prior(self, model):
        figures = prior_speed.measure(model.config, self._pictures[model.shape], **self._turns(3, 1.0))
        lines = prior_speed.rows(model.name, model.shape, figures)
        return figures, [Table("Training of the second stage", prior_speed.HEADER, lines)]

    def _evaluation_units(self):
        return [Unit("evaluation", m.full_name, m.rank, lambda m=m: self._evaluation(m)) for m in self._models()]

    def _evaluation(self, model):
        figures = evaluation_speed.measure(model.config, self._pictures[model.shape], **self._turns(3, 1.0))
        lines = evaluation_speed.rows(model.name, model.shape, figures)
        return figures, [Table("Evaluation", evaluation_speed.HEADER, lines)]

    def _scaling_units(self):
        model = Model("gaussian", "multi_decoder")
        return [Unit("scaling", model.full_name, 2, lambda: self._scaling(model))]

    def _scaling(self, model):
        scaling = self._optional("scaling")
        gpus = scaling.find_gpus()
        counts = [2**power for power in range(len(gpus).bit_length())] if gpus else [1, 2]
        if len(counts) == 1:
            raise Unavailable("one GPU is nothing to scale over")
        pictures = self._pictures[model.shape]
        figures, _ = scaling.compare(model.config, pictures, counts, gpus, **self._turns(3, 2.0))
        return figures, [Table("Scaling over devices and processes", scaling.HEADER, scaling.rows(figures))]

    def _models(self, precisions=("float32", "bfloat16")):
        methods = ("multi_decoder",) if self._quick else METHODS
        models = [Model(*which) for which in itertools.product(LATENTS, methods, self._pictures, precisions)]
        # XLA computes in bfloat16 on GPUs; on CPUs it only rounds to it.
        return [m for m in models if m.precision == "float32" or (not self._on_cpu and m.method == "multi_decoder")]

    def _turns(self, rounds, seconds):
        return {"rounds": 1, "seconds": seconds / 4} if self._quick else {"rounds": rounds, "seconds": seconds}

    def _optional(self, name):
        if importlib.util.find_spec(f"benchmarks.{name}") is None:
            raise Unavailable(f"benchmarks/{name}.py is not there")
        return importlib.import_module(f"benchmarks.{name}")


def _compare(config, pictures, peers, *, rounds, seconds):
    training_speed = importlib.import_module("benchmarks.training_speed")
    return training_speed.compare(from_dict(config), pictures, peers, rounds=rounds, seconds=seconds)


def _ours_alone(config, pictures, *, rounds, seconds):
    """What `training_speed.compare` returns first, where there is nobody to compare with."""
    training_speed = importlib.import_module("benchmarks.training_speed")
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "config.json").write_text(json.dumps(config))
        np.save(Path(directory) / "images.npy", pictures)
        worker = Worker("benchmarks.jax_worker", directory)
        try:
            worker.measure(seconds)  # a warm-up
            measured = [worker.measure(seconds) for _ in range(rounds)]
        finally:
            worker.close()
    speeds = [figures["images_per_second"] for figures in measured]
    ours = worker.facts | {"images_per_second": speeds, "peak_bytes": measured[-1]["peak_bytes"]}
    return {training_speed.OURS: ours}
