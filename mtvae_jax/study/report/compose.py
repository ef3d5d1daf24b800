"""From results to a document: which sections there are and what stands in them."""

from mtvae_jax.study.catalogue import ALL, STUDIES
from mtvae_jax.study.report import charts, paragraphs, tables
from mtvae_jax.study.report.document import Document, Paragraph, Section
from mtvae_jax.study.report.formats import listed
from mtvae_jax.study.report.looks import LATENTS, file_name, short_names
from mtvae_jax.study.report.parts import parts_of, spoken_to
from mtvae_jax.study.report.replicates import by_model
from mtvae_jax.study.report.sections import OUTLINE


def compose(results):
    """**Arguments:** `results`: `mtvae_jax.study.report.Results`. **Returns:** a `Document`."""
    shown = [] if results.sampling_types is None else [results.sampling_types.dataset]
    names = short_names(list(dict.fromkeys([*results.data, *shown])))
    claims = [claim for claim in results.claims if spoken_to(claim)]
    outlined = [(outline, _blocks(outline, results, claims, names)) for outline in OUTLINE]
    missing = [outline.number for outline, blocks in outlined if not blocks]
    sections = [_verdicts(results, claims, names), *_conditions(results, claims, names)]
    sections.append(_what_was_run(results, names, missing))
    parents = set()
    for outline, blocks in outlined:
        if not blocks and results.study != ALL:
            continue
        if outline.parent is not None and outline.parent not in parents:
            parents.add(outline.parent)
            number, _, title = outline.parent.partition(" ")
            sections.append(Section(number, title, 2, ()))
        blocks = blocks or (Paragraph("No run of this study speaks to this section."),)
        sections.append(Section(outline.number, outline.title, 2 if outline.parent is None else 3, blocks))
    sections += [section for section in _closing(results, claims, names) if section.blocks]
    return Document(
        title=f"Multitask variational autoencoders: {_title(results.study)}",
        subtitle=f"Study {results.study}, protocol {results.protocol}, {results.date}. {paragraphs.extent(results)}",
        sections=tuple(sections),
    )


def _title(study):
    if study == ALL:
        return "the thesis"
    title = STUDIES[study].title if study in STUDIES else study
    return title if title[1:2].isupper() or title.startswith("Gaussian") else title[:1].lower() + title[1:]


def _verdicts(results, claims, names):
    silent = [claim["id"] for claim in results.claims if not spoken_to(claim)]
    blocks = []
    if claims:
        blocks += [Paragraph(paragraphs.tally(claims)), tables.verdicts(claims, names),
                   tables.answers(claims, {dataset: names[dataset] for dataset in results.data}),
                   Paragraph(paragraphs.HOW, note=True)]
        for dataset, name in names.items():
            weighed = [part for part in _parts(claims) if not part.exploratory and part.dataset == dataset]
            blocks += charts.effects(weighed, {dataset: name}, name=file_name("effects", name),
                                     about=f"All effects on {name} that have a say in a verdict")
    else:
        blocks.append(Paragraph("No pair of complete runs speaks to any claim."))
    if silent and claims:
        blocks.append(Paragraph(f"No run of this study speaks to {listed(silent)}.", note=True))
    return Section("", "Verdicts", 2, tuple(blocks))


def _conditions(results, claims, names):
    """The map of each claim, and what moves its effects; no section where only main settings were run."""
    blocks = [figure for claim in claims for figure in charts.claim_map(claim, names)]
    if not blocks:
        return
    if results.factors is None:
        blocks.append(Paragraph("What moves the effects is worked out where statsmodels is: pip install "
                                "mtvae-jax[study].", note=True))
    elif results.factors:
        blocks.append(tables.factors(results.factors))
    yield Section("", "Under which conditions", 2, tuple(blocks))


def _what_was_run(results, names, missing):
    blocks = [tables.what_was_run(results), tables.datasets(results, names)]
    blocks += [Paragraph(f"{names.get(name, name)}: {remark}.")
               for name, data in results.data.items() for remark in data.get("remarks", ())]
    if results.failed:
        blocks.append(tables.failures(results))
    if missing and results.study != ALL:
        blocks.append(Paragraph(f"No run of this study speaks to the thesis' sections {listed(missing)}: they are left "
                                "out.", note=True))
    return Section("", "What was run", 2, tuple(blocks))


def _blocks(outline, results, claims, names):
    """A section's figures, sentences and table; () if no run speaks to it."""
    own = [(claim, _of_latent(parts_of(claim), outline)) for claim in claims if claim["id"] in outline.claims]
    own = [(claim, parts) for claim, parts in own if any(part.pairs for part in parts)]
    parts = [part for _, found in own for part in found]
    blocks = [paragraph for claim, found in own for paragraph in paragraphs.about_claim(claim, found, names)]
    blocks += outline.charts(results, names)
    if outline.number == "4.3":
        blocks += charts.folds(parts, names)
    if parts:
        blocks.append(tables.effects(parts, names, f"Effects of section {outline.number}: means over pairs of runs."))
    return (*blocks, *_weighed(outline, claims, names))


def _weighed(outline, claims, names):
    weighed = [claim for claim in claims if claim["id"] in outline.weighed]
    parts = [part for part in _of_latent(_parts(weighed), outline) if part.pairs]
    if not parts:
        return ()
    present = {part.claim for part in parts}
    weighed = [claim for claim in weighed if claim["id"] in present]
    method = outline.parent.partition("Analysis of ")[2]
    figure = charts.effects(parts, names, name=f"effects_{outline.number.replace('.', '_')}",
                            about=f"{method} on {LATENTS[outline.latent]}s")
    return (Paragraph(paragraphs.tally(weighed, f"on {method} with {LATENTS[outline.latent]}s")), *figure)


def _closing(results, claims, names):
    """Sections 5.3, 5.4 and 6, which speak of all methods at once."""
    pairs = [(dataset, latent) for latent in LATENTS for dataset in names]
    compared = [block for dataset, latent in pairs for block in _compared(results, names, dataset, latent)]
    yield Section("5.3", "Comparative Analysis", 2, tuple(compared))
    if results.complete:
        yield Section("5.4", "Limitations and Future Work", 2,
                      (Paragraph(paragraphs.limitations(results, names, claims)),))
    said = [Paragraph(paragraphs.conclusion(claim, names)) for claim in claims]
    if said:
        said.insert(0, Paragraph(paragraphs.tally(claims)))
    yield Section("6", "Conclusion", 2, tuple(said))


def _compared(results, names, dataset, latent):
    models = by_model(results.rows, dataset, latent)
    if len(models) < 2:
        return []
    return [Paragraph(paragraphs.best_models(models, names[dataset], latent)),
            tables.levels(models, names[dataset], latent)]


def _parts(claims):
    return [part for claim in claims for part in parts_of(claim)]


def _of_latent(parts, outline):
    return [part for part in parts if outline.latent is None or outline.latent in part.latents]
