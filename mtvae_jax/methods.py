"""The four methods of the thesis as data: which decoders a model has and which pixels they are shown."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Method:
    """One way to combine reconstruction from z alone with reconstruction from z and some revealed pixels.

    **Arguments:** `decoder`: there is a decoder p(x|z); `conditional_decoder`: there is a decoder p(x|z, m);
    `counts`: how many pixels are revealed in training: None, "constant" or "power_law".
    """

    decoder: bool
    conditional_decoder: bool
    counts: str | None

    @property
    def num_decoders(self):
        return self.decoder + self.conditional_decoder

    @property
    def empty_mask(self):
        """The conditional decoder has learnt to work without revealed pixels, and so stands in for p(x|z)."""
        return self.counts == "power_law"

    @property
    def unconditioned(self):
        """The model reconstructs from z alone, by a decoder of its own or with an empty mask."""
        return self.decoder or self.empty_mask


METHODS = {
    "plain": Method(decoder=True, conditional_decoder=False, counts=None),  # figures 2.2, 2.3
    "semi_conditional": Method(decoder=False, conditional_decoder=True, counts="constant"),  # 2.3
    "multi_decoder": Method(decoder=True, conditional_decoder=True, counts="constant"),  # 3.2, figures 3.2, 3.3
    "single_decoder": Method(decoder=False, conditional_decoder=True, counts="power_law"),  # 3.3, figures 3.4, 3.5
}
