"""Where artifacts and runs came from, and what came of them, as trees of JSON's types."""

from contextlib import suppress

from ..store.fields import OWN, producer
from .records import RecordNotFoundError, Records
from .summaries import Record, artifact_key, artifact_summary, section, summary

MANY = 10
"""How many runs that used an artifact are followed; of others it is said how many there are."""

_Found = dict[str, Record | None]


def lineage(records: Records, start: Record, depth: int, back: bool) -> Record:
    """Make the tree of what something came from, or of what came of it, so many runs away."""
    following, seen = _came_from if back else _came_of, set()

    def node(name: str, record: Record | None, is_run: bool, depth: int) -> Record:
        fields = ("uid", "state", "start_time") if is_run else ("uid", "kind", "uri", "run")
        about = (summary if is_run else artifact_summary)(record) if record else {}
        made: Record = {"type": "run" if is_run else "artifact"}
        made["name"] = about.get("name" if is_run else "key", name)
        made |= {field: about.get(field) for field in fields}
        # How many more runs there are; whether what follows is elsewhere in the tree, or too far.
        made |= {"unshown": 0, "repeated": made["uid"] in seen, "cut": False, "follows": []}
        # What was deleted, or isn't of this project, has no record.
        if not record or made["repeated"]:
            return made
        seen.add(made["uid"])
        found, number = following(records, record, is_run)
        if depth == 0 and not is_run:
            return {**made, "cut": number > 0}
        # What follows a run are artifacts, and an artifact's are runs.
        further = depth if is_run else depth - 1
        made["follows"] = [node(name, item, not is_run, further) for name, item in found.items()]
        return {**made, "unshown": number - len(found)}

    return node("", start, "key" not in start["metadata"], depth)


def _came_from(records: Records, record: Record, is_run: bool) -> tuple[_Found, int]:
    found: _Found = {}
    for uri in map(str, section(record, "spec", "inputs").values()) if is_run else ():
        found[uri] = None
        with suppress(RecordNotFoundError):
            found[uri] = records.artifact(uri) if uri.startswith("store:") else None
    if not is_run and producer(record):
        found[producer(record)] = records.producing_run(record)
    return found, len(found)


def _came_of(records: Records, record: Record, is_run: bool) -> tuple[_Found, int]:
    if is_run:
        saved = records.artifacts_of(record)
        found = [item for item in saved if not artifact_key(item).startswith(OWN)]
        number = len(found)
    else:
        found, number = records.runs_using(record, MANY)
    return {str(item["metadata"]["uid"]): item for item in found}, number
