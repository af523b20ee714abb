"""Graphs as SVG: what follows from what, from top to bottom."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

WIDTH, HEIGHT, GAP, STEP, CHARACTERS = 190, 40, 20, 78, 26
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


def layers(names: Sequence[str], edges: Sequence[tuple[str, str]]) -> list[list[str]]:
    """Put names into layers so that edges lead down; those of a circle as far as that goes."""
    before: dict[str, set[str]] = {name: set() for name in names}
    for start, end in edges:
        if start in before and end in before and start != end:
            before[end].add(start)
    after: dict[str, set[str]] = {name: set() for name in names}
    for end, starts in before.items():
        for start in starts:
            after[start].add(end)
    level, waiting = dict[str, int](), {name: len(starts) for name, starts in before.items()}
    ready = [name for name in names if not waiting[name]]
    while len(level) < len(before):
        if not ready:
            ready = [next(name for name in names if name not in level)]
        for name in ready:
            level[name] = 1 + max((level.get(start, -1) for start in before[name]), default=-1)
        following = [end for name in ready for end in after[name]]
        for end in following:
            waiting[end] -= 1
        ready = [n for n in dict.fromkeys(following) if waiting[n] == 0 and n not in level]
    found: list[list[str]] = [[] for _ in range(max(level.values(), default=-1) + 1)]
    # What nothing leads to stands right above what it leads to.
    for name, starts in before.items():
        ends = [level[end] for end in after[name]]
        if not starts and ends:
            level[name] = max(0, min(ends) - 1)
        found[level[name]].append(name)
    for sweep in range(SWEEPS):
        beside, down = (before, True) if sweep % 2 == 0 else (after, False)
        for number in range(len(found)) if down else reversed(range(len(found))):
            place = {name: n / len(layer) for layer in found for n, name in enumerate(layer)}
            found[number].sort(key=lambda name: _middle(name, beside[name], place))  # noqa: B023
    return found


def _middle(name: str, others: set[str], place: Mapping[str, float]) -> float:
    return sum(place[other] for other in others) / len(others) if others else place[name]


def drawn(boxes: Sequence[Box], edges: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Give boxes and lines with their places, for a template to draw."""
    by_name = {box.name: box for box in boxes}
    rows = layers([*by_name], edges)
    wide = max((len(row) for row in rows), default=0) * (WIDTH + GAP)
    places = {
        name: ((wide - len(row) * (WIDTH + GAP)) / 2 + n * (WIDTH + GAP) + GAP / 2, y * STEP + 4)
        for y, row in enumerate(rows)
        for n, name in enumerate(row)
    }
    lines = []
    for start, end in dict.fromkeys(edges):
        if start in places and end in places and start != end:
            (x1, y1), (x2, y2) = places[start], places[end]
            x1, y1, x2 = x1 + WIDTH / 2, y1 + HEIGHT, x2 + WIDTH / 2
            half = (y1 + y2) / 2
            turns = f"{x1:.0f} {half:.0f} {x2:.0f} {half:.0f}"
            lines.append(f"M{x1:.0f} {y1:.0f}C{turns} {x2:.0f} {y2:.0f}")
    shown = [
        {
            **box._asdict(),
            **dict(zip("xy", places[box.name], strict=True)),
            "short": _cut(box.label),
        }
        for box in boxes
    ]
    size = {"width": max(wide, WIDTH), "height": len(rows) * STEP - STEP + HEIGHT + 8}
    return {"boxes": shown, "lines": lines, **size, "box_width": WIDTH, "box_height": HEIGHT}


def _cut(text: str) -> str:
    return text if len(text) <= CHARACTERS else f"{text[: CHARACTERS - 1]}…"
