"""MLRunContextManager."""

import getpass
import json
import multiprocessing
import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

import mlrun
import pytest
from helpers import Store, states
from kedro.io import DatasetError

from kedro_mlrun.runs import manager, provenance, workers
from kedro_mlrun.runs.chain import CHAIN
from kedro_mlrun.store.fields import run_folder, run_name


def test_there_is_one_manager() -> None:
    """It is one for the process, under both of its names."""
    other = import_module("kedro_mlrun.datasets").MLRunContextManager()
    assert manager.MLRunContextManager() is other


def test_the_project_is_created_when_missing(store: Store) -> None:
    """No 404, and it is the same one the second time."""
    assert store.manager.project.metadata.name == store.project
    store.new_process()
    assert store.manager.project.metadata.name == store.project
    assert store.project in mlrun.get_run_db().list_projects()


def test_reading_opens_no_run(store: Store) -> None:
    """Only what is saved needs a run."""
    assert store.manager.current is None
    assert not store.manager.project.list_artifacts()
    assert states(store) == []


def test_saving_opens_a_run(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a notebook or a script the first use opens a run, named as MLRUN_CONTEXT_NAME says."""
    assert store.manager.context is store.manager.context
    store.new_process()
    monkeypatch.setenv("MLRUN_CONTEXT_NAME", "my exploration")
    assert store.manager.context.name == "my-exploration"
    store.new_process()
    assert states(store) == [("kedro-mlrun-ctx", "completed"), ("my-exploration", "completed")]


def test_runs_end_one_by_one(store: Store) -> None:
    """Each run has its own context, its own end, and its own folder; one may hold another."""
    outer = store.manager.open_run("outer")
    inner = store.manager.open_run("inner")
    assert store.manager.context.uid == inner.uid
    assert mlrun.get_or_create_ctx("anything").uid == inner.uid
    store.manager.close_run(ValueError("wrong"))
    assert store.manager.context.uid == outer.uid
    store.manager.close_run()
    assert store.manager.current is None
    third = store.manager.open_run("third")
    assert third.uid not in {outer.uid, inner.uid}
    assert third.artifact_path.endswith(third.uid)
    store.new_process()
    assert states(store) == [("outer", "completed"), ("inner", "error"), ("third", "completed")]
    run = mlrun.get_run_db().read_run(inner.uid, store.project)
    assert run["status"]["error"] == "wrong"


def test_a_context_made_by_hand_is_its_makers(embedded: Store) -> None:
    """A pipeline that is interrupted in it leaves it open; in a job the run has ended."""
    assert embedded.manager.project
    context = mlrun.get_or_create_ctx("mine")
    assert embedded.manager.open_run("training", "id") is context
    assert not embedded.manager.close_run(run_id="id", aborted="It was stopped by Ctrl-C.")
    assert states(embedded) == [("mine", "running")]
    with patch.dict(os.environ, {"MLRUN_EXEC_CONFIG": context.to_json()}):
        embedded.manager.open_run("training", "id")
        assert embedded.manager.close_run(run_id="id", aborted="It was stopped by Ctrl-C.")
    assert states(embedded) == [("mine", "aborted")]


def handler(context: mlrun.MLClientCtx) -> None:
    """Log as a node does, inside of an MLRun function."""
    from kedro_mlrun import datasets

    manager = datasets.MLRunContextManager()
    assert manager.context is context
    assert manager.open_run("training") is context
    datasets.MLRunResult(key="metrics", flatten=True).save({"accuracy": 0.9})
    datasets.MLRunAbstractDataset(key="thing").save("text")
    manager.close_run()


def test_a_job_uses_its_own_run(store: Store) -> None:
    """Inside an MLRun job the run is the job's, and its end is left to MLRun."""
    assert store.manager.project  # The API refuses runs of a project that is not there.
    task = mlrun.new_task()
    task.metadata.labels["process"] = "of-the-one-that-submitted-it"
    run = mlrun.new_function("job").run(task, handler=handler, project=store.project)
    assert run.status.results == {"accuracy": 0.9}
    assert run.metadata.labels["process"].startswith(f"{os.getpid()}-")
    assert run.artifact("thing").get() == b"text"
    store.new_process()
    assert import_module("kedro_mlrun.datasets").MLRunAbstractDataset(key="thing").load() == "text"
    assert [state for _, state in states(store)] == ["completed"]


def adopted(context: mlrun.MLClientCtx) -> None:
    """Look at the job's record as another process would, if this one were killed."""
    import_module("kedro_mlrun.datasets").MLRunContextManager().adopt(context)
    record = mlrun.get_run_db().read_run(context.uid, context.project)
    context.log_result("process", record["metadata"]["labels"].get("process"))


def test_a_job_that_is_killed_is_found(store: Store) -> None:
    """Also one that runs where it was started, as MLRun notes no process of it."""
    assert store.manager.project
    run = mlrun.new_function("job").run(handler=adopted, project=store.project)
    assert run.status.results["process"].startswith(f"{os.getpid()}-")


def sweep(context: mlrun.MLClientCtx, number: int) -> None:
    """Log as a node does, once for each iteration."""
    import_module("kedro_mlrun.datasets").MLRunResult(key="metrics", flatten=True).save(
        {"accuracy": number}
    )
    import_module("kedro_mlrun.datasets").MLRunAbstractDataset(key="thing").save(number)


def test_after_a_sweep(store: Store) -> None:
    """What ran in this process before is over: the next run is its own, and the best is loaded."""
    from kedro_mlrun import datasets

    assert store.manager.project
    task = mlrun.new_function("sweep").run(
        handler=sweep,
        project=store.project,
        hyperparams={"number": [1, 3, 2]},
        hyper_param_options=mlrun.model.HyperParamOptions(selector="max.accuracy"),
        artifact_path=mlrun.mlconf.artifact_path,
    )
    assert datasets.MLRunAbstractDataset(key="thing").load() == 3
    assert datasets.MLRunResult(key="metrics", flatten=True).load() == {"accuracy": 3}
    of_run = {"uid": task.metadata.uid, "iter": 1}
    assert datasets.MLRunAbstractDataset(key="thing", load_args=of_run).load() == 1
    assert store.manager.open_run("training").uid != task.metadata.uid


def test_runs_end_with_the_process(embedded: Store, python: Callable[[str], str]) -> None:
    """No run says running for ever: a script's ends as the script does."""
    code = """
MLRunResult(key="accuracy").save(0.9)
MLRunContextManager().open_run("training")
raise ValueError("no luck")
"""
    with pytest.raises(AssertionError, match="no luck"):
        python(code)
    assert states(embedded) == [("kedro-mlrun-ctx", "error"), ("training", "error")]
    script, training = mlrun.get_run_db().list_runs(project=embedded.project, states=["error"])[
        ::-1
    ]
    assert script["status"]["error"] == training["status"]["error"] == "no luck"


def test_a_killed_process_leaves_no_run_that_says_running(store: Store) -> None:
    """It is recognised when the next run begins; runs of living processes stay as they are."""
    killed = store.manager.open_run("killed", labels={"process": "4000000000-1"})
    alive = store.manager.open_run("alive")
    elsewhere = store.manager.open_run("elsewhere")
    label = {"metadata.labels.process": "4000000000-1"}
    db = mlrun.get_run_db()
    db.update_run(label, killed.uid, store.project)
    db.update_run({**label, "metadata.labels.host": "other"}, elsewhere.uid, store.project)
    for context in (killed, alive):
        workers.announce(context.name, workers.RunReference(context.uid, store.project, ""))
    told = [workers._file(context.uid) for context in (killed, alive)]
    store.manager.abort_lost_runs()
    # Nor a folder of what its workers have told.
    assert [file.parent.exists() for file in told if file] == [False, True]
    for context in (killed, alive):
        workers.announce(context.name, None)
    found = {
        context.name: db.read_run(context.uid, store.project)["status"]
        for context in (killed, alive, elsewhere)
    }
    assert {name: status["state"] for name, status in found.items()} == {
        "killed": "aborted",
        "alive": "running",
        "elsewhere": "running",
    }
    assert found["killed"]["error"].startswith("Its process 4000000000 on ")
    assert found["killed"]["error"].endswith(" ended without recording its end.")


def add_results(worker: int) -> None:
    """Save as a node does in a worker process of ParallelRunner."""
    from kedro_mlrun import datasets

    for number in range(3):
        result = datasets.MLRunResult(key=f"result_{worker}_{number}")
        result.run_id = "parallel"
        result.save(number)
        artifact = datasets.MLRunAbstractDataset(key=f"artifact_{worker}_{number}")
        artifact.run_id = "parallel"
        artifact.save(f"{worker}-{number}")
        assert artifact.load() == f"{worker}-{number}"


def test_worker_processes_add_to_their_parents_run(store: Store) -> None:
    """Law 11: nothing is lost, nobody else can read or replace it, and no file stays behind."""
    uid = store.manager.open_run("parallel", "parallel").uid
    folder = Path(
        workers.RunReference(*json.loads(os.environ[workers.VARIABLE])["parallel"]).folder
    )
    assert (folder.stat().st_mode & 0o777, folder.owner()) == (0o700, getpass.getuser())
    run_workers(add_results, *((number,) for number in range(4)))
    store.manager.close_run(run_id="parallel")
    (record,) = mlrun.get_run_db().list_runs(project=store.project, uid=uid)
    names = {f"{worker}_{number}" for worker in range(4) for number in range(3)}
    assert record["status"]["state"] == "completed"
    assert record["status"]["results"].keys() == {f"result_{name}" for name in names}
    assert record["status"]["artifact_uris"].keys() == {f"artifact_{name}" for name in names}
    assert workers.notes(uid) == [] and not folder.exists()
    with pytest.raises(LookupError, match="is not open"):
        workers.leave_note(uid, {})
    assert not Path("None").exists()


def run_workers(target: Callable[..., None], *arguments: tuple[Any, ...]) -> None:
    """Call a function in forked processes at once, one for each tuple of arguments."""
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=target, args=given) for given in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * len(arguments)


def add_metrics(key: str, both: Any) -> None:
    """Save results whose names another worker's have too, at the same time."""
    from kedro_mlrun import datasets

    metrics = datasets.MLRunResult(key=key, flatten=True)
    metrics.run_id = "parallel"
    both.wait(60)
    metrics.save({"auc": key})


def test_workers_never_overwrite_each_others_results(embedded: Store) -> None:
    """Law 1: nothing is lost; law 4: names don't depend on who is first."""
    uid = embedded.manager.open_run("parallel", "parallel").uid
    both = multiprocessing.get_context("fork").Barrier(4)
    run_workers(add_metrics, *((key, both) for key in "abcd"))
    embedded.manager.close_run(run_id="parallel")
    record = mlrun.get_run_db().read_run(uid, embedded.project)
    assert record["status"]["results"] == {f"{key}.auc": key for key in "abcd"}


def test_a_chain_has_its_own_newest(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is loaded is the chain's; what the chain has not is an error, though others have it."""
    from kedro_mlrun import datasets

    thing = datasets.MLRunAbstractDataset(key="thing")
    result = datasets.MLRunResult(key="number")
    for chain, value in (("morning", 1), ("evening", 2), ("", 3)):
        monkeypatch.setenv(CHAIN, chain)
        store.manager.open_run("training")
        thing.save(value)
        result.save(value)
        store.new_process()
    for chain, value in (("morning", 1), ("evening", 2), ("", 3)):
        monkeypatch.setenv(CHAIN, chain)
        assert (thing.load(), result.load()) == (value, value)
        assert datasets.MLRunAbstractDataset(key="thing", load_args={"tag": "latest"}).load() == 3
    monkeypatch.setenv(CHAIN, "noon")
    with pytest.raises(DatasetError, match=r"chain noon has no artifact .*--chain-id noon"):
        thing.load()
    with pytest.raises(DatasetError, match="no run in chain noon has such a result"):
        result.load()
    monkeypatch.setenv(CHAIN, "no/chain")
    with pytest.raises(import_module("kedro_mlrun.project").MLRunConfigError, match="no/chain"):
        store.manager.open_run("training")


@pytest.mark.parametrize(("kind", "size"), [("local", 500_000), ("job", 100_000)])
def test_a_large_parameter_of_a_job_is_in_its_record_once(
    embedded: Store, kind: str, size: int
) -> None:
    """Law 7: each list of runs reads it; what a cluster may run again keeps what it was given."""

    def handler(context: mlrun.MLClientCtx) -> None:
        context.set_label("kind", kind)
        recorded = provenance.shortened({"big": context.parameters["big"], "kedro.params": "p"})
        embedded.manager.open_run("training", parameters=recorded)
        embedded.manager.close_run()

    function = mlrun.new_function("kedro", kind="local", project=embedded.project)
    run = function.run(handler=handler, params={"big": "x" * size, "small": 1}, local=True)
    found = mlrun.get_run_db().read_run(run.metadata.uid, embedded.project)["spec"]["parameters"]
    assert (found["small"], found["kedro.params"]) == (1, "p")
    whole = "x" * size if kind == "job" else "489 KiB: see the artifact 'kedro.parameters'"
    assert found["big"] == whole


def test_files_of_mlruns_project_are_the_kedro_projects(store: Store, tmp_path: Path) -> None:
    """Law 6: MLRun looks for them in its folder, and writes none there by itself."""
    (tmp_path / "g.py").write_text("def handler(context):\n    context.log_result('x', 1)\n")
    (tmp_path / "project.yaml").write_text("kind: project\n")
    for _ in range(2):  # in a project that is created, and in one that is there
        project = store.manager.project
        project.set_function(func="./g.py", name="g", kind="job", image="mlrun/mlrun")
        run = project.run_function("g", handler="handler", local=True)
        assert run.status.results == {"x": 1}
        store.new_process()
    assert (tmp_path / "project.yaml").read_text() == "kind: project\n"


def test_a_user_without_a_name(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs as any number."""

    def unknown(_: int) -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr("pwd.getpwuid", unknown)
    assert store.manager.open_run("training").labels["owner"].isdigit()


def test_names_of_runs() -> None:
    """MLRun takes at most 63 letters, digits, dots, hyphens and underscores."""
    assert run_name("__default__") == "default"
    assert run_name("data science/→") == "data-science"
    assert run_name("Größe_né") == "Grosse_ne"
    assert run_name("a" * 80) == "a" * 63
    assert run_name("***") == "kedro-mlrun-ctx"


def test_folders_of_runs() -> None:
    """Law 2: a run's folder has its id, whatever the path."""
    assert run_folder("/folder/", "1f") == "/folder/1f"
    assert run_folder("folder", "1f").startswith("/")
    assert run_folder("s3://bucket/", "1f") == "s3://bucket/1f"
    assert run_folder("s3://bucket/{{run.uid}}/x", "1f") == "s3://bucket/{{run.uid}}/x"


def test_messages_hold_no_password(embedded: Store) -> None:
    """Law 8: an address in a message is without what it may hold of credentials."""
    mlrun.mlconf.dbpath = "https://user:hunter2@mlrun-api"
    assert "https://mlrun-api" in embedded.manager.location
    assert "hunter2" not in embedded.manager.location


@pytest.mark.parametrize(
    ("setting", "variable"),
    [("active_project", "MLRUN_ACTIVE_PROJECT"), ("dbpath", "MLRUN_DBPATH")],
)
def test_without_project_or_store(embedded: Store, setting: str, variable: str) -> None:
    """A missing name is one sentence that says what to set; nothing is lost in silence."""
    mlrun.mlconf.update({setting: ""})
    with pytest.raises(mlrun.errors.MLRunMissingProjectError, match=variable):
        _ = embedded.manager.context
    with pytest.raises(DatasetError, match=variable):
        import_module("kedro_mlrun.datasets").MLRunResult(key="accuracy").save(0.9)


def test_an_ended_run_is_announced_no_longer(embedded: Store) -> None:
    """The variable is gone with the last run, for programs that start later inherit it."""
    for run_id in ("first", "second"):
        embedded.manager.open_run("training", run_id)
    embedded.manager.close_run(run_id="first")
    assert workers.VARIABLE in os.environ
    embedded.manager.close_run(run_id="second")
    assert workers.VARIABLE not in os.environ
