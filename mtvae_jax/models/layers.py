"""Convolutions and the thesis' block: convolution, batch normalisation, LeakyReLU (thesis 3.4.2)."""

import jax.numpy as jnp
from flax import linen as nn

from mtvae_jax.convolution import conv2d, conv2d_transpose

# The axis that pmap names; batch normalisation averages its statistics over it.
BATCH_AXIS = "batch"


class Conv(nn.Module):
    """A convolution with SAME padding, [B, H, W, C] → [B, ⌈H/stride⌉, ⌈W/stride⌉, features]."""

    features: int
    kernel_size: int = 3
    stride: int = 1
    use_bias: bool = True
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x):
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
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
    """Batch normalisation over the global batch, then LeakyReLU."""

    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = BATCH_AXIS

    @nn.compact
    def __call__(self, x, train):
        # Small data sets have few steps an epoch: the running statistics must follow within tens of steps.
        x = nn.BatchNorm(
            use_running_average=not train, momentum=0.9, dtype=self.dtype, axis_name=self.axis_name, name="norm"
        )(x)
        return nn.leaky_relu(x)


def _add_bias(module, x):
    bias = module.param("bias", nn.initializers.zeros_init(), (module.features,))
    return x + bias.astype(module.dtype)


def stride_two_sizes(height, width, num_layers):
    """The sizes of feature maps from the image down through `num_layers` convolutions of stride 2, largest first."""
    sizes = [(height, width)]
    for _ in range(num_layers):
        height, width = -(-height // 2), -(-width // 2)
        sizes.append((height, width))
    return sizes
