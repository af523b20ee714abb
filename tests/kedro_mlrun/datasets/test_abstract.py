"""MLRunAbstractDataset, and what all datasets have from it."""

import pickle
from pathlib import Path
from typing import Any

import mlrun
import numpy as np
import pandas as pd
import pytest
from helpers import Store
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kedro.io import DatasetError, Version

from kedro_mlrun import datasets

Dataset = datasets.MLRunAbstractDataset

OBJECTS = [
    "text",
    "",
    "zwei\r\nZeilen, 雪, \ud800",
    b"\x00bytes",
    b"",
    {"param1": "value1", "param2": 42, "nested": [1, 2.5, None, True, {"a": []}]},
    [],
    {},
    0,
    False,
    float("inf"),
    (1, 2),
    {1: "a", "b": (2,)},
    {"a"},
    np.float64(0.5),
    Path("some/where"),
]


def same(left: Any, right: Any) -> bool:
    return type(left) is type(right) and left == right


def test_what_was_saved_comes_back(store: Store) -> None:
    """Law 1, in the same run and in a later process."""
    keys = [f"thing-{number}" for number, _ in enumerate(OBJECTS)]
    for key, data in zip(keys, OBJECTS, strict=True):
        Dataset(key=key).save(data)
        assert same(Dataset(key=key).load(), data)
    store.new_process()
    for key, data in zip(keys, OBJECTS, strict=True):
        assert same(Dataset(key=key).load(), data)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
        max_leaves=10,
    ).filter(lambda data: data is not None)
)
@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_object_comes_back(embedded: Store, data: Any) -> None:
    """Law 1, for whatever there is."""
    Dataset(key="thing").save(data)
    assert same(Dataset(key="thing").load(), data)


def test_arrays_come_back(store: Store) -> None:
    """An object that has no place in JSON is pickled."""
    array = np.arange(6, dtype="float32").reshape(2, 3)
    Dataset(key="array").save(array)
    np.testing.assert_array_equal(Dataset(key="array").load(), array, strict=True)


@pytest.mark.parametrize(
    "name", ["MLRunAbstractDataset", "MLRunDataframeDataset", "MLRunModel", "MLRunResult"]
)
def test_datasets_can_be_sent_to_another_process(name: str) -> None:
    """Kedro's ParallelRunner pickles them."""
    dataset = getattr(datasets, name)(key="thing", load_args={"iter": 1})
    assert str(pickle.loads(pickle.dumps(dataset))) == str(dataset)


def test_format_names_the_file(store: Store) -> None:
    """Bytes of a picture are a picture for everybody."""
    dataset = Dataset(key="plot", save_args={"format": "png"})
    dataset.save(b"\x89PNG")
    artifact = store.manager.project.get_artifact("plot")
    assert artifact.target_path.endswith(".png")
    assert dataset.load() == b"\x89PNG"


def test_save_args_reach_mlrun(store: Store) -> None:
    """What MLRun's function takes is handed on to it; a list of labels is a dict of them."""
    arguments = {"tag": "best", "labels": ["production", "v1.0"], "format": "html"}
    Dataset(key="page", save_args=arguments).save("<b>bold</b>")
    artifact = store.manager.project.get_artifact("page", tag="best")
    assert {"production", "v1.0"} < set(artifact.labels)
    Dataset(key="page", save_args={"labels": "team"}).save("")
    assert "team" in store.manager.project.get_artifact("page").labels
    assert artifact.viewer == "web-app"


def test_unknown_arguments_are_named(embedded: Store) -> None:
    """A misspelt argument is an error that names it."""
    with pytest.raises(DatasetError, match="'lables'"):
        Dataset(key="thing", save_args={"lables": {}}).save(1)
    with pytest.raises(DatasetError, match="'tga'"):
        Dataset(key="thing", load_args={"tga": "x"})
    with pytest.raises(DatasetError, match="a store:// URL says by itself"):
        Dataset(key="store://artifacts/p/thing", load_args={"tag": "x"}).load()


def test_a_path_that_another_run_would_write_to_is_refused(store: Store) -> None:
    """Law 2: a fixed target path is refused, an artifact path gets the run's id."""
    folder = store.manager._folder / "elsewhere"
    with pytest.raises(DatasetError, match="takes no 'target_path'. Use artifact_path"):
        Dataset(key="thing", save_args={"target_path": f"{folder}/thing.json"}).save(1)
    Dataset(key="thing", save_args={"artifact_path": str(folder)}).save(1)
    path = store.manager.project.get_artifact("thing").target_path
    assert path.startswith(f"{folder}/{store.manager.context.uid}/")


@pytest.mark.parametrize(
    "key", [None, "", 5, "../x", "a b", "-a", "a/b", "ä", "a:b", "store://a/b", "a\n"]
)
def test_unsafe_keys_are_refused(embedded: Store, key: Any) -> None:
    """A key is never a path; the message names key, project and store."""
    with pytest.raises(DatasetError, match=f"(?s){embedded.project}.*{embedded.dbpath}"):
        Dataset(key=key).save(1)
    assert embedded.manager.project.list_artifacts() == []


def test_unserialisable_objects_are_refused(embedded: Store) -> None:
    """What can't be kept leaves no record behind."""
    with pytest.raises(DatasetError, match="Can't pickle"):
        Dataset(key="thing").save(lambda: 0)
    with pytest.raises(DatasetError, match="format 'yaml' can't hold a builtins.dict"):
        Dataset(key="thing", save_args={"format": "yaml"}).save({"a": 1})
    with pytest.raises(DatasetError, match="format 'json' can't hold a builtins.tuple"):
        Dataset(key="thing", save_args={"format": "json"}).save((1,))
    assert embedded.manager.project.list_artifacts() == []


def test_missing_artifacts_are_named(store: Store) -> None:
    """Never a silent None: key, project, store and what to do."""
    with pytest.raises(DatasetError) as error:
        Dataset(key="nothing").load()
    for part in ("'nothing'", store.project, store.dbpath, "Run the pipeline that saves it"):
        assert part in str(error.value)


def test_missing_bytes_are_an_error(embedded: Store) -> None:
    """A record whose file was deleted says so, and doesn't count as an output that exists."""
    Dataset(key="thing").save("text")
    path = Path(embedded.manager.project.get_artifact("thing").target_path)
    path.unlink()
    with pytest.raises(DatasetError, match=f"its file {path} is gone. Restore it, or save"):
        Dataset(key="thing").load()
    assert not Dataset(key="thing").exists()


def test_changed_pickles_are_not_read(embedded: Store) -> None:
    """Law 9: bytes that are not those that were recorded are not unpickled."""
    Dataset(key="thing").save((1, 2))
    path = Path(embedded.manager.project.get_artifact("thing").target_path)
    path.write_bytes(pickle.dumps("evil"))
    with pytest.raises(DatasetError, match="recorded for it, so it isn't read"):
        Dataset(key="thing").load()


@pytest.mark.parametrize(
    ("name", "data", "save_args"),
    [
        ("MLRunAbstractDataset", "text", {}),
        ("MLRunAbstractDataset", b"bytes", {}),
        ("MLRunAbstractDataset", {"a": 1}, {}),
        ("MLRunDataframeDataset", pd.DataFrame({"a": [1]}), {}),
        ("MLRunDataframeDataset", pd.DataFrame({"a": [1]}), {"format": "csv"}),
        ("MLRunMetricHistory", [0.5], {}),
    ],
)
def test_changed_bytes_are_not_read(
    embedded: Store, name: str, data: Any, save_args: dict[str, Any]
) -> None:
    """Law 1: what is loaded has the hash that was recorded with it, whatever its kind."""
    dataset = getattr(datasets, name)(key="thing", save_args=save_args)
    dataset.save(data)
    path = Path(embedded.manager.project.get_artifact("thing").target_path)
    path.write_bytes(path.read_bytes() + b"1")
    with pytest.raises(DatasetError, match="recorded for it, so it isn't read"):
        dataset.load()


def test_exists(store: Store) -> None:
    """`kedro run --only-missing-outputs` asks for it."""
    dataset = Dataset(key="thing")
    assert not dataset.exists()
    dataset.save(1)
    assert dataset.exists()
    store.new_process()
    assert dataset.exists()


def save_in_three_runs(store: Store, key: str = "thing") -> list[str]:
    """Save 0, 1 and 2 under a key, each in a run of its own, and give the runs' ids."""
    uids = []
    for number in range(3):
        run = store.manager.open_run("training")
        Dataset(key=key, save_args={"tag": f"v{number}"}).save(number)
        uids.append(run.uid)
        store.new_process()
    return uids


def test_any_earlier_version_can_be_loaded(store: Store) -> None:
    """Law 2: by the run's id, by tag, by tree, by the artifact's own id, by Kedro's version."""
    uids = save_in_three_runs(store)
    assert Dataset(key="thing").load() == 2
    for number, uid in enumerate(uids):
        assert Dataset(key="thing", load_args={"uid": uid}).load() == number
        assert Dataset(key="thing", load_args={"tree": uid}).load() == number
        assert Dataset(key="thing", load_args={"tree": uid, "iter": 0}).load() == number
        assert Dataset(key="thing", load_args={"tag": f"v{number}"}).load() == number
        assert Dataset(key="thing", version=Version(uid, None)).load() == number
        # As `kedro mlrun show` takes it.
        assert Dataset(key="thing", version=Version(uid[:9], None)).load() == number
        assert Dataset(key="thing", version=Version(f"v{number}", None)).load() == number
        artifact = store.manager.project.get_artifact("thing", tag=f"v{number}")
        assert Dataset(key="thing", load_args={"uid": artifact.uid}).load() == number
        assert Dataset(key=artifact.uri).load() == number
    with pytest.raises(DatasetError, match="can't be loaded"):
        Dataset(key="thing", load_args={"uid": "f" * 32}).load()
    with pytest.raises(DatasetError, match="not found"):
        Dataset(key="thing", load_args={"uid": uids[0], "tag": "v1"}).load()
    for uid in ("c0ffee" + "0" * 26, "c0ffee" + "1" * 26):
        run = {"metadata": {"name": "other", "uid": uid}, "status": {"state": "completed"}}
        mlrun.get_run_db().store_run(run, uid, store.project)
    for dataset in (Dataset, datasets.MLRunResult):
        with pytest.raises(DatasetError, match="'c0ffee' is the beginning of several runs' ids"):
            dataset(key="thing", version=Version("c0ffee", None)).load()
    with pytest.raises(DatasetError, match="has no artifact 'other'"):
        Dataset(key="other", load_args={"uid": uids[0]}).load()


def test_a_moved_tag_takes_no_version_away(store: Store) -> None:
    """An earlier version can be had by its run although its tag names another one now."""
    uids = []
    for number in range(2):
        run = store.manager.open_run("training")
        Dataset(key="thing", save_args={"tag": "best"}).save(number)
        uids.append(run.uid)
        store.new_process()
    assert Dataset(key="thing", load_args={"tag": "best"}).load() == 1
    assert Dataset(key="thing", load_args={"uid": uids[0]}).load() == 0


def test_other_projects_can_be_read(store: Store) -> None:
    """`project` says where to load from."""
    Dataset(key="thing").save("here")
    store.new_process()
    mlrun.mlconf.active_project = f"{store.project}-b"
    assert not Dataset(key="thing").exists()
    assert Dataset(key="thing", load_args={"project": store.project}).load() == "here"


def test_a_run_sees_its_own(store: Store) -> None:
    """What the run that is going on saved comes before what another run saved later."""
    run = store.manager.open_run("training")
    Dataset(key="thing").save("mine")
    record = store.manager.project.get_artifact("thing").to_dict()
    record["metadata"].update(tree="other-run", uid=None)
    mlrun.get_run_db().store_artifact("thing", record, project=store.project, tree="other-run")
    assert Dataset(key="thing").load() == "mine"
    assert Dataset(key="thing", load_args={"tree": run.uid}).load() == "mine"


def test_a_second_version_spares_the_first(store: Store) -> None:
    """Law 2 within a run, too: saving again touches no bytes that are recorded."""
    Dataset(key="thing").save("first")
    first = store.manager.project.get_artifact("thing")
    Dataset(key="thing").save("second")
    assert Dataset(key="thing").load() == "second"
    assert Dataset(key="thing", load_args={"uid": first.uid}).load() == "first"


def test_keys_as_mlrun_writes_them(store: Store) -> None:
    """What a handler logged without these datasets is found by its key in the store."""
    context = store.manager.open_run("generate-data-main")
    context.log_artifact("user_data", body=b'{"a": 1}', format="json")
    context.log_artifact("notes", body="text", format="txt")
    uid = context.uid
    store.new_process()
    assert Dataset(key="generate-data-main_user_data").load() == {"a": 1}
    of_run = {"uid": uid}
    assert Dataset(key="generate-data-main_user_data", load_args=of_run).load() == {"a": 1}
    assert Dataset(key="generate-data-main_notes").load() == "text"
    assert (
        Dataset(key=f"store://artifacts/{store.project}/generate-data-main_notes").load() == "text"
    )
