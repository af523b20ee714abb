"""The file of an embedded store: its schema, connections and transactions."""

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import cast

from ..lazy import mlrun

SCHEME = "sqlite"
APPLICATION_ID = int.from_bytes(b"mlrn", "big")  # tells a store from other SQLite files
BUSY_SECONDS = 60  # how long a process waits for others that write to the same store

# What belongs to one row of another table, and goes with it.
_OWNED = "owner INTEGER NOT NULL REFERENCES {0}s (id) ON DELETE CASCADE"
_LABELS = f"""
    CREATE TABLE {{0}}_labels (
        {_OWNED}, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (owner, name))"""

# Each entry takes a store from the schema before it to its own. `PRAGMA user_version` counts them.
MIGRATIONS: tuple[str, ...] = (
    f"""
    CREATE TABLE projects (name TEXT PRIMARY KEY, created TEXT NOT NULL, body TEXT NOT NULL);
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY, project TEXT NOT NULL, uid TEXT NOT NULL,
        iteration INTEGER NOT NULL, name TEXT NOT NULL, state TEXT NOT NULL,
        start_time TEXT NOT NULL, end_time TEXT, updated TEXT NOT NULL, body TEXT NOT NULL,
        UNIQUE (project, uid, iteration));
    CREATE INDEX runs_started ON runs (project, iteration, start_time);
    CREATE INDEX runs_named ON runs (project, name, start_time);
    CREATE INDEX runs_in_state ON runs (project, state, start_time);
    CREATE INDEX runs_updated ON runs (project, updated);
    CREATE TABLE artifacts (
        id INTEGER PRIMARY KEY, project TEXT NOT NULL, key TEXT NOT NULL, uid TEXT NOT NULL,
        tree TEXT NOT NULL, iteration INTEGER NOT NULL, best_iteration INTEGER NOT NULL,
        kind TEXT NOT NULL, producer_uri TEXT NOT NULL, created TEXT NOT NULL,
        updated TEXT NOT NULL, body TEXT NOT NULL, UNIQUE (project, key, uid));
    CREATE INDEX artifacts_in_tree ON artifacts (project, tree, key);
    CREATE INDEX artifacts_of_kind ON artifacts (project, kind, updated);
    CREATE INDEX artifacts_updated ON artifacts (project, updated);
    CREATE TABLE artifact_tags (
        {_OWNED.format("artifact")}, tag TEXT NOT NULL, tag_project TEXT NOT NULL,
        tag_key TEXT NOT NULL, PRIMARY KEY (owner, tag));
    CREATE INDEX artifact_tags_named ON artifact_tags (tag_project, tag, tag_key);
    CREATE TABLE functions (
        id INTEGER PRIMARY KEY, project TEXT NOT NULL, name TEXT NOT NULL, hash TEXT NOT NULL,
        kind TEXT NOT NULL, state TEXT NOT NULL, updated TEXT NOT NULL, body TEXT NOT NULL,
        UNIQUE (project, name, hash));
    CREATE TABLE function_tags (
        {_OWNED.format("function")}, tag TEXT NOT NULL, tag_project TEXT NOT NULL,
        tag_name TEXT NOT NULL, PRIMARY KEY (owner, tag), UNIQUE (tag_project, tag_name, tag));
    CREATE TABLE logs (
        id INTEGER PRIMARY KEY, project TEXT NOT NULL, uid TEXT NOT NULL, body BLOB NOT NULL);
    CREATE INDEX logs_of_run ON logs (project, uid)"""
    + "".join(f";{_LABELS.format(owner)}" for owner in ("run", "artifact", "function")),
    # Which versions of artifacts each run has used. JSON has no NaN, but Python writes it.
    f"""
    CREATE TABLE run_inputs (
        {_OWNED.format("run")}, name TEXT NOT NULL, artifact_uid TEXT NOT NULL,
        PRIMARY KEY (owner, name));
    CREATE INDEX run_inputs_of_artifact ON run_inputs (artifact_uid);
    INSERT INTO run_inputs (owner, name, artifact_uid)
        SELECT runs.id, inputs.key, substr(inputs.value, instr(inputs.value, '^') + 1)
        FROM runs, json_each(
            replace(replace(body, 'NaN', 'null'), 'Infinity', '0'), '$.spec.inputs') AS inputs
        WHERE inputs.value LIKE 'store://%^%';
    CREATE INDEX artifacts_with_uid ON artifacts (project, uid);
    """,  # noqa: S608
    # The background jobs that have not ended, in the order in which they were submitted. `inode`
    # is the store's own, so that a copy of the store doesn't take the processes for its own.
    """
    CREATE TABLE jobs (
        id INTEGER PRIMARY KEY AUTOINCREMENT, project TEXT NOT NULL, uid TEXT NOT NULL,
        inode INTEGER NOT NULL, supervisor TEXT NOT NULL, process TEXT, UNIQUE (project, uid));
    """,
)


class Database:
    """An SQLite file, made when it is missing, that many threads and processes may use at once."""

    def __init__(self, url: str) -> None:
        path = str(url).removeprefix(f"{SCHEME}:///")
        if path == str(url) or not path or path == ":memory:":
            raise mlrun.errors.MLRunInvalidArgumentError(
                f"'{url}' does not name the file of an embedded store. "
                "Write sqlite:///PATH, with four slashes for an absolute path."
            )
        self.url = str(url)
        self.path = Path(path).absolute()
        self._local = threading.local()

    def needs_api(self, what: str) -> Exception:
        """Give the error for what the embedded store can't do."""
        return mlrun.errors.MLRunNotImplementedServerError(
            f"The embedded store {self.url} has no {what}: it needs an MLRun API. "
            "Set MLRUN_DBPATH to the address of one."
        )

    def inode(self) -> int | None:
        """Tell the file from its copies and from others of its name; None if there is none."""
        with suppress(OSError):
            return self.path.stat().st_ino
        return None

    @property
    def connection(self) -> sqlite3.Connection:
        """The thread's own connection."""
        # Never one that a forked child took over from its parent, or whose file was deleted: what
        # is written to that is lost.
        local = self._local
        if getattr(local, "opened", None) != (os.getpid(), self.inode()):
            # Kept, because SQLite forbids a child even to close its parent's connection.
            local.abandoned = getattr(local, "connection", None)
            local.connection = self._open()
            local.opened = (os.getpid(), self.inode())
        return cast(sqlite3.Connection, local.connection)

    def _open(self) -> sqlite3.Connection:
        connection = None
        try:
            if not self.path.parent.exists():
                self.path.parent.mkdir(parents=True, exist_ok=True)
                # Records are not committed, whatever the project's own .gitignore says.
                (self.path.parent / ".gitignore").write_text("*\n")
            connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)
            self._prepare(connection)
        except (sqlite3.Error, OSError) as exc:
            if connection:
                connection.close()
            raise mlrun.errors.MLRunInvalidArgumentError(
                f"{self.path} can't be used as an embedded store: {exc}. "
                "Name another file in MLRUN_DBPATH or mlrun.yml."
            ) from exc
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Check the file before anything in it is changed, and make or migrate the store."""
        connection.row_factory = sqlite3.Row
        # In this order, for another process may make the store between the two.
        in_use = connection.execute("SELECT 1 FROM sqlite_master").fetchone()
        ((application,),) = connection.execute("PRAGMA application_id")
        if in_use and application != APPLICATION_ID:
            raise sqlite3.DatabaseError("it is the database of another application")
        ((version,),) = connection.execute("PRAGMA user_version")
        if version > len(MIGRATIONS):
            reason = f"it has schema {version}, and this project knows none newer than"
            raise sqlite3.DatabaseError(f"{reason} {len(MIGRATIONS)} before it is updated")
        _use_wal(connection)
        # With WAL, NORMAL loses nothing when a process dies; a power cut can take the last commits.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        if version == len(MIGRATIONS):
            return
        connection.execute("BEGIN IMMEDIATE")
        # Read again: another process may have migrated while this one waited.
        ((version,),) = connection.execute("PRAGMA user_version")
        for statement in ";".join(MIGRATIONS[version:]).split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("COMMIT")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write in a `with` block all or nothing, while no other process writes."""
        connection = self.connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        except sqlite3.OperationalError as exc:
            raise mlrun.errors.MLRunRuntimeError(
                f"The embedded store {self.path} can't be written to: {exc}. "
                "Check its disk and permissions, and whether another process holds it."
            ) from exc
        finally:
            # SQLite may have rolled back by itself: when the disk is full, for example.
            if connection.in_transaction:
                connection.execute("ROLLBACK")


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
