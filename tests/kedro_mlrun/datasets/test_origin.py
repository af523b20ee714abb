"""`of` in load_args: what the run had that made the version which another artifact's tag names."""

from typing import Any

import mlrun
import pandas as pd
import pytest
from helpers import Store
from kedro.io import DatasetError, Version

from kedro_mlrun import datasets

Dataset = datasets.MLRunAbstractDataset
Frame = datasets.MLRunDataframeDataset


def save(store: Store, number: int, *keys: str, loads: bool = False) -> str:
    """Save a number under keys in a run of its own, which may load `rows`; give the run's id."""
    run = store.manager.open_run("training")
    if loads:
        store.manager.add_input("rows", store.manager.project.get_artifact("rows").uri)
    for key in keys:
        frame = pd.DataFrame({"n": [number]})
        (Frame if key == "rows" else Dataset)(key=key).save(frame if key == "rows" else number)
    store.new_process()
    return str(run.uid)


def promote(store: Store, uid: str) -> None:
    made = mlrun.get_run_db().list_artifacts("made", store.project, tree=uid)
    mlrun.get_run_db().tag_artifacts([*made], store.project, "champion")


def rows(of: str = "made:champion", key: str = "rows", **more: Any) -> int:
    return int(Frame(key=key, load_args={"of": of}, **more).load()["n"].iloc[0])


def test_what_made_the_version_that_a_tag_names_now(store: Store) -> None:
    """Law 4: also after it has moved back, and after the data were saved anew."""
    uids = [save(store, number, "rows", "made") for number in range(3)]
    for number in (0, 1, 0):
        promote(store, uids[number])
        assert rows() == number
    assert rows("made") == 2
    assert rows(version=Version(uids[1], None)) == 1
    with pytest.raises(DatasetError, match=r"made:missing.*promote made --to missing`\.$"):
        rows("made:missing")
    with pytest.raises(DatasetError, match=rf"run {uids[0]}, .* has no 'row'. Correct `key`"):
        rows(key="row")
    with pytest.raises(DatasetError, match="`of` says by itself which version"):
        Frame(key="rows", load_args={"of": "made", "uid": uids[0]}).load()
    assert not Frame(key="rows", load_args={"of": "other:champion"}).exists()


def test_what_the_run_had_loaded_or_its_chain_made(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An input is the version that was loaded; of a chain's parts, one made the other's data."""
    save(store, 0, "rows")
    of_input = save(store, 0, "made", loads=True)
    save(store, 1, "rows")
    promote(store, of_input)
    assert rows() == 0
    monkeypatch.setenv("MLRUN_CHAIN_ID", "monday")
    save(store, 2, "rows")
    save(store, 2, "made")
    monkeypatch.delenv("MLRUN_CHAIN_ID")
    promote(store, "monday")
    save(store, 3, "rows", "made")
    assert rows() == 2
    # A chain that has made newer ones still has what the tag says.
    monkeypatch.setenv("MLRUN_CHAIN_ID", "tuesday")
    save(store, 4, "rows", "made")
    assert rows() == 2


def test_lineage_has_the_version(embedded: Store) -> None:
    """Without a tag, which may move on."""
    promote(embedded, save(embedded, 0, "rows", "made"))
    run = embedded.manager.open_run("monitoring", "watch")
    dataset = Frame(key="rows", load_args={"of": "made:champion"})
    dataset.run_id = "watch"
    dataset.load()
    uri = embedded.manager.project.get_artifact("rows").uri
    assert run.to_dict()["spec"]["inputs"] == {
        "rows": mlrun.utils.remove_tag_from_artifact_uri(uri)
    }
