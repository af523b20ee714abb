"""Where artifacts and runs came from, and what came of them."""

from __future__ import annotations

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

    record: Record | None
    """None where it was deleted, or is not of this project."""
    name: str
    is_run: bool
    follows: list[Node] = field(default_factory=list)
    unshown: int = 0
    """How many more runs there are."""
    repeated: bool = False
    """What follows is shown elsewhere in the tree."""
    cut: bool = False
    """What follows was not looked for, because it is too far away."""

    def to_dict(self) -> dict[str, Any]:
        """Give the tree as JSON's types."""
        found: dict[str, Any] = {"uid": None}
        if self.record and self.is_run:
            of_run = summary(self.record)
            found = {name: of_run[name] for name in ("uid", "state", "start_time")}
        elif self.record:
            of_artifact = artifact_summary(self.record)
            found = {name: of_artifact[name] for name in ("uid", "kind", "uri", "run")}
        return {
            "type": "run" if self.is_run else "artifact",
            "name": self.name,
            **found,
            "unshown": self.unshown,
            "repeated": self.repeated,
            "cut": self.cut,
            "follows": [node.to_dict() for node in self.follows],
        }


def upstream(records: Records, start: Record, depth: int) -> Node:
    """Find what a run or an artifact came from, at most so many runs back."""
    return _back(records, start, depth, set())


def downstream(records: Records, start: Record, depth: int) -> Node:
    """Find what came of a run or an artifact, at most so many runs on."""
    return _on(records, start, depth, set())


def _node(record: Record, seen: set[str]) -> Node:
    is_run = "key" not in record["metadata"]
    name = str(record["metadata"].get("name")) if is_run else artifact_key(record)
    uid = record["metadata"]["uid"]
    node = Node(record, name, is_run, repeated=uid in seen)
    seen.add(uid)
    return node


def _back(records: Records, record: Record, depth: int, seen: set[str]) -> Node:
    node = _node(record, seen)
    if node.repeated:
        return node
    if node.is_run:
        for uri, used in records.inputs_of(record):
            known = _back(records, used, depth - 1, seen) if used else Node(None, uri, False)
            node.follows.append(known)
    elif depth == 0:
        node.cut = bool(producer(record))
    elif uid := producer(record):
        run = records.producing_run(record)
        node.follows = [_back(records, run, depth, seen) if run else Node(None, uid, True)]
    return node


def _on(records: Records, record: Record, depth: int, seen: set[str]) -> Node:
    node = _node(record, seen)
    if node.repeated:
        return node
    if node.is_run:
        saved = [
            item for item in records.artifacts_of(record) if not artifact_key(item).startswith(OWN)
        ]
        node.follows = [_on(records, item, depth, seen) for item in saved]
        return node
    runs, number = records.runs_using(record, MANY)
    if depth == 0:
        node.cut = number > 0
    else:
        node.follows = [_on(records, run, depth - 1, seen) for run in runs]
        node.unshown = number - len(runs)
    return node
