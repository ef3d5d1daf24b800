"""Latents that say nothing about the image although the loss is fine: a collapsed posterior, a collapsed codebook."""

from typing import NamedTuple

# Nats of the whole posterior. KL(q(z|x) ‖ p(z)), averaged over images, is at least what z tells of x: here less than
# 1/69 bit an image, which no decoder can make use of.
LEAST_KL = 0.01

# Of codes, 1 for a single one: 1.5 is one code in 86 of 100 positions and another in the rest.
LEAST_PERPLEXITY = 1.5


class Finding(NamedTuple):
    """**short**: for the progress line; **sentence**: for the summary."""

    short: str
    sentence: str


def posterior_collapsed(kl, active_units=None):
    """Whether q(z|x) is the same for every image, and so z nothing but noise.

    Either its KL is nearly nothing, whatever the number of dimensions; or no dimension is active: none has a mean that
    varies over the images (Burda et al. 2016), be there many nats of KL spent on being unlike the prior. A share of the
    dimensions is no measure: of a thousand that are allowed, five may be in use and enough.

    **Arguments:** `kl`: nats an image, the dimensions summed; `active_units`: how many dimensions are active, None
    where that is unknown.
    """
    return kl < LEAST_KL or active_units == 0


def codebook_collapsed(perplexity, codebook_size):
    """Whether nearly every position has the same code. A codebook of one code has nothing to lose.

    **Arguments:** `perplexity`: exp(entropy) of the use of codes; `codebook_size`: K.
    """
    # Of two codes a perplexity of 1.5 is still a use: the limit lies half as far from 1.
    limit = LEAST_PERPLEXITY if codebook_size > 2 else (1 + LEAST_PERPLEXITY) / 2
    return codebook_size > 1 and perplexity < limit


def findings(metrics, model):
    """What is wrong with a model whose numbers are all finite, by its validation metrics.

    **Arguments:** `metrics`: such as {"val/kl": …, "val/active_units": …} or {"val/perplexity": …, "val/codes_used":
    …}, what is not there is not judged; `model`: the section of the config, for its `codebook_size`.
    **Returns:** a list of `Finding`, empty for a healthy model.
    """
    found = []
    kl, active_units = metrics.get("val/kl"), metrics.get("val/active_units")
    if kl is not None and posterior_collapsed(kl, active_units):
        found.append(Finding("posterior collapsed", (
            f"posterior collapsed: KL is {kl:.2g} nats"
            + ("" if active_units is None else f" and {_count(active_units, 'dimension')} of z active")
            + ", so z hardly depends on the image; lower config.loss.beta, or let it rise over "
            "config.loss.kl_warmup_epochs"
        )))
    perplexity, size = metrics.get("val/perplexity"), model.codebook_size
    if perplexity is not None and codebook_collapsed(perplexity, size):
        short = f"codebook collapsed: {round(metrics['val/codes_used'] * size)} of {size} codes used"
        found.append(Finding(short, (
            f"{short}, perplexity {perplexity:.3g}; restart unused codes with config.model.codebook_restart, or let "
            "them follow averages with config.model.codebook_ema"
        )))
    return found


def _count(number, noun):
    return f"{number:.0f} {noun}" + ("" if number == 1 else "s")
