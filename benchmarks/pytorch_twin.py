"""The Gaussian models in PyTorch, layer by layer and number by number, as a competitor of `training_speed`.

Written as a careful user of PyTorch would: the data set on the device, a fused optimiser, masks drawn on the device, no
synchronisation within a call. Paddings are PyTorch's symmetric ones, which makes every strided layer the mirror image
of XLA's, with the same sizes, parameters and arithmetic.
"""

import json
import platform
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.worker import serve

MODES = ("eager", "channels_last", "compile")


class Encoder(nn.Sequential):
    """Images [B, C, H, W] → features [B, hidden_dims[-1], h, w]."""

    def __init__(self, channels, hidden_dims):
        layers = []
        for inputs, outputs in zip((channels, *hidden_dims[:-1]), hidden_dims, strict=True):
            layers.append(nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False))
            layers += [nn.BatchNorm2d(outputs), nn.LeakyReLU(0.01)]
        super().__init__(*layers)


class Decoder(nn.Module):
    """z [B, Z] and, where `conditional`, m [B, C+1, H, W] → x̂ [B, C, H, W]."""

    def __init__(self, image_shape, hidden_dims, latent_dim, *, conditional):
        super().__init__()
        height, width, channels = image_shape
        sizes = [(height, width)]
        for _ in hidden_dims:
            sizes.append(tuple(-(-size // 2) for size in sizes[-1]))
        self.start = (hidden_dims[-1], *sizes[-1])
        inputs = latent_dim + conditional * height * width * (channels + 1)
        self.merge = nn.Linear(inputs, hidden_dims[-1] * sizes[-1][0] * sizes[-1][1])

        layers = []
        widths = (channels, *hidden_dims)
        for layer in reversed(range(len(hidden_dims))):
            if layer == 0:
                layers += [nn.ConvTranspose2d(widths[1], channels, 4, stride=2, padding=1), nn.Sigmoid()]
                break
            # Of the two sizes that halve to the same one, output_padding chooses.
            extra = tuple((size - 1) % 2 for size in sizes[layer])
            layers.append(
                nn.ConvTranspose2d(
                    widths[layer + 1], widths[layer], 3, stride=2, padding=1, output_padding=extra, bias=False
                )
            )
            layers += [nn.BatchNorm2d(widths[layer]), nn.LeakyReLU(0.01)]
        self.layers = nn.Sequential(*layers)
        self.size = height, width

    def forward(self, z, m=None):
        x = z if m is None else torch.cat([z, m.flatten(1)], dim=1)
        height, width = self.size  # four taps at stride 2 make even sizes
        return self.layers(self.merge(x).unflatten(1, self.start))[..., :height, :width]


class MultitaskVAE(nn.Module):
    """**Arguments:** `config`: of a run, as a dictionary; `image_shape`: (H, W, C)."""

    def __init__(self, config, image_shape):
        super().__init__()
        height, width, channels = image_shape
        settings, method = config["model"], config["model"]["method"]
        hidden_dims, latent_dim = tuple(settings["hidden_dims"]), settings["latent_dim"]
        self.encoder = Encoder(channels, hidden_dims)
        with torch.no_grad():
            features = self.encoder.eval()(torch.zeros(1, channels, height, width)).numel()
        self.moments = nn.Linear(features, 2 * latent_dim)
        self.decoder = self.conditional_decoder = None
        if method in ("plain", "multi_decoder"):
            self.decoder = Decoder(image_shape, hidden_dims, latent_dim, conditional=False)
        if method != "plain":
            self.conditional_decoder = Decoder(image_shape, hidden_dims, latent_dim, conditional=True)
        self.weights = config["loss"]["weights"]
        self.beta = config["loss"]["beta"]
        self.train()

    def forward(self, images, mask):
        """Images [B, C, H, W] in [0, 1], mask [B, 1, H, W] or None → the loss."""
        mean, log_variance = self.moments(self.encoder(images).flatten(1)).chunk(2, dim=1)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        reconstructions = [] if self.decoder is None else [self.decoder(z)]
        if self.conditional_decoder is not None:
            m = torch.cat([mask * images, mask], dim=1)
            reconstructions.append(self.conditional_decoder(z, m))
        kl = 0.5 * (log_variance.exp() + mean.square() - 1.0 - log_variance).sum(1).mean()
        errors = (
            weight * F.mse_loss(x, images) for weight, x in zip(self.weights, reconstructions, strict=True)
        )
        return sum(errors, start=self.beta * kl)


def draw_masks(config, batch, height, width, device):
    """Float [B, 1, H, W], drawn as the config's method and sampling type say; None for a plain model."""
    method, settings = config["model"]["method"], config["conditioning"]
    if method == "plain":
        return None
    if settings["sampling"] == "exact":
        rows, columns = (
            torch.arange(size, device=device) % settings["grid_stride"] == (size - 1) % settings["grid_stride"] // 2
            for size in (height, width)
        )
        return (rows[:, None] & columns).float().expand(batch, 1, height, width)
    if settings["sampling"] != "uniform":
        raise ValueError(f"conditioning.sampling = {settings['sampling']!r}: the twin draws exact and uniform masks")
    pixels = height * width
    if method == "single_decoder":
        fraction = 1.0 - torch.rand(batch, 1, device=device) ** (1.0 / settings["exponent"])
        counts = (fraction * pixels).long()
    else:
        counts = torch.full((batch, 1), settings["num_pixels"], device=device)
    priority = torch.rand(batch, pixels, device=device)
    # One sort: pixels before the counts-th smallest priority are revealed.
    threshold = F.pad(priority.sort(1).values, (0, 1), value=2.0).gather(1, counts)
    return (priority < threshold).float().view(batch, 1, height, width)


class Trainer:
    """**Arguments:** `config`: as a dictionary; `images`: uint8 [N, H, W, C]; `mode`: one of `MODES`."""

    def __init__(self, config, images, mode):
        self.config = config
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(config["seed"])
        torch.set_float32_matmul_precision("high")  # as JAX does by default where there is a choice
        memory_format = torch.channels_last if mode == "channels_last" else torch.contiguous_format
        image_shape = images.shape[1:]
        images = torch.from_numpy(images).permute(0, 3, 1, 2)
        self.images = images.contiguous(memory_format=memory_format).to(self.device)
        self.model = MultitaskVAE(config, image_shape).to(self.device, memory_format=memory_format)
        self.loss = torch.compile(self.model) if mode == "compile" else self.model
        settings = config["train"]
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), settings["learning_rate"], weight_decay=settings["weight_decay"], fused=True
        )
        self.batches = iter(())

    def __call__(self, num_steps):
        """Trains so many steps, over as many epochs as it takes."""
        batch_size, (height, width) = self.config["train"]["batch_size"], self.images.shape[2:]
        for _ in range(num_steps):
            indices = next(self.batches, None)
            if indices is None:
                order = torch.randperm(len(self.images), device=self.device)
                self.batches = iter(order[: len(order) // batch_size * batch_size].split(batch_size))
                indices = next(self.batches)
            images = self.images[indices].float() / 255.0
            self.optimizer.zero_grad(set_to_none=True)
            self.loss(images, draw_masks(self.config, batch_size, height, width, self.device)).backward()
            self.optimizer.step()
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def main(directory, mode):
    """**Arguments:** `directory`: with config.json and images.npy (uint8 [N, H, W, C]); `mode`: one of `MODES`."""
    config = json.loads((directory / "config.json").read_text())
    trainer = Trainer(config, np.load(directory / "images.npy"), mode)
    device = torch.cuda.get_device_name() if trainer.device.type == "cuda" else f"cpu ({platform.machine()})"
    facts = {
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "device": f"{device}, {torch.get_num_threads()} threads",
    }
    serve(trainer, config["train"]["batch_size"], facts)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
