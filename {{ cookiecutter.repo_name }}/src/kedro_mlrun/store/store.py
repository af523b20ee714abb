"""The embedded store, as JSON's types: what is asked and changed there without MLRun."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from ..lazy import mlrun
from .deletion import delete_source, other_stores
from .rows import JobQueue, Record, Where
from .sqlite import SCHEME


class Store(JobQueue):
    """Runs and artifacts of an embedded store.

    The methods are called as those of MLRun's client, and mean the same by their arguments.
    """

    kind = SCHEME

    def list_runs(self, **query: Any) -> list[Record]:
        """List runs, newest start first."""
        return self.find_runs(**query)

    def read_run(self, uid: str, project: str, iter: int = 0) -> Record:
        """Read a run."""
        return self.find_run(uid, project, iter)

    def store_run(self, struct: Record, uid: str, project: str, iter: int = 0) -> None:
        """Write a run whole, replacing what was there."""
        with self.transaction():
            self.write_run(struct, uid, project, iter)

    def del_run(self, uid: str, project: str, iter: int = 0) -> None:
        """Delete a run, where there is one, with its iterations and its log; its artifacts stay."""
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
                key, uid = record["spec"]["db_key"], record["metadata"]["uid"]
                where = Where("project = ? AND key = ? AND uid = ?", project, key, uid)
                for (owner,) in self.select("id FROM artifacts", where):
                    self.tag(owner, tag_name)

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
