"""A search goes on with the question that it was begun with."""

import copy
import json
from pathlib import Path
from typing import Any

import click
import pytest
from conftest import KEDRO, Folder
from helpers import Store
from searched import CATALOG, REGISTRY, counts

PARAMETERS = "{seed: 3, unused: 1, model: {x: 0.5, arguments: {n: 2, of: [1]}}}"


def write(project: Folder, name: str, text: str) -> None:
    (project.path / Path("conf", "base", name)).write_text(text)


def stop(project: Folder, *options: str) -> None:
    """Begin a search that is killed in its third trial."""
    (project.path / "stop").write_text("train 3")
    project.run(KEDRO, "mlrun", "search", *options, ok=False)


def resume(project: Folder, uid: str, *options: str, ok: bool = True) -> str:
    """Go on with a search, and give what is printed beside its answer."""
    done = project.run(KEDRO, "mlrun", "search", "--resume", uid, *options, ok=ok)
    return " ".join(done.stderr.split())


def recorded(project: Folder, uid: str = "last") -> Any:
    """Give what is told of a run, by default of the newest."""
    return json.loads(project.run(KEDRO, "mlrun", "show", uid, "--json").stdout)


def test_a_search_goes_on_with_the_parameters_that_it_was_begun_with(project: Folder) -> None:
    """Those that aren't searched have to be the same; what is no part of it may change."""
    stop(project)
    write(project, "parameters.yml", "{seed: 4, model: {x: 0.1, arguments: {n: 2, more: 1}}}")
    told = resume(project, "last", ok=False)
    assert "can't go on, for its trials would not compare: " in told
    assert "model.arguments.more is a new parameter" in told
    assert "model.arguments.of is no parameter any more, seed was 3 and is 4. Change" in told
    assert "leave out --metric, --sampler, or --resume" in resume(
        project, "last", "--metric", "other", "--sampler", "random", ok=False
    )
    assert counts(project)["train"] == 3
    write(project, "parameters.yml", PARAMETERS.replace("unused: 1", "unused: 2"))
    resume(project, "last", "--trials", "4")
    assert recorded(project)["search"]["trials"] == 4


def test_a_search_goes_on_with_the_data_that_it_was_begun_with(project: Folder) -> None:
    """A file has to be the same; of what other runs save, it keeps the version."""
    registry = REGISTRY.replace('Node(train, ["training_set"', 'Node(train, ["made"')
    registry = registry.replace('Node(other, "training_set"', 'Node(other, "numbers"')
    make = 'Node(lambda: pd.DataFrame({"x": [1]}), None, "made", name="make")'
    registry = registry.replace('"__default__": Pipeline([', f'"__default__": Pipeline([{make}')
    (project.path / "src" / "breast_cancer" / "pipeline_registry.py").write_text(registry)
    entries = "numbers: {type: pandas.CSVDataset, filepath: numbers.csv}\n"
    entries += "made: {type: kedro_mlrun.MLRunDataframeDataset}\n"
    write(project, "catalog.yml", CATALOG + entries)
    (project.path / "numbers.csv").write_text("x\n1\n")
    project.run(KEDRO, "run")
    made = recorded(project)["artifacts"]["made"]
    stop(project, "--trials", "4")
    uid = recorded(project)["uid"]
    project.run(KEDRO, "run")
    (project.path / "numbers.csv").write_text("x\n2\n")
    assert "not compare: the data of 'numbers' have changed. Change" in resume(
        project, uid, ok=False
    )
    (project.path / "numbers.csv").write_text("x\n1\n")
    resume(project, uid)
    search = recorded(project, uid)
    assert (search["uid"], search["state"], search["inputs"]) == (uid, "completed", {"made": made})


def test_two_commands_cant_go_on_with_one_search(embedded: Store) -> None:
    """Each would replace the other's iterations. The second one read it before the first began."""
    manager = embedded.manager
    uid, project = (context := manager.open_run("search"))._uid, context.project
    manager.close_run(aborted="It was killed.")
    record = manager.store.read_run(uid, project)
    manager.resumes = copy.deepcopy(record)
    manager.open_run("search")
    manager.resumes = record
    with pytest.raises(click.UsageError, match="another command .* and it is running"):
        manager.open_run("search")
