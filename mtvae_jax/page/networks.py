"""The networks of `mtvae_jax.models` as operations of a `Graph`, for one trained model."""

from typing import NamedTuple

import numpy as np

from mtvae_jax.errors import UserError
from mtvae_jax.methods import METHODS
from mtvae_jax.models.latents import LATENTS
from mtvae_jax.models.layers import stride_two_sizes
from mtvae_jax.ops.normalisation import EPSILON
from mtvae_jax.page.graph import Graph
from mtvae_jax.settings import listed

_SLOPE = 0.01  # of LeakyReLU below zero


class Program(NamedTuple):
    """**graph**: from `x` [B, H, W, C], `m` [B, H, W, C+1], `noise` [B, Z], `z` and `z_alone` [B, Z] to the values that
    are named here: **mean** of q(z|x); **drawn**: z from p(z|m); **conditioned**: x̂ from z and m; **alone**: x̂ from
    `z_alone`, None where the conditional decoder with an empty m stands in for it.
    """

    graph: Graph
    mean: str
    drawn: str
    conditioned: str
    alone: str | None


def describe(model, *, fold=True):
    """Returns the `Program` of a trained model.

    **Arguments:** `model`: a `mtvae_jax.trained.model.Model`; `fold`: take batch normalisation into convolutions.
    **Raises:** `UserError` for a model that a page does not support.
    """
    require_supported(model)
    height, width, _ = model.image_shape
    sizes = stride_two_sizes(height, width, len(model.config.model.hidden_dims))
    graph = Graph()
    layers = _Layers(graph, model.variables["params"], model.variables.get("batch_stats", {}))
    features = _encoder(layers.within("encoder"), "x")
    mean = _mean(layers.within("latent"), features, model.config.model.latent_dim)
    seen = _MERGES[model.config.model.merge].network(layers, "m", sizes)
    alone = _decoder(layers.within("decoder"), model.config, sizes, "z_alone", None) if model.method.decoder else None
    conditioned = _decoder(layers.within("conditional_decoder"), model.config, sizes, "z", seen)
    drawn = _prior(graph, model, seen, sizes)
    program = Program(graph, mean, drawn, conditioned, alone)
    if fold:
        graph.fold([name for name in program[1:] if name is not None])
    return program


def require_supported(model):
    """Raises `UserError`, which says what a page supports."""
    settings = model.config.model
    methods = [name for name, method in METHODS.items() if method.conditional_decoder and method.unconditioned]
    kinds = [name for name, latent in LATENTS.items() if latent.prior == "gaussian"]
    wrong = None
    if settings.latent not in kinds:
        wrong = f"model.latent = {settings.latent!r}"
    elif settings.method not in methods:
        wrong = f"model.method = {settings.method!r}"
    elif settings.merge not in _MERGES:
        wrong = f"model.merge = {settings.merge!r}"
    elif model.prior is None or not model.prior.sees_pixels:
        wrong = "no p(z|m), which config.prior.joint or a second stage learns"
    if wrong is not None:
        raise UserError(
            f"the model has {wrong}: a page is made of a model with the latent {listed(kinds)}, the method "
            f"{listed(methods)}, the merge {listed(_MERGES)}, and a p(z|m)"
        )


class _Layers:
    """Layers whose weights are found by the names that Flax has given them.

    **Arguments:** `graph`; `params`, `stats`: parameters and batch statistics, nested dicts.
    """

    def __init__(self, graph, params, stats):
        self.graph = graph
        self._params = params
        self._stats = stats

    def __contains__(self, name):
        return name in self._params

    def within(self, name):
        """Returns the layers of a module; none where it has no parameters."""
        return _Layers(self.graph, self._params.get(name, {}), self._stats.get(name, {}))

    def arrays(self, name):
        """Returns the parameters of a layer, name → float32 array; without a bias None stands for it."""
        return {"bias": None} | {role: np.asarray(value, np.float32) for role, value in self._params[name].items()}

    def statistic(self, name):
        """Returns a batch statistic of the module itself, float32."""
        return np.asarray(self._stats[name], np.float32)

    def conv(self, x, name, stride=1):
        return self.graph.conv(x, **self.arrays(name), stride=stride)

    def conv_transpose(self, x, name, size):
        return self.graph.conv_transpose(x, **self.arrays(name), size=size)

    def dense(self, x, name, shape=None):
        return self.graph.dense(x, **self.arrays(name), shape=shape)

    def norm_activation(self, x, name):
        if name in self:
            params, stats = self._params[name]["norm"], self._stats[name]["norm"]
            mean, variance = (np.asarray(stats[role], np.float64) for role in ("mean", "var"))
            scale = np.asarray(params["scale"], np.float64) / np.sqrt(variance + EPSILON)
            x = self.graph.affine(x, scale, np.asarray(params["bias"], np.float64) - mean * scale)
        return self.graph.leaky(x, _SLOPE)

    def residual(self, x):
        """Returns a `ResidualStack`."""
        layers, layer = self.within("residual"), 0
        while f"conv_{layer}" in layers:
            hidden = layers.conv(layers.norm_activation(x, f"norm_in_{layer}"), f"conv_{layer}")
            hidden = layers.conv(layers.norm_activation(hidden, f"norm_{layer}"), f"conv_out_{layer}")
            x = self.graph.add(x, hidden)
            layer += 1
        return layers.norm_activation(x, "norm") if layer else x


def _encoder(layers, x):
    layer = 0
    if "norm_0" not in layers:
        channels = layers.arrays("conv_0")["kernel"].shape[2]
        x = layers.graph.affine(x, np.ones(channels), np.full(channels, -0.5))
    while f"conv_{layer}" in layers:
        x = layers.norm_activation(layers.conv(x, f"conv_{layer}", 2), f"norm_{layer}")
        layer += 1
    if "conv_in" in layers:
        x = layers.conv(x, "conv_in")
    return layers.residual(x)


def _mean(layers, features, latent_dim):
    """The mean of q(z|x); its variance is not asked for."""
    moments = layers.arrays("moments")
    return layers.graph.dense(features, moments["kernel"][:, :latent_dim], moments["bias"][:latent_dim])


def _decoder(layers, config, sizes, z, seen):
    smallest, last = sizes[-1], config.model.hidden_dims[-1]
    merge = layers.within("merge")
    if seen is None:
        x, finer = merge.dense(z, "z", (*smallest, last)), ()
    else:
        kind = _MERGES[config.model.merge]
        x, finer = kind.merge(merge, z, seen, (*smallest, last)), kind.finer(seen)

    def joined(x, layer):
        return layers.graph.add(x, layers.conv(finer[layer], f"context_{layer}")) if finer else x

    def larger(x, layer):
        x = joined(layers.conv_transpose(x, f"conv_{layer}", sizes[layer]), layer)
        return layers.norm_activation(x, f"norm_{layer}")

    x = layers.residual(x)
    for layer in reversed(range(1, len(sizes) - 1)):
        x = larger(x, layer)
    return _OUTPUTS[config.model.output](layers.graph, _HEADS[config.model.head](layers, x, sizes[0], joined, larger))


def _strided(layers, x, size, joined, larger):
    return joined(layers.conv_transpose(x, "conv_0", size), 0)


def _full(layers, x, size, joined, larger):
    return layers.conv(larger(x, 0), "conv_out")


def _linear(graph, x):
    # Of whatever number of channels: the one of the value is enough
    return graph.affine(x, np.ones(1), np.full(1, 0.5))


# As `mtvae_jax.models.decoder` has them
_HEADS = {"strided": _strided, "full": _full}
_OUTPUTS = {"sigmoid": Graph.sigmoid, "linear": _linear}


def _prior(graph, model, seen, sizes):
    """z from p(z|m)."""
    variables = model.prior.variables
    params, stats = variables["params"], variables.get("batch_stats", {})
    layers = _Layers(graph, params, stats)
    if model.config.prior.joint:
        layers = layers.within("prior")
    if "encoder" not in layers:  # it sees what the decoder sees
        features = seen[-1]
    elif "network" in layers.within("encoder"):
        features = _context(layers.within("encoder").within("network"), "m", sizes)[-1]
    else:
        features = _encoder(layers.within("encoder"), "m")
    hidden = graph.leaky(layers.dense(features, "hidden"), _SLOPE)
    return graph.normal(layers.dense(hidden, "moments"), "noise")


# --------------------------------------------------------------------------------------- where z meets what is revealed


def _context(layers, m, sizes):
    """The maps of a `ContextNetwork`; `sizes`: from the image down to the grid of z."""
    graph, depth, num_layers = layers.graph, 0, len(sizes) - 1
    while f"down_{depth}" in layers:
        depth += 1
    sizes = stride_two_sizes(*sizes[0], depth)
    guess = _guess(layers.within("guess"), m) if "guess" in layers else None
    filled = graph.push_pull(m, depth) if guess is None else graph.fill(m, guess, depth)
    maps = [filled[0]]
    for layer in range(depth):
        x = graph.add(layers.conv(maps[-1], f"down_{layer}", 2), layers.conv(filled[layer + 1], f"filled_{layer}"))
        maps.append(layers.norm_activation(x, f"norm_{layer}"))
    for layer in reversed(range(num_layers, depth)):
        x = layers.conv_transpose(maps[layer + 1], f"up_{layer}", sizes[layer])
        x = graph.add(x, layers.conv(maps[layer], f"across_{layer}"))
        maps[layer] = layers.norm_activation(x, f"norm_up_{layer}")
    maps[num_layers] = layers.residual(maps[num_layers])
    return tuple(maps[: num_layers + 1])


def _guess(layers, m):
    """A `FactorGuess`."""
    mean, loadings, noise = (layers.statistic(name) for name in ("mean", "loadings", "noise"))
    f, with_deviations, _ = layers.graph.factors(m, mean, loadings, noise)
    x, block = layers.dense(with_deviations, "in"), 0
    while f"hidden_{block}" in layers:
        hidden = layers.dense(layers.norm_activation(x, f"norm_in_{block}"), f"hidden_{block}")
        hidden = layers.dense(layers.norm_activation(hidden, f"norm_{block}"), f"out_{block}")
        x = layers.graph.add(x, hidden)
        block += 1
    f = layers.graph.add(f, layers.dense(layers.norm_activation(x, "norm"), "beyond"))
    return layers.graph.dense(f, loadings.T, mean.reshape(-1), shape=mean.shape)


class _Dense:
    """A `DenseMerge`; what follows are the other entries of `mtvae_jax.models.merge.MERGES`."""

    @staticmethod
    def network(layers, m, sizes):
        return m

    @staticmethod
    def finer(seen):
        return ()

    @staticmethod
    def merge(layers, z, m, shape):
        return layers.graph.add(layers.dense(z, "z", shape), layers.dense(m, "m", shape))


class _Spatial(_Dense):
    @staticmethod
    def merge(layers, z, m, shape):
        z = layers.within("z").dense(z, "z", shape)
        return layers.conv(layers.graph.concat(z, _encoder(layers.within("m"), m)), "conv")


class _Context(_Dense):
    @staticmethod
    def network(layers, m, sizes):
        return _context(layers.within("context"), m, sizes)

    @staticmethod
    def finer(seen):
        return seen[:-1]

    @staticmethod
    def merge(layers, z, seen, shape):
        z = layers.within("z").dense(z, "z", shape)
        return layers.norm_activation(layers.conv(layers.graph.concat(z, seen[-1]), "conv"), "norm")


_MERGES = {"dense": _Dense, "spatial": _Spatial, "context": _Context}
