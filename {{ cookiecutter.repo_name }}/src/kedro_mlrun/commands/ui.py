"""The command that shows the records in a browser."""

import json
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click
from click import IntRange, option

from ..records.query import select
from ..records.records import Records, is_promotion
from ..records.summaries import Record
from ..runs.manager import MLRunContextManager
from ..web import LOOPBACK, TOKEN, addresses, bound, make_server, run
from .base import Answer, command, tell, to_read

PORT = 5055


@command("ui", "kedro mlrun ui")
@option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@option("--port", type=IntRange(0, 65535), help=f"The port; by default a free one from {PORT}.")
@option("--token", envvar=TOKEN, help=f"What a browser has to show. Same as {TOKEN}.")
@option("--read-only", is_flag=True, help="Without tags, promotions, deletions and aborts.")
@option(
    "--export",
    "to_file",
    metavar="FILE.html",
    type=click.Path(dir_okay=False, writable=True),
    help="Write runs and their comparison to this file, and start no server.",
)
@option("--last", type=IntRange(1, 500), help="With --export: so many runs, or 100.")
@option("--where", multiple=True, metavar="CONDITION", help="With --export: as for `runs`.")
def ui(
    records: Records,
    host: str,
    port: int | None,
    token: str | None,
    read_only: bool,
    to_file: str | None,
    last: int | None,
    where: Sequence[str],
) -> Answer | Callable[[], int]:
    """Show runs, artifacts and models in a browser, until Ctrl-C.

    Only this machine reaches the page. At another --host others do, who have the token that is
    printed.
    """
    if to_file:
        last = last or 100
        found = select(records, where, limit=2 * last + 100)
        # Promotions are a model's history, and no runs to compare.
        runs = ([run for run in found if not is_promotion(run)] or found)[:last]
        if not runs:
            raise click.UsageError("No run matches. To list all: kedro mlrun runs")
        export(records, runs, to_file)
        return Answer({"file": to_file, "runs": len(runs)}, to_file)
    if where or last:
        raise click.UsageError("--where and --last are for a file: add --export FILE.html.")
    views, place = _page()
    token = token or ("" if host in LOOPBACK else secrets.token_urlsafe(24))
    changes = {"config": lambda: MLRunContextManager().models, "abort": _abort}
    server = make_server(views.make(to_read, None if read_only else changes, place, token))
    opened = bound(host, PORT if port is None else port, port is None)
    query = f"/?{urlencode({'token': token})}" if token else "/"
    urls = [url + query for url in addresses(host, opened)]
    told = "\nOn this machine: ".join(urls)
    text = f"Showing {place} at {told}\nTo end it: Ctrl-C"
    if click.get_current_context().params["as_json"]:
        text = json.dumps({"url": urls[0]})

    def go() -> int:
        tell(text, err=False)
        run(server, opened)
        return 0

    return go


def export(records: Records, runs: Sequence[Record], file: str) -> None:
    """Write runs and their comparison to a file that needs no server."""
    views, place = _page()
    if not (folder := Path(file).parent).is_dir():
        raise click.UsageError(f"There is no folder {folder}. Make it, or name another one.")
    text = views.exported(records, sorted(runs, key=is_promotion), place)
    Path(file).write_text(text, encoding="utf-8")


def _page() -> tuple[Any, str]:
    """Give the page's views, whose libraries not every project has, and the store in words."""
    try:
        from ..page import views
    except ImportError as error:
        raise click.ClickException(
            f"The page needs {error.name}. Install it: pip install jinja2 starlette uvicorn"
        ) from None
    return views, MLRunContextManager().location


def _abort(run: Any) -> None:
    from .jobs import abort_unended

    abort_unended(run, "kedro mlrun ui")
