"""The command that runs the project's pipelines as several jobs."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
from kedro.framework.cli.utils import _split_params

from .base import INTERRUPTED, answer, command, leave_or_abort, opened

if TYPE_CHECKING:
    from rich.console import RenderableType

ENGINES = ("local", "kfp", "remote")
GROUPINGS = ("pipeline", "namespace", "tag")


@command("workflow", "kedro mlrun workflow training evaluation --params split.seed=7")
@click.argument("names", metavar="[NAME]…", nargs=-1)
@click.option(
    "--group-by",
    type=click.Choice(GROUPINGS),
    default="pipeline",
    show_default=True,
    help="What becomes a job.",
)
@click.option(
    "--engine",
    type=click.Choice(ENGINES),
    default="local",
    show_default=True,
    help="What starts the jobs: this command, Kubeflow Pipelines, or a job of its own.",
)
@click.option(
    "--local/--remote",
    "local",
    default=False,
    help="With engine local: whether the jobs run in this process, or as submitted ones, which is "
    "the default.",
)
@click.option(
    "--params",
    default="",
    callback=_split_params,
    metavar="NAME=VALUE,…",
    help="Kedro's parameters, of all jobs, as `kedro run` has them.",
)
@click.option(
    "--resume",
    default="",
    metavar="CHAIN",
    help="Go on with the workflow of this id: what it has completed isn't run again.",
)
@click.option(
    "--watch",
    "-w",
    is_flag=True,
    help="Show the jobs' logs as they come. With engine kfp or remote: wait for the end.",
)
@click.option("--dry-run", is_flag=True, help="Show the jobs and what crosses; start nothing.")
def workflow(
    names: Sequence[str],
    group_by: Any,
    engine: str,
    local: bool,
    params: Mapping[str, Any],
    resume: str,
    watch: bool,
    dry_run: bool,
    env: str | None,
    as_json: bool,
) -> None:
    """Run pipelines as several jobs, one after the other.

    Each pipeline NAME is a job; without any, all but __default__. With --group-by namespace or tag,
    the nodes of the pipelines, by default of __default__, are grouped.
    """
    if local and engine != "local":
        raise click.UsageError(f"Engine '{engine}' runs no job in this process: leave out --local.")
    with opened(env) as records:
        from ..jobs.parameters import dotted
        from ..jobs.workflow import prepare_workflow, run_workflow

        source = None if local else "archive"
        values = dotted(params)
        prepared = prepare_workflow(names, group_by, env, values, resume, source)
        if not prepared.jobs:
            click.echo(f"All jobs of workflow '{resume}' are completed.", err=True)
        try:
            told = prepared.to_dict() if dry_run else run_workflow(prepared, engine, local, watch)
        except KeyboardInterrupt:
            if engine != "local" or not prepared.chain:
                raise
            # A job in this process has ended with that.
            if prepared.waits_for:
                leave_or_abort(prepared.waits_for, records.project)
            click.echo(
                "No other job is started. To go on, the same command with: "
                f"--resume {prepared.chain}",
                err=True,
            )
            raise click.exceptions.Exit(INTERRUPTED) from None
    if dry_run:
        answer(as_json, told, lambda _width: _plan(told), whole=True)
        return
    answer(as_json, told, lambda _width: _end(told), whole=True)
    if told["state"] == "error":
        from ..text import kedro_command

        options = {
            "--group-by": group_by if group_by != GROUPINGS[0] else "",
            "--engine": engine if engine != ENGINES[0] else "",
            "--params": ",".join(f"{name}={value}" for name, value in values.items()),
            "--env": env or "",
            "--resume": told["workflow"],
        }
        given = [word for option in options.items() if option[1] for word in option]
        again = shlex.join([*names, *(["--local"] if local else []), *given])
        raise click.ClickException(
            f"{_failure(told)}\nWhen that is mended, go on with: "
            f"{kedro_command()} mlrun workflow {again}"
        )


def _plan(told: Mapping[str, Any]) -> RenderableType:
    """Show what would run, and what would go from job to job."""
    from rich.console import Group
    from rich.text import Text

    jobs = [
        (
            item["group"],
            item["run"] and "completed before",
            ", ".join(item["after"]) or "—",
            ", ".join(item["nodes"]),
        )
        for item in told["groups"]
    ]
    parts: list[RenderableType] = [_table(("job", "", "after", "nodes"), jobs)]
    if told["crossing"]:
        crossing = [
            (item["dataset"], item["from"], ", ".join(item["to"])) for item in told["crossing"]
        ]
        parts += [Text(), _table(("dataset", "from", "to"), crossing)]
    return Group(*parts, Text(f"\nTo be recorded in {told['store']}. Nothing is started."))


def _end(told: Mapping[str, Any]) -> RenderableType:
    """Show what became of each job."""
    from rich.console import Group
    from rich.text import Text

    from .tables import STATES, shown_seconds

    rows = [
        (
            item["group"],
            item["run"] or "—",
            Text(item["state"], style=STATES.get(item["state"], "")),
            shown_seconds(item["seconds"]),
            "before" if item["earlier"] else "",
        )
        for item in told["groups"]
    ]
    state = Text(told["state"], style=STATES.get(told["state"], ""))
    return Group(
        Text.assemble("\nWorkflow ", told["workflow"], ": ", state, "\n"),
        _table(("job", "run", "state", "took", ""), rows),
    )


def _table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=True)
    for row in rows:
        # As Text, for Rich would take brackets for its markup.
        table.add_row(*(cell if isinstance(cell, Text) else Text(cell or "") for cell in row))
    return table


def _failure(told: Mapping[str, Any]) -> str:
    """Say which job failed, and with what."""
    failed = next(item for item in told["groups"] if item["state"] != "completed")
    # The first empty line divides what happened from where.
    why = (failed["error"] or f"Its state is {failed['state']}.").partition("\n\n")[0]
    return f"Job '{failed['group']}' failed. {why}"
