"""The inputs of a job: other data in place of what catalog entries name."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from helpers import Store
from kedro.io import DatasetError

from kedro_mlrun import datasets
from kedro_mlrun.runs import dataset

CATALOG: dict[str, Any] = {
    "cars": {
        "type": "pandas.CSVDataset",
        "filepath": "s3://b/cars.csv",
        "load_args": {"sep": ";"},
        "credentials": "aws",
        "versioned": True,
        "validator": "my.schema",
    },
    "{name}_table": {"type": "pandas.CSVDataset", "filepath": "{name}.csv", "credentials": "aws"},
    "folder": {"type": "partitions.PartitionedDataset", "path": "data", "dataset": "x"},
    "cached": {"type": "CachedDataset", "dataset": {"type": "json.JSONDataset", "filepath": "a"}},
    "model": {
        "type": "kedro_mlrun.MLRunModel",
        "load_args": {"tag": "old"},
        "framework": "sklearn",
    },
    "query": {"type": "pandas.SQLQueryDataset", "sql": "select 1"},
}


def replaced(name: str, source: str) -> Any:
    """Give the entry that a job has with an input."""
    changed = dataset.with_inputs(CATALOG, {name: source}, lambda name: f"/fetched/{name}")
    assert {**changed, name: None} == {**CATALOG, name: None}
    return changed[name]


def test_each_entry_keeps_its_type():
    """Only where the data comes from changes, and what was of the file that is replaced."""
    assert replaced("cars", "https://a/cars.csv") == {
        "type": "pandas.CSVDataset",
        "filepath": "/fetched/cars",
        "load_args": {"sep": ";"},
        "validator": "my.schema",
    }
    assert replaced("a_table", "store://a")["filepath"] == "/fetched/a_table"
    assert replaced("folder", str(Path.cwd()))["path"] == str(Path.cwd())
    assert replaced("cached", "s3://b/a")["dataset"]["filepath"] == "/fetched/cached"
    assert replaced("model", "store://models/a/b")["load_args"] == {"path": "store://models/a/b"}


@pytest.mark.parametrize(
    ("name", "source", "reason"),
    [
        ("car", "s3://b/c.csv", "is not an entry of the catalog. Did you mean 'cars'?"),
        ("cars", "nowhere.csv", "Input 'cars' is nowhere.csv, and there is no such file"),
        ("query", "s3://b/c.csv", "of type pandas.SQLQueryDataset and has no file"),
    ],
)
def test_what_can_not_be_replaced_is_refused(name, source, reason):
    with pytest.raises(dataset.InputError) as caught:
        dataset.with_inputs(CATALOG, {name: source}, str)
    assert reason in str(caught.value)


def test_a_run_takes_each_input():
    dataset.check_used(["cars"], {"cars@pandas", "b"})
    with pytest.raises(dataset.InputError, match="Did you mean 'cars'"):
        dataset.check_used(["car"], {"cars"})


def test_an_mlrun_dataset_reads_a_file(embedded: Store, tmp_path: Path):
    """A path, or another run's artifact by its URI; what could run code needs a record."""
    frame = pd.DataFrame({"x": [1, 2]})
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    for name in ("a.csv", "a.parquet"):
        path = {"path": f"{tmp_path}/{name}"}
        loaded = datasets.MLRunDataframeDataset(key="frame", load_args=path).load()
        pd.testing.assert_frame_equal(loaded, frame)
    (tmp_path / "a.json").write_text('{"a": 1}')
    (tmp_path / "a.pkl").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    read = datasets.MLRunAbstractDataset
    assert read(key="any", load_args={"path": f"{tmp_path}/a.json"}).load() == {"a": 1}
    with pytest.raises(DatasetError, match="has the hash"):
        read(key="any", load_args={"path": f"{tmp_path}/a.pkl"}).load()
    read(key="other").save({"b": 2})
    uri = embedded.manager.current.artifact_uris["other"]
    assert read(key="any", load_args={"path": uri}).load() == {"b": 2}


def test_a_jobs_inputs_are_those_that_it_was_given(embedded: Store):
    """What its run loads from earlier ones becomes an input, too, and replaces nothing."""
    context = embedded.manager.open_run("job")
    context.inputs["cars"] = "other.csv"
    embedded.manager.adopt(context)
    context.inputs["model"] = "store://models/iris/model"
    assert embedded.manager.job_inputs == {"cars": "other.csv"}
    embedded.manager.job_inputs = {}
