"""Jobs that are submitted to the embedded store: processes of their own, on their own source."""

import contextlib
import io
import os
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlrun
import pytest
from helpers import PROJECT, Store, metadata
from mlrun.errors import (
    MLRunBadRequestError,
    MLRunConflictError,
    MLRunNotImplementedServerError,
    MLRunPreconditionFailedError,
)

from kedro_mlrun import project as config
from kedro_mlrun.jobs import background, supervisor
from kedro_mlrun.store import process
from kedro_mlrun.store.db import LocalRunDB

HANDLER = """
import os
import sys

from kedro_mlrun import MLRunContextManager

def run(context, number):
    print("naïve", flush=True)
    MLRunContextManager().open_run("other name")
    context.log_results(
        {
            "double": number * 2,
            "command": sys.argv,
            "pid": os.getpid(),
            "file": __file__,
            "folder": os.getcwd(),
            "has_local": os.path.isdir("../conf/local"),
            "told": [os.environ.get(name) for name in ("TEAM", "MLRUN_CHAIN_ID", "KEDRO_ENV")],
            "path": os.environ["PYTHONPATH"].split(":"),
        }
    )
"""
# Before MLRun is imported, so that it is there at once: it has a child with a session of its own.
WAITING = """
import json, os, subprocess, sys, time

child = subprocess.Popen(
    [sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True
)
name = json.loads(os.environ["MLRUN_EXEC_CONFIG"])["metadata"]["name"]
with open(os.environ["STARTED"], "a") as started:
    started.write(f"{name} {os.getppid()} {os.getpid()} {child.pid}\\n")
time.sleep(600)
"""


def until(condition: Callable[[], Any]) -> Any:
    for _ in range(600):
        found = condition()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError("it never came to that")


@pytest.fixture
def jobs(embedded: Store, tmp_path: Path) -> Iterator[SimpleNamespace]:
    """Give a store with `submit(name)`, and end what is left of the jobs."""
    package = metadata().package_name
    db = mlrun.get_run_db()

    def source(name: str, files: dict[str, str | Path]) -> str:
        path = tmp_path / f"{name}.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            folder = tarfile.TarInfo("conf/local")
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(folder)
            for file, content in files.items():
                if isinstance(content, Path):
                    archive.add(content, f"src/{file}")
                    continue
                member = tarfile.TarInfo(f"src/{file}")
                member.size = len(content.encode())
                archive.addfile(member, io.BytesIO(content.encode()))
        return str(path)

    sources = {
        "waiting": source(
            "waiting", {f"{package}/__init__.py": "", "kedro_mlrun/__init__.py": WAITING}
        ),
        "broken": source(
            "broken", {f"{package}/__init__.py": "", "kedro_mlrun/__init__.py": "1 / 0"}
        ),
        "working": source(
            "working",
            {
                f"{package}/__init__.py": "",
                f"{package}/handler.py": HANDLER,
                "kedro_mlrun": PROJECT / "src" / "kedro_mlrun",
            },
        ),
    }

    def submit(kind: str, name: str = "training", **run: Any) -> str:
        function = mlrun.new_function(
            "kedro", kind="job", image="mlrun/mlrun", project=embedded.project
        )
        function.spec.default_handler = f"{package}.handler.run"
        function.spec.workdir = "src"
        function.spec.build.source = sources[kind]
        function.set_env("TEAM", "red").set_env("STARTED", str(tmp_path / "started"))
        function.set_env("PYTHONPATH", "of-the-function")
        return function.run(name=name, watch=False, local=False, **run).metadata.uid

    def started() -> list[list[str]]:
        file = tmp_path / "started"
        return [line.split() for line in file.read_text().splitlines()] if file.exists() else []

    def at_once(number: int) -> None:
        settings = config.MLRunConfig(project=embedded.project, jobs={"at_once": number})
        embedded.manager.configure(settings, tmp_path)

    def state(uid: str) -> str:
        return db.read_run(uid, embedded.project)["status"]["state"]

    yield SimpleNamespace(
        db=db,
        project=embedded.project,
        manager=embedded.manager,
        folder=tmp_path,
        submit=submit,
        started=started,
        at_once=at_once,
        state=state,
    )
    for run in db.list_runs(project=embedded.project, states=["pending", "running"]):
        if run["metadata"]["labels"]["host"] == socket.gethostname():
            db.abort_run(run["metadata"]["uid"], embedded.project)


def living(numbers: list[str]) -> list[str]:
    return [number for number in numbers if process.is_alive(f"{number}-{round(time.time())}")]


def test_a_job_runs_on_its_own_copy_of_the_source(jobs: SimpleNamespace, monkeypatch, capsys):
    """Its results, log and process are the run's, and nothing else of it is left."""
    monkeypatch.setenv("MLRUN_CHAIN_ID", "of-the-submitter")
    monkeypatch.setenv("KEDRO_ENV", "of-the-submitter")
    uid = jobs.submit("working", params={"number": 21})
    assert jobs.state(uid) == "pending"
    broken = jobs.submit("broken")
    # As a run has it open for its worker processes.
    left = Path(tempfile.mkdtemp(prefix=f"kedro-mlrun-{broken}-"))
    state, size = jobs.db.watch_log(uid, jobs.project)
    run = jobs.db.read_run(uid, jobs.project)
    results, labels = run["status"]["results"], run["metadata"]["labels"]
    assert (state, results["double"], results["has_local"]) == ("completed", 42, True)
    # What is of this machine, or of this process, isn't in what its record says.
    handler = f"--handler={metadata().package_name}.handler.run"
    assert results["command"] == ["mlrun", "run", "--from-env", handler]
    assert (labels["kind"], run["spec"]["output_path"]) == ("job", f"{jobs.folder}/artifacts")
    assert results["told"] == ["red", None, None]
    assert results["path"] == [results["folder"], "of-the-function"]
    assert results["file"].startswith(results["folder"])
    assert results["folder"].startswith(f"{jobs.folder}/jobs/")
    assert labels["process"].startswith(f"{results['pid']}-")
    assert labels["host"] == socket.gethostname()

    log = jobs.db.get_log(uid, jobs.project)[1]
    assert (log.count("naïve".encode()), len(log)) == (1, size)
    assert jobs.db.get_log(uid, jobs.project, offset=3, size=4)[1] == log[3:7]
    assert capsys.readouterr().out == log.decode()
    (file,) = (jobs.folder / "logs" / jobs.project).glob(f"{uid}*")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    jobs.db.del_run(uid, jobs.project)
    assert not file.exists()

    assert jobs.db.watch_log(broken, jobs.project)[0] == "error"
    reason, _, rest = jobs.db.read_run(broken, jobs.project)["status"]["error"].partition("\n\n")
    assert reason == "Its process ended with exit code 1 before the run's end."
    assert rest.endswith("ZeroDivisionError: division by zero")
    assert not left.exists()
    assert list((jobs.folder / "jobs").iterdir()) == []


def test_jobs_wait_for_their_turn_and_are_aborted(jobs: SimpleNamespace):
    """The first submitted is the first started; what is aborted leaves no process, or none starts.

    Other sessions leave a job alone that waits or hasn't recorded anything yet.
    """
    jobs.at_once(1)
    first, second, third = [jobs.submit("waiting", name) for name in ("one", "two", "three")]
    until(jobs.started)
    with pytest.raises(MLRunBadRequestError, match="Wait for its end, or abort it"):
        jobs.db.del_run(first, jobs.project)
    jobs.manager.abort_lost_runs()
    assert [jobs.state(uid) for uid in (first, second, third)] == ["pending"] * 3
    jobs.db.abort_run(second, jobs.project)
    task = jobs.db.abort_run(first, jobs.project, status_text="not needed any more")
    assert task.status.state == "succeeded"
    until(lambda: len(jobs.started()) == 2)
    assert [name for name, *_ in jobs.started()] == ["one", "three"]
    assert living(jobs.started()[0][1:]) == []
    assert len(living(jobs.started()[1][1:])) == 3
    assert [jobs.state(uid) for uid in (first, second, third)] == ["aborted", "aborted", "pending"]
    status = jobs.db.read_run(first, jobs.project)["status"]
    assert status["error"] == status["status_text"] == "not needed any more"
    with pytest.raises(MLRunConflictError, match="has ended"):
        jobs.db.abort_run(first, jobs.project)


def test_killed_processes_hold_up_no_others(jobs: SimpleNamespace):
    """The turn is the next one's, and each run says what became of it."""
    jobs.at_once(1)
    first, second, third = [jobs.submit("waiting", name) for name in ("one", "two", "three")]
    _, *numbers = until(jobs.started)[0]
    label = jobs.db.read_run(second, jobs.project)["metadata"]["labels"]["process"]
    for number in (label.partition("-")[0], *numbers):
        os.kill(int(number), signal.SIGKILL)
    until(lambda: len(jobs.started()) == 2)
    assert jobs.started()[1][0] == "three"
    # One is found by who watches it, the other by the next session.
    assert jobs.db.watch_log(first, jobs.project) == ("aborted", 0)
    jobs.manager.abort_lost_runs()
    assert [jobs.state(uid) for uid in (first, second, third)] == ["aborted", "aborted", "pending"]
    error = jobs.db.read_run(second, jobs.project)["status"]["error"]
    assert error.endswith("without recording its end.")
    with pytest.raises(MLRunConflictError, match="hasn't ended"):
        jobs.db.submit_job(mlrun.RunObject.from_dict(jobs.db.read_run(third, jobs.project)))
    # Of the last one the supervisor alone.
    os.kill(int(jobs.started()[1][1]), signal.SIGKILL)
    jobs.manager.abort_lost_runs()
    assert jobs.state(third) == "pending"
    jobs.db.abort_run(third, jobs.project)
    assert living(jobs.started()[1][1:]) == []


def test_jobs_of_a_job_end_with_it(jobs: SimpleNamespace):
    """Also one that ends before its supervisor can record that, or was told what to do."""
    parent = jobs.submit("waiting")
    _, _, number, child = until(jobs.started)[0]

    def begin(uid: str, pid: int) -> None:
        """Do what is done before a supervisor is told."""
        label = process.process_label(pid)
        jobs.db.add_job(uid, jobs.project, label)
        own = {"mlrun/parent-run": parent, "host": socket.gethostname(), "process": label}
        run = {"metadata": {"name": uid, "labels": own}, "status": {"state": "pending"}}
        jobs.db.store_run(run, uid, jobs.project)

    begin("1a", int(child))
    os.kill(int(number), signal.SIGKILL)
    jobs.db.watch_log(parent, jobs.project)
    # Nothing but the job's own supervisor has looked at it.
    assert [jobs.state(uid) for uid in (parent, "1a")] == ["error", "aborted"]
    error = jobs.db.read_run("1a", jobs.project)["status"]["error"]
    assert error.endswith("without recording its end.")

    with subprocess.Popen(["sleep", "60"]) as begun:
        begin("2b", begun.pid)
        background.abort_jobs_of(jobs.db, parent, jobs.project, "Its search was stopped.")
    assert jobs.db.read_run("2b", jobs.project)["status"]["error"] == "Its search was stopped."


def test_a_copy_of_the_store_has_none_of_its_processes(jobs: SimpleNamespace):
    """What happens in a copied project never reaches into the original."""
    uid = jobs.submit("waiting")
    _, *numbers = until(jobs.started)[0]
    path = jobs.folder / "copy" / "mlrun.db"
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path)) as copy:
        jobs.db.connection.backup(copy)
    other = LocalRunDB(f"sqlite:///{path}", jobs=background)
    assert (jobs.db.job_is_alive(uid, jobs.project), other.job_is_alive(uid, jobs.project)) == (
        True,
        False,
    )
    with pytest.raises(MLRunPreconditionFailedError, match="another copy of this store"):
        other.abort_run(uid, jobs.project)
    assert living(numbers) == numbers
    jobs.db.abort_run(uid, jobs.project)
    assert living(numbers) == []


@pytest.mark.parametrize(
    ("asked", "schedule"),
    [
        ({"retry": {"count": 2}}, None),
        ({"notifications": [{"kind": "slack", "name": "us"}]}, None),
        ({}, "0 2 * * *"),
    ],
)
def test_what_needs_an_api_is_refused(jobs: SimpleNamespace, asked, schedule):
    """Before anything is recorded or started."""
    run = {"metadata": {"name": "train", "uid": "1f"}, "spec": {"function": "x/kedro", **asked}}
    with pytest.raises(MLRunNotImplementedServerError, match="needs an MLRun API"):
        jobs.db.submit_job(run, schedule=schedule)
    assert not jobs.db.list_runs(project=jobs.project, uid="1f")
    assert not (jobs.folder / "jobs").exists()


def test_a_run_that_was_not_submitted_is_aborted_by_its_process(jobs: SimpleNamespace):
    """On this machine, if it is known which one that is, and isn't this one."""
    code = "import sys, time; file = open(sys.argv[1]); print('ready', flush=True); time.sleep(600)"
    command = [sys.executable, "-c", code, str(jobs.db.path)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert child.stdout and child.stdout.readline()

    def store(uid: str, host: str = socket.gethostname(), **labels: str) -> None:
        run = {"metadata": {"name": "train", "labels": {"host": host, **labels}}}
        jobs.db.store_run({**run, "status": {"state": "running"}}, uid, jobs.project)

    store("1a", process=f"{child.pid}-{round(time.time())}")
    # Law 12: a copy has the record, and the process is the original's.
    path = jobs.folder / "copy.db"
    with contextlib.closing(sqlite3.connect(path)) as copy:
        jobs.db.connection.backup(copy)
    other = LocalRunDB(f"sqlite:///{path}", jobs=background)
    with pytest.raises(MLRunPreconditionFailedError, match="another copy of this store"):
        other.abort_run("1a", jobs.project)
    assert child.poll() is None
    jobs.db.abort_run("1a", jobs.project)
    assert child.wait() == -signal.SIGTERM
    assert jobs.state("1a") == "aborted"
    store("1b", process=process.process_label())
    with pytest.raises(MLRunPreconditionFailedError, match="goes on in this process"):
        jobs.db.abort_run("1b", jobs.project)
    store("1c", host="elsewhere", process="5-5")
    with pytest.raises(MLRunPreconditionFailedError, match="goes on on elsewhere"):
        jobs.db.abort_run("1c", jobs.project)
    store("1d")
    with pytest.raises(MLRunPreconditionFailedError, match="no label that tells its process"):
        jobs.db.abort_run("1d", jobs.project)
    child.stdout.close()
    for uid in ("1a", "1b", "1c", "1d"):
        jobs.db.del_run(uid, jobs.project)


COMPLETING = """
import signal, sqlite3, sys, time

opened = open(sys.argv[1])

def complete(*_):
    with sqlite3.connect(sys.argv[1]) as store:
        store.execute(
            "UPDATE runs SET state = 'completed',"
            " body = json_set(body, '$.status.state', 'completed')"
        )
    sys.exit()

signal.signal(signal.SIGTERM, complete)
print("ready", flush=True)
time.sleep(600)
"""


def test_what_completes_while_it_is_aborted_is_completed(jobs: SimpleNamespace):
    command = [sys.executable, "-c", COMPLETING, str(jobs.db.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout
        child.stdout.readline()
        labels = {"host": socket.gethostname(), "process": f"{child.pid}-{round(time.time())}"}
        run = {"metadata": {"name": "train", "labels": labels}, "status": {"state": "running"}}
        jobs.db.store_run(run, "1a", jobs.project)
        with pytest.raises(MLRunConflictError, match="has ended"):
            jobs.db.abort_run("1a", jobs.project)
    assert jobs.state("1a") == "completed"


def test_a_long_log_is_not_read_to_its_beginning(tmp_path: Path):
    log = tmp_path / "log"
    with log.open("wb") as file:
        file.truncate(2**40)
        file.seek(0, os.SEEK_END)
        file.write(b"\nthe last line")
    assert supervisor._death(1, log).endswith("\nthe last line")
    # Of real-time signals only the first and the last have a name.
    assert supervisor._death(-(signal.SIGRTMIN + 1), log).startswith(
        f"Its process was killed by signal {signal.SIGRTMIN + 1}."
    )


def test_a_folder_of_two_stores_has_two_folders_of_jobs(tmp_path: Path):
    """Law 2: the other store's job of that number goes on in its own."""
    one, two = (LocalRunDB(f"sqlite:///{tmp_path}/{name}.db").connect() for name in ("a", "b"))
    one.job_folder(1).mkdir(parents=True)
    two.remove_job(1)
    assert one.job_folder(1).is_dir()
