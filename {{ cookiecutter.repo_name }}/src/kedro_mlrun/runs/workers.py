"""What the processes of one run share: ParallelRunner's workers find the run of their parent."""

import json
import multiprocessing
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

VARIABLE = "KEDRO_MLRUN_RUNS"  # of the environment: the runs that a parent process has open
LONGEST_WAIT = 600  # seconds, for other workers that write to the same run
Line = tuple[float, str]  # of a log: when, and what


class RunReference(NamedTuple):
    """What a worker process needs to find its parent's run."""

    uid: str
    project: str
    dbpath: str
    datasets: Sequence[str] = ()  # which catalog entries are recorded beside those of MLRun
    iteration: int = 0  # of a sweep, whose runs share a uid
    folder: str = ""  # nobody else's, for what its processes tell each other


def announce(run_id: str, reference: RunReference | None) -> None:
    """Let the processes that start from now on find a pipeline's run by its id, or no longer."""
    known = _open_runs()
    if reference:
        folder = tempfile.mkdtemp(prefix=_prefix(reference.uid))
        known[run_id] = reference._replace(folder=folder)
    elif run_id in known:
        shutil.rmtree(known.pop(run_id).folder, ignore_errors=True)
    if known:
        os.environ[VARIABLE] = json.dumps(known)
    else:
        # It tells the plugin that there is a run, and programs that start later inherit it.
        os.environ.pop(VARIABLE, None)


def announced(run_id: str | None = None) -> RunReference | None:
    """Find a run that the parent process has open, by default the newest."""
    # Not in a program that a node starts, which inherits the variable, too.
    known = _open_runs() if multiprocessing.parent_process() else {}
    return next(reversed(known.values()), None) if run_id is None else known.get(run_id)


def _open_runs() -> dict[str, RunReference]:
    known = json.loads(os.environ.get(VARIABLE) or "{}")
    return {run_id: RunReference(*fields) for run_id, fields in known.items()}


@contextmanager
def one_at_a_time(uid: str) -> Iterator[sqlite3.Connection]:
    """Keep the other workers of a run waiting, and give the database of what they tell."""
    # SQLite's locks work between processes on every system, and are gone with the process.
    if not (path := _file(uid)):
        raise LookupError(f"Run {uid} is not open in a parent process. Run its pipeline again.")
    with closing(sqlite3.connect(path, LONGEST_WAIT, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("CREATE TABLE IF NOT EXISTS notes (body TEXT NOT NULL)")
        yield connection
        connection.execute("COMMIT")


def leave_note(uid: str, note: dict[str, Any]) -> None:
    """Tell the parent process of a run something that JSON can hold."""
    with one_at_a_time(uid) as connection:
        connection.execute("INSERT INTO notes (body) VALUES (?)", (json.dumps(note),))


def have_written(uid: str) -> bool:
    """Tell whether a run has had workers that saved something, or left a note."""
    return bool((file := _file(uid)) and file.exists())


def notes(uid: str) -> list[dict[str, Any]]:
    """Give what the workers of a run have told, in order."""
    if not have_written(uid):
        return []
    with one_at_a_time(uid) as connection:
        rows = connection.execute("SELECT body FROM notes ORDER BY rowid").fetchall()
    return [json.loads(body) for (body,) in rows]


def leave_line(uid: str, line: Line) -> None:
    """Tell the parent process of a run what this one logs."""
    # In a file of its own, so that it is there at once, without a lock that a fork could break.
    if file := _file(uid):
        with file.with_name(f"{os.getpid()}.log").open("a", encoding="utf-8") as opened:
            opened.write(f"{json.dumps(line)}\n")


def lines(uid: str, known: dict[str, int]) -> Iterator[Line]:
    """Give what the workers of a run have logged, but for so many bytes of each that are known."""
    for path in file.parent.glob("*.log") if (file := _file(uid)) else ():
        with path.open("rb") as opened:
            opened.seek(known.setdefault(path.name, 0))
            for line in opened:
                if line.endswith(b"\n"):
                    known[path.name] += len(line)
                    with suppress(ValueError):  # of one that was cut on a full disk
                        yield json.loads(line)


def forget(uid: str) -> None:
    """Delete what the processes of a run have left that was killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_prefix(uid)}*"):
        shutil.rmtree(folder, ignore_errors=True)


def _prefix(uid: str) -> str:
    return f"kedro-mlrun-{uid}-"


def _file(uid: str) -> Path | None:
    folders = (run.folder for run in _open_runs().values() if run.uid == uid)
    return next((Path(folder, "notes.db") for folder in folders), None)
