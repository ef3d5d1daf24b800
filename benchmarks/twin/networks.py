"""All models of `mtvae_jax` in PyTorch, layer by layer, as a careful user of PyTorch would write them.

A layer of stride 2 is the mirror image of ours. Where SAME padding has an odd pixel, XLA puts it behind the image;
PyTorch pads both sides alike and leaves out what no window reaches, which puts it in front. So with all kernels
mirrored this is our function of mirrored images, exactly, and PyTorch pays for no padding of its own; `port` does the
mirroring.

Modules bear the names that Flax gives ours.
"""

from collections import OrderedDict
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from mtvae_jax.methods import METHODS


class Output(NamedTuple):
    """**latent_loss**: β · KL, or codebook + β · commitment, averaged over the batch; **reconstructions**: a list of
    x̂ float32 [B, C, H, W], one a decoder."""

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
        self.encoder = Encoder(channels, size, settings, residual_layers=settings["residual_layers"])
        features = (settings["hidden_dims"][-1], *sizes_down(size, len(settings["hidden_dims"]))[-1])
        latent = GaussianLatent if settings["latent"] == "gaussian" else VectorQuantiser
        self.latent = latent(features, settings, config["loss"]["beta"])
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

    def __init__(self, channels, size, settings, *, residual_layers):
        super().__init__()
        hidden_dims, normalise = settings["hidden_dims"], settings["normalization"] == "batch"
        sizes = sizes_down(size, len(hidden_dims))
        layers = OrderedDict()
        for layer, features in enumerate(hidden_dims):
            layers[f"conv_{layer}"] = conv(
                channels, features, sizes[layer], settings["kernel_size"], 2, bias=not normalise
            )
            layers[f"norm_{layer}"] = norm_activation(features, normalise)
            channels = features
        if residual_layers:
            layers["conv_in"] = conv(channels, channels, sizes[-1], bias=not normalise)
            layers["residual"] = ResidualStack(channels, sizes[-1], settings, residual_layers)
        self.normalise = normalise
        self.layers = nn.Sequential(layers)

    def forward(self, images):
        return self.layers(images if self.normalise else images - 0.5)


class Decoder(nn.Module):
    """z [B, Z] or [B, D, h, w] and, where `conditional`, m [B, C+1, H, W] → x̂ float32 [B, C, H, W]."""

    def __init__(self, image_shape, z_shape, settings, *, conditional):
        super().__init__()
        *size, channels = image_shape
        hidden_dims, normalise = settings["hidden_dims"], settings["normalization"] == "batch"
        *sizes, smallest = sizes_down(size, len(hidden_dims))

        grid = len(z_shape) == 3
        start = z_shape if grid else (hidden_dims[-1], *smallest)
        self.merge = self.norm_z = None
        if conditional and grid and normalise:
            self.norm_z = nn.BatchNorm2d(z_shape[0])
        if conditional and settings["merge"] == "spatial":
            self.merge = SpatialMerge(z_shape, (channels + 1, *size), start, settings)
        elif conditional or not grid:
            self.merge = DenseMerge([z_shape, (channels + 1, *size)] if conditional else [z_shape], start)

        layers = OrderedDict()
        if grid:
            bias = not (normalise and settings["residual_layers"])
            layers["conv_in"] = conv(start[0], hidden_dims[-1], smallest, bias=bias)
        if settings["residual_layers"]:
            layers["residual"] = ResidualStack(hidden_dims[-1], smallest, settings, settings["residual_layers"])
        widths = (channels, *hidden_dims)
        for layer in reversed(range(1, len(hidden_dims))):
            layers[f"conv_{layer}"] = conv_transpose(
                widths[layer + 1], widths[layer], sizes[layer], settings["kernel_size"], bias=not normalise
            )
            layers[f"norm_{layer}"] = norm_activation(widths[layer], normalise)
        layers["conv_0"] = conv_transpose(widths[1], channels, sizes[0], 4, bias=True)
        self.layers = nn.Sequential(layers)
        self.output = settings["output"]

    def forward(self, z, m=None):
        x = z
        if self.norm_z is not None:
            x = self.norm_z(x)
        if self.merge is not None:
            x = self.merge(x) if m is None else self.merge(x, m)
        x = self.layers(x).float()
        return torch.sigmoid(x) if self.output == "sigmoid" else x + 0.5


# ------------------------------------------------------------------------------------------------------ where z meets m


class Dense(nn.Linear):
    """A fully connected layer between flattened arrays.

    **Arguments:** `input_shapes`: a list of (C, h, w) or (Z,), what is flattened and concatenated; `output_shape`.
    """

    def __init__(self, input_shapes, output_shape, *, bias=True):
        super().__init__(sum(map(num_values, input_shapes)), num_values(output_shape), bias=bias)
        self.input_shapes, self.output_shape = input_shapes, output_shape

    def forward(self, *inputs):
        flat = [x.flatten(1) for x in inputs]
        x = super().forward(flat[0] if len(flat) == 1 else torch.cat(flat, dim=1))
        return x.unflatten(1, self.output_shape)


class DenseMerge(nn.Module):
    """z and perhaps m → [B, *output_shape]: one fully connected layer, but a product for each, as in ours."""

    def __init__(self, input_shapes, output_shape):
        super().__init__()
        self.z = Dense(input_shapes[:1], output_shape)
        self.m = Dense(input_shapes[1:], output_shape, bias=False) if len(input_shapes) > 1 else None

    def forward(self, z, m=None):
        return self.z(z) if m is None else self.z(z) + self.m(m)


class SpatialMerge(nn.Module):
    """z and m → [B, *output_shape], m brought to the grid of z by layers of stride 2."""

    def __init__(self, z_shape, m_shape, output_shape, settings):
        super().__init__()
        self.m = Encoder(m_shape[0], m_shape[1:], settings | {"kernel_size": 3}, residual_layers=0)
        self.z = DenseMerge([z_shape], output_shape) if len(z_shape) == 1 else None
        channels = output_shape[0] + settings["hidden_dims"][-1]
        self.conv = conv(channels, output_shape[0], output_shape[1:], bias=True)

    def forward(self, z, m):
        return self.conv(torch.cat([z if self.z is None else self.z(z), self.m(m)], dim=1))


# -------------------------------------------------------------------------------------------------------------- latents


class GaussianLatent(nn.Module):
    """Features [B, F, h, w] → z [B, Z] and β · KL."""

    def __init__(self, features, settings, beta):
        super().__init__()
        self.z_shape = (settings["latent_dim"],)
        self.moments = Dense([features], (2 * settings["latent_dim"],))
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


# --------------------------------------------------------------------------------------------------------------- layers


def conv(inputs, outputs, size, taps=3, stride=1, *, bias):
    """A SAME convolution of maps of `size`, mirrored."""
    padding = tuple((total + 1) // 2 for total in _total_padding(size, taps, stride))
    return nn.Conv2d(inputs, outputs, taps, stride, padding, bias=bias)


def conv_transpose(inputs, outputs, size, taps, *, bias):
    """The transpose of `conv` at stride 2, to maps of `size`."""
    totals = _total_padding(size, taps, 2)
    padding = tuple((total + 1) // 2 for total in totals)
    extra = tuple(total % 2 for total in totals)  # of the sizes that halve to the same one, this one
    return nn.ConvTranspose2d(inputs, outputs, taps, 2, padding, output_padding=extra, bias=bias)


def norm_activation(features, normalise):
    """Batch normalisation, unless `normalise` is off, then LeakyReLU."""
    if not normalise:
        return nn.LeakyReLU(0.01)
    layers = OrderedDict(norm=nn.BatchNorm2d(features), activation=nn.LeakyReLU(0.01, inplace=True))
    return nn.Sequential(layers)


class ResidualStack(nn.Module):
    """[B, F, h, w] → [B, F, h, w] by residual layers, each x + 1×1 convolution(3×3 convolution(x))."""

    def __init__(self, features, size, settings, num_layers):
        super().__init__()
        hidden, normalise = settings["residual_dim"], settings["normalization"] == "batch"
        self.num_layers = num_layers
        for layer in range(num_layers):
            self.add_module(f"norm_in_{layer}", norm_activation(features, normalise))
            self.add_module(f"conv_{layer}", conv(features, hidden, size, bias=not normalise))
            self.add_module(f"norm_{layer}", norm_activation(hidden, normalise))
            self.add_module(f"conv_out_{layer}", conv(hidden, features, size, 1, bias=not normalise))
        self.norm = norm_activation(features, normalise)

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


def num_values(shape):
    return torch.Size(shape).numel()


# --------------------------------------------------------------------------------------------- what there is no twin of

_ONLY = {  # field → values that the twin has
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
