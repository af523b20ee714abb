"""A workflow of three jobs in a generated project: one fails, is fixed, and all goes on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import KEDRO, VENV, Folder

STEPS = '''
"""Three steps, each a pipeline of its own."""

import pandas as pd
from kedro.pipeline import Node, Pipeline


def first(number: int) -> pd.DataFrame:
    return pd.DataFrame({"value": [number, number + 1]})


def second(table: pd.DataFrame) -> pd.DataFrame:
    BROKEN
    return table * 2


def third(doubled: pd.DataFrame) -> dict[str, int]:
    return {"total": int(doubled["value"].sum())}


def register() -> dict[str, Pipeline]:
    return {
        "third": Pipeline([Node(third, "doubled", "totals", name="third")]),
        "second": Pipeline([Node(second, "table", "doubled", name="second")]),
        "first": Pipeline([Node(first, "params:number", "table", name="first")]),
    }
'''
CATALOG = """
table: {type: kedro_mlrun.MLRunDataframeDataset}
doubled: {type: kedro_mlrun.MLRunDataframeDataset}
totals: {type: kedro_mlrun.MLRunResult, flatten: true}
"""


OVERRIDES = "overrides: {second: {resources: {limits: {memory: 9Gi}}, node_selector: {disk: ssd}}}"


@pytest.fixture
def project(bake: Callable[..., Folder]) -> Folder:
    """A project of three steps, of which the second is broken."""
    project = bake()
    package = project.path / "src" / "breast_cancer"
    (package / "pipelines" / "three.py").write_text(
        STEPS.replace("BROKEN", 'raise OSError("boom")')
    )
    (package / "pipeline_registry.py").write_text(
        "from .pipelines.three import register as register_pipelines  # noqa: F401\n"
    )
    (project.path / "conf" / "base" / "catalog.yml").write_text(CATALOG)
    (project.path / "conf" / "base" / "parameters_training.yml").write_text("number: 1\n")
    settings = project.path / "conf" / "base" / "mlrun.yml"
    settings.write_text(settings.read_text().replace("overrides: {}", OVERRIDES))
    project.run("git", "init", "--quiet")
    project.run("git", "add", "--all")
    project.run("git", "commit", "--quiet", "--message=Three steps")
    return project


def workflow(project: Folder, *arguments: str, exit_code: int = 0) -> tuple[Any, str]:
    """Run the workflow, and give what it says of its end, and to whom it concerns."""
    done = project.run(KEDRO, "mlrun", "workflow", *arguments, "--json", ok=False)
    assert done.returncode == exit_code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr.partition("boom")[0]
    return json.loads(done.stdout) if done.stdout else None, done.stderr


def runs(project: Folder) -> list[Any]:
    done = project.run(KEDRO, "mlrun", "runs", "--json")
    return json.loads(done.stdout)


def ends(told: Any) -> list[tuple[str, str]]:
    return [(group["group"], group["state"]) for group in told["groups"]]


def fix(project: Folder) -> None:
    file = project.path / "src" / "breast_cancer" / "pipelines" / "three.py"
    file.write_text(file.read_text().replace('raise OSError("boom")', "pass"))


@pytest.mark.parametrize("where", ["--local", "--remote"])
def test_a_failed_workflow_goes_on_where_it_failed(project: Folder, where: str):
    """What comes after the failed job isn't started; what came before isn't done again."""
    told, errors = workflow(project, where, "--params", "number=20", exit_code=1)
    assert told["state"] == "error"
    assert ends(told) == [("first", "completed"), ("second", "error"), ("third", "not started")]
    assert "Job 'second' failed. Node 'second': OSError: boom" in errors
    chain = told["workflow"]
    assert f"--resume {chain}" in errors
    table = project.run(KEDRO, "mlrun", "open", f"table@{told['groups'][0]['run']}")
    assert Path(table.stdout.strip()).is_file()
    assert [run["name"] for run in runs(project)] == ["second", "first"]

    # Newer than the workflow's own, which has to be taken all the same.
    project.run(KEDRO, "run", "--pipelines=first", "--params=number=5")
    fix(project)
    resumed, _ = workflow(project, where, "--params", "number=20", "--resume", chain)
    assert (resumed["workflow"], resumed["state"]) == (chain, "completed")
    assert resumed["groups"][0] == {**told["groups"][0], "earlier": True}
    assert resumed["groups"][1]["run"] != told["groups"][1]["run"]
    found = runs(project)
    assert [run["name"] for run in found] == ["third", "second", "first", "second", "first"]
    in_chain = [run for run in found if run["labels"].get("workflow") == chain]
    assert [run["name"] for run in in_chain] == ["third", "second", "second", "first"]

    again, _ = workflow(project, where, "--resume", chain)
    assert (ends(again), again["groups"][2]["run"]) == (ends(resumed), resumed["groups"][2]["run"])
    assert all(group["earlier"] for group in again["groups"])

    totals = {run["uid"]: run["results"] for run in runs(project)}
    assert totals[resumed["groups"][2]["run"]] == {"total": 82}


def test_a_job_has_the_resources_of_its_group(project: Folder):
    """On top of function.yaml, and no other job has them."""
    told, _ = workflow(project, "--dry-run")
    first, second, _ = (group["spec"] for group in told["groups"])
    assert second["resources"] == {**first["resources"], "limits": {"memory": "9Gi"}}
    assert (first["node_selector"], second["node_selector"]) == ({}, {"disk": "ssd"})
    table = project.run(KEDRO, "mlrun", "workflow", "--dry-run").stdout
    least = ["cpu", "1,", "memory", "2Gi"]
    assert [line.split() for line in table.splitlines()[:8]] == [
        ["job", "after", "resources", "nodes"],
        ["first", *least, "first"],
        ["second", "first", *least[:3], "2Gi,", "at", "most", "memory", "9Gi", "second"],
        ["third", "second", *least, "third"],
        [],
        ["dataset", "from", "to"],
        ["table", "first", "second"],
        ["doubled", "second", "third"],
    ]
    assert not (project.path / ".mlrun" / "jobs").exists()
    # Nor is another way to start the job of one pipeline different.
    submit = (KEDRO, "mlrun", "submit", "--dry-run", "--json", "--pipelines")
    ours = {"memory": "9Gi"}
    for pipelines, limits in {"second": ours, "first,second": ours, "first": {}}.items():
        function = json.loads(project.run(*submit, pipelines).stdout)["function"]
        assert function["spec"]["resources"]["limits"] == limits
    registry = project.path / "src" / "breast_cancer" / "pipeline_registry.py"
    registry.write_text(
        "from .pipelines.three import register\n\n\ndef register_pipelines():\n"
        "    return {**register(), '__default__': sum(register().values())}\n"
    )
    whole = json.loads(project.run(*submit[:-1]).stdout)["function"]
    assert whole["spec"]["resources"]["limits"] == ours
    settings = project.path / "conf" / "base" / "mlrun.yml"
    text = settings.read_text()
    settings.write_text(
        text.replace("s: {second", "s: {first: {node_selector: {disk: hdd}}, second")
    )
    said = project.run(*submit, "first,second", ok=False).stderr
    assert "has not the same node_selector.disk: 'hdd' and 'ssd'. To run them as" in said
    settings.write_text(text.replace("{second: {res", "{secnd: {res"))
    assert "has 'secnd', and no pipeline" in project.run(*submit, "first", ok=False).stderr
    settings.write_text(text.replace("9Gi", "9Gb"))
    said = project.run(*submit, "first", ok=False).stderr
    assert (
        "'resources.limits.memory' in `jobs.overrides.second` of mlrun.yml can't be '9Gb'" in said
    )


def test_mlrun_runs_the_project_as_its_users_expect(project: Folder):
    """`mlrun project` finds function and workflow in project.yaml, and changes no file of git's."""
    fix(project)
    project.run("git", "commit", "--quiet", "--all", "--message=Fixed")
    mlrun = (VENV / "bin" / "mlrun", "project", ".", "--run", "main")
    project.run(*mlrun, "--arguments", "names=first,second", MLRUN_IGNORE_ENV_FILE="true")
    found = runs(project)
    assert [(run["name"], run["state"]) for run in found] == [
        ("second", "completed"),
        ("first", "completed"),
    ]
    assert len({run["labels"]["workflow"] for run in found}) == 1
    table = project.run(KEDRO, "mlrun", "open", "doubled").stdout.strip()
    assert Path(table).is_relative_to(project.path / ".mlrun" / "artifacts")
    assert project.run("git", "status", "--porcelain").stdout == ""
