"""What the processes of one run share: ParallelRunner's workers find the run of their parent."""

import json
import multiprocessing
import os
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

VARIABLE = "KEDRO_MLRUN_RUNS"  # of the environment: the runs that a parent process has open
LONGEST_WAIT = 600  # seconds, for other workers that write to the same run


class RunReference(NamedTuple):
    """What a worker process needs to find its parent's run."""

    uid: str
    project: str
    dbpath: str
    datasets: Sequence[str] = ()  # which catalog entries are recorded beside those of MLRun
    iteration: int = 0  # of a sweep, whose runs share a uid


def announce(run_id: str, reference: RunReference | None) -> None:
    """Let the processes that start from now on find a pipeline's run by its id, or no longer."""
    runs: dict[str, Any] = {**json.loads(os.environ.get(VARIABLE) or "{}"), run_id: reference}
    if left := {name: found for name, found in runs.items() if found}:
        os.environ[VARIABLE] = json.dumps(left)
    else:
        # It tells the plugin that there is a run, and programs that start later inherit it.
        os.environ.pop(VARIABLE, None)


def announced(run_id: str | None = None) -> RunReference | None:
    """Find a run that the parent process has open, by default the newest."""
    # Not in a program that a node starts, which inherits the variable, too.
    known = os.environ.get(VARIABLE) if multiprocessing.parent_process() else None
    runs = json.loads(known or "{}")
    found = runs.get(run_id) if run_id is not None else next(reversed(runs.values()), None)
    return RunReference(*found) if found else None


@contextmanager
def one_at_a_time(uid: str) -> Iterator[sqlite3.Connection]:
    """Keep the other workers of a run waiting, and give the database of what they tell."""
    # SQLite's locks work between processes on every system, and are gone with the process.
    file = sqlite3.connect(_file(uid), timeout=LONGEST_WAIT, isolation_level=None)
    with closing(file) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("CREATE TABLE IF NOT EXISTS notes (body TEXT NOT NULL)")
        yield connection
        connection.execute("COMMIT")


def leave_note(uid: str, note: dict[str, Any]) -> None:
    """Tell the parent process of a run something that JSON can hold."""
    with one_at_a_time(uid) as connection:
        connection.execute("INSERT INTO notes (body) VALUES (?)", (json.dumps(note),))


def take_notes(uid: str) -> list[dict[str, Any]] | None:
    """Give what the workers of a run told, in order, and forget it; None without workers."""
    if not _file(uid).exists():
        return None
    with one_at_a_time(uid) as connection:
        rows = connection.execute("SELECT body FROM notes ORDER BY rowid").fetchall()
    # What a late worker may still add makes a new file.
    _file(uid).unlink(missing_ok=True)
    return [json.loads(body) for (body,) in rows]


def _file(uid: str) -> Path:
    return Path(tempfile.gettempdir(), f"kedro-mlrun-{uid}.db")
