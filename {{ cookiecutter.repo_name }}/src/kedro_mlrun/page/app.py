"""The application: which address shows what, and how it is written."""

import hashlib
import logging
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlencode

import click
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ..records.records import RecordNotFoundError, Records
from ..text import visible
from . import shown
from .guard import Guard

LOG = logging.getLogger(__name__)
HERE = Path(__file__).parent
TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
DIGITS = 15  # of a number that is asked for
View = Callable[[Request], Any]


def templates() -> Environment:
    """Make what writes pages: every text is `visible` and none is HTML."""
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalized,
    )
    made.filters |= shown.FILTERS
    return made


def _finalized(value: Any) -> Any:
    if isinstance(value, Markup):
        return value
    return "" if value is None else visible(str(value))


class Page:
    """What the views have in common.

    Args:
        records: opens the records.
        actions: what changes something, by its name; none if that is switched off.
        where: the store in words.
    """

    def __init__(
        self,
        records: Callable[[], Records],
        actions: Mapping[str, Callable[..., Any]] | None = None,
        where: str = "",
    ) -> None:
        self.records, self.where = records, where
        self.actions = dict(actions or {})
        self.environment = templates()

    def render(self, name: str, **context: Any) -> str:
        """Write a template."""
        return self.environment.get_template(name).render(
            where=self.where, actions=self.actions, **context
        )

    def html(self, request: Request, name: str, status: int = 200, **context: Any) -> Response:
        """Answer with a template; with nothing if the browser has the very same."""
        text = self.render(name, **context)
        tag = f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'
        if status == 200 and request.headers.get("if-none-match") == tag:  # noqa: PLR2004
            return Response(status_code=304, headers={"etag": tag})
        return HTMLResponse(text, status, headers={"etag": tag})


def application(page: Page, views: Mapping[str, View], token: str = "") -> Guard:
    """Make the ASGI application of views by their addresses; one that POST changes begins so."""
    routes = [Route("/static/{name}", _static)]
    for address, view in views.items():
        method, _, path = address.rpartition(" ")
        routes.append(Route(path, _answering(page, view), methods=[method or "GET"]))
    app = Starlette(
        routes=routes,
        exception_handlers={
            404: lambda request, _: _error(page, request, 404, "There is no such page."),
            405: lambda request, _: _error(page, request, 405, "That can't be done here."),
        },
    )
    app.router.redirect_slashes = False
    return Guard(app, token)


def _answering(page: Page, view: View) -> Callable[[Request], Any]:
    """Let what goes wrong be one sentence; of what is our fault the log has the traceback."""

    @wraps(view)
    async def answer(request: Request) -> Response:
        body = await request.body() if request.method == "POST" else b""
        return await run_in_threadpool(_told, page, view, request, body)

    return answer


def _told(page: Page, view: View, request: Request, body: bytes) -> Response:
    try:
        request.state.form = parse_qs(body.decode(errors="replace"), keep_blank_values=True)
        found = view(request)
        return found if isinstance(found, Response) else JSONResponse(shown.as_json(found))
    except RecordNotFoundError as error:
        return _error(page, request, 404, error.message)
    except click.ClickException as error:
        return _error(page, request, 400, error.message)
    except Exception as error:
        if isinstance(error, OSError) or type(error).__module__.startswith("mlrun."):
            return _error(page, request, 502, str(error) or type(error).__name__)
        LOG.exception("The page %s failed.", request.url.path)
        return _error(page, request, 500, f"It failed with {type(error).__name__}. See the log.")


def _error(page: Page, request: Request, status: int, message: str) -> Response:
    if request.headers.get("accept", "").startswith("application/json"):
        return JSONResponse({"error": visible(message)}, status)
    return page.html(request, "error.html", status, message=message)


async def _static(request: Request) -> Response:
    file = next(
        (f for f in (HERE / "static").iterdir() if f.name == request.path_params["name"]), None
    )
    if file is None or file.suffix not in TYPES:
        return PlainTextResponse("There is no such file.", 404)
    return Response(file.read_bytes(), media_type=TYPES[file.suffix])


def whole(request: Request, name: str) -> int:
    """Read a whole number of an address; 0 for what is none."""
    text = request.query_params.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= DIGITS else 0


def address(path: str, **query: Any) -> str:
    """Write an address of this page; what is None or empty is left out."""
    given = {name: value for name, value in query.items() if value not in (None, "", [])}
    return f"{path}?{urlencode(given, doseq=True, quote_via=quote, errors='replace')}"
