"""Runs of the embedded store, copied to an MLRun API with all that they have saved."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from ..records.records import Records
from ..store.fields import artifact_uid, moment, producer
from ..store.files import own_folder, run_folder
from .client import SENT, UNSENT, address, check, renamed

if TYPE_CHECKING:
    from ..records.records import Record

PUSHED = "pushed-to"
"""The annotation of a run in the embedded store that tells, for each API's address, the uids that
its artifacts have there, by their uids here, and whether all of the run is there."""

LATEST = "latest"
MODEL_SPEC = "model_spec.yaml"

_ALL = 1_000_000
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)

# What an API says of one run alone, and not of whoever asks, or of itself.
_REFUSALS = {
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.CONFLICT,
    HTTPStatus.PRECONDITION_FAILED,
    HTTPStatus.UNPROCESSABLE_ENTITY,
}


class PushError(click.ClickException):
    """A run can't be sent."""


class NoAPIError(PushError):
    """No MLRun API is named that runs could be sent to."""

    exit_code = 2


class _Moved(NamedTuple):
    """An artifact's record as the API gets it, and which files go where before."""

    record: Record
    files: dict[str, Path]


class _Destination:
    """An MLRun API that runs are sent to.

    Args:
        url: where it is, with the credentials that it may need.
        project: the MLRun project.
    """

    def __init__(self, url: str, project: str) -> None:
        import mlrun
        from mlrun.db.httpdb import HTTPRunDB

        check(url)
        # MLRun's own, for ours would keep what can't be sent where it comes from.
        self.client = HTTPRunDB(url).connect()
        self.address = address(url).rstrip("/")
        self.records = Records(self.client, project)
        self.project = project
        given = self.client.api_call("GET", "client-spec", timeout=5).json().get("artifact_path")
        # In the order in which a run that is recorded there finds its own.
        told = os.environ.get("MLRUN_ARTIFACT_PATH")
        self._artifact_path = told or given or mlrun.mlconf.artifact_path

    def folder(self, uid: str) -> str:
        """Give the folder that the run with this id has there."""
        from mlrun.utils.helpers import template_artifact_path

        folder = run_folder(self._artifact_path, uid)
        return str(template_artifact_path(folder, self.project, uid)).rstrip("/")

    def run(self, uid: str) -> Record | None:
        import mlrun

        try:
            return dict(self.client.read_run(uid, self.project))
        except mlrun.errors.MLRunNotFoundError:
            return None

    def tagged(self, key: str, tag: str) -> Record | None:
        """Give the version of a key that has a tag; of a run's iterations, the newest."""
        found = self.client.list_artifacts(key, self.project, tag=tag)
        return max(found, key=_created, default=None)


def push(
    kept: Records, which: Sequence[str] = (), tell: Callable[[Record], None] | None = None
) -> list[Record]:
    """Send runs with their artifacts and files to the MLRun API that is named now.

    What the API has of a run is not sent again, whether the run was sent before, or an earlier
    attempt was interrupted. Runs go oldest first, and the newest version of a key stays the latest.

    Args:
        kept: the records of the embedded store.
        which: the runs, as in `Records.run`; none for all that the API hasn't been sent yet.
        tell: is given what came of each run, as soon as that is known.

    Returns:
        For each run its `name` and `uid`, the API's `address`, the `state` (`sent`; `known` where
        the API had all of it; `running`; `refused`), the numbers of `artifacts` and `bytes` that
        were sent, the `reason` why it wasn't, and `warnings`.

    Raises:
        NoAPIError: no API is named, and none has missed a run.
        RecordNotFoundError: there is no such run.
        APIUnreachableError: the API doesn't answer.
        PushError: a file can't be copied to where the API keeps artifacts.
    """
    outcomes = []
    destinations: dict[str, _Destination] = {}
    for url, uid in list(_planned(kept, which)):
        if url not in destinations:
            destinations[url] = _Destination(url, kept.project)
        outcome = _attempt(kept, uid, destinations[url])
        if tell:
            tell(outcome)
        outcomes.append(outcome)
    return outcomes


def _planned(kept: Records, which: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Give the runs that are to be sent, oldest first, each with the URL of its API."""
    import mlrun

    told = str(mlrun.mlconf.dbpath)
    told = told if told.startswith("http") else ""
    runs = [kept.run(name) for name in which] or kept.runs(limit=None)
    found: dict[str, str] = {}
    for run in sorted(runs, key=lambda run: str(run["status"].get("start_time"))):
        uid = run["metadata"]["uid"]
        # The mark is without the credentials that MLRun may be told.
        url = told or (run["metadata"].get("labels") or {}).get(UNSENT, "")
        if not url and which:
            raise _no_api(f"Run '{run['metadata']['name']}' {uid} is")
        if url and (which or not _mark(run, address(url).rstrip("/")).get("whole")):
            found[uid] = url
    if not (found or told):
        raise _no_api(f"The runs of project '{kept.project}' are")
    return ((url, uid) for uid, url in found.items())


def _no_api(who: str) -> NoAPIError:
    return NoAPIError(
        f"{who} in the embedded store, and no MLRun API is named to send to. "
        "Set MLRUN_DBPATH=https://… to its address."
    )


def _mark(run: Mapping[str, Any], where: str) -> dict[str, Any]:
    annotations = run["metadata"].get("annotations") or {}
    return dict(json.loads(annotations.get(PUSHED, "{}")).get(where, {}))


def _attempt(kept: Records, uid: str, there: _Destination) -> Record:
    """Send one run; what is wrong with it alone doesn't stop the others."""
    import mlrun
    from mlrun.common.runtimes.constants import RunStates

    run = kept.run(uid)
    name, state = run["metadata"]["name"], run["status"].get("state")
    outcome: Record = {
        "name": name,
        "uid": uid,
        "address": there.address,
        "state": "sent",
        "artifacts": 0,
        "bytes": 0,
        "reason": None,
        "warnings": [],
    }
    if state not in RunStates.terminal_states():
        reason = f"Run '{name}' {uid} is {state}. Send it when it has ended."
        return {**outcome, "state": "running", "reason": reason}
    try:
        _Push(kept, run, there, outcome).send()
    except FileNotFoundError as exc:
        outcome.update(state="refused", reason=str(exc))
    except mlrun.errors.MLRunHTTPError as exc:
        if exc.error_status_code not in {status.value for status in _REFUSALS}:
            raise
        reason = f"{there.address} doesn't take run '{name}' {uid}: {exc}"
        outcome.update(state="refused", reason=reason)
    return outcome


class _Push:
    """One run on its way: files, then their artifacts' records, then the run's."""

    def __init__(self, kept: Records, run: Record, there: _Destination, outcome: Record) -> None:
        self.kept, self.run, self.there, self.outcome = kept, run, there, outcome
        self.uid = run["metadata"]["uid"]
        self.mark = _mark(run, there.address)
        labels = run["metadata"].get("labels") or {}
        self.is_unsent = str(labels.get(UNSENT)).rstrip("/") == there.address

    def send(self) -> None:
        there, arrived = self.there, self.there.run(self.uid)
        if arrived and self.mark.get("whole") and not self.is_unsent:
            self.outcome["state"] = "known"
            return
        saved = self.kept.artifacts_of(self.run)
        self.uids = self._known(saved)
        missing = [item for item in saved if item["metadata"]["uid"] not in self.uids]
        others = _uids_there(self.kept, [self.run, *missing], there.address)
        # All of them first: a run whose files are gone isn't begun.
        moved = [self._moved(item, others) for item in missing]
        self._write_mark(whole=False)
        self._send_artifacts(moved, again=bool(self.mark or arrived))
        self._tag(saved)
        self._mark_best_iterations(saved)
        self._send_runs({**others, **self.uids})
        self._write_mark(whole=True)
        self._mend_users(saved)
        if not moved and arrived and not self.is_unsent:
            self.outcome["state"] = "known"

    def _known(self, saved: Iterable[Record]) -> dict[str, str]:
        """Give the uids of what the API has, whoever sent it, by the uids here."""
        at_api = self.there.records.artifacts_of(self.run)
        uids = {item["metadata"]["uid"] for item in at_api}
        annotations = self.run["metadata"].get("annotations") or {}
        noted = dict(self.mark.get("artifacts", {}))
        if self.is_unsent:
            noted |= {
                here: there for there, here in json.loads(annotations.get(SENT, "{}")).items()
            }
        same = {_identity(item): item["metadata"]["uid"] for item in at_api}
        found = {item["metadata"]["uid"]: same.get(_identity(item)) for item in saved}
        found |= {here: there for here, there in noted.items() if there in uids}
        return {here: there for here, there in found.items() if there}

    # ---- artifacts

    def _moved(self, item: Record, others: dict[str, str]) -> _Moved:
        files: dict[str, Path] = {}
        key, spec = item["spec"]["db_key"], dict(item["spec"])

        def place(path: Any) -> Any:
            local = _local(path)
            if local is None:
                return path
            if not local.exists():
                raise FileNotFoundError(
                    f"Run '{self.outcome['name']}' {self.uid} isn't sent, because the file of its "
                    f"artifact '{key}' is gone: {local}. Restore it, or delete the run."
                )
            own = own_folder(str(path), self.uid)
            unique = f"{key}/{_uid(item)[:8]}/{local.name}"
            rest = str(path)[len(own) :].strip("/") if own else unique
            new = f"{self.there.folder(self.uid)}/{rest}"
            if _local(new) != local:
                inside = (file for file in sorted(local.rglob("*")) if file.is_file())
                files.update(
                    {f"{new}/{file.relative_to(local).as_posix()}": file for file in inside}
                )
                if local.is_file():
                    files[new] = local
            return new + "/" if str(path).endswith("/") else new

        if spec.get("target_path"):
            spec["target_path"] = place(spec["target_path"])
        if spec.get("extra_data"):
            spec["extra_data"] = {name: place(path) for name, path in spec["extra_data"].items()}
        metadata = {
            name: value
            for name, value in item["metadata"].items()
            if name not in {"tag", "tags", "updated"}
        }
        # As MLRun writes times: its API reads no others.
        metadata["created"] = str(moment(metadata.get("created")))
        record = {**item, "metadata": metadata, "spec": renamed(spec, others)}
        return _Moved(record, files)

    def _send_artifacts(self, moved: Sequence[_Moved], again: bool) -> None:
        keys = dict.fromkeys(item.record["spec"]["db_key"] for item in moved)
        if again:
            # What was stored then may be the latest, and another version the newest.
            keys |= dict.fromkeys(
                item["spec"]["db_key"] for item in self.kept.artifacts_of(self.run)
            )
        client, project = self.there.client, self.there.project
        before = {key: self.there.tagged(key, LATEST) for key in keys}
        sent: dict[str, Record] = {}
        for record, files in moved:
            self._copy(files, record)
            metadata, key = record["metadata"], record["spec"]["db_key"]
            here = metadata["uid"]
            answer = client.store_artifact(
                key, record, iter=metadata.get("iter"), project=project, tree=metadata["tree"]
            )
            # Its target path is another one, and an API of another release counts otherwise, too.
            self.uids[here] = answer["metadata"]["uid"]
            self.outcome["artifacts"] += 1
            if key not in sent or _created(sent[key]) <= _created(record):
                sent[key] = {**record, "metadata": {**metadata, "uid": self.uids[here]}}
        for key, latest in before.items():
            # MLRun makes the latest what is stored last.
            known = self.there.records.artifacts(key, limit=None) if again else [latest]
            versions = [item for item in (sent.get(key), *known) if item]
            newest = max(versions, key=_created, default=None)
            current = self.there.tagged(key, LATEST) if again else sent.get(key)
            if newest and current and _uid(newest) != _uid(current):
                client.tag_artifacts([newest], project, LATEST)

    def _copy(self, files: Mapping[str, Path], record: Record) -> None:
        import mlrun

        old, new = self.run["spec"].get("output_path"), self.there.folder(self.uid)
        for url, file in files.items():
            content = None
            if file.name == MODEL_SPEC and record["kind"] == "model" and old:
                # MLRun's copy of the record, which names the files, too.
                content = file.read_bytes().replace(old.rstrip("/").encode(), new.encode())
            size = file.stat().st_size if content is None else len(content)
            try:
                item = mlrun.get_dataitem(url)
                if _size(item) == size:
                    continue
                if content is None:
                    item.upload(str(file))
                else:
                    item.put(content)
            except Exception as exc:
                raise PushError(
                    f"{file} can't be copied to {address(url)}: {exc}. "
                    "Check the access to it, or set MLRUN_ARTIFACT_PATH."
                ) from exc
            self.outcome["bytes"] += size

    def _tag(self, saved: Iterable[Record]) -> None:
        for item in saved:
            metadata, key = item["metadata"], item["spec"]["db_key"]
            for tag in set(metadata["tags"]) - {LATEST}:
                there = self.there.tagged(key, tag)
                uid = self.uids[metadata["uid"]]
                if there is None:
                    version = {**item, "metadata": {**metadata, "uid": uid}}
                    self.there.client.tag_artifacts([version], self.there.project, tag)
                elif _uid(there) != uid and producer(there) != self.uid:
                    self.outcome["warnings"].append(
                        f"'{key}' has the tag '{tag}' at {self.there.address} on the version of "
                        f"run {producer(there) or 'nobody'}, which keeps it."
                    )

    def _mark_best_iterations(self, saved: Iterable[Record]) -> None:
        """Say which iteration of a hyperparameter run is the best one."""
        trees = {item["metadata"]["tree"] for item in saved if item["metadata"].get("iter")}
        for tree in trees:
            best = self.kept.db.list_artifacts(
                project=self.kept.project, tree=tree, best_iteration=True
            )
            for item in best:
                if not item["metadata"].get("iter") or producer(item) != self.uid:
                    continue
                key, iteration = item["spec"]["db_key"], item["metadata"]["iter"]
                link = {
                    "kind": "link",
                    "metadata": {"key": key, "project": self.there.project, "tree": tree},
                    "spec": {"db_key": key, "link_iteration": iteration, "link_tree": tree},
                    "status": {},
                }
                self.there.client.store_artifact(key, link, project=self.there.project, tree=tree)

    # ---- the run

    def _send_runs(self, uids: dict[str, str]) -> None:
        db, client, project = self.kept.db, self.there.client, self.there.project
        if db.get_log_size(self.uid, project):
            client.store_log(self.uid, project, db.get_log(self.uid, project)[1])
        iterations = db.list_runs(uid=self.uid, project=project, iter=True)
        # The run after its iterations, and all after their artifacts: none names what isn't there.
        for run in sorted(iterations, key=_iteration, reverse=True):
            metadata, spec = dict(run["metadata"]), dict(run["spec"])
            for field, ours in (("labels", {UNSENT}), ("annotations", {SENT, PUSHED})):
                metadata[field] = {
                    name: value
                    for name, value in (metadata.get(field) or {}).items()
                    if name not in ours
                }
            if own_folder(spec.get("output_path") or "", self.uid):
                spec["output_path"] = self.there.folder(self.uid)
            status = {name: value for name, value in run["status"].items() if name != "artifacts"}
            record = {
                **run,
                "metadata": metadata,
                "spec": renamed(spec, uids),
                "status": renamed(status, uids),
            }
            client.store_run(record, self.uid, project, iter=_iteration(run))

    def _write_mark(self, whole: bool) -> None:
        metadata = self.run["metadata"]
        annotations = dict(metadata.get("annotations") or {})
        labels = dict(metadata.get("labels") or {})
        marks = json.loads(annotations.get(PUSHED, "{}"))
        marks[self.there.address] = {"whole": whole, "artifacts": self.uids}
        annotations[PUSHED] = json.dumps(marks)
        if whole and self.is_unsent:
            del labels[UNSENT]
            annotations.pop(SENT, None)
        updates = {"metadata.labels": labels, "metadata.annotations": annotations}
        self.kept.db.update_run(updates, self.uid, self.kept.project)

    def _mend_users(self, saved: Iterable[Record]) -> None:
        """Let runs that were sent before this one, and have used its artifacts, find them."""
        users = {
            user["metadata"]["uid"]: user
            for item in saved
            for user in self.kept.runs_using(item, limit=_ALL)[0]
            if user["metadata"]["uid"] != self.uid
        }
        for uid, user in users.items():
            if _mark(user, self.there.address).get("whole"):
                uids = _uids_there(self.kept, [user], self.there.address)
                inputs = {"spec.inputs": renamed(user["spec"]["inputs"], uids)}
                self.there.client.update_run(inputs, uid, self.there.project)


def _uids_there(kept: Records, records: Iterable[Record], where: str) -> dict[str, str]:
    """Give the uids at an API of the artifacts of other runs that records name, by those here."""
    uids: dict[str, str] = {}
    runs: dict[str, Record | None] = {}
    for uri in {uri for record in records for uri in _uris(record.get("spec"))}:
        for item in kept.db.artifacts_beginning_with(artifact_uid(uri), kept.project):
            run_uid = producer(item)
            if run_uid not in runs:
                runs[run_uid] = kept.producing_run(item)
            run = runs[run_uid]
            uids |= _mark(run, where).get("artifacts", {}) if run else {}
    return uids


def _uris(value: Any) -> Iterator[str]:
    """Give the URIs of artifacts, with their uids, that are in a record."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _uris(item)
    elif artifact_uid(value):
        yield value


def _local(path: Any) -> Path | None:
    """Give a path of this machine; None for a URL, or what is no path."""
    text = str(path).removeprefix("file://") if isinstance(path, str) else ""
    return Path(text) if text and "://" not in text and Path(text).is_absolute() else None


def _size(item: Any) -> int | None:
    try:
        return int(item.stat().size)
    except Exception:
        # Each kind of store has its own error for what isn't there.
        return None


def _created(record: Mapping[str, Any]) -> datetime:
    return moment(record["metadata"].get("created")) or _LONG_AGO


def _uid(record: Mapping[str, Any]) -> str:
    return str(record["metadata"]["uid"])


def _identity(record: Mapping[str, Any]) -> tuple[str, int, datetime]:
    """Give what a version keeps wherever it is sent: its key, iteration and moment."""
    return record["spec"]["db_key"], record["metadata"].get("iter") or 0, _created(record)


def _iteration(run: Mapping[str, Any]) -> int:
    return int(run["metadata"].get("iteration") or 0)
