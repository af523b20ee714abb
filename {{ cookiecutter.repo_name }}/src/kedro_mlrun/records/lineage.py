"""Where artifacts and runs came from, and what came of them, as trees of JSON's types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..store.fields import producer
from .records import Records
from .summaries import Record, artifact_summary, summary

MANY = 10
"""How many runs that used an artifact are followed; of others it is said how many there are."""

_Found = tuple[list[tuple[str, Record | None]], int]
"""Names with the records that are there of them, and how many there are in all."""


def upstream(records: Records, start: Record, depth: int) -> dict[str, Any]:
    """Find what a run or an artifact came from, at most so many runs back."""

    def came_from(record: Record, is_run: bool) -> _Found:
        uid = producer(record)
        found = [(uid, records.producing_run(record))] if uid else []
        found = records.inputs_of(record) if is_run else found
        return found, len(found)

    return _node("", start, _is_run(start), came_from, depth, set())


def downstream(records: Records, start: Record, depth: int) -> dict[str, Any]:
    """Find what came of a run or an artifact, at most so many runs on."""

    def came_of(record: Record, is_run: bool) -> _Found:
        if is_run:
            saved = records.artifacts(run=record, own=False, limit=None)
            return [("", item) for item in saved], len(saved)
        runs, number = records.runs_using(record, MANY)
        return [("", run) for run in runs], number

    return _node("", start, _is_run(start), came_of, depth, set())


def _is_run(record: Record) -> bool:
    return "key" not in record["metadata"]


def _node(
    name: str,
    record: Record | None,
    is_run: bool,
    following: Callable[[Record, bool], _Found],
    depth: int,
    seen: set[str],
) -> dict[str, Any]:
    """Make the tree; without a record of what was deleted, or isn't of this project."""
    fields = ("uid", "state", "start_time") if is_run else ("uid", "kind", "uri", "run")
    summarized = summary if is_run else artifact_summary
    about = summarized(record) if record else {}
    node: dict[str, Any] = {"type": "run" if is_run else "artifact"}
    node["name"] = about.get("name" if is_run else "key", name)
    node |= {field: about.get(field) for field in fields}
    # How many more runs there are; whether what follows is elsewhere in the tree, or too far away.
    node |= {"unshown": 0, "repeated": node["uid"] in seen, "cut": False, "follows": []}
    if not record or node["repeated"]:
        return node
    seen.add(node["uid"])
    found, number = following(record, is_run)
    if depth == 0 and not is_run:
        return {**node, "cut": number > 0}
    # What follows a run are artifacts, and an artifact's are runs.
    next_depth = depth if is_run else depth - 1
    node["follows"] = [
        _node(next_name, item, not is_run, following, next_depth, seen) for next_name, item in found
    ]
    return {**node, "unshown": number - len(found)}
