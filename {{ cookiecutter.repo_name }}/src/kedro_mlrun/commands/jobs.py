"""Commands that start jobs, and look after them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from functools import partial
from typing import TYPE_CHECKING, Any

import click
import yaml
from click import Choice, IntRange, argument, option
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.cli.utils import _split_params
from rich.console import Group, RenderableType
from rich.text import Text

from ..jobs import image
from ..jobs import submit as jobs
from ..jobs.doctor import WRONG, examine
from ..jobs.function import load_function
from ..jobs.parameters import JobParameters, dotted
from ..jobs.workflow import prepare_workflow, run_workflow
from ..project import current_project
from ..records.summaries import UNENDED
from ..text import kedro_command
from . import tables
from .base import INTERRUPTED, Answer, command, how_to_follow, leave_or_abort, one_sentence

if TYPE_CHECKING:
    from ..records.records import Records

NOTIFICATIONS = ("git", "mail", "slack", "webhook")
"""What MLRun's API can tell of the end of a run."""

SOURCES = ("archive", "git", "image")
ENGINES = ("local", "remote")
GROUPINGS = ("pipeline", "namespace", "tag")
_CONTINUE = "To continue, add this to the command: --resume"

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
            raise click.BadParameter(f"'{item}' is not NAME=VALUE, such as data=other.csv.")
        pairs[name.strip()] = value.strip()
    return pairs


def _notifications(_context: Any, _option: Any, values: Sequence[str]) -> list[Any]:
    """Read KIND, or KIND:NAME=VALUE, with commas between several."""
    found = []
    for kind, _, rest in (text.partition(":") for text in values):
        if kind not in NOTIFICATIONS:
            raise click.BadParameter(
                f"MLRun has no notification '{kind}'. It has {', '.join(NOTIFICATIONS)}."
            )
        found.append((kind, _pairs(_context, _option, rest)))
    return found


@command("submit", "kedro mlrun submit --pipelines training --params split.test_size=0.3 --watch")
@option(
    *("--pipelines", "--pipeline", "-p", "pipeline"),
    default="",
    help="Pipelines to run, separated by commas; by default __default__.",
)
@option(
    *("--inputs", "-i"),
    multiple=True,
    callback=_pairs,
    metavar="NAME=DATA",
    help="Other data for a catalog entry: a path, https://…, s3://…, or store://…",
)
@option("--load-versions", default="", metavar="NAME:VERSION,…", help="Versions to load.")
@option("--chain-id", help="Tie this run to others with the same id.")
@option("--name", help="Name of the run; by default the names of its pipelines.")
@option("--local", is_flag=True, help="Run the job in this process; nothing is sent.")
@option(
    "--source",
    type=Choice(SOURCES),
    default=SOURCES[0],
    show_default=True,
    help="Where the job gets the code: an archive of this folder, the pushed commit, or its image.",
)
@option("--dry-run", is_flag=True, help="Check the job and print it, but don't send it.")
@option("--watch", "-w", is_flag=True, help="Follow the log until the job ends.")
@option("--schedule", metavar="CRON", help='When to run it: "0 2 * * *" is every day at two.')
@option("--retry", type=IntRange(0), default=0, help="How often to retry if it fails.")
@option(
    "--notify",
    multiple=True,
    callback=_notifications,
    metavar="KIND[:NAME=VALUE,…]",
    help=f"Notify somebody when it ends: {', '.join(NOTIFICATIONS)}; with MLRun's parameters.",
)
def submit(
    records: Records,
    name: str | None,
    source: str,
    inputs: dict[str, str],
    dry_run: bool,
    **options: Any,
) -> Answer | Callable[[], int]:
    """Run the project as an MLRun job.

    With an MLRun API the job runs on its cluster; with the embedded store it is a background
    process on this machine.
    """
    local, watch = options.pop("local"), options.pop("watch")
    schedule, retry, notify = (options.pop(key) for key in ("schedule", "retry", "notify"))
    if local and (schedule or retry or notify):
        raise click.UsageError(
            "--local runs the job here and now. Leave out --schedule, --retry and --notify."
        )
    if schedule and watch:
        raise click.UsageError("The runs of a schedule start later. Leave out --watch.")
    params, options["nodes"] = dotted(options.pop("params")), options.pop("node_names")
    options["env"] = click.get_current_context().params["env"]
    for taken in params.keys() & options.keys():
        raise click.UsageError(
            f"A job uses '{taken}' to choose what to run, so a parameter can't have this name. "
            f"Use the option instead, or nest the parameter: settings.{taken}."
        )
    job = JobParameters.of({**params, **options})
    plan = jobs.prepare(job, inputs, None if local else source, name)
    shown, title = plan.to_dict(), plan.task.metadata.name
    if dry_run:
        text = yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=100)
        return Answer(shown, text.rstrip())
    if local:
        return lambda: _outcome(jobs.run_here, plan)
    uid = jobs.submit(plan, schedule, retry, notify)
    lines = [
        f"Submitted run '{title}' {uid}.",
        how_to_follow(uid),
        f"To abort it: {kedro_command()} mlrun abort {uid[:8]}",
    ]
    if watch:
        click.echo(lines[0], err=True)
        return partial(_watch, uid, records.project)
    if schedule:
        lines = [f"Scheduled '{title}' ({schedule}).", "To list schedules: kedro mlrun schedules"]
    told = {"uid": uid, "schedule": schedule or None, "store": shown["store"]}
    return Answer(told, "\n".join(lines))


submit.params += _KEDROS


def _outcome(done: Callable[..., bool], *arguments: Any, otherwise: str = "") -> int:
    with one_sentence(otherwise):
        return 0 if done(*arguments) else 1


def _watch(uid: str, project: str) -> int:
    """Follow a run to its end; Ctrl-C asks what is to become of it."""
    otherwise = f". Run {uid} may go on. {how_to_follow(uid)}"
    try:
        return _outcome(jobs.watch, uid, project, otherwise=otherwise)
    except KeyboardInterrupt:
        leave_or_abort(uid, project)
        return INTERRUPTED


@command("workflow", "kedro mlrun workflow training evaluation --params split.seed=7")
@argument("names", metavar="[NAME]…", nargs=-1)
@option("--group-by", type=Choice(GROUPINGS), default="pipeline", help="What becomes a job.")
@option(
    "--engine",
    type=Choice(ENGINES),
    default="local",
    show_default=True,
    help="What starts the jobs: this command, or a job of its own.",
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
        if engine != "local" or not prepared.id:
            raise
        # A job in this process has ended with that.
        if prepared.waits_for:
            leave_or_abort(prepared.waits_for, records.project)
        click.echo(f"No more jobs are started. {_CONTINUE} {prepared.id}", err=True)
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


@command("logs", "kedro mlrun logs last --follow")
@argument("which", metavar="RUN")
@option("--follow", "-f", is_flag=True, help="Follow the log until the run ends.")
def logs(records: Records, which: str, follow: bool) -> Answer | Callable[[], int]:
    """Print the log of a job."""
    uid = records.run(which)["metadata"]["uid"]
    if follow:
        return partial(_watch, uid, records.project)
    text = records.db.get_log(uid, records.project)[1].decode(errors="replace")
    note = "" if text else f"Run {uid} has no log."
    return Answer({"uid": uid, "log": text}, text.rstrip("\n"), note)


@command("abort", "kedro mlrun abort last")
@argument("which", metavar="RUN")
def abort(records: Records, which: str) -> Answer:
    """Abort a job that is waiting or running."""
    run = records.run(which)
    name, uid, state = run["metadata"]["name"], run["metadata"]["uid"], run["status"]["state"]
    if state not in UNENDED:
        raise click.ClickException(f"Run {uid} has ended: it is {state}. Nothing was done.")
    jobs.abort(uid, records.project, "It was aborted by kedro mlrun abort.")
    return Answer({"uid": uid, "state": "aborted"}, f"Aborted run '{name}' {uid}.")


@command("schedules", "kedro mlrun schedules --remove training")
@option("--remove", metavar="NAME", help="Remove this schedule.")
def schedules(records: Records, remove: str | None) -> Answer:
    """List the scheduled jobs."""
    if remove:
        jobs.remove_schedule(remove, records.project)
    found = jobs.schedules(records.project)
    note = f"Removed schedule '{remove}'." if remove else ""
    if not found:
        return Answer(found, note=note or f"Project '{records.project}' has no schedules.")
    rows = [{**item, "next": tables.shown_time(item["next"])} for item in found]
    return Answer(found, lambda _width: tables.table(rows), note)


@command("build", "kedro mlrun build")
@option("--again", is_flag=True, help="Build it even if it exists.")
def build(_records: Records, again: bool) -> Answer:
    """Build the image for jobs.

    MLRun installs requirements.lock on the image of function.yaml. Jobs that are submitted
    afterwards use the new image by themselves.
    """
    folder = current_project()
    name = image.build(load_function(folder), folder, again)
    return Answer({"image": name}, name)


@command("doctor", "kedro mlrun doctor", opens=False)
def doctor() -> Answer:
    """Check everything that runs and jobs need, and say how to fix what is wrong.

    The exit code is 1 if something is wrong, and 0 if there are only warnings.
    """
    as_json, stdout, found = click.get_current_context().params["as_json"], sys.stdout, []
    # MLRun logs to stdout, where nothing belongs but the answer.
    with redirect_stdout(sys.stderr):
        for check in examine(current_project()):
            found.append(check.to_dict())
            if not as_json:
                click.echo(_line(found[-1]), file=stdout)
    return Answer(found, exit_code=any(check["state"] == WRONG for check in found))


def _line(check: dict[str, str]) -> str:
    colours = {"ok": "green", "warning": "yellow", "wrong": "red"}
    state = click.style(f"{check['state']:8}", fg=colours.get(check["state"]))
    line = f"{state} {check['name']:14} {check['found']}"
    return f"{line}\n{'':8} {'':14} {check['fix']}" if check["fix"] else line
