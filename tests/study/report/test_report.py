"""The whole report: the sections it has, the numbers in it, and that it needs nothing but itself."""

import dataclasses
import html
import json
import re
import shutil
import subprocess
from xml.etree import ElementTree

import pytest
from study.report.synthetic_results import synthetic_results

from mtvae_jax.errors import UserError
from mtvae_jax.study.report import formats, write_report
from mtvae_jax.study.report.compose import compose
from mtvae_jax.study.report.document import Figure, Paragraph, Table, Verdict
from mtvae_jax.study.report.render import SIGNS, to_html, to_markdown
from mtvae_jax.study.verdicts import judge_claims

CHROMIUM = shutil.which("chromium")
# Widths of the window, of the page, and of each table's place and the table
MEASURE = """addEventListener("load", () => parent.postMessage([
  document.documentElement.clientWidth, document.documentElement.scrollWidth,
  JSON.stringify([...document.querySelectorAll(".scroll")].map(e => [e.clientWidth, e.scrollWidth])),
].join(";"), "*"))"""


def read(text):
    """The page as XML, which it is so that this raises where tags do not nest."""
    return ElementTree.fromstring(text)


def rows_of(page):
    return [["".join(cell.itertext()) for cell in row] for row in page.iter("tr")]


@pytest.fixture(scope="module")
def page(report):
    return read((report[1] / "report.html").read_text(encoding="utf-8"))


def sections(results):
    return {section.number or section.title: section for section in compose(results).sections}


def blocks(results, kind):
    return [block for section in compose(results).sections for block in section.blocks if isinstance(block, kind)]


def text_of(document):
    """All that a document says, in order, with the page and its Markdown alike."""
    for section in document.sections:
        yield section.heading
        for block in section.blocks:
            if isinstance(block, Paragraph):
                yield block.text
            elif isinstance(block, Figure):
                yield block.caption
            elif isinstance(block, Table):
                yield from (cell.word if isinstance(cell, Verdict) else cell for row in block.rows for cell in row)


def test_all_of_the_thesis_sections_in_its_order(results):
    numbers = [section.number for section in compose(results).sections if section.number]
    assert numbers == ["3.2.1", "4.1", "4.1.1", "4.1.2", "4.2", "4.2.1", "4.2.2", "4.3", "5.1", "5.1.1", "5.1.2", "5.2",
                       "5.2.1", "5.2.2", "5.3", "5.4", "6"]


def test_each_figure_of_the_thesis_once_a_dataset(results):
    names = [figure.name for figure in blocks(results, Figure)]
    assert len(set(names)) == len(names)
    assert {"figure_3_6", "figure_4_1_fashion_mnist", "cross_validation"} <= set(names)
    assert {"effects_fashion_mnist", "effects_natural_32", "effects_5_1_1", "effects_5_2_2"} <= set(names)
    for name in ("figure_4_2", "figure_4_4", "figure_4_5", "figure_4_6", "exponents_gaussian", "exponents_vq", "depth",
                 "rate_distortion"):
        assert {f"{name}_fashion_mnist", f"{name}_natural_32"} <= set(names)


def test_the_page_parses_and_refers_to_nothing_outside(report, page):
    text = (report[1] / "report.html").read_text(encoding="utf-8")
    assert not list(page.iter("script"))
    references = [value for element in page.iter() for name, value in element.items()
                  if name in ("src", "srcset", "href", "data", "action", "poster")]
    assert references
    assert all(reference.startswith(("data:", "#")) for reference in references)
    assert not re.search(r"https?://|url\(|@import", text)
    identifiers = [element.get("id") for element in page.iter() if element.get("id")]
    assert len(set(identifiers)) == len(identifiers)
    assert {reference[1:] for reference in references if reference.startswith("#")} <= set(identifiers)


def test_the_page_can_be_read_without_seeing_it(page):
    assert all(len(image.get("alt")) > 20 for image in page.iter("img"))
    assert {head.get("scope") for head in page.iter("th")} == {"col", "row"}
    assert all(table[0].tag == "caption" for table in page.iter("table"))
    assert (page.tag, page.attrib) == ("html", {"lang": "en"})


def test_every_effect_stands_in_its_row(report, page):
    rows = rows_of(page)
    for claim in report[0].claims:
        for part in claim["parts"]:
            for found in part["findings"]:
                if found["effect"] is None or not found["main"]:
                    continue
                cells = formats.effect_cells(found["effect"], found["low"], found["high"], part["unit"])
                setting = found["cell"] if len(claim["directions"]) > 1 else formats.NOTHING
                row = [claim["id"], part["name"], "fashion_mnist", setting, *cells, str(found["pairs"])]
                answers = [answer for answer in (found["direction"], found["size"]) if answer is not None]
                for answer in answers:
                    word = answer["verdict"] + " (exploratory)" * part["exploratory"]
                    asked = answer["words"].replace(" %", "\u202f%")
                    matching = [cells for cells in rows if cells[:8] == [*row, asked]]
                    assert matching
                    assert all(cells[-1].endswith(word) for cells in matching)


def test_a_verdict_is_a_word_and_a_shape(report, page):
    for claim in report[0].claims:
        row = next(cells for cells in rows_of(page) if cells[0] == claim["id"] and len(cells) == 4)
        assert row[1] == claim["sentence"]
        assert row[2] == SIGNS[claim["verdict"]] + claim["verdict"]


def test_both_formats_say_the_same(report, page):
    markdown = (report[1] / "report.md").read_text(encoding="utf-8")
    plain = html.unescape(re.sub(r"\\(.)", r"\1", markdown))
    shown = "".join(page.find("body").itertext())
    for text in text_of(compose(report[0])):
        text = text.replace(" %", "\u202f%")
        assert text in plain
        assert text in shown


def test_a_file_is_named_without_the_folders_of_its_machine(results):
    cells = [cell for table in blocks(results, Table) for row in table.rows for cell in row]
    assert "npz:natural_32.npz" in cells
    assert not any("/home" in str(cell) for cell in cells)


def test_all_files_are_there(report):
    results, folder = report
    markdown = (folder / "report.md").read_text(encoding="utf-8")
    pictures = re.findall(r"\]\((figures/[\w-]+\.png)\)", markdown)
    assert len(pictures) == len(blocks(results, Figure))
    for picture in pictures:
        assert (folder / picture).read_bytes().startswith(b"\x89PNG")
        assert (folder / picture).with_suffix(".pdf").read_bytes().startswith(b"%PDF")
    assert json.loads((folder / "claims.json").read_text(encoding="utf-8")) == json.loads(json.dumps(results.claims))


def test_captions_say_how_many_seeds_and_what_the_band_is(results):
    captions = {figure.name: figure.caption for figure in blocks(results, Figure)}
    assert "mean over 3 seeds" in captions["figure_4_2_fashion_mnist"]
    assert "bands: its 95 % interval (t)" in captions["figure_4_2_fashion_mnist"]
    assert "natural_32" in captions["figure_4_6_natural_32"]
    unequal = dataclasses.replace(results, rows=[
        {**row, "status": "failed"} if row["seed"] == 2 and row["method"] == "plain" else row for row in results.rows])
    captions = {figure.name: figure.caption for figure in blocks(unequal, Figure)}
    assert "plain: 2, multi-decoder, exact: 3" in captions["figure_4_2_fashion_mnist"]


def test_curves_are_means_over_seeds(results):
    figure = next(figure for figure in blocks(results, Figure) if figure.name == "figure_4_5_fashion_mnist")
    axes = figure.draw(narrow=False).axes[0]
    unsaid = ("fold", "depth", "beta", "head", "latent_dim", "narrower", "images")
    runs = [row["run"] for row in results.rows if row["latent"] == "gaussian" and row["method"] == "plain"
            and row["dataset"] == "fashion_mnist" and all(row[name] is None for name in unsaid)]
    expected = [sum(results.curves[run][epoch]["val/kl"] for run in runs) / 3 for epoch in range(12)]
    drawn = next(line for line in axes.lines if line.get_label() == "plain")
    assert list(drawn.get_ydata()) == pytest.approx(expected)


def test_a_study_of_one_figure_has_its_sections_alone():
    found = sections(synthetic_results("figure_4_2", datasets=("fashion_mnist",), images=False))
    assert "4.1.1" in found
    assert not {"3.2.1", "4.1.2", "4.2", "4.2.1", "4.3", "5.2"} & found.keys()
    note = found["What was run"].blocks[-1].text
    assert "sections 3.2.1, 4.1.2, 4.2.1, 4.2.2, 4.3" in note
    verdicts = next(block for block in found["Verdicts"].blocks if isinstance(block, Table))
    assert [row[0] for row in verdicts.rows] == ["C1", "C2", "C3", "C14"]
    silent = "C4, C5, C6, C7, C8, C9, C10, C11, C12 and C13"
    assert found["Verdicts"].blocks[-1].text == f"No run of this study speaks to {silent}."


def test_of_all_studies_a_section_without_runs_says_so(results):
    without = dataclasses.replace(results, claims=[claim for claim in results.claims if claim["id"] != "C12"])
    assert [block.text for block in sections(without)["4.3"].blocks] == ["No run of this study speaks to this section."]


def test_every_mapped_claim_has_a_figure_over_all_settings(results):
    moved = {"claim": "C6", "part": "uniform, KL divergence", "unit": "%", "factors": {"β × 10": (-8.0, -9.1, -6.9)}}
    blocks_here = sections(dataclasses.replace(results, factors=[moved]))["Under which conditions"].blocks
    maps = {block.name: block for block in blocks_here if isinstance(block, Figure)}
    assert {"map_C1", "map_C5", "map_C6", "map_C13"} <= set(maps)
    drawn = maps["map_C6"].draw(narrow=False)
    columns = [tick.get_text() for tick in drawn.axes[0].get_xticklabels()]
    assert columns == ["σ² = 0.01", "β = 2.5 × 10⁻⁵", "β = 8.0 × 10⁻⁵", "β = 0.00025", "β = 0.00080", "β = 0.0025"]
    rows = [tick.get_text() for tick in drawn.axes[0].get_yticklabels()]
    assert {"fashion_mnist", "natural_32", "natural_32, spatial merge", "fashion_mnist, full head"} <= set(rows)
    (table,) = [block for block in blocks_here if isinstance(block, Table)]
    assert table.rows == (("C6", "uniform, KL divergence", "β × 10", "−8.0\u202fpoints", "[−9.1,\u00a0−6.9]"),)
    without = sections(dataclasses.replace(results, factors=None))["Under which conditions"].blocks[-1]
    assert without.text.endswith("pip install mtvae-jax[study].")


def test_cross_validation_has_a_figure_with_the_single_folds(results):
    section = sections(results)["4.3"]
    (figure,) = [block for block in section.blocks if isinstance(block, Figure)]
    axes = figure.draw(narrow=False).axes[0]
    (part,) = [part for part in results.claims[11]["parts"] if part["name"] == "C6, KL divergence"]
    strokes = {line.get_xdata()[0] for line in axes.lines if line.get_alpha() is not None}
    found = next(found for found in part["findings"] if found["dataset"] == "fashion_mnist")
    assert set(found["pair_effects"]) <= strokes
    assert len(found["pair_effects"]) == 5


def test_exploratory_parts_are_marked_and_stay_out_of_the_overview(results):
    found = sections(results)
    table = next(block for block in found["4.2.1"].blocks if isinstance(block, Table))
    distinct = "KL divergence, gaussian sampling of distinct pixels against repeated ones"
    assert distinct in {row[1] for row in table.rows if row[-1].exploratory}
    assert not any("distinct" in block.text for block in found["4.2.1"].blocks if isinstance(block, Paragraph))
    overview = next(block for block in found["Verdicts"].blocks if isinstance(block, Figure))
    assert not any("distinct" in text.get_text() for text in overview.draw(narrow=False).texts)


def test_undecided_is_said_with_the_reason():
    one = synthetic_results("figure_4_5", datasets=("fashion_mnist",), seeds=1, images=False)
    found = sections(one)
    assert "undecided, because 1 of 1 pair is complete; an interval takes 3" in found["4.2.1"].blocks[0].text
    assert "C6, undecided" in found["4.2.1"].blocks[0].lead
    assert "neither an interval nor a verdict" in found["5.4"].blocks[0].text
    assert "one seed has no interval" in next(b for b in blocks(one, Figure) if b.name.startswith("figure_4_5")).caption


def test_what_is_odd_about_the_data_stands_below_its_table():
    results = synthetic_results("figure_4_2", datasets=("fashion_mnist",), images=False)
    results.data["fashion_mnist"]["remarks"] = ["the best epoch is chosen on the test images"]
    said = [block.text for block in blocks(results, Paragraph)]
    assert "fashion_mnist: the best epoch is chosen on the test images." in said


def test_the_head_says_how_much_there_is(results):
    for planned, complete, failed, said in (
        (306, 202, (), "202 of 306 runs are complete."),
        (1000, 998, ({"name": "a", "run": "b", "error": "c"},), "998 of 1,000 runs are complete, 1 failed."),
        (84, 84, (), "All 84 runs are complete."),
        (1, 0, (), "0 of 1 run is complete."),
    ):
        partly = dataclasses.replace(results, planned=planned, complete=complete, failed=failed)
        document = compose(partly)
        assert document.subtitle.endswith(f". {said}")
        assert document.subtitle in to_markdown(document).replace("\\", "")


def test_the_rule_is_said_once_and_not_after_each_effect(results):
    """An effect whose interval decides nothing is undecided by the rule, which stands below the verdicts."""
    found = [block.text for block in blocks(results, Paragraph)]
    undecided = sum(text.count(": undecided.") for text in found)
    assert undecided > 3
    assert sum("reaches beyond" in text for text in found) == 1


def test_nothing_ran_at_all(tmp_path):
    results = synthetic_results("figure_4_2", datasets=("fashion_mnist",), images=False)
    rows = [{**row, "status": "failed", "error": "loss is not finite"} for row in results.rows]
    claims = [result.to_dict() for result in judge_claims(rows)]
    nothing = dataclasses.replace(
        results, rows=rows, claims=claims, complete=0, curves={},
        failed=({"name": "gauss_plain, seed 0", "run": "run-1", "error": "loss is not finite"},))
    text = write_report(nothing, tmp_path).read_text(encoding="utf-8")
    page = read(text)
    assert ["gauss_plain, seed 0", "run-1", "loss is not finite"] in rows_of(page)
    assert "No pair of complete runs speaks to any claim." in text
    assert not list(page.iter("img"))


def test_models_without_figures_are_not_ranked(results):
    rows = [{**row, "test/vq": None} for row in results.rows]
    said = [block.text for block in sections(dataclasses.replace(results, rows=rows))["5.3"].blocks
            if isinstance(block, Paragraph)]
    assert [text.startswith("Gaussian VAE on") for text in said] == [True, True, False, False]
    assert said[-1] == "VQ-VAE on natural_32: fewer than two models have finite figures."


def test_names_are_escaped(results):
    evil = '<script>alert("x")</script> & `a|b` *c*'
    document = compose(dataclasses.replace(results, protocol=evil, failed=(
        {"name": evil, "run": "r", "error": evil},)))
    document = dataclasses.replace(document, sections=tuple(
        dataclasses.replace(section, blocks=tuple(b for b in section.blocks if not isinstance(b, Figure)))
        for section in document.sections))
    page = read(to_html(document, {}))
    assert not list(page.iter("script"))
    assert [evil, "r", evil] in rows_of(page)
    markdown = to_markdown(document)
    assert "<script" not in markdown.replace("\\<script", "")
    assert "a\\|b" in markdown


def test_datasets_that_share_a_file_name_keep_their_figures_apart():
    datasets = ("npz:one/images.npz", "npz:two/images.npz")
    results = synthetic_results("figure_4_2", datasets=datasets, images=False)
    names = [figure.name for figure in blocks(results, Figure)]
    assert len(set(names)) == len(names) == 5  # of each of both: curves, all effects; and one of section 5.1.1


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(UserError, match="cannot be written") as error:
        write_report(synthetic_results("figure_4_2", datasets=("fashion_mnist",), images=False), blocked / "report")
    assert "\n" not in str(error.value)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
@pytest.mark.parametrize("width", [390, 1440])
def test_nothing_is_cut_off_on_a_phone_nor_beside_empty_margins(width, report, tmp_path):
    """As Chromium lays the page out, with what a table of a run's default folder can hold at most."""
    page = (report[1] / "report.html").read_text(encoding="utf-8")
    page = page.replace("<td role=\"cell\">all</td>", f"<td role=\"cell\">npz:{30 * 'folder_'}.npz</td>")
    (tmp_path / "page.html").write_text(page.replace("</body>", f"<script>{MEASURE}</script></body>"), encoding="utf-8")
    (tmp_path / "frame.html").write_text(  # a window cannot be as narrow as a phone
        f"<iframe src=page.html style='width:{width}px;height:9000px'></iframe>"
        "<script>addEventListener('message', e => document.body.id = e.data)</script>"
    )
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
               "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--virtual-time-budget=5000")
    command = [CHROMIUM, *options, "--window-size=1600,2000", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    command.append((tmp_path / "frame.html").as_uri())
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    window, content, tables = (json.loads(part) for part in re.search(r'<body id="([^"]*)"', shown)[1].split(";"))
    assert window == width
    assert content <= width
    assert len(tables) > 5
    assert all(inside <= outside for outside, inside in tables), tables
