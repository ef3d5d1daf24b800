"""The figures of a report, from the table, the curves and the verdicts; none where no run has what a figure needs.

Each function gives `document.Figure`s, which are drawn when they are written.
"""

import functools
from collections import Counter

import numpy as np

from mtvae_jax import figures
from mtvae_jax.errors import number_of
from mtvae_jax.figures.comparison import Level, Line, Panel, comparison
from mtvae_jax.figures.forest import VERDICTS, Effect, Group, forest
from mtvae_jax.figures.grid import Grid
from mtvae_jax.figures.grid import grids as draw_grids
from mtvae_jax.figures.loss_curves import TERMS
from mtvae_jax.study.effect_map import DEFAULT, spots
from mtvae_jax.study.report.document import Figure
from mtvae_jax.study.report.formats import effect, listed, number
from mtvae_jax.study.report.looks import LATENTS, WARMUP_MARKS, file_name, mark, model_label, own_terms
from mtvae_jax.study.report.parts import place_of
from mtvae_jax.study.report.replicates import along, mean_interval, replicates, values_of
from mtvae_jax.study.sentences import LEAST_TREND
from mtvae_jax.study.statistics import mean_effect

_PANELS = {term.key: (term.name, term.unit, term.log) for term in TERMS} | {
    "active_units": ("Active units", "latent dimensions", False),
    "kl_per_unit": ("KL per latent dimension", "nats", True),
}
_VARIANTS = {
    "multi_decoder": [("plain", None), ("multi_decoder", "exact"), ("multi_decoder", "uniform")],
    "single_decoder": [("plain", None), ("single_decoder", "uniform"), ("single_decoder", "gaussian")],
}


def sampling_types(results, names):
    """Thesis figure 3.6."""
    shown = results.sampling_types
    if shown is None:
        return
    counts = listed(f"{name}: {int(np.sum(mask))}" for name, mask in shown.masks.items())
    yield Figure(
        name="figure_3_6",
        caption=f"Figure 3.6. Which pixels each sampling type reveals, on an image of {names[shown.dataset]}. Violet "
                f"pixels are hidden. Revealed pixels: {counts}.",
        alt=f"An image, the mask and the revealed pixels for each of the sampling types {listed(shown.masks)}.",
        draw=_pixels(figures.sampling_types, shown.image, shown.masks),
        picture=True,
    )


def reconstructions(results, names, figure):
    """Thesis figures 4.1 and 4.3."""
    for shown in results.pictures:
        if shown.figure != figure:
            continue
        dataset = names[shown.dataset]
        yield Figure(
            name=file_name("figure", figure.replace(".", "_"), dataset),
            caption=f"Figure {figure}. Test images of {dataset} and what both decoders of one run make of them, from "
                    f"the same z. {shown.model}. Hidden pixels are violet.",
            alt=f"Rows of images: inputs, their revealed pixels, reconstructions from z, reconstructions from z and m; "
                f"{shown.model}, {dataset}.",
            draw=_pixels(figures.reconstructions, shown.images, shown.masks, shown.reconstruction,
                         shown.reconstruction_conditioned),
            picture=True,
        )


def validation_curves(results, names, figure, latent, method):
    """Thesis figures 4.2, 4.4, 4.5 and 4.6: a figure a dataset."""
    ((own, (own_title, _)),) = own_terms(latent).items()
    terms = (own, "reconstruction")
    added = "a second, conditioned decoder" if method == "multi_decoder" else "one decoder for both tasks"
    for dataset, name in names.items():
        panels, seeds = {term: _panel(term) for term in terms}, {}
        for kind in _VARIANTS[method]:
            rows = replicates(results.rows, dataset=dataset, latent=latent, method=kind[0], sampling=kind[1])
            records = [results.curves[row["run"]] for row in rows if row["run"] in results.curves]
            for term in terms:
                line = _curve(records, f"val/{term}", kind)
                if line is not None:
                    panels[term].lines.append(line)
                    seeds[line.label] = len(records)
        if len(seeds) < 2:
            continue
        yield Figure(
            name=file_name("figure", figure.replace(".", "_"), name),
            caption=f"Figure {figure}. Validation losses of the {LATENTS[latent]} on {name}, with and without "
                    f"{added}: {own_title} and the reconstruction from z alone. "
                    f"{_what_is_drawn(seeds, 'lines', 'bands')}",
            alt=f"Validation {own_title} and reconstruction error over the epochs on {name}, for "
                f"{listed(seeds)}. {_ends(panels.values())}",
            draw=functools.partial(comparison, list(panels.values()), "epoch", band=True, x_whole=True),
        )


def exponents(results, names, latent):
    """Returns what the exponent of the power law does (claims C8, C9)."""
    ((term, (title, _)),) = own_terms(latent).items()
    for dataset, name in names.items():
        factors = {"dataset": dataset, "latent": latent}
        models = [(model_label(*kind), mark(*kind), {**factors, "method": kind[0], "sampling": kind[1]})
                  for kind in _VARIANTS["single_decoder"][1:]]
        panels, seeds, values = _sweep(results.rows, "exponent", models, ("reconstruction", term), least=2)
        if not seeds:
            continue
        plain = replicates(results.rows, **factors, method="plain")
        if plain:
            seeds["plain"] = len(plain)
            for key, panel in panels.items():
                interval = mean_interval(values_of(plain, f"test/{key}"))
                panel.lines.insert(0, Level("plain", mark("plain", None), *interval))
        yield Figure(
            name=file_name("exponents", latent, name),
            caption=f"{LATENTS[latent]} on {name}: test reconstruction from z alone and {title} "
                    f"of the single decoder against the exponent of the power law; the higher it is, the fewer pixels "
                    f"are revealed in training. {_what_is_drawn(seeds, 'points', 'bars')}",
            alt=f"Test reconstruction error and {title} against the exponents "
                f"{listed(f'{value:g}' for value in values)} on {name}. {_ends(panels.values())}",
            draw=functools.partial(comparison, list(panels.values()), "exponent of the power law", x_ticks=values),
        )


def depth(results, names):
    """Draws posterior collapse against depth, with and without a KL warm-up (claim C10)."""
    warmups = sorted({row.get("kl_warmup") for row in results.rows if row.get("depth") is not None})
    for dataset, name in names.items():
        factors = {"dataset": dataset, "latent": "gaussian", "method": "plain"}
        models = [(f"KL warm-up of {number_of(warmup, 'epoch')}" if warmup else "no KL warm-up", look,
                   {**factors, "kl_warmup": warmup})
                  for warmup, look in zip(warmups, (mark("plain", None), *WARMUP_MARKS), strict=False)]
        panels, seeds, values = _sweep(results.rows, "depth", models, ("active_units", "kl_per_unit", "reconstruction"))
        panels = [panel for panel in panels.values() if panel.lines]
        if len(values) < 2 or not panels:
            continue
        yield Figure(
            name=file_name("depth", name),
            caption=f"Plain Gaussian VAE on {name}, test images, against its number of hidden layers: "
                    f"{listed(_names(panels))}. A latent dimension is active where the variance of its "
                    f"posterior mean over the images is above 0.01. {_what_is_drawn(seeds, 'points', 'bars')}",
            alt=f"{listed(_names(panels))} against {listed(values)} hidden layers on {name}. {_ends(panels)}",
            draw=functools.partial(comparison, panels, "hidden layers", x_ticks=values),
        )


def _sweep(rows, axis, models, keys, *, least=1):
    """Models along a factor.

    **Arguments:** `axis`: the factor; `models`: triples of label, mark and factors; `keys`: of `_PANELS`; `least`:
    values of the factor that a model takes to be drawn.
    **Returns:** ({key: `Panel`}, {label: the fewest seeds at any value}, the values in order).
    """
    panels, seeds, values = {key: _panel(key, log=False) for key in keys}, {}, set()
    for label, look, factors in models:
        runs = along(rows, axis, **factors)
        if len(runs) < least:
            continue
        values.update(runs)
        seeds[label] = _fewest(runs)
        for key, panel in panels.items():
            mean, low, high = _intervals(runs, key if key == "kl_per_unit" else f"test/{key}")
            if np.isfinite(mean).any():
                panel.lines.append(Line(label, look, np.array(list(runs), float), mean, low, high))
    return panels, seeds, sorted(values)


def rate_distortion(results, names):
    """Returns reconstruction against KL as β varies (claim C11)."""
    for dataset, name in names.items():
        panel, seeds = Panel("Test images", _PANELS["reconstruction"][1].replace("\n", " "), []), {}
        for kind in (("plain", None), ("multi_decoder", "exact"), ("single_decoder", "uniform")):
            runs = along(results.rows, "beta", dataset=dataset, latent="gaussian", method=kind[0],
                         sampling=kind[1])
            if len(runs) < LEAST_TREND:
                continue
            x, x_low, x_high = _intervals(runs, "test/kl")
            panel.lines.append(Line(model_label(*kind), mark(*kind), x, *_intervals(runs, "test/reconstruction"), x_low,
                                    x_high, () if panel.lines else tuple(_beta(beta) for beta in runs)))
            seeds[model_label(*kind)] = _fewest(runs)
        if not seeds:
            continue
        yield Figure(
            name=file_name("rate_distortion", name),
            caption=f"Gaussian VAE on {name}: test reconstruction from z alone against the KL divergence, for "
                    f"values of β, which stand beside the points of one line and follow in the same order on the "
                    "others. Of two curves the lower one reconstructs better at equal KL. "
                    f"{_what_is_drawn(seeds, 'points', 'bars')}",
            alt=f"Reconstruction error against KL divergence on {name}, a line each for {listed(seeds)}.",
            draw=functools.partial(comparison, [panel], "KL divergence, nats"),
        )


def _beta(beta):
    return "σ² = 0.01" if beta is None else f"β = {beta:g}"


def claim_map(claim, names):
    """Returns the headline parts of a claim in all cells, where there are more than the main ones."""
    grids = [_grid(part, spots(part), names) for part in claim["parts"]
             if part["headline"] and any(not found["main"] for found in part["findings"])]
    if not grids:
        return
    said = "; ".join(f"{grid.title}: {number(float(np.nanmin(grid.effects)))} to "
                     f"{number(float(np.nanmax(grid.effects)))}" for grid in grids)
    yield Figure(
        name=f"map_{claim['id']}",
        caption=f"{claim['id']} in all settings: mean effects over pairs of runs, in per cent where the title says no "
                "other unit. Framed and bold: the 95 % interval leaves out 0, with the spread between pairs taken from "
                "all settings together.",
        alt=f"Effects of {claim['id']} by dataset, setting and β. {said}.",
        draw=functools.partial(draw_grids, grids),
    )


def _grid(part, found, names):
    rows = list(dict.fromkeys((spot.dataset, spot.other) for spot in found))
    rows.sort(key=lambda row: list(names).index(row[0]))
    columns = sorted({spot.beta for spot in found}, key=lambda beta: (beta is not None, beta))
    effects, sure = np.full((len(rows), len(columns)), np.nan), np.zeros((len(rows), len(columns)), bool)
    for spot in found:
        place = rows.index((spot.dataset, spot.other)), columns.index(spot.beta)
        effects[place], sure[place] = spot.effect, spot.sure
    default = "σ² = 0.01" if "gaussian" in part["latents"] else "β = 0.25"
    return Grid(
        part["name"] + ("" if part["unit"] == "%" else f", {part['unit']}"),
        [names[dataset] if other == DEFAULT else f"{names[dataset]}, {other}" for dataset, other in rows],
        [default if beta is None else f"β = {number(beta, 2)}" for beta in columns],
        effects, sure,
    )


def effects(parts, names, *, name, about):
    """Returns a forest plot of all parts in per cent that at least one run speaks to."""
    shown, others = _in_per_cent(parts)
    if not shown:
        return
    counts = Counter(part.verdict for part in shown)
    further = ""
    if others:
        further = f" {others} further {'part is' if others == 1 else 'parts are'} not in per cent: see the tables."
    yield Figure(
        name=name,
        caption=f"{about}: the mean effect on pairs of runs with the same seed and data, in per cent, with its "
                "interval (95 %; 90 % where the claim is bounded on both sides). Small strokes: single pairs. An "
                "arrow: the interval goes on beyond the axis, which is logarithmic away from 0 where effects differ "
                f"widely.{further}",
        alt=f"Forest plot of {len(shown)} effects: "
            f"{listed(f'{counts[word]} {word}' for word in VERDICTS if counts[word])}.",
        draw=_forest(
            (part.claim, _effect(part, place_of(part, names) if len(names) > 1 else part.cell_words)) for part in shown
        ),
    )


def folds(parts, names):
    """Returns the effects of cross-validation, those of single folds drawn small (thesis 4.3)."""
    shown, _ = _in_per_cent(parts)
    if not shown:
        return
    yield Figure(
        name="cross_validation",
        caption="Cross-validation: a small stroke is the effect on one pair of runs of one fold and seed, the large "
                "mark their mean with its bootstrap interval over folds and seeds.",
        alt="Forest plot of effects over folds: "
            + "; ".join(f"{part.name}, {place_of(part, names)}: {number(part.effect)} per cent" for part in shown)
            + ".",
        draw=_forest((place_of(part, names), _effect(part)) for part in shown),
    )


def _in_per_cent(parts):
    """(those with an effect in per cent, the number of those with another effect)."""
    known = [part for part in parts if part.effect is not None]
    shown = [part for part in known if part.unit == "%"]
    return shown, len(known) - len(shown)


def _forest(rows):
    """Draws pairs (name of a group, `Effect`)."""
    groups = {}
    for group, row in rows:
        groups.setdefault(group, []).append(row)
    return functools.partial(forest, [Group(*group) for group in groups.items()], "effect, per cent")


def _effect(part, dataset=""):
    label = f"{part.name}, {dataset}" if dataset else part.name
    label += " (exploratory)" if part.exploratory else ""
    return Effect(label, part.effect, part.low, part.high, part.verdict, part.expected,
                  effect(part.effect, part.low, part.high, part.unit), part.pair_effects)


def _pixels(draw, *arrays):
    """Figures made of images have no narrow form."""
    return lambda narrow: draw(*arrays)


def _curve(records, key, kind):
    epochs = sorted({record["epoch"] for run in records for record in run})
    runs = [{record["epoch"]: record.get(key) for record in run} for run in records]
    mean, low, high, *_ = mean_effect(np.array([[run.get(epoch) for run in runs] for epoch in epochs], float))
    if not np.isfinite(mean).any():
        return None
    return Line(model_label(*kind), mark(*kind), np.array(epochs, float), mean, low, high)


def _intervals(runs, metric):
    """(mean, low, high) at each value that `along` gives, float [n], NaN where there is none."""
    return np.array([mean_interval(values_of(rows, metric)) for rows in runs.values()], float).T


def _fewest(runs):
    return min(len(rows) for rows in runs.values())


def _names(panels):
    """The titles as they stand in the middle of a sentence."""
    titles = [panel.title for panel in panels]
    return [title if title.startswith("KL") else title[:1].lower() + title[1:] for title in titles]


def _panel(key, *, log=True):
    title, unit, may_be_log = _PANELS[key]
    return Panel(title, unit, [], log and may_be_log)


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
