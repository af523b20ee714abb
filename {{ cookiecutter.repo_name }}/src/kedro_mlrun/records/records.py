"""Questions asked of the run database: runs, artifacts, and what they have to do with each other.

The embedded store and an MLRun API answer them alike. What only the store can answer at once takes
the API's lists, page by page.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import groupby, islice
from typing import Any

from ..store.fields import OWN, artifact_uid, moment, producer, run_name
from ..text import nearest
from .summaries import Record, artifact_key, artifact_summary, section, summary

__all__ = ["LAST", "Record", "RecordNotFoundError", "Records", "artifact_summary", "summary"]

LAST = "last"
"""What a person writes for the run that started last."""

# As MLRun's own rule for tags (mlrun.utils.regex.tag_name).
_TAG = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,54}[A-Za-z0-9])?")

_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
_PAGE = 200
_CANDIDATES = 3


class RecordNotFoundError(LookupError):
    """No record, or not only one, is what a person has named."""


class Records:
    """The runs and artifacts of one MLRun project.

    Args:
        db: MLRun's run database.
        project: the project's name.
        progress: is told what is looked through and how many of them were, for what takes long.
    """

    def __init__(
        self, db: Any, project: str, progress: Callable[[str, int], None] | None = None
    ) -> None:
        self.db = db
        self.project = project
        self._progress = progress or (lambda _what, _number: None)

    @property
    def _store(self) -> Any:
        """The embedded store, or None for an MLRun API."""
        from ..store.db import LocalRunDB

        return self.db if isinstance(self.db, LocalRunDB) else None

    def _pages(self, what: str, size: int, **filters: Any) -> Iterator[Record]:
        """Give records page by page, as long as they are asked for."""
        list_page = getattr(self.db, f"paginated_list_{what}")
        rows, token = list_page(project=self.project, page_size=size, **filters)
        number = 0
        while True:
            yield from rows
            number += len(rows)
            if not token:
                return
            self._progress(what, number)
            rows, token = list_page(project=self.project, page_token=token)

    # ---- runs

    def runs(
        self,
        name: str = "",
        pipeline: str = "",
        states: Iterable[str] = (),
        labels: Iterable[str] = (),
        since: datetime | None = None,
        limit: int | None = 20,
    ) -> list[Record]:
        """List runs, newest start first; with all `labels`, each `name` or `name=value`."""
        states, labels = set(states), list(labels)
        if pipeline:
            # A part of the label, for a run of several pipelines has all of them in it.
            labels.append(f"pipeline=~{pipeline.partition(',')[0]}")
        filters = {
            "name": name or None,
            "states": sorted(states) or None,
            "labels": labels or None,
            # Without one, MLRun gives the runs of a week, and of each name the newest.
            "start_time_from": since or _LONG_AGO,
        }
        found = (
            run
            for run in self._pages("runs", min(limit or _PAGE, _PAGE), **filters)
            # MLRun's API before 1.8 gives those of other states, too.
            if (not states or run["status"].get("state") in states)
            and (not pipeline or _is_of_pipeline(run, pipeline))
        )
        return list(islice(found, limit))

    def run(self, which: str) -> Record:
        """Find a run by its id, the unique beginning of one, a name (its newest run), or `last`."""
        found: list[Record] = []
        if which == LAST:
            found = self.runs(limit=1)
            if not found:
                raise RecordNotFoundError(f"Project '{self.project}' has no runs yet.")
        # Anything else would ask MLRun another question.
        elif re.fullmatch(r"\w[-\w.]*", which):
            whole = self._read(which)
            if whole:
                return whole
            found = (
                self.runs(name=which, limit=1)
                or self.runs(name=run_name(which), limit=1)
                or self._beginning_with(which)
            )
        if not found:
            raise RecordNotFoundError(
                f"Project '{self.project}' has no run '{which}'. "
                f"{nearest(which, self._names_of_runs(which))}To list its runs: kedro mlrun runs"
            )
        if len(found) > 1:
            several = [f"{run['metadata']['uid']} ({run['metadata']['name']})" for run in found]
            raise RecordNotFoundError(
                f"'{which}' is the beginning of several runs' ids: {', '.join(several)}. "
                "Give more of it."
            )
        # Lists leave out some of what a run has.
        return self._read(found[0]["metadata"]["uid"]) or found[0]

    def _read(self, uid: str) -> Record | None:
        import mlrun

        try:
            return dict(self.db.read_run(uid, self.project))
        except mlrun.errors.MLRunNotFoundError:
            return None

    def _beginning_with(self, uid: str) -> list[Record]:
        if self._store:
            return list(self._store.runs_beginning_with(uid, self.project, _CANDIDATES))
        runs = self._pages("runs", _PAGE, start_time_from=_LONG_AGO)
        found = (run for run in runs if run["metadata"]["uid"].startswith(uid))
        return list(islice(found, _CANDIDATES))

    def _names_of_runs(self, which: str) -> list[str]:
        recent = [run["metadata"] for run in self.runs(limit=_PAGE)]
        # Of an id people have the beginning.
        ids = [run["uid"][: len(which)] for run in recent]
        return list(dict.fromkeys([*(run["name"] for run in recent), *ids]))

    # ---- artifacts

    def artifacts(
        self,
        key: str = "",
        kind: str = "",
        tag: str = "",
        run: Record | None = None,
        limit: int | None = 20,
        own: bool = True,
    ) -> list[Record]:
        """List versions of artifacts, last written first, with all of their `metadata.tags`.

        Without `own`, what is recorded beside what the nodes save is left out.
        """
        if run is not None:
            found = [
                record
                for record in self.artifacts_of(run)
                if key in {"", record["spec"]["db_key"]}
                and kind in {"", record["kind"]}
                and (not tag or tag in record["metadata"]["tags"])
            ]
            return found[:limit]
        filters = {"name": key or None, "kind": kind or None, "tag": tag or None}
        # Each version comes once for each of its tags.
        size = min(2 * (limit or _PAGE), _PAGE)
        rows: Iterable[Record] = self._pages("artifacts", size, **filters)
        versions: Iterable[Record] = _versions(rows)
        if not self._store:
            # MLRun's API gives them in no order.
            rows = sorted(rows, key=lambda row: str(row["metadata"].get("uid")))
            versions = sorted(_versions(rows), key=_written, reverse=True)
        shown = (item for item in versions if own or not artifact_key(item).startswith(OWN))
        found = list(islice(shown, limit))
        if tag:
            for record in found:
                record["metadata"]["tags"] = self._tags(record)
        return found

    def artifacts_of(self, run: Mapping[str, Any]) -> list[Record]:
        """List what a run has saved, first saved first, all versions of a key included."""
        uid = run["metadata"]["uid"]
        # The runs of a chain share a tree, which is the workflow's.
        tree = (run["metadata"].get("labels") or {}).get("workflow")
        found: list[Record] = []
        for name in dict.fromkeys(filter(None, (tree, uid))):
            versions = _versions(self._pages("artifacts", _PAGE, tree=name))
            found += [record for record in versions if producer(record) == uid]
        return sorted(found, key=_written)

    def artifact(self, which: str) -> Record:
        """Find one version of an artifact, with all of its `metadata.tags`.

        By a key (its latest version), `key:tag`, `key@RUN`, a `store://` URI, a uid, or the unique
        beginning of a uid with at least six characters.
        """
        import mlrun

        text = which
        if mlrun.datastore.is_store_uri(which):
            text = mlrun.datastore.parse_store_uri(which)[1]
        try:
            parts = mlrun.utils.parse_artifact_uri(text, self.project)
        except ValueError:
            raise RecordNotFoundError(f"'{which}' can't be an artifact's key or URI.") from None
        project, key, iteration, tag, tree, uid = parts
        if project != self.project:
            raise RecordNotFoundError(
                f"'{which}' is an artifact of project '{project}', and this is '{self.project}'. "
                "Set MLRUN_ACTIVE_PROJECT to look there."
            )
        found = self._versions_of(key, tag, tree, uid)
        if "#" in text:
            found = [item for item in found if (item["metadata"].get("iter") or 0) == iteration]
        elif not found and tree and not uid:
            found = self._saved_by(tree, key)
        if not found and text == key and re.fullmatch("[0-9a-f]{6,40}", key):
            found = self._artifacts_beginning_with(key)
            if len(found) > 1:
                several = [f"{item['metadata']['uid']} ({artifact_key(item)})" for item in found]
                raise RecordNotFoundError(
                    f"'{which}' is the beginning of several uids: {', '.join(several)}. "
                    "Give more of it."
                )
        if not found:
            raise RecordNotFoundError(
                f"Project '{self.project}' has no artifact '{which}'. {self._instead(which, key)}"
            )
        record = max(found, key=_written)
        record["metadata"]["tags"] = self._tags(record)
        return record

    def _versions_of(
        self, key: str, tag: str | None, tree: str | None, uid: str | None
    ) -> list[Record]:
        """Find what a URI names. Not by `read_artifact`, which on an API finds the latest only."""
        # MLRun takes an empty name for any, and ~ for the beginning of a part of one.
        if key[:1] in {"", "~"}:
            return []
        # Tree and uid name the version for good, and the tag may have moved on.
        tag = None if tree or uid else tag or "latest"
        versions = _versions(self._pages("artifacts", _PAGE, name=key, tree=tree, tag=tag))
        return [item for item in versions if uid in {None, item["metadata"].get("uid")}]

    def _saved_by(self, which: str, key: str) -> list[Record]:
        try:
            run = self.run(which)
        except RecordNotFoundError:
            return []
        return [record for record in self.artifacts_of(run) if artifact_key(record) == key]

    def _artifacts_beginning_with(self, uid: str) -> list[Record]:
        if self._store:
            return list(self._store.artifacts_beginning_with(uid, self.project, _CANDIDATES))
        versions = _versions(self._pages("artifacts", _PAGE))
        found = (record for record in versions if record["metadata"]["uid"].startswith(uid))
        return list(islice(found, _CANDIDATES))

    def _instead(self, which: str, key: str) -> str:
        versions = self.artifacts(key, limit=_CANDIDATES) if key not in {"", which} else []
        if versions:
            named = [
                " ".join([f"{key}@{producer(item)}", *map("({})".format, item["metadata"]["tags"])])
                for item in versions
            ]
            return f"Its newest versions are {', '.join(named)}."
        latest = self.artifacts(tag="latest", limit=_PAGE, own=False)
        hint = nearest(key, [artifact_key(record) for record in latest])
        return f"{hint}To list its artifacts: kedro mlrun artifacts"

    def _tags(self, record: Record) -> list[str]:
        metadata = record["metadata"]
        rows = self._pages("artifacts", _PAGE, name=artifact_key(record), tree=metadata["tree"])
        same = (row["metadata"] for row in rows if row["metadata"]["uid"] == metadata["uid"])
        return sorted({row["tag"] for row in same if row.get("tag")})

    def tag(self, record: Record, tag: str) -> None:
        """Tag a version of an artifact; other versions of its key lose the tag."""
        if not _TAG.fullmatch(tag):
            raise RecordNotFoundError(
                f"'{tag}' can't be a tag. Use at most 56 letters, digits, hyphens, underscores and "
                "dots, with a letter or digit at each end."
            )
        self.db.tag_artifacts([record], self.project, tag)

    def make_newest_the_latest(self, key: str) -> None:
        """Tag the newest version of a key `latest`, if there is any and none has that tag."""
        # MLRun doesn't when the latest version is deleted, and then finds no version by the key.
        if not self._versions_of(key, "latest", None, None):
            for record in self.artifacts(key, limit=1):
                self.tag(record, "latest")

    # ---- what they have to do with each other

    def producing_run(self, record: Mapping[str, Any]) -> Record | None:
        """Find the run that has saved an artifact; None where it was deleted, or none has."""
        uid = producer(record)
        return self._read(uid) if uid else None

    def inputs_of(self, run: Mapping[str, Any]) -> list[tuple[str, Record | None]]:
        """List the URIs that a run has used, each with the artifact of this project, if it is one."""
        found = []
        for uri in map(str, section(run, "spec", "inputs").values()):
            try:
                record = self.artifact(uri) if uri.startswith("store:") else None
            except RecordNotFoundError:
                record = None
            found.append((uri, record))
        return found

    def runs_using(self, record: Mapping[str, Any], limit: int = 20) -> tuple[list[Record], int]:
        """List the newest runs that have an artifact as an input, and tell how many there are."""
        uid = str(record["metadata"]["uid"])
        if self._store:
            runs, number = self._store.runs_using(uid, self.project, limit)
            return list(runs), number
        # What has used it was still going on after it was made.
        since = moment(record["metadata"].get("created")) or _LONG_AGO
        using = [
            run
            for run in self._pages("runs", _PAGE, last_update_time_from=since)
            if uid in map(artifact_uid, section(run, "spec", "inputs").values())
        ]
        using.sort(key=lambda run: str(run["status"].get("start_time")), reverse=True)
        return using[:limit], len(using)


def _written(record: Mapping[str, Any]) -> str:
    metadata = record["metadata"]
    return str(metadata.get("updated") or metadata.get("created"))


def _is_of_pipeline(run: Mapping[str, Any], pipeline: str) -> bool:
    label = str(section(run, "metadata", "labels").get("pipeline"))
    names = [label, *label.split(",")]
    return pipeline in {*names, *(name.strip("_") for name in names)}


def _versions(rows: Iterable[Record]) -> Iterator[Record]:
    """Join the rows of one version, which differ in their tags and follow each other."""
    for _, same in groupby(rows, key=lambda row: str(row["metadata"].get("uid"))):
        first, *others = same
        tags = [row["metadata"].get("tag") for row in (first, *others)]
        first["metadata"]["tags"] = [tag for tag in tags if tag]
        yield first
