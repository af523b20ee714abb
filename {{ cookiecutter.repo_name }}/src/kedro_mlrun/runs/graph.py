"""A pipeline's graph as one HTML file, for a person to open."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kedro.pipeline import Pipeline
    from kedro.pipeline.node import Node

LONGEST_LINE = 34
"""Characters of a name that a box shows; the rest is in its tooltip."""

_WIDEST = 1500.0  # pixels; a wider graph is drawn from left to right
_COLOURS = 8
_CHARACTER, _LINE, _PADDING = 7.3, 17.0, 10.0
_GAP, _SWEEPS, _STRAIGHTNESS = 18.0, 12, 6

_STYLE = """
:root { color-scheme: light dark; --page: #fff; --ink: #1d2733; --soft: #5d6b7a; --edge: #9aa7b4;
  --node: #eef3f9; --data: #fff; --accent: #d9480f; --light: 45%; }
@media (prefers-color-scheme: dark) { :root { --page: #14181d; --ink: #e6ebf0; --soft: #9fadba;
  --edge: #5f6d7a; --node: #232c36; --data: #14181d; --accent: #ff9152; --light: 68%; } }
body { margin: 24px; background: var(--page); color: var(--ink);
  font: 13px/1.5 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 20px; margin: 0 0 4px; }
p { margin: 0 0 16px; color: var(--soft); }
.chip { display: inline-block; margin-right: 14px; }
.chip::before { content: ""; display: inline-block; width: 14px; height: 10px; margin-right: 6px;
  border: 1.5px solid var(--edge); }
.chip.node::before { background: var(--node); border-radius: 2px; border-color: var(--soft); }
.chip.data::before { border-radius: 6px; }
.chip.free::before { border-radius: 6px; border-style: dashed; }
.chip.space::before { background: var(--hue); border-color: var(--hue); border-radius: 2px; }
svg { display: block; overflow: visible; }
text { fill: var(--ink); font-size: 13px; }
.node text.name { font-weight: 600; }
text.small { fill: var(--soft); font-size: 11px; }
.spaced text.space { fill: var(--hue); }
.node rect.box { fill: var(--node); stroke: var(--soft); }
.data rect.box { fill: var(--data); stroke: var(--edge); stroke-width: 1.5; }
.data.spaced rect.box { stroke: var(--hue); }
.data.free rect.box { stroke-dasharray: 5 3; }
.stripe { fill: var(--hue); }
path { fill: none; stroke: var(--edge); stroke-width: 1.5; }
marker path { fill: var(--edge); stroke: none; }
g.box:hover rect.box { stroke: var(--accent); stroke-width: 2; }
"""


@dataclass(eq=False)
class _Vertex:
    """A node, a dataset, or a place that a long edge goes through."""

    layer: int
    kind: str = ""
    name: str = ""
    space: str = ""
    notes: list[str] = field(default_factory=list)
    tooltip: str = ""
    free: bool = False
    number: int = -1
    before: list[_Vertex] = field(default_factory=list)
    after: list[_Vertex] = field(default_factory=list)
    order: float = 0.0
    across: float = 0.0
    """Where its middle is, across the direction of the flow."""

    @property
    def lines(self) -> list[str]:
        return [line for line in (self.space, self.name, *self.notes) if line]

    @property
    def width(self) -> float:
        longest = max((len(_cut(line)) for line in self.lines), default=0)
        return max(70.0, longest * _CHARACTER + 2 * _PADDING + 6) if self.kind else 0.0

    @property
    def height(self) -> float:
        return _LINE * len(self.lines) + _PADDING if self.kind else 0.0


def graph_html(pipeline: Pipeline, title: str) -> str:
    """Draw a pipeline's nodes and datasets.

    Args:
        pipeline: the pipeline.
        title: what stands above it.

    Returns:
        One HTML file that needs no other, no script and no network. A parameter is named in the box
        of the node that takes it. The flow goes downwards, or to the right where the pipeline is
        wide.

    Example:
        >>> from kedro.pipeline import Pipeline, node
        >>> graph_html(Pipeline([node(len, "text", "length")]), "a & b").count("a &amp; b")
        2
    """
    boxes, edges = _boxes(pipeline)
    layers = _layers(boxes, edges)
    _arrange(layers)
    down = max((sum(v.width + _GAP for v in layer) for layer in layers), default=0.0) <= _WIDEST
    _place(layers, down)
    starts, depth = _depths(layers, down)
    _from_zero(boxes, down)
    breadth = max((v.across + _extent(v, down) / 2 for layer in layers for v in layer), default=0.0)
    width, height = (breadth, depth) if down else (depth, breadth)
    colours = {
        space: number % _COLOURS
        for number, space in enumerate(dict.fromkeys(v.space for v in boxes if v.space))
    }
    drawn = [_draw_edge(source, target, starts, down) for source, target in edges]
    drawn += [_draw_box(box, starts, down, colours) for box in boxes]
    hover = "".join(
        f"svg:has(#v{box.number}:hover) .v{box.number}{{stroke:var(--accent);stroke-width:2.5}}"
        for box in boxes
    )
    hues = "".join(
        f".hue{number}{{--hue:hsl({210 + number * 360 * 3 // _COLOURS} 55% var(--light))}}"
        for number in range(_COLOURS)
    )
    legend = [("node", "node"), ("data", "dataset"), ("free", "dataset that no node makes")]
    chips = "".join(f'<span class="chip {kind}">{text}</span>' for kind, text in legend)
    chips += "".join(
        f'<span class="chip space hue{colour}">{escape(space)}</span>'
        for space, colour in colours.items()
    )
    count = sum(box.kind == "node" for box in boxes)
    summary = f"{_counted(count, 'node')}, {_counted(len(boxes) - count, 'dataset')}"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_STYLE}{hues}
{hover}</style>
</head>
<body>
<h1>{escape(title)}</h1>
<p>{summary} &nbsp; {chips}</p>
<svg width="{width:.0f}" height="{height:.0f}" role="img" aria-label="The pipeline's graph">
<defs><marker id="arrow" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7"
orient="auto"><path d="M0 1 9 5 0 9z"/></marker></defs>
{chr(10).join(drawn)}
</svg>
</body>
</html>
"""


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _cut(text: str, longest: int = LONGEST_LINE) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _in_order(name: str) -> list[tuple[int, str]]:
    """Give a key that sorts `step_2` before `step_10`."""
    return [(int(part) if part.isdecimal() else 0, part) for part in re.split(r"(\d+)", name)]


def _is_parameter(name: str) -> bool:
    return name == "parameters" or name.startswith("params:")


def _boxes(pipeline: Pipeline) -> tuple[list[_Vertex], list[tuple[_Vertex, _Vertex]]]:
    """Give a vertex for each node and dataset, with its layer, and the edges."""
    depth = {node: 2 * n + 1 for n, group in enumerate(pipeline.grouped_nodes) for node in group}
    spaces = {node.namespace for node in depth if node.namespace}
    made_at: dict[str, int] = {}
    used_at: dict[str, int] = {}
    links: list[tuple[Node, str, bool]] = []
    for node, layer in depth.items():
        # What follows an @ is Kedro's transcoding: the same data by another name.
        for name in dict.fromkeys(name.partition("@")[0] for name in node.outputs):
            made_at[name] = layer + 1
            links.append((node, name, True))
        for name in dict.fromkeys(name.partition("@")[0] for name in node.inputs):
            if not _is_parameter(name):
                used_at[name] = min(layer - 1, used_at.get(name, layer))
                links.append((node, name, False))
    nodes = {node: _node_box(node, layer) for node, layer in depth.items()}
    data = {
        name: _data_box(name, layer, name not in made_at, spaces)
        for name, layer in {**used_at, **made_at}.items()
    }
    boxes = [*nodes.values(), *data.values()]
    boxes.sort(key=lambda box: _in_order(box.tooltip))
    for number, box in enumerate(boxes):
        box.number = number
    edges = [
        (nodes[node], data[name]) if output else (data[name], nodes[node])
        for node, name, output in links
    ]
    return boxes, edges


def _node_box(node: Node, layer: int) -> _Vertex:
    space = node.namespace or ""
    parameters = [name.removeprefix("params:") for name in node.inputs if _is_parameter(name)]
    shown = [name.removeprefix(f"{space}.") for name in parameters]
    function = getattr(node.func, "__qualname__", type(node.func).__name__)
    tooltip = [
        node.name,
        f"function: {getattr(node.func, '__module__', '')}.{function}",
        *(f"{what}: {', '.join(names)}" for what, names in _lists(node, parameters) if names),
    ]
    return _Vertex(
        layer=layer,
        kind="node",
        name=node.name.removeprefix(f"{space}.") if space else node.name,
        space=space,
        notes=[f"params: {', '.join(dict.fromkeys(shown))}"] if shown else [],
        tooltip="\n".join(tooltip),
    )


def _lists(node: Node, parameters: list[str]) -> list[tuple[str, Sequence[str]]]:
    inputs = [name for name in node.inputs if not _is_parameter(name)]
    return [
        ("inputs", inputs),
        ("parameters", parameters),
        ("outputs", node.outputs),
        ("tags", sorted(node.tags)),
    ]


def _data_box(name: str, layer: int, free: bool, spaces: set[str]) -> _Vertex:
    owners = [space for space in spaces if name.startswith(f"{space}.")]
    space = max(owners, key=len, default="")
    short = name.removeprefix(f"{space}.") if space else name
    return _Vertex(layer=layer, kind="data", name=short, space=space, tooltip=name, free=free)


def _layers(boxes: list[_Vertex], edges: list[tuple[_Vertex, _Vertex]]) -> list[list[_Vertex]]:
    """Sort vertices into layers, and lead each long edge through those that it crosses."""
    layers: dict[int, list[_Vertex]] = defaultdict(list)
    for box in boxes:
        layers[box.layer].append(box)
    for source, target in edges:
        last = source
        for layer in range(source.layer + 1, target.layer):
            bend = _Vertex(layer=layer, number=target.number)
            layers[layer].append(bend)
            last.after.append(bend)
            bend.before.append(last)
            last = bend
        last.after.append(target)
        target.before.append(last)
    return [layers[layer] for layer in sorted(layers)]


def _arrange(layers: list[list[_Vertex]]) -> None:
    """Order each layer so that few edges cross: by the mean of the neighbours' places, in turns."""
    for layer in layers:
        for order, vertex in enumerate(layer):
            vertex.order = order
    best = _crossings(layers)
    kept = [list(layer) for layer in layers]
    for sweep in range(_SWEEPS):
        downwards = sweep % 2 == 0
        for layer in layers if downwards else reversed(layers):
            for vertex in layer:
                near = vertex.before if downwards else vertex.after
                if near:
                    vertex.order = sum(other.order for other in near) / len(near)
            layer.sort(key=lambda vertex: vertex.order)
            for order, vertex in enumerate(layer):
                vertex.order = order
        if (crossings := _crossings(layers)) < best:
            best, kept = crossings, [list(layer) for layer in layers]
    for layer, order_kept in zip(layers, kept, strict=True):
        layer[:] = order_kept


def _crossings(layers: list[list[_Vertex]]) -> int:
    count = 0
    for layer in layers:
        ends = [sorted(other.order for other in vertex.after) for vertex in layer]
        passed: list[float] = []
        for targets in ends:
            count += sum(end > target for target in targets for end in passed)
            passed += targets
    return count


def _extent(vertex: _Vertex, down: bool) -> float:
    return vertex.width if down else vertex.height


def _place(layers: list[list[_Vertex]], down: bool) -> None:
    """Put vertices near the middle of their neighbours, in their order and without overlaps."""
    for layer in layers:
        end = 0.0
        for vertex in layer:
            vertex.across = end + _extent(vertex, down) / 2
            end += _extent(vertex, down) + _GAP
    for sweep in range(2 * _SWEEPS):
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            wished = []
            for vertex in layer:
                # Along a long edge bends draw each other most, so that it is straight.
                near = [
                    (1 if vertex.kind or other.kind else _STRAIGHTNESS, other.across)
                    for other in vertex.before + vertex.after
                ]
                weight = sum(weight for weight, _ in near)
                wished.append(sum(w * at for w, at in near) / weight if near else vertex.across)
            _spread(layer, wished, down)


def _spread(layer: list[_Vertex], wished: list[float], down: bool) -> None:
    """Place vertices as near to where they should be as their order and sizes allow.

    That is an isotonic regression: neighbours that would overlap are put together to one block.
    """
    offsets = [0.0]
    for left, right in pairwise(layer):
        offsets.append(offsets[-1] + (_extent(left, down) + _extent(right, down)) / 2 + _GAP)
    blocks: list[tuple[float, int]] = []
    for wish, offset in zip(wished, offsets, strict=True):
        blocks.append((wish - offset, 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (one, some), (other, more) = blocks[-2:]
            blocks[-2:] = [((one * some + other * more) / (some + more), some + more)]
    places = [place for place, count in blocks for _ in range(count)]
    for vertex, place, offset in zip(layer, places, offsets, strict=True):
        vertex.across = place + offset


def _depths(
    layers: list[list[_Vertex]], down: bool
) -> tuple[dict[int, tuple[float, float]], float]:
    """Give where each layer begins and ends, and how deep the graph is."""
    starts: dict[int, tuple[float, float]] = {}
    end = 0.0
    for layer in layers:
        # Where many edges run, they need room to be told from each other.
        room = 34.0 + min(2.0 * len(layer), 40.0) if down else 44.0 + min(3.0 * len(layer), 120.0)
        begin = end + room if starts else 0.0
        end = begin + max(_extent(vertex, not down) for vertex in layer)
        starts[layer[0].layer] = (begin, end)
    return starts, end


def _from_zero(boxes: list[_Vertex], down: bool) -> None:
    every: dict[int, _Vertex] = {}
    waiting = list(boxes)
    while waiting:
        vertex = waiting.pop()
        if id(vertex) not in every:
            every[id(vertex)] = vertex
            waiting += vertex.after
    least = min((v.across - _extent(v, down) / 2 for v in every.values()), default=0.0)
    for vertex in every.values():
        vertex.across -= least - 2.0


def _sides(
    vertex: _Vertex, starts: dict[int, tuple[float, float]], down: bool
) -> tuple[float, float]:
    """Give where a vertex begins and ends in the direction of the flow: in its layer's middle."""
    begin, end = starts[vertex.layer]
    if not vertex.kind:
        return begin, end
    half = _extent(vertex, not down) / 2
    return (begin + end) / 2 - half, (begin + end) / 2 + half


def _draw_edge(
    source: _Vertex, target: _Vertex, starts: dict[int, tuple[float, float]], down: bool
) -> str:
    stops, vertex = [source], source
    # A bend knows the edge's target by its number; the source has one way to each target.
    while vertex is not target:
        vertex = next(v for v in vertex.after if v.number == target.number)
        stops.append(vertex)

    def point(along: float, across: float) -> str:
        return f"{across:.1f} {along:.1f}" if down else f"{along:.1f} {across:.1f}"

    begin = _sides(source, starts, down)[1]
    path = [f"M{point(begin, source.across)}"]
    for left, right in pairwise(stops):
        out, into = _sides(left, starts, down)[1], _sides(right, starts, down)[0]
        middle = (out + into) / 2
        path.append(
            f"C{point(middle, left.across)} {point(middle, right.across)} "
            f"{point(into, right.across)}"
        )
        if not right.kind:
            path.append(f"L{point(starts[right.layer][1], right.across)}")
    ends = f"v{source.number} v{target.number}"
    return f'<path class="{ends}" d="{" ".join(path)}" marker-end="url(#arrow)"/>'


def _draw_box(
    box: _Vertex, starts: dict[int, tuple[float, float]], down: bool, colours: dict[str, int]
) -> str:
    along = sum(_sides(box, starts, down)) / 2
    x, y = (box.across, along) if down else (along, box.across)
    left, top = x - box.width / 2, y - box.height / 2
    classes = ["box", box.kind]
    if box.space:
        classes += ["spaced", f"hue{colours[box.space]}"]
    if box.free:
        classes.append("free")
    radius = 4.0 if box.kind == "node" else min(box.height / 2, 15.0)
    size = f'width="{box.width:.1f}" height="{box.height:.1f}"'
    parts = [
        f'<g class="{" ".join(classes)}" id="v{box.number}">',
        f"<title>{escape(box.tooltip)}</title>",
        f'<rect class="box" x="{left:.1f}" y="{top:.1f}" {size} rx="{radius:.0f}"/>',
    ]
    if box.kind == "node" and box.space:
        parts.append(
            f'<rect class="stripe" x="{left:.1f}" y="{top:.1f}" width="5" '
            f'height="{box.height:.1f}" rx="2"/>'
        )
    kinds = ["small space"] * bool(box.space) + ["name"] + ["small"] * len(box.notes)
    for number, (kind, line) in enumerate(zip(kinds, box.lines, strict=True)):
        base = top + _PADDING / 2 + _LINE * number + 12.5
        parts.append(
            f'<text class="{kind}" x="{x:.1f}" y="{base:.1f}" text-anchor="middle">'
            f"{escape(_cut(line))}</text>"
        )
    return "".join([*parts, "</g>"])
