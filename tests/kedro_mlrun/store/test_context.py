"""The light context of a run records what MLRun's own does, field by field."""

import copy
import itertools
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlrun
import numpy as np
import pandas as pd
import pytest
import yaml
from helpers import Store, states
from mlrun.artifacts.base import fill_artifact_object_hash
from sklearn.linear_model import LogisticRegression
from xgboost import XGBRegressor

from kedro_mlrun import (
    MLRunAbstractDataset,
    MLRunArtifactDataset,
    MLRunDataframeDataset,
    MLRunMetricHistory,
    MLRunModel,
    MLRunResult,
)
from kedro_mlrun.runs.manager import MLRunContextManager
from kedro_mlrun.store import context as of_store
from kedro_mlrun.store.context import RunContext
from kedro_mlrun.store.fields import artifact_hash

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+\+00:00")


def frame(rows: int = 6) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "length": np.linspace(0.5, 4.5, rows),
            "count": np.arange(rows, dtype="int32"),
            "single": np.ones(rows, dtype="float32"),
            "is_new": [True, False] * (rows // 2),
            "name": ["a", None] * (rows // 2),
            "kind": pd.Categorical(["x", "y"] * (rows // 2)),
            "at": pd.date_range("2026-01-01", periods=rows),
            "target": [0, 1] * (rows // 2),
        }
    )


def model() -> Any:
    data = frame()[["length", "count", "is_new"]]
    return LogisticRegression().fit(data, np.array(["no", "yes"] * 3))


# What is saved, by the key: the dataset's class, its arguments, and the data.
KINDS: dict[str, tuple[Any, dict[str, Any], Callable[[], Any]]] = {
    "text": (MLRunAbstractDataset, {}, lambda: "Zürich"),
    "bytes": (MLRunAbstractDataset, {}, lambda: b"\0\1"),
    "json": (MLRunAbstractDataset, {}, lambda: {"a": [1, None]}),
    "object": (MLRunAbstractDataset, {}, lambda: {1: (2, 3)}),
    "page": (
        MLRunAbstractDataset,
        {"save_args": {"format": "html", "labels": ["draft"], "tag": "v1", "db_key": "report"}},
        lambda: "<p>",
    ),
    "shown": (MLRunAbstractDataset, {"save_args": {"viewer": "table"}}, lambda: "a,b"),
    "file": (
        MLRunArtifactDataset,
        {"dataset": {"type": "json.JSONDataset", "filepath": "a.json"}},
        lambda: {"a": 1},
    ),
    "frame": (
        MLRunDataframeDataset,
        {"save_args": {"label_column": "target", "column_metadata": {"length": "cm"}}},
        frame,
    ),
    "table": (MLRunDataframeDataset, {"save_args": {"format": "csv", "preview": 3}}, frame),
    "bare": (MLRunDataframeDataset, {"save_args": {"stats": False}}, frame),
    "large": (MLRunDataframeDataset, {}, lambda: frame(10_002)),
    "model": (
        MLRunModel,
        {
            "save_args": {
                "training_set": frame()[["length", "count", "is_new", "target"]],
                "label_column": "target",
                "metrics": {"f1": 0.5},
                "parameters": {"C": 1},
                "tag": "best",
            }
        },
        model,
    ),
    "fitted": (MLRunModel, {}, model),
    "trees": (
        MLRunModel,
        {"model_format": "json"},
        lambda: XGBRegressor(n_estimators=2).fit(frame()[["length"]], frame()["target"]),
    ),
    "history": (MLRunMetricHistory, {}, lambda: {"train": [1.0, 0.5], "test": [1.0, 0.6]}),
    "result": (MLRunResult, {}, lambda: np.float64(0.25)),
    "nested": (MLRunResult, {"flatten": True}, lambda: {"a": {"b": 1, "c": [1, "x"]}}),
    # These only MLRun's own context knows.
    "extra": (MLRunModel, {"save_args": {"extra_data": {"notes": b"text"}}}, model),
    "vector": (MLRunModel, {"save_args": {"feature_vector": "store://v/w"}}, model),
    "elsewhere": (
        MLRunAbstractDataset,
        {"save_args": {"artifact_path": "{{project}}/{{run.uid}}"}},
        lambda: "here",
    ),
}


def record(
    embedded: Store, ending: str, keys: list[str], context: type
) -> tuple[dict[str, Any], list[Any]]:
    """Save something of each kind in a run, end that, and give its record and its artifacts'."""
    manager, run_id = embedded.manager, f"{ending}-{context.__name__}"
    run = manager.open_run("training", run_id, {"pipeline": "training"}, {"split.seed": 7})
    assert type(run) is context
    manager.add_input("raw", "store://artifacts/iris/raw#0@1^2", run_id)
    for key in keys:
        kind, arguments, make = KINDS[key]
        dataset = kind(key=key, **copy.deepcopy(arguments))
        dataset.run_id = run_id
        dataset.save(make())
    if ending != "running":
        error = ValueError("wrong") if ending == "error" else None
        manager.close_run(error, run_id, "It was stopped." if ending == "aborted" else "")
    else:
        run.commit()
    db = embedded.manager.run_db
    found = db.find_run(run.uid, embedded.project)
    if ending == "running":
        manager.close_run(None, run_id)
    return found, db.artifacts_of(found)


def alike(value: Any, uid: str) -> Any:
    """Give a record without what differs from run to run: ids, times, and the folders of saves."""
    text = TIME.sub("TIME", json.dumps(value, sort_keys=True)).replace(uid, "UID")
    text = re.sub(r"UID/([\w.]+)/[0-9a-f]{8}/", r"UID/\1/SAVE/", text)
    return json.loads(re.sub(r"[0-9a-f]{40}(?=\")", "HASH", text))


@pytest.mark.parametrize("ending", ["completed", "error", "aborted", "running"])
def test_both_contexts_record_the_same(
    embedded: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ending: str
) -> None:
    """Law 6: runs, artifacts and files are MLRun's, whichever of the contexts wrote them."""
    monkeypatch.setenv("MLRUN_CHAIN_ID", "monday")
    monkeypatch.chdir(tmp_path)
    keys = [*KINDS] if ending == "completed" else ["text", "frame", "fitted", "nested"]
    with monkeypatch.context() as patch:
        patch.setattr(of_store, "TESTED", ())
        theirs, of_theirs = record(embedded, ending, keys, mlrun.MLClientCtx)
    embedded.new_process()
    ours, of_ours = record(embedded, ending, keys, RunContext)
    uids = [run["metadata"]["uid"] for run in (theirs, ours)]
    assert alike(ours, uids[1]) == alike(theirs, uids[0])
    assert len(of_ours) == len(of_theirs) > 2
    for their, own in zip(of_theirs, of_ours, strict=True):
        assert alike(own, uids[1]) == alike(their, uids[0])
        # A version's uid is MLRun's own hash of it, and both know how to make it.
        for one in their, own:
            made_of = copy.deepcopy(one)
            assert artifact_hash(made_of, 0, None) == one["metadata"]["uid"]
            assert fill_artifact_object_hash(made_of) == one["metadata"]["uid"]
        if own["kind"] == "model":
            files = [Path(one["spec"]["target_path"], "model_spec.yaml") for one in (their, own)]
            specs = [yaml.safe_load(file.read_text()) for file in files]
            # Ours is without what the same model has otherwise the next time.
            for part, name in itertools.product(("metadata", "spec"), of_store.OF_THE_RUN):
                for spec in specs:
                    spec[part].pop(name, None)
            assert alike(specs[1], uids[1]) == alike(specs[0], uids[0])


def test_an_untested_mlrun_records_by_itself(
    embedded: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a release may have changed is not guessed."""
    monkeypatch.setattr(of_store, "TESTED", ("1.0.0",))
    assert isinstance(embedded.manager.open_run("training"), mlrun.MLClientCtx)


IMPORTED_IN_A_NODE = """
import sys
manager = MLRunContextManager()
run = manager.open_run("training", "id")
dataset = MLRunResult(key="before")
dataset.run_id = "id"
dataset.save(1)
MLRunAbstractDataset(key="text").save("saved")
assert "mlrun" not in sys.modules

import mlrun
context = mlrun.get_or_create_ctx("anything")
assert context.uid == run.uid and context.results == {"before": 1}
context.log_result("within", 2)
context.set_label("by", "node")
context.log_artifact("note", body="text", format="txt", db_key="note")
MLRunResult(key="after").save(3)
assert MLRunAbstractDataset(key="note").load() == "text"
assert manager.context is context and context.get_artifact("text") is not None
print(run.uid)
"""


@pytest.mark.parametrize("ending", ["", "context.set_state(error='it says so')"])
def test_a_node_that_imports_mlrun_has_the_runs_own_context(
    embedded: Store, python: Callable[[str], str], ending: str
) -> None:
    """Nothing lost: what is logged to either context, before and after, is in the one run."""
    uid = python(IMPORTED_IN_A_NODE + ending).splitlines()[-1]
    run = mlrun.get_run_db().read_run(uid, embedded.project)
    assert run["status"]["results"] == {"before": 1, "within": 2, "after": 3}
    assert run["metadata"]["labels"]["by"] == "node"
    assert {*run["status"]["artifact_uris"]} == {"text", "note"}
    assert states(embedded) == [("training", "error" if ending else "completed")]


def test_what_the_light_context_does_not_know_is_mlruns(embedded: Store) -> None:
    """An argument or a call goes to MLRun's own context, never overboard."""
    run = embedded.manager.open_run("training")
    run.log_artifact("notes", body="text", format="txt")
    run.log_results({"array": np.array([1, 2])})
    run.log_dataset("frame", df=pd.DataFrame({"a": [1]}))
    run.commit(message="as it was")
    child = run.get_child_context(depth=3)
    child.log_result("score", 0.5)
    child.commit(completed=True)
    embedded.new_process()
    found = mlrun.get_run_db().read_run(run.uid, embedded.project)
    assert found["status"]["results"]["array"] == [1, 2]
    assert found["metadata"]["annotations"]["message"] == "as it was"
    assert {"notes", "frame"} <= {*found["status"]["artifact_uris"]}
    of_child = mlrun.get_run_db().read_run(run.uid, embedded.project, iter=1)
    assert of_child["status"]["results"] == {"score": 0.5}


def test_what_others_change_in_a_run_stays(embedded: Store) -> None:
    """Law 2: a context writes what it knows, beside what another process has written."""
    run = embedded.manager.open_run("training")
    run.log_results({"a": 1})
    embedded.manager.run_db.update_run({"status.progress": 0.5}, run.uid, embedded.project)
    run.log_results({"b": 2})
    found = embedded.manager.run_db.find_run(run.uid, embedded.project)
    assert found["status"]["progress"] == 0.5
    assert found["status"]["results"] == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    "variable", ["MLRUN_ARTIFACTS__CALCULATE_HASH", "MLRUN_META_TMPFILE", "MLRUN_CONFIG_FILE"]
)
def test_other_settings_are_mlruns(
    embedded: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    """A setting that may change MLRun's records means MLRun's own context."""
    monkeypatch.setenv(variable, str(tmp_path / "file"))
    assert isinstance(MLRunContextManager().open_run("training"), mlrun.MLClientCtx)


@pytest.mark.parametrize("labels", [["target"], ["kind", "is_new"], []])
def test_features_are_those_that_mlrun_infers(embedded: Store, labels: list[str]) -> None:
    """Law 6: inputs, outputs and statistics of a training set, whatever its columns are."""
    expected = mlrun.artifacts.ModelArtifact("model")
    expected.infer_from_df(frame(), labels)
    save_args = {"training_set": frame(), "label_column": labels}
    MLRunModel(key="model", save_args=save_args).save({"any": "object"})
    spec = embedded.manager.project.get_artifact("model").spec.to_dict()
    told = json.loads(mlrun.utils.dict_to_json(expected.spec.to_dict()))
    for part in ("inputs", "outputs", "feature_stats"):
        assert spec.get(part) == told.get(part), part


def test_a_result_costs_no_more_where_there_are_many(
    embedded: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law 7: what is written for five hundred results is about the same after five hundred."""
    run = embedded.manager.open_run("training")
    texts: list[int] = []
    write, add = run._rundb.write_run, run._rundb.add_to_run

    def counting(change: Callable[..., None]) -> Callable[..., None]:
        def counted(body: Any, *args: Any) -> None:
            texts.append(len(json.dumps(body)))
            change(body, *args)

        return counted

    monkeypatch.setattr(run._rundb, "write_run", counting(write))
    monkeypatch.setattr(run._rundb, "add_to_run", counting(add))
    written = []
    for number in range(1000):
        MLRunResult(key=f"metric_{number}").save(number / 7)
        if number % 100 == 99:
            written.append(sum(texts))
            texts.clear()
            # Read by others while the run goes on: all is there.
            found = embedded.manager.run_db.find_run(run.uid, embedded.project)
            assert len(found["status"]["results"]) == number + 1
    assert sum(written[5:]) < 2 * sum(written[:5])
    embedded.new_process()
    assert MLRunResult(key="metric_500").load() == 500 / 7


def test_results_of_a_run_that_was_killed_are_kept(embedded: Store) -> None:
    """Law 3: a result is in the store when its save has ended, and renamed ones are there once."""
    run = embedded.manager.open_run("training")
    MLRunResult(key="a", flatten=True).save({"loss": 1})
    MLRunResult(key="b", flatten=True).save({"loss": 2})
    found = embedded.manager.run_db.list_runs(project=embedded.project)[0]
    assert found["status"]["results"] == {"a.loss": 1, "b.loss": 2} == run.results
    embedded.new_process()
    db = embedded.manager.run_db
    assert db.find_run(run.uid, embedded.project)["status"]["results"] == run.results
    assert db.connection.execute("SELECT count(*) FROM run_changes").fetchone()[0] == 0
    with pytest.raises(mlrun.errors.MLRunNotFoundError):
        db.add_to_run({"status": {}}, "another", embedded.project, 0)


def test_a_workers_copy_reads_the_run_where_others_have_changed_it(
    embedded: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law 7: what it saves itself it knows; and nothing of two workers is lost."""
    run = embedded.manager.open_run("training")
    store, reads = run._rundb, list[str]()
    find_run = store.find_run

    def counted(uid: str, *args: Any, **kwargs: Any) -> Any:
        reads.append(uid)
        return find_run(uid, *args, **kwargs)

    monkeypatch.setattr(store, "find_run", counted)
    record = find_run(run.uid, embedded.project)
    one, other = (RunContext(copy.deepcopy(record), store, lambda: None, False) for _ in "12")
    for number in range(30):
        one.refresh()
        one.log_results({f"one.{number}": number})
        one.send()
    assert len(reads) == 2  # the first, and when all of it was written
    other.refresh()
    other.log_results({"other": 1})
    other.inputs["raw"] = "store://artifacts/iris/raw^1"
    other.send()
    one.refresh()
    one.set_annotation("a", "b")
    one.send()
    assert len(reads) < 7
    found = find_run(run.uid, embedded.project)
    assert found["status"]["results"] == {f"one.{n}": n for n in range(30)} | {"other": 1}
    assert found["spec"]["inputs"] == {"raw": "store://artifacts/iris/raw^1"}
    assert found["metadata"]["annotations"] == {"a": "b"}
    assert [r["metadata"]["uid"] for r in store.find_runs(using="1")] == [run.uid]


UNTESTED = """
import kedro_mlrun.store.context as context
context.TESTED = ("1.0.0",)
"""


def test_an_untested_mlrun_that_is_not_imported_yet_records_as_well(
    embedded: Store, python: Callable[[str], str]
) -> None:
    """Nothing lost: MLRun is pointed to the store before it opens the run."""
    python(f"{UNTESTED}\nMLRunResult(key='r').save(1)\nMLRunAbstractDataset(key='a').save('b')")
    run = mlrun.get_run_db().list_runs(project=embedded.project)[0]
    assert run["status"]["results"] == {"r": 1}
    assert {*run["status"]["artifact_uris"]} == {"a"}
    assert states(embedded) == [("kedro-mlrun-ctx", "completed")]


WORKERS = """
import multiprocessing as mp

def child(number):
    MLRunResult(key="by_child").save(1)
    MLRunAbstractDataset(key="of_child").save("b")
    context = MLRunContextManager().context
    context.log_result("by_mlrun", 2)
    context.set_label("by", "child")
    context.log_artifact("note", body="text", format="txt", db_key="note")
    import mlrun
    mlrun.get_or_create_ctx("any").log_result("of_mlrun", 3)

manager = MLRunContextManager()
run = manager.open_run("training", "id")
process = mp.get_context("fork").Process(target=child, args=(1,))
process.start()
process.join()
assert process.exitcode == 0
for number in range(25):
    dataset = MLRunResult(key=f"parent.{number}")
    dataset.run_id = "id"
    dataset.save(number)
manager.add_input("raw", "store://artifacts/iris/raw^1", "id")
dataset.save(24)
print(run.uid)
"""


@pytest.mark.parametrize("mlrun_first", ["", "import mlrun\n"])
def test_what_a_child_process_records_is_in_the_run(
    embedded: Store, python: Callable[[str], str], mlrun_first: str
) -> None:
    """Nothing lost: by which context it was logged, and whatever its parent writes afterwards."""
    uid = python(mlrun_first + WORKERS).splitlines()[-1]
    run = mlrun.get_run_db().read_run(uid, embedded.project)
    results = {f"parent.{number}": number for number in range(25)}
    of_child = {"by_child": 1, "by_mlrun": 2, "of_mlrun": 3}
    if mlrun_first:
        # MLRun was there before the fork, and makes a run of its own.
        of_child.pop("of_mlrun")
    assert run["status"]["results"] == results | of_child
    assert {*run["status"]["artifact_uris"]} == {"of_child", "note"}
    assert run["metadata"]["labels"]["by"] == "child"
    assert run["status"]["state"] == "completed"


def test_a_label_that_changes_is_written_with_the_next_save(embedded: Store) -> None:
    """Law 3: as is an input, a process that is killed leaves it."""
    run = embedded.manager.open_run("training")
    run.set_label("k", "a")
    run.log_results({"one": 1})
    embedded.manager.context.set_label("k", "b")
    run.log_results({"two": 2})
    found = embedded.manager.run_db.find_run(run.uid, embedded.project)
    assert found["metadata"]["labels"]["k"] == "b"


def test_a_run_that_goes_on_is_found_by_its_last_update(embedded: Store) -> None:
    """Law 4: though what has come to it is noted beside its record."""
    run, db = embedded.manager.open_run("training"), embedded.manager.run_db
    before = datetime.now(UTC)
    assert not db.list_runs(project=embedded.project, last_update_time_from=before)
    run.log_results({"one": 1})
    assert len(db.list_runs(project=embedded.project, last_update_time_from=before)) == 1
    assert not db.list_runs(project=embedded.project, last_update_time_to=before)
