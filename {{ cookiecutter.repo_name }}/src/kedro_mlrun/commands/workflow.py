"""The command that runs the project's pipelines as several jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
from click import argument, option
from kedro.framework.cli.utils import _split_params
from rich.console import Group, RenderableType
from rich.text import Text

from ..jobs.parameters import dotted
from ..jobs.workflow import prepare_workflow, run_workflow
from . import tables
from .base import INTERRUPTED, Answer, command, leave_or_abort

if TYPE_CHECKING:
    from ..records.records import Records

ENGINES = ("local", "kfp", "remote")
GROUPINGS = ("pipeline", "namespace", "tag")
_CONTINUE = "To continue, add this to the command: --resume"


@command("workflow", "kedro mlrun workflow training evaluation --params split.seed=7")
@argument("names", metavar="[NAME]…", nargs=-1)
@option("--group-by", type=click.Choice(GROUPINGS), default="pipeline", help="What becomes a job.")
@option(
    "--engine",
    type=click.Choice(ENGINES),
    default="local",
    show_default=True,
    help="What starts the jobs: this command, Kubeflow Pipelines, or a job of its own.",
)
@option("--local/--remote", help="Run the jobs in this process, or submit them (the default).")
@option("--params", default="", callback=_split_params, help="Parameters, as in `kedro run`.")
@option("--resume", default="", metavar="ID", help="Continue this workflow where it failed.")
@option("--watch", "-w", is_flag=True, help="Show the jobs' logs; wait for the end.")
@option("--dry-run", is_flag=True, help="Show jobs and datasets between them; start nothing.")
def workflow(
    records: Records,
    names: Sequence[str],
    group_by: Any,
    engine: str,
    local: bool,
    params: Mapping[str, Any],
    resume: str,
    watch: bool,
    dry_run: bool,
) -> Answer:
    """Run pipelines as several jobs.

    Each pipeline NAME becomes a job; by default all pipelines but __default__. With --group-by
    namespace or tag, each namespace or tag in the pipelines becomes a job; by default those of
    __default__.
    """
    if local and engine != "local":
        raise click.UsageError(f"Engine '{engine}' runs no job in this process: leave out --local.")
    env, source = click.get_current_context().params["env"], None if local else "archive"
    prepared = prepare_workflow(names, group_by, env, dotted(params), resume, source)
    if dry_run:
        plan = prepared.to_dict()
        return Answer(plan, lambda _width: _plan(plan), whole=True)
    note = "" if prepared.jobs else f"All jobs of workflow '{resume}' are completed."
    try:
        told = run_workflow(prepared, engine, local, watch)
    except KeyboardInterrupt:
        if engine != "local" or not prepared.chain:
            raise
        # A job in this process has ended with that.
        if prepared.waits_for:
            leave_or_abort(prepared.waits_for, records.project)
        click.echo(f"No more jobs are started. {_CONTINUE} {prepared.chain}", err=True)
        raise click.exceptions.Exit(INTERRUPTED) from None
    error = f"{_failure(told)}\n{_CONTINUE} {told['workflow']}" if told["state"] == "error" else ""
    return Answer(told, lambda _width: _end(told), note, whole=True, error=error)


def _plan(told: Mapping[str, Any]) -> RenderableType:
    """Show what would run, and what would go from job to job."""
    jobs = [
        {
            "job": item["group"],
            "": "completed before" if item["run"] else "",
            "after": ", ".join(item["after"]) or "—",
            "nodes": ", ".join(item["nodes"]),
        }
        for item in told["groups"]
    ]
    crossing = [
        {"dataset": item["dataset"], "from": item["from"], "to": ", ".join(item["to"])}
        for item in told["crossing"]
    ]
    parts = [part for rows in (jobs, crossing) if rows for part in (tables.table(rows), Text())]
    return Group(*parts, Text(f"Runs would be recorded in {told['store']}. Nothing was started."))


def _end(told: Mapping[str, Any]) -> RenderableType:
    """Show what became of each job."""
    rows = [
        {
            "job": item["group"],
            "run": item["run"] or "—",
            "state": tables.shown_state(item["state"]),
            "took": tables.shown_seconds(item["seconds"]),
            "": "before" if item["earlier"] else "",
        }
        for item in told["groups"]
    ]
    state = tables.shown_state(told["state"])
    return Group(
        Text.assemble("\nWorkflow ", told["workflow"], ": ", state, "\n"), tables.table(rows)
    )


def _failure(told: Mapping[str, Any]) -> str:
    """Say which job failed, and with what."""
    failed = next(item for item in told["groups"] if item["state"] != "completed")
    # The first empty line divides what happened from where.
    why = (failed["error"] or f"Its state is {failed['state']}.").partition("\n\n")[0]
    return f"Job '{failed['group']}' failed. {why}"
