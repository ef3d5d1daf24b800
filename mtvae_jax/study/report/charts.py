"""The figures of a report, from the table, the curves and the verdicts; None where no run has what a figure needs.

Each function gives a `document.Figure`, which is drawn when it is written.
"""

import functools

import numpy as np

from mtvae_jax import figures
from mtvae_jax.errors import number_of
from mtvae_jax.figures.comparison import Level, Line, Panel, comparison
from mtvae_jax.figures.forest import Effect, Group, forest
from mtvae_jax.figures.loss_curves import TERMS
from mtvae_jax.study.report.document import Figure
from mtvae_jax.study.report.formats import effect, listed, number
from mtvae_jax.study.report.looks import LATENTS, WARMUP_MARKS, file_name, mark, model_label
from mtvae_jax.study.report.replicates import LEVEL, mean_interval, replicates, values_of, values_on_axis
from mtvae_jax.study.statistics import mean_effect

_PANELS = {term.key: (term.name, term.unit, term.log) for term in TERMS} | {
    "active_units": ("Active units", "latent dimensions", False),
    "kl_per_unit": ("KL per latent dimension", "nats", True),
}
_VARIANTS = {
    "multi_decoder": [("plain", None), ("multi_decoder", "exact"), ("multi_decoder", "uniform")],
    "single_decoder": [("plain", None), ("single_decoder", "uniform"), ("single_decoder", "gaussian")],
}
LATENT_TERM = {"gaussian": "kl", "vq": "vq"}
_TERM_NAMES = {"kl": "KL divergence", "vq": "VQ objective (codebook + β · commitment)"}


def sampling_types(results, names):
    """Thesis figure 3.6."""
    shown = results.sampling_types
    if shown is None:
        return []
    counts = listed(f"{name}: {int(np.sum(mask))}" for name, mask in shown.masks.items())
    return [Figure(
        name="figure_3_6",
        caption=f"Figure 3.6. Which pixels each sampling type reveals, on an image of {names[shown.dataset]}. Violet "
                f"pixels are hidden. Revealed pixels: {counts}.",
        alt=f"An image, the mask and the revealed pixels for each of the sampling types {listed(shown.masks)}.",
        draw=lambda narrow: figures.sampling_types(shown.image, shown.masks),
        picture=True,
    )]


def reconstructions(results, names, figure):
    """Thesis figures 4.1 and 4.3."""
    return [_reconstruction(shown, names) for shown in results.pictures if shown.figure == figure]


def _reconstruction(shown, names):
    dataset = names[shown.dataset]
    return Figure(
        name=file_name("figure", shown.figure.replace(".", "_"), dataset),
        caption=f"Figure {shown.figure}. Test images of {dataset} and what both decoders of one run make of them, from "
                f"the same z. {shown.model}. Hidden pixels are violet.",
        alt=f"Rows of images: inputs, their revealed pixels, reconstructions from z, reconstructions from z and m; "
            f"{shown.model}, {dataset}.",
        draw=lambda narrow: figures.reconstructions(
            shown.images, shown.masks, shown.reconstruction, shown.reconstruction_conditioned
        ),
        picture=True,
    )


def validation_curves(results, names, figure, latent, method):
    """Thesis figures 4.2, 4.4, 4.5 and 4.6: a figure a dataset."""
    drawn = [_validation_curves(results, names, dataset, figure, latent, method) for dataset in names]
    return [chart for chart in drawn if chart is not None]


def _validation_curves(results, names, dataset, figure, latent, method):
    terms = (LATENT_TERM[latent], "reconstruction")
    panels, seeds = {term: _panel(term) for term in terms}, {}
    for kind in _VARIANTS[method]:
        rows = replicates(results.rows, dataset=dataset, latent=latent, method=kind[0], sampling=kind[1])
        records = [results.curves[row["run"]] for row in rows if row["run"] in results.curves]
        for term in terms:
            line = _curve(records, f"val/{term}", kind)
            if line is not None:
                panels[term].lines.append(line)
                seeds[model_label(*kind)] = len(records)
    if len(seeds) < 2:
        return None
    added = "a second, conditioned decoder" if method == "multi_decoder" else "one decoder for both tasks"
    return Figure(
        name=file_name("figure", figure.replace(".", "_"), names[dataset]),
        caption=f"Figure {figure}. Validation losses of the {LATENTS[latent]} on {names[dataset]}, with and without "
                f"{added}: {_TERM_NAMES[terms[0]]} and the reconstruction from z alone. "
                f"{_what_is_drawn(seeds, 'lines', 'bands')}",
        alt=f"Validation {_TERM_NAMES[terms[0]]} and reconstruction error over the epochs on {names[dataset]}, for "
            f"{listed(seeds)}. {_ends(panels.values())}",
        draw=functools.partial(comparison, list(panels.values()), "epoch", band=True, x_whole=True),
    )


def _curve(records, key, kind):
    epochs = sorted({record["epoch"] for run in records for record in run})
    table = np.full((len(records), len(epochs)), np.nan)
    for row, run in zip(table, records, strict=True):
        known = {record["epoch"]: record.get(key) for record in run}
        row[:] = [np.nan if known.get(epoch) is None else known[epoch] for epoch in epochs]
    table[~np.isfinite(table)] = np.nan
    if not np.isfinite(table).any():
        return None
    mean, low, high, *_ = mean_effect(table.T, level=LEVEL)
    return Line(model_label(*kind), mark(*kind), np.array(epochs, float), mean, low, high)


def exponents(results, names, latent):
    """What the exponent of the power law does (claims C8, C9)."""
    drawn = [_exponents(results, names, dataset, latent) for dataset in names]
    return [chart for chart in drawn if chart is not None]


def _exponents(results, names, dataset, latent):
    factors = {"dataset": dataset, "latent": latent, "method": "single_decoder"}
    terms = ("reconstruction", LATENT_TERM[latent])
    panels, seeds, values = {term: _panel(term, log=False) for term in terms}, {}, []
    for method, sampling in _VARIANTS["single_decoder"][1:]:
        along = values_on_axis(results.rows, "exponent", **factors, sampling=sampling)
        if len(along) < 2:
            continue
        values = sorted({*values, *along})
        runs = [replicates(results.rows, **factors, sampling=sampling, exponent=value) for value in along]
        seeds[model_label(method, sampling)] = min(len(rows) for rows in runs)
        for term in terms:
            stats = [mean_interval(values_of(rows, f"test/{term}")) for rows in runs]
            panels[term].lines.append(_line(model_label(method, sampling), mark(method, sampling), along, stats))
    if not seeds:
        return None
    plain = replicates(results.rows, dataset=dataset, latent=latent, method="plain")
    if plain:
        seeds["plain"] = len(plain)
        for term in terms:
            panels[term].lines.insert(0, Level("plain", mark("plain", None),
                                               *mean_interval(values_of(plain, f"test/{term}"))))
    return Figure(
        name=file_name("exponents", latent, names[dataset]),
        caption=f"{LATENTS[latent]} on {names[dataset]}: test reconstruction from z alone and {_TERM_NAMES[terms[1]]} "
                f"of the single decoder against the exponent of the power law; the higher it is, the fewer pixels are "
                f"revealed in training. {_what_is_drawn(seeds, 'points', 'bars')}",
        alt=f"Test reconstruction error and {_TERM_NAMES[terms[1]]} against the exponents "
            f"{listed(f'{value:g}' for value in values)} on {names[dataset]}. {_ends(panels.values())}",
        draw=functools.partial(comparison, list(panels.values()), "exponent of the power law", x_ticks=values),
    )


def depth(results, names):
    """Posterior collapse against depth, with and without a KL warm-up (claim C10)."""
    drawn = [_depth(results, names, dataset) for dataset in names]
    return [chart for chart in drawn if chart is not None]


def _depth(results, names, dataset):
    factors = {"dataset": dataset, "latent": "gaussian", "method": "plain"}
    columns = {
        "active_units": "test/active_units",
        "kl_per_unit": "kl_per_unit",
        "reconstruction": "test/reconstruction",
    }
    warmups = sorted({row.get("kl_warmup") for row in results.rows if row.get("depth") is not None})
    panels, seeds, values = {key: _panel(key, log=False) for key in columns}, {}, []
    for warmup, look in zip(warmups, (mark("plain", None), *WARMUP_MARKS), strict=False):
        along = values_on_axis(results.rows, "depth", **factors, kl_warmup=warmup)
        if not along:
            continue
        values = sorted({*values, *along})
        runs = [replicates(results.rows, **factors, kl_warmup=warmup, depth=value) for value in along]
        label = f"KL warm-up of {number_of(warmup, 'epoch')}" if warmup else "no KL warm-up"
        seeds[label] = min(len(rows) for rows in runs)
        for key, column in columns.items():
            stats = [mean_interval(values_of(rows, column)) for rows in runs]
            if any(mean is not None for mean, _, _ in stats):
                panels[key].lines.append(_line(label, look, along, stats))
    panels = [panel for panel in panels.values() if panel.lines]
    if len(values) < 2 or not panels:
        return None
    return Figure(
        name=file_name("depth", names[dataset]),
        caption=f"Plain Gaussian VAE on {names[dataset]}, test images, against its number of hidden layers: "
                f"{listed(_names(panels))}. A latent dimension is active where the variance of its "
                f"posterior mean over the images is above 0.01. {_what_is_drawn(seeds, 'points', 'bars')}",
        alt=f"{listed(_names(panels))} against {listed(values)} hidden layers on {names[dataset]}. "
            f"{_ends(panels)}",
        draw=functools.partial(comparison, panels, "hidden layers", x_ticks=values),
    )


def rate_distortion(results, names):
    """Reconstruction against KL as β varies (claim C11)."""
    drawn = [_rate_distortion(results, names, dataset) for dataset in names]
    return [chart for chart in drawn if chart is not None]


def _rate_distortion(results, names, dataset):
    panel, seeds = Panel("Test images", _PANELS["reconstruction"][1].replace("\n", " "), []), {}
    for kind in (("plain", None), ("multi_decoder", "exact"), ("single_decoder", "uniform")):
        factors = {"dataset": dataset, "latent": "gaussian", "method": kind[0], "sampling": kind[1]}
        scales = values_on_axis(results.rows, "beta_scale", **factors)
        if len(scales) < 2:
            continue
        runs = [replicates(results.rows, **factors, beta_scale=scale) for scale in scales]
        rate = [mean_interval(values_of(rows, "test/kl")) for rows in runs]
        distortion = [mean_interval(values_of(rows, "test/reconstruction")) for rows in runs]
        panel.lines.append(_line(model_label(*kind), mark(*kind), [mean for mean, _, _ in rate], distortion, rate,
                                 () if panel.lines else tuple(f"{scale:g} β" for scale in scales)))
        seeds[model_label(*kind)] = min(len(rows) for rows in runs)
    if not seeds:
        return None
    return Figure(
        name=file_name("rate_distortion", names[dataset]),
        caption=f"Gaussian VAE on {names[dataset]}: test reconstruction from z alone against the KL divergence, for "
                f"multiples of the default β, which stand beside the points of one line and follow in the same order "
                f"on the others. Of two curves the lower one reconstructs "
                f"better at equal KL. {_what_is_drawn(seeds, 'points', 'bars')}",
        alt=f"Reconstruction error against KL divergence on {names[dataset]}, a line each for {listed(seeds)}.",
        draw=functools.partial(comparison, [panel], "KL divergence, nats"),
    )


def effects(parts, names, *, name, about):
    """A forest plot of all parts in per cent that at least one run speaks to; [] if there is none."""
    shown = [part for part in parts if part.unit == "%" and part.effect is not None]
    if not shown:
        return []
    groups = {}
    for part in shown:
        groups.setdefault(part.claim, []).append(_effect(part, names))
    others = sum(part.unit != "%" and part.effect is not None for part in parts)
    counts = {word: sum(part.verdict == word for part in shown) for word in ("supported", "refuted", "undecided")}
    further = ""
    if others:
        further = f" {others} further {'part is' if others == 1 else 'parts are'} not in per cent: see the tables."
    return [Figure(
        name=name,
        caption=f"{about}: the mean effect on pairs of runs with the same seed and data, in per cent, with its "
                "interval (95 %; 90 % where the claim is bounded on both sides). Small strokes: single pairs. An "
                "arrow: the interval goes on beyond the axis, which is logarithmic away from 0 where effects differ "
                "widely."
                f"{further}",
        alt=f"Forest plot of {len(shown)} effects: {listed(f'{n} {word}' for word, n in counts.items() if n)}.",
        draw=functools.partial(forest, [Group(claim, rows) for claim, rows in groups.items()], "effect, per cent"),
    )]


def folds(parts, names):
    """The effects of cross-validation, those of single folds drawn small (thesis 4.3)."""
    shown = [part for part in parts if part.unit == "%" and part.effect is not None]
    groups = {}
    for part in shown:
        groups.setdefault(names[part.dataset], []).append(_effect(part, names, dataset=False))
    if not groups:
        return []
    return [Figure(
        name="cross_validation",
        caption="Cross-validation: a small stroke is the effect on one pair of runs of one fold and seed, the large "
                "mark their mean with its bootstrap interval over folds and seeds.",
        alt="Forest plot of effects over folds: "
            + "; ".join(f"{part.name}, {names[part.dataset]}: {number(part.effect)} per cent" for part in shown) + ".",
        draw=functools.partial(forest, [Group(name, rows) for name, rows in groups.items()], "effect, per cent"),
    )]


def _effect(part, names, *, dataset=True):
    label = f"{part.name}, {names[part.dataset]}" if dataset and len(names) > 1 else part.name
    label += " (exploratory)" if part.exploratory else ""
    return Effect(label, part.effect, part.low, part.high, part.verdict, part.expected,
                  effect(part.effect, part.low, part.high, part.unit), part.pair_effects)


def _names(panels):
    """The titles as they stand in the middle of a sentence."""
    titles = [panel.title for panel in panels]
    return [title if title.startswith("KL") else title[:1].lower() + title[1:] for title in titles]


def _panel(key, *, log=True):
    title, unit, may_be_log = _PANELS[key]
    return Panel(title, unit, [], log and may_be_log)


def _line(label, look, x, stats, x_stats=None, notes=()):
    """A `Line` from triples (mean, low, high), any of which may be None."""
    mean, low, high = (np.array([np.nan if value is None else value for value in values], float)
                       for values in zip(*stats, strict=True))
    ends = {}
    if x_stats is not None:
        ends = {name: np.array([np.nan if triple[i] is None else triple[i] for triple in x_stats], float)
                for i, name in ((1, "x_low"), (2, "x_high"))}
    return Line(label, look, np.asarray(x, float), mean, low, high, notes=notes, **ends)


def _what_is_drawn(seeds, what, interval):
    """How many runs stand behind each line, and what the intervals are."""
    numbers = sorted(set(seeds.values()))
    if len(numbers) == 1:
        over = number_of(numbers[0], "seed")
    else:
        over = "seeds (" + ", ".join(f"{label}: {n}" for label, n in seeds.items()) + ")"
    if numbers[-1] == 1:
        return f"{what.capitalize()} of one seed; one seed has no interval."
    return f"{what.capitalize()}: mean over {over}; {interval}: its 95 % interval (t), cut off at the frame."


def _ends(panels):
    """Where the lines end, in words."""
    said = [
        f"{panel.title}: " + ", ".join(f"{line.label} {number(_last(line))}" for line in panel.lines)
        for panel in panels
    ]
    return f"At the right end {'; '.join(said)}." if said else ""


def _last(line):
    return line.mean if isinstance(line, Level) else float(line.mean[-1])
