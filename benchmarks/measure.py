"""What processes cost, measured in turn, and the table that tells it."""

import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

HEADER = ("work", "ours", "peer", "ratio", "goal", "met")


class Cost(NamedTuple):
    """What a process has taken, with all that it started."""

    cpu: float  # seconds
    wall: float  # seconds
    memory: float  # MiB, of the process that had most

    def __sub__(self, base: Self) -> "Cost":
        """Give what is over another cost; memory stays whole."""
        return Cost(self.cpu - base.cpu, self.wall - base.wall, self.memory)

    def __str__(self) -> str:
        return f"{self.cpu:.2f} s, {self.wall:.2f} s, {self.memory:.0f} MiB"


class Line(NamedTuple):
    """What was measured for one goal."""

    ours: Any
    peer: Any
    ratio: float


class Goal(NamedTuple):
    """What is measured, and what the ratio should be: at most, at least, or nothing certain."""

    case: str
    work: str
    limit: float | None
    unit: str = "×"
    at_least: bool = False

    def row(self, line: Line | str) -> list[str]:
        """Give the cells of the table; instead of a line, a text says why there is none."""
        goal, met = "–", "–"
        if self.limit is not None:
            goal, met = f"{'≥' if self.at_least else '≤'} {self.limit:g} {self.unit}", "**no**"
        if isinstance(line, str):
            return [self.work, f"failed: {line}", "–", "–", goal.strip(), "**no**"]
        if self.limit is not None:
            is_met = line.ratio >= self.limit if self.at_least else line.ratio <= self.limit
            met = "yes" if is_met else met
        ratio = f"{line.ratio:.3g} {self.unit}"
        return [self.work, str(line.ours), str(line.peer), ratio.strip(), goal.strip(), met]


def run(command: Iterable[Any], folder: Path, within: bool = False, **variables: str) -> Cost:
    """Run a command as a process, and give what it cost, background processes too.

    Or what it says itself, as the last line of its output, that a part `within` it has cost.
    """
    words = [*map(str, command)]
    with tempfile.TemporaryFile() as output:
        start, environment = time.perf_counter(), {**os.environ, **variables}
        to: Any = {"stdout": output, "stderr": subprocess.STDOUT}
        process = subprocess.Popen(words, cwd=folder, env=environment, **to)  # noqa: S603
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        usages = [usage, *_adopted()]
        output.seek(0)
        text = output.read().decode(errors="replace")
    if process.returncode:
        raise RuntimeError(f"{' '.join(words)} failed:\n{text}")
    if within:
        return Cost(*json.loads(text.splitlines()[-1]))
    cpu = sum(each.ru_utime + each.ru_stime for each in usages)
    return Cost(cpu, wall, max(each.ru_maxrss for each in usages) / 1024)


def _adopted() -> Iterator[Any]:
    """Wait for the background processes whose own parents have ended."""
    while True:
        try:
            yield os.wait4(-1, 0)[2]
        except ChildProcessError:
            return


def in_turn(repeat: int, works: Sequence[Callable[[], Cost]]) -> list[list[Cost]]:
    """Do each work once to warm up, then so often in turn, A B A B; give the costs of each."""
    rounds = [[work() for work in works] for _ in range(repeat + 1)]
    return [[*costs] for costs in zip(*rounds[1:], strict=True)]


def median(costs: Iterable[Cost]) -> Cost:
    """Give the median of each of the three."""
    return Cost(*map(statistics.median, zip(*costs, strict=True)))


def over(costs: Iterable[Cost], bases: Iterable[Cost]) -> Cost:
    """Give the median of the differences, each between works of the same round."""
    return median(cost - base for cost, base in zip(costs, bases, strict=True))


def ratio(ours: Cost, peer: Cost, what: str = "cpu") -> Line:
    """Compare two costs by their `cpu`, `wall` or `memory`."""
    return Line(ours, peer, getattr(ours, what) / getattr(peer, what))


def markdown(rows: Iterable[Sequence[str]]) -> str:
    """Write the table in Markdown."""
    lines = [HEADER, ["---"] * len(HEADER), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
