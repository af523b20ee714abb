"""Runs of the embedded store, copied to an MLRun API with all that they have saved.

The API is asked what it has. A run's record is sent last, so a run that is there is whole.
"""

import json
import os
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import mlrun
from mlrun.db.httpdb import HTTPRunDB
from mlrun.utils.helpers import template_artifact_path

from ..records.records import RecordNotFoundError, Records
from ..records.summaries import Record, artifact_key
from ..store.fields import moment, own_folder, producer, run_folder
from ..store.rows import LATEST, TERMINAL_STATES
from .client import address, check
from .keeping import UNSENT, renamed

_URI = re.compile(r"store://[^\s\"]+\^\w+")
_PAGE = 100
# What an API says of one run alone, and not of whoever asks, or of itself.
_REFUSALS = {400, 409, 412, 422}
# Two of them are what earlier versions have left on runs of the store.
_MARKS = {UNSENT, "sent-artifacts", "pushed-to"}


class PushError(click.ClickException):
    """A run can't be sent."""


class NoAPIError(PushError):
    """No MLRun API is named that runs could be sent to."""

    exit_code = 2


def push(
    kept: Records, which: Sequence[str] = (), tell: Callable[[Record], None] | None = None
) -> list[Record]:
    """Send runs of the embedded store, oldest first; without `which` all that the API doesn't have.

    What came of each is told as soon as it is known: `name`, `uid`, `address`, `state` (`sent`,
    `known`, `running`, `refused`), numbers of `artifacts` and `bytes`, `reason`, `warnings`.
    """
    told = str(mlrun.mlconf.dbpath)
    runs = [kept.run(name) for name in which] or kept.runs(limit=None)
    planned: dict[str, dict[str, Record]] = defaultdict(dict)
    for run in sorted(runs, key=lambda run: str(run["status"].get("start_time"))):
        planned[told if told.startswith("http") else _missed_by(run)][_uid(run)] = run
    if not any(planned) or (which and "" in planned):
        raise NoAPIError(
            f"The runs of project '{kept.project}' are in the embedded store, and no MLRun API is "
            "named to send to. Set MLRUN_DBPATH=https://… to its address."
        )
    outcomes = []
    for url in filter(None, planned):
        api = _API(url, kept)
        for uid in planned[url] if which else api.missing(planned[url]):
            outcomes.append(api.send(kept.run(uid)))
            if tell:
                tell(outcomes[-1])
    return outcomes


class _API:
    """An MLRun API that runs are sent to, one after the other."""

    def __init__(self, url: str, kept: Records) -> None:
        check(url)
        # MLRun's own client, for ours would keep what can't be sent where it comes from.
        self.client = HTTPRunDB(url).connect()
        self.address, self.kept, self.project = address(url).rstrip("/"), kept, kept.project
        self.records = Records(self.client, self.project)
        given = self.client.api_call("GET", "client-spec", timeout=5).json().get("artifact_path")
        # In the order in which a run that is recorded there finds its own.
        told = os.environ.get("MLRUN_ARTIFACT_PATH")
        self.artifact_path = told or given or mlrun.mlconf.artifact_path
        self.uids: dict[str, dict[str, str]] = {}

    def missing(self, runs: Mapping[str, Record]) -> list[str]:
        """Give the ids of the runs that it doesn't have, or not to their end."""
        uids = [uid for uid in runs if _missed_by(runs[uid]) != self.address]
        asked = [uids[start : start + _PAGE] for start in range(0, len(uids), _PAGE)]
        found = [self.client.list_runs(uid=some, project=self.project) for some in asked]
        known = {_uid(run) for some in found for run in some if _has_ended(run)}
        return [uid for uid in runs if uid not in known]

    def send(self, run: Record) -> Record:
        """Send one run; what is wrong with it alone doesn't stop the others."""
        name, uid, state = run["metadata"]["name"], _uid(run), run["status"].get("state")
        outcome: Record = {"name": name, "uid": uid, "address": self.address, "state": "sent"}
        outcome |= {"artifacts": 0, "bytes": 0, "reason": None, "warnings": []}
        if not _has_ended(run):
            reason = f"Run '{name}' {uid} is {state}. Send it when it has ended."
            return {**outcome, "state": "running", "reason": reason}
        try:
            _Push(self, run, outcome).send()
        except (FileNotFoundError, mlrun.errors.MLRunHTTPError) as exc:
            is_file = isinstance(exc, FileNotFoundError)
            if not is_file and getattr(exc, "error_status_code", None) not in _REFUSALS:
                raise
            outcome |= {"state": "refused", "reason": f"Run '{name}' {uid} isn't sent: {exc}"}
        return outcome

    def run(self, uid: str) -> Record | None:
        with suppress(mlrun.errors.MLRunNotFoundError):
            return dict(self.client.read_run(uid, self.project))
        return None

    def uids_of(self, run: Record) -> dict[str, str]:
        """Give the uids that a run's artifacts have there, by their uids here."""
        if _uid(run) not in self.uids:
            there: dict[Any, list[str]] = defaultdict(list)
            for item in reversed(self.records.artifacts_of(run)):
                there[_identity(item)].append(_uid(item))
            saved = [(_uid(item), there[_identity(item)]) for item in self.kept.artifacts_of(run)]
            self.uids[_uid(run)] = {uid: same.pop() for uid, same in saved if same}
        return self.uids[_uid(run)]

    def tagged(self, key: str, tag: str) -> list[Record]:
        """Give the version of a key that has a tag; of a run's iterations, the newest."""
        found = self.client.list_artifacts(key, self.project, tag=tag)
        return sorted(found, key=_created)[-1:]


class _Push:
    """One run on its way: files, then their artifacts' records, then the run's."""

    def __init__(self, api: _API, run: Record, outcome: Record) -> None:
        self.api, self.kept, self.run, self.outcome = api, api.kept, run, outcome
        self.uid, self.uids = _uid(run), api.uids_of(run)
        folder = run_folder(api.artifact_path, self.uid)
        self.folder = str(template_artifact_path(folder, api.project, self.uid)).rstrip("/")

    def send(self) -> None:
        arrived, saved = self.api.run(self.uid), self.kept.artifacts_of(self.run)
        missing = [item for item in saved if _uid(item) not in self.uids]
        was_lost = _missed_by(self.run) == self.api.address
        if arrived and _has_ended(arrived) and not missing and not was_lost:
            self.outcome["state"] = "known"
            return
        others: dict[str, str] = {}
        for uri in set(_URI.findall(json.dumps([self.run["spec"], missing], default=str))):
            with suppress(RecordNotFoundError):
                maker = self.kept.producing_run(self.kept.artifact(uri))
                others |= self.api.uids_of(maker) if maker else {}
        # All of them first: a run whose files are gone isn't begun.
        moved = [self._moved(item, others) for item in missing]
        self._send_artifacts(saved, moved)
        self._tag(saved)
        self._mark_best_iterations(saved)
        self._send_run({**others, **self.uids})
        self._correct_users(saved)
        if was_lost:
            labels = _without_marks(self.run["metadata"]["labels"])
            self.kept.db.update_run({"metadata.labels": labels}, self.uid, self.kept.project)

    def _moved(self, item: Record, others: dict[str, str]) -> tuple[Record, dict[str, Path]]:
        """Give an artifact's record as the API gets it, and which files go where before."""
        places, files = dict[str, str](), dict[str, Path]()
        key, spec = artifact_key(item), item["spec"]
        for path in [spec.get("target_path"), *(spec.get("extra_data") or {}).values()]:
            local = Path(str(path).removeprefix("file://"))
            if not local.is_absolute():
                continue
            if not local.exists():
                raise FileNotFoundError(
                    f"the file of its artifact '{key}' is gone: {local}. "
                    "Restore it, or delete the run."
                )
            own = own_folder(local.as_posix(), self.uid)
            unique = f"/{key}/{_uid(item)[:8]}/{local.name}"
            new = self.folder + (local.as_posix().removeprefix(own) if own else unique)
            places[path] = new + "/" * path.endswith("/")
            for file in filter(Path.is_file, [local, *local.rglob("*")]):
                files[f"{new}/{file.relative_to(local).as_posix()}".removesuffix("/.")] = file
        # As MLRun writes times: its API reads no others.
        metadata = {**item["metadata"], "created": str(_created(item))}
        for name in ("tag", "tags", "updated"):
            metadata.pop(name, None)
        return {**item, "metadata": metadata, "spec": renamed(spec, {**others, **places})}, files

    def _send_artifacts(
        self, saved: Sequence[Record], moved: Sequence[tuple[Record, dict[str, Path]]]
    ) -> None:
        api, versions = self.api, dict[str, list[Record]]()
        for key in {artifact_key(item) for item in saved}:
            # After an interruption the latest may be what was stored then.
            known = api.records.artifacts(key, limit=None) if self.uids else api.tagged(key, LATEST)
            versions[key] = known
        for record, files in moved:
            self._copy(files, record)
            key, names = artifact_key(record), record["metadata"]
            where = {"iter": names.get("iter"), "project": api.project, "tree": names["tree"]}
            answer = api.client.store_artifact(key, record, **where)
            # Its target path is another one, and an API of another release counts otherwise, too.
            self.uids[_uid(record)] = _uid(answer)
            self.outcome["artifacts"] += 1
            versions[key].append({**record, "metadata": {**names, "uid": _uid(answer)}})
        for key, known in versions.items():
            # MLRun makes the latest what is stored last.
            newest = max(known, key=_created)
            if [_uid(item) for item in api.tagged(key, LATEST)] != [_uid(newest)]:
                api.records.tag(newest, LATEST)

    def _copy(self, files: Mapping[str, Path], record: Record) -> None:
        old = str(self.run["spec"].get("output_path") or "").rstrip("/")
        for url, file in files.items():
            content = file.read_bytes() if file.name == "model_spec.yaml" else None
            if content and old and record["kind"] == "model":
                # MLRun's copy of the record, which names the files, too.
                content = content.replace(old.encode(), self.folder.encode())
            size = file.stat().st_size if content is None else len(content)
            item = mlrun.get_dataitem(url)
            with suppress(Exception):  # each kind of store has its own for what isn't there
                if item.stat().size == size:
                    continue
            try:
                item.upload(str(file)) if content is None else item.put(content)
            except Exception as exc:
                raise PushError(
                    f"{file} can't be copied to {address(url)}: {exc}. "
                    "Check the access to it, or set MLRUN_ARTIFACT_PATH."
                ) from exc
            self.outcome["bytes"] += size

    def _tag(self, saved: Sequence[Record]) -> None:
        for item in saved:
            key, sent = artifact_key(item), {**item["metadata"], "uid": self.uids[_uid(item)]}
            for tag in set(item["metadata"]["tags"]) - {LATEST}:
                there = self.api.tagged(key, tag)
                if not there:
                    self.api.records.tag({**item, "metadata": sent}, tag)
                elif _uid(there[0]) != sent["uid"] and producer(there[0]) != self.uid:
                    self.outcome["warnings"].append(
                        f"'{key}' has the tag '{tag}' at {self.api.address} on the version of run "
                        f"{producer(there[0]) or 'nobody'}, which keeps it."
                    )

    def _mark_best_iterations(self, saved: Sequence[Record]) -> None:
        where = {"project": self.api.project}
        for tree in {item["metadata"]["tree"] for item in saved if item["metadata"].get("iter")}:
            where["tree"] = tree
            for item in self.kept.db.list_artifacts(**where, best_iteration=True):
                key, iteration = artifact_key(item), item["metadata"].get("iter")
                if iteration and producer(item) == self.uid:
                    spec = {"db_key": key, "link_iteration": iteration, "link_tree": tree}
                    link = {"kind": "link", "metadata": {"key": key, **where}, "spec": spec}
                    self.api.client.store_artifact(key, {**link, "status": {}}, **where)

    def _send_run(self, uids: dict[str, str]) -> None:
        db, client, project = self.kept.db, self.api.client, self.api.project
        if db.get_log_size(self.uid, project):
            client.store_log(self.uid, project, db.get_log(self.uid, project)[1])
        runs = db.list_runs(uid=self.uid, project=project, iter=True)
        # The run after its iterations, and all after their artifacts: none names what isn't there.
        numbered = {int(run["metadata"].get("iteration") or 0): run for run in runs}
        for number, run in sorted(numbered.items(), key=lambda item: -item[0]):
            for field in ("labels", "annotations"):
                run["metadata"][field] = _without_marks(run["metadata"].get(field))
            if own_folder(run["spec"].get("output_path") or "", self.uid):
                run["spec"]["output_path"] = self.folder
            run["status"].pop("artifacts", None)
            parts = {part: renamed(run[part], uids) for part in ("spec", "status")}
            client.store_run({**run, **parts}, self.uid, project, iter=number)

    def _correct_users(self, saved: Sequence[Record]) -> None:
        """Let runs that were sent before this one, and have used its artifacts, find them."""
        users = {_uid(user) for item in saved for user in self.kept.runs_using(item, 10**6)[0]}
        for uid in users - {self.uid}:
            inputs = (self.api.run(uid) or {"spec": {}})["spec"].get("inputs")
            if inputs != (correct := renamed(inputs, self.uids)):
                self.api.client.update_run({"spec.inputs": correct}, uid, self.api.project)


def _created(record: Mapping[str, Any]) -> datetime:
    return moment(record["metadata"].get("created")) or datetime.min.replace(tzinfo=UTC)


def _uid(record: Mapping[str, Any]) -> str:
    return str(record["metadata"]["uid"])


def _identity(record: Mapping[str, Any]) -> tuple[Any, ...]:
    # What a version keeps wherever it is sent. An API of another release gives it another uid.
    metadata = record["metadata"]
    return artifact_key(record), metadata.get("iter") or 0, metadata["tree"], metadata.get("hash")


def _missed_by(run: Mapping[str, Any]) -> str:
    return str((run["metadata"].get("labels") or {}).get(UNSENT) or "").rstrip("/")


def _has_ended(run: Mapping[str, Any]) -> bool:
    return run["status"].get("state") in TERMINAL_STATES


def _without_marks(values: Mapping[str, Any] | None) -> Record:
    return {name: value for name, value in (values or {}).items() if name not in _MARKS}
