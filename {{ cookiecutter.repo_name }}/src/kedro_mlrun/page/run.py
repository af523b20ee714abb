"""One run: what ran, on what, with which result, and what has come of it."""

import codecs
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import click
from starlette.requests import Request
from starlette.responses import Response

from ..records import previews
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
from ..store.rows import LATEST, TERMINAL_STATES
from . import graph
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
    """Show a run."""
    records = page.records()
    found = find(records, request.query_params.get("id", ""))
    told, saved = summary(found), records.artifacts_of(found)
    using = records.using(saved)
    error, _, traceback = (told["error"] or "").strip().partition("\n\n")
    parameters = flatten(told["parameters"])
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
        inputs=[_input(records, *each) for each in told["inputs"].items()],
        items=[item(record, using[uid_of(record)]) for record in saved],
        graph=_pipeline({artifact_key(record): record for record in saved}),
        **trials(found),
    )


def trials(run: Record) -> Record:
    """Give what a search has tried, its metric first, and apart what is the same in all trials."""
    header, *rows = run["status"].get("iterations") or [[]]
    columns = dict(zip(map(str, header), zip(*rows, strict=False), strict=False))
    found = search_of(run)
    numbers, metric = columns.pop("iter", ()), f"output.{found.get('metric')}"
    best = found["history"][-1]["trial"] if found.get("history") else None
    if found and "state" in columns:
        states = ("pruned" if state == "aborted" else state for state in columns["state"])
        columns["state"] = tuple(states)
    order = [metric, "state", *(name for name in columns if name.startswith("param."))]
    names = [name for name in dict.fromkeys([*order, *columns]) if name in columns]
    same = {name for name in names if len({*map(repr, columns[name])}) == 1 and len(rows) > 1}
    heads = {name: name.removeprefix("param.").removeprefix("output.") for name in names}
    shown = [name for name in names if name not in same or name == metric]
    return {
        "heads": ["trial", *(heads[name] for name in shown)],
        "rows": [
            (number, number == best, [(name, columns[name][at]) for name in shown])
            for at, number in enumerate(numbers)
        ],
        "same": [(heads[name], columns[name][0]) for name in names if name not in shown],
        "of": uid_of(run),
    }


def item(record: Record, users: Sequence[Record] = ()) -> Record:
    """Give what is shown of an artifact's version."""
    told = artifact_summary(record)
    views = {"link": "artifact"} | {name: name for name in ("preview", "image", "frame", "file")}
    return {
        **told,
        **{n: address(f"/{view}", key=told["key"], uid=told["uid"]) for n, view in views.items()},
        "shown_as": previews.kind(record),
        "is_own": told["key"].startswith(OWN),
        "tags": [tag for tag in told["tags"] if tag != LATEST],
        "users": [{"uid": uid_of(user), "title": run_title(summary(user))} for user in users],
    }


def _input(records: Records, name: str, uri: Any) -> Record:
    """Give what a run has loaded, with links where that is recorded."""
    with suppress(RecordNotFoundError):
        if artifact_uid(uri):
            return {"name": name, "uri": uri, **item(records.named(str(uri)))}
    return {"name": name, "uri": uri, "link": "", "run": ""}


def _pipeline(saved: Mapping[str, Record]) -> dict[str, Any] | None:
    """Draw a run's pipeline, with how long each node took, as far as that is recorded."""
    # What is damaged or lacks some of it has no graph, and all else is shown.
    with suppress(Exception):
        file = previews.local_file(saved[f"{OWN}pipeline"])
        nodes, seconds = json.loads(file.read_bytes())["nodes"], _seconds(saved)
        longest = max(seconds.values(), default=0) or 1
        boxes, edges, datasets = list[graph.Box](), list[tuple[str, str]](), dict[str, graph.Box]()
        for node in nodes:
            title = str(node["name"])
            name, took = f"node {title}", seconds.get(title)
            note = f"{took:.2f} s" if took is not None else ""
            boxes.append(graph.Box(name, "node", title, note, share=(took or 0) / longest))
            for way in ("inputs", "outputs"):
                for key in (str(each).partition("@")[0] for each in node[way]):
                    if not key.startswith("params:") and key != "parameters":
                        link = item(saved[key])["link"] if key in saved else ""
                        datasets[key] = graph.Box(f"data {key}", "data", key, link=link)
                        ends = (f"data {key}", name)
                        edges.append(ends if way == "inputs" else ends[::-1])
        return graph.drawn([*boxes, *datasets.values()], edges)
    return None


def _seconds(saved: Mapping[str, Record]) -> Mapping[str, float]:
    seconds = Counter[str]()
    with suppress(KeyError, click.ClickException):
        read = previews.table(saved[f"{OWN}nodes"], size=100_000)
        for row in read["rows"]:
            told = dict(zip(read["columns"], row, strict=True))
            seconds[told["node"]] += told["seconds"] or 0
    return seconds


def log(page: Page, request: Request) -> Any:
    """Give a part of a run's log, and where the next one begins."""
    records = page.records()
    found = find(records, request.query_params.get("id", ""))
    start = whole(request, "offset")
    state, data = records.db.get_log(uid_of(found), records.project, start, LOG_PART)
    # Of a character that came in two parts, the next answer has all.
    text, length = codecs.utf_8_decode(data, "replace", False)
    return {"state": state, "text": text, "offset": start + length, "more": len(data) == LOG_PART}
