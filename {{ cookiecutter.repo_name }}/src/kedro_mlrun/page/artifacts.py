"""Artifacts: previews, files, where they come from, and what was made with them."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from ..records.records import RecordNotFoundError, Records
from ..records.summaries import Record, artifact_summary, uid_of
from . import graph, previews
from .app import Page, address, whole
from .run import item

DEPTH = 4  # runs that a lineage goes each way
# A page in a frame: its own scripts run in it, but reach neither this page nor any network.
FRAME_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'unsafe-inline'; img-src data: blob:; font-src data:; frame-ancestors 'self'"
)
FILE_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"


def find(records: Records, query: Mapping[str, str]) -> Record:
    """Find the version of an artifact that an address names."""
    key, uid = query.get("key", ""), query.get("uid", "")
    found = records.version(key, uid) if key and uid else None
    if not found:
        raise RecordNotFoundError(f"There is no artifact '{key}' with this id; it may be deleted.")
    return found


def artifact(page: Page, request: Request) -> Response:
    """Show a version of an artifact, with its lineage both ways."""
    records = page.records()
    record = find(records, request.query_params)
    users = records.runs_using(record)
    return page.html(
        request,
        "artifact.html",
        item=item(record, users),
        spec=_about(record),
        graph=lineage(records, record),
        **_preview(request, record),
    )


def _about(record: Record) -> Record:
    told = artifact_summary(record)
    names = ("kind", "framework", "size", "created", "run", "hash", "uri", "path")
    return {name: told.get(name) for name in names if told.get(name) not in (None, "")}


def preview(page: Page, request: Request) -> Response:
    """Show what is in an artifact, as a part of a page."""
    record = find(page.records(), request.query_params)
    return page.html(request, "_preview.html", item=item(record), **_preview(request, record))


def _preview(request: Request, record: Record) -> Record:
    kind, number = previews.kind(record), whole(request, "page")
    found: Record = {"kind": kind, "table": None, "text": "", "problem": "", "number": number}
    try:
        if kind == "table":
            found["table"] = previews.table(record, number)
        elif kind == "text":
            found["text"] = previews.text(record)
        elif kind:
            previews.local_file(record)
    except Exception as error:
        # Without it, all else is shown.
        found["problem"] = str(error)
    return found


def data(page: Page, request: Request) -> Any:
    """Give a table as JSON: what curves are drawn from."""
    record = find(page.records(), request.query_params)
    read = previews.table(record, size=10_000)
    return {"names": read["columns"], "rows": read["rows"], "total": read["total"]}


def file(page: Page, request: Request) -> Response:
    """Give an artifact's file to keep: as no type that a browser shows."""
    found = previews.local_file(find(page.records(), request.query_params))
    return FileResponse(
        found,
        media_type="application/octet-stream",
        filename=found.name,
        headers={"content-security-policy": FILE_POLICY},
    )


def image(page: Page, request: Request) -> Response:
    """Give an image; an SVG's scripts don't run."""
    record = _of_kind("image", page, request)
    return _shown(record, previews.IMAGES[previews.suffix(record)], FILE_POLICY)


def frame(page: Page, request: Request) -> Response:
    """Give a recorded page of HTML, such as a chart of Plotly, for a frame of its own."""
    return _shown(_of_kind("page", page, request), "text/html", FRAME_POLICY)


def _of_kind(kind: str, page: Page, request: Request) -> Record:
    record = find(page.records(), request.query_params)
    if previews.kind(record) != kind:
        raise RecordNotFoundError(f"This artifact is no {kind}.")
    return record


def _shown(record: Record, media_type: str, policy: str) -> Response:
    headers = {"content-security-policy": policy}
    return FileResponse(previews.local_file(record), media_type=media_type, headers=headers)


def lineage(records: Records, start: Record) -> dict[str, Any] | None:
    """Draw where something came from, and what was made with it."""
    boxes, edges = dict[str, graph.Box](), list[tuple[str, str]]()
    for back in (True, False):
        _follow(records.lineage(start, DEPTH, back), back, boxes, edges)
    this = uid_of(start)
    shown = [box._replace(this=box.name == this) for box in boxes.values()]
    return graph.drawn(shown, edges) if len(shown) > 1 else None


def _follow(
    node: Record, back: bool, boxes: dict[str, graph.Box], edges: list[tuple[str, str]]
) -> str:
    is_run, uid = node["type"] == "run", node["uid"] or node["name"]
    if node["uid"] and is_run:
        link, note = address("/run", id=uid), str(uid)[:8]
    elif node["uid"]:
        link, note = address("/artifact", key=node["name"], uid=uid), node["kind"]
    else:
        link, note = "", "deleted" if is_run else "not recorded"
    box = graph.Box(uid, "node" if is_run else "data", node["name"], note, link)
    boxes.setdefault(uid, box)
    for following in node["follows"]:
        other = _follow(following, back, boxes, edges)
        edges.append((other, uid) if back else (uid, other))
    if node["unshown"]:
        name = f"{uid} unshown"
        boxes[name] = graph.Box(name, "node", f"… {node['unshown']} earlier runs")
        edges.append((name, uid) if back else (uid, name))
    return str(uid)
