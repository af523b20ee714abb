"""Graphs as SVG: what follows from what, from top to bottom."""

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from graphlib import CycleError, TopologicalSorter
from itertools import accumulate, pairwise
from statistics import fmean
from typing import Any, NamedTuple

LETTER, LONGEST, HEIGHT, GAP, STEP = 7, 24, 40, 16, 78
SWEEPS = 8  # over all layers, after which there are few crossings and bends left
Place = str | tuple[str, int]  # a box, or where a layer is passed by the lines from a box
Lines = Iterable[tuple[Place, Place]]


class Box(NamedTuple):
    """A box of a graph: what it is, what is written in it, where it leads, how long it took."""

    name: str
    kind: str
    label: str
    note: str = ""
    link: str = ""
    share: float = 0.0
    longest: int = LONGEST  # letters of its label

    @property
    def text(self) -> str:
        """Cut a long label in the middle, for names differ in their ends."""
        text, half = self.label, self.longest // 2
        return text if len(text) <= self.longest else f"{text[:half]}…{text[1 - half :]}"

    @property
    def width(self) -> int:
        """As wide as what is written in it."""
        return LETTER * max(len(self.text), min(len(self.note), LONGEST), 6) + GAP


def layers(names: Sequence[str], edges: Lines) -> tuple[list[list[Place]], Lines]:
    """Put names into layers, those of a circle last, and cut edges so that they pass each layer."""
    before, after = _beside(names, edges)
    sorter, level, depth = TopologicalSorter(before), dict[Place, int](), 0
    with suppress(CycleError):
        sorter.prepare()
    while ready := sorter.get_ready():
        level |= dict.fromkeys(ready, depth)
        sorter.done(*ready)
        depth += 1
    level = {name: level.get(name, depth) for name in names}
    for name in names:
        if after[name] and not before[name]:
            # What nothing leads to stands right above what it leads to.
            level[name] = min(level[end] for end in after[name]) - 1
    lines = dict[tuple[Place, Place], None]()
    for start, end in edges:
        passed = [(str(start), n) for n in range(level[start] + 1, level[end])]
        lines |= dict.fromkeys(pairwise([start, *passed, end]))
        level |= {place: place[1] for place in passed}
    depths = range(max(level.values()) + 1)
    return [[place for place in level if level[place] == n] for n in depths], lines


def _beside(places: Iterable[Place], lines: Lines) -> Any:
    """Give what leads to each place, and what each place leads to."""
    above, below = ({place: list[Place]() for place in places} for _ in range(2))
    for start, end in lines:
        above[end].append(start)
        below[start].append(end)
    return above, below


def drawn(boxes: Sequence[Box], edges: Lines) -> dict[str, Any]:
    """Give boxes and lines with their places, for a template to draw."""
    # Labels that would be cut to the same stay whole.
    number = Counter(text for text, _ in {(box.text, box.label) for box in boxes})
    boxes = [b._replace(longest=len(b.label)) if number[b.text] > 1 else b for b in boxes]
    rows, parts = layers([box.name for box in boxes], edges)
    y = {place: n * STEP + 4 for n, row in enumerate(rows) for place in row}
    x = {place: 100.0 * n for row in rows for n, place in enumerate(row)}  # of the middle
    half = dict.fromkeys(x, 0.0) | {box.name: box.width / 2 for box in boxes}
    beside = _beside(x, parts)
    for sweep in range(SWEEPS):
        for row in rows[:: -1 if sweep % 2 else 1]:
            near = {p: fmean(x[n] for n in beside[sweep % 2][p] or [p]) for p in row}
            row.sort(key=near.__getitem__)
            steps = (half[one] + half[other] + GAP for one, other in pairwise(row))
            least = [*accumulate(steps, initial=0.0)]
            free = [near[place] - left for place, left in zip(row, least, strict=True)]
            # Where places would overlap, those at the left and at the right give way alike.
            ways = zip(accumulate(free, max), [*accumulate(free[::-1], min)][::-1], strict=True)
            x |= {p: left + sum(way) / 2 for p, left, way in zip(row, least, ways, strict=True)}
    left, right = min(x[p] - half[p] for p in x) - 1, max(x[p] + half[p] for p in x) + 1
    lines = []
    for start, end in parts:
        x1, y1, x2, y2 = x[start] - left, y[start] + HEIGHT, x[end] - left, y[end]
        turn = (y1 + y2) / 2
        line = f"M{x1:.0f} {y1}C{x1:.0f} {turn:.0f} {x2:.0f} {turn:.0f} {x2:.0f} {y2}"
        lines.append(line if isinstance(end, str) else f"{line}v{HEIGHT}")
    placed = [(box, (x[box.name] - half[box.name] - left, y[box.name])) for box in boxes]
    size = right - left, len(rows) * STEP - STEP + HEIGHT + 8
    return {"boxes": placed, "lines": lines, "size": size, "height": HEIGHT}
