"""Where artifacts and runs came from, and what came of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..store.fields import OWN, producer
from .records import Records
from .summaries import Record, artifact_key, artifact_summary, summary

MANY = 10
"""How many runs that used an artifact are followed; of others it is said how many there are."""


@dataclass
class Node:
    """A run or an artifact, and what follows it in the direction that is looked in."""

    record: Record | None  # None where it was deleted, or is not of this project
    name: str
    is_run: bool
    follows: list[Node] = field(default_factory=list)
    unshown: int = 0  # how many more runs there are
    repeated: bool = False  # what follows is shown elsewhere in the tree
    cut: bool = False  # what follows was not looked for, because it is too far away

    def to_dict(self) -> dict[str, Any]:
        """Give the tree as JSON's types."""
        fields = ("uid", "state", "start_time") if self.is_run else ("uid", "kind", "uri", "run")
        summarize = summary if self.is_run else artifact_summary
        about = summarize(self.record) if self.record else {}
        return {
            "type": "run" if self.is_run else "artifact",
            "name": self.name,
            **{name: about.get(name) for name in fields},
            **{name: getattr(self, name) for name in ("unshown", "repeated", "cut")},
            "follows": [node.to_dict() for node in self.follows],
        }


_Following = Callable[[Record, bool], tuple[list[Node], int]]
"""What follows a record, which is a run's or not: as much as is shown, and how much there is."""


def upstream(records: Records, start: Record, depth: int) -> Node:
    """Find what a run or an artifact came from, at most so many runs back."""

    def came_from(record: Record, is_run: bool) -> tuple[list[Node], int]:
        if is_run:
            inputs = records.inputs_of(record)
            found = [_node(used) if used else Node(None, uri, False) for uri, used in inputs]
        else:
            run, uid = records.producing_run(record), producer(record)
            found = [_node(run) if run else Node(None, uid, True)] if uid else []
        return found, len(found)

    return _grown(_node(start), depth, set(), came_from)


def downstream(records: Records, start: Record, depth: int) -> Node:
    """Find what came of a run or an artifact, at most so many runs on."""

    def came_of(record: Record, is_run: bool) -> tuple[list[Node], int]:
        if is_run:
            saved = [_node(item) for item in records.artifacts_of(record)]
            found = [node for node in saved if not node.name.startswith(OWN)]
            return found, len(found)
        runs, number = records.runs_using(record, MANY)
        return [_node(run) for run in runs], number

    return _grown(_node(start), depth, set(), came_of)


def _node(record: Record) -> Node:
    is_run = "key" not in record["metadata"]
    return Node(record, record["metadata"]["name"] if is_run else artifact_key(record), is_run)


def _grown(node: Node, depth: int, seen: set[str], following: _Following) -> Node:
    if node.record is None:
        return node
    uid = node.record["metadata"]["uid"]
    node.repeated = uid in seen
    if node.repeated:
        return node
    seen.add(uid)
    found, number = following(node.record, node.is_run)
    if depth == 0 and not node.is_run:
        node.cut = number > 0
        return node
    node.unshown = number - len(found)
    node.follows = [_grown(item, depth - item.is_run, seen, following) for item in found]
    return node
