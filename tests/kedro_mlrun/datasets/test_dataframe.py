"""MLRunDataframeDataset."""

import datetime as dt
import sys
import textwrap
from collections.abc import Callable
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch
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


class Measured(pd.DataFrame):
    """A data frame of the user's own."""

    _metadata: ClassVar[list[str]] = ["unit"]

    @property
    def _constructor(self) -> Any:
        return Measured


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
    "steps": pd.DataFrame({"a": [1, 2]}, index=pd.RangeIndex(5, 1, -2, name="left")),
    "numbered columns": pd.DataFrame([[1, 2]]),
    "days as columns": pd.DataFrame([[1, 2]], columns=pd.date_range("2024-01-01", periods=2)),
    "dates as columns": pd.DataFrame([[1]], columns=[dt.date(2024, 1, 1)]),
    "prices as columns": pd.DataFrame([[1]], columns=pd.Index([Decimal("1.50")], name="price")),
    "bytes as columns": pd.DataFrame([[1]], columns=[b"a"]),
    "months as columns": pd.DataFrame([[1]], columns=pd.period_range("2024-01", periods=1)),
    "flags as columns": pd.DataFrame([[1, 2]], columns=[True, False]),
    "categories as columns": pd.DataFrame(
        [[1, 2]], columns=pd.CategoricalIndex(["x", "y"], name="k")
    ),
    "bins as columns": pd.DataFrame([[1, 2, 3]], columns=pd.CategoricalIndex(pd.cut([1, 5, 9], 3))),
    "numbered index": pd.DataFrame({"a": [1, 2]}, index=pd.Index(["x", "y"], name=0)),
    "numbered levels": pd.DataFrame(
        {"a": [1, 2]}, index=pd.MultiIndex.from_tuples([("x", 1), ("y", 2)], names=[0, "q"])
    ),
    "numbered name of columns": pd.DataFrame([[1, 2]], columns=pd.Index(["x", "y"], name=0)),
    "arrow": pd.DataFrame({"a": ["x", "y"], "b": [1, 2]}).convert_dtypes(dtype_backend="pyarrow"),
    "subclass": Measured({"a": [1]}),
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
    "categories among levels": pd.DataFrame(
        [[1, 2]], columns=pd.MultiIndex.from_product([["v"], pd.Categorical(["x", "y"])])
    ),
    "column levels": pd.DataFrame(
        [[1, 2]], columns=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)])
    ),
    "bytes": pd.DataFrame({"a": [b"x", b"\x00"]}),
    "flags as objects": pd.DataFrame({"a": pd.Series([True, False], dtype=object)}),
    "dotted": pd.DataFrame({"a": ["x"], "a.b": pd.Categorical(["y"]), "b": [dt.date(2024, 1, 1)]}),
}


def assert_same(loaded: pd.DataFrame, frame: pd.DataFrame) -> None:
    options = {"check_exact": True, "check_index_type": True, "check_column_type": True}
    pd.testing.assert_frame_equal(loaded, frame, **options)
    assert type(loaded) is type(frame)


def test_frames_come_back(embedded: Store) -> None:
    """Law 1: class, dtypes, index, columns, categories and time zones, whatever MLRun can show."""
    for frame in [*FRAMES.values(), *ONLY_PARQUET.values()]:
        Dataset(key="frame").save(frame)
        assert_same(Dataset(key="frame").load(), frame)


def test_frames_come_back_from_csv(embedded: Store) -> None:
    """Law 1: CSV holds no types, yet they come back."""
    dataset = Dataset(key="frame", save_args={"format": "csv"})
    for frame in FRAMES.values():
        dataset.save(frame)
        assert_same(dataset.load(), frame)
    artifact = embedded.manager.project.get_artifact("frame")
    assert artifact.target_path.endswith(".csv")


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
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
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
        *(
            (pd.DataFrame({"a": pd.Series(cells, dtype=object)}), "can't hold this data frame")
            for cells in (
                [{"b": [1, 2]}],
                [{"b": np.float32(1.5)}],
                [np.array([1], dtype="int8"), np.array([1.5], dtype="float32")],
            )
        ),
        (
            pd.DataFrame({"a": pd.Series([1, None], dtype=object)}),
            "objects of column 'a' change their types",
        ),
        (pd.DataFrame({"a": [[1], [2]]}), "objects of column 'a' change"),
        (pd.DataFrame({"a": pd.Series(["x", pd.NaT], dtype=object)}), "of column 'a' change"),
        (pd.DataFrame({"a": pd.Series(["x", pd.NA], dtype=object)}), "of column 'a' change"),
        (pd.DataFrame({"a": ["x", np.str_("y")]}), "of column 'a' change"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "[Dd]uplicate column names"),
        (pd.DataFrame({"__index_level_0__": [1]}, index=["x"]), "Parquet keeps the index"),
        (pd.DataFrame([[1, 2]], columns=["a", np.nan]), "columns' names change"),
        (pd.DataFrame([[1, 2]], columns=pd.Index([1, None], dtype="Int64")), "<NA>"),
        (
            pd.DataFrame({"a": [1]}).set_flags(allows_duplicate_labels=False),
            "allows_duplicate_labels",
        ),
    ],
    ids=[
        *("list", "mixed", "lists in dicts", "float32 in dicts", "other arrays"),
        *("integers as objects", "lists", "no time", "not there", "other text"),
        *("twice", "as the index", "no name", "no number", "allows_duplicate_labels"),
    ],
)
def test_what_would_change_is_refused(embedded: Store, data: Any, reason: str) -> None:
    """A frame that the format can't hold is not recorded; the message says what is wrong."""
    with pytest.raises(DatasetError, match=reason):
        Dataset(key="frame").save(data)
    assert embedded.manager.project.list_artifacts() == []


@pytest.mark.parametrize(
    "attrs", [{"a": (1, 2)}, {1: "a"}, {"a": {1: "b"}}, {"a": dt.date(2024, 1, 1)}], ids=str
)
def test_attributes_that_would_change_are_named(embedded: Store, attrs: dict[Any, Any]) -> None:
    """Law 1: JSON, in which Parquet has them, keeps no tuples and no keys but text."""
    frame = pd.DataFrame({"x": [1]})
    frame.attrs = {"kept": [1, {"b": None}], **attrs}
    for file_format in ("parquet", "csv"):
        with pytest.raises(DatasetError, match=f"JSON can't keep .{[*attrs][0]!r}. of its attrs"):
            Dataset(key="frame", save_args={"format": file_format}).save(frame)
    assert embedded.manager.project.list_artifacts() == []


def test_a_refusal_gives_one_advice(embedded: Store) -> None:
    """Its own, of which Kedro's user can do something; where it has none, a general one."""
    with pytest.raises(DatasetError, match="which keeps any frame.$"):
        Dataset(key="frame").save(pd.DataFrame({"a": [[1], [2]]}))
    with pytest.raises(DatasetError, match="Check the dataset's entry in the catalog"):
        Dataset(key="frame", save_args={"tag": "no tag!"}).save(FRAMES["numbers"])


def test_a_subclass_that_would_lose_something_is_refused(
    embedded: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law 1: what it has beside the frame, or its class itself where it can't be imported."""
    frame = Measured({"a": [1]})
    frame.unit = "mm"
    with pytest.raises(DatasetError, match="'unit' of a .*Measured is no part"):
        Dataset(key="frame").save(frame)
    main = type("Main", (pd.DataFrame,), {"__module__": "__main__"})
    monkeypatch.setattr(sys.modules["__main__"], "Main", main, raising=False)
    with pytest.raises(DatasetError, match="can't import __main__.Main; move the class"):
        Dataset(key="frame").save(main({"a": [1]}))
    local = type("Local", (pd.DataFrame,), {"__module__": __name__})
    with pytest.raises(DatasetError, match="no attribute 'Local'"):
        Dataset(key="frame").save(local({"a": [1]}))


def test_a_frame_that_mlrun_cannot_show_is_saved(
    embedded: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """Law 10: preview and statistics are extras; what can't be made is said."""
    frame = pd.DataFrame({"index": [1, 2], "level_0": [3, 4]})
    Dataset(key="frame", save_args={"label_column": "index"}).save(frame)
    assert_same(Dataset(key="frame").load(), frame)
    assert "'frame' is recorded without preview and statistics" in caplog.text
    spec = embedded.manager.project.get_artifact("frame").spec
    assert (spec.length, spec.header, spec.label_column) == (2, [*frame], "index")


def test_a_column_may_have_any_name(embedded: Store) -> None:
    """MLRun itself takes a frame with a column `dask` for one of Dask, and fails."""
    Dataset(key="frame").save(pd.DataFrame({"dask": [1, 2]}))
    assert embedded.manager.project.get_artifact("frame").status.preview == [[0, 1], [1, 2]]


@pytest.mark.parametrize("which", ["frame", "schema"])
def test_changed_bytes_of_a_csv_are_not_read(embedded: Store, which: str) -> None:
    """Law 1: neither its text nor the types beside it, without which it is another frame."""
    dataset = Dataset(key="frame", save_args={"format": "csv"})
    dataset.save(pd.DataFrame({"a": ["1", "2"]}))
    artifact = embedded.manager.project.get_artifact("frame")
    schema = Path(artifact.spec.extra_data["schema"])
    if which == "schema":
        pd.DataFrame({"a": [1]}).to_parquet(schema)
    else:
        Path(artifact.target_path).write_text(",a\n0,3\n1,4\n")
    with pytest.raises(DatasetError, match="so it isn't read"):
        dataset.load()


def test_a_csv_of_an_earlier_version_is_read(embedded: Store) -> None:
    """Law 1: its schema's name has no hash."""
    frame = pd.DataFrame({"a": ["1", "2"]})
    Dataset(key="frame", save_args={"format": "csv"}).save(frame)
    artifact = embedded.manager.project.get_artifact("frame")
    schema = Path(artifact.spec.extra_data["schema"])
    earlier = schema.rename(schema.with_name("frame.schema.parquet"))
    artifact.spec.extra_data["schema"] = str(earlier)
    artifact.spec.db_key = "earlier"
    embedded.manager.db.store_artifact("earlier", artifact.to_dict(), project=embedded.project)
    assert_same(Dataset(key="earlier").load(), frame)


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


def test_mlrun_shows_the_first_rows_of_a_large_frame(embedded: Store) -> None:
    """What it records is what it would make of the whole frame, at the cost of a small one."""
    module = import_module("kedro_mlrun.datasets.dataframe")
    frame = pd.DataFrame({"a": range(10_000), "b": "x"})
    with patch.object(module, "_for_preview", wraps=module._for_preview) as shown:
        Dataset(key="frame").save(frame)
    assert len(shown.call_args.args[0]) == 20
    artifact = embedded.manager.project.get_artifact("frame")
    expected = type(artifact)("frame", df=frame)
    assert (artifact.spec.length, artifact.status.stats) == (10_000, None)
    assert (artifact.spec.header, artifact.spec.schema) == (["index", "a", "b"], expected.schema)
    assert artifact.status.preview == expected.status.preview
    Dataset(key="frame", save_args={"stats": True}).save(frame)
    assert embedded.manager.project.get_artifact("frame").status.stats["a"]["count"] == 10_000


def test_what_parquet_keeps_is_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only columns that it may change are written and read a second time."""
    module, read = import_module("kedro_mlrun.datasets.formats"), []
    monkeypatch.setattr(module, "compare", lambda before, _: read.append([*before]))
    frame = pd.DataFrame({"n": [1], "f": [0.5], "t": pd.to_datetime(["2024-01-01"]), "s": ["x"]})
    module.write_parquet(frame, tmp_path / "plain.parquet")
    # Of these Arrow's codes are enough.
    frame["c"] = pd.Categorical(["x"], ["y", "x"])
    module.write_parquet(frame, tmp_path / "category.parquet")
    assert read == []
    module.write_parquet(frame.assign(k=pd.Categorical([1])), tmp_path / "number.parquet")
    assert read == [["c", "k"]]


def test_more_categories_than_parquet_keeps(embedded: Store) -> None:
    """Law 1: beyond some size it writes what was said of the rows, and not the categories."""
    names = [f"{number:080}" for number in range(20_000, 0, -1)]
    frame = pd.DataFrame({"a": pd.Categorical(names[::2], names, ordered=True)})
    Dataset(key="frame").save(frame)
    assert_same(Dataset(key="frame").load(), frame)


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
