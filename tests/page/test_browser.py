"""The page in a real browser, opened from a disk: its numbers, its requests, and what a visitor does with it."""

import http.server
import threading

import numpy as np
import pytest
from page.browser import CHROMIUM, Browser
from page.models import KEY, base64_of, built, image_and_masks, model_of

from mtvae_jax.page.build import draw_noise

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
SHAPE = (13, 9, 3)
DRAWS = 5


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The path of a page of an untrained model of coloured images."""
    path = tmp_path_factory.mktemp("page") / "a page, ü.html"
    path.write_text(built(model_of(SHAPE, "single_decoder", "context", True)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def opened(browser, page):
    """The browser with the page, which must neither ask for anything nor complain."""
    browser.requests.clear()
    browser.errors.clear()
    browser.open(page)
    yield browser
    browser.evaluate("0")  # whatever has been said before is then known
    assert only_itself(browser, page)
    assert browser.errors == []


def only_itself(browser, page):
    """Whether the browser has asked for nothing but the page and the worker that stands in it."""
    addresses = browser.requests
    return addresses and all(address == page.as_uri() or address.startswith("blob:null/") for address in addresses)


def revealed(browser):
    """How many pixels the page says are revealed."""
    return int(browser.evaluate("document.getElementById('count').textContent.split(' ')[0]"))


def press(browser, name):
    """Presses a button and waits for all draws."""
    browser.evaluate(f"document.documentElement.dataset.state = ''; document.getElementById('{name}').click()")
    browser.wait("document.documentElement.dataset.state === 'ready'")
    browser.wait("document.getElementById('ask').getAttribute('aria-busy') === 'false'")


def board(browser):
    """Its place in the window: x, y, width, height."""
    return browser.evaluate(
        "(() => { const box = document.getElementById('board').getBoundingClientRect();"
        " return [box.x, box.y, box.width, box.height]; })()"
    )


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (360, False), (360, True)])
def test_numbers_are_pythons_and_nothing_is_asked_for(browser, page, width, dark):
    browser.requests.clear()
    browser.errors.clear()
    browser.open(page, width, dark=dark)
    assert 0 <= float(browser.evaluate("document.documentElement.dataset.difference")) < 1e-4
    assert "differ by" in browser.evaluate("document.getElementById('check').textContent")
    press(browser, "random")
    assert only_itself(browser, page)
    assert browser.errors == []
    assert browser.evaluate(f"document.documentElement.scrollWidth <= {width}")
    assert browser.evaluate("document.documentElement.dataset.theme") == ("dark" if dark else "light")


def test_a_request_would_be_seen_and_is_refused(opened, page):
    """The two tests of the one above: the browser tells of requests, and the page's policy lets none out."""
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.path)
            self.send_error(404)

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        for attempt in (f"fetch('{address}fetch').catch(() => 0)", f"new Image().src = '{address}image'",
                        f"new WebSocket('{address}socket'.replace('http', 'ws')).onerror = () => 0"):
            opened.evaluate(attempt)
        opened.wait("true")
        assert len([text for text in opened.errors if "Content Security Policy" in str(text)]) >= 3
        assert seen == []
        server.shutdown()
    assert not only_itself(opened, page)
    opened.requests[:] = [page.as_uri()]
    opened.errors.clear()


def test_pixels_are_revealed_by_click_stroke_keys_and_the_model(opened):
    press(opened, "clear")
    assert revealed(opened) == 0
    x, y, width, _ = board(opened)
    side = width / SHAPE[1]
    opened.click(x + 2.5 * side, y + 3.5 * side)
    opened.wait("document.getElementById('count').textContent.startsWith('1 ')")
    opened.click(x + 4.5 * side, y + 3.5 * side, to=(x + 7.5 * side, y + 3.5 * side))
    opened.wait("document.getElementById('count').textContent.startsWith('5 ')")  # and four more, all on the way
    opened.click(x + 2.5 * side, y + 3.5 * side)  # hidden again
    opened.wait("document.getElementById('count').textContent.startsWith('4 ')")
    opened.evaluate("document.getElementById('board').focus()")
    for name, text in (("ArrowUp", None), (" ", " "), ("ArrowLeft", None), (" ", " ")):
        opened.key(name, text)
    opened.wait("document.getElementById('count').textContent.startsWith('6 ')")
    for name, number in (("ask", 12), ("random", 18), ("ask", 24)):
        press(opened, name)
        opened.wait(f"document.getElementById('count').textContent.startsWith('{number} ')")
    sentence = opened.evaluate("document.getElementById('sentence').textContent")
    assert sentence.startswith("24 pixels are revealed. At the hidden pixels the mean of the draws is off by 0.")


def test_a_finger_reveals_and_does_not_scroll(opened, page):
    opened.open(page, 360, 640)
    opened.send("Emulation.setTouchEmulationEnabled", enabled=True)
    press(opened, "clear")
    opened.evaluate("scrollTo(0, 0)")
    x, y, width, height = board(opened)
    column = x + 4.5 * width / SHAPE[1]
    for kind, row in (("touchStart", 2.5), ("touchMove", 5.5), ("touchMove", 8.5)):
        point = {"x": column, "y": y + row * height / SHAPE[0]}
        opened.send("Input.dispatchTouchEvent", type=kind, touchPoints=[point])
    opened.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    opened.wait("document.getElementById('count').textContent.startsWith('7 ')")
    assert opened.evaluate("scrollY") == 0
    opened.send("Emulation.setTouchEmulationEnabled", enabled=False)


def test_all_pixels_may_be_revealed(opened):
    opened.evaluate("for (let n = 0; n < 30; n++) document.getElementById('random').click()")
    opened.wait("document.getElementById('sentence').textContent.startsWith('All pixels are revealed')")
    assert opened.evaluate("document.getElementById('ask').disabled && document.getElementById('random').disabled")
    press(opened, "clear")
    assert not opened.evaluate("document.getElementById('ask').disabled")


def test_what_is_drawn_is_what_the_model_sees(opened):
    press(opened, "own")
    blank = opened.evaluate("[...document.getElementById('truth').getContext('2d').getImageData(0, 0, 9, 13).data]")
    assert max(np.reshape(blank, (-1, 4))[:, :3].ravel()) == 0
    opened.evaluate("document.getElementById('pen').value = '#ff0000'")
    x, y, width, height = board(opened)
    opened.click(x + 0.2 * width, y + 0.5 * height, to=(x + 0.8 * width, y + 0.5 * height))
    opened.wait("document.getElementById('truth').getContext('2d').getImageData(4, 6, 1, 1).data[0] === 255")
    assert opened.evaluate("[...document.getElementById('truth').getContext('2d').getImageData(4, 6, 1, 1).data]") == [
        255, 0, 0, 255,
    ]
    assert revealed(opened) == 0
    opened.evaluate("document.getElementById('done').click()")
    press(opened, "random")
    assert revealed(opened) == 6


@pytest.mark.filterwarnings("ignore:mask")
def test_draws_of_the_page_are_pythons(browser, tmp_path):
    """Through the worker, and not by the page's own comparison."""
    model = model_of(SHAPE, "multi_decoder", "spatial", False)
    path = tmp_path / "page.html"
    path.write_text(built(model), encoding="utf-8")
    browser.open(path)
    image, masks = image_and_masks(SHAPE)
    noise = draw_noise(KEY, DRAWS, 0, model.config.model.latent_dim)
    found = browser.evaluate(f"""(() => {{
        const page = JSON.parse(document.getElementById("data").textContent);
        const model = new Model(page, bytesOf(document.getElementById("weights").textContent));
        const floats = (text) => new Float32Array(bytesOf(text));
        const mask = Uint8Array.from(floats("{base64_of(masks[1])}"));
        return new Promise((resolve) => serve(model, (answer) => resolve([...answer.mean, ...answer.deviation]))({{
            id: 1, imageId: 1, image: floats("{base64_of(image / np.float32(255))}"), mask,
            noise: floats("{base64_of(noise)}") }}));
    }})()""")
    draws = model.sample(DRAWS, KEY, image[None], masks[1])
    np.testing.assert_allclose(np.split(np.array(found), 2), [draws.mean(0).ravel(), draws.std(0).ravel()], atol=1e-4)


@pytest.mark.parametrize(
    "without",
    [
        "delete window.Worker",
        "window.Worker = class { constructor() { setTimeout(() => this.onerror({})); } postMessage() {} }",
    ],
    ids=["none", "refused"],
)
def test_a_browser_without_workers_runs_the_model_itself(browser, page, without):
    script = browser.send("Page.addScriptToEvaluateOnNewDocument", source=without)
    try:
        browser.requests.clear()
        browser.open(page)
        assert float(browser.evaluate("document.documentElement.dataset.difference")) < 1e-4
        assert browser.requests == [page.as_uri()]
    finally:
        browser.send("Page.removeScriptToEvaluateOnNewDocument", identifier=script["identifier"])


def test_all_that_is_to_be_seen_or_touched_has_a_name(opened):
    nameless = opened.evaluate("""[...document.querySelectorAll("canvas, button, input")].filter((element) =>
        !(element.getAttribute("aria-label") || element.closest("label") || element.textContent.trim())
        && !element.parentElement.getAttribute("aria-label")).map((element) => element.outerHTML)""")
    assert nameless == []


def test_the_theme_can_be_changed(opened):
    background = "getComputedStyle(document.body).backgroundColor"
    before = opened.evaluate(background)
    opened.evaluate("document.getElementById('theme').click()")
    assert opened.evaluate(background) != before
