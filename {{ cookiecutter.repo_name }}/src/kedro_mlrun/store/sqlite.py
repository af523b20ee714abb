"""The file of an embedded store: its schema, connections and transactions."""

import os
import shutil
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import cast

from ..lazy import mlrun
from .places import Places, read
from .values import write_values

SCHEME = "sqlite"
APPLICATION_ID = int.from_bytes(b"mlrn", "big")  # tells a store from other SQLite files
RESERVE = 2**20  # bytes of a file beside the store that make room to delete on a full disk
BUSY_SECONDS = 60  # how long a process waits for others that write to the same store
UNWRITABLE = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}

# Held while SQLite is at work, so that nobody forks then: a child would wait for ever for what one
# of its parent's other threads held in there.
AT_WORK = threading.RLock()

# What belongs to one row of another table, and goes with it.
_OWNED = "owner INTEGER NOT NULL REFERENCES {0}s (id) ON DELETE CASCADE"
_LABELS = f"""
    CREATE TABLE IF NOT EXISTS {{0}}_labels (
        {_OWNED}, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (owner, name))"""

VERSION = 6  # of the schema, as `PRAGMA user_version` has it
SCHEMA = f"""
    CREATE TABLE IF NOT EXISTS projects (
        name TEXT PRIMARY KEY, created TEXT NOT NULL, body TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS runs (
        id INTEGER PRIMARY KEY, project TEXT NOT NULL, uid TEXT NOT NULL,
        iteration INTEGER NOT NULL, name TEXT NOT NULL, state TEXT NOT NULL,
        start_time TEXT NOT NULL, end_time TEXT, updated TEXT NOT NULL, body TEXT NOT NULL,
        UNIQUE (project, uid, iteration));
    CREATE INDEX IF NOT EXISTS runs_started ON runs (project, iteration, start_time);
    CREATE INDEX IF NOT EXISTS runs_named ON runs (project, name, start_time);
    CREATE INDEX IF NOT EXISTS runs_in_state ON runs (project, state, start_time);
    CREATE INDEX IF NOT EXISTS runs_updated ON runs (project, updated);
    {_LABELS.format("run")};
    -- What has come to the records of runs that go on, until they are written whole again.
    CREATE TABLE IF NOT EXISTS run_changes (
        id INTEGER PRIMARY KEY, {_OWNED.format("run")}, updated TEXT NOT NULL, body TEXT NOT NULL);
    CREATE INDEX IF NOT EXISTS run_changes_of_run ON run_changes (owner);
    CREATE INDEX IF NOT EXISTS run_changes_updated ON run_changes (updated, owner);
    -- Which versions of artifacts each run has used.
    CREATE TABLE IF NOT EXISTS run_inputs (
        {_OWNED.format("run")}, name TEXT NOT NULL, artifact_uid TEXT NOT NULL,
        PRIMARY KEY (owner, name));
    CREATE INDEX IF NOT EXISTS run_inputs_of_artifact ON run_inputs (artifact_uid);
    -- What runs that have ended are chosen and sorted by, as `values.py` keeps it.
    CREATE TABLE IF NOT EXISTS value_names (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
    CREATE TABLE IF NOT EXISTS run_values (
        {_OWNED.format("run")}, name INTEGER NOT NULL, value,
        PRIMARY KEY (owner, name)) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS run_values_named ON run_values (name, value);
    CREATE TABLE IF NOT EXISTS artifacts (
        id INTEGER PRIMARY KEY, project TEXT NOT NULL, key TEXT NOT NULL, uid TEXT NOT NULL,
        tree TEXT NOT NULL, iteration INTEGER NOT NULL, best_iteration INTEGER NOT NULL,
        kind TEXT NOT NULL, producer_uri TEXT NOT NULL, created TEXT NOT NULL,
        updated TEXT NOT NULL, body TEXT NOT NULL, UNIQUE (project, key, uid));
    CREATE INDEX IF NOT EXISTS artifacts_in_tree ON artifacts (project, tree, key);
    CREATE INDEX IF NOT EXISTS artifacts_of_kind ON artifacts (project, kind, updated);
    CREATE INDEX IF NOT EXISTS artifacts_updated ON artifacts (project, updated);
    CREATE INDEX IF NOT EXISTS artifacts_with_uid ON artifacts (project, uid);
    {_LABELS.format("artifact")};
    CREATE TABLE IF NOT EXISTS artifact_tags (
        {_OWNED.format("artifact")}, tag TEXT NOT NULL, tag_project TEXT NOT NULL,
        tag_key TEXT NOT NULL, PRIMARY KEY (owner, tag));
    CREATE INDEX IF NOT EXISTS artifact_tags_named ON artifact_tags (tag_project, tag, tag_key);
    CREATE TABLE IF NOT EXISTS functions (
        id INTEGER PRIMARY KEY, project TEXT NOT NULL, name TEXT NOT NULL, hash TEXT NOT NULL,
        kind TEXT NOT NULL, state TEXT NOT NULL, updated TEXT NOT NULL, body TEXT NOT NULL,
        UNIQUE (project, name, hash));
    {_LABELS.format("function")};
    CREATE TABLE IF NOT EXISTS function_tags (
        {_OWNED.format("function")}, tag TEXT NOT NULL, tag_project TEXT NOT NULL,
        tag_name TEXT NOT NULL, PRIMARY KEY (owner, tag), UNIQUE (tag_project, tag_name, tag));
    CREATE TABLE IF NOT EXISTS logs (
        id INTEGER PRIMARY KEY, project TEXT NOT NULL, uid TEXT NOT NULL, body BLOB NOT NULL);
    CREATE INDEX IF NOT EXISTS logs_of_run ON logs (project, uid);
    -- The background jobs that have not ended, in the order in which they were submitted. `inode`
    -- is the store's own, so that a copy of the store does not take the processes for its own.
    CREATE TABLE IF NOT EXISTS jobs (
        id INTEGER PRIMARY KEY AUTOINCREMENT, project TEXT NOT NULL, uid TEXT NOT NULL,
        inode INTEGER NOT NULL, supervisor TEXT NOT NULL, process TEXT, UNIQUE (project, uid));
    -- The folders that the store has been in.
    CREATE TABLE IF NOT EXISTS homes (folder TEXT PRIMARY KEY);
    """
# What the records of earlier schemas need: inputs in a table, and paths as in `places.py`.
MIGRATION = """
    INSERT OR IGNORE INTO run_inputs (owner, name, artifact_uid)
        SELECT run.id, inputs.key, substr(inputs.value, instr(inputs.value, '^') + 1)
        -- JSON has no NaN, but Python writes it.
        FROM (
            SELECT id, replace(replace(body, 'NaN', 'null'), 'Infinity', '0') AS text FROM runs
        ) AS run, json_each(iif(json_valid(text), text, '{}'), '$.spec.inputs') AS inputs
        WHERE inputs.value LIKE 'store://%^%';
    UPDATE runs SET body = portable('runs', CAST(body AS BLOB));
    UPDATE artifacts SET body = portable('artifacts', CAST(body AS BLOB));
    UPDATE functions SET body = portable('functions', CAST(body AS BLOB));
    """


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
        self.places = Places(self.path)
        self._reserve = self.path.with_name(f"{self.path.name}-reserve")
        self._local = threading.local()
        # The rows of each table that are no record, each with the time at which it was written.
        self.broken: dict[str, set[tuple[int, str]]] = {}

    def needs_api(self, what: str) -> Exception:
        """Give the error for what the embedded store can't do."""
        return mlrun.errors.MLRunNotImplementedServerError(
            f"The embedded store {self.url} has no {what}: it needs an MLRun API. "
            "Set MLRUN_DBPATH to the address of one."
        )

    def say_if_damaged(self, exc: Exception) -> None:
        """Raise another error for a damaged file, which says what to do."""
        if (getattr(exc, "sqlite_errorcode", None) or 0) & 0xFF == sqlite3.SQLITE_CORRUPT:
            raise mlrun.errors.MLRunRuntimeError(
                f"The embedded store {self.path} is damaged ({exc}). To copy what can be read into "
                "a new store: kedro mlrun doctor --store"
            ) from exc

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
        own = getattr(self._local, "own", None)
        if own is None or own.of != (os.getpid(), self.inode()):
            connection = self._open()
            if own and own.of[0] not in {CLOSED[0], os.getpid()}:
                # Kept, because SQLite forbids a child even to close its parent's connection.
                _abandoned.append(own)
            self._local.own = own = _Own(connection, (os.getpid(), self.inode()))
        return cast(sqlite3.Connection, own.connection)

    def close(self) -> None:
        """Close the thread's own connection; the next use opens another."""
        if own := getattr(self._local, "own", None):
            own.close()

    def _open(self) -> sqlite3.Connection:
        with AT_WORK:
            connection = None
            try:
                if not self.path.parent.exists():
                    self.path.parent.mkdir(parents=True, exist_ok=True)
                    # Records are not committed, whatever the project's own .gitignore says.
                    (self.path.parent / ".gitignore").write_text("*\n")
                connection = _connect(self.path, "rwc")
                self._prepare(connection)
            except (sqlite3.Error, OSError) as exc:
                if connection:
                    connection.close()
                self.say_if_damaged(exc)
                if read_only := self._open_to_read(exc):
                    return read_only
                raise mlrun.errors.MLRunInvalidArgumentError(
                    f"{self.path} can't be used as an embedded store: {exc}. Check its disk and "
                    "permissions, or name another file in MLRUN_DBPATH or mlrun.yml."
                ) from exc
            return connection

    def _open_to_read(self, exc: Exception) -> sqlite3.Connection | None:
        """Open a store that can't be written to: a read-only one, or one on a full disk."""
        code = getattr(exc, "sqlite_errorcode", 0) & 0xFF  # without the details
        with suppress(sqlite3.Error):
            connection = open_to_read(self.path) if code in UNWRITABLE else None
            if connection and number(connection, "user_version") == VERSION:
                return connection
        return None

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Check the file before anything in it is changed, and make or migrate the store."""
        # In this order, for another process may make the store between the two.
        in_use = connection.execute("SELECT 1 FROM sqlite_master").fetchone()
        if in_use and number(connection, "application_id") != APPLICATION_ID:
            raise sqlite3.DatabaseError("it is the database of another application")
        if (version := number(connection, "user_version")) > VERSION:
            reason = f"it has schema {version}, and this project knows none newer than"
            raise sqlite3.DatabaseError(f"{reason} {VERSION} before it is updated")
        if not in_use:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        _use_wal(connection)
        # With WAL, NORMAL loses nothing when a process dies; a power cut can take the last commits.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        self._keep_reserve()
        if version == VERSION:
            return
        connection.execute("BEGIN IMMEDIATE")
        # Read again: another process may have migrated while this one waited.
        if number(connection, "user_version") == VERSION:
            connection.execute("COMMIT")
            return
        # As bytes, for a text that is none can't be given to a function.
        portable = self.places.portable
        connection.create_function("portable", 2, lambda table, body: portable(table, _text(body)))
        for statement in f"{SCHEMA};{MIGRATION}".split(";"):
            connection.execute(statement)
        for owner, body in connection.execute("SELECT id, body FROM runs"):
            run = {}
            with suppress(ValueError):
                run = read(body, "runs")
            write_values(connection, owner, run)
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("COMMIT")

    def _keep_reserve(self) -> None:
        with suppress(OSError):
            if not self._reserve.exists() and _free(self.path) > 8 * RESERVE:
                # Not zeros, which some file systems keep in no space.
                self._reserve.write_bytes(os.urandom(RESERVE))

    def make_room(self) -> None:
        """Let what is reserved go if the disk is full: even to open a store takes some of it."""
        with suppress(OSError):
            if _free(self.path) < RESERVE:
                self._reserve.unlink()
                # The connection can only read, if there was no room to open another.
                self.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write in a `with` block all or nothing, while no other process writes."""
        with AT_WORK:
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
            except sqlite3.DatabaseError as exc:
                self.say_if_damaged(exc)
                raise
            finally:
                # SQLite may have rolled back by itself: when the disk is full, for example.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def give_back(self) -> None:
        """Give the space of what was deleted back to the disk, as far as that can be done now."""
        with AT_WORK:
            connection = self.connection
            names = "auto_vacuum", "freelist_count", "page_count"
            mode, free, pages = (number(connection, name) for name in names)
            # Where others use it, or a full disk has no place for it, the next deletion does it.
            connection.execute("PRAGMA busy_timeout = 0")
            with suppress(sqlite3.OperationalError):
                if mode:
                    # As a script, for `execute` frees one page only.
                    connection.executescript("PRAGMA incremental_vacuum")
                elif pages < 4 * free:
                    # An earlier version's store has to be written anew for that, once.
                    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
                    connection.execute("VACUUM")
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
            self._keep_reserve()


class _Own:
    """A thread's connection, which is closed when the thread ends or the store is let go."""

    def __init__(self, connection: sqlite3.Connection, of: tuple[int, int | None]) -> None:
        self.connection, self.of = connection, of
        _open_ones.add(self)

    def close(self) -> None:
        """Close the connection, in no transaction and never one of a parent process."""
        with AT_WORK, suppress(sqlite3.ProgrammingError):  # somebody has closed it
            if self.of[0] == os.getpid() and not self.connection.in_transaction:
                self.connection.close()
                self.of = CLOSED

    def __del__(self) -> None:
        # Python's connections are in a cycle, and would stay open until that is collected.
        self.close()


CLOSED = (0, None)  # in place of the process and the file that a connection is of
_abandoned: list[_Own] = []
_open_ones: weakref.WeakSet[_Own] = weakref.WeakSet()


def _before_fork() -> None:
    AT_WORK.acquire()
    for own in [*_open_ones]:
        own.close()


# With a connection of its parent, SQLite in a forked child takes itself for the holder of the
# parent's locks, so that another process deletes from under it what it writes.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=AT_WORK.release, after_in_child=AT_WORK.release
    )


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"{path.as_uri()}?mode={mode}"
    # Each thread has its own, which any thread may close in the end.
    connection = sqlite3.connect(
        uri, BUSY_SECONDS, isolation_level=None, check_same_thread=False, uri=True
    )
    connection.row_factory, connection.text_factory = sqlite3.Row, _text
    # SQLite's own `lower`, which is faster, is that of ASCII; and a text may be damaged.
    connection.create_function("lower_all", 1, lambda text: _text(text).lower())
    return connection


def open_to_read(path: Path) -> sqlite3.Connection:
    """Open a file of SQLite, also where nothing can be written beside it."""
    connection = _connect(path, "ro")
    try:
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError as exc:
        # What is damaged is opened.
        if exc.sqlite_errorcode & 0xFF in UNWRITABLE:
            connection.close()
            wal = path.with_name(f"{path.name}-wal")
            # What is still in there would not be seen.
            if wal.exists() and wal.stat().st_size:
                raise
            return _connect(path, "ro&immutable=1")
    return connection


def number(connection: sqlite3.Connection, name: str) -> int:
    """Give one of the numbers that SQLite keeps of a file."""
    return cast(int, connection.execute(f"PRAGMA {name}").fetchone()[0])


def _text(value: bytes) -> str | bytes:
    """Give a damaged text as it is, which is then no record; SQLite would give no row at all."""
    with suppress(UnicodeDecodeError):
        return value.decode()
    return value


def _free(path: Path) -> int:
    return shutil.disk_usage(path.parent).free


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
