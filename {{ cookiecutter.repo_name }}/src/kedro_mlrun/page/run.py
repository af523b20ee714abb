"""One run: what ran, on what, with which result, and what has come of it."""

import codecs
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import click
from starlette.requests import Request
from starlette.responses import Response

from ..records.records import RecordNotFoundError, Records
from ..records.summaries import (
    Record,
    artifact_key,
    artifact_summary,
    search_of,
    summary,
    uid_of,
)
from ..store.fields import OWN, artifact_uid, flatten, run_title
from ..store.rows import TERMINAL_STATES
from . import graph, previews
from .app import Page, address, whole

LOG_PART = 200_000  # bytes of a log in an answer


def find(records: Records, which: str) -> Record:
    """Find a run as commands do, or by an id that is like no other."""
    try:
        return records.run(which)
    except RecordNotFoundError:
        for found in records.runs_of([which]):
            return found
        raise


def run(page: Page, request: Request) -> Response:
    """Show a run; of a part of the page that is asked for anew, that alone."""
    records = page.records()
    found = find(records, request.query_params.get("id", ""))
    told, saved = summary(found), records.artifacts_of(found)
    using = records.using(saved) if saved else {}
    items = [item(record, using[uid_of(record)]) for record in saved]
    own = [each for each in items if each["key"].startswith(OWN)]
    error, _, traceback = (told["error"] or "").strip().partition("\n\n")
    parameters = flatten(told["parameters"])
    header, *rows = found["status"].get("iterations") or [[]]
    return page.html(
        request,
        "run.html",
        run=told,
        title=run_title(told),
        goes_on=told["state"] not in TERMINAL_STATES,
        error=error,
        traceback=traceback,
        parameters={n: v for n, v in parameters.items() if not n.startswith(OWN)},
        options={n.removeprefix(OWN): v for n, v in parameters.items() if n.startswith(OWN)},
        results=flatten(told["results"]),
        inputs=inputs(records, told["inputs"]),
        items=[each for each in items if each not in own],
        own=own,
        header=header,
        rows=rows,
        best=search_of(found),
        graph=pipeline_graph({artifact_key(record): record for record in saved}),
    )


def item(record: Record, users: Sequence[Record] = ()) -> Record:
    """Give what is shown of an artifact's version."""
    told, query = artifact_summary(record), {"key": artifact_key(record), "uid": uid_of(record)}
    return {
        **told,
        "preview": previews.kind(record),
        "tags": [tag for tag in told["tags"] if tag != "latest"],
        "link": address("/artifact", **query),
        "image": address("/image", **query),
        "part": address("/preview", **query),
        "file": address("/file", **query),
        "users": [{"uid": uid_of(user), "title": run_title(summary(user))} for user in users],
    }


def inputs(records: Records, named: Mapping[str, Any]) -> list[Record]:
    """Give what a run has loaded, with links where that is recorded."""
    found = []
    for name, uri in named.items():
        link = made = ""
        with suppress(RecordNotFoundError):
            if uid := artifact_uid(uri):
                record = records.named(str(uri))
                made = artifact_summary(record)["run"]
                link = address("/artifact", key=artifact_key(record), uid=uid)
        found.append({"name": name, "uri": uri, "link": link, "run": made})
    return found


def pipeline_graph(saved: Mapping[str, Record]) -> dict[str, Any] | None:
    """Draw a run's pipeline, with how long each node took."""
    recorded = previews.read_json(saved.get(f"{OWN}pipeline"))
    nodes = recorded.get("nodes")
    if not isinstance(nodes, list):
        return None
    seconds, rows = dict[str, float](), list[Any]()
    with suppress(click.ClickException):
        if times := saved.get(f"{OWN}nodes"):
            read = previews.table(times, size=100_000)
            rows = [dict(zip(read["columns"], row, strict=True)) for row in read["rows"]]
    for row in rows:
        seconds[row["node"]] = seconds.get(row["node"], 0) + (row["seconds"] or 0)
    longest = max(seconds.values(), default=0) or 1
    boxes, edges = [], list[tuple[str, str]]()
    datasets = dict[str, graph.Box]()
    for node in nodes:
        name = str(node["name"])
        took = seconds.get(name)
        note = f"{took:.2f} s" if took is not None else ""
        boxes.append(graph.Box(f"node {name}", "node", name, note, share=(took or 0) / longest))
        for way in ("inputs", "outputs"):
            for data in dict.fromkeys(str(each).partition("@")[0] for each in node[way]):
                if data.startswith("params:") or data == "parameters":
                    continue
                link = item(saved[data])["link"] if data in saved else ""
                datasets[data] = graph.Box(f"data {data}", "data", data, link=link)
                ends = (f"data {data}", f"node {name}")
                edges.append(ends if way == "inputs" else (ends[1], ends[0]))
    return graph.drawn([*boxes, *datasets.values()], edges)


def log(page: Page, request: Request) -> Any:
    """Give a part of a run's log, and where the next one begins."""
    records = page.records()
    found = find(records, request.query_params.get("id", ""))
    start = whole(request, "offset")
    state, data = records.db.get_log(uid_of(found), records.project, start, LOG_PART)
    # Of a character that came in two parts, the next answer has all.
    text, length = codecs.utf_8_decode(data, "replace", False)
    return {"state": state, "text": text, "offset": start + length, "more": len(data) == LOG_PART}
