"""What recording costs, beside the same work untracked and beside other trackers.

Works are done in turn, A B A B, each in a process of its own; figures are their medians. Others'
environments are made in `build/bench`, from PyPI, the first time. A whole run writes
`docs/benchmarks.md`. It needs Linux.

    .venv/bin/python benchmarks/bench.py [--only frames commands] [--repeat 5]
"""

import argparse
import ctypes
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import date
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pages
import projects
import serving
from measure import Cost, Goal, Line, in_turn, markdown, median, over, ratio, run

ROOT = Path(__file__).parents[1]
TEMPLATE = ROOT / "{{ cookiecutter.repo_name }}"
BIN = Path(sys.executable).parent
KEDRO = BIN / "kedro"
PEERS = ["kedro-mlflow==2.0.3", "trackio==0.43.0", "litserve==0.2.19"]
# As in the lock, so that all environments do the same work.
SHARED = "kedro kedro-datasets kedro-telemetry joblib matplotlib numpy pandas pandera pyarrow"
SHARED += " scikit-learn scipy xgboost"
QUIET = {"DO_NOT_TRACK": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "HF_HUB_OFFLINE": "1"}
AT_ONCE, RUNS, FEW_RUNS, ARTIFACTS, SHOWN = 30, 50_000, 20, 13, 10_000
TRIALS, RECORDED = 20, 100
# The condition holds for one run in a thousand.
ON_FULL_STORE = {
    "`kedro mlrun runs`": (1.1, ["mlrun", "runs"]),
    "`kedro mlrun show last`": (1.1, ["mlrun", "show", "last"]),
    "`kedro mlrun lineage`": (1.1, ["mlrun", "lineage", "xgboost_model"]),
    "`kedro mlrun runs --where`": (1.5, ["mlrun", "runs", "--where", "params.split.seed = 1007"]),
    "`kedro run` of one node": (1.1, ["run"]),
}


class Bench:
    """The cases, each of which gives a line for each of its goals."""

    def __init__(self, folder: Path, repeat: int, runs: int) -> None:
        self.folder, self.repeat, self.runs = folder, repeat, runs

    @cached_property
    def baked(self) -> Path:
        """The generated project."""
        from cookiecutter.main import cookiecutter

        return Path(cookiecutter(str(ROOT), no_input=True, output_dir=str(self.folder / "baked")))

    def medians(self, *works: Callable[[], Cost]) -> list[Cost]:
        """Do works in turn, and give the median costs."""
        return [median(costs) for costs in in_turn(self.repeat, works)]

    def tracked(self, make: Callable[[Path, str], Path]) -> list[Line]:
        """Run a project untracked, where no plugin is installed, and in the ways to track it."""
        works = []
        for way, commands in {
            projects.UNTRACKED: environment("untracked"),
            projects.OURS: BIN,
            projects.MLFLOW: environment("peers"),
        }.items():
            made = make(Path(tempfile.mkdtemp(dir=self.folder)) / "project", way)
            works.append(partial(run, [commands / "kedro", "run"], made))
        base, *tracked = in_turn(self.repeat, works)
        ours, peer = (over(each, base) for each in tracked)
        return [ratio(ours, peer), Line(ours, f"untracked: {median(base)}", ours.cpu)]

    def commands(self) -> list[Line]:
        """List and show runs, beside Kedro's own help and MLflow's list."""
        ours = projects.one_node(self.folder / "commands", projects.OURS)
        theirs = projects.one_node(self.folder / "mlflow", projects.MLFLOW)
        peers = environment("peers")
        for _ in range(3):
            run([KEDRO, "run"], ours)
            run([peers / "kedro", "run"], theirs)
        listed = [peers / "mlflow", "runs", "list", "--experiment-id", "1"]
        words = (["--help"], ["mlrun", "runs"], ["mlrun", "show", "last"])
        usage, runs, show, mlflow = self.medians(
            *[partial(run, [KEDRO, *each], ours) for each in words],
            partial(run, listed, theirs, MLFLOW_TRACKING_URI="sqlite:///mlflow.db"),
        )
        inverse = Line(runs, mlflow, ratio(mlflow, runs).ratio)
        return [ratio(runs, usage), ratio(show, usage), inverse]

    def work(self, name: str, *ways: str) -> list[Cost]:
        """Do a work of `work.py` in several ways."""
        made = projects.one_node(self.folder / name, projects.OURS)
        works = []
        for way in ways:
            commands = environment("peers") if way in {"mlflow", "trackio"} else BIN
            words = [commands / "python", Path(__file__).with_name("work.py"), name, way]
            works.append(partial(run, words, made, within=True))
        return self.medians(*works)

    def data(self, name: str) -> list[Line]:
        """Save and load data, beside what writes and reads their files."""
        ours, plain = self.work(name, "ours", "plain")
        return [ratio(ours, plain), ratio(ours, plain, "memory")]

    def series(self) -> list[Line]:
        """Record metrics over steps."""
        ours, *peers = self.work("series", "ours", "mlflow", "trackio")
        return [ratio(ours, peer) for peer in peers]

    def submit(self) -> list[Line]:
        """Run our pipelines as a background job, and wait for it."""
        made = shutil.copytree(self.baked, self.folder / "submit")
        commands = (["mlrun", "submit", "--watch"], ["run"])
        return [ratio(*self.medians(*[partial(run, [KEDRO, *each], made) for each in commands]))]

    def search(self) -> list[Line]:
        """Search with our pipelines, beside as many runs of them; and record trials."""
        made = shutil.copytree(self.baked, self.folder / "search")
        commands = (["mlrun", "search", "--trials", str(TRIALS)], ["run"])
        ours, once = self.medians(*[partial(run, [KEDRO, *each], made) for each in commands])
        runs = Cost(once.cpu * TRIALS, once.wall * TRIALS, once.memory)
        (recorded,) = self.work("trials", "ours")
        return [ratio(ours, runs), Line(recorded, "–", recorded.wall * 1000 / RECORDED)]

    @cached_property
    def seed(self) -> Path:
        """A store with two runs of our pipelines."""
        made = shutil.copytree(self.baked, self.folder / "seed")
        run([KEDRO, "run"], made)
        run([KEDRO, "run", "--pipelines=evaluation"], made)
        return made / ".mlrun"

    def filled(self, name: str, runs: int) -> Path:
        """Make a project of one node whose store has so many runs."""
        made = projects.one_node(self.folder / f"{name}-{runs}", projects.OURS)
        shutil.copytree(self.seed, made / ".mlrun")
        projects.fill(made / ".mlrun" / "mlrun.db", runs, ARTIFACTS)
        return made

    def store(self) -> list[Line]:
        """Use a store of very many runs, beside one whose runs fill one list as well."""
        made = [self.filled("runs", runs) for runs in (self.runs, FEW_RUNS)]
        return [
            ratio(*self.medians(*[partial(run, [KEDRO, *words], folder) for folder in made]))
            for _, words in ON_FULL_STORE.values()
        ]

    def page(self) -> list[Line]:
        """Look at a store of many runs in a browser."""
        return pages.measured(self.filled("page", min(self.runs, SHOWN)), KEDRO, self.repeat)

    def serving(self) -> list[Line]:
        """Serve a model, beside MLflow."""
        made = shutil.copytree(self.baked, self.folder / "serving")
        return serving.compare(made, BIN, environment("peers"), self.repeat)

    def at_once(self) -> list[Line]:
        """Run a project very often at once."""
        made = projects.one_node(self.folder / "at-once", projects.OURS)
        run([KEDRO, "run"], made)
        to: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        started = [subprocess.Popen([KEDRO, "run"], cwd=made, **to) for _ in range(AT_ONCE)]  # noqa: S603
        failed = sum(process.wait() != 0 for process in started)
        listed = [KEDRO, *"mlrun runs --limit 99 --state completed --json".split()]
        text = subprocess.check_output(listed, cwd=made, text=True)  # noqa: S603
        # Kedro's own log is in the output, too.
        lost = AT_ONCE + 1 - text.count('"state": "completed"')
        return [Line(f"{AT_ONCE} runs", "–", count) for count in (failed, lost)]


def environment(name: str) -> Path:
    """Give the folder of the commands of an environment, which is made unless it is there."""
    lock = (TEMPLATE / "requirements.lock").read_text().splitlines()
    pins = [pin for pin in lock if pin.partition("==")[0] in SHARED.split()]
    # The other one brings what graphics cards need.
    pins = [pin.replace("xgboost==", "xgboost-cpu==") for pin in pins]
    packages = {"untracked": pins, "peers": [*PEERS, *pins]}[name]
    made = ROOT / "build" / "bench" / name / "made"
    if not made.exists() or made.read_text().split() != packages:
        made.parent.mkdir(parents=True, exist_ok=True)
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}"  # of uv
        run(["sh", TEMPLATE / "install.sh", *packages], made.parent, PATH=path)
        made.write_text("\n".join(packages))
    return made.parent / ".venv" / "bin"


def measured(bench: Bench, name: str) -> list[list[str]]:
    """Do a case, and give its rows of the table, also where it fails."""
    goals, start = [goal for goal in GOALS if goal.case == name], time.monotonic()
    lines: list[Any]
    try:
        lines = CASES[name](bench)
    except Exception as error:
        traceback.print_exc()
        lines = [str(error).strip().splitlines()[-1][:100].replace("|", "/")] * len(goals)
    sys.stderr.write(f"{name}: {time.monotonic() - start:.0f} s\n")
    return [goal.row(line) for goal, line in zip(goals, lines, strict=True)]


def page(rows: list[list[str]], repeat: int) -> str:
    """Write the table with what it was measured on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    machine = f"{os.cpu_count()} cores ({platform.machine()}), {memory:.0f} GiB"
    return f"""# Benchmarks

Written by `make bench` on {date.today()}: {machine}, Python {platform.python_version()}.
Each figure is the median of {repeat} runs in turn, after one to warm up.
Peers are {", ".join(PEERS)}; those that record do so on SQLite.

Ours and the peer's are CPU seconds with those of all processes that were started, wall seconds,
and the peak of memory. What is over untracked is the median of the differences within a round,
with the memory of the tracked run. Of servers they are requests per second, and the time that 99 of
100 answers take at most.

{markdown(rows)}"""


def main() -> None:
    """Measure, print the table, and write the page if it is whole."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=CASES, default=[*CASES], metavar="CASE")
    parser.add_argument("--repeat", type=int, default=5, help="how often each work is done")
    parser.add_argument("--runs", type=int, default=RUNS, help="how many are in a full store")
    options = parser.parse_args()
    # PR_SET_CHILD_SUBREAPER: background processes become this one's when their own parents end.
    if ctypes.CDLL(None).prctl(36, 1, 0, 0, 0):
        raise OSError("This system doesn't hand background processes over.")
    for name in {name for name in os.environ if name.startswith(("MLRUN_", "PYTHON"))}:
        del os.environ[name]
    with tempfile.TemporaryDirectory() as folder:
        # Everything is compiled in the round that warms up, in whichever environment.
        cache = {"PYTHONPYCACHEPREFIX": f"{folder}/cache", "TRACKIO_DIR": f"{folder}/trackio"}
        os.environ |= QUIET | cache
        bench = Bench(Path(folder), options.repeat, options.runs)
        rows = [row for name in options.only for row in measured(bench, name)]
    text = page(rows, options.repeat)
    sys.stdout.write(text)
    if options.only == [*CASES] and options.runs == RUNS:
        (ROOT / "docs" / "benchmarks.md").write_text(text)
    if any(row[1].startswith("failed: ") for row in rows):
        raise SystemExit(1)


CASES: dict[str, Callable[[Bench], list[Line]]] = {
    "one-node": lambda bench: bench.tracked(projects.one_node),
    "spaceflights": lambda bench: bench.tracked(projects.spaceflights)[:1],
    "own": lambda bench: bench.tracked(partial(projects.own_pipelines, baked=bench.baked)),
    "commands": Bench.commands,
    "frame": lambda bench: bench.data("frame"),
    "model": lambda bench: bench.data("model"),
    "bytes": lambda bench: bench.data("bytes")[:1],
    "frames": lambda bench: bench.data("frames")[:1],
    "results": lambda bench: [ratio(*bench.work("results", "last", "first"))],
    "series": Bench.series,
    "submit": Bench.submit,
    "search": Bench.search,
    "store": Bench.store,
    "page": Bench.page,
    "at-once": Bench.at_once,
    "serving": Bench.serving,
}
MLFLOW, LITSERVE = " ÷ `mlflow models serve`", " ÷ LitServe"
SERVING: list[tuple[Any, ...]] = [
    (MLFLOW, "1 row, 1 connection: requests/s", 5, "×", True),
    (MLFLOW, "1 row, 1 connection: p99", 0.333),
    ("", "1 row, 1 connection: p99", 10, "ms"),
    (LITSERVE, "1 row, 1 connection: requests/s", None),
    (MLFLOW, "1 row, 32 connections: requests/s", 5, "×", True),
    (MLFLOW, "1 row, 32 connections: p99", 0.333),
    (LITSERVE, "1 row, 32 connections: requests/s", None),
    (MLFLOW, "100 rows, 1 connection: requests/s", 3, "×", True),
    (LITSERVE, "100 rows, 1 connection: requests/s", None),
]
GOALS = [
    Goal("one-node", "`kedro run`, one node, over untracked ÷ kedro-mlflow's: CPU", 0.25),
    Goal("one-node", "`kedro run`, one node, over untracked: CPU", 0.25, "s"),
    Goal("spaceflights", "`kedro run`, spaceflights, over untracked ÷ kedro-mlflow's: CPU", 0.25),
    Goal("own", "`kedro run`, our pipelines, over untracked ÷ kedro-mlflow's: CPU", 0.25),
    Goal("own", "`kedro run`, our pipelines, over untracked: CPU", 0.6, "s"),
    Goal("commands", "`kedro mlrun runs` ÷ `kedro --help`: CPU", 1.4),
    Goal("commands", "`kedro mlrun show last` ÷ `kedro --help`: CPU", 1.4),
    Goal("commands", "`mlflow runs list`, the peer, ÷ `kedro mlrun runs`: CPU", 3, "×", True),
    Goal("frame", "frame of 1 M × 20, save + load ÷ ParquetDataset: CPU", 1.15),
    Goal("frame", "frame of 1 M × 20, save + load ÷ ParquetDataset: peak memory", 1.15),
    Goal("model", "model of 200 MB ÷ joblib + one SHA-1 each way: CPU", 1.15),
    Goal("model", "model of 200 MB ÷ joblib: peak memory", 1.1),
    Goal("bytes", "bytes of 500 MB ÷ pickle + one SHA-1 each way: CPU", 1.2),
    Goal("frames", "200 small frames ÷ ParquetDataset: CPU", 2),
    Goal("results", "1,000 results one by one, the last ÷ the first hundred: CPU", 1.3),
    Goal("series", "3 metrics × 1,000 steps, saved at once ÷ MLflow's `log_metrics`: CPU", None),
    Goal("series", "3 metrics × 1,000 steps, saved at once ÷ trackio's `log`: CPU", None),
    Goal("submit", "`kedro mlrun submit --watch`, all processes ÷ `kedro run`: CPU", 1.5),
    Goal("search", "`kedro mlrun search`, 20 trials, ÷ 20 × `kedro run`: CPU", 0.25),
    Goal("search", "100 trials recorded, each", 10, "ms"),
    *[
        Goal("store", f"store of 50,000 runs × 13 artifacts ÷ of 20: {work}: CPU", limit)
        for work, (limit, _) in ON_FULL_STORE.items()
    ],
    *[
        Goal("page", f"`kedro mlrun ui`, store of 10,000 runs: {work}", *goal)
        for work, goal in pages.WORKS.items()
    ],
    Goal("at-once", "30 `kedro run` at once on one store: failures", 0, ""),
    Goal("at-once", "30 `kedro run` at once on one store: lost", 0, ""),
    *[
        Goal("serving", f"`kedro mlrun serve`{peer}, {model}, {work}", *goal)
        for model in ("forest of 200 trees", "XGBoost")
        for peer, work, *goal in SERVING
    ],
]


if __name__ == "__main__":
    main()
