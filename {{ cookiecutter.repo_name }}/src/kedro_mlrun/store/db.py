"""The embedded store: MLRun's run database on one SQLite file, for when there is no MLRun API.

`MLRUN_DBPATH=sqlite:///PATH` chooses it. What MLRun's API keeps in its database is kept here with
the same meaning, so that MLRun's own SDK works on it. Jobs that are submitted to it are processes
of this machine. What needs a cluster says that it does.
"""

import base64
import codecs
import functools
import json
import os
import re
import socket
import sqlite3
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from inspect import isfunction, signature
from pathlib import Path
from typing import Any, cast

import mlrun
from mlrun.artifacts.base import fill_artifact_object_hash
from mlrun.common.formatters import ArtifactFormat, FunctionFormat, ProjectFormat, RunFormat
from mlrun.common.helpers import parse_versioned_object_uri
from mlrun.common.runtimes.constants import RunStates
from mlrun.common.schemas import (
    ArtifactCategories,
    ArtifactPartitionByField,
    BackgroundTask,
    BackgroundTaskState,
    DeletionStrategy,
    OrderType,
    RunPartitionByField,
    SortField,
    TagObjects,
)
from mlrun.common.schemas.artifact import ArtifactsDeletionStrategies
from mlrun.common.schemas.common import LabelsModel
from mlrun.db import RunDBInterface
from mlrun.db.httpdb import HTTPRunDB
from mlrun.errors import (
    MLRunBadRequestError,
    MLRunConflictError,
    MLRunInvalidArgumentError,
    MLRunNotFoundError,
    MLRunNotImplementedServerError,
    MLRunPreconditionFailedError,
    MLRunRuntimeError,
)
from mlrun.lists import ArtifactList, RunList
from mlrun.projects import MlrunProject
from mlrun.utils import (
    dict_to_json,
    fill_function_hash,
    normalize_name,
    update_in,
    validate_artifact_key_name,
    validate_tag_name,
)

from .fields import artifact_uid
from .files import delete_data
from .process import is_alive, killed

SCHEME = "sqlite"
LATEST = "latest"
APPLICATION_ID = int.from_bytes(b"mlrn", "big")
"""What tells an embedded store from other SQLite files."""

BUSY_SECONDS = 60
"""How long a process waits for others that write to the same store."""

LOG_INTERVAL = 0.5
"""Seconds between two looks at a log that is watched. MLRun's setting is made for an API."""

# Each entry takes a store from the schema before it to its own. `PRAGMA user_version` counts them.
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE projects (
        name TEXT PRIMARY KEY, created TEXT NOT NULL, body TEXT NOT NULL
    );
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY, project TEXT NOT NULL, uid TEXT NOT NULL,
        iteration INTEGER NOT NULL, name TEXT NOT NULL, state TEXT NOT NULL,
        start_time TEXT NOT NULL, end_time TEXT, updated TEXT NOT NULL, body TEXT NOT NULL,
        UNIQUE (project, uid, iteration)
    );
    CREATE INDEX runs_started ON runs (project, iteration, start_time);
    CREATE INDEX runs_named ON runs (project, name, start_time);
    CREATE INDEX runs_in_state ON runs (project, state, start_time);
    CREATE INDEX runs_updated ON runs (project, updated);
    CREATE TABLE run_labels (
        owner INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
        name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (owner, name)
    );
    CREATE TABLE artifacts (
        id INTEGER PRIMARY KEY, project TEXT NOT NULL, key TEXT NOT NULL, uid TEXT NOT NULL,
        tree TEXT NOT NULL, iteration INTEGER NOT NULL, best_iteration INTEGER NOT NULL,
        kind TEXT NOT NULL, producer_uri TEXT NOT NULL, created TEXT NOT NULL,
        updated TEXT NOT NULL, body TEXT NOT NULL,
        UNIQUE (project, key, uid)
    );
    CREATE INDEX artifacts_in_tree ON artifacts (project, tree, key);
    CREATE INDEX artifacts_of_kind ON artifacts (project, kind, updated);
    CREATE INDEX artifacts_updated ON artifacts (project, updated);
    CREATE TABLE artifact_labels (
        owner INTEGER NOT NULL REFERENCES artifacts (id) ON DELETE CASCADE,
        name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (owner, name)
    );
    CREATE TABLE artifact_tags (
        owner INTEGER NOT NULL REFERENCES artifacts (id) ON DELETE CASCADE,
        tag TEXT NOT NULL, tag_project TEXT NOT NULL, tag_key TEXT NOT NULL,
        PRIMARY KEY (owner, tag)
    );
    CREATE INDEX artifact_tags_named ON artifact_tags (tag_project, tag, tag_key);
    CREATE TABLE functions (
        id INTEGER PRIMARY KEY, project TEXT NOT NULL, name TEXT NOT NULL, hash TEXT NOT NULL,
        kind TEXT NOT NULL, state TEXT NOT NULL, updated TEXT NOT NULL, body TEXT NOT NULL,
        UNIQUE (project, name, hash)
    );
    CREATE TABLE function_labels (
        owner INTEGER NOT NULL REFERENCES functions (id) ON DELETE CASCADE,
        name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (owner, name)
    );
    CREATE TABLE function_tags (
        owner INTEGER NOT NULL REFERENCES functions (id) ON DELETE CASCADE,
        tag TEXT NOT NULL, tag_project TEXT NOT NULL, tag_name TEXT NOT NULL,
        PRIMARY KEY (owner, tag), UNIQUE (tag_project, tag_name, tag)
    );
    CREATE TABLE logs (
        id INTEGER PRIMARY KEY, project TEXT NOT NULL, uid TEXT NOT NULL, body BLOB NOT NULL
    );
    CREATE INDEX logs_of_run ON logs (project, uid);
    """,
    # Which versions of artifacts each run has used. JSON has no NaN, but Python writes it.
    """
    CREATE TABLE run_inputs (
        owner INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
        name TEXT NOT NULL, artifact_uid TEXT NOT NULL, PRIMARY KEY (owner, name)
    );
    CREATE INDEX run_inputs_of_artifact ON run_inputs (artifact_uid);
    INSERT INTO run_inputs (owner, name, artifact_uid)
        SELECT runs.id, inputs.key, substr(inputs.value, instr(inputs.value, '^') + 1)
        FROM runs, json_each(
            replace(replace(body, 'NaN', 'null'), 'Infinity', '0'), '$.spec.inputs') AS inputs
        WHERE inputs.value LIKE 'store://%^%';
    CREATE INDEX artifacts_with_uid ON artifacts (project, uid);
    """,
)

Labels = str | dict[str, str | None] | list[str] | None
Time = datetime | str | None


def is_local_url(url: str) -> bool:
    """Tell whether a run database URL names an embedded store.

    Args:
        url: what `MLRUN_DBPATH` holds.

    Returns:
        True for `sqlite:` URLs.

    Example:
        >>> is_local_url("sqlite:///.mlrun/mlrun.db"), is_local_url("http://mlrun-api:8080")
        (True, False)
    """
    return str(url).startswith(f"{SCHEME}:")


def local_path(url: str) -> Path:
    """Give the file of an embedded store.

    Args:
        url: `sqlite:///` and a path, relative to the working folder unless it starts with another
            slash (or a drive letter), as in SQLAlchemy's URLs.

    Returns:
        The file's absolute path.

    Raises:
        MLRunInvalidArgumentError: the URL names no file.

    Example:
        >>> local_path("sqlite:////data/mlrun.db").as_posix()
        '/data/mlrun.db'
    """
    path = str(url).removeprefix(f"{SCHEME}:///")
    if path == str(url) or not path or path == ":memory:":
        raise MLRunInvalidArgumentError(
            f"'{url}' does not name the file of an embedded store. "
            "Write sqlite:///PATH, with four slashes for an absolute path."
        )
    return Path(path).absolute()


def _needs_api(what: str, url: str) -> MLRunNotImplementedServerError:
    return MLRunNotImplementedServerError(
        f"The embedded store {url} has no {what}: it needs an MLRun API. "
        "Set MLRUN_DBPATH to the address of one."
    )


def _refusing(name: str) -> Callable[..., Any]:
    def refuse(self: "LocalRunDB", *_args: Any, **_kwargs: Any) -> Any:
        raise _needs_api(f"'{name}'", self.url)

    return refuse


# Every public method of MLRun's clients, refusing; LocalRunDB overrides those that it supports.
# Made from the installed MLRun's own list, so that a method of a later release refuses as well.
_ApiOnly = type(
    "_ApiOnly",
    (RunDBInterface,),
    {
        name: _refusing(name)
        for client in (RunDBInterface, HTTPRunDB)
        for name, member in vars(client).items()
        if isfunction(member) and not name.startswith("_")
    },
)


class LocalRunDB(_ApiOnly):  # type: ignore[misc, valid-type]
    """MLRun's run database interface on SQLite.

    Any number of threads and processes may use one store at once. The methods take the arguments of
    MLRun's client (`mlrun.db.httpdb.HTTPRunDB`), which explains them, and mean the same by them.

    Args:
        url: the store's URL, see `local_path`. The file is made when it is missing.

    Raises:
        MLRunInvalidArgumentError: the URL names no file, or the file is not such a store.
        MLRunPreconditionFailedError: a newer release of this code made the store.

    Example:
        >>> import tempfile
        >>> db = LocalRunDB(f"sqlite:///{tempfile.mkdtemp()}/mlrun.db").connect()
        >>> run = {"metadata": {"name": "train"}, "status": {"state": "completed"}}
        >>> db.store_run(run, uid="1f", project="iris")
        >>> [run["metadata"]["name"] for run in db.list_runs(project="iris", states=["completed"])]
        ['train']
    """

    kind = SCHEME

    jobs: Any = None
    """What has jobs run in the background, which knows this store and not the reverse."""

    def __init__(self, url: str, *_args: Any, **_kwargs: Any) -> None:
        self.url = str(url)
        self.path = local_path(url)
        self.token_provider = None
        self._local = threading.local()

    def __repr__(self) -> str:
        return f"LocalRunDB({self.url!r})"

    def connect(self, secrets: dict[str, Any] | None = None) -> "LocalRunDB":
        """Open the store, making or migrating it where needed; see the class for what it raises."""
        # MLRun keeps this object even if that fails, so each first use of it opens and checks.
        _ = self._connection
        return self

    # ---- SQLite

    @property
    def _connection(self) -> sqlite3.Connection:
        # One connection for each thread, and never one that a forked child took over from its
        # parent, or whose file was deleted: what is written to that is lost.
        local = self._local
        if getattr(local, "opened", None) != (os.getpid(), _inode(self.path)):
            # Kept, because SQLite forbids a child even to close its parent's connection.
            local.abandoned = getattr(local, "connection", None)
            local.connection = self._open()
            local.opened = (os.getpid(), _inode(self.path))
        return cast(sqlite3.Connection, local.connection)

    def _open(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)
        except (sqlite3.Error, OSError) as exc:
            raise self._unusable(exc) from exc
        try:
            self._prepare(connection)
        except BaseException as exc:
            connection.close()
            if isinstance(exc, sqlite3.Error):
                raise self._unusable(exc) from exc
            raise
        return connection

    def _unusable(self, reason: Exception) -> MLRunInvalidArgumentError:
        return MLRunInvalidArgumentError(
            f"{self.path} can't be used as an embedded store: {reason}. "
            "Name another file in MLRUN_DBPATH or mlrun.yml."
        )

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Check the file before anything in it is changed, and make or migrate the store."""
        connection.row_factory = sqlite3.Row
        # In this order, for another process may make the store between the two.
        in_use = connection.execute("SELECT 1 FROM sqlite_master").fetchone()
        if in_use and _pragma(connection, "application_id") != APPLICATION_ID:
            raise sqlite3.DatabaseError("it is the database of another application")
        version = _pragma(connection, "user_version")
        if version > len(MIGRATIONS):
            raise MLRunPreconditionFailedError(
                f"The embedded store {self.path} has schema {version}, and this project knows "
                f"none newer than {len(MIGRATIONS)}. Update the project, or use another store."
            )
        _use_wal(connection)
        # With WAL, NORMAL loses nothing when a process dies; a power cut can take the last commits.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        if version < len(MIGRATIONS):
            _migrate(connection)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        except BaseException as exc:
            # SQLite may have rolled back by itself: when the disk is full, for example.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if not isinstance(exc, sqlite3.OperationalError):
                raise
            raise MLRunRuntimeError(
                f"The embedded store {self.path} can't be written to: {exc}. "
                "Check its disk and permissions, and whether another process holds it."
            ) from exc

    def _select(self, what: str, where: "_Where", tail: str = "") -> list[sqlite3.Row]:
        # Table, column and clause texts are constants of this module; values are bound.
        query = f"SELECT {what} WHERE {where} {tail}"
        return self._connection.execute(query, where.values).fetchall()

    # ---- projects

    def create_project(self, project: Any) -> MlrunProject:
        """Create a project.

        Raises:
            MLRunConflictError: there is one of that name.
        """
        body = _as_dict(project)
        name = body["metadata"]["name"]
        with self._transaction() as connection:
            if not self._insert_project(connection, body):
                raise MLRunConflictError(f"Project {name} already exists")
        return self.get_project(name)

    def store_project(self, name: str, project: Any) -> MlrunProject:
        """Create a project or replace it."""
        body = _as_dict(project)
        body.setdefault("metadata", {})["name"] = name
        with self._transaction() as connection:
            if not self._insert_project(connection, body):
                connection.execute(
                    "UPDATE projects SET body = ? WHERE name = ?", (dict_to_json(body), name)
                )
        return self.get_project(name)

    @staticmethod
    def _insert_project(connection: sqlite3.Connection, body: dict[str, Any]) -> bool:
        metadata = body["metadata"]
        metadata["created"] = metadata.get("created") or _now()
        body.setdefault("status", {})["state"] = "online"
        cursor = connection.execute(
            "INSERT OR IGNORE INTO projects (name, created, body) VALUES (?, ?, ?)",
            (metadata["name"], str(metadata["created"]), dict_to_json(body)),
        )
        return cursor.rowcount == 1

    def get_project(self, name: str) -> MlrunProject:
        """Read a project.

        Raises:
            MLRunNotFoundError: there is none.
        """
        rows = self._select("body FROM projects", _Where().add("name = ?", name))
        if not rows:
            raise MLRunNotFoundError(f"Project {name} not found")
        return MlrunProject.from_dict(json.loads(rows[0]["body"]))

    def list_projects(
        self,
        owner: str | None = None,
        format_: str = ProjectFormat.name_only,
        labels: Labels = None,
        state: str | None = None,
    ) -> list[Any]:
        """List the projects by name: their names, or the whole projects with `format_="full"`."""
        rows = self._select("body FROM projects", _Where(), "ORDER BY name")
        projects = [MlrunProject.from_dict(json.loads(row["body"])) for row in rows]
        wanted = [label.partition("=") for label in _label_list(labels)]
        projects = [
            project
            for project in projects
            if (not owner or project.spec.owner == owner)
            and (not state or project.status.state == state)
            and all(
                name in project.metadata.labels
                and (not equals or project.metadata.labels[name] == value)
                for name, equals, value in wanted
            )
        ]
        if format_ == ProjectFormat.name_only:
            return [project.metadata.name for project in projects]
        return projects

    def delete_project(
        self, name: str, deletion_strategy: str = DeletionStrategy.restricted
    ) -> None:
        """Delete a project, where there is one; the artifacts' files stay.

        Raises:
            MLRunPreconditionFailedError: it holds something, and the strategy isn't `cascade`.
        """
        strategy = DeletionStrategy(deletion_strategy)
        tables = ("runs", "artifacts", "functions")
        with self._transaction() as connection:
            for table in () if strategy == DeletionStrategy.cascade else tables:
                where = _Where().add("project = ?", name)
                if self._select(f"id FROM {table}", where, "LIMIT 1"):
                    raise MLRunPreconditionFailedError(
                        f"Project {name} can not be deleted since related resources found: {table}"
                    )
            uids = {row["uid"] for row in self._select("uid FROM runs", _Where().of_project(name))}
            if strategy != DeletionStrategy.check:
                for table in (*tables, "logs"):
                    connection.execute(f"DELETE FROM {table} WHERE project = ?", (name,))  # noqa: S608
                connection.execute("DELETE FROM projects WHERE name = ?", (name,))
        if strategy != DeletionStrategy.check:
            for uid in uids:
                self._log_file(name, uid).unlink(missing_ok=True)

    # ---- runs

    def store_run(self, struct: Any, uid: str, project: str = "", iter: int = 0) -> None:
        """Write a run whole, replacing what was there."""
        project = _project(project)
        body = _as_dict(struct)
        with self._transaction() as connection:
            self._insert_project(connection, {"metadata": {"name": project}, "spec": {}})
            self._write_run(connection, body, uid, project, iter)

    def update_run(
        self,
        updates: dict[str, Any],
        uid: str,
        project: str = "",
        iter: int = 0,
        timeout: int = 45,
    ) -> None:
        """Change some fields of a run, by their dotted names such as `status.state`.

        Raises:
            MLRunNotFoundError: there is no such run.
            MLRunInvalidArgumentError: the updates would rename the run.
        """
        project = _project(project)
        with self._transaction() as connection:
            body = self._read_run(uid, project, iter)
            name = body["metadata"].get("name")
            for field, value in updates.items():
                update_in(body, field, value)
            if body["metadata"].get("name") != name:
                raise MLRunInvalidArgumentError("Changing name for an existing run is invalid")
            self._write_run(connection, body, uid, project, iter)

    @staticmethod
    def _write_run(
        connection: sqlite3.Connection, body: dict[str, Any], uid: str, project: str, iteration: int
    ) -> None:
        metadata = body.setdefault("metadata", {})
        status = body.setdefault("status", {})
        metadata.update(uid=uid, project=project)
        metadata.setdefault("iteration", iteration)
        state = status.setdefault("state", RunStates.created)
        status["start_time"] = status.get("start_time") or _now()
        status["last_update"] = _now()
        if state in RunStates.terminal_states():
            status["end_time"] = status.get("end_time") or status["last_update"]
        end_time = status.get("end_time")
        owner = _upsert(
            connection,
            "runs",
            {"project": project, "uid": uid, "iteration": iteration},
            {
                "name": metadata.get("name") or "",
                "state": state,
                "start_time": _utc(status["start_time"]),
                "end_time": _utc(end_time) if end_time else None,
                "updated": _utc(status["last_update"]),
                "body": dict_to_json(body),
            },
        )
        _write_labels(connection, "run_labels", owner, metadata.get("labels"))
        _write_inputs(connection, owner, (body.get("spec") or {}).get("inputs"))

    def _read_run(self, uid: str, project: str, iteration: int) -> dict[str, Any]:
        where = _Where().add("project = ? AND uid = ? AND iteration = ?", project, uid, iteration)
        rows = self._select("body FROM runs", where)
        if not rows:
            raise MLRunNotFoundError(f"Run uid {uid} of project {project} not found")
        return cast(dict[str, Any], json.loads(rows[0]["body"]))

    def read_run(
        self,
        uid: str,
        project: str = "",
        iter: int = 0,
        format_: str = RunFormat.full,
    ) -> dict[str, Any]:
        """Read a run; with its artifacts as `status.artifacts` in the `full` format.

        Raises:
            MLRunNotFoundError: there is none.
        """
        project = _project(project)
        body = self._read_run(uid, project, iter)
        if format_ == RunFormat.full:
            uris = body["status"].get("artifact_uris") or {}
            body["status"]["artifacts"] = [
                artifact for uri in uris.values() if (artifact := self._artifact_of_uri(uri))
            ]
        return body

    def list_runs(self, *args: Any, **kwargs: Any) -> RunList:
        """List runs, newest start first.

        As in MLRun, without a filter only the latest run of each name within a week comes.
        """
        return RunList(self._list_runs(*args, **kwargs))

    def paginated_list_runs(
        self,
        *args: Any,
        page: int | None = None,
        page_size: int | None = None,
        page_token: str | None = None,
        **kwargs: Any,
    ) -> tuple[RunList, str | None]:
        """List runs page by page: the page, and the next one's token or None."""
        rows, token = self._page(self._list_runs, args, kwargs, page, page_size, page_token)
        return RunList(rows), token

    def _list_runs(
        self,
        name: str | None = None,
        uid: str | list[str] | None = None,
        project: str | None = None,
        labels: Labels = None,
        states: list[str] | None = None,
        sort: bool = True,
        iter: bool = False,
        start_time_from: Time = None,
        start_time_to: Time = None,
        last_update_time_from: Time = None,
        last_update_time_to: Time = None,
        end_time_from: Time = None,
        end_time_to: Time = None,
        partition_by: str | None = None,
        rows_per_partition: int = 1,
        partition_sort_by: str | None = None,
        partition_order: str = OrderType.desc,
        max_partitions: int = 0,
        with_notifications: bool = False,
        limit: str = "",
    ) -> list[dict[str, Any]]:
        if with_notifications:
            raise _needs_api("notifications", self.url)
        times = {
            "start_time": (start_time_from, start_time_to),
            "updated": (last_update_time_from, last_update_time_to),
            "end_time": (end_time_from, end_time_to),
        }
        filters = (name, uid, labels, states, partition_by, partition_sort_by, iter)
        if not any(filters) and not any(any(limits) for limits in times.values()):
            times["start_time"] = (datetime.now(UTC) - timedelta(days=7), None)
            partition_by = RunPartitionByField.project_and_name
            partition_sort_by = SortField.updated

        where = _Where().of_project(project).named("name", name)
        if uid:
            where.one_of("uid", [uid] if isinstance(uid, str) else uid)
        if states:
            where.one_of("state", states)
        if not iter:
            # With the plus, SQLite takes the index that leads to the few runs of those ids.
            where.add("+iteration = 0" if uid else "iteration = 0")
        for column, (since, until) in times.items():
            where.between(column, since, until)
        where.labelled("run_labels", labels)
        if partition_by:
            columns = {
                RunPartitionByField.name: "name",
                RunPartitionByField.project_and_name: "project, name",
            }[RunPartitionByField(partition_by)]
            # A run has no time of creation of its own: MLRun takes its start for it.
            order = {SortField.created: "start_time", SortField.updated: "updated"}
            where.newest_of_each(
                "runs",
                columns,
                order[SortField(partition_sort_by or SortField.updated)],
                partition_order,
                rows_per_partition,
                max_partitions,
            )
        tail = "ORDER BY start_time DESC, id DESC" if sort else "ORDER BY id"
        return [
            json.loads(row["body"]) for row in self._select("body FROM runs", where, tail + limit)
        ]

    def runs_beginning_with(self, uid: str, project: str = "", limit: int = 2) -> RunList:
        """List runs by the beginning of their ids, a question that MLRun's API can't be asked.

        Args:
            uid: the beginning of an id.
            project: the MLRun project; by default the active one.
            limit: how many to give at most.

        Returns:
            The runs in the order of their ids.
        """
        where = _Where().of_project(project).beginning("uid", uid).add("iteration = 0")
        rows = self._select("body FROM runs", where, f"ORDER BY uid LIMIT {limit:d}")
        return RunList(json.loads(row["body"]) for row in rows)

    def runs_using(
        self, artifact_uid: str, project: str = "", limit: int = 20
    ) -> tuple[RunList, int]:
        """List runs that have an artifact in `spec.inputs`, another question that the API lacks.

        Args:
            artifact_uid: the uid of the artifact's version.
            project: the MLRun project of the runs; by default the active one.
            limit: how many to give at most.

        Returns:
            The runs, newest start first, and how many there are in all.
        """
        # With the plus, SQLite takes the index that leads to the few runs.
        where = _Where().add("+project = ? AND +iteration = 0", _project(project))
        where.add("id IN (SELECT owner FROM run_inputs WHERE artifact_uid = ?)", artifact_uid)
        tail = f"ORDER BY start_time DESC, id DESC LIMIT {limit:d}"
        runs = [json.loads(row["body"]) for row in self._select("body FROM runs", where, tail)]
        return RunList(runs), self._select("COUNT(*) AS number FROM runs", where)[0]["number"]

    def del_run(self, uid: str, project: str = "", iter: int = 0) -> None:
        """Delete a run, where there is one, with its iterations and its log; its artifacts stay."""
        self._delete_runs(_Where().of_project(project).add("uid = ?", uid))

    def del_runs(
        self,
        name: str | None = None,
        project: str | None = None,
        labels: Labels = None,
        state: str | None = None,
        days_ago: int = 0,
    ) -> None:
        """Delete runs with their iterations and logs; their artifacts stay."""
        where = _Where().of_project(project).named("name", name).equal({"state": state})
        where.labelled("run_labels", labels)
        if days_ago:
            where.between("start_time", datetime.now(UTC) - timedelta(days=days_ago), None)
        self._delete_runs(where)

    def _delete_runs(self, where: "_Where") -> None:
        with self._transaction() as connection:
            rows = self._select("DISTINCT project, uid, state FROM runs", where)
            for project, uid, state in rows:
                going_on = state not in RunStates.terminal_states()
                if going_on and self.job_is_alive(uid, project):
                    # Nobody could abort its processes then.
                    raise MLRunBadRequestError(
                        f"Can not delete run {uid} in {state} state, consider aborting it first"
                    )
                connection.execute("DELETE FROM logs WHERE project = ? AND uid = ?", (project, uid))
                connection.execute("DELETE FROM runs WHERE project = ? AND uid = ?", (project, uid))
        for project, uid, _ in rows:
            self._log_file(project, uid).unlink(missing_ok=True)

    # ---- jobs

    def submit_job(self, runspec: Any, schedule: Any = None) -> dict[str, Any]:
        """Start a run of a stored function of kind `job` as a process of its own on this machine.

        What a pod would have is the same there: the function's source, unpacked anew, its `workdir`
        and its `env`, and what MLRun tells the job. What it prints is the run's log. At most as
        many jobs of a store run at once as mlrun.yml's `jobs.at_once` says; the others are pending.

        Args:
            runspec: the run, as MLRun's launcher makes it.
            schedule: a schedule needs an MLRun API.

        Returns:
            The run's record, in the state `pending`.

        Raises:
            MLRunNotImplementedServerError: what is asked for needs an MLRun API, or this system
                is Windows.
            MLRunNotFoundError: there is no such function.
            MLRunConflictError: the run has a job already.
            OSError: no process can be started.
        """
        body = _as_dict(runspec)
        metadata, spec = body["metadata"], body["spec"]
        project, uid = _project(metadata.get("project")), metadata.get("uid") or uuid.uuid4().hex
        function = self._function_of_job(body, schedule)
        if self.jobs.is_alive(self.path.parent, project, uid):
            raise MLRunConflictError(f"Run {uid} of project {project} is a job that hasn't ended.")
        output_path = spec.get("output_path") or mlrun.mlconf.artifact_path
        spec["output_path"] = _absolute(output_path)
        settings = _plain_env(function["spec"].get("env")) | {
            "MLRUN_ACTIVE_PROJECT": project,
            "MLRUN_ARTIFACT_PATH": _absolute(mlrun.mlconf.artifact_path),
            "MLRUN_DBPATH": f"{SCHEME}:///{self.path.as_posix()}",
            # Which this process has read, and which would win over these.
            "MLRUN_IGNORE_ENV_FILE": "true",
        }
        supervisor = self.jobs.Supervisor(self.path.parent, project, uid, settings)
        try:
            own = {"kind": "job", "host": socket.gethostname(), "process": supervisor.label}
            metadata.update(uid=uid, project=project, labels=(metadata.get("labels") or {}) | own)
            # The job alone gets its secrets.
            record = body | {"spec": {**spec}, "status": {"state": RunStates.pending}}
            record["spec"].pop("secret_sources", None)
            self.store_run(record, uid, project)
        except BaseException:
            supervisor.give_up()
            raise
        supervisor.begin(
            {
                "store": str(self.path),
                "url": settings["MLRUN_DBPATH"],
                "project": project,
                "uid": uid,
                "at_once": self.jobs.at_once(),
                **_job(body, function),
            }
        )
        return self.read_run(uid, project)

    def _function_of_job(self, body: dict[str, Any], schedule: Any) -> dict[str, Any]:
        """Give the function of a run that is to be a job, if such a job can run here."""
        spec = body["spec"]
        asked = {
            "schedules": schedule,
            "retries of runs": (spec.get("retry") or {}).get("count"),
            "notifications": spec.get("notifications"),
        }
        for what, value in asked.items():
            if value:
                raise _needs_api(what, self.url)
        if os.name != "posix":
            raise MLRunNotImplementedServerError(
                "Jobs in the background need Linux or macOS, as long as there is no MLRun API. "
                "Run it in this process, with local=True, or set MLRUN_DBPATH to an API's address."
            )
        project, name, tag, hash_key = parse_versioned_object_uri(spec.get("function") or "")
        function = self.get_function(name, project, tag, hash_key)
        if function["kind"] != "job":
            raise _needs_api(f"functions of kind '{function['kind']}'", self.url)
        return function

    def job_is_alive(self, uid: str, project: str = "") -> bool:
        """Tell whether a submitted job has processes, or waits for its turn; no API is asked this.

        Args:
            uid: the run's id.
            project: the MLRun project; by default the active one.

        Returns:
            False also for a run that was not submitted.
        """
        return self.jobs.is_alive(self.path.parent, _project(project), uid)

    def abort_run(
        self,
        uid: str,
        project: str = "",
        iter: int = 0,
        timeout: int = 45,
        status_text: str = "",
    ) -> BackgroundTask:
        """End the processes of a run that goes on on this machine, and set it to aborted.

        They are told to end by SIGTERM, and killed if they are still there ten seconds later.

        Args:
            uid: the run's id.
            project: the MLRun project; by default the active one.
            iter: an iteration of it; the whole run is aborted.
            timeout: of no use without an API.
            status_text: why it is aborted.

        Returns:
            The done task, as the API gives it.

        Raises:
            MLRunNotFoundError: there is no such run.
            MLRunConflictError: the run has ended.
            MLRunPreconditionFailedError: it goes on on another machine, or in this process.
            MLRunBadRequestError: it isn't known which process has it.
        """
        project = _project(project)
        run = self._read_run(uid, project, iter)
        _check_abortable(run, RunStates.terminal_states())
        folder = self.path.parent
        processes = self.jobs.processes_of(folder, project, uid)
        for label in (self._process_of(run), *processes.values()):
            if is_alive(label) and os.getpid() in self.jobs.descendants(_pid(label)):
                raise MLRunPreconditionFailedError(
                    f"Run {uid} goes on in this process. Abort it from another one."
                )
        # All of them before the record, which then nobody else writes to.
        self.jobs.stop(folder, project, uid)
        process = self._process_of(self._read_run(uid, project, iter))
        if is_alive(process):
            self.jobs.end_tree(_pid(process))
        # It may have been faster; any other end came from being stopped.
        _check_abortable(self._read_run(uid, project, iter), [RunStates.completed])
        reason = status_text or "It was aborted."
        self.end_run(uid, project, RunStates.aborted, reason, replace=True)
        now = datetime.now(UTC)
        return BackgroundTask(
            metadata={"name": f"abort-{uid}", "project": project, "created": now, "updated": now},
            spec={},
            status={"state": BackgroundTaskState.succeeded},
        )

    def _process_of(self, run: dict[str, Any]) -> str:
        """Give the label of the process of this machine that has a run open."""
        metadata, here = run["metadata"], socket.gethostname()
        labels = metadata.get("labels") or {}
        if labels.get("host", here) != here:
            raise MLRunPreconditionFailedError(
                f"Run {metadata['uid']} goes on on {labels['host']}, and this machine is {here}. "
                "Abort it there."
            )
        process = str(labels.get("process") or "")
        if not re.fullmatch(r"[1-9]\d*-\d+", process):
            raise MLRunBadRequestError(
                f"Run {metadata['uid']} can not be aborted, for it has no label that tells its "
                "process. End that yourself."
            )
        return process

    def _abort_if_lost(self, uid: str, project: str) -> None:
        run = self._read_run(uid, project, 0)
        labels = run["metadata"].get("labels") or {}
        going_on = run["status"].get("state") in {RunStates.pending, RunStates.running}
        if going_on and labels.get("host") == socket.gethostname():
            process = str(labels.get("process") or "")
            # Asked last: a job that ends is no longer alive when it is no longer looked after.
            if not is_alive(process) and not self.job_is_alive(uid, project):
                self.end_run(uid, project, RunStates.aborted, killed(process))

    def end_run(
        self, uid: str, project: str, state: str, reason: str, *, replace: bool = False
    ) -> None:
        """End a run with its iterations, when its own process can't do it.

        Args:
            uid: the run's id.
            project: the MLRun project.
            state: the state that they get: `error` or `aborted`.
            reason: why; of several paragraphs, the first one says it.
            replace: whether a state that the run has ended with is replaced.
        """
        with self._transaction() as connection:
            where = _Where().add("project = ? AND uid = ?", project, uid)
            for row in self._select("iteration, state, body FROM runs", where):
                whole = row["iteration"] == 0
                if row["state"] in RunStates.terminal_states() and not (whole and replace):
                    continue
                body = json.loads(row["body"])
                text = reason.partition("\n\n")[0]
                body["status"].update(state=state, error=reason, status_text=text)
                self._write_run(connection, body, uid, project, row["iteration"])

    # ---- logs

    def store_log(
        self, uid: str, project: str = "", body: bytes | str | None = None, append: bool = False
    ) -> None:
        """Write a run's log, or add to it."""
        if not body:
            return
        project = _project(project)
        data = body.encode() if isinstance(body, str) else body
        with self._transaction() as connection:
            if not append:
                connection.execute("DELETE FROM logs WHERE project = ? AND uid = ?", (project, uid))
                with suppress(FileNotFoundError):
                    os.truncate(self._log_file(project, uid), 0)
            connection.execute(
                "INSERT INTO logs (project, uid, body) VALUES (?, ?, ?)", (project, uid, data)
            )

    def get_log(
        self,
        uid: str,
        project: str = "",
        offset: int = 0,
        size: int | None = None,
        attempt: int | None = None,
    ) -> tuple[str, bytes]:
        """Read the state of a run and its log from a byte on; without a size, to its end.

        Raises:
            MLRunNotFoundError: there is none.
        """
        if offset < 0:
            raise MLRunInvalidArgumentError("Offset cannot be negative")
        project = _project(project)
        state = self._read_run(uid, project, 0)["status"]["state"]
        where = _Where().add("project = ? AND uid = ?", project, uid)
        log = b"".join(row["body"] for row in self._select("body FROM logs", where, "ORDER BY id"))
        end = None if size is None or size < 0 else offset + size
        text = log[offset:end]
        # What a submitted job prints is in a file, and follows.
        with suppress(FileNotFoundError), self._log_file(project, uid).open("rb") as file:
            file.seek(max(0, offset - len(log)))
            text += file.read(-1 if end is None else max(0, end - offset - len(text)))
        return state, text

    def get_log_size(self, uid: str, project: str = "") -> int:
        """Give the size of a run's log in bytes."""
        project = _project(project)
        where = _Where().add("project = ? AND uid = ?", project, uid)
        rows = self._select("COALESCE(SUM(LENGTH(body)), 0) AS size FROM logs", where)
        size = cast(int, rows[0]["size"])
        with suppress(FileNotFoundError):
            size += self._log_file(project, uid).stat().st_size
        return size

    def _log_file(self, project: str, uid: str) -> Path:
        return self.jobs.log_file(self.path.parent, project, uid)

    def watch_log(
        self,
        uid: str,
        project: str = "",
        watch: bool = True,
        offset: int = 0,
        attempt: int | None = None,
    ) -> tuple[str, int]:
        """Print a run's log until the run ends, and give its state and the bytes read."""
        # A character may come in two parts.
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        while True:
            # Before the log is read: a job says something after it has recorded its end.
            has_ended = not self.job_is_alive(uid, project)
            if has_ended:
                self._abort_if_lost(uid, _project(project))
            state, text = self.get_log(uid, project, offset)
            sys.stdout.write(decoder.decode(text))
            sys.stdout.flush()
            offset += len(text)
            if not watch or (has_ended and state in RunStates.terminal_states()):
                sys.stdout.write(decoder.decode(b"", final=True))
                return state, offset
            time.sleep(LOG_INTERVAL)

    # ---- artifacts

    def store_artifact(
        self,
        key: str,
        artifact: Any,
        iter: int | None = None,
        tag: str | None = None,
        project: str = "",
        tree: str | None = None,
    ) -> dict[str, Any]:
        """Write an artifact's record, and make it the latest of its key; give it as written.

        Raises:
            MLRunInvalidArgumentError: the key or the tag is malformed.
        """
        project = _project(project)
        body = _as_dict(artifact)
        metadata = body.setdefault("metadata", {})
        if body.get("kind") == ArtifactCategories.link:
            return self._mark_best_iteration(key, body, project)
        tag = tag or LATEST
        validate_tag_name(tag, "artifact.metadata.tag")
        validate_artifact_key_name(key, "artifact.key")
        metadata["key"] = metadata.get("key") or key
        metadata["project"] = metadata.get("project") or project
        uid = fill_artifact_object_hash(body, iter, tree)
        body["kind"] = body.get("kind") or "artifact"
        spec = body.setdefault("spec", {})
        spec["db_key"] = spec.get("db_key") or key
        metadata["created"] = str(metadata.get("created") or _now())
        metadata["updated"] = _now()
        # Tags have a table of their own: they move between versions.
        metadata.pop("tag", None)
        with self._transaction() as connection:
            self._insert_project(connection, {"metadata": {"name": project}, "spec": {}})
            identity = {"project": project, "key": key, "uid": uid}
            # As in MLRun's API, a new version becomes the latest; to store it again only tags it.
            known = self._select("1 FROM artifacts", _Where().equal(identity))
            owner = _upsert(
                connection,
                "artifacts",
                identity,
                {
                    "tree": tree or metadata.get("tree") or "",
                    "iteration": iter or 0,
                    "best_iteration": not iter,
                    "kind": body["kind"],
                    "producer_uri": (spec.get("producer") or {}).get("uri") or "",
                    "created": _utc(metadata["created"]),
                    "updated": _utc(metadata["updated"]),
                    "body": dict_to_json(body),
                },
            )
            _write_labels(connection, "artifact_labels", owner, metadata.get("labels"))
            for name in {tag} if known else {tag, LATEST}:
                self._tag(connection, owner, name)
        metadata["tag"] = tag
        return body

    @staticmethod
    def _tag(connection: sqlite3.Connection, owner: int, tag: str) -> None:
        # A tag names one version of a key; only the iterations of one tree share it.
        connection.execute(
            "DELETE FROM artifact_tags WHERE tag = :tag AND (tag_project, tag_key) ="
            " (SELECT project, key FROM artifacts WHERE id = :owner) AND owner NOT IN"
            " (SELECT other.id FROM artifacts other, artifacts this WHERE this.id = :owner"
            "  AND other.project = this.project AND other.key = this.key"
            "  AND other.tree = this.tree AND other.iteration != this.iteration)",
            {"tag": tag, "owner": owner},
        )
        connection.execute(
            "INSERT INTO artifact_tags (owner, tag, tag_project, tag_key)"
            " SELECT id, ?, project, key FROM artifacts WHERE id = ?",
            (tag, owner),
        )

    def _mark_best_iteration(self, key: str, link: dict[str, Any], project: str) -> dict[str, Any]:
        spec = link["spec"]
        key = spec.get("link_key") or key
        tree = spec.get("link_tree") or link["metadata"].get("tree") or ""
        where = _Where().add("project = ? AND key = ? AND tree = ?", project, key, tree)
        with self._transaction() as connection:
            rows = self._select("id, iteration FROM artifacts", where)
            if spec.get("link_iteration") not in {row["iteration"] for row in rows}:
                raise MLRunNotFoundError(
                    f"Iteration {spec.get('link_iteration')} of artifact {project}/{key} not found"
                )
            for row in rows:
                connection.execute(
                    "UPDATE artifacts SET best_iteration = ? WHERE id = ?",
                    (row["iteration"] == spec["link_iteration"], row["id"]),
                )
        return link

    def read_artifact(
        self,
        key: str,
        tag: str | None = None,
        iter: int | None = None,
        project: str = "",
        tree: str | None = None,
        uid: str | None = None,
        format_: str = ArtifactFormat.full,
    ) -> dict[str, Any]:
        """Read an artifact's record: the latest where neither tag, tree nor uid tells which.

        Iteration 0 is the run's own, or the best one where only iterations have the key.

        Raises:
            MLRunNotFoundError: there is none.
        """
        project = _project(project)
        where = _Where()
        if not uid and not tree:
            tag = tag or LATEST
        if tag and not (uid and tag == LATEST):
            where.tagged(tag, project, key)
        else:
            where.add("project = ? AND key = ?", project, key)
        where.equal({"uid": uid, "tree": tree, "iteration": iter or None})
        if iter == 0:
            where.add("iteration = 0 OR best_iteration")
        # The run's own artifact before the best of its iterations, and of several the newest.
        tail = "ORDER BY iteration = 0 DESC, best_iteration DESC, updated DESC, id DESC LIMIT 1"
        rows = self._select("* FROM artifacts", where, tail)
        if not rows:
            uri = mlrun.utils.generate_artifact_uri(project, key, tag, iter, tree, uid)
            raise MLRunNotFoundError(f"Artifact {uri} not found")
        tags = self._select(
            "tag FROM artifact_tags",
            _Where().add("owner = ?", rows[0]["id"]),
            "ORDER BY tag = 'latest'",
        )
        names = [row["tag"] for row in tags]
        body = _with_tag(rows[0]["body"], tag if tag in names else (names or [None])[0])
        return cast(dict[str, Any], ArtifactFormat.format_obj(body, format_))

    def _artifact_of_uri(self, uri: str) -> dict[str, Any] | None:
        _, uri = mlrun.datastore.parse_store_uri(uri)
        project, key, iteration, tag, tree, uid = mlrun.utils.parse_artifact_uri(uri)
        # The tag may have moved on since the run ended; tree and uid name the version for good.
        tag = None if uid or tree else tag
        try:
            return self.read_artifact(key, tag, iteration, project, tree, uid)
        except MLRunNotFoundError:
            return None

    def list_artifacts(self, *args: Any, **kwargs: Any) -> ArtifactList:
        """List artifacts' records, last updated first; one of several tags comes once for each."""
        return ArtifactList(self._list_artifacts(*args, **kwargs))

    def paginated_list_artifacts(
        self,
        *args: Any,
        page: int | None = None,
        page_size: int | None = None,
        page_token: str | None = None,
        **kwargs: Any,
    ) -> tuple[ArtifactList, str | None]:
        """List artifacts page by page: the page, and the next one's token or None."""
        rows, token = self._page(self._list_artifacts, args, kwargs, page, page_size, page_token)
        return ArtifactList(rows), token

    def _list_artifacts(
        self,
        name: str | None = None,
        project: str | None = None,
        tag: str | None = None,
        labels: Labels = None,
        since: Time = None,
        until: Time = None,
        iter: int | None = None,
        best_iteration: bool = False,
        kind: str | None = None,
        category: str | None = None,
        tree: str | None = None,
        producer_uri: str | None = None,
        parent: str | None = None,
        format_: str | None = ArtifactFormat.full,
        partition_by: str | None = None,
        rows_per_partition: int = 1,
        partition_sort_by: str | None = SortField.updated,
        partition_order: str = OrderType.desc,
        limit: str = "",
    ) -> list[dict[str, Any]]:
        if parent:
            raise _needs_api("filter by parent", self.url)
        if best_iteration and iter is not None:
            raise MLRunInvalidArgumentError("Best iteration cannot be used when iter is specified")
        if kind and category:
            raise MLRunInvalidArgumentError("Category and Kind filters can't be given together")
        where = _Where().of_project(project).named("key", name)
        where.labelled("artifact_labels", labels).between("updated", since, until)
        where.equal({"iteration": iter, "kind": kind, "tree": tree}).of_category(category)
        if best_iteration:
            where.add("best_iteration")
        if producer_uri:
            where.add("instr(producer_uri, ?)", producer_uri)
        exact = name and not name.startswith("~")
        if tag and tag != "*":
            where.add("tag = ?", tag)
            if project != "*":
                where.add("tag_project = ?", _project(project))
            if exact:
                where.add("tag_key = ?", name)
        if partition_by:
            columns = {
                ArtifactPartitionByField.name: "key",
                ArtifactPartitionByField.project_and_name: "project, key",
            }[ArtifactPartitionByField(partition_by)]
            order = SortField(partition_sort_by or SortField.updated).value
            source = "artifacts LEFT JOIN artifact_tags ON owner = id"
            where.newest_of_each(source, columns, order, partition_order, rows_per_partition)
        # With the plus, SQLite does not walk along the times where another index leads to the few.
        plus = "+" if exact or tag or tree else ""
        rows = self._select(
            "body, tag FROM artifacts LEFT JOIN artifact_tags ON owner = id",
            where,
            f"ORDER BY {plus}updated DESC, id DESC, tag{limit}",
        )
        bodies = [_with_tag(row["body"], row["tag"]) for row in rows]
        return [ArtifactFormat.format_obj(body, format_) for body in bodies]

    def artifacts_beginning_with(self, uid: str, project: str = "", limit: int = 2) -> ArtifactList:
        """List artifacts' records by the beginning of their uids, which the API can't be asked.

        Args:
            uid: the beginning of a uid.
            project: the MLRun project; by default the active one.
            limit: how many to give at most.

        Returns:
            The records in the order of their uids.
        """
        where = _Where().of_project(project).beginning("uid", uid)
        rows = self._select("body FROM artifacts", where, f"ORDER BY uid LIMIT {limit:d}")
        return ArtifactList(_with_tag(row["body"], None) for row in rows)

    def del_artifact(
        self,
        key: str,
        tag: str | None = None,
        project: str = "",
        tree: str | None = None,
        uid: str | None = None,
        deletion_strategy: str = ArtifactsDeletionStrategies.metadata_only,
        secrets: dict[str, Any] | None = None,
        iter: int | None = None,
    ) -> None:
        """Delete the records of a key, all of its versions if nothing tells which.

        The files stay, unless the strategy deletes them as well: `data-optional` those that it can,
        `data-force` all of them or nothing.

        Raises:
            MLRunInvalidArgumentError: with `data-force`, a file is not the run's own, see
                `deletion.delete_data`.
        """
        strategy = ArtifactsDeletionStrategies(deletion_strategy)
        where = _Where().of_project(project).add("key = ?", key)
        where.equal({"tree": tree, "uid": uid, "iteration": iter})
        if tag and tag != "*":
            where.tagged(tag, project, key)
        with self._transaction() as connection:
            rows = self._select("body FROM artifacts", where)
            connection.execute(f"DELETE FROM artifacts WHERE {where}", where.values)  # noqa: S608
            for row in rows if strategy != ArtifactsDeletionStrategies.metadata_only else ():
                try:
                    delete_data(json.loads(row["body"]))
                except Exception:
                    # Before the records are gone for good.
                    if strategy == ArtifactsDeletionStrategies.data_force:
                        raise

    def del_artifacts(
        self,
        name: str | None = None,
        project: str | None = None,
        tag: str | None = None,
        labels: Labels = None,
        days_ago: int = 0,
        tree: str | None = None,
    ) -> None:
        """Delete artifacts' records; the files stay."""
        where = _Where().of_project(project).named("key", name)
        where.labelled("artifact_labels", labels).equal({"tree": tree})
        if tag and tag != "*":
            where.tagged(tag, project)
        if days_ago:
            where.between("updated", datetime.now(UTC) - timedelta(days=days_ago), None)
        with self._transaction() as connection:
            connection.execute(f"DELETE FROM artifacts WHERE {where}", where.values)  # noqa: S608

    # ---- tags

    def list_artifact_tags(
        self, project: str | None = None, category: str | None = None
    ) -> list[str]:
        """List the tags that artifacts of a project have, each once."""
        where = _Where().of_project(project).of_category(category)
        rows = self._select(
            "DISTINCT tag FROM artifact_tags JOIN artifacts ON id = owner", where, "ORDER BY tag"
        )
        return [row["tag"] for row in rows]

    def tag_objects(
        self,
        project: str,
        tag_name: str,
        objects: TagObjects | dict[str, Any],
        replace: bool = False,
    ) -> None:
        """Tag artifacts; other versions of their keys lose the tag.

        With `replace`, the artifacts lose their other tags but `latest`.

        Raises:
            MLRunInvalidArgumentError: the tag is malformed.
        """
        validate_tag_name(tag_name, "tag")
        with self._transaction() as connection:
            for owner in self._identified(project, objects):
                if replace:
                    connection.execute(
                        "DELETE FROM artifact_tags WHERE owner = ? AND tag != ?", (owner, LATEST)
                    )
                self._tag(connection, owner, tag_name)

    def delete_objects_tag(
        self, project: str, tag_name: str, tag_objects: TagObjects | dict[str, Any]
    ) -> None:
        """Take a tag away from artifacts."""
        with self._transaction() as connection:
            for owner in self._identified(project, tag_objects):
                connection.execute(
                    "DELETE FROM artifact_tags WHERE owner = ? AND tag = ?", (owner, tag_name)
                )

    def tag_artifacts(
        self, artifacts: Any, project: str, tag_name: str, replace: bool = False
    ) -> None:
        """Tag artifacts, given as objects or dicts; see `tag_objects`."""
        objects = self._resolve_artifacts_to_tag_objects(artifacts)
        self.tag_objects(project, tag_name, objects, replace)

    def delete_artifacts_tags(self, artifacts: Any, project: str, tag_name: str) -> None:
        """Take a tag away from artifacts, given as objects or dicts."""
        objects = self._resolve_artifacts_to_tag_objects(artifacts)
        self.delete_objects_tag(project, tag_name, objects)

    def _identified(self, project: str, objects: TagObjects | dict[str, Any]) -> list[int]:
        objects = objects if isinstance(objects, TagObjects) else TagObjects(**objects)
        owners = []
        for identifier in objects.identifiers:
            columns = {
                "key": identifier.key,
                "uid": identifier.uid,
                "tree": identifier.producer_id,
                "kind": identifier.kind,
                "iteration": identifier.iter,
            }
            where = _Where().of_project(project).equal(columns)
            owners += [row["id"] for row in self._select("id FROM artifacts", where)]
        return owners

    # ---- functions

    def store_function(
        self,
        function: Any,
        name: str,
        project: str = "",
        tag: str | None = None,
        versioned: bool = False,
    ) -> str:
        """Write a function and give its hash; `versioned` keeps earlier ones."""
        name, project, tag = normalize_name(name), _project(project), tag or LATEST
        body = _as_dict(function)
        hash_key = cast(str, fill_function_hash(body, tag))
        body["metadata"]["updated"] = _now()
        stored_hash = hash_key if versioned else f"unversioned-{tag}"
        with self._transaction() as connection:
            self._insert_project(connection, {"metadata": {"name": project}, "spec": {}})
            owner = _upsert(
                connection,
                "functions",
                {"project": project, "name": name, "hash": stored_hash},
                {
                    "kind": body.get("kind") or "",
                    "state": (body.get("status") or {}).get("state") or "",
                    "updated": body["metadata"]["updated"],
                    "body": dict_to_json(body),
                },
            )
            _write_labels(connection, "function_labels", owner, body["metadata"].get("labels"))
            connection.execute(
                "INSERT INTO function_tags (owner, tag, tag_project, tag_name) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (tag_project, tag_name, tag) DO UPDATE SET owner = excluded.owner",
                (owner, tag, project, name),
            )
        return hash_key

    def get_function(
        self, name: str, project: str = "", tag: str | None = None, hash_key: str = ""
    ) -> dict[str, Any]:
        """Read a function: the latest where neither tag nor hash tells which.

        Raises:
            MLRunNotFoundError: there is none.
        """
        name = normalize_name(name)
        tag = None if hash_key and not tag else tag or LATEST
        rows = self._list_functions(name=name, project=project, tag=tag)
        for body in rows:
            if not hash_key or body["metadata"].get("hash") == hash_key:
                return body
        raise MLRunNotFoundError(
            f"Function not found {_project(project)}/{name}{f':{tag}' if tag else ''}"
            f"{f'@{hash_key}' if hash_key else ''}"
        )

    def delete_function(self, name: str, project: str = "") -> None:
        """Delete a function, where there is one, with all of its versions."""
        with self._transaction() as connection:
            connection.execute(
                "DELETE FROM functions WHERE project = ? AND name = ?",
                (_project(project), normalize_name(name)),
            )

    def list_functions(self, *args: Any, **kwargs: Any) -> list[dict[str, Any]]:
        """List functions, last updated first; one of several tags comes once for each."""
        return self._list_functions(*args, **kwargs)

    def paginated_list_functions(
        self,
        *args: Any,
        page: int | None = None,
        page_size: int | None = None,
        page_token: str | None = None,
        **kwargs: Any,
    ) -> tuple[list[dict[str, Any]], str | None]:
        """List functions page by page: the page, and the next one's token or None."""
        return self._page(self._list_functions, args, kwargs, page, page_size, page_token)

    def _list_functions(
        self,
        name: str | None = None,
        project: str | None = None,
        tag: str | None = None,
        labels: Labels = None,
        since: Time = None,
        until: Time = None,
        kind: str | None = None,
        format_: str | None = FunctionFormat.full,
        states: list[str] | None = None,
        limit: str = "",
    ) -> list[dict[str, Any]]:
        where = _Where().of_project(project).named("name", name)
        where.labelled("function_labels", labels).between("updated", since, until)
        if tag:
            where.add("tag IS NOT NULL" if tag == "*" else "tag = ?", *({tag} - {"*"}))
        where.equal({"kind": kind})
        if states:
            where.one_of("state", states)
        rows = self._select(
            "body, tag FROM functions LEFT JOIN function_tags ON owner = id",
            where,
            "ORDER BY updated DESC, id DESC, tag" + limit,
        )
        bodies = [_with_tag(row["body"], row["tag"]) for row in rows]
        return [FunctionFormat.format_obj(body, format_) for body in bodies]

    # ---- pages

    @staticmethod
    def _page(
        list_all: Callable[..., list[dict[str, Any]]],
        args: Iterable[Any],
        kwargs: dict[str, Any],
        page: int | None,
        page_size: int | None,
        page_token: str | None,
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Give one page and the next one's token, which is the query, for no server keeps it."""
        if page_token:
            try:
                query, following, page_size = json.loads(base64.urlsafe_b64decode(page_token))
            except ValueError as exc:
                raise MLRunNotFoundError(f"Page token {page_token} not found") from exc
        else:
            query = dict(signature(list_all).bind(*args, **kwargs).arguments)
            following = 1
            page_size = page_size or mlrun.mlconf.httpdb.pagination.default_page_size
        page = following if page is None else page
        if page < 1 or cast(int, page_size) < 1:
            raise MLRunInvalidArgumentError(f"There is no page {page} of {page_size} items")
        offset = (page - 1) * cast(int, page_size)
        # One more than a page holds tells whether there is a next one.
        rows = list_all(**query, limit=f" LIMIT {cast(int, page_size) + 1} OFFSET {offset:d}")
        if len(rows) <= cast(int, page_size):
            return rows, None
        token = json.dumps([query, page + 1, page_size], default=str)
        return rows[:page_size], base64.urlsafe_b64encode(token.encode()).decode()


class _Where:
    """The conditions of one query with their bound values."""

    def __init__(self) -> None:
        self.clauses: list[str] = []
        self.values: list[Any] = []

    def __str__(self) -> str:
        return " AND ".join(f"({clause})" for clause in self.clauses) or "1"

    def add(self, clause: str, *values: Any) -> "_Where":
        self.clauses.append(clause)
        self.values += values
        return self

    def equal(self, values: dict[str, Any]) -> "_Where":
        """Compare columns with values; None and "" are no condition."""
        for column, value in values.items():
            if value not in {None, ""}:
                self.add(f"{column} = ?", value)
        return self

    def of_project(self, project: str | None) -> "_Where":
        return self if project == "*" else self.add("project = ?", _project(project))

    def one_of(self, column: str, values: Iterable[Any], exclude: bool = False) -> "_Where":
        values = [str(value) for value in values]
        marks = ", ".join("?" * len(values))
        return self.add(f"{column} {'NOT ' if exclude else ''}IN ({marks})", *values)

    def of_category(self, category: str | None) -> "_Where":
        if not category:
            return self
        kinds, exclude = ArtifactCategories(category).to_kinds_filter()
        return self.one_of("kind", kinds, exclude=exclude)

    def named(self, column: str, name: str | None) -> "_Where":
        return self.add(*_match(column, name)) if name else self

    def beginning(self, column: str, text: str) -> "_Where":
        return self.add(f"{column} >= ? AND {column} < ?", text, text + chr(sys.maxunicode))

    def between(self, column: str, since: Time, until: Time) -> "_Where":
        if since:
            self.add(f"{column} >= ?", _utc(since))
        if until:
            self.add(f"{column} <= ?", _utc(until))
        return self

    def tagged(self, tag: str, project: str | None, key: str | None = None) -> "_Where":
        tags = _Where().add("tag = ?", tag)
        if project != "*":
            tags.add("tag_project = ?", _project(project))
        if key is not None:
            tags.add("tag_key = ?", key)
        return self.add(f"id IN (SELECT owner FROM artifact_tags WHERE {tags})", *tags.values)  # noqa: S608

    def labelled(self, table: str, labels: Labels) -> "_Where":
        owners = table.removesuffix("_labels") + "s"
        for label in _label_list(labels):
            name, equals, value = label.partition("=")
            clause, *values = _match(f"{table}.name", name.strip())
            if equals:
                value_clause, *more = _match(f"{table}.value", value.strip())
                clause, values = f"{clause} AND {value_clause}", values + more
            self.add(
                f"EXISTS (SELECT 1 FROM {table} WHERE owner = {owners}.id AND {clause})",  # noqa: S608
                *values,
            )
        return self

    def newest_of_each(
        self,
        source: str,
        columns: str,
        order: str,
        direction: str,
        rows: int,
        max_groups: int = 0,
    ) -> "_Where":
        """Keep the first rows of each group of those that match so far, and the newest groups."""
        direction = OrderType(direction).value.upper()
        ranked = (
            f"SELECT id, {columns}, ROW_NUMBER() OVER (PARTITION BY {columns}"  # noqa: S608
            f" ORDER BY {order} {direction}, id {direction}) AS position,"
            f" MAX({order}) OVER (PARTITION BY {columns}) AS newest FROM {source} WHERE {self}"
        )
        grouped = (
            "SELECT id, position, DENSE_RANK() OVER"  # noqa: S608
            f" (ORDER BY newest DESC, {columns}) AS group_position FROM ({ranked})"
        )
        kept = f"position <= {int(rows)}"
        if max_groups:
            kept += f" AND group_position <= {int(max_groups)}"
        clause = f"id IN (SELECT id FROM ({grouped}) WHERE {kept})"  # noqa: S608
        return self.add(clause, *self.values)


def _match(column: str, text: str) -> tuple[str, str]:
    # MLRun's filters: `~text` is a part of the value, whatever its case.
    if not text.startswith("~"):
        return f"{column} = ?", text
    escaped = text[1:].replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"{column} LIKE ? ESCAPE '\\'", f"%{escaped}%"


def _label_list(labels: Labels) -> list[str]:
    return list(LabelsModel(labels=labels).labels or [])


def _write_labels(
    connection: sqlite3.Connection, table: str, owner: int, labels: dict[str, Any] | None
) -> None:
    connection.execute(f"DELETE FROM {table} WHERE owner = ?", (owner,))  # noqa: S608
    connection.executemany(
        f"INSERT INTO {table} (owner, name, value) VALUES (?, ?, ?)",  # noqa: S608
        [(owner, name, str(value)) for name, value in (labels or {}).items()],
    )


def _write_inputs(
    connection: sqlite3.Connection, owner: int, inputs: dict[str, Any] | None
) -> None:
    connection.execute("DELETE FROM run_inputs WHERE owner = ?", (owner,))
    uids = {name: artifact_uid(uri) for name, uri in (inputs or {}).items()}
    connection.executemany(
        "INSERT INTO run_inputs (owner, name, artifact_uid) VALUES (?, ?, ?)",
        [(owner, name, uid) for name, uid in uids.items() if uid],
    )


def _upsert(
    connection: sqlite3.Connection, table: str, identity: dict[str, Any], values: dict[str, Any]
) -> int:
    """Insert a row or change the one of that identity, and give its id."""
    columns = {**identity, **values}
    changes = ", ".join(f"{column} = excluded.{column}" for column in values)
    connection.execute(
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608
        f" ON CONFLICT ({', '.join(identity)}) DO UPDATE SET {changes}",
        list(columns.values()),
    )
    where = " AND ".join(f"{column} = ?" for column in identity)
    row = connection.execute(f"SELECT id FROM {table} WHERE {where}", list(identity.values()))  # noqa: S608
    return cast(int, row.fetchone()["id"])


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return cast(int, connection.execute(f"PRAGMA {name}").fetchone()[0])


def _use_wal(connection: sqlite3.Connection) -> None:
    # SQLite's own busy timeout does not cover this change, which processes that open a new store
    # at once all want to make.
    give_up = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
            time.sleep(0.01)


def _migrate(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    # Read again: another process may have migrated while this one waited.
    for version in range(_pragma(connection, "user_version"), len(MIGRATIONS)):
        for statement in MIGRATIONS[version].split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {version + 1}")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("COMMIT")


def _job(body: dict[str, Any], function: dict[str, Any]) -> dict[str, Any]:
    """Tell what MLRun's API would have a pod run."""
    spec, build = function["spec"], function["spec"].get("build") or {}
    handler = body["spec"].get("handler") or spec.get("default_handler") or ""
    arguments = ["--name", body["metadata"]["name"], "--from-env"]
    arguments += ["--out-path", body["spec"]["output_path"]]
    options = {
        "--handler": handler,
        "--mode": spec.get("mode"),
        "--origin-file": build.get("origin_filename"),
    }
    for option, value in options.items():
        arguments += [option, value] if value else []
    if spec.get("command"):
        arguments.append(spec["command"])
    env = {"MLRUN_EXEC_CONFIG": dict_to_json(body)}
    if build.get("functionSourceCode"):
        env["MLRUN_EXEC_CODE"] = build["functionSourceCode"]
    return {
        "source": _absolute(build["source"]) if build.get("source") else "",
        "workdir": spec.get("workdir") or "",
        "handler": handler,
        "arguments": [*arguments, *(spec.get("args") or [])],
        "env": env,
    }


def _plain_env(env: list[dict[str, Any]] | None) -> dict[str, str]:
    """Give the environment variables of a function; not those that a cluster has the values of."""
    return {item["name"]: str(item["value"]) for item in env or [] if item.get("value") is not None}


def _absolute(path: str) -> str:
    path = path.removeprefix("file://")
    return path if "://" in path else Path(path).absolute().as_posix()


def _check_abortable(run: dict[str, Any], ends: Iterable[str]) -> None:
    state = run["status"].get("state")
    if state in ends:
        raise MLRunConflictError(
            f"Run {run['metadata']['uid']} is already in terminal state ({state}), "
            "can not be aborted"
        )


def _pid(label: str) -> int:
    return int(label.partition("-")[0])


def _with_tag(text: str, tag: str | None) -> dict[str, Any]:
    body = cast(dict[str, Any], json.loads(text))
    body["metadata"]["tag"] = tag
    return body


def _as_dict(value: Any) -> dict[str, Any]:
    to_dict = getattr(value, "to_dict", None) or getattr(value, "dict", None)
    struct = to_dict() if to_dict else value
    # A copy, and of JSON's types alone: what comes back later is what is worked with now.
    return cast(dict[str, Any], json.loads(dict_to_json(struct)))


def _project(project: str | None) -> str:
    return project or mlrun.mlconf.active_project or "default"


@functools.lru_cache(maxsize=256)
def _parse_time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _utc(moment: datetime | str) -> str:
    """Write a time so that texts sort as times do. MLRun takes one without a zone for UTC."""
    moment = _parse_time(moment) if isinstance(moment, str) else moment
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _now() -> str:
    return _utc(datetime.now(UTC))
