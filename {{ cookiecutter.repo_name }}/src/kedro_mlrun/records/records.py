"""Questions asked of the run database: runs, artifacts, and what they have to do with each other.

They are answered alike by the embedded store and by an MLRun API. What only the store can answer at
once takes the API's lists, page by page.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from ..store.fields import OWN, artifact_file, artifact_uid, moment, producer, run_name

LAST = "last"
"""What a person writes for the run that started last."""


Record = dict[str, Any]

# As MLRun's own rule for tags (mlrun.utils.regex.tag_name).
TAG = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,54}[A-Za-z0-9])?")

_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
_PAGE = 200
_CANDIDATES = 3


class RecordNotFoundError(LookupError):
    """No record, or not only one, is what a person has named.

    Args:
        message: what is missing, or ambiguous.
        nearest: the nearest candidates.
    """

    def __init__(self, message: str, nearest: Sequence[str] = ()) -> None:
        super().__init__(f"{message} The nearest: {', '.join(nearest)}." if nearest else message)
        self.nearest = list(nearest)


class Records:
    """The runs and artifacts of one MLRun project.

    Args:
        db: MLRun's run database.
        project: the project's name.
        progress: is told what is looked through and how many of them were, for what takes long.

    Example:
        ```python
        manager = MLRunContextManager()
        records = Records(manager.db, manager.project.metadata.name)
        best = records.run("last")
        print(summary(best)["results"])
        ```
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
        """List runs, newest start first.

        Args:
            name: only runs of this name.
            pipeline: only runs of this Kedro pipeline; `default` is `__default__`.
            states: only runs in one of these states.
            labels: only runs with all of these labels, each `name` or `name=value`.
            since: only runs that started then or later.
            limit: how many at most; None for all.

        Returns:
            The runs' records.
        """
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
        """Find one run.

        Args:
            which: its id, the unique beginning of one, a name (its newest run), or `last`.

        Returns:
            The run's whole record.

        Raises:
            RecordNotFoundError: there is none, or more than one.
        """
        import mlrun

        if which == LAST:
            found = self.runs(limit=1)
            if not found:
                raise RecordNotFoundError(f"Project '{self.project}' has no runs yet.")
            return self._whole(found[0])
        found = []
        # Anything else would ask MLRun another question.
        if re.fullmatch(r"\w[-\w.]*", which):
            try:
                return dict(self.db.read_run(which, self.project))
            except mlrun.errors.MLRunNotFoundError:
                pass
            for name in dict.fromkeys((which, run_name(which))):
                found = self.runs(name=name, limit=1)
                if found:
                    return self._whole(found[0])
            found = self._beginning_with(which)
        if len(found) == 1:
            return self._whole(found[0])
        if found:
            raise RecordNotFoundError(
                f"'{which}' is the beginning of several runs' ids.", _listed(found)
            )
        raise RecordNotFoundError(
            f"Project '{self.project}' has no run '{which}'.", self._nearest_runs(which)
        )

    def _whole(self, run: Record) -> Record:
        metadata = run["metadata"]
        return dict(self.db.read_run(metadata["uid"], self.project))

    def _beginning_with(self, uid: str) -> list[Record]:
        if self._store:
            return list(self._store.runs_beginning_with(uid, self.project, _CANDIDATES))
        runs = self._pages("runs", _PAGE, start_time_from=_LONG_AGO)
        found = (run for run in runs if run["metadata"]["uid"].startswith(uid))
        return list(islice(found, _CANDIDATES))

    def _nearest_runs(self, which: str) -> list[str]:
        recent = self.runs(limit=_PAGE)
        known = {run["metadata"]["uid"]: run for run in reversed(recent)}
        known |= {run["metadata"]["name"]: run for run in reversed(recent)}
        # Of an id people have the beginning.
        near = {
            name: difflib.SequenceMatcher(None, which, name[: max(len(which), 1)]).ratio()
            for name in known
        }
        likely = [name for name in known if near[name] > 0.6]  # noqa: PLR2004
        likely.sort(key=lambda name: -near[name])
        nearest = [known[name] for name in likely] or recent
        unique = {run["metadata"]["uid"]: run for run in nearest}
        return _listed(unique.values())

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
        """List versions of artifacts, last written first.

        Args:
            key: only versions of this key.
            kind: only artifacts of this kind, such as `model`, `dataset` or `plot`.
            tag: only versions with this tag.
            run: only what this run has saved.
            limit: how many at most; None for all.
            own: also what is recorded beside what the nodes save.

        Returns:
            The records, each with all of its tags in `metadata.tags`.
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
        shown = (record for record in versions if own or not _key(record).startswith(OWN))
        found = list(islice(shown, limit))
        if tag:
            for record in found:
                record["metadata"]["tags"] = self._tags(record)
        return found

    def artifacts_of(self, run: Mapping[str, Any]) -> list[Record]:
        """List what a run has saved, all versions of a key included.

        Args:
            run: the run's record.

        Returns:
            The records, first saved first.
        """
        uid = run["metadata"]["uid"]
        # The runs of a chain share a tree, which is the workflow's.
        tree = (run["metadata"].get("labels") or {}).get("workflow")
        found: list[Record] = []
        for name in dict.fromkeys(filter(None, (tree, uid))):
            versions = _versions(self._pages("artifacts", _PAGE, tree=name))
            found += [record for record in versions if producer(record) == uid]
        return sorted(found, key=_written)

    def artifact(self, which: str) -> Record:
        """Find one version of an artifact.

        Args:
            which: a key, its latest version; `key:tag`; `key@RUN`, the version of a run; a
                `store://` URI; or a uid, or the unique beginning of one with six characters.

        Returns:
            The record, with all of its tags in `metadata.tags`.

        Raises:
            RecordNotFoundError: there is none, or more than one.
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
                uids = [f"{item['metadata']['uid']} ({_key(item)})" for item in found]
                raise RecordNotFoundError(f"'{which}' is the beginning of several uids.", uids)
        if not found:
            raise RecordNotFoundError(
                f"Project '{self.project}' has no artifact '{which}'.",
                self._nearest_artifacts(which, key),
            )
        record = max(found, key=_written)
        record["metadata"]["tags"] = self._tags(record)
        return record

    def _versions_of(
        self, key: str, tag: str | None, tree: str | None, uid: str | None
    ) -> list[Record]:
        """Find what a URI names. Not by `read_artifact`, which on an API finds the latest only."""
        if not (tag or tree or uid):
            tag = "latest"
        # Tree and uid name the version for good, and the tag may have moved on.
        filters = {"name": key, "tree": tree, "tag": None if tree or uid else tag}
        if key[:1] in {"", "~"}:
            return []
        return [
            record
            for record in _versions(self._pages("artifacts", _PAGE, **filters))
            if uid in {None, record["metadata"].get("uid")}
        ]

    def _saved_by(self, which: str, key: str) -> list[Record]:
        try:
            run = self.run(which)
        except RecordNotFoundError:
            return []
        return [record for record in self.artifacts_of(run) if _key(record) == key]

    def _artifacts_beginning_with(self, uid: str) -> list[Record]:
        if self._store:
            return list(self._store.artifacts_beginning_with(uid, self.project, _CANDIDATES))
        versions = _versions(self._pages("artifacts", _PAGE))
        found = (record for record in versions if record["metadata"]["uid"].startswith(uid))
        return list(islice(found, _CANDIDATES))

    def _nearest_artifacts(self, which: str, key: str) -> list[str]:
        latest = self.artifacts(tag="latest", limit=_PAGE)
        keys = [_key(record) for record in latest if not _key(record).startswith(OWN)]
        if key in keys and which != key:
            return [
                f"{key}@{producer(record)}"
                + "".join(f" ({tag})" for tag in record["metadata"]["tags"])
                for record in self.artifacts(key, limit=_CANDIDATES)
            ]
        return difflib.get_close_matches(key, keys, _CANDIDATES) or keys[:_CANDIDATES]

    def _tags(self, record: Record) -> list[str]:
        metadata = record["metadata"]
        rows = self._pages("artifacts", _PAGE, name=_key(record), tree=metadata["tree"])
        same = (row["metadata"] for row in rows if row["metadata"]["uid"] == metadata["uid"])
        return sorted({row["tag"] for row in same if row.get("tag")})

    def tag(self, record: Record, tag: str) -> None:
        """Give an artifact's version a tag; other versions of its key lose it.

        Args:
            record: the artifact's record.
            tag: the tag: letters, digits, hyphens, underscores and dots.

        Raises:
            RecordNotFoundError: no version can have such a tag.
        """
        if not TAG.fullmatch(tag):
            raise RecordNotFoundError(
                f"'{tag}' can't be a tag. Use at most 56 letters, digits, hyphens, underscores and "
                "dots, with a letter or digit at each end."
            )
        self.db.tag_artifacts([record], self.project, tag)

    def make_newest_the_latest(self, key: str) -> None:
        """Tag the newest version of a key `latest`, if there is any and none has that tag.

        Args:
            key: the artifact's key.
        """
        # MLRun doesn't when the latest version is deleted, and then finds no version by the key.
        if not self._versions_of(key, "latest", None, None):
            found = self.artifacts(key, limit=1)
            if found:
                self.tag(found[0], "latest")

    # ---- what they have to do with each other

    def producing_run(self, record: Mapping[str, Any]) -> Record | None:
        """Find the run that has saved an artifact.

        Args:
            record: the artifact's record.

        Returns:
            The run's record; None where it was deleted, or no run has saved it.
        """
        import mlrun

        uid = producer(record)
        try:
            return dict(self.db.read_run(uid, self.project)) if uid else None
        except mlrun.errors.MLRunNotFoundError:
            return None

    def inputs_of(self, run: Mapping[str, Any]) -> list[tuple[str, str, Record | None]]:
        """List what a run has used.

        Args:
            run: the run's record.

        Returns:
            For each input its name, its URI, and the artifact's record; None where it was deleted,
            is of another project, or is no artifact.
        """
        found = []
        for name, uri in (run["spec"].get("inputs") or {}).items():
            try:
                record = self.artifact(uri) if str(uri).startswith("store:") else None
            except RecordNotFoundError:
                record = None
            found.append((name, str(uri), record))
        return found

    def runs_using(self, record: Mapping[str, Any], limit: int = 20) -> tuple[list[Record], int]:
        """List the runs that have an artifact as an input.

        Args:
            record: the artifact's record.
            limit: how many at most.

        Returns:
            The runs, newest first, and how many there are in all.
        """
        uid = str(record["metadata"]["uid"])
        if self._store:
            runs, number = self._store.runs_using(uid, self.project, limit)
            return list(runs), number
        # What has used it was still going on after it was made.
        since = moment(record["metadata"].get("created")) or _LONG_AGO
        using = [
            run
            for run in self._pages("runs", _PAGE, last_update_time_from=since)
            if uid in map(artifact_uid, (run["spec"].get("inputs") or {}).values())
        ]
        using.sort(key=lambda run: str(run["status"].get("start_time")), reverse=True)
        return using[:limit], len(using)

    def compare(self, runs: Sequence[Mapping[str, Any]]) -> Record:
        """Tell in which parameters and results runs differ.

        Args:
            runs: the runs' records.

        Returns:
            The `runs`, and `parameters` and `results`, each a list of what differs: its `name`,
            its `values` (None where a run hasn't it), and its `differences`, of numbers to the
            first run's.

        Example:
            >>> runs = [{"status": {"results": {"auc": auc}}} for auc in (0.25, 0.75)]
            >>> Records(None, "iris").compare(runs)["results"]
            [{'name': 'auc', 'values': [0.25, 0.75], 'differences': [0.0, 0.5]}]
        """
        return {
            "runs": [summary(run) for run in runs],
            "parameters": _differing([_get(run, "spec", "parameters") for run in runs]),
            "results": _differing([_get(run, "status", "results") for run in runs]),
        }


def summary(run: Mapping[str, Any]) -> Record:
    """Give what a person or a script wants to know of a run.

    Args:
        run: the run's record.

    Returns:
        `uid`, `name`, `state`, `start_time`, `end_time`, `seconds` (how long it took; None while it
        goes on), `parameters`, `results`, `labels`, `artifacts` and `inputs` (names and `store://`
        URIs), `error` (None, or the message and traceback).

    Example:
        >>> summary({"metadata": {"name": "train"}, "status": {"state": "running"}})["state"]
        'running'
    """
    metadata, status = run.get("metadata") or {}, run.get("status") or {}
    state = status.get("state") or ""
    ended = state not in {"created", "pending", "running", "aborting", "pendingRetry"}
    end_time = (status.get("end_time") or status.get("last_update")) if ended else None
    start, end = moment(status.get("start_time")), moment(end_time)
    return {
        "uid": metadata.get("uid") or "",
        "name": metadata.get("name") or "",
        "state": state,
        "start_time": status.get("start_time"),
        "end_time": end_time,
        "seconds": (end - start).total_seconds() if start and end else None,
        "parameters": _get(run, "spec", "parameters"),
        "results": _get(run, "status", "results"),
        "labels": _get(run, "metadata", "labels"),
        "artifacts": _get(run, "status", "artifact_uris"),
        "inputs": _get(run, "spec", "inputs"),
        "error": status.get("error") or (status.get("status_text") if state == "aborted" else None),
    }


def artifact_summary(record: Mapping[str, Any]) -> Record:
    """Give what a person or a script wants to know of an artifact's version.

    Args:
        record: the artifact's record.

    Returns:
        `key`, `kind`, `uid`, `tags`, `run` (the id of the one that saved it), `uri`, `path` (of
        its file or folder), `size` in bytes, `hash`, `created`, `labels`; of a model also
        `framework`.
    """
    import mlrun

    metadata, spec = record["metadata"], record["spec"]
    found = {
        "key": _key(record),
        "kind": record["kind"],
        "uid": metadata.get("uid") or "",
        "tags": metadata.get("tags") or [],
        "run": producer(record),
        # The tag may move on.
        "uri": mlrun.utils.remove_tag_from_artifact_uri(
            mlrun.artifacts.dict_to_artifact(dict(record)).uri
        ),
        "path": artifact_file(record),
        "size": spec.get("size"),
        "hash": metadata.get("hash"),
        "created": metadata.get("created"),
        "labels": metadata.get("labels") or {},
    }
    return {**found, "framework": spec.get("framework")} if record["kind"] == "model" else found


def _get(run: Mapping[str, Any], section: str, field: str) -> Record:
    return dict((run.get(section) or {}).get(field) or {})


def _key(record: Mapping[str, Any]) -> str:
    return str(record["spec"].get("db_key") or record["metadata"]["key"])


def _written(record: Mapping[str, Any]) -> str:
    metadata = record["metadata"]
    return str(metadata.get("updated") or metadata.get("created"))


def _is_of_pipeline(run: Mapping[str, Any], pipeline: str) -> bool:
    label = str(_get(run, "metadata", "labels").get("pipeline"))
    names = [label, *label.split(",")]
    return pipeline in {*names, *(name.strip("_") for name in names)}


def _versions(rows: Iterable[Record]) -> Iterator[Record]:
    """Join the rows of one version, which differ in their tags and follow each other."""
    last: Record | None = None
    for row in rows:
        metadata = row["metadata"]
        tag = metadata.get("tag")
        if last and last["metadata"]["uid"] == metadata.get("uid"):
            last["metadata"]["tags"] += [tag] if tag else []
            continue
        if last:
            yield last
        metadata["tags"] = [tag] if tag else []
        last = row
    if last:
        yield last


def _listed(runs: Iterable[Mapping[str, Any]]) -> list[str]:
    shown = islice(runs, _CANDIDATES)
    return [f"{run['metadata']['uid']} ({run['metadata']['name']})" for run in shown]


def _differing(dicts: Sequence[Record]) -> list[Record]:
    names = dict.fromkeys(name for values in dicts for name in values)
    found = []
    for name in names:
        values = [values.get(name) for values in dicts]
        # As texts, for NaN isn't equal to itself, and True is to 1.
        if len({repr(value) for value in values}) > 1:
            differences = [_difference(value, values[0]) for value in values]
            found.append({"name": name, "values": values, "differences": differences})
    return found


def _difference(value: Any, first: Any) -> Any:
    return value - first if _is_number(value) and _is_number(first) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def comparable(runs: Iterable[Mapping[str, Any]]) -> Any:
    """Give runs as MLRun's own comparison takes them.

    Args:
        runs: the runs' records.

    Returns:
        MLRun's `RunList`; parameters and results that are neither numbers nor text are text.

    Raises:
        MLRunInvalidArgumentError: a run has no parameters or no results.
    """
    import mlrun

    found = mlrun.lists.RunList()
    for run in runs:
        parameters = _get(run, "spec", "parameters")
        results = _get(run, "status", "results")
        if not parameters or not results:
            raise mlrun.errors.MLRunInvalidArgumentError(
                f"Run {run['metadata']['uid']} has no {'results' if parameters else 'parameters'}, "
                "so MLRun can't draw it beside others. Leave it out."
            )
        spec = {**run["spec"], "parameters": _scalars(parameters)}
        status = {**run["status"], "results": _scalars(results)}
        found.append({**run, "spec": spec, "status": status})
    return found


def _scalars(values: Record) -> Record:
    return {
        name: value if isinstance(value, int | float | str) else str(value)
        for name, value in values.items()
    }
