"""Jobs of the embedded store: each one submitted is a process of its own on this machine.

This file is also the program that looks after one job, its supervisor. It is started by its path
and imports nothing but Python's own modules, so that a job that waits costs next to nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import quote

GRACE = 10
"""Seconds that the processes of a job have to end by themselves when it is aborted."""

POLL = 0.1
LAST_LINES, LAST_BYTES = 20, 2**14
"""How much of the end of its log tells why a job died."""

LONGEST_POLL = 1
LOCK, PROCESS, ABORTED, CODE = "lock", "process", "aborted", "code"
"""What is in the folder of a job that hasn't ended, its ticket of the queue.

The lock's text is the label of the supervisor, that of `process` the label of the job's process.
"""

TERMINAL_STATES = {"completed", "error", "aborted", "skipped"}

NOT_INHERITED = (
    "KEDRO_ENV",
    "KEDRO_MLRUN_RUNS",
    "MLRUN_CHAIN_ID",
    "MLRUN_CONTEXT_NAME",
    "MLRUN_EXEC_CODE",
    "MLRUN_EXEC_CONFIG",
    "MLRUN_META_TMPFILE",
)
"""What the submitting process was told of its own runs. A job has all of that as parameters."""

# What is in a pod `mlrun run …`. The project's tracking comes first, as it registers the store; the
# label tells which process has the run; and what the job starts doesn't keep its ticket.
JOB = """
import os, sys
os.set_inheritable(int(sys.argv.pop(1)), False)
import kedro_mlrun
from kedro_mlrun.store.process import process_label
label = "process=" + process_label()
from mlrun.__main__ import main
sys.argv = ["mlrun", "run", "--label", label, *sys.argv[1:]]
main()
"""


def at_once() -> int:
    """Tell how many jobs may run at the same time, as mlrun.yml has it."""
    from ..runs.manager import MLRunContextManager

    return MLRunContextManager().jobs.at_once


def log_file(folder: Path, project: str, uid: str) -> Path:
    """Give the file with what a job prints.

    Args:
        folder: the folder of the store.
        project: the job's MLRun project.
        uid: the id of its run.

    Returns:
        The path, whether there is such a file or not.

    Example:
        >>> log_file(Path(".mlrun"), "iris", "../1f").as_posix()
        '.mlrun/logs/iris/%2E%2E%2F1f.log'
    """
    return folder / "logs" / _file_name(project) / f"{_file_name(uid)}.log"


def _file_name(text: str) -> str:
    return quote(text, safe="").replace(".", "%2E")


# ---- for the processes that submit, watch and abort


class Supervisor:
    """A job's supervisor, which waits to be told what the job is.

    Args:
        folder: the folder of the store.
        project: the job's MLRun project.
        uid: the id of its run.
        settings: environment variables of supervisor and job, beside those of this process.

    Raises:
        OSError: it can't be started.
    """

    def __init__(self, folder: Path, project: str, uid: str, settings: Mapping[str, str]) -> None:
        log = log_file(folder, project, uid)
        log.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        output = os.open(log, flags, 0o600)
        ticket, lock = _new_ticket(folder, project, uid)
        inherited = {name: os.environ[name] for name in os.environ if name not in NOT_INHERITED}
        path = filter(None, inherited.get("PYTHONPATH", "").split(os.pathsep))
        inherited["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, path))
        try:
            # Not as a module of the package, whose import takes longer; and with -P, without its
            # folder on the path, where `secrets` would be another one than Python's.
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-P", __file__, str(ticket), str(lock)],
                cwd=folder,
                env={**inherited, **settings, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=[lock],
            )
        except BaseException:
            shutil.rmtree(ticket, ignore_errors=True)
            raise
        finally:
            os.close(lock)
            os.close(output)
        # So that a long session has no corpses of the jobs that it submitted.
        threading.Thread(target=self._process.wait, daemon=True).start()
        self.label = _label(self._process)
        """What names its process, as `process_label` would."""
        (ticket / LOCK).write_text(self.label)

    def begin(self, job: Mapping[str, Any]) -> None:
        """Tell what the job is, once its run is recorded.

        Args:
            job: what `supervise` takes.
        """
        # Neither by the command line nor by a file, where others could read it.
        self._write(json.dumps(job))

    def give_up(self) -> None:
        """Let it end, for there is no job."""
        self._write("")

    def _write(self, text: str) -> None:
        assert self._process.stdin  # noqa: S101
        # It may have been killed meanwhile; then its run is found to be lost, as any other.
        with suppress(BrokenPipeError):
            self._process.stdin.write(text.encode())
            self._process.stdin.flush()
        with suppress(BrokenPipeError):
            self._process.stdin.close()


def is_alive(folder: Path, project: str, uid: str) -> bool:
    """Tell whether a submitted job waits, runs, or is being looked after at its end.

    Args:
        folder: the folder of the store.
        project: the job's MLRun project.
        uid: the id of its run.

    Returns:
        False also for a run that is no submitted job.
    """
    return _ticket_of(folder, project, uid) is not None


def stop(folder: Path, project: str, uid: str) -> None:
    """End all processes of a submitted job, or see to it that it never starts.

    Args:
        folder: the folder of the store.
        project: the job's MLRun project.
        uid: the id of its run.
    """
    from ..store.process import is_alive as process_is_alive

    ticket = _ticket_of(folder, project, uid)
    if ticket:
        with suppress(OSError):
            # The supervisor leaves the record to the process that aborts.
            (ticket / ABORTED).touch()
    supervisor = processes_of(folder, project, uid).get(LOCK)
    if supervisor:
        with suppress(ProcessLookupError):
            os.kill(int(supervisor.partition("-")[0]), signal.SIGTERM)
        give_up = time.monotonic() + 2 * GRACE
        while process_is_alive(supervisor) and time.monotonic() < give_up:
            time.sleep(POLL)
    # What is left where a supervisor is stuck, or was killed itself.
    for label in processes_of(folder, project, uid).values():
        end_tree(int(label.partition("-")[0]))


def processes_of(folder: Path, project: str, uid: str) -> dict[str, str]:
    """Find the living processes of a submitted job, but those that these have started.

    Args:
        folder: the folder of the store.
        project: the job's MLRun project.
        uid: the id of its run.

    Returns:
        What names them, as `process_label` does: the supervisor's as `LOCK`, the job's own as
        `PROCESS`.
    """
    from ..store.process import is_alive as process_is_alive

    ticket, labels = _ticket_of(folder, project, uid), {}
    for name in (LOCK, PROCESS):
        with suppress(OSError):
            labels[name] = (ticket / name).read_text() if ticket else ""
    return {name: label for name, label in labels.items() if label and process_is_alive(label)}


def _label(process: subprocess.Popen[bytes]) -> str:
    # It has just started.
    return f"{process.pid}-{round(time.time())}"


# ---- the queue: a folder for each job that hasn't ended, whose processes hold a lock in it, which
# the system takes from them when they die


@contextmanager
def _queue(folder: Path) -> Iterator[list[Path]]:
    """Give the tickets in the order of submission, while no other process changes them."""
    import fcntl

    jobs = folder / "jobs"
    jobs.mkdir(parents=True, exist_ok=True)
    with (jobs / "queue.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield _tickets(folder)


def _tickets(folder: Path) -> list[Path]:
    return sorted((folder / "jobs").glob("[0-9]*-*"))


def _new_ticket(folder: Path, project: str, uid: str) -> tuple[Path, int]:
    import fcntl

    with _queue(folder) as tickets:
        number = int(tickets[-1].name.partition("-")[0]) + 1 if tickets else 1
        ticket = folder / "jobs" / f"{number:08d}-{_ticket_name(project, uid)}"
        ticket.mkdir(mode=0o700)
        lock = os.open(ticket / LOCK, os.O_WRONLY | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        return ticket, lock


def _ticket_name(project: str, uid: str) -> str:
    return f"{_file_name(project)}-{_file_name(uid)}"


def _ticket_of(folder: Path, project: str, uid: str) -> Path | None:
    name = _ticket_name(project, uid)
    for ticket in reversed(_tickets(folder)):
        if ticket.name.partition("-")[2] == name and _is_held(ticket):
            return ticket
    return None


def _is_held(ticket: Path) -> bool:
    import fcntl

    try:
        with (ticket / LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        # Its end removed it.
        pass
    return False


def _wait_for_turn(ticket: Path, at_once: int, is_stopped: Callable[[], bool]) -> bool:
    """Wait until fewer than so many of those that were submitted before are left."""
    while not is_stopped():
        with _queue(ticket.parents[1]) as tickets:
            position, earlier = tickets.index(ticket), 0
            for other in tickets[:position]:
                if _is_held(other):
                    earlier += 1
                else:
                    # Of one whose processes were all killed.
                    shutil.rmtree(other, ignore_errors=True)
                if earlier == at_once:
                    break
        if earlier < at_once:
            return True
        # Those at the end of a long queue don't look as often.
        time.sleep(min(LONGEST_POLL, POLL * (position - at_once + 1)))
    return False


# ---- processes


def descendants(root: int) -> set[int]:
    """Find the processes that a process has started, and those that these have, and so on.

    Args:
        root: the number of a process.

    Returns:
        Their numbers, with the process's own; without those that are only corpses.
    """
    return _below({root}, _parents())


def _below(known: set[int], parents: Mapping[int, int]) -> set[int]:
    found = known & parents.keys()
    while True:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        if not more:
            return found
        found |= more


def _parents() -> dict[int, int]:
    """Give each living process's parent."""
    try:
        return _parents_by_proc()
    except OSError:
        # macOS and the BSDs.
        shown = subprocess.run(
            ["ps", "-A", "-o", "pid=,ppid=,stat="],  # noqa: S607
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        rows = [line.split() for line in shown.splitlines()]
        return {int(pid): int(parent) for pid, parent, state in rows if state[0] != "Z"}


def _parents_by_proc() -> dict[int, int]:
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            # It may end meanwhile.
            with suppress(OSError):
                stat = Path("/proc", name, "stat").read_text(errors="replace")
                state, parent, *_ = stat.rpartition(")")[2].split()
                if state not in {"Z", "X"}:
                    parents[int(name)] = int(parent)
    if not parents:
        raise FileNotFoundError("/proc")
    return parents


def end_tree(root: int, *, spare_root: bool = False) -> None:
    """End a process with all that it has started, in whatever sessions these are.

    Args:
        root: the number of the process.
        spare_root: whether it stays itself.
    """
    spared = {root} if spare_root else set()
    known, asked = {root}, set[int]()
    give_up = time.monotonic() + GRACE
    while True:
        # Anew each time: what ends may have started others, and leaves its own to no parent.
        known = _below(known, _parents())
        left = known - spared
        late = time.monotonic() - give_up
        if not left or late > GRACE:
            return
        for pid in left if late > 0 else left - asked:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL if late > 0 else signal.SIGTERM)
        asked |= left
        time.sleep(POLL)


def _adopt_orphans() -> None:
    """Become the parent of what the job's processes leave behind, so that it is found."""
    if sys.platform == "linux":
        import ctypes

        set_child_subreaper = 36
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(set_child_subreaper, 1, 0, 0, 0)


# ---- the supervisor


def supervise(job: Mapping[str, Any], ticket: Path, lock: int) -> None:
    """Run a job when its turn comes, and record its end if it can't do so itself.

    Args:
        job: `store` (the store's file), `url`, `project`, `uid`, `at_once`, `source`, `workdir`,
            `handler`, the `arguments` of `mlrun run`, and environment variables as `env`.
        ticket: the job's folder.
        lock: the file descriptor of the lock in it, which supervisor and job hold.
    """
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stopped.append(number))
    try:
        end = _run(job, ticket, lock, lambda: bool(stopped))
    except Exception as exc:
        end = ("error", f"The job could not be started: {exc}")
        sys.stdout.write(f"{end[1]}\n")
    if stopped:
        end = ("aborted", f"It was stopped by {signal.Signals(stopped[0]).name}.")
    if not (ticket / ABORTED).exists() and _state(job) not in {None, *TERMINAL_STATES}:
        state, reason = end
        database = _project_module("store.db").LocalRunDB(job["url"])
        database.end_run(job["uid"], job["project"], state, reason)


def _run(
    job: Mapping[str, Any], ticket: Path, lock: int, is_stopped: Callable[[], bool]
) -> tuple[str, str]:
    """Run a job, and give the state of a run that has recorded none, with the reason."""
    if not _wait_for_turn(ticket, job["at_once"], is_stopped):
        return "aborted", ""
    code = ticket / CODE
    _unpack(job["source"], code)
    folder = code / (job["workdir"] or "") if job["source"] else code
    if not folder.is_dir():
        raise FileNotFoundError(f"The source {job['source']} has no folder '{job['workdir']}'.")
    path = [str(folder), os.environ["PYTHONPATH"]]
    if not (folder / "kedro_mlrun").is_dir():
        # What is importable here, as in a pod what the image has.
        path.insert(1, str(Path(__file__).parents[2]))
    _adopt_orphans()
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", JOB, str(lock), *job["arguments"]],
        cwd=folder,
        env={**os.environ, **job["env"], "PYTHONPATH": os.pathsep.join(filter(None, path))},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        pass_fds=[lock],
    )
    (ticket / PROCESS).write_text(_label(process))
    while process.poll() is None and not is_stopped():
        time.sleep(POLL)
    # Nothing that it has started outlives it, as in a pod.
    end_tree(os.getpid(), spare_root=True)
    return "error", _death(process.wait(), log_file(ticket.parents[1], job["project"], job["uid"]))


def _unpack(source: str, folder: Path) -> None:
    folder.mkdir()
    if not source:
        return
    if "://" in source:
        _project_module("project")
        import_module("mlrun.utils.clones").extract_source(source, str(folder))
        return
    if not os.path.isfile(source):
        raise FileNotFoundError(f"The source {source} isn't there. Submit it again.")
    try:
        if source.endswith(".zip"):
            with zipfile.ZipFile(source) as archive:
                archive.extractall(folder)  # noqa: S202
        else:
            with tarfile.open(source) as archive:
                archive.extractall(folder, filter="data")
    except (OSError, tarfile.TarError, zipfile.BadZipFile) as exc:
        raise ValueError(f"The source {source} can't be unpacked: {exc}.") from exc


def _death(code: int, log: Path) -> str:
    """Tell what became of a process that has recorded no end."""
    if code < 0:
        names = {number.value: number.name for number in signal.Signals}
        what = f"Its process was killed by {names.get(-code, f'signal {-code}')}."
        if -code == signal.SIGKILL:
            what += " The system itself does that when memory runs out."
    else:
        what = f"Its process ended with exit code {code} before the run's end."
    with suppress(OSError), log.open("rb") as file:
        # A log may be larger than this machine's memory.
        file.seek(max(0, file.seek(0, os.SEEK_END) - LAST_BYTES))
        lines = file.read().decode(errors="replace").splitlines()[-LAST_LINES:]
        what = "\n\n".join([what, "\n".join(lines)]).strip()
    return what


def _state(job: Mapping[str, Any]) -> str | None:
    """Read the state of the job's run without MLRun; None where the run is no longer there."""
    store = f"file:{quote(job['store'])}?mode=rw"
    with suppress(sqlite3.Error), closing(sqlite3.connect(store, uri=True, timeout=60)) as opened:
        query = "SELECT state FROM runs WHERE project = ? AND uid = ? AND iteration = 0"
        row = opened.execute(query, (job["project"], job["uid"])).fetchone()
        return str(row[0]) if row else None
    return None


def _project_module(name: str) -> Any:
    package = Path(__file__).parents[1]
    sys.path.insert(0, str(package.parent))
    # The one before MLRun, as it registers the store, which MLRun opens at once; the others after.
    import_module(package.name)
    import_module("mlrun")
    return import_module(f"{package.name}.{name}")


def main() -> None:
    """Be the supervisor of the job that stdin tells of."""
    ticket, lock = Path(sys.argv[1]), int(sys.argv[2])
    os.set_inheritable(lock, False)
    try:
        told = sys.stdin.read()
        if told:
            supervise(json.loads(told), ticket, lock)
    finally:
        shutil.rmtree(ticket, ignore_errors=True)


if __name__ == "__main__":
    main()
