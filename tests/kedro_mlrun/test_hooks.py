"""MLRunHooks: Kedro's runs are MLRun's runs."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import mlrun
import pandas as pd
import pytest
import yaml
from forkserver import fork_server
from helpers import PROJECT, Store, metadata, project_module, states
from kedro.framework.hooks import hook_impl
from kedro.framework.project import settings
from kedro.framework.session import KedroSession
from kedro.io import AbstractDataset, DataCatalog, DatasetError
from kedro.pipeline import node, pipeline
from kedro.runner import AbstractRunner, SequentialRunner, ThreadRunner
from sklearn.linear_model import Ridge

import kedro_mlrun
from kedro_mlrun import datasets, hooks
from kedro_mlrun.runs import workers
from kedro_mlrun.runs.dataset import InputError
from kedro_mlrun.secrets import known
from kedro_mlrun.store.db import LocalRunDB

CATALOG = """
named:
  type: kedro_mlrun.MLRunResult
keyed:
  type: kedro_mlrun.MLRunResult
  key: own-key
"{name}_number":
  type: kedro_mlrun.MLRunAbstractDataset
old:
  type: kedro_mlrun.MLRunAbstractDataset
  key: saved
saved:
  type: kedro_mlrun.MLRunAbstractDataset
cached:
  type: CachedDataset
  dataset:
    type: kedro_mlrun.MLRunAbstractDataset
"frame@saved":
  type: kedro_mlrun.MLRunDataframeDataset
"frame@loaded":
  type: kedro_mlrun.MLRunDataframeDataset
parts:
  type: partitions.PartitionedDataset
  path: FOLDER/parts
  dataset: pandas.CSVDataset
  filename_suffix: .csv
table:
  type: pandas.CSVDataset
  filepath: FOLDER/table.csv
  save_args: {index: false}
model:
  type: kedro_mlrun.MLRunModel
  save_args: {training_set: table}
"{name}_model":
  type: kedro_mlrun.MLRunModel
  save_args: {training_set: "{name}"}
"""
OWN = {"kedro.parameters", "kedro.catalog", "kedro.pipeline", "kedro.nodes"}


BARRIER = threading.Barrier(2, timeout=60)


def fit(*frames: pd.DataFrame) -> Ridge:
    for frame in frames:
        frame.pop("x")
    return Ridge().fit([[0.0]], [0.0])


def meet(number: int) -> int:
    BARRIER.wait()
    return number


def fill_store(number: int) -> str:
    """Leave the store as on a disk without space, for this connection."""
    connection = mlrun.get_run_db().connection
    [(pages,)] = connection.execute("PRAGMA page_count")
    connection.execute(f"PRAGMA max_page_count = {pages}")
    return "x" * number


def fill_and_fail(number: int) -> None:
    fill_store(number)
    raise FileNotFoundError("no such table")


def stop(number: int) -> int:
    signal.raise_signal(signal.SIGINT)
    time.sleep(0.2)
    return number


def end_workers(_: int) -> None:
    with suppress(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    raise RuntimeError("A process in the process pool was terminated.")


@dataclass
class Lengthy:
    """What no pickle can hold."""

    length: Callable[[], int]


def frame_of(number: int) -> pd.DataFrame:
    return pd.DataFrame({"x": [number]})


def fail(_: Any) -> None:
    raise ValueError("no luck [/bad]")


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a configuration with a catalog for these tests, and pipelines for it."""
    folder = tmp_path / "conf"
    (folder / "local").mkdir(parents=True)
    (folder / "base").mkdir()
    (folder / "base" / "mlrun.yml").write_text("project: never-used")
    catalog = CATALOG.replace("PACKAGE", str(metadata().package_name))
    catalog = catalog.replace("FOLDER", str(tmp_path))
    (folder / "base" / "catalog.yml").write_text(catalog)
    (folder / "base" / "parameters.yml").write_text("number: 1")
    registered = {
        "good": pipeline(
            [
                node(lambda number: number, "params:number", "named", name="one"),
                node(lambda number: number, "params:number", "keyed", name="two"),
                node(lambda number: number, "params:number", "a_number", name="three"),
                node(lambda number: number, "params:number", "saved", name="four"),
            ]
        ),
        "bad_pipeline": pipeline(
            [node(lambda number: number, "params:number", "saved"), node(fail, "saved", None)]
        ),
        "nested": pipeline(
            [
                node(lambda trees: trees["kind"], "params:model.trees", "saved"),
                node(lambda n: pd.DataFrame({"x": [n]}), "params:model.depth", "table"),
            ]
        ),
        "all": pipeline([node(lambda all: all["number"], "parameters", "named")]),
        "reader": pipeline([node(lambda number: number, "old", "named")]),
        "tables": pipeline(
            [
                node(lambda number: pd.DataFrame({"x": [number]}), "params:number", "table"),
                node(lambda table: {"rows": len(table)}, "table", "in_memory"),
                node(lambda found: found["rows"], "in_memory", "named"),
            ]
        ),
        "write_parts": pipeline([node(lambda n: {"a": frame_of(n)}, "params:number", "parts")]),
        "read_parts": pipeline([node(lambda parts: len(parts["a"]()), "parts", "named")]),
        "wrapped": pipeline(
            [
                node(lambda number: number, "params:number", "cached"),
                node(lambda n: pd.DataFrame({"x": [n]}), "cached", "frame@saved"),
                node(lambda frame: Lengthy(lambda: len(frame)), "frame@loaded", "function"),
                node(lambda function: function.length(), "function", "named"),
            ]
        ),
        "of_others": pipeline(
            [node(lambda n: (n, n), "params:number", ["foreign", "derived"], name="both")]
        ),
        "models": pipeline(
            [
                node(lambda n: 2 * [pd.DataFrame({"x": [n]})], "params:number", ["table", "rows"]),
                node(fit, ["table", "rows"], "model"),
                node(fit, ["table", "rows"], "rows_model"),
                node(fit, "rows", "table_model"),
            ]
        ),
        "fill_and_fail": pipeline([node(fill_and_fail, "params:number", None)]),
        "misspelt": pipeline([node(fail, "params:number", "row_model")]),
        "fill": pipeline([node(lambda _: fill_store(100_000), "params:number", "keyed")]),
        "stopping": pipeline([node(stop, "params:number", "named")]),
        "stopped": pipeline([node(end_workers, "params:number", "named")]),
        "waiting": pipeline([node(meet, "params:number", "named")]),
        "result_reader": pipeline([node(lambda number: number, "keyed", "a_number")]),
        "failing": pipeline([node(fail, "params:number", ["saved", "keyed"], name="fails")]),
        "broken": pipeline([node(lambda table: table, "table", "named", name="uses_table")]),
    }
    registry = project_module("pipeline_registry")
    monkeypatch.setattr(registry, "register_pipelines", lambda: registered)
    return folder


def run(conf: Path, name: str, number: int = 1, plugin: Any = None, **options: Any) -> None:
    with KedroSession.create(
        PROJECT, conf_source=str(conf), runtime_params={"number": number}
    ) as session:
        if plugin:
            session._hook_manager.register(plugin)
        # Kedro's type for a session doesn't know all that a KedroSession takes.
        session.run(pipeline_names=[name], **options)  # type: ignore[call-arg]


def test_a_kedro_run_is_an_mlrun_run(store: Store, conf: Path) -> None:
    """It is named after the pipeline and completed; keys are the catalog's names, patterns' too."""
    run(conf, "good")
    assert states(store) == [("good", "completed")]
    record = newest(store, "good")
    assert record["status"]["results"] == {"named": 1, "own-key": 1}
    assert set(record["status"]["artifact_uris"]) == {"a_number", "saved"} | OWN


def test_several_pipelines_are_named_as_they_run(embedded: Store, conf: Path) -> None:
    """Law 4: in each list and filter alike, whichever way around Kedro hands them on."""
    with KedroSession.create(PROJECT, conf_source=str(conf)) as session:
        session.run(pipeline_names=["read_parts", "write_parts"])  # type: ignore[call-arg]
    made = newest(embedded, "write_parts-read_parts")
    names = made["metadata"]["labels"]["pipeline"], made["spec"]["parameters"]["kedro.pipeline"]
    assert names == ("write_parts,read_parts",) * 2


def test_a_chain_ties_only_what_its_own_pipelines_make(
    embedded: Store, conf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law 9: what no run of the chain makes, by name or key, loads as without a chain."""
    run(conf, "good", 3)
    monkeypatch.setenv("MLRUN_CHAIN_ID", "monday")
    run(conf, "reader")
    assert newest(embedded, "reader")["status"]["results"] == {"named": 3}
    run(conf, "result_reader")
    run(conf, "good", 5)
    monkeypatch.setenv("MLRUN_CHAIN_ID", "")
    run(conf, "good", 7)
    monkeypatch.setenv("MLRUN_CHAIN_ID", "monday")
    run(conf, "reader")
    assert newest(embedded, "reader")["status"]["results"] == {"named": 5}
    # What a run makes itself is always of its chain.
    monkeypatch.setenv("MLRUN_CHAIN_ID", "wednesday")
    run(conf, "good", 9, only_missing_outputs=True)
    assert newest(embedded, "good")["status"]["results"]["named"] == 9
    monkeypatch.setenv("MLRUN_CHAIN_ID", "tuesday")
    with pytest.raises(ValueError, match="no luck"):
        run(conf, "failing")
    with pytest.raises(DatasetError, match=r"chain tuesday has no artifact .*--chain-id tuesday"):
        run(conf, "reader")
    with pytest.raises(DatasetError, match="no run in chain tuesday has such a result"):
        run(conf, "result_reader")


def test_a_chain_without_runs_is_said(
    embedded: Store, conf: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Law 9: its id may be misspelt; not where the chain begins with what no pipeline makes."""
    monkeypatch.setenv("MLRUN_CHAIN_ID", "monday")
    run(conf, "good", 3)
    run(conf, "reader")
    assert "has no runs yet" not in caplog.text
    monkeypatch.setenv("MLRUN_CHAIN_ID", "mondey")
    run(conf, "reader")
    assert "Chain 'mondey' has no runs yet. Loaded as without it: " in caplog.text


def test_two_runs_in_one_process(embedded: Store, conf: Path) -> None:
    """Each is a run of its own with its own end, though the first one fails."""
    with pytest.raises(ValueError, match="no luck"):
        run(conf, "bad_pipeline")
    run(conf, "good")
    assert states(embedded) == [("bad_pipeline", "error"), ("good", "completed")]
    record = newest(embedded, "bad_pipeline")
    what, _, where = record["status"]["error"].partition("\n\n")
    assert what.startswith("Node 'fail") and what.endswith("ValueError: no luck [/bad]")
    assert where.startswith("Traceback") and "in fail" in where
    assert record["status"]["artifact_uris"].keys() == {"saved"} | OWN


def test_earlier_versions_by_load_versions(embedded: Store, conf: Path) -> None:
    """Law 2: `--load-versions=name:VERSION` takes the id of a run."""
    for number in (1, 2):
        run(conf, "good", number)
    first = mlrun.get_run_db().list_runs(project=embedded.project, name="good")[-1]
    run(conf, "reader", load_versions={"old": first["metadata"]["uid"]})
    run(conf, "reader")
    later, older = mlrun.get_run_db().list_runs(project=embedded.project, name="reader")
    assert older["status"]["results"] == {"named": 1}
    assert later["status"]["results"] == {"named": 2}
    # What an earlier run has saved is an input, with its uid.
    assert older["spec"]["inputs"] == {"saved": first["status"]["artifact_uris"]["saved"]}
    assert later["spec"]["inputs"].keys() == {"saved"}
    assert later["spec"]["inputs"] != older["spec"]["inputs"]


@pytest.mark.parametrize("options", [{}, {"runner": ThreadRunner()}], ids=["sequential", "threads"])
def test_a_training_set_is_any_entry_of_the_run(
    embedded: Store, conf: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law 6: of a file or in memory, the record of a model has its features and statistics.

    Law 7: what its node has loaded isn't read again, and law 4: as it was when it was loaded.
    """
    reads, read_csv = list[Any](), pd.read_csv
    monkeypatch.setattr(pd, "read_csv", lambda *args: reads.append(args) or read_csv(*args))
    run(conf, "models", 7, **options)
    assert len(reads) == 3  # by two nodes, and for the model of the third one
    for key in ("model", "rows_model", "table_model"):
        spec = mlrun.get_run_db().read_artifact(key, project=embedded.project)["spec"]
        assert spec["inputs"] == [{"name": "x", "value_type": "int"}]
        assert spec["feature_stats"]["x"]["mean"] == 7


def test_a_misspelt_training_set_stops_a_run_at_its_start(embedded: Store, conf: Path) -> None:
    """Law 9: before any node; no run is recorded."""
    with pytest.raises(InputError, match="save_args of 'row_model' names 'row', which is not an"):
        run(conf, "misspelt")
    assert states(embedded) == []


def test_only_missing_outputs(embedded: Store, conf: Path) -> None:
    """What an earlier run has saved is not made again."""
    run(conf, "good")
    run(conf, "good", only_missing_outputs=True)
    assert newest(embedded, "good")["status"]["artifact_uris"].keys() == OWN - {"kedro.nodes"}


def taken(store: Store, name: str) -> dict[str, Any]:
    """The parameters of a run's record, but for the run's own options."""
    parameters = newest(store, name)["spec"]["parameters"]
    return {name: value for name, value in parameters.items() if not name.startswith("kedro.")}


def test_a_run_has_the_parameters_that_its_nodes_take(
    embedded: Store, conf: Path, tmp_path: Path
) -> None:
    """Law 4: what was configured beyond, for other pipelines, is in the artifact alone."""
    (conf / "base" / "parameters.yml").write_text(
        "number: 1\nmodel: {depth: 4, trees: {number: 10, kind: tall}}\nunused: true"
    )
    run(conf, "good")
    assert taken(embedded, "good") == {"number": 1}
    whole = yaml.safe_load(datasets.MLRunAbstractDataset(key="kedro.parameters").load())
    assert whole["model"]["depth"] == 4 and whole["unused"]
    run(conf, "reader")
    assert taken(embedded, "reader") == {}
    run(conf, "nested")
    trees = {"model.trees.number": 10, "model.trees.kind": "tall"}
    assert taken(embedded, "nested") == {"model.depth": 4, **trees}
    run(conf, "all")
    assert taken(embedded, "all") == {"model.depth": 4, "number": 1, "unused": True, **trees}
    # A node that isn't run, because its output is there, takes nothing.
    (tmp_path / "table.csv").unlink()
    run(conf, "nested", only_missing_outputs=True)
    assert taken(embedded, "nested") == {"model.depth": 4}


def test_a_store_that_is_full_is_one_sentence(
    embedded: Store, conf: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Law 3: a run that can't be recorded ends, and what was recorded before is there."""
    run(conf, "good")
    # Of a run that has begun, and of one that can't.
    for name in ("fill", "good"):
        with pytest.raises(hooks.RecordingError, match=r"can't be recorded: .*disk is full"):
            run(conf, name)
    assert "The run's end isn't recorded" in caplog.text
    mlrun.get_run_db().connection.execute("PRAGMA max_page_count = 1000000")
    # What is a node's own stays its own.
    with pytest.raises(FileNotFoundError, match="no such table"):
        run(conf, "fill_and_fail")
    assert states(embedded)[0] == ("good", "completed")
    mlrun.get_run_db().connection.execute("PRAGMA max_page_count = 1000000")


@pytest.mark.parametrize("reserved", [True, False])
def test_a_store_that_is_full_at_a_runs_end(
    embedded: Store, conf: Path, monkeypatch: pytest.MonkeyPatch, reserved: bool
) -> None:
    """Law 3: what the store reserves is for the end of a run, and without it that is one line.

    Law 4: the run was not killed, and nobody says later that it was.
    """

    def fill() -> None:
        # What the end is to write.
        embedded.manager.context._results["long"] = fill_store(100_000)
        monkeypatch.setattr(LocalRunDB, "make_room", make_room)

    def make_room(db: LocalRunDB) -> bool:
        if reserved:
            db.connection.execute("PRAGMA max_page_count = 1000000")
        return reserved

    plugin = type("Plugin", (), {"after_pipeline_run": staticmethod(hook_impl(fill))})
    if reserved:
        run(conf, "good", plugin=plugin)
        assert newest(embedded, "good")["status"]["state"] == "completed"
    else:
        with pytest.raises(hooks.RecordingError, match=r"^The run can't .*disk is full"):
            run(conf, "good", plugin=plugin)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    mlrun.get_run_db().connection.execute("PRAGMA max_page_count = 1000000")
    if not reserved:
        lost = newest(embedded, "good")
        updates = {"metadata.labels.process": "4000000000-1"}
        mlrun.get_run_db().update_run(updates, lost["metadata"]["uid"], embedded.project)
        embedded.manager.abort_lost_runs()
        status = newest(embedded, "good")["status"]
        assert (status["state"], "killed" in status["error"]) == ("aborted", False)


@pytest.mark.parametrize("runner", [ThreadRunner, SequentialRunner])
def test_a_run_that_is_stopped_says_what_it_waits_for(
    embedded: Store, conf: Path, caplog: pytest.LogCaptureFixture, runner: type[AbstractRunner]
) -> None:
    """Law 9: Ctrl-C ends a node of the sequential runner alone; others end before the run does."""
    with pytest.raises(KeyboardInterrupt):
        run(conf, "stopping", runner=runner())
    said = "Ctrl-C: the run ends when the nodes that are at work have ended." in caplog.text
    assert said == (runner is ThreadRunner)
    settings.HOOKS[0]._at_exit()
    assert states(embedded) == [("stopping", "aborted")]


def test_an_error_of_what_was_stopped_is_no_error(embedded: Store, conf: Path) -> None:
    """Law 4: Ctrl-C ends worker processes, too, and then Kedro tells of their end alone."""
    with pytest.raises(RuntimeError, match="was terminated"):
        run(conf, "stopped")
    status = newest(embedded, "stopped")["status"]
    assert (status["state"], status["status_text"]) == ("aborted", "It was stopped by Ctrl-C.")


@pytest.mark.parametrize("when", ["before_pipeline_run", "after_pipeline_run"])
def test_an_error_of_another_plugin_is_the_runs(embedded: Store, conf: Path, when: str) -> None:
    """Law 3: the run has failed, and says why, though the process goes on."""

    def fail_there() -> None:
        raise ValueError("no luck there")

    plugin = type("Plugin", (), {when: staticmethod(hook_impl(fail_there))})
    with pytest.raises(ValueError, match="no luck there"):
        run(conf, "good", plugin=plugin)
    status = newest(embedded, "good")["status"]
    assert status["state"] == "error"
    assert status["error"].startswith("ValueError: no luck there")


def test_another_plugin_that_fails_on_an_error_hides_none(embedded: Store, conf: Path) -> None:
    """Law 3: the record has the node's own error."""

    class Plugin:
        @hook_impl
        def on_pipeline_error(self) -> None:
            raise RuntimeError("no mail could be sent")

    with pytest.raises(RuntimeError, match="no mail"):
        run(conf, "bad_pipeline", plugin=Plugin())
    status = newest(embedded, "bad_pipeline")["status"]
    assert status["error"].startswith("Node 'fail") and "no luck [/bad]" in status["error"]


def test_the_run_is_shown(embedded: Store, conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At its end a person sees name, id, state, results, artifacts, and where to look next."""
    run(conf, "good")
    (record,) = mlrun.get_run_db().list_runs(project=embedded.project, name="good")
    shown = capsys.readouterr().out
    for part in ("'good'", record["metadata"]["uid"], "completed", "own-key", "a_number.json"):
        assert part in shown


def test_a_failure_is_shown(
    embedded: Store, conf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that failed says so, and why."""
    with pytest.raises(ValueError, match="no luck"):
        run(conf, "bad_pipeline")
    shown = capsys.readouterr().out
    assert "error" in shown
    assert "ValueError" in shown
    assert "no luck [/bad]" in shown


def newest(store: Store, name: str) -> dict[str, Any]:
    return dict(mlrun.get_run_db().list_runs(project=store.project, name=name)[0])


def test_what_a_run_tells(embedded: Store, conf: Path) -> None:
    """Parameters with dots, the run's own options, and labels to find it by."""
    run(conf, "good", 7, node_names=["one"])
    record = newest(embedded, "good")
    parameters = record["spec"]["parameters"]
    assert parameters["number"] == 7
    assert parameters["kedro.nodes"] == ["one"]
    assert parameters["kedro.pipeline"] == "good"
    labels = record["metadata"]["labels"]
    assert labels["pipeline"] == "good"
    assert {"session", "owner", "host", "process", "kedro-version", "mlrun-version"} <= set(labels)
    assert labels["kedro_mlrun"] == kedro_mlrun.__version__
    nodes = datasets.MLRunDataframeDataset(key="kedro.nodes").load()
    assert list(nodes["action"]) == ["run", "save"]
    assert list(nodes["dataset"]) == [None, "named"]
    assert (nodes["seconds"] >= 0).all()
    graph = datasets.MLRunAbstractDataset(key="kedro.pipeline").load()
    assert [one["name"] for one in graph["nodes"]] == ["one"]
    uid = record["metadata"]["uid"]
    of_run = {"uid": uid}
    catalog = datasets.MLRunAbstractDataset(key="kedro.catalog", load_args=of_run).load()
    assert yaml.safe_load(catalog)["named"]["key"] == "named"


def test_a_large_parameter_is_in_the_artifact_only(embedded: Store, conf: Path) -> None:
    """The run's record, which each list of runs reads, stays small; nothing is lost."""
    (conf / "base" / "parameters.yml").write_text(f"number: 1\ntext: {'x' * 100_000}")
    run(conf, "all")
    shown = newest(embedded, "all")["spec"]["parameters"]["text"]
    assert len(shown) < 100
    assert "kedro.parameters" in shown
    whole = datasets.MLRunAbstractDataset(key="kedro.parameters").load()
    assert yaml.safe_load(whole)["text"] == "x" * 100_000


@pytest.mark.parametrize("switch", ["parameters", "nodes", "pipeline", "catalog"])
def test_each_part_can_be_switched_off(embedded: Store, conf: Path, switch: str) -> None:
    configure(conf, **{switch: False})
    run(conf, "good")
    record = newest(embedded, "good")
    kept = {"a_number", "saved"} | OWN - {f"kedro.{switch}"}
    assert record["status"]["artifact_uris"].keys() == kept
    assert ("number" in record["spec"]["parameters"]) == (switch != "parameters")


@pytest.mark.parametrize("off", [{"enabled": False}, {"skip_pipelines": ["g*"]}])
def test_tracking_can_be_off(
    embedded: Store, conf: Path, caplog: pytest.LogCaptureFixture, off: dict[str, Any]
) -> None:
    """Law 9: nothing is recorded, which is said; the nodes still pass on what they would save."""
    configure(conf, **off)
    run(conf, "good")
    assert states(embedded) == []
    [said] = [text for text in caplog.messages if "This run" in text]
    assert "in MLRun: a_number, keyed, named, saved. To" in said
    if "skip_pipelines" in off:
        run(conf, "tables")
        assert states(embedded) == [("tables", "completed")]
    else:
        run(conf, "wrapped")
        assert states(embedded) == []


def test_what_cannot_be_recorded_beside_is_a_warning(
    embedded: Store, conf: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A run doesn't fail because of what it could do without."""
    configure(conf, datasets=["*"])
    run(conf, "wrapped")
    record = newest(embedded, "wrapped")
    assert record["status"]["state"] == "completed"
    assert record["status"]["artifact_uris"].keys() == {"cached", "frame"} | OWN
    assert "Can't pickle" in caplog.text


@pytest.mark.parametrize("same_time", [False, True])
def test_two_runs_at_once(
    embedded: Store, conf: Path, monkeypatch: pytest.MonkeyPatch, same_time: bool
) -> None:
    """Of two threads, each has a run of its own, though Kedro gives both the same id."""
    if same_time:
        name = "kedro.framework.session.session.generate_timestamp"
        monkeypatch.setattr(name, lambda: "2026-11-21T10.00.00.000Z")
    threads = [threading.Thread(target=run, args=(conf, "waiting", number)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    records = mlrun.get_run_db().list_runs(project=embedded.project, name="waiting")
    assert [record["status"]["state"] for record in records] == ["completed"] * 2
    found = {(r["spec"]["parameters"]["number"], r["status"]["results"]["named"]) for r in records}
    assert found == {(1, 1), (2, 2)}


def test_other_datasets_can_be_recorded(embedded: Store, conf: Path) -> None:
    """A file as it is, and what is in memory as MLRun keeps it; each once."""
    configure(conf, datasets=["table", "in_*"])
    run(conf, "tables", 5)
    record = newest(embedded, "tables")
    assert record["status"]["artifact_uris"].keys() == {"table", "in_memory"} | OWN
    table = mlrun.datastore.get_store_resource(record["status"]["artifact_uris"]["table"])
    assert table.target_path.endswith("table.csv")
    assert datasets.MLRunAbstractDataset(key="table").load() == b"x\n5\n"
    assert datasets.MLRunAbstractDataset(key="in_memory").load() == {"rows": 1}
    # It stays the same when the file is written again.
    run(conf, "tables", 6)
    of_run = {"load_args": {"uid": record["metadata"]["uid"]}}
    assert datasets.MLRunAbstractDataset(key="table", **of_run).load() == b"x\n5\n"


def test_what_only_leads_to_data_is_not_recorded(
    embedded: Store, conf: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Law 4: the load functions of partitions are no data, and a pickle of them isn't a record."""
    configure(conf, datasets=["*"])
    run(conf, "write_parts")
    assert newest(embedded, "write_parts")["status"]["artifact_uris"].keys() == {"parts"} | OWN
    run(conf, "read_parts")
    assert newest(embedded, "read_parts")["status"]["artifact_uris"].keys() == OWN
    assert "'parts' isn't recorded: it is a builtins.method" in caplog.text


def test_a_secret_of_an_env_file_is_in_no_record(
    embedded: Store, conf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law 8: though the parameter that has it is called otherwise; `not_secret` names the rest."""
    monkeypatch.setattr(known, "_known", known._Known())
    (conf / "base" / "parameters.yml").write_text(
        "number: 1\naddress: swordfish7\nvisit_token: 17\nother_token: hunter2"
    )
    configure(conf, not_secret=["visit_*"])
    env = PROJECT / ".env"
    env.write_text("API_KEY=swordfish7\n")
    pattern = PROJECT / ".env.local.example"
    pattern.write_text("API_KEY=number\n")
    try:
        run(conf, "all")
    finally:
        env.unlink()
        pattern.unlink()
        known.allow([])
    assert known.hide("a number") == "a number"
    expected = {"number": 1, "address": "*****", "visit_token": 17, "other_token": "*****"}
    assert taken(embedded, "all") == expected
    assert b"swordfish7" not in Path(embedded.dbpath.removeprefix("sqlite:///")).read_bytes()


def test_a_name_of_credentials_is_no_secret(
    embedded: Store, conf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law 8: a catalog entry names them, and a pipeline may have that name, too."""
    monkeypatch.setattr(known, "_known", known._Known())
    (conf / "base" / "credentials.yml").write_text("good: {key: swordfish7}")
    with (conf / "base" / "catalog.yml").open("a") as file:
        file.write(
            "bucket:\n  type: pandas.CSVDataset\n  filepath: s3://good/a\n  credentials: good"
        )
    run(conf, "good")
    assert newest(embedded, "good")["metadata"]["labels"]["pipeline"] == "good"
    assert known.hide("good swordfish7") == "good *****"


def test_data_are_never_searched_for_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Law 8: a worker that isn't forked learns the secrets of its node's parameters alone."""
    monkeypatch.setattr(known, "_known", known._Known())
    monkeypatch.setattr(hooks.multiprocessing, "parent_process", object)
    looked_at = []
    monkeypatch.setattr(known, "is_secret", lambda name, _: looked_at.append(name) or True)
    inputs = {"frame": [{"token": f"data{n}"} for n in range(1000)], "params:db": {"pw": "xyz12"}}
    one = node(lambda frame, db: None, [*inputs], None, name="one")
    hooks.MLRunHooks().before_node_run(one, DataCatalog(), inputs)
    assert looked_at == ["params:db.pw"]
    assert known.hide("data1 xyz12") == "data1 *****"


def test_a_run_that_cannot_begin_has_failed(
    embedded: Store, conf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kedro tells no hook of it, and still it doesn't say that it is running."""
    from kedro_mlrun.runs import provenance

    monkeypatch.setattr(provenance, "config_yaml", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(conf, "good")
    monkeypatch.undo()
    assert states(embedded) == [("good", "error")]


def test_a_graph_that_cannot_be_made_is_a_warning(
    embedded: Store, conf: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Law 10: an extra that fails never makes the main thing fail."""
    monkeypatch.setattr("kedro_mlrun.runs.provenance.graph", lambda _: 1 / 0)
    run(conf, "good")
    assert states(embedded) == [("good", "completed")]
    assert "division by zero" in caplog.text


def test_a_store_that_fails_once_at_a_runs_end_costs_the_table_of_nodes_at_most(
    embedded: Store, conf: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Law 10: what workers have added to the run is read again, and the run is completed."""
    find_run = LocalRunDB.find_run

    def fail_once(*_: Any, **__: Any) -> None:
        monkeypatch.setattr(LocalRunDB, "find_run", find_run)
        raise mlrun.errors.MLRunRuntimeError("not now")

    def end() -> None:
        uid = embedded.manager.context.uid
        workers.leave_note(uid, {"node": "of a worker", "action": "run", "seconds": 1.0})
        embedded.manager.run_db.update_run({"status.results.more": 2}, uid, embedded.project)
        monkeypatch.setattr(LocalRunDB, "find_run", fail_once)

    plugin = type("Plugin", (), {"after_pipeline_run": staticmethod(hook_impl(end))})
    run(conf, "good", plugin=plugin)
    status = newest(embedded, "good")["status"]
    assert (status["state"], status["results"]["more"]) == ("completed", 2)
    assert "The table of nodes isn't recorded: not now. The run goes on" in caplog.text


def test_what_cannot_be_loaded_is_its_nodes_error(embedded: Store, conf: Path) -> None:
    with pytest.raises(DatasetError):
        run(conf, "broken")
    error = newest(embedded, "broken")["status"]["error"]
    assert error.startswith("Node 'uses_table': DatasetError: ")


def configure(conf: Path, **tracking: Any) -> None:
    content = {"project": "never-used", "tracking": tracking}
    (conf / "base" / "mlrun.yml").write_text(yaml.safe_dump(content))


def test_keys_for_the_catalog() -> None:
    """Only this project's datasets get a key, and only where they have none."""
    kind = "kedro_mlrun.MLRunModel"
    assert hooks.with_key("a", {"type": kind}) == {"type": kind, "key": "a"}
    assert hooks.with_key("{x}.a", {"type": kind})["key"] == "{x}.a"
    assert hooks.with_key("a@pandas", {"type": kind})["key"] == "a"
    assert hooks.with_key("a", {"type": kind, "key": "b"})["key"] == "b"
    assert hooks.with_key("a", {"type": "pandas.CSVDataset"}) == {"type": "pandas.CSVDataset"}
    wrapped = hooks.with_key("a", {"type": "CachedDataset", "dataset": {"type": kind}})
    assert wrapped["dataset"]["key"] == "a"
    assert hooks.with_key("_anchor", ["not a dataset"]) == ["not a dataset"]
    for other in ("kedro_mlrun.Nothing", "no_such_module.MLRunModel", "MemoryDataset", 1):
        assert hooks.with_key("a", {"type": other}) == {"type": other}


class Foreign(AbstractDataset[Any, Any]):
    """A dataset of somebody else, which has what ours have."""

    kept: ClassVar[list[Any]] = []

    def __init__(self, key: str = "theirs", run_id: str = "theirs") -> None:
        self.key, self.run_id = key, run_id

    def load(self) -> Any:
        return self.kept[-1]

    def save(self, data: Any) -> None:
        self.kept.append((data, self.key, self.run_id))

    def _describe(self) -> dict[str, Any]:
        return {}


class Derived(datasets.MLRunAbstractDataset):
    """A dataset of the user's own that is one of MLRun's."""


def test_datasets_are_known_by_their_class(
    embedded: Store, conf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law 1: not by attributes, nor by how a type begins; tracked or not, nothing is lost."""
    team = ModuleType("team_datasets")
    team.Foreign, team.Derived = Foreign, Derived  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "team_datasets", team)
    with (conf / "base" / "catalog.yml").open("a") as catalog:
        catalog.write("foreign: {type: team_datasets.Foreign}\n")
        catalog.write("derived: {type: team_datasets.Derived}\n")
    run(conf, "of_others")
    assert newest(embedded, "of_others")["status"]["artifact_uris"].keys() == {"derived"} | OWN
    assert Foreign.kept == [(1, "theirs", "theirs")]
    configure(conf, enabled=False)
    run(conf, "of_others", 2)
    assert len(states(embedded)) == 1
    assert Foreign.kept[1:] == [(2, "theirs", "theirs")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("project: iris\nstore: x", "Extra inputs are not permitted"),
        ("<<<<<<< HEAD\nproject: iris\n=======\n", "can't be read"),
        ("- project: iris", "can't be read"),
    ],
    ids=["key", "conflict", "list"],
)
def test_a_mistake_in_mlrun_yml_is_one_line(conf: Path, text: str, said: str) -> None:
    """No traceback for a user's mistake."""
    (conf / "base" / "mlrun.yml").write_text(text)
    command = ["kedro", "run", "--conf-source", conf]
    env = {**os.environ, "PYTHONPATH": str(PROJECT / "src")}
    done = fork_server(Path(sys.executable)).run(command, PROJECT, env)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert said in done.stderr
