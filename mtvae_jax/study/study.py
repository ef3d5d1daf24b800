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
    waiting = [task for task in runs.values() if not task.complete and task.workdir.name not in earlier]
    complete = sum(task.complete for task in runs.values())
    known = len(runs) - len(waiting) - complete
    print(f"study {config.study}, protocol {protocol.name}: {number_of(len(runs), 'run')}, {complete} complete"
          + (f", {known} known from an earlier report" if known else ""), file=stream, flush=True)
    failures = {}
    if not config.report_only:
        progress = StudyProgress(waiting, stream=stream)
        for outcome in _outcomes(config, waiting, folder, stop_requested):
            progress.done(outcome)
            if outcome.error is not None:
                failures[outcome.workdir] = outcome.error

    # Here, because drawing and judging are not for a study that is only being trained
    from mtvae_jax.study.results import write_results

    print(f"report: {write_results(config, protocol, tasks, failures, earlier, folder)}", file=stream)
    return failures


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
