"""Runs of the embedded store, copied to an MLRun API with all that they have saved.

The API is asked what it has. A run's record is sent last, so a run that is there is whole.
"""

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

import click

from ..lazy import mlrun
from ..records.records import RecordNotFoundError, Records
from ..records.summaries import Record, artifact_key, uid_of
from ..store.fields import moment, own_folder, producer, run_folder
from ..store.rows import LATEST, TERMINAL_STATES
from .client import address, check
from .keeping import UNSENT, renamed

_URI = re.compile(r"store://[^\s\"]+\^\w+")
# What an API says of one run alone, and not of whoever asks, or of itself.
_REFUSALS = {400, 409, 412, 422}


def push(kept: Records, which: Sequence[str] = ()) -> Iterator[Record]:
    """Send runs of the embedded store, oldest first; without `which` all that the API doesn't have.

    What came of each is given as soon as it is known: `name`, `uid`, `address`, `state` (`sent`,
    `known`, `running`, `refused`), numbers of `artifacts` and `bytes`, `reason`, `warnings`.
    """
    told = str(mlrun.mlconf.dbpath)
    runs = [kept.run(name) for name in which] or kept.runs(limit=None)
    planned: dict[str, dict[str, Record]] = defaultdict(dict)
    for run in sorted(runs, key=lambda run: str(run["status"].get("start_time"))):
        planned[told if told.startswith("http") else _missed_by(run)][uid_of(run)] = run
    if not any(planned) or (which and "" in planned):
        raise click.UsageError(
            f"The runs of project '{kept.project}' are in the embedded store, and no MLRun API is "
            "named to send to. Set MLRUN_DBPATH=https://… to its address."
        )
    for url in filter(None, planned):
        api = _API(url, kept)
        for uid in planned[url] if which else api.missing(planned[url]):
            yield api.send(kept.run(uid))


class _API:
    """An MLRun API that runs are sent to, one after the other."""

    def __init__(self, url: str, kept: Records) -> None:
        check(url)
        # MLRun's own client, for ours would keep what can't be sent where it comes from.
        self.client = mlrun.db.httpdb.HTTPRunDB(url).connect()
        self.address, self.kept, self.project = address(url).rstrip("/"), kept, kept.project
        self.records = Records(self.client, self.project)
        given = self.client.api_call("GET", "client-spec", timeout=5).json().get("artifact_path")
        # In the order in which a run that is recorded there finds its own.
        told = os.environ.get("MLRUN_ARTIFACT_PATH")
        self.artifact_path = told or given or mlrun.mlconf.artifact_path
        self.told_of_folder = False

    def missing(self, runs: Mapping[str, Record]) -> list[str]:
        """Give the ids of the runs that it doesn't have, or not to their end."""
        oldest = moment(next(iter(runs.values()))["status"].get("start_time"))
        there = self.records.runs(limit=None, start_time_from=oldest)
        known = set(map(uid_of, filter(_has_ended, there)))
        return [uid for uid in runs if uid not in known or _missed_by(runs[uid]) == self.address]

    def send(self, run: Record) -> Record:
        """Send one run; what is wrong with it alone doesn't stop the others."""
        name, uid, state = run["metadata"]["name"], uid_of(run), run["status"].get("state")
        outcome: Record = {"name": name, "uid": uid, "address": self.address, "state": "sent"}
        outcome |= {"artifacts": 0, "bytes": 0, "reason": None, "warnings": []}
        if not _has_ended(run):
            reason = f"Run '{name}' {uid} is {state}. Send it when it has ended."
            return {**outcome, "state": "running", "reason": reason}
        try:
            self._send(run, outcome)
        except (FileNotFoundError, mlrun.errors.MLRunHTTPStatusError) as exc:
            if getattr(exc, "error_status_code", HTTPStatus.BAD_REQUEST) not in _REFUSALS:
                raise
            outcome |= {"state": "refused", "reason": f"Run '{name}' {uid} isn't sent: {exc}"}
        return outcome

    def _send(self, run: Record, outcome: Record) -> None:
        """Send files, then their artifacts' records, then the run's."""
        uid, uids, saved = uid_of(run), self._uids_of(run), self.kept.artifacts_of(run)
        missing = [item for item in saved if uid_of(item) not in uids]
        was_lost = _missed_by(run) == self.address
        there = self.client.list_runs(uid=uid, project=self.project)
        if not missing and not was_lost and any(map(_has_ended, there)):
            outcome["state"] = "known"
            return
        folder = run_folder(self.artifact_path, uid)
        folder = mlrun.utils.template_artifact_path(folder, self.project, uid).rstrip("/")
        inputs: dict[str, str] = {}
        for uri in set(_URI.findall(json.dumps([run["spec"], missing], default=str))):
            with suppress(RecordNotFoundError):
                maker = self.kept.producing_run(self.kept.artifact(uri))
                inputs |= self._uids_of(maker) if maker else {}
        # All of them first: a run whose files are gone isn't begun.
        moved = [_moved(item, uid, folder, inputs) for item in missing]
        outcome["bytes"] = sum(_copy(files) for _, files in moved)
        if "://" not in folder and any(files for _, files in moved) and not self.told_of_folder:
            self.told_of_folder = True
            outcome["warnings"].append(
                f"{self.artifact_path} is a folder of this machine: the files are there, and "
                f"{self.address} has their records alone. If others don't have that folder, set "
                "MLRUN_ARTIFACT_PATH to a URL such as s3://bucket/path before the push."
            )
        self._store([record for record, _ in moved], set(map(artifact_key, saved)), uids)
        outcome["artifacts"] = len(moved)
        best = (run["status"].get("results") or {}).get("best_iteration")
        for item in saved:
            outcome["warnings"] += self._tag(item, uid, uids[uid_of(item)])
            if best and item["metadata"].get("iter") == best:
                # As MLRun does at the end of a sweep.
                key, tree = artifact_key(item), item["metadata"]["tree"]
                spec = {"db_key": key, "link_iteration": best, "link_tree": tree}
                where = {"project": self.project, "tree": tree}
                link = {"kind": "link", "metadata": {"key": key, **where}, "spec": spec}
                self.client.store_artifact(key, {**link, "status": {}}, **where)
        # Runs that have used these and were sent before name them as they are called here.
        users = list({uid_of(user) for item in saved for user in self.kept.runs_using(item)})
        for user in self.client.list_runs(uid=users, project=self.project) if users else ():
            updates = {"spec.inputs": renamed(user["spec"].get("inputs"), uids)}
            self.client.update_run(updates, uid_of(user), self.project)
        self._send_record(uid, folder, inputs | uids)
        if was_lost:
            self.kept.db.update_run({"metadata.labels": _labels(run)}, uid, self.project)

    def _store(self, records: Sequence[Record], keys: set[str], uids: dict[str, str]) -> None:
        """Store artifacts' records and note their uids there; each key's newest is its latest."""
        # After an interruption the latest may be what was stored then.
        known = partial(self.records.artifacts, limit=None) if uids else self._tagged
        versions = {key: known(key) for key in keys}
        for record in records:
            key, names = artifact_key(record), record["metadata"]
            where = {"iter": names.get("iter"), "project": self.project, "tree": names["tree"]}
            answer = self.client.store_artifact(key, record, **where)
            # Its target path is another one, and an API of another release counts otherwise, too.
            uids[uid_of(record)] = uid_of(answer)
            versions[key].append({**record, "metadata": {**names, "uid": uid_of(answer)}})
        for key, found in versions.items():
            # MLRun makes the latest what is stored last.
            newest = max(found, key=_created)
            if [uid_of(item) for item in self._tagged(key)] != [uid_of(newest)]:
                self.records.tag(newest, LATEST)

    def _uids_of(self, run: Record) -> dict[str, str]:
        """Give the uids that a run's artifacts have there, by their uids here."""
        there: dict[Any, list[str]] = defaultdict(list)
        for item in reversed(self.records.artifacts_of(run)):
            there[_identity(item)].append(uid_of(item))
        saved = [(uid_of(item), there[_identity(item)]) for item in self.kept.artifacts_of(run)]
        return {uid: same.pop() for uid, same in saved if same}

    def _tagged(self, key: str, tag: str = LATEST) -> list[Record]:
        """Give the version of a key that has a tag; of a run's iterations, the newest."""
        return sorted(self.client.list_artifacts(key, self.project, tag=tag), key=_created)[-1:]

    def _tag(self, item: Record, run: str, uid: str) -> Iterator[str]:
        """Tag an artifact as it is here, but move no tag from another run's; give warnings."""
        key = artifact_key(item)
        for tag in set(item["metadata"]["tags"]) - {LATEST}:
            there = self._tagged(key, tag)
            if not there:
                self.records.tag({**item, "metadata": {**item["metadata"], "uid": uid}}, tag)
            elif uid_of(there[0]) != uid and producer(there[0]) != run:
                yield (
                    f"'{key}' has the tag '{tag}' at {self.address} on the version of run "
                    f"{producer(there[0]) or 'nobody'}, which keeps it."
                )

    def _send_record(self, uid: str, folder: str, uids: dict[str, str]) -> None:
        """Send a run's log and its record, which names what is there."""
        db, project = self.kept.db, self.project
        if log := db.get_log(uid, project)[1]:
            self.client.store_log(uid, project, log)
        runs = db.list_runs(uid=uid, project=project, iter=True)
        # The run after its iterations, and all after their artifacts: none names what isn't there.
        for run in sorted(runs, key=lambda run: -run["metadata"]["iteration"]):
            run["metadata"]["labels"] = _labels(run)
            if own_folder(run["spec"].get("output_path") or "", uid):
                run["spec"]["output_path"] = folder
            parts = {part: renamed(run[part], uids) for part in ("spec", "status")}
            self.client.store_run({**run, **parts}, uid, project, iter=run["metadata"]["iteration"])


def _moved(
    item: Record, run: str, folder: str, uids: dict[str, str]
) -> tuple[Record, dict[str, Path]]:
    """Give an artifact's record as the API gets it, and which files go where before."""
    key, spec, places, files = artifact_key(item), item["spec"], dict(uids), dict[str, Path]()
    for path in [spec.get("target_path"), *(spec.get("extra_data") or {}).values()]:
        local = Path(str(path).removeprefix("file://"))
        if not local.is_absolute():
            continue
        if not local.exists():
            raise FileNotFoundError(
                f"the file of its artifact '{key}' is gone: {local}. Restore it, or delete the run."
            )
        own = own_folder(local.as_posix(), run)
        unique = f"/{key}/{uid_of(item)[:8]}/{local.name}"
        new = folder + (local.as_posix().removeprefix(own) if own else unique)
        places[path] = new + "/" * path.endswith("/")
        for file in filter(Path.is_file, [local, *local.rglob("*")]):
            files[f"{new}/{file.relative_to(local).as_posix()}".removesuffix("/.")] = file
    # As MLRun writes times: its API reads no others.
    metadata = {**item["metadata"], "created": str(_created(item))}
    for name in ("tag", "tags", "updated"):
        metadata.pop(name, None)
    return {**item, "metadata": metadata, "spec": renamed(spec, places)}, files


def _copy(files: Mapping[str, Path]) -> int:
    """Copy files that aren't there yet, and give their size."""
    copied = 0
    for url, file in files.items():
        item, size = mlrun.get_dataitem(url), file.stat().st_size
        with suppress(Exception):  # each kind of store has its own for what isn't there
            if item.stat().size == size:
                continue
        try:
            item.upload(str(file))
        except Exception as exc:
            raise click.ClickException(
                f"{file} can't be copied to {address(url)}: {exc}. "
                "Check the access to it, or set MLRUN_ARTIFACT_PATH."
            ) from exc
        copied += size
    return copied


def _created(record: Mapping[str, Any]) -> datetime:
    return moment(record["metadata"].get("created")) or datetime.min.replace(tzinfo=UTC)


def _identity(record: Mapping[str, Any]) -> tuple[Any, ...]:
    # What a version keeps wherever it is sent. An API of another release gives it another uid.
    metadata = record["metadata"]
    return artifact_key(record), metadata.get("iter") or 0, metadata["tree"], metadata.get("hash")


def _missed_by(run: Mapping[str, Any]) -> str:
    return str((run["metadata"].get("labels") or {}).get(UNSENT) or "").rstrip("/")


def _has_ended(run: Mapping[str, Any]) -> bool:
    return run["status"].get("state") in TERMINAL_STATES


def _labels(run: Mapping[str, Any]) -> Record:
    labels = run["metadata"].get("labels") or {}
    return {name: value for name, value in labels.items() if name != UNSENT}
