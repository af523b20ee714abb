"""The embedded store: MLRun's run database on one SQLite file, which MLRun's own SDK works on."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from mlrun import errors, utils
from mlrun.artifacts.base import fill_artifact_object_hash
from mlrun.common import schemas
from mlrun.common.formatters import RunFormat
from mlrun.db.httpdb import HTTPRunDB
from mlrun.lists import ArtifactList, RunList
from mlrun.projects import MlrunProject

from .interface import ApiOnly, as_dict, as_mlrun, pages
from .places import read
from .rows import LATEST, TERMINAL_STATES, Record, Where
from .store import Store


class LocalRunDB(Store, ApiOnly):  # type: ignore[misc]
    """MLRun's run database interface on SQLite.

    Any number of threads and processes may use one store at once. The methods take the arguments of
    MLRun's client (`mlrun.db.httpdb.HTTPRunDB`), which explains them, and mean the same by them.
    `jobs`, a module, starts and ends background jobs; the store has only their queue.
    """

    def __init__(self, url: str, *_args: Any, jobs: Any = None, **_kwargs: Any) -> None:
        super().__init__(url)
        self.token_provider = None
        self.jobs = jobs

    def connect(self, secrets: Record | None = None) -> "LocalRunDB":
        """Open the store, making or migrating it where needed."""
        # MLRun keeps this object even if that fails, so each first use of it opens and checks.
        _ = self.connection
        return self

    def create_project(self, project: Any) -> MlrunProject:
        """Create a project that isn't there."""
        body = as_dict(project)
        name = body["metadata"]["name"]
        with self.transaction():
            if not self.insert_project(body):
                raise errors.MLRunConflictError(f"Project {name} already exists")
        return self.get_project(name)

    def store_project(self, name: str, project: Any) -> MlrunProject:
        """Create a project or replace it."""
        body = as_dict(project)
        body.setdefault("metadata", {})["name"] = name
        with self.transaction():
            self.delete("projects", Where("name = ?", name))
            self.insert_project(body)
        return self.get_project(name)

    def get_project(self, name: str) -> MlrunProject:
        """Read a project."""
        for (body,) in self.select("body FROM projects", Where("name = ?", name)):
            with suppress(ValueError):
                return MlrunProject.from_dict(read(body, "projects"))
            # It is damaged, and had little but its name.
            return MlrunProject.from_dict({"metadata": {"name": name}})
        raise errors.MLRunNotFoundError(f"Project {name} not found")

    @as_mlrun
    def list_projects(self) -> list[str]:
        """List the projects' names."""
        return [row["name"] for row in self.select("name FROM projects", Where(), "ORDER BY name")]

    @as_mlrun
    def store_run(self, struct: Any, uid: str, project: str, iter: int = 0) -> None:
        """Write a run whole, replacing what was there."""
        super().store_run(as_dict(struct), uid, project, iter)

    @as_mlrun
    def update_run(self, updates: Record, uid: str, project: str, iter: int = 0) -> None:
        """Change some fields of a run by dotted names such as `status.state`."""
        with self.transaction():
            body = self.find_run(uid, project, iter)
            for field, value in updates.items():
                utils.update_in(body, field, value)
            self.write_run(as_dict(body), uid, project, iter)

    @as_mlrun
    def read_run(
        self, uid: str, project: str, iter: int = 0, format_: str = RunFormat.full
    ) -> Record:
        """Read a run; with its artifacts as `status.artifacts` in the `full` format."""
        run = self.find_run(uid, project, iter)
        if format_ == RunFormat.full:
            run["status"]["artifacts"] = self.artifacts_of(run)
        return run

    def _list_runs(self, **query: Any) -> RunList:
        """List runs, newest start first; without a filter the last of each name within a week."""
        if not any(query[name] for name in query.keys() - {"project", "sort", "limit", "offset"}):
            week = datetime.now(UTC) - timedelta(days=7)
            query |= {"start_time_from": week, "newest": True}
        return RunList(self.find_runs(**query))

    list_runs = as_mlrun(_list_runs)
    paginated_list_runs = pages(_list_runs)
    del_run = as_mlrun(Store.del_run)
    get_log = as_mlrun(Store.get_log)
    store_log = as_mlrun(Store.store_log)

    def submit_job(self, runspec: Any, schedule: Any = None) -> Record:
        """Start a run of a stored function as a background process of this machine."""
        return self.jobs.submit(self, as_dict(runspec), schedule)

    @as_mlrun
    def abort_run(
        self, uid: str, project: str, iter: int = 0, status_text: str = "It was aborted."
    ) -> schemas.BackgroundTask:
        """End the processes of a run that goes on on this machine, and set it to aborted."""
        run = self.find_run(uid, project, iter)
        if not (ended := run["status"].get("state") in TERMINAL_STATES):
            # All of them before the record, which then nobody else writes to.
            self.jobs.end_processes(self, run)
            # It may have been faster; any other end came from being stopped.
            ended = self.find_run(uid, project, iter)["status"]["state"] == "completed"
        if ended:
            raise errors.MLRunConflictError(f"Run {uid} has ended, so it can't be aborted.")
        self.end_run(uid, project, "aborted", status_text, replace=True)
        status = {"state": schemas.BackgroundTaskState.succeeded}
        metadata = {"name": f"abort-{uid}", "project": project}
        return schemas.BackgroundTask(metadata=metadata, spec={}, status=status)

    watch_log = as_mlrun(Store.watch_log)
    artifact_hash = staticmethod(fill_artifact_object_hash)  # of a version of any kind

    @as_mlrun
    def store_artifact(
        self, key: str, artifact: Any, project: str, iter: int = 0, tag: str = "", tree: str = ""
    ) -> Record:
        """Write an artifact's record, and make it the latest of its key; give it as written."""
        body = as_dict(artifact)
        metadata, spec = body.setdefault("metadata", {}), body.setdefault("spec", {})
        if body.get("kind") == schemas.ArtifactCategories.link:
            self._mark_best_iteration(key, metadata, spec, project)
            return body
        utils.validate_tag_name(tag or LATEST, "artifact.metadata.tag")
        utils.validate_artifact_key_name(key, "artifact.key")
        return super().store_artifact(key, body, project, iter, tag, tree)

    def _mark_best_iteration(self, key: str, metadata: Record, spec: Record, project: str) -> None:
        key, best = spec.get("link_key") or key, spec.get("link_iteration")
        tree = spec.get("link_tree") or metadata.get("tree") or ""
        where = Where("project = ? AND key = ? AND tree = ?", project, key, tree)
        with self.transaction() as connection:
            rows = self.select("id, iteration FROM artifacts", where)
            if best not in {row["iteration"] for row in rows}:
                raise errors.MLRunNotFoundError(f"Iteration {best} of {project}/{key} not found")
            connection.executemany(
                "UPDATE artifacts SET best_iteration = ? WHERE id = ?",
                [(row["iteration"] == best, row["id"]) for row in rows],
            )

    def _list_artifacts(self, **query: Any) -> ArtifactList:
        """List artifacts' records, last updated first; one of several tags comes once for each."""
        return ArtifactList(self.find_artifacts(**query))

    list_artifacts = as_mlrun(_list_artifacts)
    paginated_list_artifacts = pages(_list_artifacts)
    read_artifact = as_mlrun(Store.read_artifact)
    del_artifact = as_mlrun(Store.del_artifact)

    @as_mlrun
    def tag_objects(self, project: str, tag_name: str, objects: Any) -> None:
        """Tag artifacts instead of other versions."""
        utils.validate_tag_name(tag_name, "tag")
        with self.transaction():
            for which in schemas.TagObjects.parse_obj(objects).identifiers:
                where = Where().equal(project=project, key=which.key, uid=which.uid)
                where.equal(tree=which.producer_id, kind=which.kind, iteration=which.iter)
                for (owner,) in self.select("id FROM artifacts", where):
                    self.tag(owner, tag_name)

    tag_artifacts = HTTPRunDB.tag_artifacts  # which calls the one above

    @as_mlrun
    def store_function(
        self, function: Any, name: str, project: str, tag: str = LATEST, versioned: bool = False
    ) -> str:
        """Write a function and give its hash; `versioned` keeps earlier ones."""
        name, tag = utils.normalize_name(name), tag or LATEST
        return super().store_function(as_dict(function), name, project, tag, versioned)

    @as_mlrun
    def get_function(
        self, name: str, project: str, tag: str | None = None, hash_key: str = ""
    ) -> Record:
        """Read a function: the latest where neither tag nor hash tells which."""
        name, tag = utils.normalize_name(name), tag or (None if hash_key else LATEST)
        where = Where("project = ? AND name = ?", project, name).equal(tag=tag)
        for body in self.records("functions", where, "updated DESC, id DESC"):
            if not hash_key or body["metadata"].get("hash") == hash_key:
                return body
        uri = utils.generate_object_uri(project, name, tag, hash_key)
        raise errors.MLRunNotFoundError(f"Function {uri} not found")
