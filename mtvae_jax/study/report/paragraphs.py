"""Sentences made of measured numbers: each says what was found, on how many pairs of runs, and nothing besides."""

from mtvae_jax.errors import number_of
from mtvae_jax.study.report.document import Paragraph
from mtvae_jax.study.report.formats import count, effect, listed, number
from mtvae_jax.study.report.looks import LATENTS, model_label, own_terms
from mtvae_jax.study.report.parts import decisive, parts_of, place_of
from mtvae_jax.study.report.replicates import values_of

THESIS_EPOCHS = 100
_ALWAYS_TALLIED = ("supported", "refuted", "undecided")
_TALLIED = {word: word for word in _ALWAYS_TALLIED} | {
    "no difference": "of things that make no difference",
    "depends": "supported in one setting and not in the other",
}
THESIS_DATASETS = ("mnist", "cifar10", "celeb_a")

HOW = (
    "The rule was written down before the runs. Each part of a claim compares two models on pairs of runs that "
    "share dataset, seed and setting, and asks for a direction, and some for a size. A question is supported where "
    "the whole interval of the mean difference lies in the region that it names, refuted where the whole interval "
    "lies outside, and undecided where it reaches beyond an end of the region, or where there are too few pairs; of "
    "a direction there is no difference where the interval lies within the margin of what counts as similar (2 % of "
    "an error, 5 % of the KL divergence and the VQ objective). Pairs are added, up to 20, until that is so, and the "
    "intervals hold at every look. They have 95 %, or 90 % where the region is bounded on both sides (two one-sided "
    "tests at 5 %). A claim is refuted if any direction is on any dataset, supported if all are on all; exploratory "
    "parts have no say. Per cent are of the second model's figure; negative ones mean that the first model's is "
    "lower."
)


def extent(results):
    """Returns how much of the study there is: "All 84 runs are complete." or "202 of 306 runs are complete, 3 failed.".
    """
    if results.complete == results.planned:
        return "The run is complete." if results.planned == 1 else f"All {count(results.planned)} runs are complete."
    are = "is" if 1 in (results.complete, results.planned) else "are"
    failed = f", {count(len(results.failed))} failed" if results.failed else ""
    return f"{count(results.complete)} of {number_of(results.planned, 'run')} {are} complete{failed}."


def about_claim(claim, parts, names):
    """Returns what `parts`, those of a claim that a section speaks of, have shown: a sentence each; exploratory ones
    are left to the table.

    **Returns:** a list of `Paragraph`, one a dataset and setting.
    """
    of_whole = " as a whole" if len(parts) < len(parts_of(claim)) else ""
    lead = f"{claim['id']}, {claim['verdict']}{of_whole}."
    parts = [part for part in parts if not part.exploratory]
    paragraphs = []
    for place in dict.fromkeys(place_of(part, names) for dataset in names for part in parts if part.dataset == dataset):
        here = [part for part in parts if place_of(part, names) == place]
        said = [_found(part) for part in here if part.pairs]
        unknown = [f"{part.name} ({part.reason})" for part in here if not part.pairs]
        if said and unknown:
            said.append(f"Not measured: {listed(unknown)}.")
        if said:
            start = "" if paragraphs else f"{claim['sentence'].rstrip('.')}. "
            paragraphs.append(Paragraph(f"{start}On {place}: {' '.join(said)}", lead="" if paragraphs else lead))
    return paragraphs or [Paragraph(f"{claim['sentence'].rstrip('.')}. Only exploratory parts of it were measured.",
                                    lead=lead)]


def _found(part):
    """What was measured, what was expected, and the verdict; of an interval that decides nothing `HOW` says why."""
    reason = f", because {part.reason}" if part.reason and part.low is None else ""
    return f"{part.sentence.rstrip('.')}, expected to be {part.expected_words}: {part.verdict}{reason}."


def tally(claims, of="that runs of this study speak to"):
    """Returns "Of the 5 claims OF 3 are supported (C1, …), none is refuted and 2 are undecided (…)."""
    if len(claims) == 1:
        return f"The one claim {of}, {claims[0]['id']}, is {claims[0]['verdict']}."
    said = []
    for word, words in _TALLIED.items():
        ids = [claim["id"] for claim in claims if claim["verdict"] == word]
        verb = "is" if len(ids) <= 1 else "are"
        if ids or word in _ALWAYS_TALLIED:
            said.append(f"{len(ids) or 'none'} {verb} {words}" + (f" ({listed(ids)})" if ids else ""))
    return f"Of the {len(claims)} claims {of}, {listed(said)}."


def best_models(models, name, latent):
    """Returns which of the models, as `by_model` gives them, reach the lowest and the highest figures."""
    found = []
    for metric, (what, unit) in {"reconstruction": ("reconstruction from z", ""), **own_terms(latent)}.items():
        after = f" {unit}" if unit else ""
        values = {model: values_of(runs, f"test/{metric}") for model, runs in models.items()}
        means = sorted((known.mean(), model_label(*model)) for model, known in values.items() if len(known))
        if len(means) < 2:
            return f"{LATENTS[latent]} on {name}: fewer than two models have finite figures."
        (low, best), *_, (high, worst) = means
        found.append(f"the lowest {what} is that of {best} ({number(low)}{after}), the highest that of {worst} "
                     f"({number(high)}{after})")
    return (f"{LATENTS[latent]} on {name}, means over seeds: {listed(found)}. Which of these differences are more than "
            "chance the tables of chapter 4 say.")


def limitations(results, names, claims):
    """Returns where this study falls short of the thesis' settings, and of an answer."""
    said = []
    epochs = results.settings.get("epochs")
    if epochs is not None and epochs < THESIS_EPOCHS:
        said.append(f"The runs have {number_of(epochs, 'epoch')}, those of the thesis {THESIS_EPOCHS}.")
    missing = [name for name in THESIS_DATASETS if name not in names]
    if missing:
        said.append(f"Of the thesis' datasets {listed(missing)} {'was' if len(missing) == 1 else 'were'} not run.")
    if results.settings.get("max_train") is not None:
        said.append(f"At most {count(results.settings['max_train'])} training images were used.")
    unfinished = results.planned - results.complete
    if unfinished:
        said.append(f"{unfinished} of {number_of(results.planned, 'planned run')} {'is' if unfinished == 1 else 'are'} "
                    f"not complete, {len(results.failed)} of them because of a failure; effects rest on the pairs "
                    "that are.")
    parts = [part for claim in claims for part in parts_of(claim) if not part.exploratory]
    alone = sum(part.pairs < 2 for part in parts)
    if alone:
        have = "has" if alone == 1 else "have"
        said.append(f"{alone} of {number_of(len(parts), 'part')} {have} fewer than two pairs of runs, and so neither "
                    "an interval nor a verdict.")
    wide = sum(part.verdict == "undecided" and part.pairs >= 2 for part in parts)
    if wide:
        said.append(f"{wide} {'has' if wide == 1 else 'have'} an interval too wide, or too near the border of what is "
                    "expected, for a verdict; more seeds would narrow it.")
    with_interval = len(parts) - alone
    if with_interval > 1:
        said.append(f"The {with_interval} intervals are not adjusted for their number.")
    said.append(f"Nothing here speaks of other datasets than {listed(names.values())}, nor of other settings than "
                "those above.")
    return " ".join(said)


def conclusion(claim, names):
    """Returns one sentence a claim: its verdict and the effect that it hangs on."""
    part = decisive(claim)
    sentence = claim["sentence"].rstrip(".")
    found = f"{part.name}, {place_of(part, names)}: {effect(part.effect, part.low, part.high, part.unit)}"
    if not part.pairs:
        found = f"{part.name}, {place_of(part, names)}: no pair of runs is complete"
    return f"{claim['id']} is {claim['verdict']}: {sentence} ({found})."
