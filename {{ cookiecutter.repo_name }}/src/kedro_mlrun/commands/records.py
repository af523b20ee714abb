"""Commands that look at what is recorded, and change it."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import click
from click import Choice, IntRange, argument, option
from rich.console import Group

from ..records import summaries
from ..records.records import LAST, RecordNotFoundError, Records
from ..records.summaries import Record, artifact_key, artifact_summary, summary
from . import tables
from .base import Answer, command

STATES = ("created", "pending", "running", "completed", "error", "aborted")
UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def _since(_context: Any, _option: Any, value: str | None) -> datetime | None:
    ago = re.fullmatch(r"(\d{1,6})([mhdw])", value or "")
    try:
        if ago:
            return datetime.now(UTC) - timedelta(**{UNITS[ago[2]]: int(ago[1])})
        return datetime.fromisoformat(value).astimezone() if value else None
    except (ValueError, OverflowError):
        wanted = "30m, 12h, 7d or 2w for so long ago, or a date such as 2026-11-21"
        raise click.BadParameter(f"'{value}' is not a time. Write {wanted}.") from None


_KEY = option("--key", "-k", default="", help="Only artifacts with this key.")
_TAG = option("--tag", "-t", default="", help="Only versions with this tag.")
_LIMIT = option("--limit", "-n", type=IntRange(1), default=20, help="How many, by default 20.")


@command("runs", "kedro mlrun runs --pipeline training --state error --since 7d")
@option("--pipeline", "-p", default="", help="Only runs of this Kedro pipeline.")
@option("--state", "states", multiple=True, type=Choice(STATES), help="Only in this state.")
@option("--label", "labels", multiple=True, metavar="NAME[=VALUE]", help="Only with this label.")
@option("--since", "start_time_from", callback=_since, help="Only runs since 12h, 7d or a date.")
@_LIMIT
def runs(records: Records, limit: int, **filters: Any) -> Answer:
    """List runs, newest first."""
    found = [summary(run) for run in records.runs(limit, **filters)]
    if found:
        return Answer(found, partial(tables.runs_table, found))
    none = "no such run." if any(filters.values()) else "no runs yet. To make one: kedro run"
    return Answer(found, note=f"Project '{records.project}' has {none}")


@command("show", "kedro mlrun show last")
@argument("which", metavar="RUN")
def show(records: Records, which: str) -> Answer:
    """Show a run: parameters, inputs, results, artifacts, error."""
    found = records.run(which)
    run, saved = summary(found), list(map(artifact_summary, records.artifacts_of(found)))
    return Answer(run, tables.run_view(run, saved))


@command("compare", "kedro mlrun compare 3f2a last --html compared.html")
@argument("which", metavar="RUN RUN…", nargs=-1, required=True)
@option("--html", type=click.Path(dir_okay=False, writable=True), help="Write a plot to this file.")
def compare(records: Records, which: Sequence[str], html: str | None) -> Answer:
    """Show how the parameters and results of runs differ.

    Each number is followed by its difference to the first run's. The plot of --html is MLRun's
    parallel coordinates.
    """
    if len(which) < 2:  # noqa: PLR2004
        raise click.UsageError("Name two runs or more to compare.")
    found = [records.run(name) for name in which]
    compared = summaries.compare(found)
    if html:
        summaries.plot(found, html)
    return Answer(compared, html or partial(tables.comparison, compared))


@command("artifacts", "kedro mlrun artifacts --run last")
@_KEY
@option("--kind", default="", help="Only this kind: model, dataset, plot, artifact, …")
@_TAG
@option("--run", "-r", "which", metavar="RUN", help="Only what this run saved.")
@_LIMIT
def artifacts(records: Records, which: str | None, **filters: Any) -> Answer:
    """List versions of artifacts, newest first.

    What a run records about itself, such as kedro.parameters, is listed only with --run or --key.
    """
    return _artifacts(records, run=records.run(which) if which else None, **filters)


@command("models", "kedro mlrun models --tag latest")
@_KEY
@_TAG
@_LIMIT
def models(records: Records, **filters: Any) -> Answer:
    """List versions of models, newest first."""
    return _artifacts(records, kind="model", **filters)


def _artifacts(records: Records, **filters: Any) -> Answer:
    found = list(map(artifact_summary, records.artifacts(**filters)))
    if not found:
        return Answer(found, note=f"Project '{records.project}' has no such artifact.")
    return Answer(found, partial(tables.artifacts_table, found))


@command("open", "kedro mlrun open roc_curve --view")
@argument("which", metavar="ARTIFACT")
@option("--view", is_flag=True, help="Also open it in the desktop's viewer.")
def open(records: Records, which: str, view: bool) -> Answer:
    """Print the path of an artifact's file or folder."""
    found = artifact_summary(records.artifact(which))
    path, problem = found["path"], ""
    if not path:
        problem = f"'{which}' has no file: its data is in its record. Load it with the catalog."
    elif "://" not in path and not Path(path).exists():
        problem = f"{path} does not exist. It was written on another machine, or deleted since."
    if problem:
        raise click.ClickException(problem)
    failed = view and click.launch(path)
    error = "No viewer could be opened here. Copy the file to look at it." if failed else ""
    return Answer(found, path, error=error)


@command("lineage", "kedro mlrun lineage xgboost.model")
@argument("which", metavar="ARTIFACT_OR_RUN")
@option("--depth", type=IntRange(1, 50), default=4, help="Runs to go each way, by default 4.")
def lineage(records: Records, which: str, depth: int) -> Answer:
    """Show where an artifact or a run came from, and what was made with it.

    If a name is both an artifact's key and a run's name, it is the artifact that is shown.
    """
    try:
        start = records.run(which) if which == LAST else records.artifact(which)
    except RecordNotFoundError as no_artifact:
        try:
            start = records.run(which)
        except RecordNotFoundError:
            raise no_artifact from None
    back, on = (records.lineage(start, depth, back) for back in (True, False))
    came_from = tables.lineage_tree("[bold]came from", back)
    came_of = tables.lineage_tree(f"[bold]{'saved' if on['type'] == 'run' else 'used by'}", on)
    upstream = back.pop("follows")
    data = {**back, "upstream": upstream, "downstream": on["follows"]}
    return Answer(data, Group(tables.node_text(back), came_from, came_of))


@command("tag", "kedro mlrun tag xgboost.model@last production")
@argument("which", metavar="ARTIFACT")
@argument("name", metavar="TAG")
def tag(records: Records, which: str, name: str) -> Answer:
    """Tag a version of an artifact.

    A tag names one version of a key: other versions lose it.
    """
    found = records.artifact(which)
    records.tag(found, name)
    tagged = artifact_summary(records.artifact(f"{found['spec']['db_key']}:{name}"))
    tags = ", ".join(tagged["tags"])
    return Answer(tagged, f"{tagged['key']} of run {tagged['run']} is tagged {tags}")


@command("delete", "kedro mlrun delete 3f2a --artifacts")
@argument("which", metavar="RUN")
@option("--artifacts", is_flag=True, help="Also delete what it saved: records and files.")
@option("--yes", "-y", is_flag=True, help="Don't ask.")
def delete(records: Records, which: str, artifacts: bool, yes: bool) -> Answer:
    """Delete a run.

    Its artifacts stay and can be loaded, unless --artifacts is given.
    """
    found = records.run(which)
    uid, what = found["metadata"]["uid"], _named(found["metadata"])
    saved = records.artifacts_of(found) if artifacts else []
    for item in saved:
        users = [user["metadata"] for user in records.runs_using(item)[:3]]
        if others := ", ".join(_named(user) for user in users if user["uid"] != uid):
            click.echo(f"Warning: {artifact_key(item)} is an input of {others}.", err=True)
    if artifacts:
        keys = ", ".join(dict.fromkeys(map(artifact_key, saved)))
        what += f" with {len(saved)} artifacts ({keys})"
    if not yes:
        click.confirm(f"Delete {what}?", abort=True, err=True)
    outcome = records.delete(found, artifacts)
    for item in outcome["kept"]:
        click.echo(f"Warning: {item['reason']}", err=True)
    return Answer({"uid": uid, **outcome}, f"Deleted {what}.")


@command("push", "kedro mlrun push last")
@argument("which", metavar="[RUN]…", nargs=-1)
def push(records: Records, which: Sequence[str]) -> Answer:
    """Copy runs from the embedded store to an MLRun API.

    Artifacts and their files go with them. The API is the one of MLRUN_DBPATH or mlrun.yml. Without
    RUN, all runs are sent that this API doesn't have yet. Sending a run twice makes no second copy.
    """
    from ..api.push import push as push_runs
    from ..runs.manager import MLRunContextManager
    from ..store.db import LocalRunDB

    manager = MLRunContextManager()
    kept = LocalRunDB(manager.embedded_store)
    # Those whose process was killed have ended.
    manager.abort_lost_runs(kept)
    sent = push_runs(Records(kept, records.project), which, _tell)
    refused = [run for run in sent if run["state"] == "refused" or (which and run["reason"])]
    done = [run for run in sent if run["state"] == "sent"]
    text = f"Nothing of project '{records.project}' is left to send."
    if done or refused:
        text = f"Sent {len(done)} run{'s' * (len(done) != 1)} with {_size(done)}."
        text += f" {len(refused)} could not be sent." if refused else ""
    return Answer(sent, text, exit_code=bool(refused))


def _tell(run: Record) -> None:
    """Tell of each run when it is sent, for the next one may fail."""
    told = run["reason"] or f"{run['address']} has {_named(run)} already."
    if run["state"] == "sent":
        told = f"Sent {_named(run)} with {_size([run])}, to {run['address']}"
    click.echo("\n".join([told, *run["warnings"]]), err=True)


def _named(run: Record) -> str:
    return f"run '{run['name']}' {run['uid']}"


def _size(runs: list[Record]) -> str:
    artifacts, size = (sum(run[name] for run in runs) for name in ("artifacts", "bytes"))
    return f"{artifacts} artifacts, {size / 1e6:.1f} MB"
