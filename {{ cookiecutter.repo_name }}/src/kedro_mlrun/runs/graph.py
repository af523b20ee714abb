"""A pipeline's graph as data. It is drawn when somebody looks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kedro.io.core import is_parameter

if TYPE_CHECKING:
    from kedro.pipeline import Pipeline
    from kedro.pipeline.node import Node


def graph(pipeline: Pipeline) -> dict[str, Any]:
    """Give the nodes of a pipeline, in an order in which they can run, and what connects them."""
    nodes = [_node(node) for node in pipeline.nodes]
    namespaces = {name for node in nodes for name in _with_parents(node["namespace"])}
    edges = [
        {"node": node["name"], "dataset": name, "direction": direction}
        for node in nodes
        for direction in ("input", "output")
        for name in dict.fromkeys(map(_stem, node[f"{direction}s"]))
    ]
    names = dict.fromkeys(edge["dataset"] for edge in edges)
    return {
        "nodes": nodes,
        "datasets": [
            {
                "name": name,
                "namespace": next(
                    (space for space in _with_parents(name)[1:] if space in namespaces), ""
                ),
                "is_parameter": is_parameter(name),
            }
            for name in names
        ],
        "edges": edges,
        "namespaces": sorted(namespaces),
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


def _stem(name: str) -> str:
    # What follows an @ is Kedro's transcoding: the same data by another name.
    return name.partition("@")[0]


def _with_parents(name: str) -> list[str]:
    """Give a name with dots, and each that it lies in, the innermost first."""
    parts = name.removeprefix("params:").split(".") if name else []
    return [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
