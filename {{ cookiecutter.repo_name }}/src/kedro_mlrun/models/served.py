"""Where versions of models are served, as far as that is recorded."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from ..lazy import mlrun
from ..records.records import Records
from ..records.summaries import Record, artifact_key, uid_of
from ..runs.manager import MLRunContextManager
from ..store.fields import artifact_named
from ..store.rows import LATEST
from ..store.store import Store

FOLDER = "requests"  # below the artifacts', where a server records them
FILES = 50  # with recorded requests of a model, the newest, that are looked at


def served(records: Records, versions: Sequence[Record]) -> dict[str, list[str]]:
    """Tell by the versions' uids which functions serve each, and when it has answered here."""
    found: dict[str, list[str]] = {uid_of(record): [] for record in versions}
    for what, named in _deployed(records):
        for record in versions:
            tags = {*record["metadata"]["tags"]} if "uid" not in named else {uid_of(record)}
            is_it = named.get("uid", named.get("tag", LATEST)) in tags
            if is_it and named.get("key") == artifact_key(record):
                found[uid_of(record)].append(what)
    for key in {*map(artifact_key, versions)}:
        for uid, hour in _answered(key).items():
            if uid in found:
                found[uid].append(f"here until {hour}:59 UTC")
    return found


def _deployed(records: Records) -> Iterator[tuple[str, dict[str, str]]]:
    """Give each function that serves a model, in words, and the parts of the model's URI."""
    functions: list[Record] = []
    # Nothing is deployed where the store is embedded.
    if not isinstance(records.db, Store):
        with suppress(OSError, mlrun.errors.MLRunBaseError):
            functions = records.db.list_functions(project=records.project, tag=LATEST)
    for function in functions:
        status, graph = function.get("status") or {}, function["spec"].get("graph") or {}
        urls = status.get("external_invocation_urls") or [status.get("address")]
        words = "function", function["metadata"]["name"], status.get("state"), urls[0]
        for route in (graph.get("routes") or {}).values():
            uri = (route.get("class_args") or {}).get("model_path") or ""
            yield " ".join(map(str, filter(None, words))), artifact_named(uri)


def _answered(key: str) -> dict[str, str]:
    """Give the versions in recorded requests, each with the last hour in which it has answered."""
    found, place = dict[str, str](), MLRunContextManager().artifact_path
    with suppress(OSError, ValueError, KeyError):  # there are none, or they are elsewhere
        # A key may be no name of a folder.
        folders = (each for each in _newest(Path(place, FOLDER)) if each.name == key)
        hours = (hour for folder in folders for day in _newest(folder) for hour in _newest(day))
        files = (file for hour in hours for file in hour.glob("*.parquet"))
        for file in islice(files, FILES):
            import pyarrow.parquet as pq

            day, hour = file.parts[-3:-1]
            versions = pq.read_table(file, columns=["answer.version"])["answer.version"]
            for uid in versions.unique().to_pylist():
                found.setdefault(str(uid), f"{day} {hour}")
    return found


def _newest(folder: Path) -> list[Path]:
    return sorted(folder.iterdir(), reverse=True)
