"""The graph of a pipeline as data."""

import json
from typing import Any

import pytest
from helpers import project_module
from kedro.pipeline import Pipeline, node

from kedro_mlrun.runs.provenance import graph

registry = project_module("pipeline_registry")


def take(*inputs: Any) -> Any:
    return inputs


def wide(count: int) -> Pipeline:
    names = [f"set_{number}" for number in range(count)]
    nodes = [node(take, ["raw", f"params:{name}"], name, name=f"make_{name}") for name in names]
    return Pipeline([*nodes, node(take, names, "all", name="join")])


@pytest.mark.parametrize(
    "pipeline", [*registry.register_pipelines().values(), wide(40), Pipeline([])]
)
def test_everything_is_there_once(pipeline: Pipeline) -> None:
    found = graph(pipeline)
    assert [one["name"] for one in found["nodes"]] == [one.name for one in pipeline.nodes]
    assert sorted(found["datasets"]) == sorted(pipeline.datasets())
    edges = [(edge["node"], edge["dataset"], edge["direction"]) for edge in found["edges"]]
    assert sorted(edges) == sorted(
        (one.name, name, direction)
        for one in pipeline.nodes
        for direction, of_node in (("input", one.inputs), ("output", one.outputs))
        for name in of_node
    )
    assert json.loads(json.dumps(found)) == found


def test_its_size_grows_with_the_pipeline_and_not_with_its_square() -> None:
    small, large = (len(json.dumps(graph(wide(count)))) for count in (100, 1000))
    assert large < 11 * small


def test_namespaces_and_tags() -> None:
    one = node(take, ["a", "params:p"], "b", name="x", tags=["t"])
    inner = Pipeline([one], namespace="one.two", outputs={"b"})
    found = graph(inner + Pipeline([node(take, "b", "c", name="y", tags=["s"])]))
    assert found["namespaces"] == ["one.two"]
    assert found["tags"] == ["s", "t"]
    assert found["nodes"][0] == {
        "name": "one.two.x",
        "function": f"{__name__}.take",
        "namespace": "one.two",
        "tags": ["t"],
        "inputs": ["one.two.a", "params:one.two.p"],
        "outputs": ["b"],
    }


def test_transcoded_names_are_one_dataset() -> None:
    both = Pipeline([node(take, "a", "b@one", name="x"), node(take, "b@two", "c", name="y")])
    assert graph(both)["datasets"] == ["a", "b", "c"]
