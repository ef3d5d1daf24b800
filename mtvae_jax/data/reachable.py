"""Whether addresses answer, known within seconds: a downloader that retries for minutes is asked only after this."""

import queue
import threading
import time
import urllib.parse

ANSWER_WITHIN = 4.0  # seconds, for each step of a request
ALL_WITHIN = 6.0  # seconds, for everything: the look-up of a name knows no time limit of its own


def why_unreachable(urls):
    """Asks one address of each host, all at once.

    Proxies and certificates are those of `requests`, which tensorflow-datasets downloads with.

    **Arguments:** `urls`: iterable of addresses.
    **Returns:** None if every host answers without an error; otherwise one line that names a host that does not.
    """
    one_of_each_host = {urllib.parse.urlsplit(url).netloc: url for url in urls}
    answers = queue.Queue()
    for host, url in one_of_each_host.items():
        # Daemons: a look-up that hangs must not keep the interpreter from ending.
        threading.Thread(target=lambda host=host, url=url: answers.put(_ask(host, url)), daemon=True).start()
    deadline = time.monotonic() + ALL_WITHIN
    for _ in one_of_each_host:
        try:
            problem = answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return f"no answer from {' or '.join(one_of_each_host)} within {ALL_WITHIN:g} s"
        if problem:
            return problem
    return None


def _ask(host, url):
    import requests

    try:
        with requests.get(url, stream=True, timeout=ANSWER_WITHIN) as response:
            return None if response.ok else f"{host} answers {response.status_code} {response.reason}"
    except requests.exceptions.ProxyError:
        return f"{host} cannot be reached through the proxy"
    except requests.exceptions.SSLError:
        return f"{host} has no certificate that is trusted here"
    except requests.exceptions.Timeout:
        return f"{host} does not answer"
    except (requests.exceptions.RequestException, OSError, ValueError):
        return f"{host} cannot be reached"
