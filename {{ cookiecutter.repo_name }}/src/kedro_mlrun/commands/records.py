"""Commands that look at what is recorded, and change it."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .base import answer, command, opened, print_json

if TYPE_CHECKING:
    from ..records.records import Record, Records

STATES = ("created", "pending", "running", "completed", "error", "aborted")
UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class _Since(click.ParamType):
    name = "time"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        ago = re.fullmatch(r"(\d{1,6})([mhdw])", value)
        try:
            if ago:
                return datetime.now(UTC) - timedelta(**{UNITS[ago[2]]: int(ago[1])})
            return datetime.fromisoformat(value).astimezone()
        except (ValueError, OverflowError):
            self.fail(
                f"'{value}' is no time. Write 30m, 12h, 7d or 2w for so long ago, or a date such "
                "as 2026-11-21 or 2026-11-21T08:00.",
                param,
                ctx,
            )


_limit = functools.partial(
    click.option, "--limit", "-n", type=click.IntRange(1), default=20, show_default=True
)


@command("runs", "kedro mlrun runs --pipeline training --state error --since 7d")
@click.option("--pipeline", "-p", default="", help="Only runs of this Kedro pipeline.")
@click.option(
    "--state", "states", multiple=True, type=click.Choice(STATES), help="Only runs in this state."
)
@click.option(
    "--label", "labels", multiple=True, metavar="NAME[=VALUE]", help="Only runs with this label."
)
@click.option("--since", type=_Since(), help="Only runs started since: 12h, 7d, 2w, 2026-11-21.")
@_limit(help="At most so many.")
def runs(
    pipeline: str,
    states: Sequence[str],
    labels: Sequence[str],
    since: datetime | None,
    limit: int,
    env: str | None,
    as_json: bool,
) -> None:
    """List runs, newest first."""
    from ..records.records import summary
    from .tables import runs_table

    with opened(env) as records:
        found = [
            summary(item)
            for item in records.runs(
                pipeline=pipeline, states=states, labels=labels, since=since, limit=limit
            )
        ]
    if not found and not as_json:
        filtered = pipeline or states or labels or since
        click.echo(
            f"Project '{records.project}' has no such run."
            if filtered
            else f"Project '{records.project}' has no runs yet. To make one: kedro run",
            err=True,
        )
        return
    answer(as_json, found, functools.partial(runs_table, found))


@command("show", "kedro mlrun show last")
@click.argument("which", metavar="RUN")
def show(which: str, env: str | None, as_json: bool) -> None:
    """Show a run: parameters, inputs, results, artifacts, error."""
    from ..records.records import artifact_summary, summary
    from .tables import run_view

    with opened(env) as records:
        found = records.run(which)
        of_run = summary(found)
        saved = [] if as_json else list(map(artifact_summary, records.artifacts_of(found)))
    answer(as_json, of_run, lambda _width: run_view(of_run, saved), whole=True)


@command("compare", "kedro mlrun compare 3f2a last --html compared.html")
@click.argument("which", metavar="RUN RUN…", nargs=-1, required=True)
@click.option(
    "--html",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write MLRun's parallel coordinates to this file instead.",
)
def compare(which: Sequence[str], html: Path | None, env: str | None, as_json: bool) -> None:
    """Show in what runs differ, and by how much.

    That is, their parameters and results, with the differences to the first run's.
    """
    from ..records.comparison import compare as compare_runs
    from .tables import comparison

    if len(which) < 2:  # noqa: PLR2004
        raise click.UsageError("Name two runs or more to compare.")
    with opened(env) as records:
        found = [records.run(name) for name in which]
        compared = compare_runs(found)
        if html:
            _write_html(found, html)
    if html and not as_json:
        click.echo(str(html))
        return
    answer(as_json, compared, functools.partial(comparison, compared))


def _write_html(found: list[Record], file: Path) -> None:
    from ..records.comparison import comparable

    comparable(found).compare(show=False, filename=str(file))


@command("artifacts", "kedro mlrun artifacts --run last")
@click.option("--key", "-k", default="", help="Only versions of this key.")
@click.option("--kind", default="", help="Only of this kind: model, dataset, plot, artifact …")
@click.option("--tag", "-t", default="", help="Only versions with this tag, such as latest.")
@click.option("--run", "-r", "which", metavar="RUN", help="Only what this run has saved.")
@_limit(help="At most so many.")
def artifacts(
    key: str, kind: str, tag: str, which: str | None, limit: int, env: str | None, as_json: bool
) -> None:
    """List versions of artifacts, newest first.

    What each run records of itself (kedro.parameters and the like) is listed with --run or --key.
    """
    filters = {"key": key, "kind": kind, "tag": tag, "limit": limit, "own": bool(key or which)}
    _list_artifacts(env, as_json, which, filters)


@command("models", "kedro mlrun models --tag latest")
@click.option("--key", "-k", default="", help="Only versions of this key.")
@click.option("--tag", "-t", default="", help="Only versions with this tag, such as latest.")
@_limit(help="At most so many.")
def models(key: str, tag: str, limit: int, env: str | None, as_json: bool) -> None:
    """List versions of models, newest first."""
    _list_artifacts(env, as_json, None, {"key": key, "kind": "model", "tag": tag, "limit": limit})


def _list_artifacts(
    env: str | None, as_json: bool, which: str | None, filters: dict[str, Any]
) -> None:
    from ..records.records import artifact_summary
    from .tables import artifacts_table

    with opened(env) as records:
        of_run = records.run(which) if which else None
        found = list(map(artifact_summary, records.artifacts(run=of_run, **filters)))
    if not found and not as_json:
        click.echo(f"Project '{records.project}' has no such artifact.", err=True)
        return
    answer(as_json, found, functools.partial(artifacts_table, found))


@command("open", "kedro mlrun open roc_curve --view")
@click.argument("which", metavar="ARTIFACT")
@click.option("--view", is_flag=True, help="Open it with this desktop's viewer, too.")
def open_artifact(which: str, view: bool, env: str | None, as_json: bool) -> None:
    """Print the path of an artifact's file or folder."""
    from ..records.records import artifact_summary

    with opened(env) as records:
        found = artifact_summary(records.artifact(which))
    path = found["path"]
    if not path:
        raise click.ClickException(
            f"Artifact '{which}' has no file: it is in its record. Load it with the catalog."
        )
    if "://" not in path and not Path(path).exists():
        raise click.ClickException(
            f"{path} is not there. It was written on another machine, or deleted since."
        )
    if as_json:
        print_json(found)
    else:
        click.echo(path)
    if view and click.launch(path):
        raise click.ClickException("No viewer could be opened here. Copy the file to look at it.")


@command("lineage", "kedro mlrun lineage xgboost.model")
@click.argument("which", metavar="ARTIFACT_OR_RUN")
@click.option(
    "--depth",
    type=click.IntRange(1, 50),
    default=4,
    show_default=True,
    help="How many runs to go back, and on.",
)
def lineage(which: str, depth: int, env: str | None, as_json: bool) -> None:
    """Show where an artifact or a run came from, and what came of it.

    A name that is both an artifact's key and a run's is taken for the artifact's.
    """
    from rich.console import Group

    from ..records.lineage import downstream, upstream
    from .tables import lineage_tree, node_text

    with opened(env) as records:
        start = _artifact_or_run(records, which)
        back = upstream(records, start, depth)
        on = downstream(records, start, depth)
    data = {
        **{name: value for name, value in back.to_dict().items() if name != "follows"},
        "upstream": back.to_dict()["follows"],
        "downstream": on.to_dict()["follows"],
    }
    answer(
        as_json,
        data,
        lambda _width: Group(
            node_text(back),
            lineage_tree("came from", back),
            lineage_tree("used by" if not on.is_run else "saved", on),
        ),
    )


def _artifact_or_run(records: Records, which: str) -> Record:
    from ..records.records import LAST, RecordNotFoundError

    if which == LAST:
        return records.run(which)
    try:
        return records.artifact(which)
    except RecordNotFoundError as no_artifact:
        try:
            return records.run(which)
        except RecordNotFoundError:
            raise no_artifact from None


@command("tag", "kedro mlrun tag xgboost.model@last production")
@click.argument("which", metavar="ARTIFACT")
@click.argument("tag")
def tag_artifact(which: str, tag: str, env: str | None, as_json: bool) -> None:
    """Tag a version of an artifact.

    Other versions of its key lose the tag.
    """
    from ..records.records import artifact_summary

    with opened(env) as records:
        found = records.artifact(which)
        records.tag(found, tag)
        tagged = artifact_summary(records.artifact(f"{found['spec']['db_key']}:{tag}"))
    if as_json:
        print_json(tagged)
    else:
        click.echo(f"{tagged['key']} of run {tagged['run']} is tagged {', '.join(tagged['tags'])}")


@command("delete", "kedro mlrun delete 3f2a --artifacts")
@click.argument("which", metavar="RUN")
@click.option("--artifacts", is_flag=True, help="Also what it has saved: records and files.")
@click.option("--yes", "-y", is_flag=True, help="Don't ask.")
def delete(which: str, artifacts: bool, yes: bool, env: str | None, as_json: bool) -> None:
    """Delete a run, after asking.

    Its artifacts stay and can be loaded, unless --artifacts is given.
    """
    from ..records.deletion import delete_run
    from ..records.records import summary

    with opened(env) as records:
        found = records.run(which)
        of_run = summary(found)
        saved = records.artifacts_of(found) if artifacts else []
        used = {item["spec"]["db_key"]: _users(records, item, of_run["uid"]) for item in saved}
    for key, users in used.items():
        if users:
            click.echo(f"Warning: {key} is an input of {users}.", err=True)
    what = f"run '{of_run['name']}' {of_run['uid']}"
    if artifacts:
        what += f" with {len(saved)} artifacts ({', '.join(used)})"
    if not yes:
        click.confirm(f"Delete {what}?", abort=True, err=True)
    with opened(env) as records:
        outcome = delete_run(records, found, artifacts)
    for item in outcome["kept"]:
        click.echo(f"Warning: {item['reason']}", err=True)
    if as_json:
        print_json({"uid": of_run["uid"], **outcome})
    else:
        click.echo(f"Deleted {what}.")


@command("push", "kedro mlrun push last")
@click.argument("which", metavar="[RUN]…", nargs=-1)
def push(which: Sequence[str], env: str | None, as_json: bool) -> None:
    """Copy runs from the embedded store to an MLRun API, with artifacts and files.

    The API is the one that MLRUN_DBPATH or mlrun.yml names. Without RUN, all runs are sent that it
    hasn't been sent yet. What an API missed that went away during a run is sent, too. Each is there
    once, however often it is sent.
    """
    stdout = sys.stdout
    with opened(env) as records:
        from ..api.push import push as push_runs
        from ..records.records import Records
        from ..runs.manager import MLRunContextManager
        from ..store.db import LocalRunDB

        def tell(run: Record) -> None:
            if as_json:
                return
            for line in filter(None, [_pushed(run), *run["warnings"]]):
                # Each by itself, for the next one may fail.
                is_done = line == _pushed(run) and run["state"] in {"sent", "known"}
                click.echo(line, file=stdout if is_done else sys.stderr)

        manager = MLRunContextManager()
        kept = LocalRunDB(manager.embedded_store)
        # Those whose process was killed have ended.
        manager.abort_lost_runs(kept)
        sent = push_runs(Records(kept, records.project), which, tell)
    refused = [run for run in sent if run["state"] == "refused" or (which and run["reason"])]
    if as_json:
        print_json(sent)
    else:
        click.echo(_pushed_in_sum(sent, records.project, len(refused)))
    if refused:
        sys.exit(1)


def _pushed(run: Record) -> str:
    what = f"run '{run['name']}' {run['uid']}"
    if run["state"] == "sent":
        size = f"{run['artifacts']} artifacts, {run['bytes'] / 1e6:.1f} MB"
        return f"Sent {what} with {size}, to {run['address']}"
    return run["reason"] or f"{run['address']} has {what} already."


def _pushed_in_sum(sent: list[Record], project: str, refused: int) -> str:
    done = [run for run in sent if run["state"] == "sent"]
    if not done and not refused:
        return f"Nothing of project '{project}' is left to be sent."
    artifacts, size = (sum(run[name] for run in done) for name in ("artifacts", "bytes"))
    runs = "1 run" if len(done) == 1 else f"{len(done)} runs"
    text = f"Sent {runs} with {artifacts} artifacts, {size / 1e6:.1f} MB."
    return f"{text} {refused} could not be sent." if refused else text


def _users(records: Records, artifact: Record, uid: str) -> str:
    """Name the other runs that have used an artifact."""
    named = 3
    users, number = records.runs_using(artifact, named + 1)
    names = [
        f"run '{user['metadata']['name']}' {user['metadata']['uid']}"
        for user in users
        if user["metadata"]["uid"] != uid
    ]
    more = f" and {number - named} more" if number > named and len(names) > named else ""
    return ", ".join(names[:named]) + more
