"""Commands that start jobs, and look after them."""

import sqlite3
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from copy import copy
from functools import partial
from shlex import quote
from typing import Any

import click
import yaml
from click import Choice, IntRange, argument, option
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.cli.utils import _split_params
from omegaconf.errors import OmegaConfBaseException
from rich.console import Group
from rich.text import Text

from ..jobs import background, image
from ..jobs import submit as jobs
from ..jobs.checks import check
from ..jobs.doctor import WRONG, embedded_store, examine
from ..jobs.function import load_function, on_cluster
from ..jobs.parameters import JobParameters
from ..jobs.plan import make_plan, project_for
from ..jobs.source import pack_for
from ..jobs.workflow import WorkflowParameters, prepare_workflow, run_workflow
from ..project import config_loader, current_project
from ..records.records import Records
from ..runs.manager import MLRunContextManager
from ..runs.report import print_run
from ..store import rescue
from ..store.fields import flatten
from ..store.rows import TERMINAL_STATES
from ..text import kedro_command, nearest
from . import tables
from .base import Answer, command, named_value, one_sentence, tell

INTERRUPTED = 130  # the exit code of what Ctrl-C ends
# What MLRun's API can tell of the end of a run.
NOTIFICATIONS = Choice(["git", "mail", "slack", "webhook"])
SOURCES = Choice(["archive", "git", "image"])
GROUPINGS = Choice(["pipeline", "namespace", "tag"])
COLOURS = {"ok": "green", "warning": "yellow", "wrong": "red"}
_ALLOW_LOST = option(
    "--allow-lost",
    multiple=True,
    metavar="NAME",
    help="Data that may be lost with the job: a name or a pattern.",
)
_CONTINUE = "To continue, add this to the command: --resume"


def _pairs(_context: Any, _option: Any, values: Sequence[str]) -> dict[str, str]:
    """Read NAME=VALUE, several with commas between them or each by itself."""
    items = filter(None, map(str.strip, ",".join(values).split(",")))
    return dict(named_value(item, "NAME=VALUE, such as data=other.csv") for item in items)


def _params(context: Any, given: Any, value: str) -> Any:
    """Read parameters as `kedro run` does."""
    try:
        return _split_params(context, given, value)
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        why = " ".join(str(error).split())
        raise click.BadParameter(f"A value can't be read as YAML ({why}). Quote it.") from None


def _notifications(context: Any, given: Any, values: Sequence[str]) -> list[Any]:
    """Read KIND, or KIND:NAME=VALUE, with commas between several."""
    return [
        (NOTIFICATIONS.convert(kind, given, context), _pairs(context, given, [rest]))
        for kind, _, rest in (text.partition(":") for text in values)
    ]


@command("submit", "kedro mlrun submit --pipelines training --params split.test_size=0.3 --watch")
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
@option("--source", type=SOURCES, default="archive", help="Where the job gets the code.")
@_ALLOW_LOST
@option("--dry-run", is_flag=True, help="Check the job and print it, but don't send it.")
@option("--watch", "-w", is_flag=True, help="Follow the log until the job ends.")
@option("--schedule", metavar="CRON", help='When to run it: "0 2 * * *" is every day at two.')
@option("--retry", type=IntRange(0), default=0, help="How often to retry if it fails.")
@option(
    "--notify",
    multiple=True,
    callback=_notifications,
    metavar="KIND[:NAME=VALUE,…]",
    help="Notify by git, mail, slack or webhook when it ends, with MLRun's parameters.",
)
def submit(records: Records, **options: Any) -> Answer | Callable[[], int]:
    """Run the project as an MLRun job.

    With an MLRun API the job runs on its cluster; with the embedded store it is a background
    process on this machine. It gets an archive of this folder, or with --source git the pushed
    commit, or with --source image what its image has.
    """
    own = ("name", "source", "inputs", "dry_run", "local", "watch", "schedule", "retry", "notify")
    name, source, inputs, dry_run, local, watch, schedule, retry, notify = map(options.pop, own)
    allow_lost = options.pop("allow_lost")
    if schedule and watch:
        raise click.UsageError("The runs of --schedule start later: leave out --watch.")
    asked = {"schedules": schedule, "retries of runs": retry, "notifications": notify}
    for what in filter(asked.get, asked):
        if local:
            raise click.UsageError(f"--local runs the job here and now: there are no {what} then.")
        if not on_cluster():
            raise records.db.needs_api(what)
    params, options["nodes"] = flatten(options.pop("params")), options.pop("node_names")
    pipelines = options.pop("pipelines")
    if pipelines and options["pipeline"]:
        raise click.UsageError("Give --pipelines or --pipeline (-p), not both.")
    options["pipeline"] = pipelines or options["pipeline"]
    options["env"] = click.get_current_context().params["env"]
    for taken in params.keys() & options.keys():
        raise click.UsageError(
            f"A job uses '{taken}' to choose what to run, so a parameter can't have this name. "
            f"Use the option instead, or nest the parameter: settings.{taken}."
        )
    job = JobParameters.of({**params, **options})
    with project_for(job, None if local else source) as project:
        plan = check(make_plan(project, job, inputs, name, allow_lost=allow_lost))
    shown, title, uid = plan.to_dict(), plan.task["metadata"]["name"], plan.uid
    if dry_run:
        text = yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=100)
        return Answer(shown, text.rstrip())
    if local:
        return lambda: _ended(jobs.run_here(plan), uid, records)
    jobs.submit(plan, schedule, retry, notify)
    text = f"Submitted run '{title}' {uid}."
    if watch:
        tell(text)
        return partial(_watch, uid, records)
    told = {"uid": "" if schedule else uid, "schedule": schedule or None, "store": shown["store"]}
    text += f"\n{_how_to_follow(uid)}\nTo abort it: {kedro_command()} mlrun abort {uid[:8]}"
    if schedule:
        text = f"Scheduled '{title}' ({schedule}).\nTo list schedules: kedro mlrun schedules"
    return Answer(told, text)


# Kedro's own, so that values are read as `kedro run` reads them.
_KEDROS = "params pipeline pipelines runner node_names from_nodes to_nodes tags".split()
submit.params += [copy(given) for given in kedro_run.params if given.name in _KEDROS]
next(given for given in submit.params if given.name == "params").callback = _params


def _resources(spec: dict[str, Any]) -> list[str]:
    """Give what a job gets at least and at most, as function.yaml or `jobs.overrides` has it."""
    resources = spec.get("resources") or {}
    parts = {"": resources.get("requests"), "at most ": resources.get("limits")}
    return [f"{of}{n} {value}" for of, part in parts.items() for n, value in (part or {}).items()]


def _ended(completed: bool, uid: str, records: Records) -> int:
    print_run(uid, records.project)
    return int(not completed)


def _watch(uid: str, records: Records) -> int:
    """Follow a run to its end; Ctrl-C asks whether to abort it, and unasked it goes on."""
    try:
        with one_sentence(f". Run {uid} may go on. {_how_to_follow(uid)}"):
            return _ended(jobs.wait_for(uid, records.project), uid, records)
    except KeyboardInterrupt:
        tell("\n", nl=False)
    if sys.stdin.isatty() and click.confirm(f"Abort run {uid[:8]} as well?", err=True):
        with one_sentence(f". Run {uid} wasn't aborted. {_how_to_follow(uid)}"):
            run = dict(records.run(uid))
            background.abort(MLRunContextManager().db, run, "It was aborted by Ctrl-C.")
        tell(f"Aborted run {uid}.")
    else:
        tell(f"Run {uid} goes on. {_how_to_follow(uid)}")
    return INTERRUPTED


def _how_to_follow(uid: str) -> str:
    return f"To follow it: {kedro_command()} mlrun logs {uid[:8]} --follow"


@command("workflow", "kedro mlrun workflow training evaluation --params split.seed=7")
@argument("names", metavar="[NAME]…", nargs=-1)
@option("--group-by", type=GROUPINGS, help="What becomes a job; by default each pipeline.")
@option("--engine", type=Choice(["local", "remote"]), default="local", help="What starts the jobs.")
@option("--local/--remote", help="Run the jobs in this process, or submit them (the default).")
@option("--params", default="", callback=_params, help="Parameters, as in `kedro run`.")
@option(
    "--resume",
    default="",
    metavar="ID",
    help="Continue this workflow where it failed, with what it was told at first.",
)
@option("--watch", "-w", is_flag=True, help="Show the jobs' logs; wait for the end.")
@_ALLOW_LOST
@option("--dry-run", is_flag=True, help="Show jobs and datasets between them; start nothing.")
def workflow(
    records: Records, names: Sequence[str], engine: str, local: bool, **options: Any
) -> Answer:
    """Run pipelines as several jobs.

    Each pipeline NAME becomes a job; by default those of __default__. With --group-by
    namespace or tag, each namespace or tag in the pipelines becomes a job; by default those of
    __default__. This command starts the jobs, or with --engine remote a job of its own does.
    """
    if local and engine != "local":
        raise click.UsageError(f"Engine '{engine}' runs no job in this process: leave out --local.")
    env, source = click.get_current_context().params["env"], None if local else "archive"
    dry_run, watch = options.pop("dry_run"), options.pop("watch")
    prepared = prepare_workflow(WorkflowParameters(names=[*names], env=env, **options), source)
    if dry_run:
        told = prepared.to_dict()
        rows = [{**item, "resources": _resources(item["spec"] or {})} for item in told["groups"]]
        fields = {"job": "group", "completed by": "run"}
        fields |= {name: name for name in ("after", "resources", "nodes")}
        groups = tables.table(rows, fields=fields)
        of_data = tables.table(told["crossing"], fields={n: n for n in ("dataset", "from", "to")})
        end = Text(f"\nRuns would be recorded in {told['store']}. Nothing was started.")
        return Answer(told, Group(groups, Text(), of_data, end))
    note = "" if prepared.jobs else f"All jobs of workflow '{prepared.id}' are completed."
    try:
        told = run_workflow(prepared, engine, local, watch)
    except KeyboardInterrupt:
        if engine == "local" and prepared.id:
            goes_on = "" if local else "The job that was submitted goes on. "
            tell(f"No more jobs are started. {goes_on}{_CONTINUE} {prepared.id}")
        raise click.exceptions.Exit(INTERRUPTED) from None
    error = ""
    if told["state"] == "error":
        failed = next(item for item in told["groups"] if item["state"] != "completed")
        # The first empty line divides what happened from where.
        why = (failed["error"] or f"Its state is {failed['state']}.").partition("\n\n")[0]
        error = f"Job '{failed['group']}' failed. {why}\n{_CONTINUE} {told['workflow']}"
    rows = [{**item, "when": "before" if item["earlier"] else ""} for item in told["groups"]]
    fields = {"job": "group", "run": "run", "state": "state", "took": "seconds", "": "when"}
    state = tables.cell("state", told["state"])
    head = Text.assemble("\nWorkflow ", told["workflow"], ": ", state, "\n")
    return Answer(told, Group(head, tables.table(rows, fields=fields)), note, error)


@command("logs", "kedro mlrun logs last --follow")
@argument("which", metavar="RUN")
@option("--follow", "-f", is_flag=True, help="Follow the log until the run ends.")
def logs(records: Records, which: str, follow: bool) -> Answer | Callable[[], int]:
    """Print the log of a run."""
    uid = records.run(which)["metadata"]["uid"]
    if follow:
        return partial(_watch, uid, records)
    log = b""
    # An API gives a part at a time.
    while part := records.db.get_log(uid, records.project, len(log))[1]:
        log += part
    text = log.decode(errors="replace")
    note = "" if text else f"Run {uid} has no log."
    return Answer({"uid": uid, "log": text}, text.rstrip("\n"), note)


@command("abort", "kedro mlrun abort last")
@argument("which", metavar="RUN")
def abort(records: Records, which: str) -> Answer:
    """Abort a job that is waiting or running."""
    run = records.run(which)
    abort_unended(run, "kedro mlrun abort")
    name, uid = run["metadata"]["name"], run["metadata"]["uid"]
    return Answer({"uid": uid, "state": "aborted"}, f"Aborted run '{name}' {uid}.")


def abort_unended(run: Mapping[str, Any], by: str) -> None:
    """Abort a run, or refuse it if the run has ended."""
    uid, state = run["metadata"]["uid"], run["status"]["state"]
    if state in TERMINAL_STATES:
        raise click.ClickException(f"Run {uid} has ended: it is {state}. Nothing was done.")
    background.abort(MLRunContextManager().db, dict(run), f"It was aborted by {by}.")


@command("schedules", "kedro mlrun schedules --remove training")
@option("--remove", metavar="NAME", help="Remove this schedule.")
def schedules(records: Records, remove: str | None) -> Answer:
    """List the scheduled jobs."""
    if not on_cluster():
        raise records.db.needs_api("schedules")
    found = {
        item.name: {
            "name": item.name,
            "schedule": item.cron_trigger.to_crontab(),
            "next": str(item.next_run_time or ""),
            "state": ((item.last_run or {}).get("status") or {}).get("state", ""),
        }
        for item in records.db.list_schedules(records.project, include_last_run=True).schedules
    }
    none = f"Project '{records.project}' has no schedule"
    note = "" if found else f"{none}s."
    if remove:
        if not found.pop(remove, None):
            hint = nearest(remove, found) or "To list them: kedro mlrun schedules"
            raise click.UsageError(f"{none} '{remove}'. {hint}")
        records.db.delete_schedule(records.project, remove)
        note = f"Removed schedule '{remove}'."
    rows = [*found.values()]
    return Answer(rows, tables.table(rows) if rows else "", note)


@command("build", "kedro mlrun build")
@option("--again", is_flag=True, help="Build it even if it exists.")
@option("--with-code", is_flag=True, help="For kedro mlrun serve --deploy: with code and conf.")
def build(_records: Records, again: bool, with_code: bool) -> Answer:
    """Build the image for jobs.

    MLRun installs requirements.lock on the image of function.yaml. Jobs that are submitted
    afterwards use the new image by themselves, and so does a server, with --with-code.
    """
    folder, env = current_project(), click.get_current_context().params["env"]
    code = pack_for(env, folder, config_loader(folder, env)) if with_code else None
    name = image.build(load_function(folder), folder, again, code)
    return Answer({"image": name}, name)


@command("doctor", "kedro mlrun doctor --store", asks=False)
@option("--store", "of_store", is_flag=True, help="Check the embedded store's file, row by row.")
def doctor(of_store: bool) -> Answer:
    """Check everything that runs and jobs need, and say how to fix what is wrong.

    The exit code is 1 if something is wrong, and 0 if there are only warnings. With --store, what
    can be read of a damaged store is copied to a new file beside it, and the store stays as it is.
    """
    if of_store:
        return _of_store()
    as_json, stdout, found = click.get_current_context().params["as_json"], sys.stdout, []
    # MLRun logs to stdout, where nothing belongs but the answer.
    with redirect_stdout(sys.stderr):
        for item in examine(current_project()):
            found.append(item._asdict())
            fix = f"\n{'':23} {item.fix}" if item.fix else ""
            if not as_json:
                tell(f"{item.state:8}", nl=False, file=stdout, fg=COLOURS.get(item.state))
                tell(f" {item.name:14} {item.found}{fix}", file=stdout)
    return Answer(found, exit_code=any(item["state"] == WRONG for item in found))


def _of_store() -> Answer:
    if not (path := embedded_store()).is_file():
        raise click.ClickException(f"There is no store {path} yet. To make one: kedro run")
    try:
        readable, problems = rescue.examine(path)
    except sqlite3.OperationalError as exc:
        raise click.ClickException(f"{path} can't be read: {exc}. Check its permissions.") from exc
    number = ", ".join(f"{name}: {readable[name]}" for name in rescue.RECORDS)
    found: dict[str, Any] = {"store": str(path), "problems": problems, "readable": dict(readable)}
    if not problems:
        return Answer(found, f"{path} is whole. It has {number}.")
    found["rescued"] = new = str(rescue.rescue(path))
    told = "\n".join([*problems[:20], f"Problems in all: {len(problems)}"])
    # With its WAL, which SQLite would write into whatever has the file's name.
    old, aside = quote(str(path)), quote(str(path.with_name(f"{path.stem}-damaged")))
    advice = (
        f"Look at it with MLRUN_DBPATH=sqlite:///{new}. To put it in the place of the damaged "
        f"store, when nothing uses that, with all of its files:\n"
        f"mkdir {aside} && mv {old}* {aside} && mv {quote(new)} {old}"
    )
    return Answer(found, f"{told}\nWhat can be read is in {new}: {number}. {advice}", exit_code=1)
