"""A workflow: groups of nodes as MLRun jobs, which find what the others of them save."""

import json
import os
import sys
import uuid
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel

from ..lazy import mlrun
from ..records.records import Records
from ..records.summaries import summary
from ..runs.chain import chain_id
from ..runs.manager import MLRunContextManager
from ..store.fields import flatten, run_name
from ..store.rows import TERMINAL_STATES
from ..text import visible
from .checks import check
from .function import on_cluster
from .groups import Group, GroupBy, crossing, grouped
from .parameters import JobError, JobParameters, Names, Text
from .plan import Plan, make_plan, project_for
from .source import upload
from .submit import run_here, submit, wait_for

GROUP, WORKFLOW = "kedro-group", "workflow"
"""The labels of a job's run: what it runs, and MLRun's own with the id of its workflow."""
TOLD = "kedro-workflow"
"""The annotation of a job's run with what its workflow was told to run, to resume it by its id."""


class WorkflowParameters(BaseModel, extra="forbid", coerce_numbers_to_str=True):
    """What a workflow is told; see `mlrun_workflow.pipeline`."""

    names: Names = []
    group_by: GroupBy | None = None
    env: Text = None
    params: Any = ""
    resume: Text = None
    chain_id: Text = None
    archive: Text = None
    allow_lost: Names = []


@dataclass
class Workflow:
    """A workflow that can be started: jobs to start by group, and ids of runs that are done."""

    groups: list[Group]
    jobs: dict[str, Plan]
    told: WorkflowParameters
    id: str = ""
    done: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Show what would be started, and what crosses from job to job."""
        parts = {group.name: group.part for group in self.groups}
        specs = {name: plan.function["spec"] for name, plan in self.jobs.items()}
        groups = [
            {"group": name, "nodes": [node.name for node in group.part.nodes]}
            | {"after": [*group.after], "spec": specs.get(name), "run": self.done.get(name)}
            for group in self.groups
            for name in [group.name]
        ]
        told = {"store": MLRunContextManager().location, "workflow": self.id or None}
        return {**told, "groups": groups, "crossing": crossing(parts)}


def prepare_workflow(told: WorkflowParameters, source: str | None = "archive") -> Workflow:
    """Make sure that a workflow can run, or go on, before any of its jobs is started.

    See `plan.Project` for the source.
    """
    from kedro.framework.cli.utils import _split_params

    context, option = click.Context(click.Command("workflow")), click.Option(["--params"])
    # Of a text; a dict stays one.
    earlier = _newest(told.resume) if told.resume else {}
    told = _as_before(told, earlier) if told.resume else told
    params = flatten(_split_params(context, option, told.params))
    # Not the environment's: what starts the jobs of a remote workflow may have another one.
    chain = told.resume or told.chain_id
    common = JobParameters(env=told.env, chain_id=chain, runtime_params=params)
    with project_for(common, source) as project:
        from kedro.framework.project import pipelines

        groups = grouped(pipelines, told.names, told.group_by or "pipeline")
        done = _done(str(told.resume), groups, earlier) if earlier else {}
        plans, parts = dict[str, Plan](), {group.name: group.part for group in groups}
        what = told.model_dump(include={"names", "group_by", "env", "params"})
        for group in groups:
            job = common.model_copy(update=group.told)
            plan = make_plan(project, job, group=group.name, allow_lost=told.allow_lost)
            plan.task["metadata"]["annotations"][TOLD] = json.dumps(what, default=str)
            plans[group.name] = plan
        jobs = {name: check(plan, parts) for name, plan in plans.items() if name not in done}
    return Workflow(groups, jobs, told, chain or chain_id(), done)


def _newest(workflow: str) -> dict[str, dict[str, Any]]:
    """Give the newest run of each group of a workflow."""
    records = Records(*MLRunContextManager().to_read())
    runs = records.runs(limit=None, labels=(f"{WORKFLOW}={workflow}",))
    # Others of the same chain are no workflow's.
    groups = ((run["metadata"]["labels"].get(GROUP), run) for run in reversed(runs))
    return {group: run for group, run in groups if group}


def _as_before(told: WorkflowParameters, runs: Mapping[str, Any]) -> WorkflowParameters:
    """Complete what a workflow is told when it is resumed by what it was told at first."""
    if not runs:
        where = MLRunContextManager().location
        raise JobError(f"There is no workflow '{told.resume}' in {where}. Copy its id again.")
    texts = (run["metadata"].get("annotations", {}).get(TOLD) for run in runs.values())
    first = json.loads(next(filter(None, texts), "{}"))
    return told.model_copy(update={k: v for k, v in first.items() if not getattr(told, k)})


def _done(workflow: str, groups: Sequence[Group], runs: Mapping[str, Any]) -> dict[str, str]:
    """Give the runs of a workflow that needn't be done again, of the newest of each group."""
    done = dict[str, str]()
    for group in groups:
        run = summary(runs.get(run_name(group.name), {}))
        if run["state"] not in {"", *TERMINAL_STATES}:
            raise JobError(
                f"Job '{group.name}' of workflow '{workflow}' is {run['state']}: run {run['uid']}. "
                "Wait for its end, or abort it."
            )
        # What comes after a job that runs again has to take its data.
        if run["state"] == "completed" and all(name in done for name in group.after):
            done[group.name] = run["uid"]
    return done


def run_workflow(
    workflow: Workflow, engine: str = "local", local: bool = False, watch: bool = False
) -> dict[str, Any]:
    """Run a workflow, and tell what became of it and of each of its groups.

    Engine `local` starts one job after the other from here, with `local` in this process; `remote`
    has a job of its own start them. `watch` shows the logs of submitted jobs as they come, and with
    engine `remote` waits for the end at all.
    """
    remote, ended = engine == "remote", engine == "local" or watch
    # With an id of the user's own there may be others.
    others = _newest(workflow.id).values() if workflow.id else ()
    before = {run["metadata"]["uid"] for run in others} - {*workflow.done.values()}
    if workflow.jobs and remote:
        _run_remote(workflow, watch)
    else:
        run_jobs(workflow, local, watch)
    found = map(summary, _newest(workflow.id).values())
    runs = {run["labels"][GROUP]: run for run in found if run["uid"] not in before}
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
        plan.task["metadata"]["labels"] |= {GROUP: run_name(name), WORKFLOW: workflow.id}
        click.echo(visible(f"Job '{name}': run {plan.uid}"), err=True)
        if local:
            completed = run_here(plan)
        else:
            submit(plan)
            with open(os.devnull, "w") as nowhere, redirect_stdout(sys.stdout if logs else nowhere):
                completed = wait_for(plan.uid, plan.project.name)
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
    name, path = plan.project.name, file.relative_to(folder).as_posix()
    # Of this folder, for the runner gets the workflow's file by its path in the project.
    project = mlrun.load_project(str(folder), name=name, save=False, allow_cross_project=True)
    engine, image = "remote:local", plan.function["spec"]["image"]
    project.set_workflow("main", path, engine=engine, handler="pipeline", image=image)
    url = upload(archive, MLRunContextManager().artifact_path)
    workflow.id = workflow.id or uuid.uuid4().hex
    told = workflow.told.model_copy(update={"archive": url, "chain_id": workflow.id})
    # A path alone is to MLRun a folder of the image.
    source = url if "://" in url else f"file://{url}"
    how = {"engine": engine, "source": source, "dirty": True, "local": False, "watch": watch}
    run = project.run("main", arguments=told.model_dump(), **how)
    if run.exc and not isinstance(run.exc, mlrun.runtimes.utils.RunError):
        # Not a job's, such as when an API takes no workflow.
        why = str(run.exc).rstrip(".")
        raise click.ClickException(f"{why}. Use --engine local.") from run.exc


def run_as_told(arguments: Mapping[str, Any]) -> None:
    """Run a workflow within MLRun's engine, which has called `mlrun_workflow.pipeline`."""
    told = WorkflowParameters(**arguments)
    # MLRun forgets which workflow it is at when a project is opened.
    context = mlrun.projects.pipeline_context
    local = context.workflow.engine == "local" and context.is_run_local()
    workflow = prepare_workflow(told, None if local else told.archive or "archive")
    workflow.id = workflow.id or context.workflow_id
    # It was made before the store was known.
    context.workflow_artifact_path = ""
    if not run_jobs(workflow, local, logs=True):
        raise mlrun.runtimes.utils.RunError(
            f"The workflow failed. To continue: kedro mlrun workflow --resume {workflow.id}"
        )
