"""Questions asked of the run database, alike of the embedded store and of an MLRun API."""

import re
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import count, groupby, islice
from pathlib import Path
from typing import Any

import click

from ..lazy import mlrun
from ..store import fields
from ..store.deletion import delete_data
from ..store.fields import OWN, PARENT, section
from ..store.rows import LATEST, ORDERS, TERMINAL_STATES
from ..store.store import Store
from ..store.values import Matching
from ..text import nearest
from .summaries import (
    Record,
    artifact_key,
    artifact_summary,
    named_run,
    short_metric,
    summary,
    uid_of,
)

LAST = "last"
_TAG = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,54}[A-Za-z0-9])?")
_PAGE = 200
# How many runs that used an artifact are followed; of others it is said how many there are.
MANY = 10


class RecordNotFoundError(click.ClickException, LookupError):
    """No record, or not only one, is what a person has named."""

    exit_code = 2


def check_tag(tag: str) -> None:
    """Refuse what can't be a tag."""
    if not _TAG.fullmatch(tag):
        raise RecordNotFoundError(
            f"'{tag}' can't be a tag. Use at most 56 letters, digits, hyphens, underscores and "
            "dots, with a letter or digit at each end."
        )


class Records:
    """The runs and artifacts of one MLRun project, in MLRun's run database `db`."""

    def __init__(self, db: Any, project: str) -> None:
        self.db, self.project = db, project
        # The embedded store, which can be asked more than an MLRun API.
        self._store = db if isinstance(db, Store) else None

    def _pages(
        self, what: str, size: int | None = None, skip: int = 0, **filters: Any
    ) -> Iterator[Record]:
        """Give records page by page, as long as they are asked for; "" and () are no filters."""
        plain = {k: [*v] if isinstance(v, tuple) else v for k, v in filters.items() if v}
        size = min(size or _PAGE, _PAGE)
        if self._store:
            find = getattr(self._store, f"find_{what}")
            for offset in count(skip, size):
                rows = find(project=self.project, limit=size, offset=offset, **plain)
                yield from rows
                if len(rows) < size:
                    return
        list_page = getattr(self.db, f"paginated_list_{what}")
        page, skip = divmod(skip, size)
        plain |= {"page": page + 1} if page else {}
        rows, token = list_page(project=self.project, page_size=size, **plain)
        yield from rows[skip:]
        while token:
            rows, token = list_page(project=self.project, page_token=token)
            yield from rows

    def runs(self, limit: int | None = 20, pipeline: str = "", **filters: Any) -> list[Record]:
        """List runs, newest start first, with MLRun's filters."""
        return list(islice(self.each_run(limit, pipeline, **filters), limit))

    def each_run(
        self,
        size: int | None,
        pipeline: str = "",
        matching: Sequence[Matching] = (),
        skip: int = 0,
        **filters: Any,
    ) -> Iterator[Record]:
        """Give runs one by one, as long as they are asked for; about so many will be.

        Where that can be known, those that can't be `matching` are left out. So many are skipped
        before the filters that an MLRun API doesn't have.
        """
        filters["matching"] = matching if self._store else ()
        names = _pipelines(pipeline)
        if pipeline:
            # A part of the label, for a run of several pipelines has all of them in it; but
            # `__default__` may be what was asked for, where the label names what that was.
            first = min(names, key="default".__eq__)
            label = [f"pipeline=~{first}"] if first != "default" else []
            filters["labels"] = [*filters.get("labels", ()), *label]
        filters["start_time_from"] = filters.get("start_time_from") or fields.LONG_AGO
        found, states = self._pages("runs", size, skip, **filters), filters.get("states")
        if states:
            # Before 1.10, MLRun's API has another name for them, and lists all.
            found = (run for run in found if run["status"].get("state") in states)
        if not any(PARENT in label for label in filters.get("labels") or ()):
            # A search's trials are shown with it.
            found = (run for run in found if PARENT not in section(run, "metadata", "labels"))
        return (
            run
            for run in found
            if not pipeline
            or names <= _pipelines(section(run, "metadata", "labels").get("pipeline"))
            or names <= _pipelines(section(run, "spec", "parameters").get("kedro.pipeline"))
        )

    def runs_of(self, uids: Sequence[str], **filters: Any) -> Iterator[Record]:
        """Give the runs that have these ids, in their order, but for those that were deleted."""
        for start in range(0, len(uids), _PAGE):
            part = uids[start : start + _PAGE]
            found = {uid_of(run): run for run in self.each_run(_PAGE, uid=part, **filters)}
            yield from (found[uid] for uid in part if uid in found)

    def values(
        self, names: Sequence[str], *order: Any, pipeline: str = "", **filters: Any
    ) -> dict[str, Any] | None:
        """Give ids of runs that may come first by a field that has one of these names.

        See `Store.run_values`; None where only the runs themselves tell.
        """
        if not self._store or {*filters} - {"labels", "states", "matching"}:
            return None
        return self._store.run_values(names, *order, project=self.project, **filters)

    def sorts_by(self, field: str) -> bool:
        """Tell whether `each_run` can be given such a field, or with ` ascending`, as `sort`."""
        return bool(self._store) and field in ORDERS

    def count(self) -> int | None:
        """Count all runs, where that is known without a look at them."""
        return self._store.count_runs(self.project) if self._store else None

    def run_fields(self) -> set[str]:
        """Give the fields that runs have, those that are known without a look at them."""
        return self._store.run_fields(self.project) if self._store else set()

    def run(self, which: str) -> Record:
        """Find a run by its id, the unique beginning of one, a name (its newest run), or `last`.

        `last:NAME` is the newest run of a pipeline, `~1` after a name or `last` the run before.
        """
        # Anything else would ask MLRun another question.
        parts = re.fullmatch(r"(\w[-+\w.]*)(?::([-+\w.]+))?(?:~(\d{1,6}))?", which)
        name, of, back = parts.groups("") if parts else ("", "", "")
        found, before = list[Record](), int(back or 0)

        def newest(**filters: Any) -> list[Record]:
            found = self.each_run(before + 1, **filters)
            if not filters.get("name"):
                # The last run isn't what was done with its model.
                found = (run for run in found if not is_promotion(run))
            return list(islice(found, before, before + 1))

        if name == LAST:
            found = newest(pipeline=of) or (newest(name=of) if of else [])
        elif name and not of:
            if not back and "+" not in name and (whole := self._read(name)):
                return whole
            found = newest(name=name) or newest(name=fields.run_name(name))
            if not (found or back):
                found = self._beginning_with(name, "runs")
        if found:
            # Lists leave out some of what a run has.
            return self._read(uid_of(found[0])) or found[0]
        recent = [run["metadata"] for run in self.runs(limit=_PAGE)]
        if not recent:
            raise RecordNotFoundError(
                f"Project '{self.project}' has no runs yet. To make one: kedro run"
            )
        # Of an id people have the beginning.
        known = [name for run in recent for name in (run["name"], run["uid"][: len(which)])]
        raise RecordNotFoundError(
            f"Project '{self.project}' has no run '{which}'. {nearest(which, known)}"
            "To list what there is: kedro mlrun runs"
        )

    def _read(self, uid: str) -> Record | None:
        if self._store:
            return self._store.run(uid, self.project)
        try:
            return dict(self.db.read_run(uid, self.project))
        except mlrun.errors.MLRunNotFoundError:
            return None

    def _beginning_with(self, uid: str, what: str) -> list[Record]:
        if self._store:
            rows = getattr(self._store, f"find_{what}")(project=self.project, beginning=uid)
        else:
            rows = self._pages(what, start_time_from=fields.LONG_AGO if what == "runs" else None)
        found = {uid_of(row): row for row in rows if uid_of(row).startswith(uid)}
        if len(found) > 1:
            several = ", ".join(list(found)[:3])
            raise RecordNotFoundError(
                f"'{uid}' is the beginning of several ids: {several}. Give more of it."
            )
        return list(found.values())

    def artifacts(
        self,
        key: str = "",
        kind: str = "",
        tag: str = "",
        run: Any = None,
        limit: int | None = 20,
        best_iteration: bool = False,
    ) -> list[Record]:
        """List versions of artifacts, last written first; those of our own only by key or run.

        With `best_iteration`, of a search or sweep only those of its best trial.
        """
        best: Record = {"best_iteration": best_iteration}
        filters = {"name": key, "kind": kind, "tag": tag} | best
        # Each version comes once for each of its tags.
        size = limit and 2 * limit
        items = self.artifacts_of(run, **best) if run else self.versions(size, **filters)
        found = (
            item
            for item in items
            if key in {"", artifact_key(item)}
            and kind in {"", item["kind"]}
            and (not tag or tag in item["metadata"]["tags"])
            and (key or run or not artifact_key(item).startswith(OWN))
        )
        versions = list(islice(found, limit))
        for item in versions if tag else ():
            item["metadata"]["tags"] = self._tags(item)
        return versions

    def versions(self, size: int | None = None, **filters: Any) -> Iterable[Record]:
        """Give versions of artifacts, last written first, each once with the tags that match."""
        rows = self._pages("artifacts", size, **filters)
        if self._store:
            return _joined(rows)
        # MLRun's API gives them in no order.
        return sorted(_joined(sorted(rows, key=uid_of)), key=_written, reverse=True)

    def artifacts_of(self, run: Mapping[str, Any], **filters: Any) -> list[Record]:
        """List what a run has saved, first saved first, all versions of a key included."""
        uid = run["metadata"]["uid"]
        # The runs of a chain share a tree, which is the workflow's.
        workflow = section(run, "metadata", "labels").get("workflow")
        trees = dict.fromkeys(filter(None, (workflow, uid)))
        found = (item for name in trees for item in self.versions(tree=name, **filters))
        return sorted((item for item in found if fields.producer(item) == uid), key=_written)

    def version(self, key: str, uid: str) -> Record | None:
        """Give the version of an artifact with this uid, if there is one."""
        filters: Record = {"uid": uid} if self._store else {}
        found = self.versions(name=key, **filters)
        return next((item for item in found if uid_of(item) == uid), None)

    def artifact(self, which: str) -> Record:
        """Find a version of an artifact, with all of its `metadata.tags`, however it is named."""
        record = self.named(which)
        record["metadata"]["tags"] = self._tags(record)
        return record

    def named(self, which: str) -> Record:
        """Find a version of an artifact; of its tags, only what it was found by is looked up."""
        named = fields.artifact_named(which)
        project, key = named.get("project", self.project), named.get("key", "")
        iteration, tag, tree, uid = map(named.get, ("iter", "tag", "tree", "uid"))
        # MLRun takes no name for any, and ~ for a part of one.
        if project != self.project or key[:1] in {"", "~"}:
            raise RecordNotFoundError(
                f"'{which}' names no artifact of project '{self.project}'. Give a key or a URI; "
                "for another project's, set MLRUN_ACTIVE_PROJECT."
            )
        # Tree and uid name the version for good, and the tag may have moved on.
        tag = None if tree or uid else tag or "latest"
        versions = self.versions(name=key, tree=tree, tag=tag)
        found = [item for item in versions if uid in {None, uid_of(item)}]
        if not found and tree and not uid:
            run = None
            with suppress(RecordNotFoundError):
                run = self.run(tree)
            found = self.artifacts(key, run=run) if run else []
            if run and not found:
                short = uid_of(run)[:8]
                raise RecordNotFoundError(
                    f"Run {short} saved no {key}. To list what it saved: kedro mlrun artifacts "
                    f"--run {short}"
                )
        if not found and which == key and re.fullmatch("[0-9a-f]{6,40}", key):
            found = self._beginning_with(key, "artifacts")
        if iteration:
            of = int(iteration)
            found = [item for item in found if (item["metadata"].get("iter") or 0) == of]
        if not found:
            keys = [artifact_key(item) for item in self.versions(tag="latest")]
            of_key, hint = (f" --key {key}", "") if key in keys else ("", nearest(key, keys))
            what = f"{hint}To list what there is: kedro mlrun artifacts{of_key}"
            if not keys:
                what = "Nothing is recorded yet: make a run first (kedro run)"
            raise RecordNotFoundError(f"Project '{self.project}' has no artifact '{which}'. {what}")
        return max(found, key=_written)

    def _tags(self, record: Record) -> list[str]:
        tree = record["metadata"]["tree"]
        versions = self.versions(name=artifact_key(record), tree=tree)
        same = (item["metadata"]["tags"] for item in versions if uid_of(item) == uid_of(record))
        return sorted({tag for tags in same for tag in tags})

    def tag(self, record: Record, tag: str) -> None:
        """Tag a version of an artifact; other versions of its key lose the tag."""
        check_tag(tag)
        self.db.tag_artifacts([record], self.project, tag)

    def producing_run(self, record: Mapping[str, Any]) -> Record | None:
        """Find the run that has saved an artifact; None where it was deleted, or none has."""
        uid = fields.producer(record)
        return self._read(uid) if uid else None

    def runs_using(self, record: Mapping[str, Any]) -> list[Record]:
        """List the runs that have an artifact as an input, newest first."""
        return self.using([record])[uid_of(record)]

    def using(self, records: Sequence[Mapping[str, Any]]) -> dict[str, list[Record]]:
        """List the runs that have artifacts as inputs, newest first, by the artifacts' uids."""
        found: dict[str, list[Record]] = {uid_of(record): [] for record in records}
        if self._store:
            find = partial(self._store.find_runs, project=self.project)
            return {uid: list(find(using=uid)) for uid in found}
        # What has used one was still going on after the first was made.
        made = (fields.moment(record["metadata"].get("created")) for record in records)
        since = min((time or fields.LONG_AGO for time in made), default=fields.LONG_AGO)
        for run in self._pages("runs", last_update_time_from=since) if found else ():
            inputs = section(run, "spec", "inputs").values()
            for uid in found.keys() & {*map(fields.artifact_uid, inputs)}:
                found[uid].append(run)
        for runs in found.values():
            runs.sort(key=lambda run: str(run["status"].get("start_time")), reverse=True)
        return found

    def metrics(self, models: Sequence[Record]) -> list[Record]:
        """Give the results that say how good models are, of the runs that used and made them."""
        users, told = self.using(models), []
        for model in models:
            runs = [*users[uid_of(model)], self.producing_run(model) or {}]
            # A promotion's results are of two models, and the number of a trial is no metric.
            every = [section(run, "status", "results") for run in runs if not is_promotion(run)]
            found: Record = {}
            # What was found out last counts.
            for results in (*every, model["spec"].get("metrics") or {}):
                for name, value in fields.flatten(results).items():
                    found.setdefault(name, value)
            found.pop("best_iteration", None)
            key = artifact_key(model)
            own = {name: found[name] for name in found if short_metric(name, key) != name}
            told.append(own or found)
        return told

    def lineage(self, start: Record, depth: int, back: bool) -> Record:
        """Make the tree of what something came from, or of what came of it, so many runs away."""
        follow, seen = self._came_from if back else self._came_of, set[str]()

        def node(name: str, record: Record | None, is_run: bool, depth: int) -> Record:
            # What was deleted, or isn't of this project, has no record.
            about = (summary if is_run else artifact_summary)(record) if record else {}
            if record:
                name = fields.run_title(about) if is_run else about["key"]
            made: Record = {"type": "run" if is_run else "artifact", "name": name}
            told = ("uid", "state", "start_time") if is_run else ("uid", "kind", "uri", "run")
            made |= {field: about.get(field) for field in told}
            # How many more runs there are; whether what follows is elsewhere, or too far away.
            made |= {"unshown": 0, "repeated": made["uid"] in seen, "cut": False, "follows": []}
            if not record or made["repeated"]:
                return made
            seen.add(made["uid"])
            following = [*follow(record, is_run).items()]
            if depth == 0 and not is_run:
                made["cut"] = len(following) > 0
                return made
            # What follows a run are artifacts, and an artifact's are runs.
            shown, further = (following, depth) if is_run else (following[:MANY], depth - 1)
            made["follows"] = [node(*other, not is_run, further) for other in shown]
            made["unshown"] = len(following) - len(shown)
            return made

        return node("", start, "key" not in start["metadata"], depth)

    def _came_from(self, record: Record, is_run: bool) -> dict[str, Record | None]:
        if not is_run:
            uid = fields.producer(record)
            return {uid: self._read(uid)} if uid else {}
        found: dict[str, Record | None] = {}
        for uri in map(str, section(record, "spec", "inputs").values()):
            found[uri] = None
            with suppress(RecordNotFoundError):
                found[uri] = self.artifact(uri) if uri.startswith("store:") else None
        return found

    def _came_of(self, record: Record, is_run: bool) -> dict[str, Record | None]:
        if not is_run:
            return {uid_of(run): run for run in self.runs_using(record)}
        saved = self.artifacts_of(record, best_iteration=True)
        return {uid_of(item): item for item in saved if not artifact_key(item).startswith(OWN)}

    def losses(
        self, run: Record, saved: Sequence[Record], others: Collection[str] = ()
    ) -> list[str]:
        """Say of what a run has saved that it is tagged, or an input of runs but these others."""
        told, using = list[str](), self.using(saved)
        for item in saved:
            key = f"{artifact_key(item)} of run {uid_of(run)[:8]}"
            if tags := ", ".join(tag for tag in item["metadata"]["tags"] if tag != LATEST):
                told.append(f"{key} is tagged {tags}.")
            users = [user for user in using[uid_of(item)] if uid_of(user) not in others][:3]
            if named := ", ".join(named_run(user["metadata"]) for user in users):
                told.append(f"{key} is an input of {named}.")
        return told

    def check_ended(self, run: Mapping[str, Any]) -> None:
        """Refuse to delete a run that goes on."""
        state = run["status"].get("state")
        if state not in TERMINAL_STATES:
            raise mlrun.errors.MLRunPreconditionFailedError(
                f"Run {uid_of(run)} is {state}, so it can't be deleted. Wait for its end, or abort "
                "it."
            )

    def delete(self, run: Mapping[str, Any], artifacts: bool = False) -> Record:
        """Delete a run, on request with its artifacts; tell what was `deleted` and what `kept`."""
        self.check_ended(run)
        # The jobs of a search's trials are shown with it; no other run has such.
        if fields.SEARCH in section(run, "metadata", "annotations"):
            for job in self.runs(None, labels=[f"{PARENT}={uid_of(run)}"]):
                self.delete(job, artifacts)
        uid, deleted, kept, folders = uid_of(run), [], [], set[str]()
        for record in self.artifacts_of(run) if artifacts else ():
            key, tree = artifact_key(record), record["metadata"]["tree"]
            # The record first: a crash then leaves bytes without a record, never one without bytes.
            self.db.del_artifact(key, project=self.project, tree=tree, uid=uid_of(record))
            deleted.append(key)
            folders.add(fields.own_folder(record["spec"].get("target_path") or "", uid))
            try:
                delete_data(record, self._store)
            except Exception as exc:
                path = fields.artifact_file(record)
                kept.append({"key": key, "path": path, "reason": str(exc)})
        for key in set(deleted):
            # MLRun doesn't tag another version when the latest one is deleted, and then finds none.
            if not any(self.versions(name=key, tag="latest")):
                for record in self.artifacts(key, limit=1):
                    self.tag(record, "latest")
        # What is beside the artifacts' files, such as the schema of a CSV.
        for folder in filter(None, folders) if not kept else ():
            if "://" not in folder and not Path(folder).is_symlink():
                shutil.rmtree(folder, ignore_errors=True)
        self.db.del_run(uid, self.project)
        return {"deleted": sorted(deleted), "kept": kept}


def is_promotion(run: Mapping[str, Any]) -> bool:
    """Tell whether a run is a promotion or a rollback, and so of a model's history."""
    return fields.PROMOTION in section(run, "metadata", "labels")


def _written(record: Mapping[str, Any]) -> str:
    return str(record["metadata"].get("updated") or record["metadata"].get("created"))


def _pipelines(names: Any) -> set[str]:
    return {name.strip("_") for name in re.split("[,+]", str(names))}


def _joined(rows: Iterable[Record]) -> Iterator[Record]:
    """Join the rows of one version, which differ in their tags and follow each other."""
    for _, same in groupby(rows, key=uid_of):
        first, *others = same
        tags = [row["metadata"].get("tag") for row in (first, *others)]
        first["metadata"]["tags"] = [tag for tag in tags if tag]
        yield first
