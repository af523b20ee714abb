"""One run: what ran, on what, with which result, and what has come of it."""

import codecs
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from shlex import quote
from typing import Any

import yaml
from starlette.requests import Request
from starlette.responses import Response

from ..records import previews, summaries
from ..records.records import RecordNotFoundError, Records
from ..records.summaries import Record, artifact_key, artifact_summary, summary, uid_of
from ..store.fields import OWN, PATHS, artifact_uid, flatten, run_title, section
from ..store.rows import LATEST, TERMINAL_STATES
from ..text import MINUTE, kedro_command, took
from . import graph
from .app import Page, address, whole
from .shown import SHORT, heads

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
    error, _, traceback = (told["error"] or "").partition("\n\n")
    parameters = flatten(told["parameters"])
    inputs = [_input(records, *each) for each in told["inputs"].items()]
    items = [item(record, using[uid_of(record)]) for record in saved]
    links = {each["name"]: each["link"] for each in inputs}
    links |= {each["key"]: each["link"] for each in items}
    own = {n.removeprefix(OWN): v for n, v in parameters.items() if n.startswith(OWN)}
    given = {n: v for n, v in parameters.items() if not n.startswith(OWN)}
    shown: Record = {"title": run_title(told), "goes_on": told["state"] not in TERMINAL_STATES}
    shown |= {"error": error, "traceback": traceback, "parameters": given, "options": own}
    shown |= {"results": flatten(told["results"]), "inputs": inputs, "items": items}
    keys = {artifact_key(each): each for each in saved}
    shown |= {"charts": charts_of(found), "graph": _pipeline(found, keys, links)}
    shown |= {"why_not": summaries.unreproducible(found), "commands": _commands(told)}
    again = f"{kedro_command()} mlrun reproduce {quote(told['uid'][:SHORT])}"
    return page.html(request, "run.html", run=told, again=again, **shown, **trials(found))


def charts_of(run: Record, artifact: str = "") -> str:
    """Give the address of a run's or an artifact's charts; "" where there will be none."""
    told = summary(run)
    uris, keys = told["artifacts"], [*summaries.histories(told)]
    if artifact:
        keys = [k for k in keys if artifact in map(artifact_uid, (uris[k], uris[f"{k}.chart"]))]
    will_be = not artifact and (summaries.trials_of(run) or told["state"] not in TERMINAL_STATES)
    query = {"id": told["uid"], "key": artifact and keys}
    return address("/compare/data", **query) if keys or will_be else ""


def _commands(told: Record) -> list[str]:
    """Give the commands that make a run again, as one types them."""
    commit, command = told["labels"].get("git-commit"), told["parameters"].get(f"{OWN}command")
    # A job's own command reads what to run from its environment, and a notebook's runs nothing.
    is_one = str(command).startswith(("kedro ", "python -m ")) and "--from-env" not in command
    return [f"git checkout {quote(str(commit))}"] * bool(commit) + [command] * is_one


def trials(run: Record) -> Record:
    """Give what a search has tried, its metric first, and apart what is the same in all trials."""
    tried, found = summaries.trials_of(run), Record()
    with suppress(Exception):  # Its record is damaged.
        found = summaries.search_of(run)
    for trial in tried if found else ():
        trial["state"] = "pruned" if trial["state"] == "aborted" else trial["state"]
    known, metric = [*tried[0]] if tried else [], f"output.{found.get('metric')}"
    names = sorted(known, key=lambda name: (name != metric, name != "state", name[:6] != "param."))
    same = summaries.same_in(tried) - {metric} if len(tried) > 1 else set()
    told = heads(names)
    shown = [name for name in names if name not in {*same, "iter"}]
    best = found["history"][-1]["trial"] if found.get("history") else None
    rows = [(t["iter"], t["iter"] == best, [(name, t[name]) for name in shown]) for t in tried]
    alike = [(told[name], tried[0][name]) for name in names if name in same]
    columns = ["trial", *map(told.get, shown)]
    return {"heads": columns, "rows": rows, "same": alike, "of": uid_of(run)}


def item(record: Record, users: Sequence[Record] = ()) -> Record:
    """Give what is shown of an artifact's version."""
    told, kind, problem = artifact_summary(record), previews.kind(record), ""
    if kind == "image":
        # One that is elsewhere isn't asked for, which may take its time.
        try:
            previews.local_path(record)
        except Exception as error:
            problem = str(error)
    views = {"link": "artifact"} | {name: name for name in ("preview", "image", "frame", "file")}
    return {
        **told,
        **{n: address(f"/{view}", key=told["key"], uid=told["uid"]) for n, view in views.items()},
        "shown_as": kind,
        "problem": problem,
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


def _pipeline(run: Record, saved: Record, links: Mapping[str, str]) -> Record | None:
    """Draw a run's pipeline, with how each node went, as far as that is recorded."""
    told, notes = summary(run), section(run, "metadata", "annotations")
    state, error = told["state"], told["error"] or ""
    # What is damaged or lacks some of it has no graph, and all else is shown.
    with suppress(Exception):
        file = previews.local_file(saved[f"{OWN}pipeline"])
        nodes, ended = json.loads(file.read_bytes())["nodes"], state == "completed"
        seconds, made = _seconds(saved, ended), {*saved, *(n.removeprefix(PATHS) for n in notes)}
        in_turn = flatten(told["parameters"]).get(f"{OWN}runner") == "SequentialRunner"
        goes_on = in_turn and state not in TERMINAL_STATES and f"{OWN}catalog" in saved
        catalog = yaml.safe_load(previews.text(saved[f"{OWN}catalog"])) if goes_on else {}
        undone = "no result" if seconds is None or state == "aborted" else "not run"
        if seconds is None:
            # A node has run if something came of it, or in turn of a later one, or if all have.
            seconds = {}
            for node in reversed(nodes):
                if ended or (in_turn and seconds) or made & {*_data(node, "outputs")}:
                    seconds[str(node["name"])] = 0
                    made.update(_data(node, "inputs"))
        longest = max(filter(None, seconds.values()), default=1)
        # It begins with the names of the nodes that failed.
        failed = error.partition(": ")[0] if error.startswith("Node ") else ""
        boxes, edges = dict[str, graph.Box](), list[tuple[str, str]]()
        for node in nodes:
            title = str(node["name"])
            name, time, link = f"node {title}", seconds.get(title), ""
            if f"'{title}'" in failed:
                kind, note, link = "node failed", "✕ failed", "#error"
                undone = "not run" if in_turn else undone
            elif time is None:
                kind, note = "node undone", "no result" if title in seconds else undone
                if any(catalog.get(key, {}).get("key") == key for key in _data(node, "outputs")):
                    kind, note = "node this", "running"
                catalog = {}  # What comes after it doesn't run yet.
            else:
                kind, note = "node", f"{time:.2f} s" if 0 < time < MINUTE else took(time or None)
            boxes[name] = graph.Box(name, kind, title, note, link, (time or 0) / longest)
            for way in ("inputs", "outputs"):
                for key in _data(node, way):
                    is_there = way == "inputs" or kind == "node" or key in links
                    data, of = f"data {key}", "data" if is_there else "data undone"
                    boxes.setdefault(data, graph.Box(data, of, key, link=links.get(key, "")))
                    edges.append((data, name) if way == "inputs" else (name, data))
        return graph.drawn([*boxes.values()], edges)
    return None


def _data(node: Record, way: str) -> list[str]:
    """Give a node's inputs or outputs but for parameters, transcoded data by one name."""
    names = (str(each).partition("@")[0] for each in node[way])
    return [name for name in names if not name.startswith("params:") and name != "parameters"]


def _seconds(saved: Mapping[str, Record], ended: bool) -> dict[str, float | None] | None:
    """Give how long each node took, None for one that only loaded; None if that isn't recorded."""
    seconds, ran = Counter[str](), set[str]()
    with suppress(Exception):
        read = previews.table(saved[f"{OWN}nodes"], size=100_000)
        for row in read["rows"]:
            told = dict(zip(read["columns"], row, strict=True))
            seconds[told["node"]] += told["seconds"] or 0
            # What is a generator, and yields nothing, only loads.
            ran |= {told["node"]} if ended or told["action"] == "run" else set()
        return {node: took if node in ran else None for node, took in seconds.items()}
    return None


def log(page: Page, request: Request) -> Any:
    """Give a part of a run's log, and where the next one begins."""
    records = page.records()
    found = find(records, request.query_params.get("id", ""))
    start = whole(request, "offset")
    state, data = records.db.get_log(uid_of(found), records.project, start, LOG_PART)
    # Of a character that came in two parts, the next answer has all.
    text, length = codecs.utf_8_decode(data, "replace", False)
    return {"state": state, "text": text, "offset": start + length, "more": len(data) == LOG_PART}
