"""MLRunMetricHistory: lists, dicts and frames of numbers, with a chart beside them."""

import math
import sys
from importlib import import_module
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import Store
from hypothesis import given, settings
from hypothesis import strategies as st
from kedro.io import DatasetError, Version
from PIL import Image

from kedro_mlrun import datasets

History = datasets.MLRunMetricHistory

HISTORIES = [
    [0.9, 0.5, 0.25],
    [3, 2, 1],
    [1, 0.5, None, math.nan, -math.inf, -0.0],
    [np.float32(0.1), np.float32(0.05)],
    [2**60 + 1],
    [None],
    [],
    {"train": [0.9, 0.5, 0.3], "test": [1, 2]},
    {"step": [], "$a$ ": [np.int64(7)], "value": [np.float16(0.5), 1]},
    {"z": [], "a": []},
    {},
    {10: 0.5, 5: 0.6, 0: 1},
    {math.nan: 1},
    {0: 1.0, 0.5: 0.9, np.int32(2): None},
]
FRAMES = [
    pd.DataFrame({"loss": [0.5, np.nan]}, index=pd.Index([10, 5], name="epoch")),
    pd.DataFrame({"loss": pd.array([1, None], "Int64")}).rename_axis(columns="log loss"),
    pd.DataFrame(
        {"f1": np.array([0.5], "float32")}, index=pd.to_datetime(["2026-01-01"], utc=True)
    ),
    pd.DataFrame({"loss": []}, dtype="float64"),
    pd.DataFrame({"done": [True]}, index=["first"]),
]

number = (
    st.none() | st.integers(-(2**40), 2**40) | st.floats() | st.floats(width=32).map(np.float32)
)
history = (
    st.lists(number)
    | st.dictionaries(st.text(max_size=3), st.lists(number, max_size=5), max_size=3)
    | st.dictionaries(st.integers(-(2**40), 2**40) | st.floats(allow_nan=False), number)
)


def same(left: Any, right: Any) -> bool:
    """Compare types, order and NaN, too."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return same(list(left), list(right)) and same(list(left.values()), list(right.values()))
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return repr(left) == repr(right)


def through_a_table(data: Any) -> Any:
    """Write a history's table and read it, without a store and without its chart."""
    module = import_module("kedro_mlrun.datasets.history")
    frames = import_module("kedro_mlrun.datasets.formats")
    with TemporaryDirectory() as folder:
        file = Path(folder, "table.parquet")
        frames.write_parquet(module._to_frame(data), file)
        table = frames.read_parquet(file.read_bytes())
    return module._from_frame(table, table.attrs[module.HISTORY])


def chart(store: Store, key: str) -> Image.Image:
    """Open the chart of the newest history of that key."""
    artifact = store.manager.project.get_artifact(f"{key}.chart")
    assert artifact.target_path.endswith(".png")
    return Image.open(BytesIO(Path(artifact.target_path).read_bytes()))


@pytest.mark.parametrize("data", HISTORIES[2::4], ids=repr)
def test_what_was_saved_comes_back(embedded: Store, data: Any) -> None:
    """Law 1: the same types, names, steps and order, in a later process; and a chart of it."""
    History(key="loss").save(data)
    embedded.new_process()
    assert same(History(key="loss").load(), data)
    chart(embedded, "loss").verify()


def test_csv_will_do(embedded: Store) -> None:
    """Law 1, in the other format of tables."""
    History(key="loss", save_args={"format": "csv"}).save(HISTORIES[-1])
    embedded.new_process()
    assert same(History(key="loss").load(), HISTORIES[-1])


def test_frames_come_back(store: Store) -> None:
    """Law 1, for a frame whose index is the step."""
    for number, frame in enumerate(FRAMES):
        History(key=f"loss-{number}").save(frame)
    store.new_process()
    for number, frame in enumerate(FRAMES):
        loaded = History(key=f"loss-{number}").load()
        pd.testing.assert_frame_equal(loaded, frame, check_exact=True)


@pytest.mark.parametrize("data", HISTORIES, ids=repr)
def test_each_history_survives_its_table(data: Any) -> None:
    """Law 1: the same types, names, steps and order."""
    assert same(through_a_table(data), data)


@given(history)
@settings(max_examples=40, deadline=None)
def test_any_history_survives_its_table(data: Any) -> None:
    """Law 1, for whatever there is: the table as it is written and read back has it all."""
    assert same(through_a_table(data), data)


def test_without_matplotlib(
    embedded: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Law 10: only the starter's projects have it; the warning says what to install."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    History(key="loss").save([3.0, 2.0])
    assert "without a chart" in caplog.text and "pip install matplotlib" in caplog.text
    assert History(key="loss").load() == [3.0, 2.0]
    assert embedded.manager.current.artifact_uris.keys() == {"loss"}


@pytest.mark.parametrize(
    "index", [pd.period_range("2026-01", periods=2, freq="M"), pd.interval_range(0, 2)], ids=str
)
def test_what_can_not_be_drawn_is_kept(embedded: Store, index: pd.Index) -> None:
    """Law 10: a chart is an extra."""
    frame = pd.DataFrame({"loss": [3.0, 2.0]}, index=index)
    History(key="loss").save(frame)
    pd.testing.assert_frame_equal(History(key="loss").load(), frame)


def test_it_is_a_dataset_and_a_chart(embedded: Store) -> None:
    """MLRun shows a table with a row for each step, and the chart beside it; both can be found."""
    run = embedded.manager.open_run("training")
    save_args = {"tag": "best", "labels": {"kind-of": "loss"}}
    History(key="loss", save_args=save_args).save({"train": [3.0, 2.0], "test": [4.0]})
    project = embedded.manager.project
    table, picture = (project.get_artifact(key, tag="best") for key in ("loss", "loss.chart"))
    assert table.kind == "dataset"
    assert table.spec.header == ["step", "train", "test"]
    assert table.status.preview[0] == [0, 3.0, 4.0]
    assert picture.spec.format == "png"
    for artifact in (table, picture):
        assert artifact.labels["kind-of"] == "loss"
        assert run.uid in artifact.target_path
        assert run.uid in artifact.spec.producer["uri"]
    assert run.artifact_uris.keys() == {"loss", "loss.chart"}
    assert min(chart(embedded, "loss").size) > 400
    assert datasets.MLRunAbstractDataset(key="loss.chart").load().startswith(b"\x89PNG")
    # Whoever wants the table has it as any other.
    assert list(datasets.MLRunDataframeDataset(key="loss").load()) == ["train", "test"]


def test_a_time_is_no_metric(embedded: Store) -> None:
    """It comes back, and has no line in the chart."""
    frame = pd.DataFrame({"loss": [3.0, 2.0], "time": pd.to_datetime(["2026-11-27", "2026-11-28"])})
    charts = list[bytes]()
    for data in (frame, frame[["loss"]]):
        History(key="loss").save(data)
        pd.testing.assert_frame_equal(History(key="loss").load(), data)
        charts.append(datasets.MLRunAbstractDataset(key="loss.chart").load())
    assert charts[0] == charts[1]


def test_every_version_stays(embedded: Store) -> None:
    """Law 2: a second save of a run, and those of other runs, have their own table and chart."""
    uids = []
    for length in (1, 2):
        uids.append(embedded.manager.open_run("training").uid)
        History(key="loss").save([0.5] * length * 10)
        History(key="loss").save([0.5] * length)
        assert History(key="loss").load() == [0.5] * length
        embedded.new_process()
    for length, uid in enumerate(uids, 1):
        assert History(key="loss", load_args={"uid": uid}).load() == [0.5] * length
        assert History(key="loss", version=Version(uid, None)).load() == [0.5] * length
    found = embedded.manager.project.list_artifacts("loss.chart")
    files = {artifact["spec"]["target_path"] for artifact in found}
    assert len(files) == len(found) == 4
    assert all(Path(file).exists() for file in files)


def test_exists(embedded: Store) -> None:
    """It exists when its table does."""
    assert not History(key="loss").exists()
    History(key="loss").save([1])
    assert History(key="loss").exists()


def test_a_frame_that_mlrun_logged_is_a_history(embedded: Store) -> None:
    """What was recorded without this dataset comes as a frame."""
    frame = pd.DataFrame({"loss": [0.5, 0.4]})
    embedded.manager.context.log_dataset("loss", frame, db_key="loss", format="parquet")
    pd.testing.assert_frame_equal(History(key="loss").load(), frame)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((1, 2), "'value' is or has a tuple"),
        (np.array([1.0]), "has a ndarray"),
        ([True], "'value' is or has a bool"),
        (["0.5"], "'value' is or has a str"),
        ([1, 0.5, 2**60 + 1], "over 53 beside .* would come back changed"),
        ([2**64], "can't hold this data frame"),
        ({"loss": 0.5}, "'loss' is or has a float.*MLRunResult"),
        ({"loss": [[1]]}, "'loss' is or has a list"),
        ({True: 1}, "'steps' is or has a bool"),
        (pd.DataFrame({"loss": ["a"]}), "could not convert string to float: 'a'"),
    ],
    ids=repr,
)
def test_what_is_no_history_is_refused(embedded: Store, data: Any, message: str) -> None:
    """It names what can't be kept, and leaves neither table nor chart behind."""
    with pytest.raises(DatasetError, match=message):
        History(key="loss").save(data)
    assert embedded.manager.project.list_artifacts() == []
