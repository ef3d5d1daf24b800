"""Making a page: what it refuses, what stands in it, and the command."""

import base64
import hashlib
import html.parser
import re

import numpy as np
import pytest
from page.models import KEY, built, image_and_masks, model_of, page_data
from small_runs import tiny_config

from mtvae_jax.errors import UserError
from mtvae_jax.models import build_model, init_variables
from mtvae_jax.page.__main__ import main
from mtvae_jax.page.build import build
from mtvae_jax.page.networks import require_supported
from mtvae_jax.trained.model import Model
from mtvae_jax.training.first_stage import train

SHAPE = (13, 9, 3)


def untrained(latent, method):
    config = tiny_config(latent, method)
    return Model(config, (6, 6, 1), init_variables(build_model(config, (6, 6, 1)), KEY, (6, 6, 1)))


@pytest.mark.parametrize(
    ("latent", "method", "named"),
    [
        ("vq", "single_decoder", "model.latent = 'vq'"),
        ("fsq", "multi_decoder", "model.latent = 'fsq'"),
        ("gaussian", "plain", "model.method = 'plain'"),
        ("gaussian", "semi_conditional", "model.method = 'semi_conditional'"),
        ("gaussian", "multi_decoder", "no p(z|m)"),  # before its second stage
    ],
)
def test_what_is_not_supported_is_told_with_what_is(latent, method, named):
    with pytest.raises(UserError, match=re.escape(named)) as raised:
        require_supported(untrained(latent, method))
    assert all(word in str(raised.value) for word in ("'gaussian'", "'single_decoder'", "'context'", "p(z|m)"))


def test_a_model_that_is_too_large_even_in_half_precision(monkeypatch):
    monkeypatch.setattr("mtvae_jax.page.build.MOST_BYTES", 1000)
    with pytest.raises(UserError, match=r"^the page would have [\d,]+ bytes .* fewer config\.model\.hidden_dims$"):
        built(model_of(SHAPE, "single_decoder", "spatial", True))


class _Elements(html.parser.HTMLParser):
    """(tag, attributes, text) of the scripts and styles of a page, and every attribute of everything."""

    def __init__(self, text):
        super().__init__()
        self.found, self.attributes = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.attributes += attributes
        self.found.append([tag, dict(attributes), ""])

    def handle_endtag(self, tag):
        self.found.append([None, {}, ""])  # to which what follows belongs

    def handle_data(self, data):
        if self.found:
            self.found[-1][2] += data


@pytest.fixture(scope="module")
def page():
    return built(model_of(SHAPE, "single_decoder", "context", True))


def test_the_policy_lets_in_what_stands_in_the_page_and_nothing_else(page):
    elements = _Elements(page)
    policy = next(value for name, value in elements.attributes if name == "content" and "default-src" in value)
    rules = {rule.split()[0]: rule.split()[1:] for rule in policy.split(";")}
    assert rules["default-src"] == ["'none'"]
    hashes = {kind: [f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
                     for tag, attributes, text in elements.found if tag == kind and "type" not in attributes]
              for kind in ("script", "style")}
    assert rules["script-src"] == hashes["script"]
    assert rules["style-src"] == hashes["style"]
    assert len(hashes["script"]) == 3
    addresses = [value for name, value in elements.attributes if name in ("src", "href", "srcset", "action")]
    assert addresses == ["data:,"]
    assert not re.search(r"(https?:)?//\w+\.\w", page.split('id="weights"')[0].split('id="data"')[0])


def test_names_from_outside_are_text():
    model = model_of(SHAPE, "single_decoder", "context", True)
    images = image_and_masks(SHAPE)[0][None]
    page = build(model, images, dataset="</script><b>", provenance="<img src=x>")
    assert "<b>" not in page
    assert "<img" not in page
    assert "&lt;/script&gt;&lt;b&gt;" in page


def test_data_and_images_come_back(page):
    data, _ = page_data(page)
    image = image_and_masks(SHAPE)[0]
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(data["images"]), np.uint8).reshape(SHAPE), image)
    assert data["shape"] == list(SHAPE)
    assert data["variance"] == pytest.approx(0.01)


def test_the_number_of_pixels_in_training_is_said_where_it_is_constant():
    constant = built(model_of(SHAPE, "multi_decoder", "spatial", True))
    assert "was trained with 12 of 117 pixels revealed, on a grid of stride 4;" in constant
    assert "Reveal as in training" in constant
    masks = np.frombuffer(base64.b64decode(page_data(constant)[0]["masks"]), np.uint8).reshape(-1, *SHAPE[:2])
    assert masks.sum((1, 2)).tolist() == [12] * len(masks)
    assert "Reveal as in training" not in built(model_of(SHAPE, "single_decoder", "spatial", True))


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory):
    """The work directory of a trained model with a p(z|m), and the path of its images."""
    folder = tmp_path_factory.mktemp("run")
    path = folder / "secret-name.npz"
    np.savez(path, images=tiny.train, test_images=tiny.test)
    config = tiny_config("gaussian", "single_decoder", data__name=f"npz:{path}", prior__joint=True, prior__epochs=0)
    train(config, tiny, folder / "run")
    return folder / "run", path


def test_the_command_writes_a_page(run, tmp_path, capsys):
    workdir, path = run
    out = tmp_path / "page.html"
    assert main([str(workdir), str(out)]) == 0
    assert capsys.readouterr().out.startswith(f"{out}: 0.")
    text = out.read_text(encoding="utf-8")
    assert page_data(text)[0]["shape"] == [6, 6, 1]
    assert str(path.parent) not in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "page: the following arguments are required: run, out; see python -m mtvae_jax.page --help"),
        (["nowhere", "page.html"], "page: nowhere"),
        (["nowhere", "no/folder/page.html"], "page: no/folder/page.html: there is no such folder"),
        (["nowhere", "."], "page: .: is a folder"),
    ],
)
def test_mistakes_are_one_line_and_status_2(arguments, said, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(said)
    assert err.count("\n") == 1


def test_help_is_printed(capsys):
    assert main(["--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: python -m mtvae_jax.page RUN OUT.html\n")
