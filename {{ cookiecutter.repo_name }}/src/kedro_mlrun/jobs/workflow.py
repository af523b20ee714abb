"""A workflow: groups of nodes as MLRun jobs, which share what they save as one chain."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from ..project import MLRunConfig, config_loader
from ..records.records import RecordNotFoundError, summary
from ..runs.manager import MLRunContextManager
from ..secrets.known import given_later
from ..store.fields import run_name
from ..text import nearest
from .function import load_function, on_cluster
from .groups import Group, GroupBy, GroupsError, check_crossing, crossing, grouped, mounted
from .handler import folder_of_project
from .parameters import JobParameters, dotted
from .source import upload
from .submit import Plan, prepare

GROUP = "kedro-group"
"""The label of a job's run with the name of the group that it runs."""

CHAIN = "workflow"
"""MLRun's label for the runs of one workflow."""

FAILED_TO_START = "not started"


class WorkflowError(click.ClickException):
    """A workflow can't be started."""


@dataclass
class Workflow:
    """A workflow that can be started.

    Args:
        groups: what its jobs run, in their order.
        jobs: by group, the job to start; none for what is done.
        told: what it was made from, as the arguments of MLRun's workflow file.
        chain: the id of the workflow that goes on; empty for a new one, until it is started.
        done: by group, the run that completed before.
        waits_for: the id of the submitted run that is waited for.
    """

    groups: list[Group]
    jobs: dict[str, Plan]
    told: dict[str, Any]
    chain: str = ""
    done: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    waits_for: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Show what would be started.

        Returns:
            The `groups` in their order, each with the `spec` of the function that would run it, or
            the `run` that has completed it before; what is `crossing` between them; the `store`.
        """
        return {
            "store": MLRunContextManager().location,
            "workflow": self.chain or None,
            "groups": [
                {
                    "group": group.name,
                    "nodes": list(group.nodes),
                    "after": list(group.after),
                    "spec": self.jobs[group.name].function.to_dict()["spec"]
                    if group.name in self.jobs
                    else None,
                    "run": self.done[group.name]["metadata"]["uid"]
                    if group.name in self.done
                    else None,
                }
                for group in self.groups
            ],
            "crossing": [
                {"dataset": dataset, "from": maker, "to": users}
                for dataset, (maker, users) in crossing(self.groups).items()
            ],
        }


def prepare_workflow(
    names: Sequence[str] = (),
    group_by: GroupBy = "pipeline",
    env: str | None = None,
    runtime_params: Mapping[str, Any] | None = None,
    resume: str = "",
    source: str | None = "archive",
) -> Workflow:
    """Make sure that a workflow can run, before any of its jobs is started.

    Args:
        names: the pipelines; see `groups.grouped`.
        group_by: what becomes a job.
        env: Kedro's environment; None for the default one.
        runtime_params: values for Kedro's parameters, by their names, with dots for nested ones.
        resume: the id of a workflow that failed; the groups that it completed aren't run again.
        source: where the jobs have their source from, see `submit.prepare`; None for jobs in this
            process.

    Returns:
        What `run_workflow` takes.

    Raises:
        GroupsError: the pipelines can't become jobs, or data would be lost between them.
        RecordNotFoundError: there is no workflow to resume.
        WorkflowError: a job of the workflow to resume is going on.
        click.ClickException: a job can't be started; see `submit.prepare`.
    """
    from kedro.framework.project import pipelines
    from kedro.framework.session import KedroSession

    folder = folder_of_project()
    loader = config_loader(folder, env)
    groups = grouped(pipelines, names, group_by)
    if len({run_name(group.name) for group in groups}) < len(groups):
        raise GroupsError(
            f"MLRun couldn't tell the groups {', '.join(group.name for group in groups)} apart: a "
            "run's name has only letters, digits, dots, hyphens and underscores. Rename one."
        )
    overrides = MLRunConfig.load(loader, folder).jobs.overrides
    MLRunContextManager().connect()
    with given_later(source is not None and on_cluster()):
        session = KedroSession.create(folder, env=env, save_on_close=False)
        catalog = session.load_context().catalog
    volumes = [set(mounted(load_function(folder, overrides.get(group.name)))) for group in groups]
    check_crossing(groups, catalog, sorted(set.intersection(*volumes)))
    params = dict(runtime_params or {})
    done = _done(resume, groups) if resume else {}
    jobs = {
        group.name: prepare(
            JobParameters(
                pipeline=list(group.pipelines),
                nodes=list(group.nodes) if group.part else [],
                env=env,
                chain_id=resume or None,
                runtime_params=params,
            ),
            {},
            source,
            name=group.name,
            overrides=overrides.get(group.name),
        )
        for group in groups
        if group.name not in done
    }
    told = {
        "names": ",".join(names),
        "group_by": group_by,
        "env": env or "",
        "params": params,
        "resume": resume,
    }
    return Workflow(groups, jobs, told, resume, done)


def _runs_of(chain: str) -> list[dict[str, Any]]:
    """Give the runs of a workflow, newest first."""
    project = MLRunContextManager().project.metadata.name
    import mlrun

    runs = mlrun.get_run_db().list_runs(
        project=project,
        labels=[f"{CHAIN}={chain}"],
        # Without it, MLRun lists the runs of one week.
        start_time_from=datetime(2000, 1, 1, tzinfo=UTC),
    )
    began = [run for run in runs if run["metadata"].get("labels", {}).get(CHAIN) == chain]
    return sorted(began, key=lambda run: str(run["status"].get("start_time")), reverse=True)


def _newest(chain: str) -> dict[str, dict[str, Any]]:
    """Give the newest run of each group of a workflow."""
    newest: dict[str, dict[str, Any]] = {}
    for run in _runs_of(chain):
        group = run["metadata"]["labels"].get(GROUP)
        if group:
            newest.setdefault(group, run)
    return newest


def _done(chain: str, groups: Sequence[Group]) -> dict[str, Mapping[str, Any]]:
    """Tell what of a workflow needn't be done again."""
    runs = _newest(chain)
    if not runs:
        raise RecordNotFoundError(
            f"There is no workflow '{chain}' in {MLRunContextManager().location}. "
            f"{nearest(chain, _chains())}".strip()
        )
    done: dict[str, Mapping[str, Any]] = {}
    for group in groups:
        run = runs.get(run_name(group.name))
        state = run["status"].get("state") if run else ""
        if run and state in {"running", "pending", "created", "aborting"}:
            raise WorkflowError(
                f"Job '{group.name}' of workflow '{chain}' is {state}: run "
                f"{run['metadata']['uid']}. Wait for its end, or abort it."
            )
        # What comes after a job that runs again has to take its data.
        if run and state == "completed" and all(name in done for name in group.after):
            done[group.name] = run
    return done


def _chains() -> set[str]:
    import mlrun

    project = MLRunContextManager().project.metadata.name
    runs = mlrun.get_run_db().list_runs(project=project, labels=[GROUP])
    return {run["metadata"].get("labels", {}).get(CHAIN, "") for run in runs}


# ---- inside MLRun's engine


def run_as_told(arguments: Mapping[str, Any]) -> None:
    """Start the jobs of a workflow that MLRun runs.

    Args:
        arguments: those of `workflow.pipeline`.

    Raises:
        mlrun.runtimes.utils.RunError: a job failed.
    """
    import mlrun

    context = mlrun.projects.pipeline_context
    project, started = context.project, context.workflow
    # Kubeflow Pipelines calls the handler with placeholders, where a value has to be known here.
    plain = {name: value for name, value in arguments.items() if isinstance(value, str | Mapping)}
    told = {**plain, **(started.args or {})}
    archive = told.get("archive") or ""
    local = started.engine == "local" and context.is_run_local()
    workflow = prepare_workflow(
        [name for part in told.get("names", "").split(",") if (name := part.strip())],
        told.get("group_by") or "pipeline",
        told.get("env") or None,
        _read_params(told.get("params") or ""),
        str(told.get("resume") or ""),
        None if local or archive else "archive",
    )
    # MLRun forgets which workflow it is at when a project is opened.
    context.set(project, started)
    start_jobs(workflow, local, archive)


def _read_params(params: str | Mapping[str, Any]) -> dict[str, Any]:
    """Read Kedro's parameters as `kedro run --params` has them."""
    if not isinstance(params, str):
        return dotted(params)
    from kedro.framework.cli.utils import _split_params

    context = click.Context(click.Command("workflow"))
    return dotted(_split_params(context, click.Option(["--params"]), params))


def start_jobs(workflow: Workflow, local: bool, archive: str = "", logs: bool = True) -> None:
    """Start one job after the other, within a workflow of MLRun.

    Args:
        workflow: what to run.
        local: whether the jobs run in this process.
        archive: where the project's source was put; empty to send it now.
        logs: whether the logs of submitted jobs are shown as they come.

    Raises:
        mlrun.runtimes.utils.RunError: a job failed. Those after it aren't started.
    """
    import mlrun

    context = mlrun.projects.pipeline_context
    if context.workflow_id:
        # So that what goes on is one workflow from the job's first record on.
        context.workflow_id = workflow.chain = workflow.chain or context.workflow_id
    path = context.workflow_artifact_path or ""
    if "://" not in path and not Path(path).is_absolute():
        # `mlrun project` made it before the store was known.
        path = mlrun.mlconf.artifact_path
    in_kubeflow = context.workflow.engine == "kfp"
    steps: dict[str, Any] = {}
    for group in workflow.groups:
        job = workflow.jobs.get(group.name)
        if job is None:
            continue
        if job.archive and not archive and not local:
            archive = upload(job.archive, mlrun.mlconf.artifact_path)
        if archive:
            workdir = job.function.spec.workdir
            job.function.with_source_archive(archive, workdir=workdir, pull_at_runtime=True)
        labels = {**job.task.metadata.labels, GROUP: run_name(group.name)}
        job.task.metadata.labels = labels
        if in_kubeflow:
            # It may start the job several times, and each is a run of its own.
            job.task.metadata.uid = None
        else:
            click.echo(f"Job '{group.name}': run {job.task.metadata.uid}", err=True)
            workflow.waits_for = "" if local else job.task.metadata.uid
        step = mlrun.run_function(
            job.function,
            name=job.task.metadata.name,
            base_task=job.task,
            labels=labels,
            local=local,
            watch=logs,
            output_path=path,
        )
        steps[group.name] = step
        if in_kubeflow:
            step.after(*[steps[name] for name in group.after if name in steps])
        elif not local and not logs:
            step.wait_for_completion(sleep=1, raise_on_failure=False, show_logs=False)
            if step.state() != "completed":
                raise mlrun.runtimes.utils.RunError(step.error)


# ---- starting one


def run_workflow(
    workflow: Workflow, engine: str = "local", local: bool = False, watch: bool = False
) -> dict[str, Any]:
    """Run a workflow with one of MLRun's engines.

    Args:
        workflow: what `prepare_workflow` gave.
        engine: `local`, which starts one job after the other from here; `kfp`, Kubeflow Pipelines;
            or `remote`, which is `local` in a job of its own.
        local: with the local engine, whether the jobs run in this process.
        watch: whether to show the logs of submitted jobs as they come; and with the other engines,
            to wait for the end at all.

    Returns:
        What became of it: the `workflow`'s id, its `state`, and of each of its `groups` the `run`,
        `state`, `seconds` and `error`.

    Raises:
        WorkflowError: the engine can't run it.
    """
    if not workflow.jobs:
        return outcome(workflow, workflow.chain, ended=True)
    project = MLRunContextManager().project
    _check_engine(engine)
    import mlrun

    if engine == "remote":
        run = _run_remote(workflow, project.metadata.name, watch)
    else:
        with _quiet(project):
            run = project.run(
                workflow_handler=lambda: start_jobs(workflow, local, logs=watch),
                engine=engine,
                local=local,
                # The local engine is done by now; MLRun would only tell its API of that.
                watch=watch and engine != "local",
            )
    if run.exc and not isinstance(run.exc, mlrun.runtimes.utils.RunError):
        # Not a job's, such as when an API takes no workflow.
        raise run.exc if isinstance(run.exc, click.ClickException) else WorkflowError(str(run.exc))
    return outcome(workflow, workflow.chain or str(run.run_id), engine == "local" or watch)


def _check_engine(engine: str) -> None:
    if engine == "local":
        return
    if not on_cluster():
        raise WorkflowError(
            f"Engine '{engine}' needs an MLRun API, and the embedded store is none. Set "
            "MLRUN_DBPATH to the address of one, or use --engine local."
        )
    if engine == "kfp" and not importlib.util.find_spec("kfp"):
        raise WorkflowError(
            "Engine 'kfp' needs Kubeflow Pipelines' client, mlrun[kfp18], which isn't installed, "
            "and can't be beside this project's pydantic 2. Use --engine remote, or local."
        )


def _run_remote(workflow: Workflow, name: str, watch: bool) -> Any:
    """Have a job of its own start the jobs: MLRun's workflow runner, with the project's source."""
    import mlrun

    folder = folder_of_project()
    file = Path(__file__).with_name("mlrun_workflow.py")
    job = next(iter(workflow.jobs.values()))
    if not job.archive or not file.is_relative_to(folder):
        raise WorkflowError(
            "Engine 'remote' sends the project's source, and this package is installed without it. "
            "Run this in the project's folder."
        )
    # Of this folder, for the runner gets the workflow's file by its path in the project.
    project = mlrun.load_project(str(folder), name=name, save=False, allow_cross_project=True)
    project.set_workflow(
        "main",
        file.relative_to(folder).as_posix(),
        engine="remote:local",
        handler="pipeline",
        image=job.function.spec.image,
    )
    archive = upload(job.archive, mlrun.mlconf.artifact_path)
    with _quiet(project):
        return project.run(
            "main",
            arguments={**workflow.told, "archive": archive},
            engine="remote:local",
            source=archive,
            dirty=True,
            local=False,
            watch=watch,
        )


@contextmanager
def _quiet(project: Any) -> Iterator[None]:
    """Keep MLRun from telling of what the table at the end tells, with tracebacks."""
    import mlrun

    def is_told(entry: logging.LogRecord) -> bool:
        return entry.levelno >= logging.CRITICAL

    logger = mlrun.utils.logger._logger
    notifiers = project._notifiers
    project._notifiers = mlrun.utils.notifications.CustomNotificationPusher([])
    logger.addFilter(is_told)
    try:
        yield
    finally:
        logger.removeFilter(is_told)
        project._notifiers = notifiers


def outcome(workflow: Workflow, chain: str, ended: bool) -> dict[str, Any]:
    """Tell what became of a workflow.

    Args:
        workflow: the workflow.
        chain: its id.
        ended: whether it was waited for.

    Returns:
        See `run_workflow`.
    """
    runs = _newest(chain)
    groups = []
    for group in workflow.groups:
        run = runs.get(run_name(group.name))
        of_run = summary(run) if run else {}
        groups.append(
            {
                "group": group.name,
                "run": of_run.get("uid"),
                "state": of_run.get("state", FAILED_TO_START if ended else "created"),
                "seconds": of_run.get("seconds"),
                "error": of_run.get("error"),
                "earlier": group.name in workflow.done,
            }
        )
    completed = all(group["state"] == "completed" for group in groups)
    state = "completed" if completed else "error" if ended else "running"
    return {"workflow": chain, "state": state, "groups": groups}
