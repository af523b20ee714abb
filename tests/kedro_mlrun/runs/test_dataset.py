"""The inputs of a job: other data in place of what catalog entries name."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from helpers import Store
from kedro.io import AbstractDataset, CachedDataset, DataCatalog, DatasetError, MemoryDataset

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
    "report": {
        "type": "kedro_mlrun.MLRunArtifactDataset",
        "key": "report",
        "dataset": {"type": "json.JSONDataset", "filepath": "report.json"},
        "validator": "my.schema",
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


def test_a_file_without_a_record_is_for_the_wrapped_dataset(tmp_path: Path):
    """Law 9: MLRunArtifactDataset couldn't read it, as nobody knows its hash; a URI it can."""
    file = tmp_path / "other.json"
    file.write_text("[1]")
    assert replaced("report", str(file)) == {
        "type": "json.JSONDataset",
        "filepath": str(file),
        "validator": "my.schema",
    }
    assert replaced("report", "https://a/b.json")["filepath"] == "/fetched/report"
    of_uri = {**CATALOG["report"], "load_args": {"path": "store://artifacts/a/b"}}
    assert replaced("report", "store://artifacts/a/b") == of_uri
    with pytest.raises(DatasetError, match="'report' has the path other.json, a file without a re"):
        datasets.MLRunArtifactDataset(
            CATALOG["report"]["dataset"], "report", {"path": "other.json"}
        )


class Anything(AbstractDataset[Any, Any]):
    """A dataset of somebody else that has whatever attribute one asks for."""

    def __getattr__(self, name: str) -> Any:
        return "" if name.startswith("__") else self

    def load(self) -> Any: ...

    def save(self, data: Any) -> None: ...

    def _describe(self) -> dict[str, Any]:
        return {}


def test_datasets_are_ours_by_class():
    """Law 1: what only has our attributes is left alone; what wraps one of ours is not."""
    inner = datasets.MLRunAbstractDataset("a")
    assert dataset.run_dataset(CachedDataset(inner)) is inner
    foreign = Anything()
    foreign._dataset = SimpleNamespace(run_id="theirs", _dataset=inner)
    assert dataset.run_dataset(foreign) is None


def test_a_training_set_is_an_entry():
    """Law 9: a misspelt name is said before a model is trained, and not afterwards."""
    model = datasets.MLRunModel("model", save_args={"training_set": "row"})
    with pytest.raises(dataset.InputError, match="of 'model' names 'row', .* Did you mean 'rows'"):
        dataset.find_sources({"model": model}, DataCatalog({"rows": MemoryDataset(1)}))
    dataset.find_sources({"model": model}, DataCatalog({"row": MemoryDataset(2)}))
    assert model.sources["row"].load() == 2


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
