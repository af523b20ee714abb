"""MLRunArtifactDataset: the file of any Kedro dataset as an artifact."""

import pickle
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from helpers import Store
from kedro.io import AbstractDataset, DataCatalog, DatasetError, Version
from matplotlib.figure import Figure

from kedro_mlrun import datasets

Dataset = datasets.MLRunArtifactDataset


class Named(AbstractDataset):
    """A dataset that gives its file's name."""

    def __init__(self, filepath: str) -> None:
        self.path = Path(filepath)

    def load(self) -> Any:
        return self.path.name

    def save(self, data: Any) -> None:
        self.path.write_text(str(data))

    def _describe(self) -> dict[str, Any]:
        return {}


class Nowhere(Named):
    """A dataset that writes nothing."""

    def save(self, data: Any) -> None:
        pass


class Twofold(Named):
    """A dataset of a file and its index."""

    def save(self, data: Any) -> None:
        super().save(data)
        self.path.with_name(f"{self.path.name}.idx").write_text("")


def wrapping(kind: str, name: str, **more: Any) -> Any:
    """Give a dataset that wraps another."""
    return Dataset({"type": kind, "filepath": name}, key="report", **more)


def path(store: Store) -> Path:
    """Give the newest file."""
    return Path(store.manager.project.get_artifact("report").target_path)


@pytest.mark.parametrize(
    ("kind", "name", "data"),
    [
        ("json.JSONDataset", "report.json", {"a": [1, None]}),
        ("text.TextDataset", "report.md", "# Title"),
        ("text.TextDataset", "empty.txt", ""),
        ("yaml.YAMLDataset", "data/08_reporting/report.yml", {"a": 1}),
        ("pickle.PickleDataset", "report.pkl", (1, {2})),
        ("pickle.PickleDataset", "report", (1, {2})),
        ("text.TextDataset", "/somewhere/report.v2.html", "<b>bold</b>"),
    ],
)
def test_what_was_saved_comes_back(store: Store, kind: str, name: str, data: Any) -> None:
    """Law 1, through the wrapped dataset; nothing is written to the path that it names."""
    dataset = wrapping(kind, name)
    dataset.save(data)
    assert dataset.load() == data
    store.new_process()
    assert dataset.load() == data
    assert path(store).suffix == Path(name).suffix
    assert not Path(name).exists()


def test_wrapped_arguments_reach_the_wrapped_dataset(embedded: Store) -> None:
    """Its save_args and load_args are its own."""
    config = {
        "type": "pandas.CSVDataset",
        "filepath": "report.csv",
        "save_args": {"index": False},
        "load_args": {"usecols": ["a"]},
    }
    dataset = Dataset(config, key="report")
    dataset.save(pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}))
    pd.testing.assert_frame_equal(dataset.load(), pd.DataFrame({"a": [1, 2]}))
    assert path(embedded).read_text() == "a,b\n1,x\n2,y\n"


def test_mlruns_ui_shows_it(store: Store) -> None:
    """The ending tells the UI how; a page is opened as one."""
    wrapping("text.TextDataset", "report.html", save_args={"tag": "best"}).save("<b>bold</b>")
    artifact = store.manager.project.get_artifact("report", tag="best")
    assert (artifact.spec.format, artifact.viewer) == ("html", "web-app")


def test_a_picture_is_kept_though_it_can_only_be_saved(embedded: Store) -> None:
    """Matplotlib's dataset can't load: the error says so, and which dataset gives the bytes."""
    figure = Figure()
    figure.subplots().plot([1, 2])
    wrapping("matplotlib.MatplotlibDataset", "plot.png").save(figure)
    with pytest.raises(DatasetError, match="Loading not supported.*MLRunAbstractDataset"):
        wrapping("matplotlib.MatplotlibDataset", "plot.png").load()
    picture = datasets.MLRunAbstractDataset(key="report").load()
    assert picture == path(embedded).read_bytes()
    assert picture.startswith(b"\x89PNG")


def test_changed_bytes_are_not_read(embedded: Store) -> None:
    """Law 9, whatever the format: the wrapped dataset never sees them."""
    dataset = wrapping("pickle.PickleDataset", "report.pkl")
    dataset.save((1, 2))
    path(embedded).write_bytes(pickle.dumps("evil"))
    with pytest.raises(DatasetError, match="recorded for it"):
        dataset.load()


def test_every_version_stays(store: Store) -> None:
    """Law 2: a second save of a run, and those of other runs, have files of their own."""
    uids = []
    dataset = wrapping("json.JSONDataset", "report.json")
    for number in range(2):
        uids.append(store.manager.open_run("reporting").uid)
        dataset.save(-1)
        dataset.save(number)
        store.new_process()
    assert dataset.load() == 1
    for number, uid in enumerate(uids):
        of_run = wrapping("json.JSONDataset", "report.json", load_args={"uid": uid})
        assert of_run.load() == number
        version = wrapping("json.JSONDataset", "report.json", version=Version(uid, None))
        assert version.load() == number
    assert len(store.manager.project.list_artifacts("report")) == 4


def test_an_earlier_format_is_still_read(embedded: Store) -> None:
    """Some go by the ending: it is that of the recorded file, not of today's catalog."""
    wrapping(f"{__name__}.Named", "report.v2.csv.gz").save(1)
    assert wrapping(f"{__name__}.Named", "report.v2.csv.gz").load() == "report.v2.csv.gz"
    assert wrapping(f"{__name__}.Named", "report.csv").load() == "report.gz"


def test_a_file_that_mlrun_logged_is_read(embedded: Store, tmp_path: Path) -> None:
    """What was recorded without this dataset needs no more than its name."""
    (tmp_path / "made.gz").write_text("1")
    context = embedded.manager.context
    context.log_artifact("report", local_path=str(tmp_path / "made.gz"), db_key="report")
    assert wrapping(f"{__name__}.Named", "report.csv").load() == "report.gz"


def test_exists(embedded: Store) -> None:
    """It exists when the record and its file do."""
    dataset = wrapping("json.JSONDataset", "report.json")
    assert not dataset.exists()
    dataset.save(1)
    assert dataset.exists()
    path(embedded).unlink()
    assert not dataset.exists()


def test_it_can_be_sent_to_another_process() -> None:
    """Kedro's ParallelRunner pickles it; its text shows no argument that may be secret."""
    config = {"type": "json.JSONDataset", "filepath": "a/report.json", "fs_args": {"token": "x1"}}
    dataset = Dataset(config, key="report", load_args={"iter": 1})
    assert str(pickle.loads(pickle.dumps(dataset))) == str(dataset)
    assert "report.json" in str(dataset)
    assert "x1" not in str(dataset)


def test_a_catalog_gives_it_back_as_configuration(embedded: Store) -> None:
    """Kedro makes it of a catalog entry, and that entry of it."""
    entry = {
        "type": "kedro_mlrun.MLRunArtifactDataset",
        "key": "report",
        "versioned": True,
        "dataset": {"type": "json.JSONDataset", "filepath": "report.json"},
    }
    catalog = DataCatalog.from_config({"report": entry})
    catalog.save("report", {"a": 1})
    assert catalog.load("report") == {"a": 1}
    config, *_ = catalog.to_config()
    again = DataCatalog.from_config(config)
    assert str(again["report"]) == str(catalog["report"])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("report.json", "needs a `type` and, as `filepath`"),
        ({"filepath": "report.json"}, "needs a `type`"),
        ({"type": "json.JSONDataset"}, "as `filepath`, a file's name"),
        ({"type": "json.JSONDataset", "filepath": ".."}, "as `filepath`, a file's name"),
        ({"type": "json.JSONDataset", "filepath": "s3://b/x.json"}, "a file's name.*artifact_path"),
        ({"type": "json.JSONDataset", "filepath": "x", "credentials": {}}, "Leave `credentials`"),
        (
            {"type": "json.JSONDataset", "filepath": "x", "versioned": True},
            "Leave .* `versioned` out",
        ),
        ({"type": "json.JSONDatasat", "filepath": "x"}, "JSONDatasat"),
        ({"type": "json.JSONDataset", "filepath": "x", "indent": 2}, "indent"),
    ],
)
def test_mistakes_are_named_at_the_start(config: Any, message: str) -> None:
    """They stop a run before its first node, and not when the file is to be written."""
    with pytest.raises(DatasetError, match=f"(?s){message}"):
        Dataset(config, key="report")
    with pytest.raises(DatasetError, match="`format` out of save_args"):
        wrapping("json.JSONDataset", "report.json", save_args={"format": "png"})


@pytest.mark.parametrize(
    ("kind", "data", "message"),
    [
        ("json.JSONDataset", {1, 2}, "can't be saved in .*set is not JSON"),
        ("matplotlib.MatplotlibDataset", {"a.png": Figure()}, "has written report.x/, and"),
        (f"{__name__}.Twofold", 1, "written report.x, report.x.idx, .*one file"),
        (f"{__name__}.Nowhere", 1, "has written nothing"),
    ],
)
def test_what_is_not_one_file_is_refused(
    embedded: Store, kind: str, data: Any, message: str
) -> None:
    """It leaves no record behind."""
    with pytest.raises(DatasetError, match=message):
        wrapping(kind, "report.x").save(data)
    assert embedded.manager.project.list_artifacts() == []


def test_what_is_no_file_is_not_loaded(embedded: Store, tmp_path: Path) -> None:
    """A folder that MLRun logged has no bytes to read."""
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "a.txt").write_text("a")
    context = embedded.manager.context
    context.log_artifact("report", local_path=str(tmp_path / "pages"), db_key="report")
    with pytest.raises(DatasetError, match="of kind 'dir' and not a file"):
        wrapping("json.JSONDataset", "report.json").load()
