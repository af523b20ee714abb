"""Runs that belong together, step by step as a scheduler would start them."""

import shutil
from collections.abc import Callable

from conftest import Folder, give_pipelines
from test_runs import kedro, records

CHAINED = {
    "training": """
import pandas as pd
from kedro.pipeline import Node, Pipeline
from sklearn.dummy import DummyClassifier


def split(rows):
    return pd.DataFrame({"x": range(rows), "y": [0] * rows})


def train(frame):
    return DummyClassifier().fit(frame[["x"]], frame["y"])


def create_pipeline():
    return Pipeline(
        [
            Node(split, "params:rows", "test_set", name="split"),
            Node(train, "test_set", "model", name="train"),
        ]
    )
""",
    "evaluation": """
from kedro.pipeline import Node, Pipeline


def judge(model, frame):
    return model.score(frame[["x"]], frame["y"])


def create_pipeline():
    return Pipeline([Node(judge, ["model", "test_set"], "score", name="judge")])
""",
}
CHAINED_CATALOG = """
test_set: {type: kedro_mlrun.MLRunDataframeDataset}
model: {type: kedro_mlrun.MLRunModel, framework: sklearn}
score: {type: kedro_mlrun.MLRunResult}
"""


def test_a_chain_keeps_training_and_evaluation_together(bake: Callable[..., Folder]) -> None:
    """Step by step as a scheduler would, with a newer model trained in between."""
    project = bake()
    # With the shipped registry, in which Kedro finds only the pipelines that a run names.
    registry = project.path / "src" / "breast_cancer" / "pipeline_registry.py"
    give_pipelines(project, registry.read_text(), "rows: 1", CHAINED_CATALOG)
    shutil.rmtree(registry.parent / "pipelines")
    for name, code in CHAINED.items():
        folder = project.at(registry.parent / "pipelines" / name).path
        (folder / "__init__.py").write_text(code)

    def run(pipeline: str, *arguments: str, **variables: str) -> None:
        kedro(project, "run", f"--pipelines={pipeline}", *arguments, **variables)

    run("training", "--chain-id=morning", "--params=rows=3")
    run("training", "--params=rows=5")
    newer = records(project)[0]
    run("training", "--params=rows=7", MLRUN_CHAIN_ID="evening")
    run("evaluation", "--chain-id", "morning")
    # Without a chain, the newest model of all; a chosen one goes before the chain's.
    uid = newer["metadata"]["uid"]
    run("evaluation", "--chain-id=morning", f"--load-versions=model:{uid}")
    run("evaluation")
    # What no run of a chain makes is loaded as without one.
    run("evaluation", "--chain-id=night")
    night, plain, chosen, evaluated, other, newer, trained = records(project)

    inputs = evaluated["spec"]["inputs"]
    assert inputs.keys() == {"model", "test_set"}
    for key, uri in inputs.items():
        assert uri == trained["status"]["artifact_uris"][key]
    assert evaluated["metadata"]["labels"]["workflow"] == "morning"
    assert other["metadata"]["labels"]["workflow"] == "evening"
    assert "workflow" not in newer["metadata"]["labels"]
    assert chosen["spec"]["inputs"]["model"] == newer["status"]["artifact_uris"]["model"]
    assert plain["spec"]["inputs"] == {key: other["status"]["artifact_uris"][key] for key in inputs}
    assert night["spec"]["inputs"]["model"]

    run("training", "--chain-id=noon", "--nodes=split")
    printed = kedro(project, "run", "--pipelines=evaluation", "--chain-id=noon", ok=False)
    assert "chain noon has no artifact" in printed
    assert "Run the pipeline that saves it with `--chain-id noon`" in printed
    printed = kedro(project, "run", "--chain-id=not one", ok=False)
    assert "The chain id 'not one' can't be a label" in printed
    assert "Traceback" not in printed
