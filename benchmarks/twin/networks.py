"""All models of `mtvae_jax` in PyTorch, layer by layer, as a careful user of PyTorch would write them.

A layer of stride 2 is the mirror image of ours. Where SAME padding has an odd pixel, XLA puts it behind the image;
PyTorch pads both sides alike and leaves out what no window reaches, which puts it in front. So with all kernels
mirrored this is our function of mirrored images, exactly, and PyTorch pays for no padding of its own; `port` does the
mirroring.

Modules bear the names that Flax gives ours.
"""

import math
from collections import OrderedDict
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from mtvae_jax.methods import METHODS


class Output(NamedTuple):
    """**latent_loss**: β · KL, or codebook + β · commitment, averaged over the batch; **reconstructions**: float32
    [B, C, H, W], one a decoder."""

    latent_loss: torch.Tensor
    reconstructions: list[torch.Tensor]


class MultitaskVAE(nn.Module):
    """**Arguments:** `config`: of a run, resolved, as a dictionary; `image_shape`: (H, W, C).

    **Raises:** `ValueError` for settings that the twin does not have.
    """

    def __init__(self, config, image_shape):
        super().__init__()
        check(config)
        settings, method = config["model"], METHODS[config["model"]["method"]]
        *size, channels = image_shape
        self.encoder = Encoder(channels, size, settings)
        features = (settings["hidden_dims"][-1], *sizes_down(size, len(settings["hidden_dims"]))[-1])
        self.latent = LATENTS[settings["latent"]](features, settings, config["loss"]["beta"])
        self.decoder = self.conditional_decoder = None
        if method.decoder:
            self.decoder = Decoder(image_shape, self.latent.z_shape, settings, conditional=False)
        if method.conditional_decoder:
            self.conditional_decoder = Decoder(image_shape, self.latent.z_shape, settings, conditional=True)
        self.weights = config["loss"]["weights"]

    def outputs(self, images, mask=None, noise=None):
        """**Arguments:** `images`: float [B, C, H, W] in [0, 1]; `mask`: float [B, 1, H, W], None for a plain model;
        `noise`: float [B, Z] of a Gaussian z, None to draw it. **Returns:** `Output`.
        """
        z, latent_loss = self.latent(self.encoder(images), noise)
        reconstructions = [] if self.decoder is None else [self.decoder(z)]
        if self.conditional_decoder is not None:
            m = torch.cat([mask * images, mask], dim=1)
            reconstructions.append(self.conditional_decoder(z, m))
        return Output(latent_loss, reconstructions)

    def loss(self, output, images):
        """The loss of `outputs(images, …)`, a scalar."""
        terms = (w * F.mse_loss(x, images) for w, x in zip(self.weights, output.reconstructions, strict=True))
        return sum(terms, start=output.latent_loss)

    def forward(self, images, mask=None, noise=None):
        """As `outputs`. **Returns:** the loss."""
        return self.loss(self.outputs(images, mask, noise), images)


# ----------------------------------------------------------------------------------------------------- encoder, decoder


class Encoder(nn.Module):
    """Images [B, C, H, W] → features [B, hidden_dims[-1], h, w]."""

    def __init__(self, channels, size, settings):
        super().__init__()
        hidden_dims = settings["hidden_dims"]
        sizes = sizes_down(size, len(hidden_dims))
        layers = OrderedDict()
        for layer, features in enumerate(hidden_dims):
            layers[f"conv_{layer}"] = conv(channels, features, sizes[layer], settings["kernel_size"], 2)
            layers[f"norm_{layer}"] = norm_activation(features)
            channels = features
        if settings["residual_layers"]:
            layers["conv_in"] = conv(channels, channels, sizes[-1])
            layers["residual"] = ResidualStack(channels, sizes[-1], settings)
        self.layers = nn.Sequential(layers)

    def forward(self, images):
        return self.layers(images)


class Decoder(nn.Module):
    """z [B, Z] or [B, D, h, w] and, where `conditional`, m [B, C+1, H, W] → x̂ float32 [B, C, H, W]."""

    def __init__(self, image_shape, z_shape, settings, *, conditional):
        super().__init__()
        *size, channels = image_shape
        hidden_dims, residual_layers = settings["hidden_dims"], settings["residual_layers"]
        *sizes, smallest = sizes_down(size, len(hidden_dims))

        grid = len(z_shape) == 3
        start = z_shape if grid else (hidden_dims[-1], *smallest)
        self.norm_z = nn.BatchNorm2d(z_shape[0]) if conditional and grid else None
        self.merge = None
        if conditional or not grid:
            self.merge = DenseMerge(z_shape, (channels + 1, *size) if conditional else None, start)

        layers = OrderedDict()
        if grid:
            layers["conv_in"] = conv(start[0], hidden_dims[-1], smallest, bias=not residual_layers)
        if residual_layers:
            layers["residual"] = ResidualStack(hidden_dims[-1], smallest, settings)
        widths, taps = (channels, *hidden_dims), settings["kernel_size"]
        for layer in reversed(range(1, len(hidden_dims))):
            layers[f"conv_{layer}"] = conv_transpose(widths[layer + 1], widths[layer], sizes[layer], taps)
            layers[f"norm_{layer}"] = norm_activation(widths[layer])
        layers["conv_0"] = conv_transpose(widths[1], channels, sizes[0], 4, bias=True)
        self.layers = nn.Sequential(layers)

    def forward(self, z, m=None):
        x = z if self.norm_z is None else self.norm_z(z)
        if self.merge is not None:
            x = self.merge(x, m)
        return torch.sigmoid(self.layers(x).float())


# ------------------------------------------------------------------------------------------------------ where z meets m


class Dense(nn.Linear):
    """A fully connected layer between flattened arrays of these shapes, (C, h, w) or (Z,)."""

    def __init__(self, input_shape, output_shape, *, bias=True):
        super().__init__(math.prod(input_shape), math.prod(output_shape), bias=bias)
        self.input_shape, self.output_shape = input_shape, output_shape

    def forward(self, x):
        return super().forward(x.flatten(1)).unflatten(1, self.output_shape)


class DenseMerge(nn.Module):
    """z and perhaps m → [B, *output_shape]: one fully connected layer, but a product for each, as in ours."""

    def __init__(self, z_shape, m_shape, output_shape):
        super().__init__()
        self.z = Dense(z_shape, output_shape)
        self.m = Dense(m_shape, output_shape, bias=False) if m_shape else None

    def forward(self, z, m=None):
        return self.z(z) if m is None else self.z(z) + self.m(m)


# -------------------------------------------------------------------------------------------------------------- latents


class GaussianLatent(nn.Module):
    """Features [B, F, h, w] → z [B, Z] and β · KL."""

    def __init__(self, features, settings, beta):
        super().__init__()
        self.z_shape = (settings["latent_dim"],)
        self.moments = Dense(features, (2 * settings["latent_dim"],))
        self.beta = beta

    def forward(self, features, noise=None):
        mean, log_variance = self.moments(features).float().chunk(2, dim=1)
        noise = torch.randn_like(mean) if noise is None else noise
        z = mean + torch.exp(0.5 * log_variance) * noise
        kl = 0.5 * (log_variance.exp() + mean.square() - 1.0 - log_variance).sum(1)
        return z, self.beta * kl.mean()


class VectorQuantiser(nn.Module):
    """Features [B, F, h, w] → z_q [B, D, h, w] and codebook + β · commitment; codes follow the codebook's gradient."""

    def __init__(self, features, settings, beta):
        super().__init__()
        channels, *grid = features
        dim = settings["latent_dim"]
        self.z_shape = (dim, *grid)
        self.projection = conv(channels, dim, grid, 1, bias=True)
        self.codebook = nn.Parameter(torch.empty(settings["codebook_size"], dim))
        self.beta = beta
        # Outputs as small as ours at the start, and codes that are like them.
        nn.init.normal_(self.projection.weight, std=0.01 * channels**-0.5)
        nn.init.normal_(self.codebook, std=0.01)

    def forward(self, features, noise=None):
        z_e, codebook = self.projection(features).float(), self.codebook.float()
        z_q = F.embedding(nearest_codes(z_e.detach(), codebook.detach()), codebook).permute(0, 3, 1, 2)
        dim = self.z_shape[0]  # a sum over it, a mean over positions
        loss = dim * (F.mse_loss(z_q, z_e.detach()) + self.beta * F.mse_loss(z_e, z_q.detach()))
        return z_e + (z_q - z_e).detach(), loss


def nearest_codes(z_e, codebook):
    """The codes int [B, h, w] nearest to z_e [B, D, h, w] of a codebook [K, D]."""
    with torch.autocast(z_e.device.type, enabled=False):
        vectors = z_e.permute(0, 2, 3, 1)
        norms = codebook.square().sum(1)
        distances = torch.addmm(norms, vectors.reshape(-1, vectors.shape[-1]), codebook.t(), alpha=-2.0)
        return distances.argmin(1).view(vectors.shape[:3])


LATENTS = {"gaussian": GaussianLatent, "vq": VectorQuantiser}


# --------------------------------------------------------------------------------------------------------------- layers


def conv(inputs, outputs, size, taps=3, stride=1, *, bias=False):
    """A SAME convolution of maps of `size`, mirrored."""
    padding = tuple((total + 1) // 2 for total in _total_padding(size, taps, stride))
    return nn.Conv2d(inputs, outputs, taps, stride, padding, bias=bias)


def conv_transpose(inputs, outputs, size, taps, *, bias=False):
    """The transpose of `conv` at stride 2, to maps of `size`."""
    totals = _total_padding(size, taps, 2)
    padding = tuple((total + 1) // 2 for total in totals)
    extra = tuple(total % 2 for total in totals)  # of the sizes that halve to the same one, this one
    return nn.ConvTranspose2d(inputs, outputs, taps, 2, padding, output_padding=extra, bias=bias)


def norm_activation(features):
    """Batch normalisation, then LeakyReLU."""
    layers = OrderedDict(norm=nn.BatchNorm2d(features), activation=nn.LeakyReLU(0.01, inplace=True))
    return nn.Sequential(layers)


class ResidualStack(nn.Module):
    """[B, F, h, w] → [B, F, h, w] by residual layers, each x + 1×1 convolution(3×3 convolution(x))."""

    def __init__(self, features, size, settings):
        super().__init__()
        hidden, self.num_layers = settings["residual_dim"], settings["residual_layers"]
        for layer in range(self.num_layers):
            self.add_module(f"norm_in_{layer}", norm_activation(features))
            self.add_module(f"conv_{layer}", conv(features, hidden, size))
            self.add_module(f"norm_{layer}", norm_activation(hidden))
            self.add_module(f"conv_out_{layer}", conv(hidden, features, size, 1))
        self.norm = norm_activation(features)

    def forward(self, x):
        for layer in range(self.num_layers):
            hidden = x
            for name in ("norm_in", "conv", "norm", "conv_out"):
                hidden = getattr(self, f"{name}_{layer}")(hidden)
            x = x + hidden
        return self.norm(x)


def _total_padding(size, taps, stride):
    return tuple(max((-(-pixels // stride) - 1) * stride + taps - pixels, 0) for pixels in size)


def sizes_down(size, num_layers):
    """The sizes of maps from `size` down through `num_layers` layers of stride 2, largest first."""
    sizes = [tuple(size)]
    for _ in range(num_layers):
        sizes.append(tuple(-(-pixels // 2) for pixels in sizes[-1]))
    return sizes


# --------------------------------------------------------------------------------------------- what there is no twin of

_ONLY = {  # field → values that the twin has
    "model.latent": tuple(LATENTS),
    "model.normalization": ("batch",),
    "model.merge": ("dense",),
    "model.output": ("sigmoid",),
    "model.codebook_ema": (None,),
    "model.codebook_restart": (0.0,),
    "conditioning.sampling": ("exact", "uniform"),
    "train.schedule": ("constant",),
    "train.warmup_epochs": (0.0,),
    "train.clip_norm": (None,),
    "train.ema_decay": (None,),
}


def check(config):
    """**Raises:** `ValueError`, one line, for settings of `mtvae_jax` that the twin does not have."""
    for name, values in _ONLY.items():
        section, field = name.split(".")
        if config[section][field] not in values:
            allowed = " or ".join(map(repr, values))
            raise ValueError(f"config.{name} = {config[section][field]!r}: the PyTorch twin has {allowed} only")
    if config["model"]["kernel_size"] < 2:  # whose stride leaves out pixels: others than ours
        raise ValueError("config.model.kernel_size = 1: the PyTorch twin has kernels of 2 or more only")
