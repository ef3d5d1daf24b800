"""Speaks as mtvae_jax.study.worker does, and does what the names of the runs say."""

import json
import os
import signal
import sys
from pathlib import Path


def say(**message):
    print(json.dumps(message), flush=True)


while True:
    say(ready=True)
    line = sys.stdin.readline()
    if not line:
        sys.exit(0)
    workdir = Path(json.loads(line)["workdir"])
    match workdir.name.split("-")[0]:
        case "fine" | "last":
            say(error=None, seconds=1.5)
            if workdir.name.startswith("last"):  # before it is ready again
                sys.exit(3)
        case "refused":
            say(error="config.x: is wrong", seconds=0.5)
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "cut":  # in the middle of an answer
            sys.stdout.write('{"error": ')
            sys.stdout.flush()
            sys.exit(1)
        case "long":
            workdir.with_suffix(".started").touch()
            sys.stdin.readline()
            workdir.with_suffix(".saved").touch()
            sys.exit(75)
