"""What records show of data frames, beside what MLRun's own functions make of them."""

import warnings
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from mlrun.artifacts import dataset
from mlrun.artifacts.dataset import DatasetArtifact, get_df_stats
from mlrun.utils import dict_to_json

from kedro_mlrun.datasets import preview

ROWS = 6
CELLS: dict[str, st.SearchStrategy[Any]] = {
    **{
        kind: arrays(kind, ROWS)
        for kind in ("f8", "f4", "i8", "u8", "i1", "u4", "bool", "M8[ns]", "M8[s]", "m8[ns]", "c16")
    },
    **{
        f"few {kind}": arrays(kind, ROWS, elements=st.sampled_from(few))
        for kind, few in {
            "f8": [0.0, -0.0, 0.1, 1e300, float("nan"), float("inf")],
            "i8": [-1, 2**62],
            "M8[ns]": [*np.array([0, 10**18, "NaT"], "M8[ns]")],
        }.items()
    },
    **{
        name: st.lists(values, min_size=ROWS, max_size=ROWS).map(
            lambda cells: pd.Series(cells, dtype=object)
        )
        for name, values in {
            "text": st.text(max_size=1) | st.sampled_from([None, float("nan")]),
            "integers": st.integers(0, 3),
            "floats": st.floats(),
            "flags": st.booleans() | st.none(),
            "dates": st.sampled_from([*pd.date_range("2024", periods=2).date]),
            "mixed": st.text(max_size=1) | st.integers(0, 1) | st.floats() | st.none(),
            "tuples": st.tuples(st.booleans()),
            "bytes": st.binary(max_size=1),
            "nothing": st.none(),
        }.items()
    },
}
CAST: dict[str, tuple[str, str]] = {
    "text as categories": ("text", "category"),
    "integers as categories": ("integers", "category"),
    "floats as categories": ("few f8", "category"),
    "flags as categories": ("bool", "category"),
    "times as categories": ("few M8[ns]", "category"),
    "string": ("text", "string"),
    "arrow text": ("text", "string[pyarrow]"),
    "nullable integers": ("integers", "Int64"),
    "nullable floats": ("few f8", "Float64"),
    "nullable flags": ("flags", "boolean"),
    "arrow integers": ("i1", "int64[pyarrow]"),
    "arrow times": ("few M8[ns]", "timestamp[ns][pyarrow]"),
    "periods": ("few M8[ns]", "period[D]"),
    "sparse": ("few i8", "Sparse[int64]"),
}
CELLS |= {
    name: CELLS[source].map(lambda cells, dtype=dtype: pd.Series(cells).astype(dtype))
    for name, (source, dtype) in CAST.items()
}
CELLS["zoned"] = CELLS["few M8[ns]"].map(
    lambda cells: pd.Series(cells).dt.tz_localize("UTC").dt.tz_convert("Europe/Berlin")
)


@st.composite
def frames(draw: Any) -> pd.DataFrame:
    """Some columns of any kinds, with all their rows or few or none."""
    kinds = draw(st.lists(st.sampled_from([*CELLS]), min_size=1, max_size=4, unique=True))
    frame = pd.DataFrame({kind: draw(CELLS[kind]) for kind in kinds})
    return frame.iloc[: draw(st.sampled_from([ROWS, ROWS, 1, 0]))]


def outcome(function: Any, *args: Any, **kwargs: Any) -> str:
    """Give a result as JSON, or the class of the error; ours warn of no infinity and the like."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if function.__module__ == preview.__name__:
            warnings.simplefilter("error", RuntimeWarning)
            # Those have no statistics, which is said anyway.
            warnings.simplefilter("ignore", np.exceptions.ComplexWarning)
        try:
            return dict_to_json(function(*args, **kwargs))
        except Exception as error:
            return type(error).__name__


def of_mlrun(frame: pd.DataFrame, **limits: Any) -> dict[str, Any]:
    made = DatasetArtifact("frame", df=frame, **limits)
    names = {
        "spec": ("length", "header", "schema"),
        "status": ("header_original_length", "preview", "stats"),
    }
    return {part: {n: getattr(getattr(made, part), n) for n in names[part]} for part in names}


@given(frames())
@settings(max_examples=30, deadline=None)
def test_statistics_are_mlruns(frame: pd.DataFrame) -> None:
    """Names, numbers to the last bit, and their order, for columns of all kinds beside others."""
    assert outcome(preview.statistics, frame) == outcome(get_df_stats, frame)


random = np.random.default_rng(1)
DAYS = pd.date_range("2024-01-01", periods=300)
MANY = pd.DataFrame(
    {
        "float": random.normal(size=300),
        "float32": random.normal(size=300).astype("f4"),
        "missing": np.where(random.random(300) > 0.5, random.random(300), np.nan),
        "integer": random.integers(-(2**62), 2**62, 300),
        "flag": random.random(300) > 0.5,
        "text": random.choice([*"abcdefg"], 300),
        "unique": [*map(str, range(300))],
        "category": pd.Categorical(random.choice([*"xy"], 300), [*"xyz"], ordered=True),
        "number": pd.Categorical(random.integers(0, 9, 300)),
        "time": DAYS,
        "zoned": DAYS.tz_localize("Europe/Berlin"),
        "period": DAYS.to_period("M"),
        "delta": DAYS - DAYS[7],
        "nullable": pd.array([1, None, 3] * 100, dtype="Int64"),
        "string": pd.array(["x", None, ""] * 100, dtype="string"),
        "list": [[1, 2.5, None]] * 300,
        "decimal": [Decimal("1.50"), None, Decimal(2)] * 100,
        "interval": pd.interval_range(0, 300),
    }
)
SHOWN: dict[str, pd.DataFrame] = {
    "all kinds": MANY.drop(columns="list"),
    "lists": MANY[["float", "list"]],
    "one of each": MANY.drop(columns="list").head(1),
    "few": MANY.drop(columns="list").head(20),
    "rows": MANY[["integer", "float"]].head(60).T,
    "strides": pd.DataFrame(random.random((300, 31))).set_axis(
        [f"c{n}" for n in range(31)], axis=1
    ),
    "numbers as names": pd.DataFrame(random.random((3, 2)), columns=[1, 2.5]),
    "unusual numbers": pd.DataFrame(
        {
            "constant": np.full(300, 0.1),
            "zeros": random.choice([0.0, -0.0], 300),
            "from zero": random.choice([-0.0, 1.0], 300),
            "close": 1 + random.integers(0, 9, 300) * 2.0**-52,
            "far": random.choice([-1e308, 1e308, 0.5], 300),
            "infinite": random.choice([1.0, np.inf], 300),
            "subnormal": random.integers(0, 50, 300) * 5e-324,
            "on edges": random.integers(0, 21, 300) / 20,
            "large": random.integers(2**53, 2**53 + 40, 300),
            "int8": random.integers(-128, 128, 300).astype("i1"),
            "uint64": random.integers(2**63, 2**64, 300, dtype="u8"),
            "count": random.integers(0, 40, 300),
        }
    ),
    "no rows": MANY.drop(columns="list").head(0),
    "named index": MANY[["float"]].set_axis(pd.Index(DAYS, name="day")),
    "index of a column's name": MANY[["float"]].set_axis(pd.Index(DAYS, name="float")),
    "levels": MANY[["float"]].set_index(pd.MultiIndex.from_product([range(100), [*"abc"]])),
    "named levels": MANY[["float", "text", "flag"]].set_index(["text", "flag"]),
    "a column index": MANY[["float"]].rename(columns={"float": "index"}),
    "columns index and level_0": pd.DataFrame({"index": [1], "level_0": [2]}),
    "named columns": MANY[["float"]].rename_axis(columns="kind"),
    "the longest described": pd.DataFrame(
        {"a": random.integers(-(2**62), 2**62, 9_999), "b": random.random(9_999), "c": "x"}
    ),
    "too long": pd.DataFrame({"a": range(10_000), "b": "x"}),
    "the widest described": pd.DataFrame(random.random((2, 99))).add_prefix("c"),
    "too wide": pd.DataFrame(random.random((2, 101))).add_prefix("c"),
    "dicts": pd.DataFrame({"a": [{"b": np.float32(1.5)}, {1: np.array([1, 2])}]}),
    "what JSON can't hold": pd.DataFrame({"a": [{(1, 2): 3}]}),
}


@pytest.mark.parametrize("name", SHOWN)
def test_fields_are_mlruns(name: str) -> None:
    """Preview, header, schema, length and statistics have the bytes of MLRun's own."""
    frame, before = SHOWN[name], SHOWN[name].copy(deep=True)
    wanted: list[dict[str, Any]] = [
        {},
        {"stats": True},
        {"stats": False, "preview": 3},
        {"ignore_preview_limits": True},
    ]
    # All rows of a long frame take their time.
    for limits in wanted[: 3 if len(frame) > 1_000 else 4]:
        expected = outcome(of_mlrun, frame, **limits)
        assert outcome(preview.preview_fields, frame, **limits) == expected
        assert name not in {"all kinds", "too long"} or expected.startswith("{")
    pd.testing.assert_frame_equal(frame, before)


def test_limits_are_mlruns() -> None:
    """A release of MLRun that changes them is noticed."""
    assert preview.ROWS == dataset.default_preview_rows_length
    assert (preview.MAX_COLUMNS, preview.MAX_LENGTH) == (
        dataset.max_preview_columns,
        dataset.max_csv,
    )
    many = pd.DataFrame([range(8)]).add_prefix("c")
    fields = preview.preview_fields(many, max_columns=5)
    assert fields["spec"]["header"] == ["index", "c0", "c1", "c2", "c3"]
    assert fields["status"]["stats"] is None


def test_many_categories_are_not_listed() -> None:
    """Law 7: what a column adds to the record doesn't grow with the data."""

    def field(count: int, **limits: Any) -> dict[str, Any]:
        frame = pd.DataFrame({"a": pd.Categorical(["1"], [*map(str, range(count))])})
        fields: Any = preview.preview_fields(frame, **limits)["spec"]["schema"]["fields"]
        return dict(fields[1])

    assert field(10_000) == {"name": "a", "type": "any", "ordered": False}
    assert len(field(9_999)["constraints"]["enum"]) == 9_999
    assert len(field(10_000, ignore_preview_limits=True)["constraints"]["enum"]) == 10_000
