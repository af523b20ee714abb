"""The graph of a pipeline as one HTML file."""

import re
from typing import Any
from xml.etree import ElementTree

import pytest
from helpers import project_module
from kedro.pipeline import Pipeline, node

from kedro_mlrun.runs import graph

registry = project_module("pipeline_registry")


def take(*inputs: Any) -> Any:
    return inputs


def svg_of(page: str) -> ElementTree.Element:
    return ElementTree.fromstring(re.search(r"<svg.*</svg>", page, re.DOTALL)[0])  # type: ignore[index]


def rects_of(svg: ElementTree.Element) -> list[tuple[float, float, float, float]]:
    return [
        tuple(float(rect.get(name, "")) for name in ("x", "y", "width", "height"))  # type: ignore[misc]
        for rect in svg.iter("rect")
        if rect.get("class") == "box"
    ]


def wide(count: int) -> Pipeline:
    names = [f"set_{number}" for number in range(count)]
    nodes = [node(take, ["raw", f"params:{name}"], name, name=f"make_{name}") for name in names]
    return Pipeline([*nodes, node(take, names, "all", name="join")])


def long(count: int) -> Pipeline:
    """Steps of which each takes two earlier ones, so that edges are long."""
    return Pipeline(
        node(take, [f"data_{n}", f"data_{n // 3}_x"] if n else ["data_0"],
             [f"data_{n + 1}", f"data_{n}_x"], name=f"step_{n}")
        for n in range(count)
    )  # fmt: skip


@pytest.mark.parametrize(
    "pipeline", [*registry.register_pipelines().values(), wide(40), long(40), Pipeline([])]
)
def test_everything_is_there_and_nothing_overlaps(pipeline: Pipeline) -> None:
    page = graph.graph_html(pipeline, "the title")
    svg = svg_of(page)
    titles = "\n".join(title.text or "" for title in svg.iter("title")).splitlines()
    datasets = {name for name in pipeline.datasets() if not name.startswith("params:")}
    assert {one.name for one in pipeline.nodes} | datasets <= set(titles)
    links = [
        (one.name, name)
        for one in pipeline.nodes
        for name in {*one.inputs, *one.outputs}
        if not name.startswith("params:")
    ]
    assert len([p for p in svg.iter("path") if p.get("marker-end")]) == len(links)
    rects = rects_of(svg)
    width, height = float(svg.get("width", 0)), float(svg.get("height", 0))
    for number, (x, y, w, h) in enumerate(rects):
        assert x >= 0 and y >= 0 and x + w <= width + 1 and y + h <= height + 1
        for x2, y2, w2, h2 in rects[:number]:
            assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y


def test_the_file_needs_nothing_else() -> None:
    page = graph.graph_html(registry.register_pipelines()["__default__"], "title")
    assert not re.search(r"<script|src=|href=|@import|url\((?!#)|https?:", page)


def test_names_are_text_and_not_markup() -> None:
    odd = Pipeline([node(take, "<i>&\"'", '<script>alert("x")</script>')])
    page = graph.graph_html(odd, "<b>title</b>")
    assert "<script" not in page and "<i>" not in page and "<b>" not in page
    assert len(rects_of(svg_of(page))) == 3


def test_namespaces_and_parameters_are_visible() -> None:
    page = graph.graph_html(registry.register_pipelines()["training"], "title")
    svg = svg_of(page)
    texts = [text.text for text in svg.iter("text")]
    assert texts.count("random_forest") == 3, "two nodes and the model"
    assert "params: split.target, model" in texts
    assert "params:split" not in {title.text for title in svg.iter("title")}, "no box of its own"
    assert page.count('class="chip space') == 2


def test_transcoded_names_are_one_dataset() -> None:
    both = Pipeline([node(take, "a", "b@one", name="x"), node(take, "b@two", "c", name="y")])
    assert len(rects_of(svg_of(graph.graph_html(both, "title")))) == 5


def test_few_edges_cross_where_none_has_to() -> None:
    pairs = [(3, 0), (1, 2), (0, 1), (2, 3)]
    nodes = [node(take, f"in_{a}", f"mid_{b}", name=f"first_{a}") for a, b in pairs]
    nodes += [node(take, f"mid_{b}", f"out_{a}", name=f"second_{b}") for a, b in pairs]
    layers = graph._layers(*graph._boxes(Pipeline(nodes)))
    graph._arrange(layers)
    assert graph._crossings(layers) == 0
