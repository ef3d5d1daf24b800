"""Whether an address answers is known in time, whatever the network does."""

import http.server
import socket
import threading
import time

import pytest

from mtvae_jax.data import reachable


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server():
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(int(self.path.rsplit("/", 1)[1]))
            self.send_header("Location", "/200")
            self.send_header("Content-Length", str(1 << 40))  # a body that must not be waited for
            self.end_headers()

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.fixture
def silent():
    """The address of a host that takes connections and never says a word."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize("status", [200, 302])
def test_a_host_that_answers_is_reachable(server, status):
    assert reachable.why_unreachable([f"{server}/{status}"]) is None


def test_an_error_is_no_answer(server):
    assert "answers 403 Forbidden" in reachable.why_unreachable([f"{server}/403"])
    assert "answers 503" in reachable.why_unreachable([f"{server}/503"])


def test_one_host_of_many_that_does_not_answer_is_named(server):
    assert reachable.why_unreachable([f"{server}/200", "http://127.0.0.1:9/x"]) == "127.0.0.1:9 cannot be reached"


def test_a_silent_host_is_given_up(silent, monkeypatch):
    monkeypatch.setattr(reachable, "ANSWER_WITHIN", 0.3)
    started = time.monotonic()
    assert reachable.why_unreachable([f"http://{silent}/"]) == f"{silent} does not answer"
    assert time.monotonic() - started < 2


def test_a_proxy_is_asked_in_place_of_the_host(server, monkeypatch):
    monkeypatch.setenv("http_proxy", server)
    monkeypatch.setenv("no_proxy", "")
    assert reachable.why_unreachable(["http://images.invalid/200"]) is None
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert reachable.why_unreachable(["http://images.invalid/"]) == "images.invalid cannot be reached through the proxy"


def test_a_look_up_that_hangs_is_given_up(monkeypatch):
    released = threading.Event()

    def hang(*arguments, **keywords):
        released.wait(20)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setattr(reachable, "ALL_WITHIN", 0.3)
    started = time.monotonic()
    assert reachable.why_unreachable(["http://images.invalid/"]) == "no answer from images.invalid within 0.3 s"
    assert time.monotonic() - started < 2
    released.set()
