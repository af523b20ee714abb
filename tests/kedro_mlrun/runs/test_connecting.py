"""Nothing asks the store but through the manager, which connects first."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlrun
import pytest
from helpers import Store, states
from kedro.io import DatasetError

from kedro_mlrun import datasets
from kedro_mlrun.project import NOT_TOLD, MLRunConfig, mlrun_setting


@pytest.fixture
def unconnected(embedded: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A process that has used nothing of MLRun yet; only mlrun.yml tells it of a store."""
    with embedded.manager.recording():
        for number in (1, 2):
            datasets.MLRunAbstractDataset(key="thing").save(number)
        datasets.MLRunResult(key="number").save(0.5)
    embedded.new_process()
    embedded.config = MLRunConfig(
        project=embedded.project, dbpath=embedded.dbpath, artifact_path=f"{tmp_path}/artifacts"
    )
    mlrun.mlconf.update({"dbpath": "", "active_project": "", "artifact_path": ""})
    # It is put back as it was, also where MLRun sets it.
    monkeypatch.setenv("MLRUN_DBPATH", "")
    monkeypatch.delenv("MLRUN_DBPATH")
    monkeypatch.setattr(embedded.manager, "_applied", {})
    monkeypatch.setattr(embedded.manager, "_reached", "")
    embedded.manager.configure(embedded.config, tmp_path)
    return embedded


FIRST: dict[str, tuple[Callable[[Store], Any], Any]] = {
    "result": (lambda _: datasets.MLRunResult(key="number").load(), 0.5),
    "of-a-project": (lambda store: of("MLRunResult", "number", store, {}).load(), 0.5),
    "artifact": (lambda store: of("MLRunAbstractDataset", "thing", store, {}).load(), 2),
    "tag": (
        lambda store: of("MLRunAbstractDataset", "thing", store, {"tag": "latest"}).load(),
        2,
    ),
    "url": (lambda store: datasets.MLRunAbstractDataset(key=url(store)).load(), 2),
    "result-exists": (lambda _: datasets.MLRunResult(key="number").exists(), True),
    "none-exists": (lambda store: of("MLRunAbstractDataset", "no", store, {}).exists(), False),
    "save": (lambda _: datasets.MLRunResult(key="number").save(0.7), None),
}


def of(kind: str, key: str, store: Store, load_args: dict[str, str]) -> Any:
    """A dataset that is told its project, so that it need not ask the manager for it."""
    return getattr(datasets, kind)(key=key, load_args={"project": store.project, **load_args})


def url(store: Store) -> str:
    return f"store://artifacts/{store.project}/thing"


@pytest.mark.parametrize("first", FIRST)
def test_whatever_comes_first_finds_the_store(unconnected: Store, first: str) -> None:
    """Law 7: each first use connects, and nothing that MLRun does without a store is kept."""
    use, expected = FIRST[first]
    assert use(unconnected) == expected
    assert mlrun.mlconf.dbpath == unconnected.dbpath
    assert datasets.MLRunResult(key="number").load() in {0.5, 0.7}


def test_what_mlrun_does_without_a_store_is_no_wish(
    unconnected: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law 7: who asks MLRun itself first gets nothing; what comes after is recorded."""
    with monkeypatch.context() as patched:
        # MLRun sets both, and programs that start later inherit the second.
        mlrun.get_run_db()
        assert mlrun.mlconf.dbpath == os.environ["MLRUN_DBPATH"] == NOT_TOLD
        assert mlrun_setting("MLRUN_DBPATH") == ""
        assert datasets.MLRunResult(key="number").load() == 0.5
        assert len(states(unconnected)) == 1
        patched.delenv("MLRUN_DBPATH")
    # A wish that can't be met is none of these.
    mlrun.mlconf.dbpath = "somewhere"
    with pytest.raises(DatasetError, match="'somewhere' is not a run database URL"):
        datasets.MLRunResult(key="number").load()


def test_an_api_that_did_not_answer_is_not_kept(unconnected: Store, tmp_path: Path) -> None:
    """Law 7: after a failure the configuration counts as it is then."""
    away = unconnected.config.model_copy(update={"dbpath": "http://127.0.0.1:9"})
    unconnected.manager.configure(away, tmp_path)
    with pytest.raises(DatasetError, match="doesn't answer"):
        datasets.MLRunResult(key="number").load()
    unconnected.manager.configure(unconnected.config, tmp_path)
    assert datasets.MLRunResult(key="number").load() == 0.5
    # As `%reload_kedro --env=…` in a notebook does it: what was taken over isn't the user's wish.
    unconnected.manager.configure(away, tmp_path)
    with pytest.raises(DatasetError, match="doesn't answer"):
        datasets.MLRunResult(key="number").load()
    unconnected.manager.configure(unconnected.config, tmp_path)
    assert datasets.MLRunResult(key="number").load() == 0.5
