"""What recording costs, beside the same work untracked and beside other trackers.

Each figure is a ratio of medians that were measured in turn, A B A B, in one run. Peers get an
environment of their own in `build/bench`, made from PyPI. `make bench` prints the table and writes
`docs/benchmarks.md`.

    .venv/bin/python benchmarks/bench.py [--repeat 5] [--case one-node]
"""

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import NamedTuple

import projects
from cookiecutter.main import cookiecutter
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
BUILD = ROOT / "build" / "bench"
PEERS = ["kedro-mlflow==2.0.3", "xgboost-cpu"]
# Of the lock, so that both environments do the same work.
SHARED = ["kedro", "kedro-datasets", "matplotlib", "numpy", "pandas", "pandera", "pyarrow"]
SHARED += ["scikit-learn", "scipy"]
WORK = Path(__file__).with_name("work.py")


class Cost(NamedTuple):
    """What a process and those that it started have taken."""

    cpu: float  # seconds
    wall: float  # seconds
    memory: float  # MiB, the largest of the processes


@dataclass
class Row:
    """A line of the table: a ratio, what it should be at most, and how it came about."""

    work: str
    measure: str
    goal: float
    ratio: float
    detail: str = ""
    more_is_better: bool = False

    @property
    def is_met(self) -> bool:
        """Tell whether the goal is met."""
        return self.ratio >= self.goal if self.more_is_better else self.ratio <= self.goal


def run(command: list[str | Path], folder: Path, **variables: str) -> Cost:
    """Run a command as a process, and give what it has cost."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLRUN_")}
    own = {"DO_NOT_TRACK": "1", "MLRUN_IGNORE_ENV_FILE": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with tempfile.TemporaryFile() as printed:
        start = time.perf_counter()
        process = subprocess.Popen(  # noqa: S603
            [*map(str, command)],
            cwd=folder,
            env={**kept, **own, **variables},
            stdout=printed,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            printed.seek(0)
            raise SystemExit(f"{' '.join(map(str, command))} failed:\n{printed.read().decode()}")
    return Cost(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024)


def in_turn(repeat: int, works: dict[str, Callable[[], Cost]]) -> dict[str, Cost]:
    """Do each work once to warm files, then so many times in turn; give the medians."""
    found: dict[str, list[Cost]] = {name: [] for name in works}
    for number in range(repeat + 1):
        for name, work in works.items():
            cost = work()
            if number:
                found[name].append(cost)
    return {
        name: Cost(*map(statistics.median, zip(*costs, strict=True)))
        for name, costs in found.items()
    }


@dataclass
class Bench:
    """The projects, environments and cases of one run."""

    folder: Path
    repeat: int
    rows: list[Row] = field(default_factory=list)

    @property
    def mlflow(self) -> Path:
        """The folder of the peer's commands, whose environment is made when it is needed."""
        environment = BUILD / "mlflow"
        if not (environment / "made").exists():
            lock = (ROOT / "{{ cookiecutter.repo_name }}" / "requirements.lock").read_text()
            pins = [line.split(";")[0].split()[0] for line in lock.splitlines() if "==" in line]
            shared = [pin for pin in pins if pin.partition("==")[0] in SHARED]
            target = {"VIRTUAL_ENV": str(environment)}
            uv = [BIN / "uv"]
            run([*uv, "venv", "--clear", "--python", sys.executable, environment], ROOT)
            run([*uv, "pip", "install", *PEERS, *shared], ROOT, **target)
            (environment / "made").touch()
        return environment / "bin"

    def add(self, work: str, measure: str, goal: float, ratio: float, detail: str = "") -> None:
        """Add a line to the table."""
        self.rows.append(Row(work, measure, goal, ratio, detail))

    def pipelines(self, work: str, make: Callable[[Path, str], Path]) -> dict[str, Cost]:
        """Run a pipeline in each of three ways, in both environments."""
        ways = {
            "untracked": (BIN, projects.UNTRACKED),
            "ours": (BIN, projects.OURS),
            "untracked there": (self.mlflow, projects.UNTRACKED),
            "kedro-mlflow": (self.mlflow, projects.MLFLOW),
        }
        works = {}
        for name, (commands, way) in ways.items():
            made = make(self.folder / f"{work} {name}".replace(" ", "-"), way)
            works[name] = lambda made=made, commands=commands: run(
                [commands / "kedro", "run"], made
            )
        cost = in_turn(self.repeat, works)
        ours = cost["ours"].cpu - cost["untracked"].cpu
        peer = cost["kedro-mlflow"].cpu - cost["untracked there"].cpu
        detail = f"{ours:.2f} s over {cost['untracked'].cpu:.2f} s; kedro-mlflow {peer:.2f} s"
        self.add(work, "CPU over untracked ÷ kedro-mlflow's", 0.25, ours / peer, detail)
        memory = cost["ours"].memory / cost["kedro-mlflow"].memory
        self.add(
            work, "peak memory ÷ kedro-mlflow's", 1.0, memory, f"{cost['ours'].memory:.0f} MiB"
        )
        return cost

    def one_node(self) -> None:
        """Record one trivial node."""
        cost = self.pipelines("one node", projects.one_node)
        seconds = cost["ours"].cpu - cost["untracked"].cpu
        self.add("one node", "CPU seconds over untracked", 0.25, seconds)

    def spaceflights(self) -> None:
        """Record pipelines like those of Kedro's spaceflights."""
        self.pipelines("spaceflights", projects.spaceflights)

    def own_pipelines(self) -> None:
        """Record the generated project's own pipelines."""
        baked = self.baked()
        cost = self.pipelines(
            "own pipelines", lambda folder, way: projects.own_pipelines(folder, way, baked)
        )
        seconds = cost["ours"].cpu - cost["untracked"].cpu
        self.add("own pipelines", "CPU seconds over untracked", 0.6, seconds)

    def baked(self) -> Path:
        """Generate the project, once."""
        folder = self.folder / "baked"
        made = folder / "breast-cancer"
        if not made.exists():
            cookiecutter(str(ROOT), no_input=True, output_dir=str(folder))
        return made

    def commands(self) -> None:
        """List and show runs, beside Kedro's own help and MLflow's list."""
        ours = projects.one_node(self.folder / "commands", projects.OURS)
        peer = projects.one_node(self.folder / "commands-mlflow", projects.MLFLOW)
        for _ in range(3):
            run([BIN / "kedro", "run"], ours)
            run([self.mlflow / "kedro", "run"], peer)
        kedro, mlflow = BIN / "kedro", self.mlflow / "mlflow"
        uri = {"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"}
        listed = [mlflow, "runs", "list", "--experiment-id", "1"]
        cost = in_turn(
            self.repeat,
            {
                "help": lambda: run([kedro, "--help"], ours),
                "runs": lambda: run([kedro, "mlrun", "runs"], ours),
                "show": lambda: run([kedro, "mlrun", "show", "last"], ours),
                "mlflow": lambda: run(listed, peer, **uri),
            },
        )
        for name in ("runs", "show"):
            ratio = cost[name].cpu / cost["help"].cpu
            self.add(f"kedro mlrun {name}", "CPU ÷ kedro --help", 1.4, ratio)
        ratio = cost["mlflow"].cpu / cost["runs"].cpu
        row = Row("mlflow runs list", "CPU ÷ kedro mlrun runs", 3, ratio, more_is_better=True)
        self.rows.append(row)

    def data(self) -> None:
        """Save and load frames, a model and bytes, beside what writes and reads their files."""
        made = projects.one_node(self.folder / "data", projects.OURS)
        goals = {
            "frame": ("ParquetDataset", 1.15, 1.15),
            "model": ("joblib and one SHA-1 each way", 1.15, 1.1),
            "bytes": ("pickle and one SHA-1 each way", 1.2, None),
            "frames": ("ParquetDataset", 2, None),
        }
        for name, (peer, cpu, memory) in goals.items():
            costs = in_turn(
                self.repeat,
                {
                    way: lambda way=way, name=name: run([sys.executable, WORK, name, way], made)
                    for way in ("nothing", "plain", "ours")
                },
            )
            # What imports and making the data have cost is in all three.
            ours, plain = (costs[way].cpu - costs["nothing"].cpu for way in ("ours", "plain"))
            self.add(name, f"CPU ÷ {peer}", cpu, ours / plain, f"{ours:.2f} s ÷ {plain:.2f} s")
            if memory:
                ratio = costs["ours"].memory / costs["plain"].memory
                self.add(name, f"peak memory ÷ {peer}", memory, ratio)

    def results(self) -> None:
        """Record a thousand results one by one."""
        made = projects.one_node(self.folder / "results", projects.OURS)
        ratios = []
        for _ in range(self.repeat):
            answer = self.folder / "ratio.txt"
            run([sys.executable, WORK, "results", str(answer)], made)
            ratios.append(float(answer.read_text()))
        ratio = statistics.median(ratios)
        self.add("1,000 results", "the last hundred ÷ the first hundred", 1.3, ratio)

    def submit(self) -> None:
        """Run the pipelines as a background job, and wait for it."""
        baked = self.folder / "submit"
        shutil.copytree(self.baked(), baked)
        kedro = BIN / "kedro"
        cost = in_turn(
            self.repeat,
            {
                "run": lambda: run([kedro, "run"], baked),
                "submit": lambda: run([kedro, "mlrun", "submit", "--watch"], baked),
            },
        )
        # The job is no child of the command, so that its CPU isn't among what is waited for.
        ratio = cost["submit"].wall / cost["run"].wall
        self.add("submit --watch", "wall ÷ kedro run", 1.5, ratio)

    def at_once(self) -> None:
        """Run thirty whole `kedro run` at once on one store."""
        made = projects.one_node(self.folder / "at-once", projects.OURS)
        environment = {**os.environ, "DO_NOT_TRACK": "1"}
        started = [
            subprocess.Popen(  # noqa: S603
                [BIN / "kedro", "run"],
                cwd=made,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for _ in range(30)
        ]
        failed = sum(process.wait() != 0 for process in started)
        listed = subprocess.run(  # noqa: S603
            [BIN / "kedro", "mlrun", "runs", "--limit", "100", "--state", "completed", "--json"],
            cwd=made,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        recorded = listed.stdout.count('"id"')
        self.add("30 kedro run at once", "failures", 0, failed)
        self.add("30 kedro run at once", "lost", 0, 30 - recorded)


CASES = {
    "one-node": Bench.one_node,
    "spaceflights": Bench.spaceflights,
    "own-pipelines": Bench.own_pipelines,
    "commands": Bench.commands,
    "data": Bench.data,
    "results": Bench.results,
    "submit": Bench.submit,
    "at-once": Bench.at_once,
}


def table(rows: Iterable[Row]) -> list[list[str]]:
    """Give the lines of the table as texts."""
    return [
        [
            row.work,
            row.measure,
            f"{'≥' if row.more_is_better else '≤'} {row.goal:g}",
            f"{row.ratio:.2f}",
            "yes" if row.is_met else "**no**",
            row.detail,
        ]
        for row in rows
    ]


HEADER = ["work", "measure", "goal", "measured", "met", "medians"]


def write(rows: Iterable[Row], repeat: int) -> None:
    """Write the table to docs/benchmarks.md."""
    lines = [HEADER, ["---"] * len(HEADER), *table(rows)]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    machine = f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}"
    (ROOT / "docs" / "benchmarks.md").write_text(
        f"# Benchmarks\n\nWritten by `make bench` on {date.today()}: {machine}, medians of "
        f"{repeat} runs in turn.\nPeers: {', '.join(PEERS)}.\n\n{text}\n"
    )


def main() -> None:
    """Measure, print the table and write it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5, help="how often each work is done")
    parser.add_argument("--case", choices=CASES, action="append", help="only this case")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), options.repeat)
        for name in options.case or CASES:
            CASES[name](bench)
        shown = Table(*HEADER)
        for line in table(bench.rows):
            shown.add_row(*line)
        Console(width=130).print(shown)
        if not options.case:
            write(bench.rows, options.repeat)


if __name__ == "__main__":
    main()
