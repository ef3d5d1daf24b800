"""The simplest way to train many runs: in this process, one after another."""

from mtvae_jax.study.attempt import attempt


def in_turn(tasks, logs, *, stop_requested):
    """**Arguments:** `tasks`: of `tasks.make_tasks`; `logs`: folder of the runs' text files; `stop_requested`: asked
    about once a second.
    **Returns:** an iterator of an `attempt.Outcome` for each task.
    **Raises:** `loop.Stopped`.
    """
    for task in tasks:
        log = logs / f"{task.workdir.name}.txt"
        yield attempt(task.config, task.workdir, log, stop_requested=stop_requested)
