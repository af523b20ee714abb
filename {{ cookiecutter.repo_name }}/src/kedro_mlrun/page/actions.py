"""What changes something: by the functions that commands use, and after a question."""

from json import dumps
from typing import Any

import click
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ..models import promote as promotions
from ..records.records import RecordNotFoundError
from ..records.summaries import Record, summary, uid_of
from ..store.fields import artifact_uri, run_title
from . import artifacts
from .app import Page, address
from .run import find
from .shown import as_json


def _given(request: Request, name: str) -> str:
    return str((request.state.form.get(name) or [""])[0])


def _to(path: str, **query: Any) -> Response:
    # GET it, whatever the form's method was.
    return RedirectResponse(address(path, **query), 303)


def _version(page: Page, request: Request) -> tuple[Record, Response]:
    """Find the artifact that a form is about, and where it is shown."""
    query = {name: _given(request, name) for name in ("key", "uid")}
    return artifacts.find(page.records(), query), _to("/artifact", **query)


def tag(page: Page, request: Request) -> Response:
    """Tag a version of an artifact."""
    found, answer = _version(page, request)
    promotions.tag(page.records(), found, _given(request, "tag"))
    return answer


def promote(page: Page, request: Request) -> Response:
    """Promote a model, by the gates of the configuration."""
    found, answer = _version(page, request)
    alias, reason, force = (_given(request, name) for name in ("alias", "reason", "force"))
    uri, config = artifact_uri(found), page.changes["config"]()
    told = promotions.promote(page.records(), uri, config, alias, reason, force == "1")
    if told is None or told["state"] == "error":
        raise click.ClickException(promotions.sentence(told) if told else f"It is {alias} already.")
    return answer


def abort(page: Page, request: Request) -> Response:
    """Abort a run."""
    run = find(page.records(), _given(request, "id"))
    page.changes["abort"](run)
    return _to("/run", id=uid_of(run))


def ask_delete(page: Page, request: Request) -> Response:
    """Ask whether runs are to be deleted, and say what goes with them."""
    records, uids = page.records(), [*dict.fromkeys(request.query_params.getlist("id"))]
    told, warnings = [], list[str]()
    for run in records.runs_of(uids):
        records.check_ended(run)
        saved, about = records.artifacts_of(run), summary(run)
        warnings += records.losses(run, saved, uids)
        told.append({**about, "title": run_title(about), "artifacts": len(saved)})
    if not told:
        raise RecordNotFoundError("There is no such run. Check the runs to delete.")
    return page.html(request, "delete.html", runs=told, warnings=warnings)


def delete(page: Page, request: Request) -> Response:
    """Delete runs, on request with what they saved, and tell what was kept."""
    records, kept = page.records(), list[str]()
    runs = [*records.runs_of([*dict.fromkeys(request.state.form.get("id") or [])])]
    for run in runs:
        records.check_ended(run)
    for run in runs:
        told = records.delete(run, _given(request, "artifacts") == "1")
        kept += [str(item["reason"]) for item in told["kept"]]
    back = f"/?{_given(request, 'query')}"
    if kept:
        head = f"Deleted {len(runs)} {'run' if len(runs) == 1 else 'runs'}"
        message = "\n".join(["Some files stay:", *kept])
        return page.html(request, "base.html", head=head, message=message, back=back)
    return RedirectResponse(back, 303)


def download(page: Page, request: Request) -> Response:
    """Give a run's record as a text of JSON."""
    run = find(page.records(), request.query_params.get("id", ""))
    return Response(dumps(as_json(run), indent=2), media_type="application/json")
