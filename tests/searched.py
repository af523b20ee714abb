"""Pipelines to search the best parameters of; what each node has done is counted in a file."""

from collections import Counter

from conftest import Folder

REGISTRY = """
import os, signal, sys, time
from pathlib import Path

import pandas as pd
from kedro.pipeline import Node, Pipeline
from pydantic import BaseModel

# The processes that a search starts are given pipes, which one that the tests fork isn't.
sys.executable = os.environ.get("REAL_PYTHON", sys.executable)


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
    with Path("processes").open("a") as file:
        file.write(f"{os.getpid()} ")
    for _ in range(600 if Path("meet").exists() and count("meet") > 1 else 0):
        if len(set(Path("processes").read_text().split())) > 2:
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
    if Path("broken").exists():
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


def counts(project: Folder) -> Counter[str]:
    return Counter((project.path / "counts").read_text().split())
