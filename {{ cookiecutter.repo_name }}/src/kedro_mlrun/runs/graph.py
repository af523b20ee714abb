"""A pipeline's graph as data. It is drawn when somebody looks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kedro.pipeline import Pipeline
    from kedro.pipeline.node import Node


def graph(pipeline: Pipeline) -> dict[str, Any]:
    """Give the nodes of a pipeline, in an order in which they can run, and what connects them."""
    nodes = [_node(node) for node in pipeline.nodes]
    # What follows an @ is Kedro's transcoding: the same data by another name.
    edges = [
        {"node": node["name"], "dataset": name, "direction": direction}
        for node in nodes
        for direction in ("input", "output")
        for name in dict.fromkeys(name.partition("@")[0] for name in node[f"{direction}s"])
    ]
    return {
        "nodes": nodes,
        "datasets": list(dict.fromkeys(edge["dataset"] for edge in edges)),
        "edges": edges,
        "namespaces": sorted({node["namespace"] for node in nodes} - {""}),
        "tags": sorted({tag for node in nodes for tag in node["tags"]}),
    }


def _node(node: Node) -> dict[str, Any]:
    function = getattr(node.func, "__qualname__", type(node.func).__name__)
    return {
        "name": node.name,
        "function": f"{getattr(node.func, '__module__', '')}.{function}",
        "namespace": node.namespace or "",
        "tags": sorted(node.tags),
        "inputs": list(node.inputs),
        "outputs": list(node.outputs),
    }
