"""Artifacts: previews, files, where they come from, and what was made with them."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from ..records import previews
from ..records.records import RecordNotFoundError, Records
from ..records.summaries import Record, uid_of
from . import graph, models
from .app import Page, address, whole
from .run import charts_of, item

ABOUT = ("framework", "hash", "uri", "path")
DEPTH = 4  # runs that a lineage goes each way
CELLS = 5_000  # of a table, which a browser shows at once
# A page in a frame: its own scripts run in it, but reach neither this page nor any network.
FRAME_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'unsafe-inline'; img-src data: blob:; font-src data:; frame-ancestors 'self'"
)
FILE_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"


def find(records: Records, query: Mapping[str, str]) -> Record:
    """Find the version of an artifact that an address names."""
    key, uid = query.get("key", ""), query.get("uid", "")
    if key and uid and (found := records.version(key, uid)):
        return found
    raise RecordNotFoundError(f"There is no artifact '{key}' with this id; it may be deleted.")


def artifact(page: Page, request: Request) -> Response:
    """Show a version of an artifact, with its lineage both ways; as a part, its preview alone."""
    records = page.records()
    record = find(records, request.query_params)
    shown = _preview(record, whole(request, "page"))
    if request.url.path == "/preview":
        return page.html(request, "_preview.html", item=item(record), **shown)
    if record["kind"] == "model":
        [told] = models.versions(records, [record])
    else:
        told = item(record, records.runs_using(record))
    about = {name: told[name] for name in ABOUT if told.get(name) not in (None, "")}
    shown |= {"item": told, "about": about, "graph": _lineage(records, record)}
    run = records.producing_run(record)
    shown["charts"] = charts_of(run, uid_of(record)) if run else ""
    return page.html(request, "artifact.html", **shown)


def _preview(record: Record, number: int) -> Record:
    kind, found = previews.kind(record), Record(table=None, text="", problem="", number=number)
    try:
        if kind == "table":
            found["table"] = table = previews.table(record, number)
            few = CELLS // max(1, len(table["rows"]))
            table["columns"] = table["columns"][:few]
            table["rows"] = [row[:few] for row in table["rows"]]
        elif kind == "text":
            found["text"] = previews.text(record)
        elif kind:
            previews.local_file(record)
    except Exception as error:
        # Without it, all else is shown.
        found["problem"] = str(error)
    return found


def file(page: Page, request: Request, kind: str = "") -> Response:
    """Give an artifact's file to keep, as no type that a browser shows, or to show.

    That is an image, whose scripts don't run if it is an SVG, or a page of HTML, such as a chart of
    Plotly, for a frame of its own.
    """
    record = find(page.records(), request.query_params)
    if kind and previews.kind(record) != kind:
        raise RecordNotFoundError(f"This artifact is no {kind}.")
    found = previews.local_file(record)
    shown_as = {"image": previews.IMAGES.get(previews.suffix(record)), "page": "text/html"}
    return FileResponse(
        found,
        media_type=shown_as.get(kind, "application/octet-stream"),
        filename=None if kind else found.name,
        headers={"content-security-policy": FRAME_POLICY if kind == "page" else FILE_POLICY},
    )


def _lineage(records: Records, start: Record) -> dict[str, Any] | None:
    """Draw where something came from, and what was made with it."""
    boxes, edges = dict[str, graph.Box](), list[tuple[str, str]]()

    def follow(node: Record, back: bool) -> str:
        is_run, uid, link, note = node["type"] == "run", node["uid"], "", "not recorded"
        if is_run:
            link, note = (address("/run", id=uid), uid[:8]) if uid else ("", "deleted")
        elif uid:
            link = address("/artifact", key=node["name"], uid=uid)
            note = f"{node['kind']}{' …' if node['cut'] else ''}"
        uid, kind = str(uid or node["name"]), "node" if is_run else "data"
        kind += " this" if uid == uid_of(start) else ""
        if is_run and node["state"] == "error":
            kind, note = "node failed", f"✕ {note}"
        boxes.setdefault(uid, graph.Box(uid, kind, node["name"], note, link))
        others = [follow(each, back) for each in node["follows"]]
        if node["unshown"]:
            others.append(f"{uid} unshown")
            boxes[others[-1]] = graph.Box(others[-1], "node", f"… {node['unshown']} earlier runs")
        edges.extend((other, uid) if back else (uid, other) for other in others)
        return uid

    for back in (True, False):
        follow(records.lineage(start, DEPTH, back), back)
    return graph.drawn([*boxes.values()], edges) if edges else None
