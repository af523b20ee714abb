"""Commands that start jobs, and look after them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

import click
from kedro.framework.cli.project import run as kedro_run

from .base import (
    INTERRUPTED,
    answer,
    command,
    how_to_follow,
    leave_or_abort,
    one_sentence,
    opened,
    print_json,
)

if TYPE_CHECKING:
    from ..jobs.submit import Plan

NOTIFICATIONS = ("git", "mail", "slack", "webhook")
"""What MLRun's API can tell of the end of a run."""

WAITING = ("created", "pending", "running", "aborting", "pendingRetry")

# Kedro's own, so that values are read as `kedro run` reads them.
_KEDROS = [
    parameter
    for parameter in kedro_run.params
    if parameter.name in {"params", "node_names", "from_nodes", "to_nodes", "tags", "runner"}
]


def _pairs(_context: Any, _option: Any, values: str | Sequence[str]) -> dict[str, str]:
    """Read NAME=VALUE, several with commas between them or each by itself."""
    texts = [values] if isinstance(values, str) else values
    pairs = {}
    for item in (part.strip() for text in texts for part in text.split(",") if part.strip()):
        name, _, value = item.partition("=")
        if not (name.strip() and value.strip()):
            raise click.BadParameter(f"'{item}' is no NAME=VALUE, such as measurements=other.csv.")
        pairs[name.strip()] = value.strip()
    return pairs


def _notifications(_context: Any, _option: Any, values: Sequence[str]) -> list[Any]:
    """Read KIND, or KIND:NAME=VALUE, with commas between several."""
    found = []
    for text in values:
        kind, _, rest = text.partition(":")
        if kind not in NOTIFICATIONS:
            raise click.BadParameter(
                f"MLRun has no notification '{kind}'. It has {', '.join(NOTIFICATIONS)}."
            )
        found.append((kind, _pairs(_context, _option, rest)))
    return found


@command("submit", "kedro mlrun submit --pipeline training --params split.test_size=0.3 --watch")
@click.option(
    "--pipelines",
    "--pipeline",
    "-p",
    "pipeline",
    default="",
    help="Pipelines to run, with commas between them; by default __default__.",
)
@click.option(
    "--inputs",
    "-i",
    multiple=True,
    callback=_pairs,
    metavar="NAME=DATA",
    help="Other data for catalog entries: a path, https://…, s3://…, store://…",
)
@click.option(
    "--load-versions",
    default="",
    help="Versions to load: NAME:VERSION, with commas between several.",
)
@click.option("--chain-id", help="Tie this run to others with the same id.")
@click.option("--name", help="The run's name; by default that of its pipelines.")
@click.option("--local", is_flag=True, help="Run it in this process, without sending anything.")
@click.option(
    "--source",
    type=click.Choice(["archive", "git", "image"]),
    default="archive",
    show_default=True,
    help="Where the job has the code from: what is here, the pushed commit, or its image.",
)
@click.option("--dry-run", is_flag=True, help="Check everything and print it; send nothing.")
@click.option("--watch", "-w", is_flag=True, help="Follow its log to its end.")
@click.option("--schedule", metavar="CRON", help='Run it again and again: "0 2 * * *" is at two.')
@click.option(
    "--retry", type=click.IntRange(0), default=0, help="How often to try again if it fails."
)
@click.option(
    "--notify",
    multiple=True,
    callback=_notifications,
    metavar="KIND[:NAME=VALUE,…]",
    help=f"Tell of its end: {', '.join(NOTIFICATIONS)}; with MLRun's parameters of that kind.",
)
def submit(
    name: str | None,
    local: bool,
    source: str,
    dry_run: bool,
    watch: bool,
    schedule: str | None,
    retry: int,
    notify: list[tuple[str, dict[str, str]]],
    env: str | None,
    as_json: bool,
    inputs: dict[str, str],
    **what: Any,
) -> None:
    """Run the project as an MLRun job.

    With an MLRun API, on its cluster; with the embedded store, as a process of its own here.
    """
    if local and (schedule or retry or notify):
        raise click.UsageError(
            "--local runs it here and now. Leave out --schedule, --retry and --notify."
        )
    if schedule and watch:
        raise click.UsageError("The runs of a schedule come later. Leave out --watch.")
    from ..jobs.parameters import JobParameters, dotted

    params, what["nodes"] = dotted(what.pop("params")), what.pop("node_names")
    what["env"] = env
    for taken in params.keys() & what.keys():
        raise click.UsageError(
            f"A job takes '{taken}' for what to run, and not for one of Kedro's parameters. "
            f"Give it as an option, or put the parameter into another one: settings.{taken}."
        )
    with opened(env) as records:
        from ..jobs import submit as jobs
        from ..text import kedro_command

        job = JobParameters.of({**params, **what})
        plan = jobs.prepare(job, inputs, None if local else source, name)
        uid = "" if dry_run or local else jobs.submit(plan, schedule, retry, notify)
        project = records.project
    if dry_run:
        _show_plan(plan, as_json)
    elif local or watch:
        if watch and not local:
            click.echo(f"Submitted run '{plan.task.metadata.name}' {uid}.", err=True)
        with one_sentence():
            done = jobs.run_here(plan) if local else _watched(uid, project)
        raise click.exceptions.Exit(0 if done else 1)
    elif as_json:
        print_json({"uid": uid, "schedule": schedule or None, "store": plan.to_dict()["store"]})
    elif schedule:
        click.echo(f"Scheduled '{plan.task.metadata.name}' ({schedule}).")
        click.echo(f"To see it: {kedro_command()} mlrun schedules")
    else:
        click.echo(f"Submitted run '{plan.task.metadata.name}' {uid}.")
        click.echo(how_to_follow(uid))
        click.echo(f"To end it: {kedro_command()} mlrun abort {uid[:8]}")


submit.params += _KEDROS


def _show_plan(plan: Plan, as_json: bool) -> None:
    import yaml

    shown = plan.to_dict()
    if as_json:
        print_json(shown)
    else:
        click.echo(yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=100).rstrip())


def _watched(uid: str, project: str) -> bool:
    """Follow a run to its end; Ctrl-C asks what is to become of it."""
    from ..jobs import submit as jobs

    try:
        with one_sentence(f". Run {uid} may go on. {how_to_follow(uid)}"):
            return jobs.watch(uid, project)
    except KeyboardInterrupt:
        leave_or_abort(uid, project)
        raise click.exceptions.Exit(INTERRUPTED) from None


@command("logs", "kedro mlrun logs last --follow")
@click.argument("which", metavar="RUN")
@click.option("--follow", "-f", is_flag=True, help="Go on until the run ends.")
def logs(which: str, follow: bool, env: str | None, as_json: bool) -> None:
    """Print a job's log."""
    with opened(env) as records:
        found = records.run(which)
        uid, project = found["metadata"]["uid"], records.project
        text = b""
        if not follow:
            _, text = records.db.get_log(uid, project)
    if follow:
        raise click.exceptions.Exit(0 if _watched(uid, project) else 1)
    if as_json:
        print_json({"uid": uid, "log": text.decode(errors="replace")})
    elif text:
        click.echo(text.decode(errors="replace").rstrip("\n"))
    else:
        click.echo(f"Run {uid} has no log.", err=True)


@command("abort", "kedro mlrun abort last")
@click.argument("which", metavar="RUN")
def abort(which: str, env: str | None, as_json: bool) -> None:
    """End a job that waits or runs."""
    with opened(env) as records:
        from ..jobs import submit as jobs

        found = records.run(which)
        uid, state = found["metadata"]["uid"], found["status"]["state"]
        if state not in WAITING:
            raise click.ClickException(f"Run {uid} has ended: it is {state}. Nothing was done.")
        jobs.abort(uid, records.project, "It was aborted by kedro mlrun abort.")
    if as_json:
        print_json({"uid": uid, "state": "aborted"})
    else:
        click.echo(f"Aborted run '{found['metadata']['name']}' {uid}.")


@command("schedules", "kedro mlrun schedules --remove training")
@click.option("--remove", metavar="NAME", help="Remove this one.")
def schedules(remove: str | None, env: str | None, as_json: bool) -> None:
    """List what runs again and again."""
    with opened(env) as records:
        from ..jobs import submit as jobs

        if remove:
            jobs.remove_schedule(remove, records.project)
        found = jobs.schedules(records.project)
    if as_json:
        print_json(found)
        return
    if remove:
        click.echo(f"Removed schedule '{remove}'.", err=True)
    if not found:
        click.echo(f"Project '{records.project}' has no schedules.", err=True)
        return
    from .tables import schedules_table

    answer(False, found, lambda _width: schedules_table(found))


@command("build", "kedro mlrun build")
@click.option("--again", is_flag=True, help="Also if it is built already.")
def build(again: bool, env: str | None, as_json: bool) -> None:
    """Have MLRun build the image for jobs, with what requirements.lock has.

    It is built on the image of function.yaml. Jobs that are submitted take it by themselves.
    """
    from ..jobs import image
    from ..jobs.function import load_function
    from ..jobs.handler import folder_of_project

    folder = folder_of_project()
    with opened(env):
        name = image.build(load_function(folder), folder, again)
    if as_json:
        print_json({"image": name})
    else:
        click.echo(name)


@command("doctor", "kedro mlrun doctor")
def doctor(env: str | None, as_json: bool) -> None:
    """Look at all that runs and jobs need, and say how to mend what is wrong.

    Exit code 1 if something is wrong; a warning is no error.
    """
    from ..jobs.doctor import WRONG, examine
    from ..jobs.handler import folder_of_project

    if env:
        os.environ["KEDRO_ENV"] = env
    found = []
    checks = examine(folder_of_project())
    # MLRun logs to stdout, where nothing belongs but the answer.
    while True:
        with redirect_stdout(sys.stderr):
            check = next(checks, None)
        if check is None:
            break
        shown = check.to_dict()
        found.append(shown)
        if not as_json:
            click.echo(_line(shown))
    if as_json:
        print_json(found)
    if any(check["state"] == WRONG for check in found):
        click.get_current_context().exit(1)


_COLOURS = {"ok": "green", "warning": "yellow", "wrong": "red"}


def _line(check: dict[str, str]) -> str:
    state = click.style(f"{check['state']:8}", fg=_COLOURS.get(check["state"]))
    line = f"{state} {check['name']:14} {check['found']}"
    return f"{line}\n{'':8} {'':14} {check['mend']}" if check["mend"] else line
