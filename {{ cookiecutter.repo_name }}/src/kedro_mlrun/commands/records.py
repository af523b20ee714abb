"""Commands that look at what is recorded, and change it."""

import os
import re
import sys
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import click
from click import Choice, IntRange, argument, option
from rich.console import Group

from ..models import promote
from ..records import previews, summaries
from ..records.query import check_fields, select
from ..records.records import LAST, RecordNotFoundError, Records, is_promotion
from ..records.summaries import Record, artifact_summary, named_run, summary, uid_of
from ..runs.manager import MLRunContextManager
from ..store.rows import TERMINAL_STATES
from ..text import visible
from . import tables
from .base import Answer, command, tell
from .ui import export

STATES = ("created", "pending", "running", "completed", "error", "aborted")
_DISPLAYS = {"DISPLAY", "WAYLAND_DISPLAY"}
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
_ITERATIONS = option("--iterations", is_flag=True, help="Of a search, those of all its trials.")
_LIMIT = option("--limit", "-n", type=IntRange(1), default=20, help="How many, by default 20.")
_WHERE = option(
    "--where",
    multiple=True,
    metavar="CONDITION",
    help='Only runs for which this holds: "params.split.seed = 7 and results.auc >= 0.9".',
)
_STATE = option("--state", "states", multiple=True, type=Choice(STATES), help="Only in this state.")


@command("runs", "kedro mlrun runs --where 'params.split.seed = 7' --sort results.test.auc")
@option("--pipeline", "-p", default="", help="Only runs of this Kedro pipeline.")
@_STATE
@option("--label", "labels", multiple=True, metavar="NAME[=VALUE]", help="Only with this label.")
@option("--since", "start_time_from", callback=_since, help="Only runs since 12h, 7d or a date.")
@_WHERE
@option("--sort", default="", metavar="FIELD", help="Largest first by this field.")
@option("--ascending", is_flag=True, help="With --sort: smallest first.")
@option(
    "--columns",
    metavar="FIELD,…",
    help="Show these fields, now and later; `auto` shows again what differs.",
)
@_LIMIT
def runs(records: Records, columns: str | None, **filters: Any) -> Answer:
    """List runs, newest first, with the parameters that differ and the results.

    A field is id, name, state, started, took, params.NAME, results.NAME or labels.NAME.
    """
    found = [*map(summary, select(records, **filters))]
    if columns and columns != "auto":
        check_fields(_names(columns), {name for run in found for name in summaries.fields_of(run)})
    chosen = _names(_kept(columns)) or None
    if found:
        first = _names(filters["sort"])
        return Answer(found, partial(tables.runs_table, found, columns=chosen, first=first))
    if any(filters[name] for name in {*filters} - {"limit", "sort"}):
        return _none(records, "run")
    return Answer([], note=f"Project '{records.project}' has no runs yet. To make one: kedro run")


def _none(records: Records, what: str) -> Answer:
    note = f"Project '{records.project}' has no such {what}. To list all: kedro mlrun {what}s"
    return Answer([], note=note)


def _names(text: str) -> list[str]:
    return [name for part in text.split(",") if (name := part.strip())]


def _kept(columns: str | None) -> str:
    """Keep the columns that are chosen beside the embedded store, or give those kept there."""
    store = Path(MLRunContextManager().embedded_store.removeprefix("sqlite:///"))
    file = store.with_name("columns")
    # A folder that can't be written to is no reason to list no runs.
    with suppress(OSError):
        if columns is None:
            return file.read_text(encoding="utf-8", errors="replace")
        columns = "" if columns == "auto" else columns
        if store.parent.is_dir():
            file.write_text(columns, encoding="utf-8")
    return columns or ""


@command("show", "kedro mlrun show last")
@argument("which", metavar="RUN")
def show(records: Records, which: str) -> Answer:
    """Show a run: parameters, inputs, results, artifacts, error; of a search, what it found."""
    found = records.run(which)
    run, saved = summary(found), list(map(artifact_summary, records.artifacts_of(found)))
    if searched := summaries.search_of(found):
        run["search"] = searched
    return Answer(run, tables.run_view(run, saved))


@command("compare", "kedro mlrun compare last~1 last --html compared.html")
@argument("which", metavar="[RUN]…", nargs=-1)
@option("--last", type=IntRange(2), help="Compare so many of the newest runs.")
@_WHERE
@option("--all", "everything", is_flag=True, help="Also show what doesn't differ.")
@option(
    "--html",
    metavar="FILE.html",
    type=click.Path(dir_okay=False, writable=True),
    help="Write tables, charts and images to this file, as `ui --export` does.",
)
def compare(
    records: Records,
    which: Sequence[str],
    last: int | None,
    where: Sequence[str],
    everything: bool,
    html: str | None,
) -> Answer:
    """Show how the parameters, results and labels of runs differ.

    Each number is followed by its difference to the first run's, and of results the best is green.
    """
    runs, same = dict[str, Record](), ""
    for name in which:
        run = records.run(name)
        if runs.setdefault(uid_of(run), run) is not run:
            same = f"'{name}' is run {uid_of(run)[:8]}, which is named already."
    if last or where:
        runs |= {uid_of(run): run for run in select(records, where, limit=last or 20)}
    if len(runs) < 2:  # noqa: PLR2004
        few = f"There is {'one such run' if runs else 'no such run'}." if last or where else ""
        raise click.UsageError(f"{same or few} Name two runs or more to compare.".strip())
    found = [*runs.values()]
    compared = summaries.compare(found, everything)
    if html:
        export(records, found, html)
    return Answer(compared, html or partial(tables.comparison, compared), same)


@command("artifacts", "kedro mlrun artifacts --run last")
@_KEY
@option("--kind", default="", help="Only this kind: model, dataset, plot, artifact, …")
@_TAG
@option("--run", "-r", "which", metavar="RUN", help="Only what this run saved.")
@_ITERATIONS
@_LIMIT
def artifacts(records: Records, which: str | None, **filters: Any) -> Answer:
    """List versions of artifacts, newest first.

    What a run records about itself, such as kedro.parameters, is listed only with --run or --key.
    """
    return _artifacts(records, run=records.run(which) if which else None, **filters)


@command("models", "kedro mlrun models --tag latest")
@_KEY
@_TAG
@_ITERATIONS
@_LIMIT
def models(records: Records, **filters: Any) -> Answer:
    """List versions of models, newest first, with their metrics.

    These are results of the runs that made a model or used it: those with a part of its key in
    their names, such as test.xgboost.roc_auc of xgboost_model, or else all.
    """
    return _artifacts(records, kind="model", **filters)


def _artifacts(records: Records, iterations: bool, **filters: Any) -> Answer:
    # A tag may be that of any trial.
    best = not (iterations or filters["tag"])
    versions = records.artifacts(**filters, best_iteration=best)
    found = list(map(artifact_summary, versions))
    if filters.get("kind") == "model":
        metrics = records.metrics(versions)
        found = [{**told, "metrics": of} for told, of in zip(found, metrics, strict=True)]
    if not found:
        return _none(records, "artifact")
    return Answer(found, partial(tables.artifacts_table, found))


@command("open", "kedro mlrun open roc_curve --view")
@argument("which", metavar="ARTIFACT")
@option("--view", is_flag=True, help="Open it even if the output isn't a terminal.")
def open(records: Records, which: str, view: bool) -> Answer:
    """Open an artifact's file or folder, and print its path.

    If the output is no terminal, or is JSON, the path is printed only.
    """
    record = records.artifact(which)
    found, path = artifact_summary(record), previews.local_path(record)
    as_json = click.get_current_context().params["as_json"]
    # A server has a terminal, but nothing that could show a window.
    has_desktop = os.name == "nt" or sys.platform == "darwin" or _DISPLAYS & os.environ.keys()
    unasked = os.isatty(1) and not as_json and has_desktop and "://" not in path
    failed = click.launch(path) if view or unasked else 0
    problem = "No viewer could be opened here. Copy the file to look at it." if failed else ""
    return Answer(found, path, note="" if view else problem, error=problem if view else "")


@command("lineage", "kedro mlrun lineage xgboost_model")
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
    parts = [came_from, came_of] if on["follows"] else [came_from]
    data = {**back, "upstream": upstream, "downstream": on["follows"]}
    return Answer(data, Group(tables.node_text(back), *parts))


@command("tag", "kedro mlrun tag xgboost_model@last production")
@argument("which", metavar="ARTIFACT")
@argument("name", metavar="TAG")
def tag(records: Records, which: str, name: str) -> Answer:
    """Tag a version of an artifact.

    A tag names one version of a key: other versions lose it. A model's alias, such as
    champion, is given by `promote`.
    """
    found = records.artifact(which)
    promote.tag(records, found, name)
    tagged = artifact_summary(records.artifact(f"{found['spec']['db_key']}:{name}"))
    tags = ", ".join(tagged["tags"])
    return Answer(tagged, f"{tagged['key']} of run {tagged['run']} is tagged {tags}")


@command("delete", "kedro mlrun delete --state error --where 'params.split.seed = 7'")
@argument("which", metavar="[RUN]…", nargs=-1)
@_STATE
@_WHERE
@option("--artifacts", is_flag=True, help="Also delete what it saved: records and files.")
@option("--yes", "-y", is_flag=True, help="Don't ask.")
def delete(
    records: Records,
    which: Sequence[str],
    states: Sequence[str],
    where: Sequence[str],
    artifacts: bool,
    yes: bool,
) -> Answer:
    """Delete runs: those that are named, or all in a state and for which a condition holds.

    Their artifacts stay and can be loaded, unless --artifacts is given. Promotions, which are a
    model's history, are deleted only if they are named.
    """
    if bool(which) == bool(states or where):
        raise click.UsageError("Name runs to delete, or choose them by --state and --where.")
    chosen = [records.run(name) for name in which]
    if not which:
        # Those that go on can't be deleted.
        found = select(records, where, limit=None, states=[*(states or TERMINAL_STATES)])
        chosen = [run for run in found if not is_promotion(run)]
    runs = {uid_of(run): run for run in chosen}
    for run in runs.values():
        records.check_ended(run)
    told = {uid: named_run(run["metadata"]) for uid, run in runs.items()}
    for uid, run in runs.items() if artifacts else ():
        told[uid] += _with_artifacts(records, run, runs)
    if not runs:
        return _none(records, "run")
    if not yes:
        what = f"Delete {next(iter(told.values()))}?"
        if len(runs) > 1:
            tell("\n".join(told.values()))
            what = f"Delete these {len(runs)} runs?"
        click.confirm(visible(what), abort=True, err=True)
    outcomes, deleted = [], list[str]()
    try:
        for uid, run in runs.items():
            outcomes.append({"uid": uid, **records.delete(run, artifacts)})
            kept = outcomes[-1]["kept"]
            keys = ", ".join(dict.fromkeys(item["key"] for item in kept))
            stay = f" The files of {keys} stay, with what is beside them." if kept else ""
            deleted.append(f"Deleted {told[uid]}.{stay}")
            for item in kept:
                tell(f"Warning: {item['reason']}")
    except Exception:
        # Of the others, the error tells why not.
        tell("\n".join(deleted))
        raise
    return Answer(outcomes[0] if len(which) == 1 else outcomes, "\n".join(deleted))


def _with_artifacts(records: Records, run: Record, others: Collection[str]) -> str:
    """Name what goes with a run; warn where that is tagged, or another run uses it."""
    saved = records.artifacts_of(run)
    for loss in records.losses(run, saved, others):
        tell(f"Warning: {loss}")
    keys = dict.fromkeys(map(summaries.artifact_key, saved))
    return f" with {len(saved)} artifacts ({', '.join(keys)})"


@command("push", "kedro mlrun push last")
@argument("which", metavar="[RUN]…", nargs=-1)
def push(records: Records, which: Sequence[str]) -> Answer:
    """Copy runs from the embedded store to an MLRun API.

    Artifacts and their files go with them. The API is the one of MLRUN_DBPATH or mlrun.yml. Without
    RUN, all runs are sent that this API doesn't have yet. Sending a run twice makes no second copy.
    """
    from ..api.push import push as push_runs
    from ..store.db import LocalRunDB

    manager = MLRunContextManager()
    kept = LocalRunDB(manager.embedded_store)
    # Those whose process is gone have ended.
    manager.abort_lost_runs(kept)
    sent = []
    for run in push_runs(Records(kept, records.project), which):
        told = run["reason"] or f"{run['address']} has {named_run(run)} already."
        if run["state"] == "sent":
            told = f"Sent {named_run(run)} with {_size([run])}, to {run['address']}"
        # Of each when it is sent, for the next one may fail.
        tell("\n".join([told, *run["warnings"]]))
        sent.append(run)
    refused = [run for run in sent if run["state"] == "refused" or (which and run["reason"])]
    done = [run for run in sent if run["state"] == "sent"]
    text = f"Nothing of project '{records.project}' is left to send."
    if done or refused:
        text = f"Sent {len(done)} {'run' if len(done) == 1 else 'runs'} with {_size(done)}."
        text += f" {len(refused)} could not be sent." if refused else ""
    return Answer(sent, text, exit_code=bool(refused))


def _size(runs: list[Record]) -> str:
    artifacts, size = (sum(run[name] for run in runs) for name in ("artifacts", "bytes"))
    return f"{artifacts} artifacts, {size / 1e6:.1f} MB"
