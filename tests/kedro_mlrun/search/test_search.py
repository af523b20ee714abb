"""`kedro mlrun search`: one run of many trials, in processes of their own."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from conftest import KEDRO, PYTHON, Folder

# What each node has done is counted in a file.
REGISTRY = """
import os, signal
from pathlib import Path

import pandas as pd
from kedro.pipeline import Node, Pipeline
from pydantic import BaseModel


class Model(BaseModel):
    x: float
    kind: str = "plain"
    arguments: dict = {}


def count(what):
    with Path("counts").open("a") as file:
        file.write(f"{what}\\n")
    done = Path("counts").read_text().split().count(what)
    if Path("stop").exists() and Path("stop").read_text() == f"{what} {done}":
        Path("stop").unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    if Path("interrupt").exists() and Path("interrupt").read_text() == f"{what} {done}":
        Path("interrupt").unlink()
        signal.raise_signal(signal.SIGINT)


def split(seed):
    count("split")
    return pd.DataFrame({"x": range(seed)}), pd.DataFrame({"x": [seed]})


def other(data):
    count("other")
    return {"other": len(data)}


def train(data, model: Model):
    count("train")
    if model.x > 0.9:
        raise ValueError("x is too large")
    data["x"] = 0  # what a trial changes isn't there for the next
    with Path("processes").open("a") as file:
        file.write(f"{os.getpid()} ")
    return {"x": model.x, "kind": model.kind, "arguments": model.arguments, "sum": int(data["x"].sum())}


def score(trained, data):
    count("score")
    assert data["x"].sum() == 3
    bonus = {"plain": 0.0, "wide": trained["arguments"].get("width", 0) / 10}[trained["kind"]]
    return {"validation": {"score": bonus - (trained["x"] - 0.3) ** 2}}


def judge(trained, test_set):
    count("judge")
    return {"test": {"score": trained["x"] * len(test_set)}}


def broken(trained):
    raise RuntimeError("broken")


def register_pipelines():
    return {
        "training": Pipeline([
            Node(split, "params:seed", ["training_set", "test_set"], name="split"),
            Node(other, "training_set", "other_result", name="other"),
            Node(train, ["training_set", "params:model"], "trained", name="train"),
            Node(score, ["trained", "training_set"], "validation", name="score"),
        ]),
        "evaluation": Pipeline([Node(judge, ["trained", "test_set"], "test", name="judge")]),
        "broken": Pipeline([Node(broken, "trained", "never", name="break")]),
        "__default__": Pipeline([]),
    }
"""
CATALOG = """
training_set: {type: kedro_mlrun.MLRunDataframeDataset}
test_set: {type: kedro_mlrun.MLRunDataframeDataset}
trained: {type: kedro_mlrun.MLRunAbstractDataset}
other_result: {type: kedro_mlrun.MLRunResult, flatten: true}
validation: {type: kedro_mlrun.MLRunResult, flatten: true}
test: {type: kedro_mlrun.MLRunResult, flatten: true}
"""
SEARCH = """
pipeline: training
evaluate: evaluation
metric: validation.score
parameters: {model.x: "float(0, 0.8)"}
trials: 6
"""
SDK = """
import json, sys
from kedro_mlrun import *
project = MLRunContextManager().project.metadata.name
import mlrun
db = mlrun.get_run_db()
runs = db.list_runs(project=project, iter=True, start_time_from="2000-01-01T00:00:00+00:00")
runs = [db.read_run(r["metadata"]["uid"], project, iter=r["metadata"]["iteration"]) for r in runs]
print(json.dumps(sorted(runs, key=lambda run: run["metadata"]["iteration"]), default=str))
"""


@pytest.fixture
def project(bake: Callable[..., Folder]) -> Folder:
    """A project whose pipelines are those of this file."""
    project = bake()
    (project.path / "src" / "breast_cancer" / "pipeline_registry.py").write_text(REGISTRY)
    conf = project.path / "conf" / "base"
    for file in conf.glob("parameters*"):
        file.unlink()
    (conf / "parameters.yml").write_text("seed: 3\nmodel: {x: 0.5, arguments: {depth: 2}}\n")
    (conf / "catalog.yml").write_text(CATALOG)
    (conf / "search.yml").write_text(SEARCH)
    return project


def search(project: Folder, *options: str, ok: bool = True, fork: bool = True) -> Any:
    """Run a search, and give what it answers as JSON, or, where it fails, what it prints."""
    done = project.run(KEDRO, "mlrun", "search", "--json", *options, ok=ok, fork=fork)
    return json.loads(done.stdout) if done.returncode == 0 else done.stderr


def recorded(project: Folder) -> list[dict[str, Any]]:
    """Give the records of a search as MLRun's SDK reads them: the search's own, its iterations."""
    done = project.run(PYTHON, "-c", SDK, PYTHONPATH="src")
    return json.loads(done.stdout.splitlines()[-1])


def counts(project: Folder) -> Counter[str]:
    return Counter((project.path / "counts").read_text().split())


def test_a_search_is_one_run_and_each_trial_an_iteration(project: Folder) -> None:
    """What the parameters don't reach runs once, and evaluation judges the best, once.

    The best trial's model is the one that is saved, and the run's parameters are its.
    """
    answer = search(project)
    assert counts(project) == {"split": 1, "other": 1, "train": 6, "score": 6, "judge": 1}
    run, *trials = recorded(project)
    assert [trial["metadata"]["iteration"] for trial in trials] == [1, 2, 3, 4, 5, 6]
    values = [trial["status"]["results"]["validation.score"] for trial in trials]
    best = trials[values.index(max(values))]
    x = best["spec"]["parameters"]["model.x"]
    number = best["metadata"]["iteration"]
    assert answer["uid"] == run["metadata"]["uid"]
    assert (answer["best_iteration"], answer["parameters"]) == (number, {"model.x": x})

    assert (run["metadata"]["name"], run["status"]["state"]) == ("search", "completed")
    assert run["status"]["results"] == {
        "validation.score": max(values),
        "other": 3,
        "best_iteration": number,
        "test.score": x,
    }
    parameters = run["spec"]["parameters"]
    assert (parameters["model.x"], parameters["model.arguments.depth"], parameters["seed"]) == (
        x,
        2,
        3,
    )
    header, *rows = run["status"]["iterations"]
    assert header == ["state", "iter", "param.model.x", "output.validation.score"]
    assert [row[1] for row in rows] == [1, 2, 3, 4, 5, 6]
    saved = Counter(item["metadata"]["key"] for item in run["status"]["artifacts"])
    own = {"training_set", "test_set", "trained", "iteration_results", "parallel_coordinates"}
    own |= {"optimization_history", "param_importances"}
    assert {key for key in saved if not key.startswith("kedro.")} == own
    assert set(saved.values()) == {1}
    code = "from kedro_mlrun import *; print(MLRunAbstractDataset('trained').load()['x'])"
    assert float(project.run(PYTHON, "-c", code, PYTHONPATH="src").stdout.split()[-1]) == x


def test_a_killed_search_goes_on_and_repeats_nothing(project: Folder) -> None:
    """20 trials, killed in the ninth: 20 iterations, none twice, and what was saved isn't redone."""
    (project.path / "stop").write_text("train 9")
    search(project, "--trials", "20", ok=False)
    assert counts(project)["score"] == 8
    answer = search(project, "--resume", "last")
    run, *trials = recorded(project)
    assert (answer["trials"], run["status"]["state"]) == (20, "completed")
    assert [trial["metadata"]["iteration"] for trial in trials] == [*range(1, 21)]
    tried = [trial["spec"]["parameters"]["model.x"] for trial in trials]
    assert len(set(tried)) == 20
    # The one that was killed is trained anew, and so may be the best of those before.
    assert counts(project)["split"] == counts(project)["judge"] == 1
    assert 21 <= counts(project)["train"] <= 22
    assert len(run["status"]["iterations"]) == 21

    refused = search(project, "--resume", "last", ok=False)
    assert "has completed, so it can't go on" in refused


def test_what_ctrl_c_leaves_is_there(project: Folder) -> None:
    """The trials that were done are recorded, with the best of them."""
    (project.path / "interrupt").write_text("train 4")
    search(project, ok=False)
    run, *trials = recorded(project)
    assert (run["status"]["state"], run["status"]["error"]) == (
        "aborted",
        "It was stopped by Ctrl-C.",
    )
    values = [trial["status"]["results"]["validation.score"] for trial in trials]
    assert len(values) == 3
    assert run["status"]["results"]["best_iteration"] == values.index(max(values)) + 1
    assert len(run["status"]["iterations"]) == 4
    search(project, "--resume", run["metadata"]["uid"][:8])
    assert len(recorded(project)) == 7


def test_trials_in_processes_of_their_own_are_recorded_once_each(project: Folder) -> None:
    """They are at work at once, and each has what it would have had alone."""
    answer = search(project, "--jobs", "2", "--trials", "8", fork=False)
    run, *trials = recorded(project)
    assert [trial["metadata"]["iteration"] for trial in trials] == [*range(1, 9)]
    for trial in trials:
        x = trial["spec"]["parameters"]["model.x"]
        score = trial["status"]["results"]["validation.score"]
        assert score == pytest.approx(-((x - 0.3) ** 2))
    assert run["status"]["results"]["test.score"] == answer["parameters"]["model.x"]
    assert len(set((project.path / "processes").read_text().split())) == 3
    assert counts(project)["split"] == 1
