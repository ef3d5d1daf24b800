"""Convolutions and the thesis' block: convolution, batch normalisation, LeakyReLU (thesis 3.4.2)."""

import jax.numpy as jnp
from flax import linen as nn

from mtvae_jax.ops.convolution import conv2d, conv2d_transpose
from mtvae_jax.ops.normalisation import batch_norm, normalise

# The axis that pmap names; batch normalisation averages its statistics over it.
BATCH_AXIS = "batch"

_SLOPE = 0.01  # of LeakyReLU below zero


class Conv(nn.Module):
    """A convolution with SAME padding, [B, H, W, C] → [B, ⌈H/stride⌉, ⌈W/stride⌉, features]."""

    features: int
    kernel_size: int = 3
    stride: int = 1
    use_bias: bool = True
    init_variance: float = 1.0  # of the outputs for inputs of variance 1
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x):
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        init = nn.initializers.variance_scaling(self.init_variance, "fan_in", "truncated_normal")
        kernel = self.param("kernel", init, shape)
        x = conv2d(x.astype(self.dtype), kernel.astype(self.dtype), stride=self.stride)
        return _add_bias(self, x) if self.use_bias else x


class ConvTranspose(nn.Module):
    """The transpose of `Conv` on images of `output_size`, [B, h, w, C] → [B, *output_size, features]."""

    features: int
    output_size: tuple[int, int]
    kernel_size: int = 3
    stride: int = 2
    use_bias: bool = True
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x):
        shape = (self.kernel_size, self.kernel_size, self.features, x.shape[-1])
        kernel = self.param("kernel", nn.initializers.lecun_normal(in_axis=-1, out_axis=-2), shape)
        x = conv2d_transpose(
            x.astype(self.dtype), kernel.astype(self.dtype), stride=self.stride, output_size=self.output_size
        )
        return _add_bias(self, x) if self.use_bias else x


class NormActivation(nn.Module):
    """Batch normalisation over the global batch, unless `normalise` is off, then LeakyReLU."""

    normalise: bool = True
    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = BATCH_AXIS

    @nn.compact
    def __call__(self, x, train):
        if not self.normalise:
            return nn.leaky_relu(x, _SLOPE)
        return BatchNorm(_SLOPE, self.dtype, self.axis_name, name="norm")(x, train)


class BatchNorm(nn.Module):
    """Batch normalisation by the batch or, when not in training, by running statistics, and the activation behind it.

    **Arguments:** `slope`: of a LeakyReLU below zero, 1 for no activation.
    """

    slope: float = 1.0
    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = BATCH_AXIS

    @nn.compact
    def __call__(self, x, train):
        channels = x.shape[-1:]
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, channels)
        running_variance = self.variable("batch_stats", "var", jnp.ones, channels)
        scale = self.param("scale", nn.initializers.ones_init(), channels)
        bias = self.param("bias", nn.initializers.zeros_init(), channels)
        x = x.astype(self.dtype)
        if not train:
            return normalise(x, running_mean.value, running_variance.value, scale, bias, slope=self.slope)
        initialising = self.is_initializing()  # outside of the mapped axis, and of one image
        y, mean, variance = batch_norm(
            x, scale, bias, slope=self.slope, axis_name=None if initialising else self.axis_name
        )
        if not initialising:
            # Small data sets have few steps an epoch: the running statistics must follow within tens of steps.
            for running, new in ((running_mean, mean), (running_variance, variance)):
                running.value = (0.9 * running.value + 0.1 * new).astype(running.value.dtype)
        return y


class ResidualStack(nn.Module):
    """Residual layers at one resolution, [B, h, w, F] → [B, h, w, F]; nothing at all for `num_layers` = 0.

    A layer is x + 1×1 convolution(3×3 convolution(x)) (van den Oord et al. 2017, section 4.1), normalisation and
    activation in front of each convolution and once behind the last layer, so that what is passed on is never cut off.

    **Arguments:** `num_layers`; `hidden_dim`: channels between the two convolutions of a layer.
    """

    num_layers: int
    hidden_dim: int
    normalise: bool = True
    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = BATCH_AXIS

    @nn.compact
    def __call__(self, x, train):
        def norm_activation(x, name):
            return NormActivation(self.normalise, self.dtype, self.axis_name, name=name)(x, train)

        def conv(x, features, kernel_size, name):
            # All paths lead to a batch normalisation, which takes any bias away again.
            return Conv(features, kernel_size, use_bias=not self.normalise, dtype=self.dtype, name=name)(x)

        for layer in range(self.num_layers):
            hidden = conv(norm_activation(x, f"norm_in_{layer}"), self.hidden_dim, 3, f"conv_{layer}")
            x = x + conv(norm_activation(hidden, f"norm_{layer}"), x.shape[-1], 1, f"conv_out_{layer}")
        return norm_activation(x, "norm") if self.num_layers else x


def _add_bias(module, x):
    bias = module.param("bias", nn.initializers.zeros_init(), (module.features,))
    return x + bias.astype(module.dtype)


def stride_two_sizes(height, width, num_layers):
    """Returns the sizes of feature maps from the image down through `num_layers` convolutions of stride 2, largest
    first.
    """
    sizes = [(height, width)]
    for _ in range(num_layers):
        height, width = -(-height // 2), -(-width // 2)
        sizes.append((height, width))
    return sizes
