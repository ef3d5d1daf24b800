"""A process that trains the runs it is given: python -m mtvae_jax.study.worker [CORE,CORE,…]

It writes {"ready": true} to standard output, reads a run from standard input, {"config", "workdir", "log"}, writes how
it went, {"error", "seconds"}, and so on, a line of JSON each. It saves and ends when its input does, because there is
no more to do or its parent has died, and when it is asked to (SIGTERM, Ctrl-C).
"""

import json
import os
import select
import sys

_STOPPED = 75


def main():
    if len(sys.argv) > 1:
        # Before XLA counts the cores to see how many threads to start
        os.sched_setaffinity(0, {int(core) for core in sys.argv[1].split(",")})
    # Whatever else the process prints, XLA's own code included, must not get among the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    from mtvae_jax.config import from_dict
    from mtvae_jax.process import environment
    from mtvae_jax.process.stopping import StopRequest
    from mtvae_jax.study.attempt import attempt
    from mtvae_jax.training.loop import Stopped

    environment.configure()
    with StopRequest() as requested:

        def stop_requested():
            # The next run comes after the answer to this one: what can be read before is the end of the input.
            return requested() or bool(select.select([sys.stdin], [], [], 0)[0])

        while True:
            answers.write('{"ready": true}\n')
            line = sys.stdin.readline()
            if not line:
                return 0
            if stop_requested():
                return _STOPPED
            run = json.loads(line)
            try:
                outcome = attempt(from_dict(run["config"]), run["workdir"], run["log"], stop_requested=stop_requested)
            except Stopped:
                return _STOPPED
            answers.write(json.dumps({"error": outcome.error, "seconds": outcome.seconds}) + "\n")


if __name__ == "__main__":
    sys.exit(main())
