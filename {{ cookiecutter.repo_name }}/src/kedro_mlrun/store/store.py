"""The embedded store, as JSON's types: what is asked and changed there without MLRun."""

import codecs
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from ..lazy import mlrun
from .deletion import delete_source, other_stores
from .fields import artifact_hash, as_json
from .process import lost
from .queue import JobQueue
from .rows import LATEST, TERMINAL_STATES, Record, Where, now, utc
from .sqlite import SCHEME

LOG_INTERVAL = 0.5  # seconds between two looks at a log; MLRun's setting is made for an API


class Store(JobQueue):
    """Runs and artifacts of an embedded store.

    The methods are called as those of MLRun's client, and mean the same by their arguments.
    """

    kind = SCHEME
    artifact_hash = staticmethod(artifact_hash)  # of the kinds that are recorded without MLRun

    list_runs, read_run = JobQueue.find_runs, JobQueue.find_run
    list_artifacts = JobQueue.find_artifacts

    def store_run(self, struct: Record, uid: str, project: str, iter: int = 0) -> None:
        """Write a run whole, replacing what was there."""
        with self.transaction():
            self.write_run(struct, uid, project, iter)

    def update_run(self, updates: Record, uid: str, project: str, iter: int = 0) -> None:
        """Change some fields of a run, by names such as `status.state`."""
        with self.transaction():
            body = self.find_run(uid, project, iter)
            for field, value in updates.items():
                part, _, name = field.partition(".")
                body[part][name] = value
            self.write_run(as_json(body), uid, project, iter)

    def del_run(self, uid: str, project: str, iter: int = 0) -> None:
        """Delete a run with all of its iterations, as MLRun's API does for any `iter`; and its log.

        Its artifacts stay.
        """
        if self.job_is_alive(uid, project):
            # Nobody could abort its processes then.
            raise mlrun.errors.MLRunBadRequestError(
                f"Run {uid} is a job that goes on. Wait for its end, or abort it."
            )
        self.make_room()
        found = self.find_runs(project=project, uid=uid)
        with self.transaction():
            for table in ("logs", "runs"):
                self.delete(table, Where("project = ? AND uid = ?", project, uid))
        # A copy of the store in this folder has the same files.
        if not other_stores(self.path.parent.glob("*"), self.path):
            self.log_file(uid, project).unlink(missing_ok=True)
            for run in found:
                delete_source(run, self)
        self.give_back()

    def get_log(self, uid: str, project: str, offset: int = 0, size: int = -1) -> tuple[str, bytes]:
        """Read the state of a run and its log from a byte on; without a size, to its end."""
        state = self.find_run(uid, project)["status"]["state"]
        where = Where("project = ? AND uid = ?", project, uid)
        log = b"".join(body for (body,) in self.select("body FROM logs", where, "ORDER BY id"))
        text = log[offset : None if size < 0 else offset + size]
        # What a background job prints is in a file, and follows.
        with suppress(FileNotFoundError), self.log_file(uid, project).open("rb") as file:
            file.seek(max(0, offset - len(log)))
            text += file.read(-1 if size < 0 else size - len(text))
        return state, text

    def store_log(self, uid: str, project: str, body: Any = b"", append: bool = False) -> None:
        """Write a run's log, or add to it."""
        row = (project, uid, body.encode() if isinstance(body, str) else body)
        with self.transaction() as connection:
            if not append:
                self.delete("logs", Where("project = ? AND uid = ?", project, uid))
                with suppress(FileNotFoundError):
                    os.truncate(self.log_file(uid, project), 0)
            connection.execute("INSERT INTO logs (project, uid, body) VALUES (?, ?, ?)", row)

    def watch_log(
        self, uid: str, project: str, watch: bool = True, offset: int = 0
    ) -> tuple[str, int]:
        """Print a run's log until the run ends, and give its state and the bytes read."""
        # A character may come in two parts.
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        while True:
            # Before the log is read: a job says something after it has recorded its end.
            has_ended = not self.job_is_alive(uid, project)
            if has_ended and (reason := lost(self.find_run(uid, project))):
                self.end_run(uid, project, "aborted", reason)
            state, text = self.get_log(uid, project, offset)
            sys.stdout.write(decoder.decode(text))
            sys.stdout.flush()
            offset += len(text)
            if not watch or (has_ended and state in TERMINAL_STATES):
                sys.stdout.write(decoder.decode(b"", final=True))
                return state, offset
            time.sleep(LOG_INTERVAL)

    def store_artifact(
        self,
        key: str,
        artifact: Any,
        project: str,
        iter: int = 0,
        tag: str = "",
        tree: str = "",
        latest: bool = True,
    ) -> Record:
        """Write an artifact's record, and make it the `latest` of its key; give it as written."""
        body, tag = as_json(artifact), tag or LATEST
        metadata, spec = body["metadata"], body["spec"]
        metadata["key"] = metadata.get("key") or key
        metadata["project"] = metadata.get("project") or project
        uid = metadata["uid"] = self._artifact_uid(key, body, project, iter, tree or None)
        body["kind"] = body.get("kind") or "artifact"
        spec["db_key"] = spec.get("db_key") or key
        metadata["created"] = str(metadata.get("created") or now())
        metadata["updated"] = now()
        # Tags have a table of their own: they move between versions.
        metadata.pop("tag", None)
        with self.transaction():
            # As in MLRun's API, a new version becomes the latest; to store it again only tags it.
            where = Where("project = ? AND key = ? AND uid = ?", project, key, uid)
            known = self.select("1 FROM artifacts", where)
            owner = self.write(
                "artifacts",
                {"project": project, "key": key, "uid": uid},
                body,
                tree=tree or metadata.get("tree") or "",
                iteration=iter,
                best_iteration=not iter,
                kind=body["kind"],
                producer_uri=(spec.get("producer") or {}).get("uri") or "",
                created=utc(metadata["created"]),
                updated=utc(metadata["updated"]),
            )
            names = {tag} if known else {tag, LATEST}
            for name in names if latest else names - {LATEST}:
                self.tag(owner, name)
        metadata["tag"] = tag
        return body

    def _artifact_uid(
        self, key: str, body: Record, project: str, iteration: int, tree: str | None
    ) -> str:
        """Give a version's uid, MLRun's hash of all that makes it what it is."""
        given = body["metadata"].get("uid")
        uid = self.artifact_hash(body, iteration, tree)
        # Its path counts, too, and is another one where the store was moved since.
        for known in self.find_artifacts(project=project, name=key, uid=given)[:1] if given else ():
            if self.artifact_hash(known, iteration, tree) == uid:
                return str(given)
        return uid

    def del_artifact(
        self, key: str, project: str, tag: str = "", tree: str = "", uid: str = "", iter: Any = None
    ) -> None:
        """Delete the records of a key, all of its versions if nothing tells which; files stay."""
        where = Where("project = ? AND key = ?", project, key)
        where.equal(tree=tree, uid=uid, iteration=iter, tag=tag)
        found = f"SELECT id FROM artifacts LEFT JOIN artifact_tags ON owner = id WHERE {where}"  # noqa: S608
        self.make_room()
        with self.transaction():
            self.delete("artifacts", Where(f"id IN ({found})", *where.values))

    def tag_artifacts(
        self, artifacts: Iterable[Mapping[str, Any]], project: str, tag_name: str
    ) -> None:
        """Tag artifacts instead of other versions."""
        with self.transaction():
            for record in artifacts:
                self._tag_version(record, project, tag_name)

    def _tag_version(self, record: Mapping[str, Any], project: str, tag: str) -> None:
        key, uid = record["spec"]["db_key"], record["metadata"]["uid"]
        where = Where("project = ? AND key = ? AND uid = ?", project, key, uid)
        for (owner,) in self.select("id FROM artifacts", where):
            self.tag(owner, tag)

    def move_tag(self, record: Mapping[str, Any], project: str, tag: str, instead_of: str) -> bool:
        """Tag a version if the tag is still that of another uid, or of none for ""; tell which."""
        key = record["spec"]["db_key"]
        of_tag = Where("tag = ? AND tag_project = ? AND tag_key = ?", tag, project, key)
        with self.transaction():
            found = self.select("uid FROM artifacts JOIN artifact_tags ON owner = id", of_tag)
            is_still = instead_of in ({uid for (uid,) in found} or {""})
            if is_still:
                self._tag_version(record, project, tag)
        return is_still

    def tag(self, owner: int, tag: str) -> None:
        """Give a tag to a row of artifacts."""
        (this,) = self.select("* FROM artifacts", Where("id = ?", owner))
        project, key = this["project"], this["key"]
        tags = Where("tag = ? AND tag_project = ? AND tag_key = ?", tag, project, key)
        # A tag names one version of a key; only the iterations of one tree share it.
        same = Where("project = ? AND tree = ? AND key = ?", project, this["tree"], key)
        same.add("iteration != ?", this["iteration"])
        tags.add(f"owner NOT IN (SELECT id FROM artifacts WHERE {same})", *same.values)  # noqa: S608
        self.delete("artifact_tags", tags)
        row = (owner, tag, project, key)
        self.connection.execute("INSERT INTO artifact_tags VALUES (?, ?, ?, ?)", row)

    def store_function(
        self, function: Record, name: str, project: str, tag: str = LATEST, versioned: bool = False
    ) -> str:
        """Write a function and give its hash; `versioned` keeps earlier ones."""
        metadata, status = (function.setdefault(part, {}) for part in ("metadata", "status"))
        metadata |= {"tag": tag, "hash": _hash(function), "updated": now()}
        hash_key = str(metadata["hash"])
        identity = {"project": project, "name": name}
        identity["hash"] = hash_key if versioned else f"unversioned-{tag}"
        with self.transaction() as connection:
            owner = self.write(
                "functions",
                identity,
                function,
                kind=function.get("kind") or "",
                state=(status or {}).get("state") or "",
                updated=metadata["updated"],
            )
            row = (owner, tag, project, name)
            connection.execute("INSERT OR REPLACE INTO function_tags VALUES (?, ?, ?, ?)", row)
        return hash_key


def _hash(function: Record) -> str:
    """Give a function's hash as MLRun does it (mlrun.utils.fill_function_hash)."""
    metadata = {**function["metadata"], "tag": "", "hash": "", "updated": None}
    metadata.pop("created", None)
    hashed = {**function, "metadata": metadata, "status": None}
    return hashlib.sha1(json.dumps(hashed, sort_keys=True).encode()).hexdigest()  # noqa: S324
