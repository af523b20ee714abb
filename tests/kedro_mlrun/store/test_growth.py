"""How large stores get, and that what is deleted gives its space back."""

import json
import os
import shutil
import sqlite3
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import Store
from mlrun.errors import MLRunNotImplementedServerError
from store_writers import forked

from kedro_mlrun import MLRunDataframeDataset
from kedro_mlrun.jobs.source import Archive, upload
from kedro_mlrun.records.records import Records
from kedro_mlrun.store import sqlite
from kedro_mlrun.store.db import LocalRunDB

RUN = {"metadata": {"name": "a"}, "status": {"state": "completed"}, "spec": {"text": "x" * 9000}}


def filled(db: LocalRunDB) -> list[str]:
    uids = [uuid.uuid4().hex for _ in range(50)]
    for uid in uids:
        db.store_run(RUN, uid, "iris")
    return uids


@pytest.mark.parametrize("earlier", [False, True])
def test_deleted_runs_give_their_space_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, earlier: bool
) -> None:
    """Law 10: the file shrinks, also that of a store which an earlier version has made."""
    db = LocalRunDB(f"sqlite:///{tmp_path}/mlrun.db")
    if earlier:
        connection = sqlite3.connect(db.path)
        # Not made for incremental vacuums.
        connection.executescript(sqlite.SCHEMA)
        connection.execute("DROP TABLE homes")
        connection.execute("PRAGMA user_version = 3")
        connection.execute(f"PRAGMA application_id = {sqlite.APPLICATION_ID}")
        connection.close()
    uids = filled(db)
    db.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = db.path.stat().st_size
    for uid in uids[:40]:
        db.del_run(uid, "iris")
    assert db.path.stat().st_size < before / 2
    assert len(db.find_runs(project="iris")) == 10
    # Where somebody reads, the space waits, and nobody else does.
    reader = sqlite3.connect(db.path)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM runs").fetchone()
    for uid in uids[40:]:
        db.del_run(uid, "iris")
    reader.close()


@pytest.fixture
def disk() -> Iterator[Path]:
    """Give a file system of 12 MB."""
    folder = Path("/tmp") / f"kedro-mlrun-disk-{uuid.uuid4().hex}"  # noqa: S108
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)]
    can = shutil.which("mount") and os.geteuid() == 0
    if not can or subprocess.run(mount, capture_output=True, check=False).returncode:
        folder.rmdir()
        pytest.skip("only root may make a file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
    folder.rmdir()


def delete(url: str, uids: list[str]) -> tuple[int, int]:
    """Delete runs, and count those before and after."""
    db = LocalRunDB(url)
    before = len(db.find_runs(project="iris"))
    for uid in uids:
        db.del_run(uid, "iris")
    return before, len(db.find_runs(project="iris"))


def read(url: str) -> int:
    return len(LocalRunDB(url).connect().find_runs(project="iris"))


def test_runs_are_deleted_on_a_full_disk(disk: Path) -> None:
    """Law 3: what is recorded can be read and deleted, and then there is room again."""
    db = LocalRunDB(f"sqlite:///{disk}/store/mlrun.db")
    uids = filled(db)
    db.connection.close()
    with pytest.raises(OSError, match="No space"), (disk / "fill").open("wb") as file:
        while True:
            file.write(b"x" * 1024)
            file.flush()
    assert shutil.disk_usage(disk).free == 0
    # As another process, to which even to open the store takes some space. To read takes none, so
    # that what is reserved is there for who deletes.
    reserve = disk / "store" / "mlrun.db-reserve"
    assert forked(read, db.url) == 50 and reserve.exists()
    assert forked(delete, db.url, uids[:30]) == (50, 20) and not reserve.exists()
    assert shutil.disk_usage(disk).free > 100_000
    (disk / "fill").unlink()
    assert forked(read, db.url) == 20 and reserve.exists()


def test_a_data_frames_record_is_small(embedded: Store) -> None:
    """Law 7: with preview, statistics and schema it is a fraction of its text."""
    frame = pd.DataFrame(np.random.default_rng(1).random((400, 12)), columns=[*"abcdefghijkl"])
    MLRunDataframeDataset("frame").save(frame)
    db = embedded.manager.db
    (stored,) = db.connection.execute("SELECT length(body) FROM artifacts").fetchone()
    (record,) = db.list_artifacts("frame", project=embedded.project)
    assert stored < 7_000 < len(json.dumps(record)) / 2
    assert record["status"]["stats"]["a"]["count"] == 400


def test_many_artifacts_of_a_run_are_few_queries(tmp_path: Path) -> None:
    """Law 7: reading a run with 100 artifacts asks no question for each of them."""
    db, uris = LocalRunDB(f"sqlite:///{tmp_path}/mlrun.db").connect(), dict[str, str]()
    for number in range(100):
        key = f"k{number}"
        made = db.store_artifact(key, {}, project="iris", tree="u1", tag=f"t{number % 3}")
        uris[key] = f"store://artifacts/iris/{key}#0@u1^{made['metadata']['uid']}"
    db.store_run({**RUN, "status": {"artifact_uris": uris}}, "u1", "iris")
    asked: list[str] = []
    db.connection.set_trace_callback(asked.append)
    run = db.read_run("u1", "iris")
    assert len(asked) < 5
    assert [item["metadata"]["key"] for item in run["status"]["artifacts"]] == [*uris]
    asked.clear()
    assert db.read_run("u1", "iris", format_="standard")["metadata"]["uid"] == "u1"
    db.store_run({**RUN, "status": {"artifact_uris": {}}}, "u2", "iris")
    assert db.read_run("u2", "iris")["status"]["artifacts"] == []


def job(db: LocalRunDB, source: str, image: str = "a") -> dict[str, Any]:
    """Record a run whose function has its source from an archive."""
    spec = {"build": {"source": source}, "image": image}
    function = {"kind": "job", "metadata": {"name": "kedro"}, "spec": spec}
    key, uid = db.store_function(function, "kedro", "iris", versioned=True), uuid.uuid4().hex
    db.store_run({**RUN, "spec": {"function": f"iris/kedro@{key}"}}, uid, "iris")
    return db.read_run(uid, "iris")


def test_an_archive_goes_with_the_last_run_that_names_it(tmp_path: Path) -> None:
    """Law 2: the source of another run stays, and so does what isn't the store's own."""
    (tmp_path / "store").mkdir()
    db = LocalRunDB(f"sqlite:///{tmp_path}/store/mlrun.db")
    records = Records(db, "iris")
    files = [
        tmp_path / place / "source" / f"{letter * 64}.tar.gz"
        for place, letter in (("store", "a"), ("store", "b"), ("elsewhere", "a"))
    ] + [tmp_path / "store" / "mine.tar.gz"]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        os.utime(file, (1, 1))
    # Of two versions of the function, with one source.
    first, second = (job(db, str(files[0]), image) for image in "ab")
    others = [job(db, str(file)) for file in files[1:]]
    records.delete(first)
    assert all(file.exists() for file in files)
    records.delete(second)
    assert [file.exists() for file in files] == [False, True, True, True]
    assert len(db.connection.execute("SELECT * FROM functions").fetchall()) == 3
    for run in others:
        records.delete(run)
    assert [file.exists() for file in files] == [False, False, True, True]


def test_an_archive_that_a_job_was_just_given_stays(tmp_path: Path) -> None:
    """Law 2: who has found it there records the run that names it a little later."""
    db = LocalRunDB(f"sqlite:///{tmp_path}/mlrun.db")
    archive = Archive(b"content", {}, {}, set())
    file = Path(upload(archive, str(tmp_path)))
    os.utime(file, (1, 1))
    earlier = job(db, str(file))
    assert upload(archive, str(tmp_path)) == str(file)
    Records(db, "iris").delete(earlier)
    assert file.read_bytes() == b"content"


def test_runs_are_not_deleted_by_a_question(tmp_path: Path) -> None:
    """Law 2: MLRun's `del_runs` takes a sweep for one iteration's state, so it is refused."""
    db = LocalRunDB(f"sqlite:///{tmp_path}/mlrun.db")
    db.store_run(RUN, "u1", "iris")
    db.store_run({**RUN, "status": {"state": "error"}}, "u1", "iris", iter=1)
    with pytest.raises(MLRunNotImplementedServerError, match="del_runs"):
        db.del_runs(project="iris", state="error")
    assert len(db.list_runs(project="iris", states=["completed"])) == 1
    assert Records(db, "iris").runs(states=["error"]) == []
