"""Chromium, driven by the pipe of its DevTools protocol; nothing but Python and the browser is needed."""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import time

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

# The browser reads from 3 and writes to 4.
_LAUNCH = """
import os, sys
for there, ours in zip((3, 4), [os.dup(int(ours)) for ours in sys.argv[1:3]]):
    os.dup2(ours, there)
    os.set_inheritable(there, True)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Browser:
    """One page in a headless Chromium; a context manager.

    **Arguments:** `folder`: an empty one, for its profile.
    **Attributes:** `requests`: the address of everything that the page has asked for; `errors`: what it has thrown, and
    what its console and its security policy complain of.
    """

    def __init__(self, folder):
        self._folder = folder
        self.requests = []
        self.errors = []
        self._next = 0
        self._answers = {}
        self._buffer = b""

    def __enter__(self):
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()

        self._process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCH, str(to_browser), str(from_browser), CHROMIUM, "--headless", "--no-sandbox",
             "--disable-gpu", "--remote-debugging-pipe", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", f"--user-data-dir={self._folder}", "about:blank"],
            pass_fds=(to_browser, from_browser), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        target = next(t for t in self._send("Target.getTargets")["targetInfos"] if t["type"] == "page")
        attached = self._send("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self._send("Browser.close")
        self._process.terminate()
        self._process.wait(30)
        os.close(self._out)
        os.close(self._in)

    def send(self, method, **params):
        """The result of a command to the page."""
        return self._send(method, self._session, **params)

    def open(self, path, width=1280, height=900, dark=False, scale=1):
        """Opens a file at a size of the window in CSS pixels, and waits until all is drawn."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale,
                  mobile=width < 600)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self.evaluate("window.left = true")  # of the page before, which may still answer for a while
        self.send("Page.navigate", url=path.as_uri())
        self.wait("!window.left && document.readyState === 'complete' && document.documentElement.dataset.difference")
        self.wait("document.getElementById('ask').getAttribute('aria-busy') === 'false'")

    def evaluate(self, expression):
        """The value of an expression, of what JSON knows."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise AssertionError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait(self, expression, seconds=60):
        """The value of an expression once it is true."""
        end = time.monotonic() + seconds
        while not (value := self.evaluate(expression)):
            if time.monotonic() > end:
                raise AssertionError(f"{expression}: not within {seconds} s; {self.errors}")
            time.sleep(0.05)
        return value

    def click(self, x, y, to=None):
        """A click at a place in the window, or a stroke to another."""
        at = {"x": x, "y": y, "button": "left", "clickCount": 1}
        self.send("Input.dispatchMouseEvent", type="mousePressed", **at)
        if to is not None:
            at |= {"x": to[0], "y": to[1]}
            self.send("Input.dispatchMouseEvent", type="mouseMoved", **at)
        self.send("Input.dispatchMouseEvent", type="mouseReleased", **at)

    def key(self, name, text=None):
        more = {} if text is None else {"text": text}
        self.send("Input.dispatchKeyEvent", type="keyDown", key=name, **more)
        self.send("Input.dispatchKeyEvent", type="keyUp", key=name)

    def screenshot(self, path):
        """Writes a PNG of the whole page."""
        data = self.send("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))

    def _send(self, method, session=None, **params):
        self._next += 1
        number = self._next
        message = {"id": number, "method": method, "params": params} | ({"sessionId": session} if session else {})
        os.write(self._out, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + 60
        while number not in self._answers:
            if not select.select([self._in], [], [], max(end - time.monotonic(), 0))[0]:
                raise AssertionError(f"{method}: Chromium does not answer")
            self._read()
        answer = self._answers.pop(number)
        if "error" in answer:
            raise AssertionError(f"{method}: {answer['error']}")
        return answer["result"]

    def _read(self):
        chunk = os.read(self._in, 1 << 20)
        if not chunk:
            raise OSError("Chromium has ended")
        *messages, self._buffer = (self._buffer + chunk).split(b"\0")
        for message in map(json.loads, messages):
            if "id" in message:
                self._answers[message["id"]] = message
            elif message["method"] == "Network.requestWillBeSent":
                self.requests.append(message["params"]["request"]["url"])
            elif message["method"] == "Runtime.exceptionThrown":
                self.errors.append(message["params"]["exceptionDetails"])
            elif message["method"] == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
                self.errors.append(message["params"]["entry"]["text"])
