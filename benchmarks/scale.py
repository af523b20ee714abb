"""How long commands take on a full embedded store, compared with one that holds a single run.

It generates a project, runs it once, and copies the store. The copy gets runs and artifacts like
those of that run. Then each command is run on both stores in turn, as whole processes.

    .venv/bin/python benchmarks/scale.py [--runs 10000] [--repeat 5] [--case runs]
"""

import argparse
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cookiecutter.main import cookiecutter
from rich.console import Console
from rich.progress import track
from rich.table import Table

ROOT = Path(__file__).parents[1]
KEDRO = Path(sys.executable).with_name("kedro")
PROJECT = "breast-cancer"

LIMIT = 1.5
"""How many times as long a command may take on the full store."""

FEW_TREES = "random_forest.model.arguments.n_estimators=5,xgboost.model.arguments.n_estimators=5"
ARTIFACTS = ("training_set", "test_set", "random_forest_model", "xgboost_model", "leaderboard")
CASES = {
    "runs": ["mlrun", "runs"],
    "show": ["mlrun", "show", "last"],
    "lineage": ["mlrun", "lineage", "xgboost_model"],
    "loads": ["run", "--pipelines=evaluation"],
}


def settings(store: Path) -> dict[str, str]:
    """Give the environment in which the project uses a store, and no setting of the user."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLRUN_")}
    own = {"MLRUN_DBPATH": f"sqlite:///{store}", "MLRUN_IGNORE_ENV_FILE": "true"}
    return {**kept, **own, "DO_NOT_TRACK": "1"}


def kedro(project: Path, store: Path, *arguments: str) -> float:
    """Run a command as a process of its own, and give the seconds that it took."""
    start = time.perf_counter()
    done = subprocess.run(  # noqa: S603
        [KEDRO, *arguments],
        cwd=project,
        env=settings(store),
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"kedro {' '.join(arguments)} failed:\n{done.stdout}\n{done.stderr}")
    return seconds


def copy(store: Path, target: Path) -> None:
    """Copy a store, also what SQLite has in its log so far."""
    with closing(sqlite3.connect(store)) as one, closing(sqlite3.connect(target)) as other:
        one.backup(other)


def fill(store: Path, runs: int) -> None:
    """Add runs like the one that the store has, each with five artifacts and two inputs."""
    # The generated project, which is in Python's path only now.
    from kedro_mlrun.store.db import LocalRunDB  # noqa: PLC0415

    db = LocalRunDB(f"sqlite:///{store}").connect()
    (run,) = db.list_runs(project=PROJECT, start_time_from=datetime(2000, 1, 1, tzinfo=UTC))
    records = [db.read_artifact(key, project=PROJECT) for key in ARTIFACTS]
    templates = json.dumps(run), [json.dumps(record) for record in records]
    seed, now = run["metadata"]["uid"], datetime.now(UTC)
    before = dict(run["status"]["artifact_uris"])
    with one_transaction(db):
        for number in track(range(runs), f"Making {runs:,} runs", console=Console(stderr=True)):
            uid = uuid.uuid4().hex
            started = now - timedelta(minutes=runs - number + 10)
            uris = {}
            for text in templates[1]:
                record = json.loads(text.replace(seed, uid))
                stored = store_artifact(db, record, uid)
                uris[stored["spec"]["db_key"]] = uri_of(stored)
            of_run = json.loads(templates[0].replace(seed, uid))
            made = {f"parameter.{index}": number * index for index in range(20)}
            of_run["spec"]["parameters"] = {**of_run["spec"]["parameters"], **made}
            # A model of the run before, and a set that all of them share.
            of_run["spec"]["inputs"] = {
                "xgboost_model": before["xgboost_model"],
                "test_set": run["status"]["artifact_uris"]["test_set"],
            }
            of_run["status"] |= {"artifact_uris": uris, "start_time": str(started)}
            of_run["status"]["end_time"] = str(started + timedelta(seconds=9))
            of_run["metadata"]["name"] = ("default", "training", "evaluation")[number % 3]
            db.store_run(of_run, uid, PROJECT)
            before = uris
    # What the first run has saved is what the next one loads.
    db.tag_artifacts(records, PROJECT, "latest")


def store_artifact(db: Any, record: dict[str, Any], tree: str) -> dict[str, Any]:
    """Store a version of an artifact as a run's own."""
    for name in ("uid", "tag", "updated"):
        record["metadata"].pop(name, None)
    key = record["spec"]["db_key"]
    stored: dict[str, Any] = db.store_artifact(key, record, 0, None, PROJECT, tree)
    return stored


def uri_of(record: dict[str, Any]) -> str:
    """Give the URI that a run has of an artifact."""
    import mlrun  # noqa: PLC0415 - after the project, which lets it use an embedded store

    uri = mlrun.artifacts.dict_to_artifact(record).uri
    return str(mlrun.utils.remove_tag_from_artifact_uri(uri))


@contextmanager
def one_transaction(db: Any) -> Iterator[None]:
    """Let all that is stored be one transaction, which is a hundred times as fast."""
    own = db.transaction

    @contextmanager
    def joined() -> Iterator[Any]:
        yield db.connection

    with own():
        db.transaction = joined
        try:
            yield
        finally:
            db.transaction = own


def measure(
    project: Path, stores: dict[str, Path], cases: dict[str, list[str]], repeat: int
) -> Table:
    """Run each command on each store in turn, and give the times as a table."""
    table = Table("command", "store", "repeats", "least s", "median s", "times the empty one")
    for name, arguments in cases.items():
        seconds: dict[str, list[float]] = {store: [] for store in stores}
        title = f"Measuring {name}"
        for _ in track(range(repeat), title, console=Console(stderr=True)):
            for store, path in stores.items():
                seconds[store].append(kedro(project, path, *arguments))
        base = statistics.median(seconds["empty"])
        for store, found in seconds.items():
            ratio = statistics.median(found) / base
            table.add_row(
                f"kedro {' '.join(arguments)}",
                store,
                str(len(found)),
                f"{min(found):.2f}",
                f"{statistics.median(found):.2f}",
                f"{ratio:.2f}{' (too slow)' if ratio > LIMIT else ''}",
            )
    return table


def main() -> None:
    """Make the stores, measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=10_000, help="runs in the full store")
    parser.add_argument("--repeat", type=int, default=5, help="how often each command is run")
    parser.add_argument("--case", choices=CASES, action="append", help="only this command")
    options = parser.parse_args()
    cases = {name: CASES[name] for name in options.case or CASES}
    with tempfile.TemporaryDirectory() as folder:
        project = Path(cookiecutter(str(ROOT), no_input=True, output_dir=folder))
        # Before the one that is installed here: these are the files as they are now.
        sys.path.insert(0, str(project / "src"))
        stores = {name: Path(folder, name, "mlrun.db") for name in ("empty", "full")}
        for store in stores.values():
            store.parent.mkdir()
        kedro(project, stores["empty"], "run", f"--params={FEW_TREES}")
        copy(stores["empty"], stores["full"])
        # MLRun connects while it is imported, where its settings name a store.
        for name in [name for name in os.environ if name.startswith("MLRUN_")]:
            del os.environ[name]
        os.environ["MLRUN_IGNORE_ENV_FILE"] = "true"
        fill(stores["full"], options.runs)
        shared = {"lineage": ["mlrun", "lineage", "test_set"]} if "lineage" in cases else {}
        console = Console(width=100)
        console.print(measure(project, stores, cases, options.repeat))
        if shared:
            console.print(f"Of what all {options.runs:,} runs of the full store have used:")
            console.print(measure(project, stores, shared, options.repeat))


if __name__ == "__main__":
    main()
