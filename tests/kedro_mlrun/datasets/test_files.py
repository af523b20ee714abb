"""How files of artifacts are written, by several threads at once, and read."""

import pickle
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from threading import Barrier, BrokenBarrierError
from types import ModuleType
from typing import Any

import mlrun
import pandas as pd
import pytest
import yaml
from helpers import Store, metadata
from kedro.io import DatasetError

from kedro_mlrun import (
    MLRunAbstractDataset,
    MLRunArtifactDataset,
    MLRunDataframeDataset,
    MLRunMetricHistory,
    MLRunModel,
)

files = import_module("kedro_mlrun.datasets.files")
ON_THEIR_WAY = Barrier(3)
PICKLE = {"type": "pickle.PickleDataset", "filepath": "data.pkl"}


class Together:
    """Can be pickled only while two others are."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> tuple[Any, ...]:
        ON_THEIR_WAY.wait(30)
        return Together, (self.number,)


@pytest.mark.parametrize(
    "make",
    [
        MLRunAbstractDataset,
        MLRunModel,
        lambda key: MLRunModel(key, model_format="joblib"),
        lambda key: MLRunArtifactDataset(PICKLE, key),
    ],
    ids=["object", "model", "joblib", "file"],
)
def test_saves_of_several_threads_overlap(embedded: Store, make: Callable[..., Any]) -> None:
    """Only what is recorded is recorded one by one: the saves wait for each other in between."""
    ON_THEIR_WAY.reset()
    with ThreadPoolExecutor(3) as pool:
        saves = [pool.submit(make(f"n{n}").save, Together(n)) for n in range(3)]
    assert [save.exception() for save in saves] == [None] * 3
    assert [make(f"n{n}").load().number for n in range(3)] == [0, 1, 2]


class Ending:
    """Ends the run that it is saved to, before it is recorded."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def __reduce__(self) -> tuple[Any, ...]:
        self.store.manager.close_run()
        return str, ()


def test_a_run_that_ends_meanwhile_stays_as_it_is(embedded: Store, tmp_path: Path) -> None:
    """Law 2: what is written when its run ends is not recorded, and leaves no bytes; others are."""
    outer, inner = (embedded.manager.open_run(name) for name in ("outer", "inner"))
    with pytest.raises(DatasetError, match="The run has ended. Nothing is saved to it any more"):
        MLRunAbstractDataset("thing").save(Ending(embedded))
    assert [path for path in tmp_path.glob("artifacts/**/*") if path.is_file()] == []
    MLRunAbstractDataset("thing").save("text")
    runs = [mlrun.get_run_db().read_run(run.uid, embedded.project) for run in (outer, inner)]
    assert [[*run["status"].get("artifact_uris", {})] for run in runs] == [["thing"], []]


@pytest.mark.parametrize(
    ("make", "data"),
    [
        (MLRunAbstractDataset, b"bytes"),
        (MLRunAbstractDataset, b""),
        (MLRunAbstractDataset, (1, 2)),
        (MLRunModel, {"weights": [1]}),
        (MLRunDataframeDataset, pd.DataFrame({"a": [1, 2]})),
        (MLRunMetricHistory, [0.5]),
        (lambda key: MLRunArtifactDataset(PICKLE, key), {1, 2}),
    ],
    ids=["bytes", "nothing", "object", "model", "frame", "history", "file"],
)
def test_a_record_has_its_files_hash_and_size(
    store: Store, make: Callable[..., Any], data: Any
) -> None:
    """Law 6: as MLRun records them of what it has written itself; and nothing else is there."""
    make("thing").save(data)
    record = mlrun.get_run_db().read_artifact("thing", project=store.project)
    is_model = record["kind"] == "model"
    file = Path(record["spec"]["target_path"], record["spec"].get("model_file", ""))
    digest = mlrun.utils.helpers.calculate_local_file_hash(file)
    assert (record["metadata"]["hash"], record["spec"]["size"]) == (digest, file.stat().st_size)
    beside = {"model_spec.yaml"} if is_model else set()
    assert {path.name for path in file.parent.iterdir()} == {file.name} | beside
    if is_model:
        spec = yaml.safe_load((file.parent / "model_spec.yaml").read_text())
        assert spec["metadata"]["hash"] == digest


@pytest.mark.parametrize("place", ["file://{}/elsewhere", "memory://elsewhere"])
def test_other_stores_get_their_files_by_mlrun(embedded: Store, tmp_path: Path, place: str) -> None:
    """Law 1, where the artifact path is a URL: nothing can be moved there."""
    save_args = {"artifact_path": place.format(tmp_path)}
    for dataset in (
        MLRunAbstractDataset("object", None, save_args),
        MLRunModel("model", save_args=save_args),
        MLRunArtifactDataset(PICKLE, "file", None, save_args),
    ):
        dataset.save({1: 2})
        path = embedded.manager.project.get_artifact(dataset.key).target_path
        assert path.startswith(save_args["artifact_path"])
        assert dataset.load() == {1: 2}
    names = {path.name for path in tmp_path.glob("elsewhere/**/*") if path.is_file()}
    all_of_them = {"object.pkl", "file.pkl", "model.pkl", "model_spec.yaml"}
    assert names == (all_of_them if place.startswith("file") else set())


def test_what_is_read_is_what_was_verified(embedded: Store) -> None:
    """Law 1: also where another file takes its place right after."""
    MLRunAbstractDataset("thing").save((1, 2))
    artifact = embedded.manager.project.get_artifact("thing").to_dict()
    with files.verified_file(artifact) as stream:
        path = Path(artifact["spec"]["target_path"])
        path.unlink()
        path.write_bytes(pickle.dumps("evil"))
        assert pickle.load(stream) == (1, 2)


class Alone:
    """Is a global of the project's, which goes with a model's code."""

    def __reduce__(self) -> tuple[Any, ...]:
        with pytest.raises(BrokenBarrierError):
            ON_THEIR_WAY.wait(0.1)
        return str, ()


def test_code_goes_with_one_model_at_a_time(
    embedded: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law 6: one that is done must not tell cloudpickle to leave the others' code here."""
    module = ModuleType(f"{metadata().package_name}.alone")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec("class Model:\n    def predict(self, rows):\n        return ALONE\n", vars(module))
    vars(module)["ALONE"] = Alone()
    ON_THEIR_WAY.reset()
    with ThreadPoolExecutor(3) as pool:
        [*pool.map(lambda n: MLRunModel(f"n{n}").save(module.Model()), range(3))]
    for number in range(3):
        artifact = embedded.manager.project.get_artifact(f"n{number}")
        assert b"cloudpickle" in Path(artifact.target_path, artifact.model_file).read_bytes()
