"""All views by their addresses."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from json import dumps
from typing import Any

from markupsafe import Markup

from ..records.records import Records
from ..records.summaries import Record
from . import actions, artifacts, compare, models, run, runs
from .app import HERE, Page, View, application
from .guard import Guard
from .shown import as_json

FILES = "page.css", "charts.js"


def make(
    records: Callable[[], Records],
    changes: Mapping[str, Callable[..., Any]] | None = None,
    where: str = "",
    token: str = "",
) -> Guard:
    """Make the page's application.

    Args:
        records: opens the records.
        changes: `config` gives how models are promoted, `abort` aborts a run; without them, the
            page changes nothing.
        where: the store in words.
        token: what a browser has to show.
    """
    views: dict[str, Any] = {
        "/": runs.runs,
        "/rows": runs.runs,
        "/trials": runs.trials,
        "/run": run.run,
        "/log": run.log,
        "/download": actions.download,
        "/artifact": artifacts.artifact,
        "/preview": artifacts.preview,
        "/artifact/data": artifacts.data,
        "/file": artifacts.file,
        "/image": artifacts.image,
        "/frame": artifacts.frame,
        "/models": models.models,
        "/compare": compare.compare,
        "/compare/data": compare.data,
    }
    can = dict[str, Any]()
    if changes:
        can = {"tag": actions.tag, "delete": actions.delete}
        can["promote"] = actions.promoting(changes["config"])
        can["abort"] = actions.aborting(changes["abort"])
        views |= {f"POST /{name}": view for name, view in can.items()}
        views["/delete"] = actions.ask_delete
    page = Page(records, can, where)
    bound: dict[str, View] = {path: partial(view, page) for path, view in views.items()}
    return application(page, bound, token)


def exported(records: Records, found: Sequence[Record], where: str) -> str:
    """Write runs and their comparison as one file, that needs no server and no other file."""
    data = {**compare.chart_data(found), "curves": compare.curves(records, found)}
    text = dumps(as_json(data)).replace("<", "\\u003c")
    style, script = ((HERE / "static" / name).read_text("utf-8") for name in FILES)
    parts = {"data": Markup(text), "style": Markup(style), "script": Markup(script)}  # noqa: S704 - own files
    parts |= compare.compared(records, found, compare.ROOM)
    return Page(lambda: records, where=where).render("compare.html", ids="", **parts)
