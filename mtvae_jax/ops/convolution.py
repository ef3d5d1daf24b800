"""Convolutions and transposed convolutions that are fast on CPUs too.

XLA's convolutions on CPUs are slow where training needs them most: transposed convolutions, and kernel gradients
inside a `lax.scan`, take ten to a hundred times the time of their arithmetic. Both are products of matrices in
disguise. Call *patches* the kh × kw windows of an image that its output pixels see, laid out as rows:

    gather:   images [B, H, W, C] → patches [B, h, w, kh·kw·C]    linear, copies pixels
    scatter:  patches → images                                    its transpose, adds pixels up

With the kernel read as a matrix K [kh·kw·C, D] there are three products, and the gradients of each are the other two:

    features = gather(images) K              the convolution
    images   = scatter(features Kᵀ)          the transposed convolution
    kernel   = gather(images)ᵀ features      the gradient of either with respect to the kernel
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from mtvae_jax.ops.backend import backend

_FEW_CHANNELS = 4  # those of images
_FEW_PIXELS = 4 * 4  # of which libraries make little


def conv2d(images, kernel, *, stride=1, padding="SAME", implementation=None):
    """Returns the convolution of machine learning (a cross-correlation), equal to `lax.conv_general_dilated`.

    **Arguments:** `images`: float [B, H, W, C]; `kernel`: [kh, kw, C, D] of the same dtype; `stride`: of both axes;
    `padding`: "SAME" (h = ⌈H / stride⌉), "VALID" (none) or pixels ((top, bottom), (left, right)); `implementation`:
    "lax" (on GPUs: cuDNN) or "matmul", each differentiable once, in reverse mode; or None: the faster one.
    **Returns:** [B, h, w, D] of the same dtype.
    **Raises:** `ValueError` for shapes, dtypes and settings that do not fit.
    """
    geometry = _geometry(images.shape[1:3], images.dtype, kernel, stride, padding)
    if images.shape[3:] != kernel.shape[2:3]:
        raise ValueError(f"images {images.shape} do not fit kernel {kernel.shape}: want [B, H, W, {kernel.shape[2]}]")
    conv, _ = _IMPLEMENTATIONS[_choose(implementation, geometry)]
    return conv(images, kernel, geometry)


def conv2d_transpose(features, kernel, *, stride, output_size, padding="SAME", implementation=None):
    """Returns the transpose of the linear map that `conv2d` is, from its features back to its images.

    So <conv2d(x, kernel), y> = <x, conv2d_transpose(y, kernel)> with the same kernel, stride and padding; it is no
    inverse.

    **Arguments:** `features`: float [B, h, w, D]; `kernel`: [kh, kw, C, D] of the same dtype; `output_size`: (H, W),
    the size of the images that `conv2d` would turn into h × w features (several sizes do, if the stride is not 1);
    `stride`, `padding`, `implementation`: as in `conv2d`.
    **Returns:** [B, H, W, C] of the same dtype.
    **Raises:** `ValueError` for shapes, dtypes and settings that do not fit.
    """
    geometry = _geometry(output_size, features.dtype, kernel, stride, padding)
    expected = (*geometry.feature_size, kernel.shape[3])
    if features.shape[1:] != expected:
        raise ValueError(
            f"features {features.shape}: a transposed convolution to {geometry.image_size} with kernel {kernel.shape}, "
            f"stride {stride} and padding {padding} starts from [B, {', '.join(map(str, expected))}]"
        )
    _, conv_transpose = _IMPLEMENTATIONS[_choose(implementation, geometry)]
    return conv_transpose(features, kernel, geometry)


def _choose(implementation, geometry):
    if implementation is None:
        return "lax" if backend().library_convolutions and not _is_product(geometry) else "matmul"
    if implementation not in _IMPLEMENTATIONS:
        raise ValueError(f"implementation {implementation!r}: must be {', '.join(_IMPLEMENTATIONS)} or None")
    return implementation


def _is_product(geometry):
    """Whether a convolution is hardly more than one product of matrices, for which no library need be called."""
    return math.prod(geometry.image_size) <= _FEW_PIXELS or math.prod(geometry.feature_size) == 1


class _Geometry(NamedTuple):
    """All that a convolution needs to know besides its operands; static, so hashable. Pairs are (rows, columns)."""

    image_size: tuple[int, int]
    kernel_size: tuple[int, int]
    stride: int
    padding: tuple[tuple[int, int], tuple[int, int]]  # pixels before and after

    @property
    def feature_size(self):
        return tuple(
            (size + before + after - taps) // self.stride + 1
            for size, taps, (before, after) in zip(self.image_size, self.kernel_size, self.padding, strict=True)
        )


def _geometry(image_size, dtype, kernel, stride, padding):
    if kernel.ndim != 4 or len(image_size) != 2:
        raise ValueError(f"kernel {kernel.shape} must be [kh, kw, C, D], and image size {image_size} two numbers")
    if kernel.dtype != dtype:
        raise ValueError(f"kernel of {kernel.dtype}, but operand of {dtype}: convert one of them")
    if stride < 1:
        raise ValueError(f"stride {stride}: must be at least 1")
    axes = list(zip(image_size, kernel.shape[:2], strict=True))
    if padding == "SAME":
        pairs = tuple(_same_padding(size, taps, stride) for size, taps in axes)
    elif padding == "VALID":
        pairs = ((0, 0), (0, 0))
    elif isinstance(padding, str):
        raise ValueError(f"padding {padding!r}: must be 'SAME', 'VALID' or ((top, bottom), (left, right))")
    else:
        pairs = tuple((before, after) for before, after in padding)
    geometry = _Geometry(tuple(image_size), kernel.shape[:2], stride, pairs)
    if min(geometry.feature_size) < 1:
        raise ValueError(f"image size {geometry.image_size}: too small for kernel {kernel.shape} and padding {padding}")
    return geometry


def _same_padding(size, taps, stride):
    total = max((-(-size // stride) - 1) * stride + taps - size, 0)
    return total // 2, total - total // 2  # as XLA: an odd pixel goes after


# ----------------------------------------------------------------------------------------------------------- XLA's own


def _lax_features(images, kernel, geometry):
    return lax.conv_general_dilated(
        images, kernel, (geometry.stride,) * 2, geometry.padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _lax_images(features, kernel, geometry):
    images = jax.ShapeDtypeStruct((features.shape[0], *geometry.image_size, kernel.shape[2]), features.dtype)
    (images,) = jax.linear_transpose(lambda images: _lax_features(images, kernel, geometry), images)(features)
    return images


def _lax_kernel(images, features, geometry):
    shape = (*geometry.kernel_size, images.shape[3], features.shape[3])
    kernel = jax.ShapeDtypeStruct(shape, images.dtype)
    (kernel,) = jax.linear_transpose(lambda kernel: _lax_features(images, kernel, geometry), kernel)(features)
    return kernel


def _of_one_kernel(alone, side_by_side):
    """The function `alone` of two operands and a geometry; under `jax.vmap`, `side_by_side` where there are as many
    second operands as first ones: of these JAX makes grouped convolutions, and cuDNN knows no gradients of such."""

    def product(first, second, geometry):
        @jax.custom_batching.custom_vmap
        def call(first, second):
            return alone(first, second, geometry)

        @call.def_vmap
        def _(size, batched, first, second):
            function = side_by_side if batched[1] else alone
            axes = [0 if one else None for one in batched]
            return jax.vmap(lambda first, second: function(first, second, geometry), axes)(first, second), True

        return call(first, second)

    return product


# ------------------------------------------------------------------------------------------------- products of patches


def _narrow_conv(images, kernel, geometry):
    """The convolution, by patches of whichever has fewer channels, images or features, where there is a choice."""
    if geometry.stride == 1 and kernel.shape[3] < kernel.shape[2]:
        return _matmul_conv_transpose(images, *_mirrored(kernel, geometry))
    return _matmul_conv(images, kernel, geometry)


def _narrow_conv_transpose(features, kernel, geometry):
    if geometry.stride == 1 and kernel.shape[3] < kernel.shape[2]:
        return _matmul_conv(features, *_mirrored(kernel, geometry))
    return _matmul_conv_transpose(features, kernel, geometry)


def _narrow_kernel(images, features, geometry):
    """The gradient of either with respect to the kernel."""
    if geometry.stride == 1 and features.shape[3] < images.shape[3]:
        return _turned(_to_kernel(features, images, _mirrored_geometry(geometry)))
    return _to_kernel(images, features, geometry)


def _mirrored(kernel, geometry):
    """The convolution whose transpose is the given one of stride 1: images and features change places."""
    return _turned(kernel), _mirrored_geometry(geometry)


def _turned(kernel):
    return kernel[::-1, ::-1].swapaxes(2, 3)


def _mirrored_geometry(geometry):
    padding = tuple(
        (taps - 1 - before, taps - 1 - after)
        for taps, (before, after) in zip(geometry.kernel_size, geometry.padding, strict=True)
    )
    return _Geometry(geometry.feature_size, geometry.kernel_size, 1, padding)


def _to_features(images, kernel, geometry):
    """gather(images) K: images [B, H, W, C] → features [B, h, w, D]."""
    matrix = _matrix(kernel)

    def product(images):
        return _dot(_gather(images, geometry), matrix, ((3,), (0,))).astype(images.dtype)

    return _map_slices(product, images, _num_slices(images.shape[0], kernel.shape[2], geometry))


def _to_images(features, kernel, geometry):
    """scatter(features Kᵀ): features [B, h, w, D] → images [B, H, W, C]."""
    matrix = _matrix(kernel)

    def product(features):
        return _scatter(_dot(features, matrix, ((3,), (1,))), geometry).astype(features.dtype)

    return _map_slices(product, features, _num_slices(features.shape[0], kernel.shape[2], geometry))


def _to_kernel(images, features, geometry):
    """gather(images)ᵀ features: images [B, H, W, C], features [B, h, w, D] → kernel [kh, kw, C, D]."""
    channels, num_features = images.shape[3], features.shape[3]

    def product(images, features):
        # As matrices: of higher rank, XLA would first turn the patches, which takes as long as the product.
        patches = _gather(images, geometry)
        patches, features = patches.reshape(-1, patches.shape[3]), features.reshape(-1, num_features)
        if num_features >= patches.shape[1] or not backend().eigen:
            return _dot(patches, features, ((0,), (0,)))
        # Eigen copies the first operand of such a product: let it be the narrower one, which XLA must not see through.
        return lax.optimization_barrier(_dot(features, patches, ((0,), (0,)))).T

    matrix = _sum_slices(product, images, features, _num_slices(images.shape[0], channels, geometry))
    return matrix.reshape(*geometry.kernel_size, channels, num_features).astype(images.dtype)


def _matrix(kernel):
    return kernel.reshape(-1, kernel.shape[3])


def _dot(a, b, contracted_axes):
    """The product summed in at least float32, and returned so.

    On CPUs narrow operands are widened first, which is exact: not all have products of bfloat16 into float32.
    """
    dtype = jnp.promote_types(a.dtype, jnp.float32)
    if backend().eigen:
        a, b = a.astype(dtype), b.astype(dtype)
    return lax.dot_general(a, b, (contracted_axes, ((), ())), preferred_element_type=dtype)


def _gather(images, geometry):
    """Images [B, H, W, C] → patches [B, h, w, kh·kw·C]."""
    if geometry.image_size == geometry.kernel_size and not any(map(sum, geometry.padding)):
        return images.reshape(images.shape[0], 1, 1, -1)
    if images.shape[3] <= _FEW_CHANNELS:
        return _gather_by_axis(images, geometry)
    stride, (height, width) = geometry.stride, geometry.feature_size
    rows, columns = geometry.kernel_size
    padding = [(0, 0, 0), *((*pair, 0) for pair in geometry.padding), (0, 0, 0)]
    images = lax.pad(images, jnp.zeros((), images.dtype), padding)
    taps = [
        images[:, row : row + stride * (height - 1) + 1 : stride, column : column + stride * (width - 1) + 1 : stride]
        for row in range(rows)
        for column in range(columns)
    ]
    return jnp.concatenate(taps, axis=3)


def _gather_by_axis(images, geometry):
    """`_gather`, one axis after the other: moves more bytes, but hardly ever as few at a time as there are channels."""
    for axis in (1, 0):  # columns first, so that taps of a row lie side by side
        taps, (before, after) = geometry.kernel_size[axis], geometry.padding[axis]
        padding = [(0, 0, 0)] * 4
        padding[axis + 1] = (before, after, 0)
        images = lax.pad(images, jnp.zeros((), images.dtype), padding)
        last = geometry.stride * (geometry.feature_size[axis] - 1)
        images = jnp.concatenate(
            [lax.slice_in_dim(images, tap, tap + last + 1, geometry.stride, axis + 1) for tap in range(taps)], axis=3
        )
    return images


def _scatter(patches, geometry):
    """The transpose of `_gather`: patches [B, h, w, kh·kw·C] → images [B, H, W, C], one axis after the other."""
    rows, columns = geometry.kernel_size
    patches = patches.reshape(*patches.shape[:3], rows, -1)
    taps = [patches[:, :, :, row] for row in range(rows)]  # [B, h, w, kw·C]
    patches = _overlap_add(taps, 1, geometry.image_size[0], geometry.stride, geometry.padding[0][0])
    patches = patches.reshape(*patches.shape[:3], columns, -1)
    taps = [patches[:, :, :, column] for column in range(columns)]  # [B, H, w, C]
    return _overlap_add(taps, 2, geometry.image_size[1], geometry.stride, geometry.padding[1][0])


def _overlap_add(taps, axis, size, stride, before):
    """Adds entry n of tap t to pixel stride · n + t − before of `size` pixels along `axis`.

    The pixels stride · q + phase of one phase are reached by every stride-th tap alone, each a shift along q: so the
    phases are sums of shifted arrays, and the pixels are the phases interleaved.
    """
    blocks = -(-size // stride)
    zero = jnp.zeros((), taps[0].dtype)
    phases = []
    for phase in range(stride):
        shape = list(taps[0].shape)
        shape[axis] = blocks
        total = jnp.zeros(shape, taps[0].dtype)
        for t, tap in enumerate(taps):
            shift, rest = divmod(t - before, stride)
            if rest == phase:
                padding = [(0, 0, 0)] * tap.ndim
                padding[axis] = (shift, blocks - shift - tap.shape[axis], 0)
                total = total + lax.pad(tap, zero, padding)
        phases.append(total)
    if stride == 1:
        return phases[0]
    interleaved = jnp.stack(phases, axis + 1)
    pixels = interleaved.reshape(*shape[:axis], blocks * stride, *shape[axis + 1 :])
    return lax.slice_in_dim(pixels, 0, size, axis=axis)


def _num_slices(batch, channels, geometry):
    """Into how many equal slices a batch is cut: as few as their patches in float32 allow."""
    bound = backend().patch_bytes
    if bound is None:
        return 1
    image_bytes = 4 * math.prod(geometry.feature_size) * math.prod(geometry.kernel_size) * channels
    most = max(bound // image_bytes, 1)
    return next(n for n in range(1, batch + 1) if batch % n == 0 and batch // n <= most)


def _split(batch, num_slices):
    return batch.reshape(num_slices, -1, *batch.shape[1:])


def _map_slices(function, batch, num_slices):
    if num_slices == 1:
        return function(batch)
    results = lax.map(function, _split(batch, num_slices))
    return results.reshape(-1, *results.shape[2:])


def _sum_slices(function, images, features, num_slices):
    if num_slices == 1:
        return function(images, features)
    slices = _split(images, num_slices), _split(features, num_slices)
    start = jax.tree.map(jnp.zeros_like, jax.eval_shape(function, images, features))
    total, _ = lax.scan(lambda total, operands: (total + function(*operands), None), start, slices)
    return total


# ------------------------------------------------------------------------------------------------- with their gradients
# Derived by JAX, the gradients would keep the patches from the forward pass and undo their gathering copy by copy, and
# the kernel gradient of a transposed convolution would be of no form in which XLA recognises one of cuDNN's. Hence
# custom_vjp: the gradients are the products of the module's docstring, and what is saved for them is small.


def _differentiable(to_features, to_images, to_kernel):
    """The convolution and the transposed convolution, from the three products."""

    @functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
    def conv(images, kernel, geometry):
        return to_features(images, kernel, geometry)

    def conv_forward(images, kernel, geometry):
        return to_features(images, kernel, geometry), (images, kernel)

    def conv_backward(geometry, saved, gradient):
        images, kernel = saved
        return to_images(gradient, kernel, geometry), to_kernel(images, gradient, geometry)

    @functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
    def conv_transpose(features, kernel, geometry):
        return to_images(features, kernel, geometry)

    def conv_transpose_forward(features, kernel, geometry):
        return to_images(features, kernel, geometry), (features, kernel)

    def conv_transpose_backward(geometry, saved, gradient):
        features, kernel = saved
        return to_features(gradient, kernel, geometry), to_kernel(gradient, features, geometry)

    conv.defvjp(conv_forward, conv_backward)
    conv_transpose.defvjp(conv_transpose_forward, conv_transpose_backward)
    return conv, conv_transpose


_matmul_conv, _matmul_conv_transpose = _differentiable(_to_features, _to_images, _to_kernel)
_IMPLEMENTATIONS = {
    "lax": _differentiable(
        _of_one_kernel(_lax_features, _narrow_conv),
        _of_one_kernel(_lax_images, _narrow_conv_transpose),
        _of_one_kernel(_lax_kernel, _narrow_kernel),
    ),
    "matmul": (_narrow_conv, _narrow_conv_transpose),
}
