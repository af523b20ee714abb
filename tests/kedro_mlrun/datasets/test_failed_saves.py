"""Saves that fail, at each of their steps: what they leave, and what they leave alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlrun
import pandas as pd
import pytest
from helpers import Store
from kedro.io import DatasetError

from kedro_mlrun import (
    MLRunAbstractDataset,
    MLRunArtifactDataset,
    MLRunDataframeDataset,
    MLRunMetricHistory,
    MLRunModel,
)
from kedro_mlrun.records.records import Records

BAD = {"tag": "not a tag!"}
FRAME = pd.DataFrame({"a": [1, 2]})
JSON = {"type": "json.JSONDataset", "filepath": "data.json"}


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("make", "data"),
    [
        (MLRunModel, {"weights": [1]}),
        (MLRunDataframeDataset, FRAME),
        (MLRunMetricHistory, {"loss": [0.5, 0.4]}),
        (MLRunAbstractDataset, "text"),
        (lambda *given, **named: MLRunArtifactDataset(JSON, *given, **named), {"a": 1}),
    ],
    ids=["model", "frame", "history", "object", "file"],
)
def test_a_failed_save_touches_no_other_file(
    embedded: Store, tmp_path: Path, make: Callable[..., Any], data: Any
) -> None:
    """Law 2: keys may be alike, or even the same, and one save's files are those of no other."""
    for key in "forest", "model", "model.forest":
        make(key).save(data)
    before = files(tmp_path / "artifacts")
    for key in "model", "forest":
        with pytest.raises(DatasetError, match="tag"):
            make(key, save_args=BAD).save(data)
    assert files(tmp_path / "artifacts") == before
    for key in "forest", "model", "model.forest":
        loaded = make(key).load()
        assert data.equals(loaded) if isinstance(data, pd.DataFrame) else loaded == data


def test_what_has_a_record_keeps_its_bytes(embedded: Store, tmp_path: Path) -> None:
    """Law 3: the artifact's record was stored, and only the update of the run failed after it."""
    db = embedded.manager.db
    with embedded.manager.recording():
        full = "BEFORE INSERT ON run_changes BEGIN SELECT RAISE (FAIL, 'full'); END"
        db.connection.execute(f"CREATE TRIGGER full {full}")
        with pytest.raises(DatasetError, match="full"):
            MLRunModel("model").save({"weights": [1]})
        db.connection.execute("DROP TRIGGER full")
    embedded.new_process()
    assert MLRunModel("model").load() == {"weights": [1]}


def test_what_has_no_record_leaves_no_bytes(embedded: Store, tmp_path: Path) -> None:
    """Law 3: where the record itself can't be stored, the version before stays the latest."""
    db = embedded.manager.db
    MLRunModel("model").save({"weights": [1]})
    before = files(tmp_path / "artifacts")
    full = "CREATE TRIGGER full BEFORE INSERT ON artifacts BEGIN SELECT RAISE (FAIL, 'full'); END"
    db.connection.execute(full)
    with pytest.raises(DatasetError, match="full"):
        MLRunModel("model").save({"weights": [2]})
    db.connection.execute("DROP TRIGGER full")
    assert files(tmp_path / "artifacts") == before
    assert MLRunModel("model").load() == {"weights": [1]}
    assert len(Records(mlrun.get_run_db(), embedded.project).artifacts("model")) == 1
