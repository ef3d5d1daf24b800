"""The four methods of the thesis as data: which decoders a model has and which pixels they are shown."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Method:
    """One way to combine reconstruction from z alone with reconstruction from z and some revealed pixels.

    **Arguments:** `decoder`: there is a decoder p(x|z); `conditional_decoder`: there is a decoder p(x|z, m);
    `counts`: how many pixels are revealed in training, a key of `mtvae_jax.conditioning.COUNTS`, None for no pixels;
    `empty_mask`: the conditional decoder learns to work without revealed pixels too, and stands in for p(x|z)
    where there is no decoder for that.
    """

    decoder: bool
    conditional_decoder: bool
    counts: str | None
    empty_mask: bool = False

    @property
    def num_decoders(self):
        return self.decoder + self.conditional_decoder

    @property
    def unconditioned(self):
        """The model reconstructs from z alone, by a decoder of its own or with an empty mask."""
        return self.decoder or self.empty_mask


METHODS = {
    "plain": Method(decoder=True, conditional_decoder=False, counts=None),  # figures 2.2, 2.3
    "semi_conditional": Method(decoder=False, conditional_decoder=True, counts="constant"),  # 2.3
    "multi_decoder": Method(decoder=True, conditional_decoder=True, counts="constant"),  # 3.2, figures 3.2, 3.3
    "single_decoder": Method(  # 3.3, figures 3.4, 3.5
        decoder=False, conditional_decoder=True, counts="power_law", empty_mask=True
    ),
}
