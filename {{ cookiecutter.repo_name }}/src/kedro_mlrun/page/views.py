"""All views by their addresses, and how they are answered."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from json import dumps
from typing import Any
from urllib.parse import parse_qs

import click
from markupsafe import Markup
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from ..records.records import RecordNotFoundError, Records
from ..records.summaries import Record
from ..text import visible
from . import actions, artifacts, compare, models, run, runs
from .app import HERE, Page
from .guard import App, guarded
from .shown import as_json

LOG = logging.getLogger(__name__)
FILES = "page.css", "tables.js", "charts.js"
TYPES = {".css": "text/css", ".js": "text/javascript"}
View = Callable[[Page, Request], Any]


def _static(_: Page, request: Request) -> Response:
    for file in (HERE / "static").iterdir():
        if request.url.path == f"/static/{file.name}":
            return FileResponse(file, media_type=TYPES[file.suffix])
    raise RecordNotFoundError("There is no such page.")


VIEWS: dict[str, View] = {
    "/": runs.runs,
    "/rows": runs.runs,
    "/trials": runs.trials,
    "/run": run.run,
    "/log": run.log,
    "/download": actions.download,
    "/artifact": artifacts.artifact,
    "/preview": artifacts.artifact,
    "/file": artifacts.file,
    "/image": partial(artifacts.file, kind="image"),
    "/frame": partial(artifacts.file, kind="page"),
    "/models": models.models,
    "/compare": compare.compare,
    "/compare/data": compare.data,
}
CHANGES: dict[str, View] = {
    "/tag": actions.tag,
    "/promote": actions.promote,
    "/abort": actions.abort,
    "/delete": actions.delete,
}


def make(
    records: Callable[[], Records],
    changes: Mapping[str, Callable[..., Any]] | None = None,
    where: str = "",
    token: str = "",
) -> App:
    """Make the page's ASGI application; see `Page`, and for the token `guarded`."""
    page = Page(records, changes, where)
    views, posts = (VIEWS | {"/delete": actions.ask_delete}, CHANGES) if changes else (VIEWS, {})

    async def app(scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        is_post = request.method == "POST"
        view = (posts if is_post else views).get(scope["path"], _static)
        body = await request.body() if is_post else b""
        request.state.form = parse_qs(body.decode(errors="replace"), keep_blank_values=True)
        answer = await run_in_threadpool(_answer, page, view, request)
        await answer(scope, receive, send)

    return guarded(app, token)


def _answer(page: Page, view: View, request: Request) -> Response:
    """Let what goes wrong be one sentence; of what is our fault the log has the traceback."""
    try:
        found = view(page, request)
        if isinstance(found, Response):
            return found
        return Response(dumps(as_json(found)), media_type="application/json")
    except click.ClickException as error:
        status, message = 404 if isinstance(error, RecordNotFoundError) else 400, error.message
    except Exception as error:
        status, message = 502, str(error) or type(error).__name__
        if not isinstance(error, OSError) and not type(error).__module__.startswith("mlrun."):
            LOG.exception("The page %s failed.", request.url.path)
            status, message = 500, f"It failed with {type(error).__name__}. See the log."
    if request.headers.get("accept", "").startswith("application/json"):
        return JSONResponse({"error": visible(message)}, status)
    return page.html(request, "base.html", status, head="It didn't work", message=message)


def exported(records: Records, found: Sequence[Record], where: str) -> str:
    """Write runs and their comparison as one file, that needs no server and no other file."""
    data = compare.chart_data(found)
    data["curves"] = compare.curves(records, found, points=compare.POINTS_OF_FILE)
    text = dumps(as_json(data), separators=(",", ":")).replace("<", "\\u003c")
    style, *scripts = ((HERE / "static" / name).read_text("utf-8") for name in FILES)
    own = {"data": text, "style": style, "script": "".join(scripts)}
    parts = {name: Markup(each) for name, each in own.items()}  # noqa: S704 - own files
    page = Page(lambda: records, where=where)
    parts |= compare.compared(records, found, room=compare.ROOM) | compare.of_file(page, found)
    return page.render("compare.html", link=None, charts="", gone=0, **parts)
