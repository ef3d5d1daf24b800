"""What a decoder leaves open about a pixel: the noise of p(x|z, m), as it was on images held out."""

import numpy as np

_BINS = 64
_MOST_RESIDUALS = 1 << 14  # a bin


class PixelNoise:
    """Residuals x − x̂ of held-out pixels, by what was predicted for them.

    The Gaussian of the objective has one variance for all pixels, too large for those that are black for certain and
    too small for the edges of a stroke. As a likelihood for training that is no matter; to say how far off a prediction
    may be it is. So the noise added to a prediction is drawn from the residuals of predictions like it.

    **Arguments:** `predicted`, `truth`: float [N], intensities of held-out pixels.
    """

    def __init__(self, predicted, truth):
        order = np.argsort(predicted, kind="stable")
        residuals = (truth - predicted)[order]
        parts = np.array_split(np.arange(len(order)), _BINS)  # as many pixels in each bin
        self._edges = np.array([predicted[order[part[0]]] for part in parts[1:]])
        strides = [max(1, len(part) // _MOST_RESIDUALS) for part in parts]
        self._residuals = [residuals[part[::stride]] for part, stride in zip(parts, strides, strict=True)]

    def __call__(self, predicted, generator):
        """Intensities that may be observed where `predicted` is: float32 of its shape, clipped to [0, 1].

        **Arguments:** `predicted`: float [...]; `generator`: a `np.random.Generator`.
        """
        flat = np.ravel(predicted)
        bins = np.searchsorted(self._edges, flat)  # of bins that begin alike the first: it holds nothing else
        noise = np.empty(len(flat), np.float32)
        for index, residuals in enumerate(self._residuals):
            here = bins == index
            noise[here] = generator.choice(residuals, here.sum())
        return np.clip(flat + noise, 0.0, 1.0).reshape(np.shape(predicted)).astype(np.float32)
