"""Training of a twin as a careful user of PyTorch would write it, as a competitor of `training_speed`.

    python -m benchmarks.twin.worker DIRECTORY MODE

The data set on the device, a fused optimiser, masks drawn on the device, no synchronisation within a call.
"""

import json
import platform
import sys
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.processes import host_peak_bytes, serve
from benchmarks.twin.networks import MultitaskVAE
from mtvae_jax.methods import METHODS

MODES = ("eager", "channels_last", "compile")


class Trainer:
    """**Arguments:** `config`: resolved, as a dictionary; `images`: uint8 [N, H, W, C]; `mode`: one of `MODES`."""

    def __init__(self, config, images, mode):
        if mode not in MODES:
            raise ValueError(f"mode {mode!r}: must be one of {', '.join(MODES)}")
        self.config = config
        self.on_gpu = torch.cuda.is_available()
        self.device = torch.device("cuda" if self.on_gpu else "cpu")
        torch.manual_seed(config["seed"])
        torch.set_float32_matmul_precision("high")  # as JAX does by default where there is a choice
        torch.backends.cudnn.benchmark = True
        memory_format = torch.channels_last if mode == "channels_last" else torch.contiguous_format
        image_shape = images.shape[1:]
        images = torch.from_numpy(images).permute(0, 3, 1, 2)
        self.images = images.contiguous(memory_format=memory_format).to(self.device)
        self.model = MultitaskVAE(config, image_shape).to(self.device, memory_format=memory_format)
        self.loss = self.model
        if mode == "compile":  # on GPUs with CUDA graphs, without which models this small wait for their launches
            self.loss = torch.compile(self.model, mode="reduce-overhead" if self.on_gpu else None)
        settings = config["train"]
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), settings["learning_rate"], weight_decay=settings["weight_decay"], fused=True
        )
        self.narrow = settings["precision"] == "bfloat16"
        self.batches = iter(())

    def __call__(self, num_steps):
        """Trains so many steps, over as many epochs as it takes."""
        for _ in range(num_steps):
            images = self.images[self._next_rows()].float() / 255.0
            batch, _, height, width = images.shape
            mask = draw_masks(self.config, batch, height, width, self.device)
            self.optimizer.zero_grad(set_to_none=True)
            torch.compiler.cudagraph_mark_step_begin()  # nothing of the step before is used any more
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.narrow):
                loss = self.loss(images, mask)
            loss.backward()
            self.optimizer.step()
        if self.on_gpu:
            torch.cuda.synchronize()

    def peak_bytes(self):
        return torch.cuda.max_memory_allocated() if self.on_gpu else host_peak_bytes()

    def _next_rows(self):
        """Indices of a batch; in every epoch a new order, the last incomplete batch left out."""
        rows = next(self.batches, None)
        if rows is None:
            batch_size = self.config["train"]["batch_size"]
            order = torch.randperm(len(self.images), device=self.device)
            self.batches = iter(order[: len(order) // batch_size * batch_size].split(batch_size))
            rows = next(self.batches)
        return rows


def draw_masks(config, batch, height, width, device):
    """Float [B, 1, H, W], drawn as the config's method and sampling type say; None for a plain model."""
    method, settings = METHODS[config["model"]["method"]], config["conditioning"]
    if not method.conditional_decoder:
        return None
    if settings["sampling"] == "exact":
        rows, columns = (
            torch.arange(size, device=device) % settings["grid_stride"] == (size - 1) % settings["grid_stride"] // 2
            for size in (height, width)
        )
        return (rows[:, None] & columns).float().expand(batch, 1, height, width)
    pixels = height * width
    if method.counts == "power_law":
        fraction = 1.0 - torch.rand(batch, 1, device=device) ** (1.0 / settings["exponent"])
        counts = (fraction * pixels).long()
    else:
        counts = torch.full((batch, 1), settings["num_pixels"], device=device)
    priority = torch.rand(batch, pixels, device=device)
    # One sort: pixels before the counts-th smallest priority are revealed.
    threshold = F.pad(priority.sort(1).values, (0, 1), value=2.0).gather(1, counts)
    return (priority < threshold).float().view(batch, 1, height, width)


def main(directory, mode):
    """**Arguments:** `directory`: with config.json and images.npy (uint8 [N, H, W, C]); `mode`: one of `MODES`."""
    config = json.loads((directory / "config.json").read_text())
    trainer = Trainer(config, np.load(directory / "images.npy"), mode)
    device = torch.cuda.get_device_name() if trainer.on_gpu else f"cpu ({platform.machine()})"
    facts = {
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "device": f"{device}, {torch.get_num_threads()} threads",
    }
    serve(trainer, facts, trainer.peak_bytes)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
