"""The command that opens the page."""

import webbrowser
from typing import Any

import click
from click import IntRange, option

from ..records.records import Records
from .base import command, tell, to_read


@command("ui", "kedro mlrun ui")
@option("--host", default="127.0.0.1", help="Where to listen; other than here, a token is needed.")
@option("--port", type=IntRange(0, 65535), help="The port; by default 5055, or the next free one.")
@option("--read-only", is_flag=True, help="Change nothing: no tags, promotions, deletions, aborts.")
@option("--open", "opens", is_flag=True, help="Open it in a browser.")
def ui(records: Records, host: str, port: int | None, read_only: bool, opens: bool) -> Any:
    """Show the records in a browser: runs, comparisons, artifacts, models.

    The page is for this machine alone. With another --host, others reach it who have the token that
    is printed.
    """
    try:
        from ..page import guard, views
        from ..web import bound, serve
    except ImportError as error:
        raise click.ClickException(
            f"The page needs {error.name}. Install it: pip install 'kedro-mlrun[ui]'"
        ) from None
    from ..runs.manager import MLRunContextManager

    token = "" if guard.is_loopback(host) else guard.new_token()
    where = MLRunContextManager().location
    changes: dict[str, Any] | None = None if read_only else {"config": _config, "abort": _abort}
    app = views.make(to_read, changes, where, token)
    opened = bound(host, 5055 if port is None else port, next_free=port is None)
    at = f"[{host}]" if ":" in host else host
    url = f"http://{at}:{opened.getsockname()[1]}/{f'?token={token}' if token else ''}"

    def run() -> int:
        tell(f"{where[:1].upper()}{where[1:]}\n{url}\nTo end it: Ctrl-C", err=False)
        if opens:
            webbrowser.open(url)
        serve(app, opened)
        return 0

    return run


def _config() -> Any:
    from ..runs.manager import MLRunContextManager

    return MLRunContextManager().models


def _abort(run: Any) -> None:
    from ..jobs import background
    from ..runs.manager import MLRunContextManager
    from ..store.rows import TERMINAL_STATES

    uid, state = run["metadata"]["uid"], run["status"]["state"]
    if state in TERMINAL_STATES:
        raise click.ClickException(f"Run {uid} has ended: it is {state}. Nothing was done.")
    background.abort(MLRunContextManager().db, dict(run), "It was aborted by kedro mlrun ui.")
