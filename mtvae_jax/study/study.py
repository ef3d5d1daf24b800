"""A study from its first run to its report; stopped anywhere, the same call goes on."""

import sys
from pathlib import Path

import jax

from mtvae_jax.errors import UserError, number_of
from mtvae_jax.study.catalogue import plan
from mtvae_jax.study.collect import read_earlier
from mtvae_jax.study.config import earlier_tables, protocol_of, study_hash
from mtvae_jax.study.processes import in_processes
from mtvae_jax.study.progress import StudyProgress
from mtvae_jax.study.protocols import AUTO
from mtvae_jax.study.side_by_side import side_by_side
from mtvae_jax.study.slurm import on_slurm
from mtvae_jax.study.tasks import make_tasks
from mtvae_jax.workdir.directory import user_path


def run_study(config, folder=None, *, stop_requested=lambda: False, stream=None):
    """Trains what is missing, collects everything, judges the claims and writes the report.

    **Arguments:** `config`: of `study_config`; `folder`: for tables and report, studies/NAME-PROTOCOL-HASH if None;
    `stop_requested`: asked about once a second; `stream`: where progress goes, standard output if None.
    **Returns:** {work directory: error in one line}, of the runs that failed.
    **Raises:** `UserError`; `loop.Stopped` after saving, where `stop_requested` said so.
    """
    stream = sys.stdout if stream is None else stream
    if jax.distributed.is_initialized():  # jax.process_count() would take the memory of the GPU that the runs need
        raise UserError("a study starts processes of its own: start it once, not in several processes")
    protocol = protocol_of(config)
    earlier = read_earlier(earlier_tables(config))
    tasks = make_tasks(plan(config.study, protocol), protocol, config.runs)
    folder = user_path(folder or Path("studies") / f"{config.study}-{config.protocol}-{study_hash(config)}")
    _make(folder)

    runs = {task.workdir: task for task in tasks.values()}
    complete = sum(task.complete for task in runs.values())
    known = sum(not task.complete and task.workdir.name in earlier for task in runs.values())
    print(f"study {config.study}, protocol {protocol.name}: {number_of(len(runs), 'run')}, {complete} complete"
          + (f", {known} known from an earlier report" if known else ""), file=stream, flush=True)
    failures = {}
    rounds = [] if config.report_only else _rounds(config, protocol, tasks, failures, earlier, stream)
    for waiting in rounds:
        progress = StudyProgress(waiting, stream=stream)
        for outcome in _outcomes(config, waiting, folder, stop_requested):
            progress.done(outcome)
            if outcome.error is not None:
                failures[outcome.workdir] = outcome.error

    # Here, because drawing and judging are not for a study that is only being trained
    from mtvae_jax.study.results import write_results

    print(f"report: {write_results(config, protocol, tasks, failures, earlier, folder)}", file=stream)
    return failures


def _rounds(config, protocol, tasks, failures, earlier, stream):
    """Lists of tasks to be trained, the next one when those are done; `tasks` gets what the rule asks for besides."""

    def done(task):
        return task.complete or task.workdir.name in earlier or task.workdir in failures

    def task_of(factors):
        if factors not in tasks:
            tasks.update(make_tasks([factors], protocol, config.runs))
        return tasks[factors]

    def unique(of_round):
        return list({task.workdir: task for task in of_round if not done(task)}.values())

    if protocol.seeds != AUTO:
        yield unique(tasks.values())
        return
    from mtvae_jax.study.collect import collect
    from mtvae_jax.study.queue import next_round, outlook
    from mtvae_jax.study.verdicts import judge_claims

    while True:
        results = judge_claims(collect(tasks, failures, earlier))
        left = next_round(protocol, results, lambda factors: done(task_of(factors)))
        print(outlook(protocol, results), file=stream, flush=True)
        if not left:
            return
        yield unique(task_of(factors) for factors in left)


def _outcomes(config, waiting, folder, stop_requested):
    logs = folder / "logs"
    if config.where == "processes":
        return in_processes(waiting, logs, jobs=config.jobs, stop_requested=stop_requested)
    if config.where == "slurm":
        return on_slurm(waiting, logs, settings=config.slurm, jobs=config.jobs, stop_requested=stop_requested)
    return side_by_side(waiting, logs, replicates=config.replicates, stop_requested=stop_requested)


def _make(folder):
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}; give another directory with --workdir") from error
