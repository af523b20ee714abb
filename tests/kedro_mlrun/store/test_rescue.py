"""Stores with a record that is none, or with a damaged page."""

import json
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from click.testing import CliRunner, Result
from mlrun.errors import MLRunNotFoundError, MLRunRuntimeError

from kedro_mlrun.commands import cli as commands
from kedro_mlrun.store.db import LocalRunDB
from kedro_mlrun.store.rescue import examine, rescue
from kedro_mlrun.store.rows import TERMINAL_STATES

RUNS = 60


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a store with runs and artifacts, large enough for many pages, and give its file."""
    folder = tmp_path_factory.mktemp("full")
    db = LocalRunDB(f"sqlite:///{folder}/mlrun.db").connect()
    for number in range(RUNS):
        uid = f"u{number:02}"
        spec = {"target_path": f"{folder}/artifacts/{uid}/model.pkl", "text": "x" * 900}
        labels = {"number": str(number)}
        run = {"metadata": {"name": "train", "labels": labels}, "status": {"state": "completed"}}
        db.store_run({**run, "spec": {"text": "x" * 900}}, uid, "iris")
        db.store_artifact("model", {"spec": spec}, project="iris", tree=uid)
    db.connection.close()
    return db.path


@pytest.fixture
def db(tmp_path: Path, full: Path) -> Any:
    """Give a copy of that store."""
    shutil.copy(full, tmp_path)
    return LocalRunDB(f"sqlite:///{tmp_path}/mlrun.db").connect()


def spoil(db: Any, table: str, number: int, body: Any) -> None:
    with db.transaction() as connection:
        # A text need not be UTF-8.
        value = "CAST(? AS TEXT)" if body == b"\xff{" else "?"
        connection.execute(f"UPDATE {table} SET body = {value} WHERE id = ?", (body, number))


def damage(db: Any, table: str, number: int = 0) -> None:
    """Overwrite a page with rows of a table."""
    connection = db.connection
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    query = "SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf' ORDER BY pageno"
    page = connection.execute(query, (table,)).fetchall()[number][0]
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    with db.path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)


def doctor(db: Any, *options: str) -> Result:
    with patch.dict(os.environ, {"MLRUN_DBPATH": db.url}):
        return CliRunner().invoke(commands.cli, ["mlrun", "doctor", "--store", *options])


NO_RECORDS = ["{'a': 1}", "", "[]", '{"metadata": null, "spec": {}}', b"\xff\x00", b"\xff{"]


@pytest.mark.parametrize("table", ["runs", "artifacts"])
def test_records_that_are_none_are_named_and_left_out(
    db: Any, caplog: pytest.LogCaptureFixture, table: str
) -> None:
    """Law 3: a record that can't be read hides no other, and is said once to be there."""
    lost = {f"u{30 + number}" for number in range(len(NO_RECORDS))}
    for number, body in enumerate(NO_RECORDS):
        spoil(db, table, 31 + number, body)
    query: dict[str, Any] = {"project": "iris"}
    if table == "runs":
        query |= {"states": [*TERMINAL_STATES]}
    with caplog.at_level(logging.WARNING, "kedro_mlrun"):
        found = getattr(db, f"list_{table}")(**query)
        pages, token = [], "first"
        while token:
            page, token = getattr(db, f"paginated_list_{table}")(
                **({"page_token": token} if token != "first" else {**query, "page_size": 10})
            )
            pages += page
    for items in found, pages:
        trees = [item["metadata"]["uid" if table == "runs" else "tree"] for item in items]
        assert sorted(trees) == sorted({f"u{number:02}" for number in range(RUNS)} - lost)
    assert len(caplog.messages) == len(NO_RECORDS)
    for row in range(31, 31 + len(NO_RECORDS)):
        (told,) = (text for text in caplog.messages if f"(row {row}) of {db.path}" in text)
        assert "can't be read" in told and "kedro mlrun doctor --store" in told
    with pytest.raises(MLRunNotFoundError):
        if table == "runs":
            db.read_run("u30", "iris")
        else:
            db.read_artifact("model", project="iris", tree="u30")
    lines = doctor(db).output.splitlines()
    assert sum(line.startswith(f"{table[:-1]} ") for line in lines) == len(NO_RECORDS)
    # Written anew, also by another process, it is there again.
    other = LocalRunDB(db.url)
    if table == "runs":
        other.store_run({"metadata": {"name": "train"}}, "u30", "iris")
        assert db.list_runs(project="iris", uid="u30")
        return
    spec = {"target_path": f"{db.path.parent}/artifacts/u30/model.pkl", "text": "x" * 900}
    other.store_artifact("model", {"spec": spec}, project="iris", tree="u30")
    assert db.list_artifacts(project="iris", tree="u30")


def test_any_number_of_records_may_be_none(db: Any) -> None:
    """Law 3: also more than one after another."""
    with db.transaction() as connection:
        connection.execute("UPDATE runs SET body = 'no JSON'")
        row = connection.execute("SELECT * FROM runs").fetchone()
        for number in range(1_100):
            values = {**dict(row), "id": None, "uid": f"v{number}"}
            names = ", ".join(f":{name}" for name in values)
            connection.execute(f"INSERT INTO runs VALUES ({names})", values)
    assert db.find_runs(project="iris", limit=1) == []


def test_a_project_whose_record_is_none_can_be_used(db: Any) -> None:
    """Law 3: there is little in it but its name."""
    with db.transaction() as connection:
        connection.execute("UPDATE projects SET body = '{'")
    assert db.get_project("iris").metadata.name == "iris"
    db.store_run({"metadata": {"name": "a"}}, "u99", "iris")


@pytest.mark.parametrize("table", ["runs", "artifacts"])
def test_a_damaged_page_is_one_sentence(db: Any, table: str) -> None:
    """Law 3: reading says what is damaged and what to do, and writing does."""
    damage(db, table)
    again = LocalRunDB(db.url)
    with pytest.raises(MLRunRuntimeError, match=r"is damaged .*kedro mlrun doctor --store"):
        getattr(again, f"find_{table}")(project="iris")
    with pytest.raises(MLRunRuntimeError, match="is damaged"), again.transaction() as connection:
        connection.execute(f"UPDATE {table} SET body = ''")


def test_a_whole_store_is_said_to_be(db: Any) -> None:
    """Law 9: nothing is rescued from a store that is whole."""
    done = doctor(db)
    assert done.exit_code == 0
    number = "projects: 1, runs: 60, artifacts: 60, functions: 0"
    assert f"{db.path} is whole. It has {number}" in done.output
    assert [path.name for path in db.path.parent.glob("*.db")] == ["mlrun.db"]


@pytest.mark.parametrize("table", ["runs", "artifacts", "artifact_tags"])
def test_what_can_be_read_is_rescued(db: Any, table: str) -> None:
    """Law 3: all but what was on the damaged page is in a new store; the old one stays as it is."""
    spoil(db, "artifacts", 60, "{")
    damage(db, table)
    before = db.path.read_bytes()
    done = doctor(db, "--json")
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert any("artifact" in problem for problem in told["problems"])
    rescued = LocalRunDB(f"sqlite:///{told['rescued']}")
    runs, artifacts = rescued.find_runs(project="iris"), rescued.find_artifacts(project="iris")
    assert (len(runs), len(artifacts)) == (told["readable"]["runs"], told["readable"]["artifacts"])
    assert len(artifacts) < RUNS <= len(runs) + (table == "runs") * 10
    assert artifacts[0]["spec"]["target_path"].startswith(f"{db.path.parent}/artifacts/")
    assert rescued.connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    assert not rescued.connection.execute("PRAGMA foreign_key_check").fetchall()
    if table == "runs":
        assert rescued.list_runs(project="iris", labels="number=59")[0]["metadata"]["uid"] == "u59"
    assert db.path.read_bytes() == before
    # It isn't overwritten.
    again = doctor(db)
    assert again.exit_code == 1
    assert "is there already" in again.output
    assert "Traceback" not in again.output


def test_the_rescued_store_is_put_in_place(db: Any) -> None:
    """Law 2: as is advised, and no WAL of the damaged store is written into it."""
    damage(db, "artifacts")
    code = (
        "import os, sqlite3, sys; db = sqlite3.connect(sys.argv[1]);"
        "db.execute('UPDATE runs SET updated = 0'); db.commit(); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, db.path], check=False)
    assert db.path.with_name("mlrun.db-wal").stat().st_size
    before = db.path.read_bytes()
    advice = doctor(db).output.splitlines()[-1]
    subprocess.run(advice, shell=True, check=True)  # noqa: S602
    assert {path.name for path in db.path.parent.glob("*.db*")} == {"mlrun.db"}
    assert (db.path.parent / "mlrun-damaged" / "mlrun.db").read_bytes() == before
    again = LocalRunDB(db.url)
    assert len(again.find_runs(project="iris")) == RUNS
    assert again.connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


def test_a_store_of_an_earlier_schema_is_rescued(db: Any, tmp_path: Path) -> None:
    """Law 12: its columns and its absolute paths become those of now."""
    connection = sqlite3.connect(db.path)
    connection.execute("DROP TABLE run_inputs")
    connection.execute("DROP TABLE homes")
    connection.execute("PRAGMA user_version = 1")
    connection.execute("UPDATE runs SET body = '{' WHERE id = 1")
    connection.commit()
    connection.close()
    db.connection.close()
    told = json.loads(doctor(db, "--json").stdout)
    rescued = LocalRunDB(f"sqlite:///{told['rescued']}")
    assert len(rescued.find_runs(project="iris")) == RUNS - 1


def test_a_record_that_is_none_is_migrated(db: Any) -> None:
    """Law 12: a store of an earlier version can be used, whatever one of its records is."""
    spoil(db, "runs", 31, b"\xff{")
    with db.transaction() as connection:
        connection.execute("DROP TABLE homes")
        connection.execute("PRAGMA user_version = 3")
    again = LocalRunDB(db.url)
    assert len(again.find_runs(project="iris")) == RUNS - 1
    assert len(again.find_artifacts(project="iris")) == RUNS


def test_what_is_no_store_is_said_to_be_none(tmp_path: Path, db: Any) -> None:
    """Law 9: a file that isn't there, or is something else, is one sentence."""
    with patch.dict(os.environ, {"MLRUN_DBPATH": f"sqlite:///{tmp_path}/none.db"}):
        done = CliRunner().invoke(commands.cli, ["mlrun", "doctor", "--store"])
    assert done.exit_code == 1
    assert "There is no store" in done.output


def test_a_damaged_change_does_not_take_its_run_with_it(db: Any, tmp_path: Path) -> None:
    """Law 3: the run is rescued with its other changes, and what is lost is told."""
    db.store_run({"metadata": {"name": "train"}, "status": {"state": "running"}}, "u1", "iris")
    with db.transaction() as connection:
        for number in range(3):
            db.add_to_run({"status": {"results": {f"r{number}": number}}}, "u1", "iris", 0)
        connection.execute("UPDATE run_changes SET body = '{' WHERE id = 2")
    _, problems = examine(db.path)
    assert len(problems) == 1 and problems[0].startswith("run_change 2: ")
    rescued = LocalRunDB(f"sqlite:///{rescue(db.path)}")
    assert rescued.read_run("u1", "iris")["status"]["results"] == {"r0": 0, "r2": 2}
