"""What a decoder leaves open about a pixel: the noise of p(x|z, m), as it was on images held out."""

import itertools

import numpy as np

_BINS = 64
_MOST_RESIDUALS = 1 << 14  # a bin


class PixelNoise:
    """Residuals x − x̂ of held-out pixels, by what was predicted for them.

    The Gaussian of the objective has one variance for all pixels, too large for those that are black for certain and
    too small for the edges of a stroke. As a likelihood for training that is no matter; to say how far off a prediction
    may be it is. So the noise added to a prediction is drawn from the residuals of predictions like it.

    **Arguments:** `predicted`, `truth`: float [N], intensities of held-out pixels, N at least 1.
    """

    def __init__(self, predicted, truth):
        if len(predicted) == 0:
            raise ValueError("no held-out pixels, so nothing is known of their noise")
        order = np.argsort(predicted, kind="stable")
        residuals, predicted = (truth - predicted)[order], np.float64(predicted)[order]
        num, parts = len(order), min(_BINS, len(order))
        # As many pixels in each bin, but those of equal predictions together; a value that fills one has it alone.
        starts = predicted[np.arange(parts) * num // parts]
        first, last = (np.searchsorted(predicted, starts, side) for side in ("left", "right"))
        cuts = np.unique([*first, *last[(last - first) * parts >= num], num])
        bins = [np.arange(*cut) for cut in itertools.pairwise(cuts)]
        # What lies between the predictions of two bins belongs to the nearer ones.
        self._edges = [(predicted[left[-1]] + predicted[right[0]]) / 2 for left, right in itertools.pairwise(bins)]
        self._residuals = [residuals[part[:: max(1, len(part) // _MOST_RESIDUALS)]] for part in bins]

    def deviation(self, predicted):
        """Root mean square residual of predictions like these: float32 of their shape."""
        sizes = np.array([np.sqrt(np.mean(np.square(part, dtype=np.float64))) for part in self._residuals], np.float32)
        return sizes[np.searchsorted(self._edges, np.ravel(predicted))].reshape(np.shape(predicted))

    def __call__(self, predicted, generator):
        """Intensities that may be observed where `predicted` is: float32 of its shape, clipped to [0, 1].

        **Arguments:** `predicted`: float [...]; `generator`: a `np.random.Generator`.
        """
        flat = np.ravel(predicted)
        bins = np.searchsorted(self._edges, flat)
        noise = np.empty(len(flat), np.float32)
        for index, residuals in enumerate(self._residuals):
            here = bins == index
            noise[here] = generator.choice(residuals, here.sum())
        return np.clip(flat + noise, 0.0, 1.0).reshape(np.shape(predicted)).astype(np.float32)
