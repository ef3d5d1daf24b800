"""The tables of a report."""

from mtvae_jax.study.report import formats
from mtvae_jax.study.report.document import Table, Verdict
from mtvae_jax.study.report.formats import NOTHING, count, effect, listed, mean, number, with_unit
from mtvae_jax.study.report.looks import LATENTS, model_label
from mtvae_jax.study.report.parts import decisive, place_of
from mtvae_jax.study.report.replicates import mean_interval, values_of

_SPLITS = ("train", "validation", "test")
_SETTINGS = {
    "max_train": "Training images, at most",
    "betas": "Values of β",
    "kl_warmups": "KL warm-ups, epochs",
    "depths": "Hidden layers",
    "fold_seeds": "Seeds a fold",
    "data_dir": "Folder of tensorflow-datasets",
}


def what_was_run(results):
    runs = f"{results.complete} of {results.planned} complete"
    there = "all runs"
    if results.earlier:
        runs += f", {results.earlier} of them known from the table of an earlier report alone, without their curves"
        there = "the others"
    rows = [
        ("Study", results.study),
        ("Protocol", results.protocol),
        *((_SETTINGS.get(name, _words(name)), _value(value)) for name, value in results.settings.items()),
        ("Runs", runs + (f", {len(results.failed)} failed" if results.failed else "")),
        ("Date", results.date),
        ("Device", results.device),
        (f"Computing time of {there}", formats.duration(results.hours)),
        ("Versions", ", ".join(f"{name} {version}" for name, version in results.versions.items())),
    ]
    return Table("The study.", ("What", "Value"), tuple(rows))


def datasets(results, names):
    rows = tuple(
        (
            names.get(name, name),
            "\u00a0×\u00a0".join(str(side) for side in data["image_shape"]),
            *(count(data["images"][split]) for split in _SPLITS),
            data["fingerprint"],
            _without_folder(str(data.get("provenance", NOTHING))),
        )
        for name, data in results.data.items()
    )
    return Table("The data. Images are counted after any reduction by the protocol; the fingerprint is taken from all "
                 "pixels.", ("Dataset", "Shape", "Training", "Validation", "Test", "Fingerprint", "Provenance"), rows,
                 numeric=(2, 3, 4), stacked=True)


def _without_folder(provenance):
    """Of a file of the user's own the name: a report is read on other machines."""
    kind, colon, path = provenance.partition(":")
    return kind + colon + path.rpartition("/")[2] if kind == "npz" else provenance


def failures(results):
    rows = tuple((failure["name"], failure["run"], failure["error"]) for failure in results.failed)
    return Table("Runs that failed.", ("Run", "Folder", "Error"), rows, stacked=True)


def verdicts(claims, names):
    """Returns a row a claim, with the effect that decides it."""
    rows = tuple(
        (claim["id"], claim["sentence"], Verdict(claim["verdict"]), _key_effect(claim, names))
        for claim in claims
    )
    return Table("What the thesis claims, the verdict, and the effect that it hangs on, with its interval.",
                 ("Claim", "In words", "Verdict", "Key effect"), rows, stacked=True)


def answers(claims, names):
    """Returns a row a claim and main setting: the verdict on each dataset, on the directions and with the sizes."""
    rows = []
    for claim in claims:
        for cell in claim["directions"]:
            here = {answer["dataset"]: answer for answer in claim["answers"] if answer["cell"] == cell}
            cells = [Verdict(here[dataset][reading]) if dataset in here else NOTHING
                     for dataset in names for reading in ("direction", "with_size")]
            rows.append((claim["id"], cell, *cells))
    columns = [f"{name}{reading}" for name in names.values() for reading in ("", ", with sizes")]
    return Table("The verdict in each main setting and on each dataset: on the directions alone, and where sizes such "
                 "as “substantially” count too.", ("Claim", "Setting", *columns), tuple(rows), stacked=True)


def factors(moving):
    """Returns what moves the effects, as `effect_map.moving_factors` gives it."""
    shown = tuple(
        (of["claim"], of["part"], factor,
         *formats.effect_cells(added, low, high, "points" if of["unit"] == "%" else of["unit"]))
        for of in moving for factor, (added, low, high) in of["factors"].items()
    )
    columns = "Claim", "Part", "Factor", "Adds", "Interval"
    return Table("What a factor adds to an effect: a mixed model of all pairs, with the seed as a random effect, and "
                 "its 95 % interval.", columns, shown, numeric=(3, 4), stacked=True)


def _key_effect(claim, names):
    part = decisive(claim)
    said = effect(part.effect, part.low, part.high, part.unit) if part.effect is not None else "no pair of runs"
    return f"{part.name}, {place_of(part, names)}: {said}"


def effects(parts, names, caption):
    rows = tuple(
        (
            part.claim,
            part.name,
            names[part.dataset],
            part.cell_words or NOTHING,
            *formats.effect_cells(part.effect, part.low, part.high, part.unit),
            str(part.pairs),
            answer["words"],
            Verdict(answer["verdict"], part.exploratory),
        )
        for part in parts
        for answer in (part.direction, part.size)
        if answer is not None
    )
    columns = ("Claim", "Part", "Dataset", "Setting", "Effect", "Interval", "Pairs", "Asked", "Verdict")
    return Table(caption, columns, rows, numeric=(4, 5, 6), stacked=True)


_LEVELS = {
    "test/reconstruction": "Reconstruction from z",
    "test/reconstruction_conditioned": "Reconstruction from z and m",
    "test/kl": "KL, nats",
    "test/vq": "VQ objective",
    "test/bits_per_dim": "Bits/dim",
    "test/perplexity": "Perplexity",
    "test/quantisation_error": "Quantisation error",
}


def levels(models, name, latent):
    """Returns what each of the models, as `by_model` gives them, reaches."""
    rows = []
    shown = [metric for metric in _LEVELS if any(len(values_of(runs, metric)) for runs in models.values())]
    for model, runs in models.items():
        cells = [mean(*mean_interval(values_of(runs, metric))) for metric in shown]
        parameters = values_of(runs, "parameters")
        size = with_unit(number(parameters[0] / 1e6), "M") if len(parameters) else NOTHING
        rows.append((model_label(*model), str(len(runs)), *cells, size))
    several = any(int(row[1]) > 1 for row in rows)
    caption = (f"{LATENTS[latent]} on {name}: test figures with the default settings, mean over seeds"
               + (" ± half the width of its 95 % interval" if several else "")
               + ". Reconstruction is the mean squared error per pixel.")
    columns = ("Model", "Seeds", *map(_LEVELS.get, shown), "Parameters")
    return Table(caption, columns, tuple(rows), numeric=tuple(range(1, len(columns))), stacked=True)


def _words(name):
    return name.replace("_", " ").capitalize()


def _value(value):
    if isinstance(value, (list, tuple)):
        return listed(_value(item) if not isinstance(item, (list, tuple)) else " = ".join(map(_value, item))
                      for item in value) or NOTHING
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: NOTHING}[value]
    if isinstance(value, int):
        return count(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
