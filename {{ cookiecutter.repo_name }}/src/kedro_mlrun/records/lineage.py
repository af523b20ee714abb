"""Where artifacts and runs came from, and what came of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..store.fields import OWN, producer
from .records import Record, Records, artifact_summary, summary

MANY = 10
"""How many runs that used an artifact are followed; of others it is said how many there are."""


@dataclass
class Node:
    """A run or an artifact, with what it came from, or what came of it.

    Args:
        record: its record; None where it was deleted or is none of this project's.
        name: the run's name, the artifact's key, or the URI of what is neither.
        is_run: whether it is a run.
        follows: what comes next in the direction that is looked in.
        unshown: how many more runs there are.
        repeated: whether what follows is shown elsewhere in the tree.
        cut: whether what follows was not looked for, because it is too far away.
    """

    record: Record | None
    name: str
    is_run: bool
    follows: list[Node] = field(default_factory=list)
    unshown: int = 0
    repeated: bool = False
    cut: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Give the tree as JSON's types."""
        found: dict[str, Any] = {"type": "run" if self.is_run else "artifact", "name": self.name}
        if self.record and self.is_run:
            of_run = summary(self.record)
            found |= {name: of_run[name] for name in ("uid", "state", "start_time")}
        elif self.record:
            of_artifact = artifact_summary(self.record)
            found |= {name: of_artifact[name] for name in ("uid", "kind", "uri", "run")}
        else:
            found["uid"] = None
        return {
            **found,
            "unshown": self.unshown,
            "repeated": self.repeated,
            "cut": self.cut,
            "follows": [node.to_dict() for node in self.follows],
        }


def upstream(records: Records, start: Record, depth: int) -> Node:
    """Find what a run or an artifact came from.

    Args:
        records: the records to look in.
        start: the record of the run or of the artifact.
        depth: how many runs to go back.

    Returns:
        The start; what follows an artifact is the run that has saved it, and what follows a run are
        its inputs.
    """
    return _Walk(records).back(start, depth)


def downstream(records: Records, start: Record, depth: int) -> Node:
    """Find what came of a run or an artifact.

    Args:
        records: the records to look in.
        start: the record of the run or of the artifact.
        depth: how many runs to go on.

    Returns:
        The start; what follows a run is what it has saved, and what follows an artifact are the
        runs that have used it.
    """
    return _Walk(records).on(start, depth)


class _Walk:
    def __init__(self, records: Records) -> None:
        self.records = records
        self.seen: set[str] = set()

    def _node(self, record: Record) -> tuple[Node, bool]:
        """Make the node of a record, and tell whether it is a new one."""
        is_run = "key" not in record["metadata"]
        name = record["metadata"].get("name") if is_run else record["spec"].get("db_key")
        uid = record["metadata"]["uid"]
        node = Node(record, str(name), is_run, repeated=uid in self.seen)
        self.seen.add(uid)
        return node, not node.repeated

    def back(self, record: Record, depth: int) -> Node:
        node, new = self._node(record)
        if not new:
            return node
        if not node.is_run:
            run = self.records.producing_run(record)
            if depth == 0:
                node.cut = bool(producer(record))
            elif run:
                node.follows = [self.back(run, depth)]
            elif producer(record):
                node.follows = [Node(None, producer(record), True)]
            return node
        for _name, uri, used in self.records.inputs_of(record):
            node.follows.append(self.back(used, depth - 1) if used else Node(None, uri, False))
        return node

    def on(self, record: Record, depth: int) -> Node:
        node, new = self._node(record)
        if not new:
            return node
        if node.is_run:
            saved = self.records.artifacts_of(record)
            shown = [item for item in saved if not item["spec"]["db_key"].startswith(OWN)]
            node.follows = [self.on(item, depth) for item in shown]
            return node
        runs, number = self.records.runs_using(record, MANY)
        if depth == 0:
            node.cut = number > 0
            return node
        node.follows = [self.on(run, depth - 1) for run in runs]
        node.unshown = number - len(runs)
        return node
