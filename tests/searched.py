"""Pipelines to search the best parameters of; what each node has done is counted in a file."""

import json
from collections import Counter
from typing import Any

from conftest import KEDRO, PYTHON, Folder

REGISTRY = """
import os, signal, sys, time
from pathlib import Path

import pandas as pd
from kedro.pipeline import Node, Pipeline
from pydantic import BaseModel

# The processes that a search starts are given pipes, which one that the tests fork isn't.
sys.executable = os.environ.get("REAL_PYTHON") or sys.executable

# Jobs have a folder of their own.
HERE = Path(os.environ.get("COUNTS", "."))


class Model(BaseModel):
    x: float
    kind: str = "plain"
    arguments: dict = {}


def count(what):
    with (HERE / "counts").open("a") as file:
        file.write(f"{what}\\n")
    done = (HERE / "counts").read_text().split().count(what)
    if (HERE / "stop").exists() and (HERE / "stop").read_text() == f"{what} {done}":
        (HERE / "stop").unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    if (HERE / "parent").exists() and (HERE / "parent").read_text() == f"{what} {done}":
        (HERE / "parent").unlink()
        # That has run the first trial itself.
        os.kill(int((HERE / "processes").read_text().split()[0]), signal.SIGKILL)
        time.sleep(60)
    if (HERE / "interrupt").exists() and (HERE / "interrupt").read_text() == f"{what} {done}":
        (HERE / "interrupt").unlink()
        signal.raise_signal(signal.SIGINT)
    return done


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
    assert type(model.arguments.get("n", 0)) is int
    data["x"] = 0  # what a trial changes isn't there for the next
    with (HERE / "processes").open("a") as file:
        file.write(f"{os.getpid()} ")
    for _ in range(600 if (HERE / "meet").exists() and count("meet") > 1 else 0):
        if len(set((HERE / "processes").read_text().split())) > 2:
            break
        time.sleep(0.05)
    return [{"x": model.x, "kind": model.kind, "arguments": model.arguments}]


def score(trained, data):
    count("score")
    assert data["x"].sum() in {3, 6}
    bonus = {"plain": 0.0, "wide": trained["arguments"].get("width", 0) / 10}[trained["kind"]]
    return {"score": {"validation": {"score": bonus - (trained["x"] - 0.3) ** 2}}}


def judge(trained, test_set):
    count("judge")
    if (HERE / "broken").exists():
        raise RuntimeError("broken")
    return {"test": {"score": trained["x"] * len(test_set)}}


def register_pipelines():
    return {
        "training": Pipeline([
            Node(split, "params:seed", ["training_set", "test_set"], name="split"),
            Node(other, "training_set", "other_result", name="other"),
            Node(train, ["training_set", "params:model"], ["trained"], name="train"),
            Node(score, ["trained", "training_set"], {"score": "validation"}, name="score"),
        ]),
        "evaluation": Pipeline([Node(judge, ["trained", "test_set"], "test", name="judge")]),
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
import json
from datetime import UTC, datetime
from kedro_mlrun import *
project = MLRunContextManager().project.metadata.name
import mlrun
db = mlrun.get_run_db()
runs = db.list_runs(project=project, iter=True, start_time_from=datetime(2000, 1, 1, tzinfo=UTC))
runs = [db.read_run(r["metadata"]["uid"], project, iter=r["metadata"]["iteration"]) for r in runs]
print(json.dumps(sorted(runs, key=lambda run: run["metadata"]["iteration"]), default=str))
"""


def search(project: Folder, *options: str, ok: bool = True, fork: bool = True) -> Any:
    """Run a search, and give what it answers as JSON, or, where it fails, what it prints."""
    command = (KEDRO, "mlrun", "search", "--json", *options)
    real = project.variables.get("REAL_PYTHON", str(PYTHON))
    done = project.run(*command, ok=ok, fork=fork, REAL_PYTHON=real)
    return json.loads(done.stdout) if done.returncode == 0 else done.stderr


def recorded(project: Folder) -> list[dict[str, Any]]:
    """Give the records of a search as MLRun's SDK reads them: the search's own, its iterations."""
    done = project.run(PYTHON, "-c", SDK, PYTHONPATH="src")
    return json.loads(done.stdout.splitlines()[-1])


def counts(project: Folder) -> Counter[str]:
    return Counter((project.path / "counts").read_text().split())
