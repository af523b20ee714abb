"""`kedro mlrun reproduce`: a recorded run is made once more, and compared."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import KEDRO, Folder, changes, commit, give_pipelines

from kedro_mlrun.records.summaries import unreproducible
from kedro_mlrun.store.fields import MADE_OF

REGISTRY = """
import random, time
from kedro.pipeline import Pipeline, node
from sklearn.linear_model import LinearRegression

def scale(table, factor):
    return table * factor, table * factor

def count():
    import measuring
    return measuring.count()

def register_pipelines():
    first = Pipeline([
        node(scale, ["table", "params:factor"], ["scaled", "written"]),
        node(lambda scaled: float(scaled["x"].mean()), "scaled", "mean"),
        node(lambda scaled: LinearRegression().fit(scaled, scaled["x"]), "scaled", "model"),
    ])
    second = Pipeline([
        node(lambda old, mean: old["x"].max() / mean, ["old", "mean"], "share"),
        node(repr, "params:unusual", "shown"),
        node(lambda servers: len(str(servers)), "params:servers", "length"),
    ])
    third = Pipeline([
        node(lambda: random.random(), None, "chance"),
        node(lambda: time.perf_counter(), None, "fit.seconds"),
        node(lambda: time.perf_counter(), None, "mean_fit_time"),
        node(lambda: random.random(), None, "trip_duration"),
    ])
    timed = third.filter(to_outputs=["fit.seconds"])
    counted = Pipeline([node(count, None, "counted")])
    found = {"first": first, "second": second, "third": third, "timed": timed, "counted": counted}
    return {**found, "__default__": first}
"""
CATALOG = """
table:
  type: pandas.CSVDataset
  filepath: data/02_intermediate/table.csv
written:
  type: pandas.CSVDataset
  filepath: data/03_primary/written.csv
scaled:
  type: kedro_mlrun.MLRunDataframeDataset
model:
  type: kedro_mlrun.MLRunModel
old:
  type: kedro_mlrun.MLRunDataframeDataset
  key: scaled
  load_args: {tag: latest}
"{name}":
  type: kedro_mlrun.MLRunResult
"""
# What JSON, as a run's own record, has as text alone.
PARAMETERS = """
factor: 2
unusual: {text: "NaN", nan: .nan, infinite: [-.inf], classes: {0: a, 1: b}}
servers:
  url: http://user:hunter2-of-the-url@host
  hosts: [{name: a, password: hunter2-of-the-host}]
"""


@pytest.fixture
def project(bake: Callable[..., Folder]) -> Folder:
    """Give a project with a commit, and data that git ignores."""
    project = bake()
    give_pipelines(project, REGISTRY, PARAMETERS, CATALOG)
    table = project.path / "data/02_intermediate/table.csv"
    table.parent.mkdir(parents=True)
    table.write_text("x\n1\n2\n")
    (project.path / "conf/local/mlrun.yml").write_text("project: local-project\n")
    commit(project)
    return project


def run(project: Folder, pipeline: str, *options: str, **variables: str) -> None:
    project.run(KEDRO, "run", f"--pipelines={pipeline}", *options, **variables)


def reproduce(
    project: Folder, which: str = "last", code: int = 0, **variables: str
) -> tuple[Any, subprocess.CompletedProcess[str]]:
    """Reproduce a run; give the differences' reasons by name, and the command's answer."""
    done = project.run(KEDRO, "mlrun", "reproduce", which, "--json", ok=False, **variables)
    assert done.returncode == code, done.stdout + done.stderr
    told = json.loads(done.stdout or '{"differences": []}')
    return {each["name"]: each["reason"] for each in told["differences"]}, done


def test_code_parameters_and_data_are_those_of_the_record(project: Folder, tmp_path: Path) -> None:
    """Laws 2, 11: whatever came later; and files, records and the temporary folder stay."""
    temporary = project.at(tmp_path / "temporary").path
    run(project, "first", "--params=factor=3")
    run(project, "second", "--params=unusual.large=123456789012345678901")
    run(project, "first", "--params=factor=5")
    registry = project.path / "src/breast_cancer/pipeline_registry.py"
    registry.write_text(REGISTRY.replace("table * factor", "table + factor"))
    (project.path / "conf/base/parameters.yml").write_text("factor: 7\n")
    project.run("git", "commit", "--all", "--quiet", "--message=Second")
    before = project.files()
    for which, equal in (
        ("first~1", {"result": 1, "artifact": 2, "file": 1}),
        ("second", {"result": 3}),
    ):
        differences, done = reproduce(project, which, TMPDIR=str(temporary))
        assert (differences, json.loads(done.stdout)["equal"]) == ({}, equal)
    assert [*temporary.iterdir()] == []
    after = project.files()
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    # Where SQLite notes who reads.
    assert (changed - {".mlrun/mlrun.db-shm"}, changes(project)) == (set(), "")

    # An input that isn't recorded any more is named.
    project.run(KEDRO, "mlrun", "delete", "first~1", "--yes")
    _, done = reproduce(project, "second", code=2)
    assert re.search(
        "has loaded 'mean' from a record .* has no run '.*'. Make a new run", done.stderr
    )

    # Other data are named before anything is run.
    (project.path / "data/02_intermediate/table.csv").write_text("x\n1\n4\n")
    registry.write_text("raise SystemExit(7)\n")
    _, done = reproduce(project, "first", code=2, TMPDIR=str(temporary))
    assert (
        "Input 'table': " in done.stderr
        and "02_intermediate/table.csv has the SHA-1" in done.stderr
    )


def test_what_comes_out_otherwise_is_told(project: Folder, tmp_path: Path) -> None:
    """Only a difference without a harmless reason is an error."""
    run(project, "third")
    differences, _ = reproduce(project, code=1)
    times = {"fit.seconds": "a time", "mean_fit_time": "a time"}
    assert differences == {"chance": "", **times, "trip_duration": ""}
    run(project, "timed")
    assert reproduce(project)[0] == {"fit.seconds": "a time"}

    library = project.at(tmp_path / "library").path
    module, path = library / "measuring.py", {"PYTHONPATH": str(library)}
    module.write_text("__version__ = '1.0'\ndef count():\n    return 1\n")
    run(project, "counted", **path)
    module.write_text("__version__ = '2.0'\ndef count():\n    return 10\n")
    differences, done = reproduce(project, code=1, **path)
    assert differences == {"counted": ""}
    assert json.loads(done.stdout)["packages"] == ["measuring 2.0 (then 1.0)"]
    module.unlink()
    _, done = reproduce(project, code=2, **path)
    assert "fails now: Node 'count" in done.stderr and "No module named 'measuring'" in done.stderr

    # What can't be made again is told before anything is run.
    local = project.path / "conf/local/mlrun.yml"
    local.write_text(f"{local.read_text()}tracking: {{parameters: false}}\n")
    run(project, "timed", "--params=factor=123456789012345678901")
    assert "was given parameters of which" in reproduce(project, code=2)[1].stderr
    for folder in project.path.glob(".mlrun/artifacts/*/kedro.parameters"):
        shutil.rmtree(folder)
    stderr = reproduce(project, "counted", code=2)[1].stderr
    assert "without its parameters: " in stderr
    assert "is gone. Restore that, or make a new run.\n" in stderr
    shutil.rmtree(project.path / ".git")
    commit(project)
    _, done = reproduce(project, "counted", code=2)
    assert "git can't give the commit (fatal: " in done.stderr
    assert "Fetch it: git fetch origin " in done.stderr


def test_a_run_of_no_commit_is_refused(project: Folder) -> None:
    """Law 9: nothing is run where the code isn't known."""
    (project.path / "README.md").write_text("changed")
    run(project, "first")
    assert "were in no commit. Commit them" in reproduce(project, code=2)[1].stderr


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("error", "failed. Reproduce"),
        ("aborted", "is aborted. Reproduce"),
        ("running", "is running. Reproduce"),
        ("completed", "names no commit, for there was none, or Git didn't answer in 2 seconds"),
    ],
)
def test_why_a_run_can_not_be_reproduced(state: str, said: str) -> None:
    """In words that end a sentence about the run."""
    about = {"labels": {}, "annotations": {MADE_OF: "{}"}}
    run = {"metadata": about, "spec": {}, "status": {"state": state}}
    assert unreproducible(run).startswith(said)


def test_data_in_folders_and_elsewhere(project: Folder, tmp_path: Path) -> None:
    """Laws 2, 9: a folder comes along, unchecked; what is saved elsewhere stays as it is."""
    catalog, file = project.path / "conf/base/catalog.yml", tmp_path / "written.csv"
    folder = "type: partitions.PartitionedDataset\n  path: data/02_intermediate\n"
    folder += "  dataset: pandas.CSVDataset\n  filename_suffix: .csv"
    entry = "type: pandas.CSVDataset\n  filepath: data/02_intermediate/table.csv"
    catalog.write_text(CATALOG.replace(entry, folder))
    loaded = "    [part] = table.values()\n    table = part()\n    return table * factor"
    registry = project.path / "src/breast_cancer/pipeline_registry.py"
    registry.write_text(REGISTRY.replace("    return table * factor", loaded))
    project.run("git", "commit", "--all", "--quiet", "--message=A folder")
    run(project, "first")
    differences, done = reproduce(project)
    assert (differences, json.loads(done.stdout)["unchecked"]) == ({}, ["table"])

    catalog.write_text(catalog.read_text().replace("data/03_primary/written.csv", str(file)))
    project.run("git", "commit", "--all", "--quiet", "--message=Elsewhere")
    run(project, "first")
    before = file.stat().st_mtime_ns
    _, done = reproduce(project, code=2)
    assert f"has saved 'written' as {file}, outside of the project" in done.stderr
    assert file.stat().st_mtime_ns == before


def test_a_run_on_an_api(project: Folder, api_url: str) -> None:
    """Law 2: what it has loaded comes from there, and nothing is sent."""
    on_api = {"MLRUN_DBPATH": api_url}
    run(project, "first", **on_api)
    run(project, "second", **on_api)
    for which in "first", "second":
        assert reproduce(project, which, **on_api)[0] == {}
    listed = project.run(KEDRO, "mlrun", "runs", "--json", **on_api).stdout
    assert [each["name"] for each in json.loads(listed)] == ["second", "first"]
