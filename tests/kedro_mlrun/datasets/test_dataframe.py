"""MLRunDataframeDataset."""

import textwrap
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from helpers import Store
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.pandas import column, data_frames, range_indexes
from kedro.io import DatasetError

Dataset = import_module("kedro_mlrun.datasets").MLRunDataframeDataset

SIZES = pd.CategoricalDtype(["small", "large", "unused"], ordered=True)
FRAMES = {
    "numbers": pd.DataFrame({"b": [1, 2], "a": [0.1, np.nan]}),
    "types": pd.DataFrame(
        {
            "int8": np.array([1, 2], dtype="int8"),
            "float32": np.array([0.1, np.inf], dtype="float32"),
            "bool": [True, False],
            "nullable": pd.array([1, None], dtype="Int64"),
            "string": pd.array(["a", "b"], dtype="string"),
            "text": ["001", 'x,\n"y"'],
            "size": pd.Series(["large", "small"], dtype=SIZES),
            "time": pd.to_datetime(["2024-02-29 12:00:00.000000001", None]),
            "zoned": pd.to_datetime(["2024-02-29", "2024-10-27"]).tz_localize("Europe/Berlin"),
            "delta": pd.to_timedelta([1, 2], unit="ns"),
        }
    ),
    "index": pd.DataFrame({"a": [1, 2]}, index=pd.Index(["x", "y"], name="a key")),
    "levels": pd.DataFrame(
        {"a": [1, 2]}, index=pd.MultiIndex.from_tuples([("x", 1), ("y", 2)], names=["p", "q"])
    ),
    "days": pd.DataFrame({"a": [1, 2, 3]}, index=pd.date_range("2024-01-01", periods=3, tz="UTC")),
    "shuffled": pd.DataFrame({"a": [1, 2, 3]}, index=[2, 0, 1]),
    "empty": pd.DataFrame({"a": pd.Series([], dtype="int32")}),
    "nothing": pd.DataFrame({"a": pd.Series([np.nan] * 2, dtype=object), "b": ["x", np.nan]}),
    "same name": pd.DataFrame({"a": [1, 2]}, index=pd.Index([3, 4], name="a")),
}
ONLY_PARQUET = {
    "categories": pd.DataFrame(
        {
            "int": pd.Categorical([2, None, 1], categories=[1, 2, 3]),
            "float": pd.Categorical([0.5, 1.5, 0.5]),
            "bool": pd.Categorical([True, False, True]),
            "time": pd.Categorical(pd.to_datetime(["2024-01-02", "2024-01-01", None])),
            "bins": pd.cut(pd.Series([1, 5, 9]), 3),
        }
    ),
    "no rows": pd.DataFrame({"a": pd.Categorical([], categories=["x", "y"]), "b": []}),
    "no columns": pd.DataFrame(index=[1, 2]),
    "offset": pd.DataFrame({"a": pd.to_datetime(["2024-01-01T00:00:00+02:00"])}),
    "offset index": pd.DataFrame({"a": [1]}, index=pd.to_datetime(["2024-01-01T00:00:00+02:00"])),
    "zone": pd.DataFrame(
        {"a": pd.to_datetime(["2024-01-01"]).tz_localize(ZoneInfo("Europe/Berlin"))}
    ),
    "seconds": pd.DataFrame({"a": np.array(["2024-01-01"], dtype="datetime64[s]")}),
    "arrow text": pd.DataFrame({"a": pd.array(["x", None], dtype="string[pyarrow]")}),
    "category index": pd.DataFrame({"a": [1, 2]}, index=pd.CategoricalIndex([3, 4])),
    "nullable index": pd.DataFrame({"a": [1, 2]}, index=pd.Index([3, 4], dtype="Int64")),
    "periods": pd.DataFrame({"a": pd.period_range("2024-01", periods=2, freq="M")}),
    "missing text": pd.DataFrame({"a": ["x", None, ""]}),
    "column levels": pd.DataFrame(
        [[1, 2]], columns=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)])
    ),
    "numbered columns": pd.DataFrame([[1, 2]]),
    "bytes": pd.DataFrame({"a": [b"x", b"\x00"]}),
}


@pytest.mark.parametrize("name", [*FRAMES, *ONLY_PARQUET])
def test_frames_come_back(store: Store, name: str) -> None:
    """Law 1: dtypes, index, column order, categories and time zones."""
    frame = {**FRAMES, **ONLY_PARQUET}[name]
    Dataset(key="frame").save(frame)
    pd.testing.assert_frame_equal(Dataset(key="frame").load(), frame, check_exact=True)


@pytest.mark.parametrize("name", FRAMES)
def test_frames_come_back_from_csv(store: Store, name: str) -> None:
    """CSV holds no types, yet they come back."""
    dataset = Dataset(key="frame", save_args={"format": "csv"})
    dataset.save(FRAMES[name])
    artifact = store.manager.project.get_artifact("frame")
    assert artifact.target_path.endswith(".csv")
    pd.testing.assert_frame_equal(dataset.load(), FRAMES[name], check_exact=True)


@given(
    data_frames(
        [
            column("integer", dtype="int64"),
            column("float", dtype="float64"),
            column("flag", dtype=bool),
            column("text", elements=st.text(st.characters(exclude_categories=["Cs"]))),
            column("time", dtype="datetime64[ns]"),
        ],
        index=range_indexes(),
    )
)
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_frame_comes_back(embedded: Store, frame: pd.DataFrame) -> None:
    """Law 1, for whatever there is."""
    Dataset(key="frame").save(frame)
    pd.testing.assert_frame_equal(Dataset(key="frame").load(), frame, check_exact=True)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ([1, 2], "a data frame is expected and this is a list"),
        (pd.DataFrame({"a": [1, "x"]}), "column a"),
        (
            pd.DataFrame({"a": pd.Series([1, None], dtype=object)}),
            "objects of column 'a' change their types",
        ),
        (pd.DataFrame({"a": [[1], [2]]}), "objects of column 'a' change"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "[Dd]uplicate column names"),
    ],
    ids=["list", "mixed", "integers as objects", "lists", "twice"],
)
def test_what_would_change_is_refused(embedded: Store, data: Any, reason: str) -> None:
    """A frame that the format can't hold is not recorded; the message says what is wrong."""
    with pytest.raises(DatasetError, match=reason):
        Dataset(key="frame").save(data)
    assert embedded.manager.project.list_artifacts() == []


def test_csv_refuses_what_it_would_change(embedded: Store) -> None:
    """In CSV an empty text is no text."""
    with pytest.raises(DatasetError, match="csv can't hold"):
        Dataset(key="frame", save_args={"format": "csv"}).save(pd.DataFrame({"a": ["x", ""]}))
    with pytest.raises(DatasetError, match="format of .* takes no 'xlsx'. Use csv, parquet"):
        Dataset(key="frame", save_args={"format": "xlsx"}).save(pd.DataFrame({"a": [1]}))


@pytest.mark.parametrize("file_format", ["csv", "parquet"])
@pytest.mark.parametrize("save_args", [{"tag": "no tag!"}, {"label_column": "none"}])
def test_a_save_that_fails_leaves_nothing(
    embedded: Store, file_format: str, save_args: dict[str, Any]
) -> None:
    """No record, and no file, of the save that failed; what was saved before stays."""
    dataset = Dataset(key="frame", save_args={"format": file_format})
    folder = Path(embedded.manager.context.artifact_path)
    for _ in range(2):
        with pytest.raises(DatasetError, match="'frame' can't be saved"):
            Dataset(key="frame", save_args={"format": file_format, **save_args}).save(
                FRAMES["numbers"]
            )
        left = [path for path in folder.rglob("*") if path.is_file()]
        assert len(left) == len(embedded.manager.project.list_artifacts()) * (
            2 if file_format == "csv" else 1
        )
        dataset.save(FRAMES["numbers"])
    pd.testing.assert_frame_equal(dataset.load(), FRAMES["numbers"])


def test_mlrun_shows_the_frame(store: Store) -> None:
    """It is a dataset to MLRun, with a preview, and reads there as well."""
    Dataset(key="frame", save_args={"label_column": "b"}).save(FRAMES["numbers"])
    artifact = store.manager.project.get_artifact("frame")
    assert artifact.kind == "dataset"
    assert artifact.spec.header == ["index", "b", "a"]
    assert artifact.spec.label_column == "b"
    pd.testing.assert_frame_equal(artifact.to_dataitem().as_df(), FRAMES["numbers"])


@pytest.mark.parametrize("file_format", ["csv", "parquet"])
def test_frames_that_mlrun_wrote(store: Store, file_format: str) -> None:
    """What a handler logged with MLRun's own `log_dataset` loads too."""
    context = store.manager.open_run("generate-data-main")
    frame = pd.DataFrame({"a": [1, 2]})
    context.log_dataset("user_data", frame, format=file_format, index=False)
    store.new_process()
    loaded = Dataset(key="generate-data-main_user_data").load()
    pd.testing.assert_frame_equal(loaded, frame)


def test_the_frame_itself_is_not_touched(embedded: Store) -> None:
    """Saving changes nothing in the caller's hands."""
    frame = FRAMES["days"].copy()
    frame.attrs = {"source": "sensor"}
    Dataset(key="frame").save(frame)
    assert frame.attrs == {"source": "sensor"}
    assert Dataset(key="frame").load().attrs == {"source": "sensor"}


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="only Linux lists threads")
def test_a_small_frame_starts_no_computing_threads(
    embedded: Store, python: Callable[[str], str], tmp_path: Path
) -> None:
    """Arrow's abort a process that ends just after they have begun. Pandas' own reading does it."""
    Dataset(key="frame").save(pd.DataFrame({"kind": pd.Categorical([1, 2])}))
    pd.DataFrame({"number": [1]}).to_parquet(tmp_path / "other.parquet")
    embedded.new_process()
    code = f"""
    import os
    import pandas
    MLRunDataframeDataset("frame").load()
    before = len(os.listdir("/proc/self/task"))
    pandas.read_parquet("{tmp_path}/other.parquet")
    print(len(os.listdir("/proc/self/task")) - before, flush=True)
    os._exit(0)
    """
    assert int(python(textwrap.dedent(code)).splitlines()[-1]) > 0
