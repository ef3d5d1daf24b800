"""From complete runs to files: the table, the claims, the report."""

import datetime

from mtvae_jax.process import environment
from mtvae_jax.study.collect import collect, curves, write_csv, write_parquet
from mtvae_jax.study.effect_map import moving_factors
from mtvae_jax.study.pictures import both_reconstructions, sampling_types
from mtvae_jax.study.report import Results, write_report
from mtvae_jax.study.verdicts import judge_claims
from mtvae_jax.workdir.directory import read_run, read_summary


def write_results(config, protocol, tasks, failures, earlier, folder):
    """results.csv, results.parquet and the report, of the runs that are complete.

    **Arguments:** `config`: of the study; `protocol`; `tasks`: {`Factors`: `Task`}; `failures`: {work directory:
    error}; `earlier`: of `collect.read_earlier`; `folder`: of the study. **Returns:** the path of the report.
    """
    rows = collect(tasks, failures, earlier)
    if rows:
        write_csv(rows, folder / "results.csv")
        write_parquet(rows, folder / "results.parquet")
    runs = {task.workdir: task for task in tasks.values()}
    complete = [task for task in runs.values() if task.complete]
    known = [task for task in runs.values() if not task.complete and task.workdir.name in earlier]
    summaries = [read_summary(task.workdir) for task in complete]
    claims = [claim.to_dict() for claim in judge_claims(rows)]
    results = Results(
        study=config.study,
        protocol=protocol.name,
        settings=_settings(protocol),
        date=datetime.date.today().isoformat(),
        device=", ".join(sorted({summary["device"] for summary in summaries})) or environment.device(),
        versions=environment.versions(),
        hours=sum(summary["wall_seconds"] for summary in summaries) / 3600,
        data={
            task.config.data.name: read_run(task.workdir)["data"]
            for task in sorted(complete, key=lambda task: task.config.data.fold is None)  # the undivided one is shown
        },
        planned=len(runs),
        complete=len(complete) + len(known),
        earlier=len(known),
        failed=tuple(
            {"name": runs[workdir].name, "run": workdir.name, "error": error} for workdir, error in failures.items()
        ),
        rows=rows,
        claims=claims,
        factors=moving_factors(claims),
        curves=curves(tasks),
        pictures=both_reconstructions(tasks),
        sampling_types=sampling_types(protocol),
    )
    return write_report(results, folder)


def _settings(protocol):
    fields = ("datasets", "seeds", "folds", "fold_seeds", "epochs", "max_train", "exponents", "betas", "depths")
    values = {name: getattr(protocol, name) for name in fields} | {"networks": f"1/{protocol.narrower} of the channels"}
    return values | {"betas": tuple("default" if beta is None else beta for beta in protocol.betas)}
