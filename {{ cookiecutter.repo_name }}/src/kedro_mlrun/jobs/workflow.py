"""A workflow: groups of nodes as MLRun jobs, which find what the others of them save."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from ..lazy import mlrun
from ..records.records import RecordNotFoundError, Records
from ..records.summaries import UNENDED, summary
from ..runs.chain import chain_id
from ..runs.manager import MLRunContextManager
from ..runs.provenance import flatten
from ..store.fields import run_name
from ..text import nearest
from .checks import check
from .function import mounted, on_cluster
from .groups import Group, GroupBy, check_crossing, crossing, grouped
from .parameters import JobError, JobParameters
from .plan import Plan, make_plan, project_for
from .source import upload
from .submit import run_here, submit

GROUP, WORKFLOW = "kedro-group", "workflow"
"""The labels of a job's run: what it runs, and MLRun's own with the id of its workflow."""


@dataclass
class Workflow:
    """A workflow that can be started: the jobs to start by group, and the runs that are done."""

    groups: list[Group]
    jobs: dict[str, Plan]
    arguments: dict[str, Any]
    """What MLRun's workflow file would be told."""
    id: str = ""
    done: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    waits_for: str = ""
    """The id of the submitted run that is waited for."""

    def to_dict(self) -> dict[str, Any]:
        """Show what would be started, and what crosses from job to job."""
        parts = {group.name: group.part for group in self.groups}
        specs = {name: plan.function.to_dict()["spec"] for name, plan in self.jobs.items()}
        uids = {name: run["metadata"]["uid"] for name, run in self.done.items()}
        return {
            "store": MLRunContextManager().location,
            "workflow": self.id or None,
            "groups": [
                {
                    "group": group.name,
                    "nodes": [node.name for node in group.part.nodes],
                    "after": list(group.after),
                    "spec": specs.get(group.name),
                    "run": uids.get(group.name),
                }
                for group in self.groups
            ],
            "crossing": [
                {"dataset": dataset, "from": maker, "to": users}
                for dataset, (maker, users) in crossing(parts, parts).items()
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
    """Make sure that a workflow can run, or go on, before any of its jobs is started.

    See `groups.grouped` for the names, and `plan.Project` for the source.
    """
    params = dict(runtime_params or {})
    common = JobParameters(env=env, chain_id=resume or None, runtime_params=params)
    with project_for(common, source) as project:
        from kedro.framework.project import pipelines

        groups = grouped(pipelines, names, group_by)
        done = _done(resume, groups) if resume else {}
        overrides = MLRunContextManager().jobs.overrides
        plans, parts = dict[str, Plan](), {group.name: group.part for group in groups}
        for group in groups:
            job, changed = common.model_copy(update=group.told), overrides.get(group.name)
            plans[group.name] = make_plan(project, job, name=group.name, overrides=changed)
        mounts = set.intersection(*(set(mounted(plan.function)) for plan in plans.values()))
        check_crossing(project, parts, parts, mounts)
        jobs = {name: check(plan) for name, plan in plans.items() if name not in done}
    arguments = {
        "names": ",".join(names),
        "group_by": group_by,
        "env": env,
        "params": params,
        "resume": resume,
        "chain_id": resume or chain_id(),
    }
    return Workflow(groups, jobs, arguments, resume or chain_id(), done)


def _runs(label: str) -> list[dict[str, Any]]:
    """List the runs with a label, newest first."""
    manager = MLRunContextManager()
    return Records(manager.db, manager.project.metadata.name).runs(limit=None, labels=(label,))


def _newest(workflow: str) -> dict[str, dict[str, Any]]:
    """Give the newest run of each group of a workflow."""
    runs = reversed(_runs(f"{WORKFLOW}={workflow}"))
    return {run["metadata"]["labels"].get(GROUP, ""): run for run in runs}


def _done(workflow: str, groups: Sequence[Group]) -> dict[str, Mapping[str, Any]]:
    """Give the runs of a workflow that needn't be done again."""
    runs, done = _newest(workflow), dict[str, Mapping[str, Any]]()
    if not runs:
        known = {run["metadata"]["labels"].get(WORKFLOW, "") for run in _runs(GROUP)}
        raise RecordNotFoundError(
            f"There is no workflow '{workflow}' in {MLRunContextManager().location}. "
            f"{nearest(workflow, known)}".strip()
        )
    for group in groups:
        run = runs.get(run_name(group.name), {})
        state = run.get("status", {}).get("state")
        if state in UNENDED:
            raise JobError(
                f"Job '{group.name}' of workflow '{workflow}' is {state}: run "
                f"{run['metadata']['uid']}. Wait for its end, or abort it."
            )
        # What comes after a job that runs again has to take its data.
        if state == "completed" and all(name in done for name in group.after):
            done[group.name] = run
    return done


def run_workflow(
    workflow: Workflow, engine: str = "local", local: bool = False, watch: bool = False
) -> dict[str, Any]:
    """Run a workflow, and tell what became of it and of each of its groups.

    Engine `local` starts one job after the other from here, with `local` in this process; `remote`
    has a job of its own start them. `watch` shows the logs of submitted jobs as they come, and with
    engine `remote` waits for the end at all.
    """
    started = {plan.task.metadata.uid for plan in workflow.jobs.values()}
    started |= {run["metadata"]["uid"] for run in workflow.done.values()}
    if workflow.jobs and engine == "remote":
        _run_remote(workflow, watch)
    else:
        run_jobs(workflow, local, watch)
    runs = {
        name: summary(run)
        for name, run in _newest(workflow.id).items()
        # With an id of the user's own there may be others.
        if engine == "remote" or run["metadata"]["uid"] in started
    }
    ended = engine == "local" or watch
    nothing = {"state": "not started" if ended else "created"}
    groups = [
        {"group": group.name, "run": run.get("uid"), "earlier": group.name in workflow.done}
        | {name: run.get(name) for name in ("state", "seconds", "error")}
        for group in workflow.groups
        for run in [runs.get(run_name(group.name), nothing)]
    ]
    completed = all(group["state"] == "completed" for group in groups)
    state = "completed" if completed else "error" if ended else "running"
    return {"workflow": workflow.id, "state": state, "groups": groups}


def run_jobs(workflow: Workflow, local: bool, logs: bool) -> bool:
    """Start one job after the other, up to one that fails, and tell whether all completed."""
    workflow.id = workflow.id or uuid.uuid4().hex
    for name, plan in workflow.jobs.items():
        uid, project = plan.task.metadata.uid, plan.function.metadata.project
        plan.task.metadata.labels |= {GROUP: run_name(name), WORKFLOW: workflow.id}
        click.echo(f"Job '{name}': run {uid}", err=True)
        if local:
            completed = run_here(plan, show=False)
        else:
            workflow.waits_for = submit(plan)
            with open(os.devnull, "w") as nowhere, redirect_stdout(sys.stdout if logs else nowhere):
                state, _ = mlrun.get_run_db().watch_log(uid, project)
            completed = str(state) == "completed"
        if not completed:
            return False
    return True


def _run_remote(workflow: Workflow, watch: bool) -> None:
    """Have MLRun's workflow runner, a job of its own, start the jobs."""
    plan = next(iter(workflow.jobs.values()))
    folder, archive = plan.project.folder, plan.project.archive
    file = Path(__file__).with_name("mlrun_workflow.py")
    if not on_cluster() or not archive or not file.is_relative_to(folder):
        raise JobError(
            "Engine 'remote' needs an MLRun API, and kedro_mlrun in the project's source. Set "
            "MLRUN_DBPATH to the address of one, and put kedro_mlrun there with kedro mlrun init "
            "--vendor, or use --engine local."
        )
    # Of this folder, for the runner gets the workflow's file by its path in the project.
    project = mlrun.load_project(
        str(folder), name=plan.function.metadata.project, save=False, allow_cross_project=True
    )
    engine, image, path = "remote:local", plan.function.spec.image, file.relative_to(folder)
    project.set_workflow("main", path.as_posix(), engine=engine, handler="pipeline", image=image)
    url = upload(archive, mlrun.mlconf.artifact_path)
    run = project.run(
        "main",
        arguments={**workflow.arguments, "archive": url},
        engine=engine,
        source=url,
        dirty=True,
        local=False,
        watch=watch,
    )
    if run.exc and not isinstance(run.exc, mlrun.runtimes.utils.RunError):
        # Not a job's, such as when an API takes no workflow.
        raise click.ClickException(str(run.exc)) from run.exc
    workflow.id = workflow.id or str(run.run_id)


def run_as_told(arguments: Mapping[str, Any]) -> None:
    """Run a workflow within MLRun's engine, which has called `mlrun_workflow.pipeline`."""
    from kedro.framework.cli.utils import _split_params

    # MLRun forgets which workflow it is at when a project is opened.
    context = mlrun.projects.pipeline_context
    own_id = arguments["chain_id"] or context.workflow_id
    local = context.workflow.engine == "local" and context.is_run_local()
    command, option = click.Context(click.Command("workflow")), click.Option(["--params"])
    workflow = prepare_workflow(
        [name.strip() for name in arguments["names"].split(",") if name.strip()],
        arguments["group_by"],
        arguments["env"] or None,
        # A dict stays one.
        flatten(_split_params(command, option, arguments["params"])),
        str(arguments["resume"]),
        None if local else arguments["archive"] or "archive",
    )
    workflow.id = workflow.id or own_id
    # It was made before the store was known.
    context.workflow_artifact_path = ""
    if not run_jobs(workflow, local, logs=True):
        raise mlrun.runtimes.utils.RunError(f"Workflow {workflow.id} failed.")
