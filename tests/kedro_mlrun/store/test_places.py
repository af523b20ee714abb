"""Stores that are moved, copied and handed over, with the files that their records name."""

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import mlrun
import pandas as pd
import pytest
from helpers import PROJECT, Store, new_store

from kedro_mlrun import MLRunAbstractDataset, MLRunDataframeDataset, MLRunModel
from kedro_mlrun.records.records import Records
from kedro_mlrun.records.summaries import artifact_summary
from kedro_mlrun.store.db import LocalRunDB
from kedro_mlrun.store.places import HERE, read

SAVED: dict[str, tuple[Any, Any]] = {
    "told": (MLRunAbstractDataset("told"), {"number": 1}),
    "frame": (MLRunDataframeDataset("frame"), pd.DataFrame({"a": range(9), "b": 0.5})),
    "model": (MLRunModel("model"), {"weights": [1, 2]}),
}


@pytest.fixture
def place(tmp_path: Path) -> Any:
    """Give a folder with a store below it, and what `new_store` gives of that."""
    folder = tmp_path / "first" / ".mlrun"
    for store in new_store(f"sqlite:///{folder}/mlrun.db", folder):
        with store.manager.recording() as context:
            store.run = context.uid
        for dataset, data in SAVED.values():
            dataset.save(data)
        store.new_process()
        store.folder = folder
        yield store


def use(store: Store, folder: Path) -> Records:
    """Use the store in another folder from now on, as another process would."""
    store.new_process()
    mlrun.mlconf.update({"dbpath": f"sqlite:///{folder}/mlrun.db", "artifact_path": f"{folder}/x"})
    mlrun.db.get_run_db(force_reconnect=True)
    return Records(mlrun.get_run_db(), store.project)


def paths(records: Records) -> dict[str, str]:
    return {
        item["key"]: item["path"] for item in map(artifact_summary, records.artifacts(limit=None))
    }


def check_loads() -> None:
    for dataset, data in SAVED.values():
        loaded = dataset.load()
        same = data.equals(loaded) if isinstance(data, pd.DataFrame) else data == loaded
        assert same, dataset.key


def texts(file: Path) -> list[str]:
    """Give all that a store's file says of paths."""
    query = "SELECT body FROM runs UNION ALL SELECT body FROM artifacts"
    connection = sqlite3.connect(file)
    return [json.dumps(read(body)) for (body,) in connection.execute(query)]


@pytest.mark.parametrize("how", [shutil.move, shutil.copytree], ids=["moved", "copied"])
def test_a_store_elsewhere_has_its_own_files(place: Store, tmp_path: Path, how: Any) -> None:
    """Law 12: moved or copied, a store finds its files where it lies, also if others are left."""
    before = use(place, place.folder)
    assert all(path.startswith(f"{place.folder}/artifacts/") for path in paths(before).values())
    assert str(place.folder) not in str(texts(place.folder / "mlrun.db"))
    there = tmp_path / "other" / "handed-over"
    there.parent.mkdir()
    how(place.folder, there)
    records = use(place, there)
    assert set(paths(records)) == set(SAVED)
    assert all(path.startswith(f"{there}/artifacts/") for path in paths(records).values())
    assert records.run(place.run)["spec"]["output_path"] == f"{there}/artifacts/{place.run}"
    check_loads()
    # MLRun's own SDK, too.
    item = mlrun.get_dataitem(f"store://artifacts/{place.project}/told")
    assert json.loads(item.get()) == {"number": 1}
    Path(paths(records)["told"]).unlink()
    with pytest.raises(Exception, match=r"other/handed-over.* is gone"):
        SAVED["told"][0].load()


def test_a_copy_deletes_its_own_files(place: Store, tmp_path: Path) -> None:
    """Law 2: what is deleted in a copy of a store is whole in the original, and the other way."""
    copy = tmp_path / "copy"
    shutil.copytree(place.folder, copy)
    records = use(place, copy)
    assert records.delete(records.run(place.run), artifacts=True)["kept"] == []
    assert not list((copy / "artifacts").iterdir())
    use(place, place.folder)
    check_loads()


def older(file: Path, schema: int = 3) -> None:
    """Make a store what the version before had written: absolute paths, no folders."""
    connection = sqlite3.connect(file)
    for table in "runs", "artifacts":
        for number, body in connection.execute(f"SELECT id, body FROM {table}").fetchall():
            text = json.dumps(read(body)).replace(HERE, f"{file.parent}/")
            connection.execute(f"UPDATE {table} SET body = ? WHERE id = ?", (text, number))
    connection.execute("DROP TABLE homes")
    connection.execute(f"PRAGMA user_version = {schema}")
    connection.commit()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


@pytest.mark.parametrize("how", ["in place", "moved", "copied"])
def test_a_store_of_an_earlier_version_has_its_own_files(
    place: Store, tmp_path: Path, how: str
) -> None:
    """Law 12: absolute paths below the folder that a store had are those below its present one."""
    older(place.folder / "mlrun.db")
    there = place.folder if how == "in place" else tmp_path / "other"
    if how != "in place":
        (shutil.move if how == "moved" else shutil.copytree)(place.folder, there)
    records = use(place, there)
    check_loads()
    assert all(path.startswith(f"{there}/") for path in paths(records).values())
    assert str(place.folder) not in str(texts(there / "mlrun.db"))
    if how == "copied":
        records.delete(records.run(place.run), artifacts=True)
        # Still of the earlier version: nobody has used it.
        original = sqlite3.connect(place.folder / "mlrun.db")
        assert original.execute("PRAGMA user_version").fetchone() == (3,)
        original.close()
        use(place, place.folder)
        check_loads()


def test_an_earlier_store_without_its_files_reaches_into_no_other(
    place: Store, tmp_path: Path
) -> None:
    """Law 2: only mlrun.db was copied, so its records name files that another store has."""
    older(place.folder / "mlrun.db")
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(place.folder / "mlrun.db", copy)
    records = use(place, copy)
    outcome = records.delete(records.run(place.run), artifacts=True)
    assert {item["key"] for item in outcome["kept"]} == set(SAVED)
    use(place, place.folder)
    check_loads()


def test_files_that_two_stores_share_are_deleted_in_neither_copy(
    embedded: Store, tmp_path: Path
) -> None:
    """Law 2: artifacts that lie elsewhere are those of a store and of its copies."""
    (tmp_path / "store").mkdir()
    use(embedded, tmp_path / "store")
    mlrun.mlconf.artifact_path = f"{tmp_path}/elsewhere"
    dataset, data = SAVED["told"]
    with embedded.manager.recording() as context:
        dataset.save(data)
    embedded.manager.close_run()
    shutil.copytree(tmp_path / "store", tmp_path / "copy")
    records = use(embedded, tmp_path / "copy")
    assert paths(records)["told"].startswith(f"{tmp_path}/elsewhere/")
    (kept,) = records.delete(records.run(context.uid), artifacts=True)["kept"]
    assert "belongs to another store" in kept["reason"]
    # What was moved and not copied has no other owner.
    shutil.rmtree(tmp_path / "copy")
    shutil.move(tmp_path / "store", tmp_path / "moved")
    records = use(embedded, tmp_path / "moved")
    assert dataset.load() == data
    assert records.delete(records.run(context.uid), artifacts=True)["kept"] == []
    assert not Path(kept["path"]).exists()


def test_artifacts_beside_the_store_move_with_the_project(embedded: Store, tmp_path: Path) -> None:
    """Law 12: `artifact_path: data/artifacts` is in the project, and moves and copies with it."""
    project = tmp_path / "project"
    project.mkdir()
    shutil.copy(PROJECT / "pyproject.toml", project)
    use(embedded, project / ".mlrun")
    mlrun.mlconf.artifact_path = f"{project}/data/artifacts"
    dataset, data = SAVED["told"]
    with embedded.manager.recording() as context:
        dataset.save(data)
    embedded.manager.close_run()
    shutil.copytree(project, tmp_path / "copy")
    records = use(embedded, tmp_path / "copy" / ".mlrun")
    assert paths(records)["told"].startswith(f"{tmp_path}/copy/data/artifacts/")
    assert records.delete(records.run(context.uid), artifacts=True)["kept"] == []
    use(embedded, project / ".mlrun")
    assert dataset.load() == data


def test_a_store_is_handed_over_without_its_project(embedded: Store, tmp_path: Path) -> None:
    """Law 12: what lies below its own folder goes with it, and so does a job's source."""
    project, source = tmp_path / "project", "artifacts/source/a.tar.gz"
    project.mkdir()
    shutil.copy(PROJECT / "pyproject.toml", project)
    records = use(embedded, project / ".mlrun")
    dataset, data = SAVED["told"]
    dataset.save(data)
    build = {"source": f"file://{project}/.mlrun/{source}"}
    function = {"kind": "job", "metadata": {"name": "kedro"}, "spec": {"build": build}}
    records.db.store_function(function, "kedro", embedded.project)
    embedded.manager.close_run()
    shutil.copytree(project / ".mlrun", tmp_path / "colleague")
    records = use(embedded, tmp_path / "colleague")
    assert dataset.load() == data
    assert paths(records)["told"].startswith(f"{tmp_path}/colleague/x/")
    found = records.db.get_function("kedro", embedded.project)
    assert found["spec"]["build"]["source"] == f"file://{tmp_path}/colleague/{source}"


def test_a_folder_by_another_name_is_the_same(embedded: Store, tmp_path: Path) -> None:
    """Law 12: the store was reached by a link, and its artifacts were not, or the other way."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    use(embedded, tmp_path / "link")
    mlrun.mlconf.artifact_path = f"{tmp_path}/real/artifacts"
    dataset, data = SAVED["told"]
    dataset.save(data)
    use(embedded, tmp_path / "real")
    assert dataset.load() == data
    shutil.move(tmp_path / "real", tmp_path / "moved")
    use(embedded, tmp_path / "moved")
    assert dataset.load() == data


def test_a_version_stays_one_where_its_store_was_moved(place: Store, tmp_path: Path) -> None:
    """Law 2: MLRun counts the path into an artifact's uid; a label makes no new version of it."""
    uid = use(place, place.folder).artifact("frame")["metadata"]["uid"]
    shutil.move(place.folder, tmp_path / "moved")
    records = use(place, tmp_path / "moved")
    artifact = mlrun.get_or_create_project(place.project, context=str(tmp_path)).get_artifact(
        "frame"
    )
    artifact.metadata.labels["checked"] = "yes"
    records.db.store_artifact("frame", artifact.to_dict(), project=place.project, tree=place.run)
    (found,) = records.artifacts(key="frame")
    assert found["metadata"]["uid"] == uid
    assert found["metadata"]["labels"]["checked"] == "yes"
    artifact.spec.format = "csv"
    records.db.store_artifact("frame", artifact.to_dict(), project=place.project, tree=place.run)
    assert len(records.artifacts(key="frame")) == 2


def test_text_that_looks_like_a_place_comes_back(embedded: Store, tmp_path: Path) -> None:
    """Law 4: only the paths of files are rewritten, not parameters, results or data."""
    db = LocalRunDB(embedded.dbpath)
    texts = {"own": f"{tmp_path}/raw", "like": f"{HERE}raw", "climbing": f"{tmp_path}/a/../b"}
    body = {
        "metadata": {"name": "a"},
        "spec": {"parameters": texts, "inputs": {"raw": f"file://{tmp_path}/raw/", "n": "../b"}},
        "status": {"results": texts},
    }
    db.store_run(body, "u1", embedded.project)
    run = db.read_run("u1", embedded.project)
    assert (run["spec"]["parameters"], run["status"]["results"]) == (texts, texts)
    assert run["spec"]["inputs"] == body["spec"]["inputs"]


def test_migration_rewrites_paths_only(place: Store) -> None:
    """Law 4: a parameter that is equal to a path stays, however long the record is."""
    db, folder = LocalRunDB(f"sqlite:///{place.folder}/mlrun.db"), place.folder / "artifacts"
    same = {"folder": f"{folder}/u1", "text": "x" * 3000}
    spec = {"output_path": f"{folder}/u1", "parameters": same}
    db.store_run({"metadata": {"name": "a"}, "spec": spec}, "u1", place.project)
    db.connection.close()
    connection = sqlite3.connect(db.path)
    text = json.dumps({"metadata": {"name": "a"}, "spec": spec, "status": {}})
    connection.execute("UPDATE runs SET body = ? WHERE uid = 'u1'", (text,))
    connection.execute("DROP TABLE homes")
    connection.execute("PRAGMA user_version = 3")
    connection.commit()
    connection.close()
    db = LocalRunDB(db.url)
    (body,) = db.connection.execute("SELECT body FROM runs WHERE uid = 'u1'").fetchone()
    assert read(body)["spec"] == {"output_path": f"{HERE}artifacts/u1", "parameters": same}


@pytest.mark.parametrize("name", ["mlrun-rescued.db", "copy"])
def test_a_copy_in_the_same_folder_deletes_none_of_the_others_files(
    place: Store, name: str
) -> None:
    """Law 2: whatever its name is; the log and the source are those of both, too."""
    before = LocalRunDB(f"sqlite:///{place.folder}/mlrun.db")
    before.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    before.connection.close()
    log = before.log_file(place.run, place.project)
    log.parent.mkdir(parents=True)
    log.touch()
    shutil.copy(before.path, place.folder / name)
    records = Records(LocalRunDB(f"sqlite:///{place.folder}/{name}"), place.project)
    outcome = records.delete(records.run(place.run), artifacts=True)
    assert {item["key"] for item in outcome["kept"]} == set(SAVED)
    assert log.exists()
    use(place, place.folder)
    check_loads()


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0"], ids=repr)
def test_what_is_no_store_keeps_no_files(place: Store, content: bytes) -> None:
    """Law 2: only another store that may name a file keeps it, not what has a store's name."""
    place.folder.parent.joinpath("mlrun.db").write_bytes(content)
    sqlite3.connect(place.folder.parent.parent / "mlrun.db").execute("CREATE TABLE a (b)").close()
    records = use(place, place.folder)
    assert records.delete(records.run(place.run), artifacts=True)["kept"] == []
