"""How the benchmark makes its figures, without measuring anything."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    import measure

    yield measure
    del sys.modules["measure"]


def test_works_are_done_in_turn(measure: ModuleType) -> None:
    """A B A B; the first round only warms up, and is in no figure."""
    done = []

    def work(name: str) -> float:
        done.append(name)
        return len(done)

    costs = measure.in_turn(2, [lambda: work("A"), lambda: work("B")])
    assert "".join(done) == "ABABAB"
    assert costs == [[3, 5], [4, 6]]


def test_what_is_over_untracked_is_so_by_pairs(measure: ModuleType) -> None:
    """A round in which the machine was slow makes no difference, and memory stays whole."""
    base = [measure.Cost(seconds, seconds, 100) for seconds in (1, 9, 2)]
    tracked = [measure.Cost(seconds + 0.5, seconds + 1, 130) for seconds in (1, 9, 2)]
    over = measure.over(tracked, base)
    assert over == (0.5, 1, 130)
    assert measure.ratio(over, measure.Cost(2, 8, 65)).ratio == 0.25
    assert measure.ratio(over, measure.Cost(2, 8, 65), "memory").ratio == 2


@pytest.mark.parametrize(
    ("goal", "line", "cells"),
    [
        ((0.25,), 0.25, ["0.25 ×", "≤ 0.25 ×", "yes"]),
        ((0.25,), 0.251, ["0.251 ×", "≤ 0.25 ×", "**no**"]),
        ((3, "×", True), 2.5, ["2.5 ×", "≥ 3 ×", "**no**"]),
        ((0, ""), 1, ["1", "≤ 0", "**no**"]),
        ((None,), 7, ["7 ×", "–", "–"]),
        ((None,), "it broke", ["–", "–", "**no**"]),
    ],
)
def test_a_line_says_whether_its_goal_is_met(
    measure: ModuleType, goal: tuple, line: float | str, cells: list[str]
) -> None:
    """What could not be measured is never left out, nor met."""
    made = line if isinstance(line, str) else measure.Line("a", "b", line)
    row = measure.Goal("case", "work", *goal).row(made)
    assert row[3:] == cells
    assert row[:2] == ["work", "failed: it broke" if isinstance(line, str) else "a"]
    assert measure.markdown([row]).count("\n") == 3
