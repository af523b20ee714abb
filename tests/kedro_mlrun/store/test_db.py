"""What the embedded store has for itself: a file, shared by processes that may be killed."""

import contextlib
import gc
import hashlib
import inspect
import itertools
import json
import multiprocessing
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import mlrun
import mlrun.db.factory
import pytest
from helpers import PROJECT
from mlrun.common.runtimes.constants import RunStates
from mlrun.db import RunDBInterface
from mlrun.db.httpdb import HTTPRunDB
from mlrun.errors import (
    MLRunInvalidArgumentError,
    MLRunNotFoundError,
    MLRunNotImplementedServerError,
    MLRunRuntimeError,
)
from store_writers import (
    ARTIFACTS,
    RESULTS,
    forked,
    save_until_killed,
    store_version,
    store_versions,
    store_when_told,
    write_results,
)

from kedro_mlrun.records.query import select
from kedro_mlrun.records.records import Records
from kedro_mlrun.runs.open_runs import abort_lost_runs
from kedro_mlrun.store import sqlite
from kedro_mlrun.store.db import LocalRunDB
from kedro_mlrun.store.rescue import examine
from kedro_mlrun.store.rows import TERMINAL_STATES, Rows

WRITERS = 8

TABLES = {*re.findall(r"TABLE IF NOT EXISTS (\w+)", sqlite.SCHEMA)}

# Forked from this one, which has imported MLRun: that takes longer than what they do.
processes = multiprocessing.get_context("fork")


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Give the URL of a store that is not there yet."""
    return f"sqlite:///{tmp_path}/folder/mlrun.db"


@pytest.fixture
def db(url: str) -> Any:
    """Give a new store."""
    return LocalRunDB(url).connect()


def run_(name: str = "train") -> dict[str, Any]:
    return {"metadata": {"name": name}, "status": {"state": "completed"}}


# ---- how it is chosen


def test_the_url_chooses_the_database(url):
    """An MLRun API is used as ever. This test fails when MLRun changes its private way in.

    Here MLRun was imported before the package, as in a notebook; where a test runs code in a new
    process (`python` in conftest.py), it is the other way round.
    """
    run_db = mlrun.db.factory.RunDBFactory()._rundb_container.run_db
    assert isinstance(run_db("http://mlrun-api:8080"), HTTPRunDB)
    assert isinstance(run_db("https://mlrun-api"), HTTPRunDB)
    assert type(run_db(url)) is LocalRunDB


@pytest.mark.parametrize(
    "url", ["sqlite:", "sqlite://", "sqlite:///", "sqlite://mlrun.db", "sqlite:///:memory:"]
)
def test_a_url_without_a_file_is_refused(url):
    """A store that would vanish with its process is not what anybody wants."""
    with pytest.raises(MLRunInvalidArgumentError, match="sqlite:///PATH"):
        LocalRunDB(url)


def test_paths_are_as_in_sqlalchemy(tmp_path, monkeypatch):
    """Three slashes and a relative path, or four and an absolute one; chdir changes nothing."""
    monkeypatch.chdir(tmp_path)
    relative = LocalRunDB("sqlite:///store/mlrun.db")
    assert relative.path == LocalRunDB(f"sqlite:///{tmp_path}/store/mlrun.db").path
    monkeypatch.chdir("/")
    assert relative.connect().path == tmp_path / "store" / "mlrun.db"


# ---- what it supports


def public_methods(*classes: type) -> dict[str, Any]:
    return {
        name: member
        for client in classes
        for name, member in vars(client).items()
        if inspect.isfunction(member) and not name.startswith("_")
    }


SUPPORTED = public_methods(LocalRunDB)
UNSUPPORTED = sorted({*public_methods(RunDBInterface), *public_methods(HTTPRunDB)} - {*SUPPORTED})


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_is_not_supported_says_so(url, name):
    """An unsupported method says which it is and what it needs; none does nothing in silence."""
    with pytest.raises(MLRunNotImplementedServerError, match=f"'{name}'.* needs an MLRun API"):
        getattr(LocalRunDB(url), name)("project", name="x", anything=1)


def test_every_method_of_mlrun_is_supported_or_refused():
    """Nothing of MLRun's interface is left over, so nothing of it does nothing in silence."""
    assert not inspect.isabstract(LocalRunDB)
    assert "submit_workflow" in UNSUPPORTED
    assert {"store_run", "update_run", "store_artifact", "store_log"} <= {*SUPPORTED}


@pytest.mark.parametrize("name", sorted({*SUPPORTED} & {*public_methods(HTTPRunDB)}))
def test_arguments_are_those_of_mlruns_client(name):
    """What is written for MLRun's client works: the same arguments in the same order."""

    def arguments(client: type, name: str) -> list[str]:
        return list(inspect.signature(getattr(client, name)).parameters)

    assert arguments(LocalRunDB, name) == arguments(HTTPRunDB, name)


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        *(("list_runs", "with_notifications"), ("list_runs", "partition_by")),
        ("list_artifacts", "partition_by"),
        *(("list_artifacts", "parent"), ("list_artifacts", "category")),
        ("list_projects", "format_"),
    ],
)
def test_no_argument_is_ignored(db, name, argument):
    """A list that is longer than what was asked for would be taken for the answer."""
    with pytest.raises(MLRunNotImplementedServerError, match=f"'{argument}'.* needs an MLRun API"):
        getattr(db, name)(**{argument: "x"})
    assert getattr(db, name)(**{argument: None}) == []
    with pytest.raises(TypeError, match="anything"):
        getattr(db, name)(anything=1)


def test_records_are_read_without_mlrun(db, url):
    """What lies below MLRun's interface needs neither MLRun nor what takes as long to import."""
    db.store_run(run_(), "u1", "iris")
    store_version(db, "t1")
    code = (
        "import sys; from kedro_mlrun.store.rows import Rows; "
        f"store = Rows({url!r}); runs = store.find_runs(project='iris', name='train'); "
        "artifact = store.read_artifact('model', 'iris'); "
        "print(runs[0]['metadata']['uid'], artifact['metadata']['tree'], "
        "{'mlrun', 'pandas', 'kedro'} & {*sys.modules})"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(PROJECT / "src")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert shown == "u1 t1 set()\n"
    assert set(TERMINAL_STATES) == set(RunStates.terminal_states())
    with pytest.raises(MLRunNotImplementedServerError, match="'anything' of lists"):
        Rows(url).find_runs(anything=1)


def test_what_the_api_has_no_question_for(db):
    """Runs and artifacts by the beginning of their ids, and runs by what they have used."""
    for uid, used in {"ab1": "9e5a", "ab2": "9e5a", "b": "77"}.items():
        run = run_() | {"spec": {"inputs": {"model": f"store://models/iris/model#0@t^{used}"}}}
        db.store_run(run, uid, "iris")
    found = db.find_runs(project="iris", beginning="ab")
    assert [run["metadata"]["uid"] for run in found] == ["ab2", "ab1"]
    assert db.find_runs(project="iris", beginning="a_") == []
    assert db.find_runs(project="other", beginning="ab") == []
    assert db.find_runs(project="iris", using="9e5a") == found
    db.store_run(run_(), "ab1", "iris")
    db.del_run("ab2", "iris")
    assert db.find_runs(project="iris", using="9e5a") == []
    store_version(db, "t1")
    uid = db.read_artifact("model", project="iris")["metadata"]["uid"]
    (artifact,) = db.find_artifacts(project="iris", beginning=uid[:6])
    assert artifact["metadata"]["uid"] == uid


# ---- the file


def change(path: Path, *statements: str) -> None:
    """Change a database behind the store's back."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def test_a_newer_schema_is_refused(db, url):
    """A store of a later release is neither used nor changed, also when MLRun tries again."""
    db.connection.close()
    change(db.path, "PRAGMA user_version = 99")
    before = db.path.read_bytes()
    for _ in range(2):
        with pytest.raises(
            MLRunInvalidArgumentError, match=f"schema 99, .* newer than {sqlite.VERSION}"
        ):
            mlrun.get_run_db(url).store_run(run_(), "u1", "iris")
    assert db.path.read_bytes() == before
    names = {path.name for path in db.path.parent.iterdir()}
    assert names == {".gitignore", db.path.name, f"{db.path.name}-reserve"}


def test_a_store_of_the_first_schema_is_migrated(db, url):
    """What its runs have used is found, whatever else their records hold."""
    uri = "store://models/iris/model#0:latest@t1^{}"
    bodies: list[dict[str, Any]] = [
        {"spec": {"inputs": {"model": uri.format("9e5a"), "raw": "s3://a^b"}}},
        {"spec": {"inputs": {"model": uri.format("9e5a")}}, "status": {"loss": float("nan")}},
        {"spec": {"inputs": {"model": "store://models/iris/model:latest"}}},
        {"spec": {}},
    ]
    columns = "project, uid, iteration, name, state, start_time, updated, body"
    texts = [json.dumps({"metadata": {}, "status": {}} | body) for body in bodies]
    for number, text in enumerate([*texts, "no record"]):
        values = ("iris", f"u{number}", 0, "train", "completed", f"{number}", "", text)
        db.connection.execute(
            f"INSERT INTO runs ({columns}) VALUES ({', '.join('?' * len(values))})", values
        )
    db.connection.close()
    later = (f"DROP TABLE {table}" for table in ("run_inputs", "jobs", "homes"))
    change(db.path, *later, "DROP INDEX artifacts_with_uid", "PRAGMA user_version = 1")
    migrated = LocalRunDB(url).connect()
    runs = migrated.find_runs(project="iris", using="9e5a")
    assert [run["spec"] for run in runs] == [bodies[1]["spec"], bodies[0]["spec"]]
    new = LocalRunDB(url.replace("mlrun.db", "new.db")).connect()
    schema = "SELECT name, sql FROM sqlite_master ORDER BY name"
    of_both = [store.connection.execute(schema).fetchall() for store in (migrated, new)]
    assert of_both[0] == of_both[1]


def test_a_migration_that_fails_changes_nothing(db, url, monkeypatch):
    """A migration is done whole or not at all; a store of a later schema is refused."""
    db.store_run(run_(), "u1", "iris")
    later = "ALTER TABLE runs ADD COLUMN a TEXT; {}"
    with monkeypatch.context() as patch:
        patch.setattr(sqlite, "VERSION", sqlite.VERSION + 1)
        patch.setattr(sqlite, "MIGRATION", later.format("DROP TABLE nothing"))
        with pytest.raises(MLRunInvalidArgumentError, match=r"mlrun\.db can't be used.*nothing"):
            LocalRunDB(url).connect()
        assert "a" not in {row["name"] for row in db.connection.execute("PRAGMA table_info (runs)")}
        patch.setattr(sqlite, "MIGRATION", later.format("CREATE INDEX b ON runs (a)"))
        migrated = LocalRunDB(url).connect()
        assert migrated.read_run("u1", "iris")["metadata"]["name"] == "train"
        assert migrated.connection.execute("SELECT a FROM runs").fetchone()[0] is None
    with pytest.raises(MLRunInvalidArgumentError, match=f"schema {sqlite.VERSION + 1}"):
        LocalRunDB(url).connect()


def a_text(path: Path) -> None:
    path.write_text("not a database, but long enough for one" * 100)


def a_database(path: Path) -> None:
    change(path, "CREATE TABLE experiments (id)", "PRAGMA user_version = 1")


def test_git_ignores_the_folder_that_a_store_makes(tmp_path):
    """Another folder is somebody's own."""
    LocalRunDB(f"sqlite:///{tmp_path}/mlrun.db").connect()
    LocalRunDB(f"sqlite:///{tmp_path}/new/store/mlrun.db").connect()
    assert (tmp_path / "new" / "store" / ".gitignore").read_text() == "*\n"
    assert [path.name for path in tmp_path.glob(".gitignore")] == []


def test_an_impossible_path_is_refused(tmp_path):
    """A path below a file is refused in a sentence."""
    (tmp_path / "file").touch()
    with pytest.raises(MLRunInvalidArgumentError, match=r"mlrun\.db can't be used as an embedded"):
        LocalRunDB(f"sqlite:///{tmp_path}/file/mlrun.db").connect()


@pytest.mark.parametrize("make", [a_text, Path.mkdir, a_database])
def test_something_else_is_refused(tmp_path, make):
    """A path that holds something else is refused in a sentence, and not changed."""
    path = tmp_path / "other"
    make(path)
    before = path.is_file() and path.read_bytes()
    with pytest.raises(MLRunInvalidArgumentError, match="other can't be used as an embedded store"):
        LocalRunDB(f"sqlite:///{path}").connect()
    assert (path.is_file() and path.read_bytes()) == before


def test_a_store_that_is_held_is_an_error(db, url, monkeypatch):
    """Who waited too long for another process gets a sentence that says so."""
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.05)
    with db.transaction():
        with pytest.raises(MLRunRuntimeError, match="can't be written to: database is locked"):
            LocalRunDB(url).connect().store_run(run_(), "u1", "iris")
    db.store_run(run_(), "u1", "iris")


def test_a_read_only_store_is_an_error_at_once(url):
    """Only who finds the store busy waits; the superuser who may run this can write everywhere."""
    read_only = sqlite3.OperationalError("attempt to write a readonly database")
    read_only.sqlite_errorcode = sqlite3.SQLITE_READONLY
    connection = Mock(execute=Mock(side_effect=read_only))
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        sqlite._use_wal(connection)
    connection.execute.assert_called_once()


def test_readers_do_not_wait_for_writers(db):
    """A report can be read while a run is recorded, which takes SQLite's write-ahead log."""
    assert db.connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    db.store_run(run_(), "u1", "iris")
    with db.transaction():
        db.write_run(run_("other"), "u2", "iris", 0)
        (run,) = LocalRunDB(db.url).list_runs(project="iris")
    assert run["metadata"]["uid"] == "u1"


def test_what_is_deleted_leaves_nothing(db):
    """Neither tags nor labels are left over for what comes after."""
    store_version(db, "t1", tag="v1")
    db.store_run({**run_(), "metadata": {"labels": {"a": "b"}}}, "u1", "iris")
    db.del_artifact("model", project="iris")
    db.del_run("u1", "iris")
    for table in TABLES - {"projects", "homes"}:
        assert not db.connection.execute(f"SELECT * FROM {table}").fetchall(), table


def test_a_run_is_deleted_with_all_iterations(db):
    """Whichever is named, as by MLRun's API."""
    for iteration in range(3):
        db.store_run(run_(), "u1", "iris", iter=iteration)
    db.del_run("u1", "iris", iter=2)
    assert db.list_runs(project="iris", uid="u1", iter=True) == []


def test_a_failed_write_leaves_nothing(db):
    """What fails in the middle is undone, and the store goes on."""

    class Unlucky(dict):
        def items(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        with db.transaction():
            db.write_run(run_(), "u1", "iris", 0)
            db.write_pairs("run_labels", "value", 1, Unlucky(a=1))
    with pytest.raises(MLRunNotFoundError):
        db.read_run("u1", "iris")
    db.store_run(run_(), "u1", "iris")


def test_a_deleted_store_is_made_anew(db):
    """After `rm -r .mlrun`, a notebook that is still open records to a new store."""
    db.store_run(run_(), "u1", "iris")
    for file in db.path.parent.iterdir():
        file.unlink()
    db.store_run(run_(), "u2", "iris")
    (run,) = LocalRunDB(db.url).list_runs(project="iris", iter=True)
    assert run["metadata"]["uid"] == "u2"


# ---- several at once


def test_processes_write_at_once(url, tmp_path):
    """8 processes that make a store and write 50 results and 10 artifacts each lose nothing."""
    writers = [
        processes.Process(target=write_results, args=(url, tmp_path / "artifacts", number))
        for number in range(WRITERS)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * WRITERS
    db = LocalRunDB(url)
    for number in range(WRITERS):
        (run,) = db.list_runs(f"writer-{number}", project="iris")
        expected = {f"r{result}": number * result for result in range(RESULTS)}
        assert run["status"]["results"] == expected
        assert run["status"]["state"] == "completed"
    found = db.list_artifacts(project="iris", tag="latest")
    assert len(found) == WRITERS * ARTIFACTS
    for record in found:
        number, artifact = record["metadata"]["key"].removeprefix("a").split("-")
        assert Path(record["spec"]["target_path"]).read_text() == f"{number} {artifact}"


def test_processes_write_to_one_key(url, tmp_path):
    """Of versions that are stored at once all are kept, and one is the latest."""
    LocalRunDB(url).connect()
    with processes.Pool(4) as pool:
        pool.starmap(store_versions, [(url, number) for number in range(4)])
    db = LocalRunDB(url)
    assert len(db.list_artifacts("model", project="iris")) == 40
    assert len(db.list_artifacts("model", project="iris", tag="latest")) == 1


def test_a_forked_process_has_its_own_locks(url):
    """What a forked process writes is there, though its parent lets the store go before it."""
    db = LocalRunDB(url)
    db.store_run(run_(), "0", "iris")
    ours, theirs = multiprocessing.Pipe()
    writer = processes.Process(target=store_when_told, args=(url, theirs))
    writer.start()
    assert ours.recv() == "stored"
    del db
    gc.collect()
    ours.send("again")
    writer.join()
    assert writer.exitcode == 0
    assert len(LocalRunDB(url).list_artifacts("model", project="iris")) == 2


def test_a_store_that_is_let_go_is_closed(url):
    """A store's file is not held open by what nobody uses any more."""
    LocalRunDB(url).connect()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(LocalRunDB(url).connect).result()
    assert not Path(f"{url.removeprefix('sqlite:///')}-wal").exists()


def test_threads_share_a_store(db):
    """Threads write and read at once through one object, as a ThreadRunner's datasets do."""
    failures: list[Exception] = []

    def write(number: int) -> None:
        try:
            for run in range(25):
                db.store_run(run_(), f"{number}-{run}", "iris")
                assert db.read_run(f"{number}-{run}", "iris")
        except Exception as exc:
            failures.append(exc)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(db.list_runs("train", project="iris")) == 200


def test_a_forked_child_may_go_on_writing(db):
    """A child that took an open store over, as a ParallelRunner's workers do, opens its own."""

    def write(number: int) -> None:
        for run in range(20):
            db.store_run(run_(), f"{number}-{run}", "iris")

    def write_in_child(number: int) -> None:
        write(number)
        assert db.connection is not of_parent

    db.store_run(run_(), "parent", "iris")
    of_parent = db.connection
    children = [processes.Process(target=write_in_child, args=(number,)) for number in range(4)]
    for child in children:
        child.start()
    write(9)
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * 4
    assert len(db.list_runs("train", project="iris")) == 101
    assert db.connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


def test_a_killed_process_leaves_a_whole_store(url, tmp_path):
    """After kill -9 the store opens, has all that was saved, and no record without its bytes."""
    saved: set[str] = set()
    for attempt in range(8):
        reader, writer = processes.Pipe(duplex=False)
        args = (url, tmp_path / "artifacts", f"run{attempt}", writer)
        process = processes.Process(target=save_until_killed, args=args)
        process.start()
        writer.close()
        saved.add(reader.recv())
        time.sleep(random.uniform(0, 0.1))
        process.kill()
        process.join()
        with contextlib.suppress(EOFError):
            while True:
                saved.add(reader.recv())

    db = LocalRunDB(url).connect()
    assert db.connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    records = db.list_artifacts(project="iris", tag="latest")
    assert saved <= {record["metadata"]["key"] for record in records}
    for record in records:
        content = Path(record["spec"]["target_path"]).read_bytes()
        assert hashlib.sha1(content).hexdigest() == record["metadata"]["hash"]


# ---- speed

KEY = {"key": "model", "project": "iris"}
QUERIES: dict[str, Callable[[Any], Any]] = {
    "runs": lambda db: db.list_runs(project="iris"),
    "runs of a name": lambda db: db.list_runs("train", project="iris"),
    "runs by part of a name": lambda db: db.list_runs("~rai", project="iris"),
    "runs by id": lambda db: db.list_runs(uid=["u1", "u2"], project="iris"),
    "runs by label": lambda db: db.list_runs(labels="a=b", project="iris"),
    "runs by state": lambda db: db.list_runs(states=["error"], project="iris"),
    "runs by start": lambda db: db.list_runs(start_time_from="2026-01-01", project="iris"),
    "runs by update": lambda db: db.list_runs(last_update_time_to="2026-01-01", project="iris"),
    "runs by end": lambda db: db.list_runs(end_time_from="2026-01-01", project="iris"),
    "runs with iterations": lambda db: db.list_runs(iter=True, project="iris"),
    "page of runs": lambda db: db.paginated_list_runs("train", project="iris", page=2),
    "first runs": lambda db: db.paginated_list_runs("train", project="iris", page_size=5),
    "run": lambda db: db.read_run("u1", "iris"),
    "update of a run": lambda db: db.update_run({"status.state": "error"}, "u1", "iris"),
    "log": lambda db: (db.store_log("u1", "iris", b"text"), db.get_log("u1", "iris")),
    "artifacts": lambda db: db.list_artifacts(project="iris"),
    "artifacts of a key": lambda db: db.list_artifacts("model", project="iris"),
    "artifact by tag": lambda db: db.list_artifacts("model", tag="v1", project="iris"),
    "artifacts by tag": lambda db: db.list_artifacts(tag="v1", project="iris"),
    "artifacts by label": lambda db: db.list_artifacts(labels=["a"], project="iris"),
    "artifacts by kind": lambda db: db.list_artifacts(kind="model", project="iris"),
    "artifacts by tree": lambda db: db.list_artifacts(tree="t1", project="iris"),
    "best artifacts": lambda db: db.list_artifacts(best_iteration=True, project="iris"),
    "page of artifacts": lambda db: db.paginated_list_artifacts(tag="latest", project="iris"),
    "first artifacts": lambda db: db.paginated_list_artifacts(project="iris", page_size=5),
    "latest": lambda db: db.read_artifact(**KEY),
    "tagged": lambda db: db.read_artifact(**KEY, tag="latest", iter=0),
    "of a tree": lambda db: db.read_artifact(**KEY, tree="t1"),
    "artifact again": lambda db: store_version(db, "t1"),
    "tagging": lambda db: db.tag_objects(
        "iris", "v2", {"kind": "artifact", "identifiers": [{"key": "model"}]}
    ),
    "function": lambda db: db.get_function("train", "iris"),
    "function again": lambda db: db.store_function({"metadata": {}}, "train", "iris"),
    "runs by beginning": lambda db: db.find_runs(project="iris", beginning="u"),
    "artifacts by beginning": lambda db: db.find_artifacts(project="iris", beginning="9e5a7"),
    "lost runs": lambda db: abort_lost_runs(db, "iris"),
    "runs by input": lambda db: db.find_runs(project="iris", using="9e5a"),
    "runs by a condition": lambda db: select(Records(db, "iris"), ["number = 7 and other < 3"]),
    "runs sorted": lambda db: select(Records(db, "iris"), sort="number", limit=5),
    "runs sorted, smallest first": lambda db: select(
        Records(db, "iris"), sort="results.number", ascending=True, limit=5
    ),
    "deleted artifact": lambda db: db.del_artifact(**KEY, tag="latest"),
    "deleted run": lambda db: db.del_run("u1", "iris"),
}


def fill(db: Any) -> None:
    status = {"state": "completed", "results": {"number": 7, "other": 2}}
    db.store_run({**run_(), "status": status}, "u1", "iris")
    db.store_function({"metadata": {}}, "train", "iris")
    store_version(db, "t1", tag="v1")


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_indices_are_used(db, query):
    """No query on one project reads a table from end to end."""
    fill(db)
    statements: list[str] = []
    db.connection.set_trace_callback(statements.append)
    query(db)
    db.connection.set_trace_callback(None)
    statements = [text for text in statements if text.startswith(("SELECT", "UPDATE", "DELETE"))]
    assert statements
    for statement in statements:
        plan = [row["detail"] for row in db.connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
        scans = [step for step in plan if step.startswith("SCAN ") and step.split()[1] in TABLES]
        assert not scans, (statement, plan)


OFTEN = [
    *("run", "update of a run", "runs by id", "first runs", "runs by beginning", "runs by input"),
    *("runs by a condition", "runs sorted", "runs sorted, smallest first"),
    "lost runs",
    *("latest", "tagged", "of a tree", "artifact again", "first artifacts"),
    *("artifact by tag", "artifacts by tag", "artifacts by tree", "artifacts by beginning"),
]


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Give a store with few runs and versions of an artifact, and one with many."""
    made = []
    for size in (20, 400):
        db = LocalRunDB(f"sqlite:///{tmp_path_factory.mktemp('store')}/mlrun.db").connect()
        fill(db)
        for number in range(size):
            store_version(db, f"{number}")
            status = {"state": "completed", "results": {"number": number, "other": number % 3}}
            db.store_run({**run_(), "status": status}, f"{number}", "iris")
        made.append(db)
    return made


def steps(db: Any, query: Callable[[Any], Any]) -> int:
    """Count the tens of SQLite's instructions that something takes."""
    ticks: list[None] = []
    db.connection.set_progress_handler(lambda: ticks.append(None), 10)
    query(db)
    db.connection.set_progress_handler(None, 0)
    return len(ticks)


@pytest.mark.parametrize("name", OFTEN)
def test_what_is_done_often_is_as_quick_in_a_full_store(stores, name):
    """To read or write one thing costs the same beside 400 others or versions of it."""
    few, many = (steps(db, QUERIES[name]) for db in stores)
    assert many < few * 1.5 + 10


def read_only(folder: Path, function: Callable[..., Any], url: str) -> Any:
    """Call a function of a store in a process for which its folder is read-only."""
    for path in folder.iterdir():
        os.chmod(path, 0o444)
    os.chmod(folder, 0o555)
    try:
        return forked(function, url, may_write=False)
    finally:
        os.chmod(folder, 0o755)


def names(url: str) -> list[str]:
    return [run["metadata"]["name"] for run in Rows(url).find_runs(project="iris")]


def examine_and_write(url: str) -> tuple[list[str], list[str], str]:
    rows = Rows(url)
    found, (_, problems) = names(url), examine(rows.path)
    with pytest.raises(MLRunRuntimeError) as raised, rows.transaction():
        rows.insert_project({"metadata": {"name": "other"}})
    return found, problems, str(raised.value)


def test_a_store_that_cannot_be_written_to_is_read(tmp_path: Path) -> None:
    """Law 9: an archive on a read-only medium is listed; what would change it is refused."""
    store = LocalRunDB(f"sqlite:///{tmp_path}/old/mlrun.db").connect()
    store.store_run(run_(), "1f", "iris")
    store.connection.close()
    listed, problems, refused = read_only(tmp_path / "old", examine_and_write, store.url)
    assert (listed, problems) == (["train"], [])
    assert "can't be written to: attempt to write a readonly database" in refused


def names_or_error(url: str) -> Any:
    try:
        return names(url)
    except MLRunInvalidArgumentError as error:
        return str(error)


@pytest.mark.parametrize("left", [{"mlrun.db-wal", "mlrun.db-shm"}, {"mlrun.db-wal"}], ids=len)
def test_what_a_killed_process_wrote_is_not_left_out(tmp_path: Path, left: set[str]) -> None:
    """Law 3: a store that is only read is read with its WAL, or not at all."""
    store = LocalRunDB(f"sqlite:///{tmp_path}/old/mlrun.db").connect()
    store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    store.store_run(run_("late"), "1f", "iris")
    (tmp_path / "killed").mkdir()
    for name in {"mlrun.db", *left}:
        shutil.copy(tmp_path / "old" / name, tmp_path / "killed")
    url = store.url.replace("/old/", "/killed/")
    told = read_only(tmp_path / "killed", names_or_error, url)
    assert told == ["late"] or "can't be used as an embedded store" in told


def test_a_process_is_forked_while_threads_use_the_store(url):
    """A child waits for nothing that another thread of its parent had in use."""
    db, stop, failures = LocalRunDB(url).connect(), threading.Event(), list[Exception]()

    def use(number: int) -> None:
        try:
            for version in itertools.count():
                if stop.is_set():
                    return
                store_version(LocalRunDB(url), f"{number}-{version}", f"of-{number}")
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for number in range(30):
        child = processes.Process(target=store_version, args=(db, f"{number}", "forked"))
        child.start()
        child.join(60)
        assert child.exitcode == 0
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(db.list_artifacts("forked", project="iris")) == 30
