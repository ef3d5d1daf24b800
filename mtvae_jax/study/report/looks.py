"""What models, datasets and metrics are called, and the colour that a model keeps through all figures."""

import re
from collections import Counter
from pathlib import PurePath

from mtvae_jax.figures.style import Mark
from mtvae_jax.models import latents

LATENTS = {name: latent.title for name, latent in latents.LATENTS.items()}

# Okabe and Ito's palette; one method has the colours of one side of it.
MARKS = {
    ("plain", None): Mark("#222222", (0, (4, 1.5)), "s"),
    ("semi_conditional", "exact"): Mark("#009E73", "-", "v"),
    ("semi_conditional", "uniform"): Mark("#009E73", (0, (1.2, 1.2)), "v"),
    ("multi_decoder", "exact"): Mark("#0072B2", "-", "o"),
    ("multi_decoder", "uniform"): Mark("#56B4E9", (0, (5, 1, 1, 1)), "D"),
    ("single_decoder", "uniform"): Mark("#D55E00", "-", "^"),
    ("single_decoder", "gaussian"): Mark("#E69F00", (0, (5, 1, 1, 1)), "P"),
}
ORDER = tuple(MARKS)  # of models in tables and legends
WARMUP_MARKS = (Mark("#CC79A7", "-", "D"), Mark("#009E73", "-", "v"))  # of plain models with a KL warm-up
_OTHER = Mark("#999999", ":", "x")


def own_terms(latent):
    """Returns {metric: (title, unit)} of the loss terms that a latent adds to the reconstruction; {} for none."""
    return latents.LATENTS[latent].terms


def mark(method, sampling):
    return MARKS.get((method, sampling), _OTHER)


def model_label(method, sampling):
    """Returns "plain", "multi-decoder, exact"."""
    name = method.replace("_", "-")
    return name if sampling is None else f"{name}, {sampling}"


def short_names(datasets):
    """Returns {dataset: a name for text and files}: that of its file where it is one, unless two would share it."""
    stems = {name: PurePath(name.partition(":")[2]).stem if ":" in name else name for name in datasets}
    shared = Counter(stems.values())
    return {name: stem if stem and shared[stem] == 1 else name for name, stem in stems.items()}


def file_name(*parts):
    """Returns a name for a file made of `parts`, of letters, digits, dashes and underscores alone."""
    return re.sub(r"[^\w-]", "_", "_".join(map(str, parts)), flags=re.ASCII)
