"""Hyperparameter runs: what several of one name leave of each other, and how they are deleted."""

import hashlib
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import mlrun
import pytest
from helpers import Store

from kedro_mlrun import MLRunAbstractDataset
from kedro_mlrun.records.records import Records


def work(context: mlrun.MLClientCtx, number: int) -> None:
    """Log as a user's own function does, and as a node does; number 0 fails."""
    # MLRun's launcher has begun before the project's handler reads mlrun.yml.
    mlrun.mlconf.artifact_path = mlrun.mlconf.artifact_path or f"{Path.cwd()}/artifacts"
    context.log_result("inverse", 1 / number)
    context.log_artifact("note", body=f"{context.uid} {number}")
    MLRunAbstractDataset("told").save(f"{context.uid} {number}")


def sweep(numbers: list[int]) -> str:
    task = mlrun.new_task(name="search")
    task.with_hyper_params({"number": numbers}, selector="max.inverse")
    task.metadata.uid = uuid.uuid4().hex
    with suppress(mlrun.runtimes.utils.RunError):
        mlrun.new_function("search", kind="local").run(task, handler=work, local=True)
    return str(task.metadata.uid)


def files(records: Records, uid: str) -> dict[Path, str]:
    """Give the files of what a run saved, with the hashes that were recorded for them."""
    saved = records.artifacts_of(records.run(uid))
    return {Path(item["spec"]["target_path"]): item["metadata"]["hash"] for item in saved}


@pytest.mark.parametrize("where", ["artifact path", "none"])
def test_sweeps_of_one_name_have_their_own_files(
    embedded: Store, tmp_path: Path, monkeypatch: Any, where: str
) -> None:
    """Law 2: a sweep's summary, and what its iterations log, is not that of the next one."""
    monkeypatch.chdir(tmp_path)
    records = Records(embedded.manager.db, embedded.project)
    if where == "none":
        mlrun.mlconf.artifact_path = ""
    uids = [sweep([1, 2]), sweep([3, 4])]
    assert {path.name for path in files(records, uids[0])} >= {"iteration_results.csv"}
    for uid in uids:
        for path, recorded in files(records, uid).items():
            assert recorded == hashlib.sha1(path.read_bytes()).hexdigest(), path
    assert not (tmp_path / "search").exists()


def test_a_sweep_is_its_best_trial(embedded: Store) -> None:
    """What other trials have made isn't listed among all else, unless it is asked for."""
    records = Records(embedded.manager.db, embedded.project)
    uid = sweep([2, 1, 4])
    for run in (None, records.run(uid)):
        assert len(records.artifacts("told", run=run)) == 3
        [best] = records.artifacts("told", run=run, best_iteration=True)
        assert best["metadata"]["iter"] == 2
    # The number of a trial is no metric.
    assert records.run(uid)["status"]["results"].keys() - records.metrics([best])[0].keys() == {
        "best_iteration"
    }
    names = [each["name"] for each in records.lineage(records.run(uid), 1, False)["follows"]]
    assert names.count("told") == 1


def test_a_sweep_is_deleted_with_its_iterations(embedded: Store, tmp_path: Path) -> None:
    """Law 2: all of its own files go, and nothing of another sweep's of its name."""
    records = Records(embedded.manager.db, embedded.project)
    first, second = sweep([1, 2]), sweep([3, 4])
    left = files(records, second)
    assert records.delete(records.run(first), artifacts=True)["kept"] == []
    assert {path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()} == {*left}
