"""Graphs as SVG: what follows from what, from top to bottom."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from graphlib import CycleError, TopologicalSorter
from statistics import fmean
from typing import Any, NamedTuple

WIDTH, HEIGHT, GAP, STEP = 190, 40, 20, 78
SWEEPS = 4  # over all layers, after which there are few crossings left


class Box(NamedTuple):
    """A box of a graph: what it is, what is written in it, where it leads, how long it took."""

    name: str
    kind: str
    label: str
    note: str = ""
    link: str = ""
    share: float = 0.0
    this: bool = False


def layers(names: Sequence[str], edges: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Put names into layers so that edges lead down; those of a circle come last."""
    before, after = ({name: list[str]() for name in names} for _ in range(2))
    for start, end in edges:
        before[end].append(start)
        after[start].append(end)
    sorter, level, depth = TopologicalSorter(before), dict[str, int](), 0
    with suppress(CycleError):
        sorter.prepare()
    while ready := sorter.get_ready():
        level |= dict.fromkeys(ready, depth)
        sorter.done(*ready)
        depth += 1
    found: list[list[str]] = [[] for _ in range(depth + 1)]
    for name in names:
        if after[name] and not before[name]:
            # What nothing leads to stands right above what it leads to.
            level[name] = min(level.get(end, depth) for end in after[name]) - 1
        found[level.get(name, depth)].append(name)
    for sweep in range(SWEEPS):
        beside, way = (after, -1) if sweep % 2 else (before, 1)
        for layer in found[::way]:
            place = {name: n / len(each) for each in found for n, name in enumerate(each)}
            middle = {name: fmean(place[n] for n in beside[name] or [name]) for name in layer}
            layer.sort(key=middle.__getitem__)
    return [layer for layer in found if layer]


def drawn(boxes: Sequence[Box], edges: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Give boxes and lines with their places, for a template to draw."""
    edges = dict.fromkeys(edges)
    rows, places = layers([box.name for box in boxes], edges), dict[str, tuple[float, float]]()
    wide = max(map(len, rows)) * (WIDTH + GAP)
    for y, row in enumerate(rows):
        left = (wide - len(row) * (WIDTH + GAP) + GAP) / 2
        places |= {name: (left + n * (WIDTH + GAP), y * STEP + 4) for n, name in enumerate(row)}
    lines = []
    for start, end in edges:
        (x1, y1), (x2, y2) = places[start], places[end]
        x1, y1, x2 = x1 + WIDTH / 2, y1 + HEIGHT, x2 + WIDTH / 2
        half = (y1 + y2) / 2
        turns = f"{x1:.0f} {half:.0f} {x2:.0f} {half:.0f}"
        lines.append(f"M{x1:.0f} {y1:.0f}C{turns} {x2:.0f} {y2:.0f}")
    return {
        "boxes": [{**box._asdict(), "at": places[box.name]} for box in boxes],
        "lines": lines,
        "size": (wide, len(rows) * STEP - STEP + HEIGHT + 8),
        "box": (WIDTH, HEIGHT),
    }
