"""Workflows: MLRun's own engine on a real store, with jobs that take no time."""

import json
import os
import uuid
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import mlrun
import pytest
from click.testing import CliRunner, Result
from helpers import Store, project_module

from kedro_mlrun.commands import cli as commands
from kedro_mlrun.jobs import groups, plan
from kedro_mlrun.jobs import workflow as workflows

registry = project_module("pipeline_registry")


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """Undo what a command changes in the environment."""
    with patch.dict(os.environ):
        yield


def succeed(context: Any) -> None:
    context.log_result("workflow", context.labels["workflow"])


def fail(context: Any) -> None:
    raise ValueError("boom")


def job(store: Store, name: str, handler: str) -> Any:
    """Give a job that runs a function of this file."""
    names = {"name": "kedro", "project": store.project}
    function = {"kind": "job", "metadata": names, "spec": {"image": "mlrun/mlrun"}}
    names = {"name": name, "project": store.project, "uid": uuid.uuid4().hex}
    task = {
        "metadata": {**names, "labels": {}, "annotations": {}},
        "spec": {"handler": f"{__name__}.{handler}"},
    }
    return plan.Plan(SimpleNamespace(archive=None, folder=None), None, None, function, task)


def started(store: Store, chain: str = "", **handlers: str) -> Any:
    """Run the project's groups, each with a function of this file instead of Kedro."""
    found = groups.grouped(registry.register_pipelines())
    workflow = workflows.Workflow(
        found, {name: job(store, name, handler) for name, handler in handlers.items()}, None, chain
    )
    return workflows.run_workflow(workflow, local=True)


def prepared(**told: str) -> Any:
    return workflows.prepare_workflow(workflows.WorkflowParameters(**told), source=None)


def kedro_mlrun(*arguments: str) -> Result:
    return CliRunner().invoke(commands.cli, ["mlrun", "workflow", *arguments])


def ends(told: Any) -> list[tuple[str, str, bool]]:
    return [(group["group"], group["state"], group["earlier"]) for group in told["groups"]]


def test_jobs_are_one_workflow_and_stop_at_the_first_that_fails(
    embedded: Store, capsys: pytest.CaptureFixture[str]
):
    """MLRun's own account of that, with its tracebacks, isn't shown."""
    whole = started(embedded, training="succeed", evaluation="succeed")
    assert (whole["state"], ends(whole)) == (
        "completed",
        [("training", "completed", False), ("evaluation", "completed", False)],
    )
    for group in whole["groups"]:
        run = mlrun.get_run_db().read_run(group["run"], embedded.project)
        assert run["status"]["results"] == {"workflow": whole["workflow"]}
        assert run["metadata"]["labels"]["kedro-group"] == group["group"]
    capsys.readouterr()
    broken = started(embedded, training="fail", evaluation="succeed")
    assert (broken["state"], ends(broken)) == (
        "error",
        [("training", "error", False), ("evaluation", "not started", False)],
    )
    assert "boom" in broken["groups"][0]["error"]
    assert broken["workflow"] != whole["workflow"]
    assert "Workflow run failed" not in "".join(capsys.readouterr())


def test_what_a_workflow_has_completed_is_not_run_again(embedded: Store):
    half = started(embedded, training="succeed", evaluation="fail")["workflow"]
    resumed = prepared(resume=half)
    assert (list(resumed.jobs), list(resumed.done)) == (["evaluation"], ["training"])
    assert resumed.jobs["evaluation"].task["spec"]["parameters"] == {
        "pipeline": "evaluation",
        "chain_id": half,
    }
    resumed.jobs["evaluation"] = job(embedded, "evaluation", "succeed")
    told = workflows.run_workflow(resumed, local=True)
    assert (told["workflow"], ends(told)) == (
        half,
        [("training", "completed", True), ("evaluation", "completed", False)],
    )
    # What comes after a job that runs again is run again, too.
    alone = started(embedded, evaluation="succeed")["workflow"]
    again = prepared(resume=alone)
    assert list(again.jobs) == ["training", "evaluation"]


def test_a_workflow_is_resumed_by_its_id_alone(embedded: Store):
    """Law 4: what it was told at first is told again, and only what is given anew is another."""
    told = {"names": "evaluation", "env": "local", "params": "split.seed=7"}
    first = prepared(**told)
    assert list(first.jobs) == ["evaluation"]
    first.jobs["evaluation"] = _with_annotations(first, job(embedded, "evaluation", "fail"))
    failed = workflows.run_workflow(first, local=True)["workflow"]
    resumed = prepared(resume=failed)
    assert list(resumed.jobs) == ["evaluation"]
    assert resumed.jobs["evaluation"].task["spec"]["parameters"] == {
        "pipeline": "evaluation",
        "chain_id": failed,
        "env": "local",
        "split.seed": 7,
    }
    other = prepared(resume=failed, names="training", params="split.seed=8")
    assert other.jobs["training"].task["spec"]["parameters"]["split.seed"] == 8


def _with_annotations(workflow: Any, made: Any) -> Any:
    """Give a job the annotations that the workflow's own have."""
    for plan_ in workflow.jobs.values():
        made.task["metadata"]["annotations"] |= plan_.task["metadata"]["annotations"]
    return made


def test_a_chain_of_the_users_own_is_the_workflow(embedded: Store, monkeypatch: pytest.MonkeyPatch):
    """Law 4: the jobs carry its id; and what earlier workflows of it did isn't this one's doing."""
    monkeypatch.setenv("MLRUN_CHAIN_ID", "monday")
    monday = prepared()
    assert monday.id == "monday"
    # What starts the jobs of a remote workflow may have another one in its environment.
    told = prepared(chain_id="tuesday")
    assert told.id == told.jobs["training"].task["spec"]["parameters"]["chain_id"] == "tuesday"
    assert monday.jobs["training"].task["spec"]["parameters"]["chain_id"] == "monday"
    for first, state in (("succeed", "completed"), ("fail", "not started")):
        told = started(embedded, "monday", training=first, evaluation="succeed")
        assert (told["workflow"], told["groups"][1]["state"]) == ("monday", state)


def test_a_workflow_that_goes_on_or_is_not_there_is_not_resumed(embedded: Store):
    half = started(embedded, training="succeed", evaluation="fail")
    # Runs of a chain that no workflow has started are none.
    run = {"metadata": {"name": "training", "labels": {"workflow": "x"}}, "status": {}}
    mlrun.get_run_db().store_run(run, "1a", embedded.project)
    with pytest.raises(workflows.JobError, match="There is no workflow 'x'"):
        prepared(resume="x")
    run = half["groups"][1]["run"]
    mlrun.get_run_db().update_run({"status.state": "running"}, run, embedded.project)
    with pytest.raises(workflows.JobError, match=f"'evaluation' of .* is running: run {run}"):
        prepared(resume=half["workflow"])


def test_a_dry_run_tells_the_jobs_and_what_crosses(embedded: Store):
    done = kedro_mlrun("--local", "--dry-run", "--json")
    told = json.loads(done.stdout)
    assert [(group["group"], group["after"]) for group in told["groups"]] == [
        ("training", []),
        ("evaluation", ["training"]),
    ]
    assert told["groups"][0]["spec"]["default_handler"].endswith(".jobs.handler.run")
    assert {"dataset": "test_set", "from": "training", "to": ["evaluation"]} in told["crossing"]
    assert mlrun.get_run_db().list_runs(project=embedded.project) == []


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (
            ["trainin"],
            2,
            "Error: The project has no pipeline 'trainin'. Did you mean 'training'? It has ",
        ),
        (["--group-by", "nodes"], 2, "'nodes' is not one of 'pipeline', 'namespace', 'tag'."),
        (["--resume", "7"], 2, "Error: There is no workflow '7' in project '"),
        (["--params", "splt.seed=7", "--local"], 2, "splt.seed"),
        (
            ["--engine", "remote", "--local"],
            2,
            "Engine 'remote' runs no job in this process: leave out --local.\n",
        ),
        (["--group-by", "namespace"], 2, "`random_forest_test_prediction` for plot_"),
    ],
)
def test_what_cannot_be_done_is_answered_in_a_sentence(
    embedded: Store, arguments: list[str], exit_code: int, message: str
):
    done = kedro_mlrun(*arguments)
    assert (done.exit_code, done.stdout) == (exit_code, "")
    assert message in done.stderr
    assert mlrun.get_run_db().list_runs(project=embedded.project) == []


def test_an_engine_of_the_cluster_needs_an_api(embedded: Store):
    found = groups.grouped(registry.register_pipelines())
    workflow = workflows.Workflow(found, {"training": job(embedded, "training", "succeed")}, None)
    with pytest.raises(workflows.JobError, match="Engine 'remote' needs an MLRun API"):
        workflows.run_workflow(workflow, "remote")
