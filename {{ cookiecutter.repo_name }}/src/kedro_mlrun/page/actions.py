"""What changes something: by the functions that commands use, and after a question."""

import json
from collections.abc import Callable
from typing import Any

import click
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ..models.promote import promote, sentence
from ..project import ModelsConfig
from ..records.records import RecordNotFoundError, Records
from ..records.summaries import Record, artifact_key, summary, uid_of
from ..store.fields import artifact_uri, run_title
from ..store.rows import LATEST
from . import artifacts
from .app import Page, address
from .run import find
from .shown import as_json


def given(request: Request, name: str) -> str:
    """Give a field of the form that was sent."""
    return str((request.state.form.get(name) or [""])[0])


def version(records: Records, request: Request) -> Record:
    """Find the artifact that a form is about."""
    return artifacts.find(records, {name: given(request, name) for name in ("key", "uid")})


def _to(path: str, **query: Any) -> Response:
    # GET it, whatever the form's method was.
    return RedirectResponse(address(path, **query), 303)


def tag(page: Page, request: Request) -> Response:
    """Tag a version of an artifact."""
    records = page.records()
    found = version(records, request)
    records.tag(found, given(request, "tag"))
    return _to("/artifact", key=artifact_key(found), uid=uid_of(found))


def promoting(config: Callable[[], ModelsConfig]) -> Callable[[Page, Request], Response]:
    """Make the view that promotes a model, by the gates of a configuration."""

    def view(page: Page, request: Request) -> Response:
        records = page.records()
        found = version(records, request)
        told = promote(
            records,
            artifact_uri(found),
            config(),
            given(request, "alias"),
            given(request, "reason"),
            given(request, "force") == "1",
        )
        if told and told["state"] == "error":
            raise click.ClickException(sentence(told))
        return _to("/artifact", key=artifact_key(found), uid=uid_of(found))

    return view


def aborting(abort: Callable[[Record], Any]) -> Callable[[Page, Request], Response]:
    """Make the view that aborts a run."""

    def view(page: Page, request: Request) -> Response:
        run = find(page.records(), given(request, "id"))
        abort(run)
        return _to("/run", id=uid_of(run))

    return view


def ask_delete(page: Page, request: Request) -> Response:
    """Ask whether runs are to be deleted, and say what goes with them."""
    records, uids = page.records(), request.query_params.getlist("id")
    runs = [*records.runs_of([*dict.fromkeys(uids)])]
    if not runs:
        raise RecordNotFoundError("There is no such run. Check the runs to delete.")
    told, warnings = [], list[str]()
    for run in runs:
        records.check_ended(run)
        saved = records.artifacts_of(run)
        using = records.using(saved) if saved else {}
        for item in saved:
            key = artifact_key(item)
            if tags := ", ".join(name for name in item["metadata"]["tags"] if name != LATEST):
                warnings.append(f"{key} of run {uid_of(run)[:8]} is tagged {tags}.")
            users = [user for user in using[uid_of(item)] if uid_of(user) not in uids]
            if users:
                names = ", ".join(run_title(summary(user)) for user in users[:3])
                warnings.append(f"{key} of run {uid_of(run)[:8]} is an input of {names}.")
        about = summary(run)
        told.append({**about, "title": run_title(about), "artifacts": len(saved)})
    return page.html(request, "delete.html", runs=told, warnings=warnings)


def delete(page: Page, request: Request) -> Response:
    """Delete runs, on request with what they saved, and tell what was kept."""
    records, kept, deleted = page.records(), list[str](), 0
    runs = [*records.runs_of([*dict.fromkeys(request.state.form.get("id") or [])])]
    for run in runs:
        records.check_ended(run)
    for run in runs:
        told = records.delete(run, given(request, "artifacts") == "1")
        deleted += 1
        kept += [str(item["reason"]) for item in told["kept"]]
    if kept:
        return page.html(request, "deleted.html", deleted=deleted, kept=kept)
    return _to("/")


def download(page: Page, request: Request) -> Response:
    """Give a run's record as a file of JSON."""
    run = find(page.records(), request.query_params.get("id", ""))
    name = "".join(letter for letter in uid_of(run) if letter.isascii() and letter.isalnum())
    return Response(
        json.dumps(as_json(run), indent=2),
        media_type="application/json",
        headers={"content-disposition": f'attachment; filename="run-{name[:40]}.json"'},
    )
