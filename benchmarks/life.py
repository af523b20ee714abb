"""The life of a model in one project, without a server of MLRun's: `make life`.

From made rows to a rollback, each step is what a user would type. The table at the end tells what
came of each, and how long it took. The first step that goes wrong ends it, with what was printed.

    .venv/bin/python benchmarks/life.py
"""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
from cookiecutter.main import cookiecutter
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
KEDRO = Path(sys.executable).with_name("kedro")
ROWS, NEW, REQUESTS, TRIALS = 3_000, 500, 1_000, 20
GATES = "gates: {roc_auc: {at_least: 0.7, worse_by: 0.02}}"
PATIENCE = 30  # seconds for a server to follow an alias
JSON = {"Content-Type": "application/json"}
POOR = ",".join(f"{name}.model.arguments.n_estimators=1" for name in ("random_forest", "xgboost"))
BETTER = "random_forest.model.instead.estimator=sklearn.linear_model.LogisticRegression"
BETTER += ",random_forest.model.instead.arguments.max_iter=1000"
SHIFTED = "--inputs=new_measurements=data/01_raw/shifted.csv"


class Failed(Exception):
    """A step did not do what it is for."""


class Life:
    """A generated project, and what its steps have printed.

    Args:
        folder: where the project is made.
        kedro: the command.
        environment: its environment variables.
    """

    def __init__(
        self, folder: Path, kedro: Path = KEDRO, environment: Mapping[str, str] = os.environ
    ) -> None:
        shutil.rmtree(folder / "customer-churn", ignore_errors=True)
        answers = {"project_name": "Customer Churn"}
        self.path = Path(
            cookiecutter(str(ROOT), no_input=True, extra_context=answers, output_dir=str(folder))
        )
        self.rows: list[tuple[str, str, float]] = []
        self.answered = 0  # requests
        self._kedro = str(kedro)
        self._env = {**environment, "PYTHONPATH": "src", "DO_NOT_TRACK": "1", "NO_COLOR": "1"}

    def step(self, what: str, done: Callable[[], str]) -> None:
        """Do a step, and note what came of it."""
        print(f"{what} ...", flush=True)  # noqa: T201 - it is for who waits
        begun = time.perf_counter()
        self.rows.append((what, done(), time.perf_counter() - begun))

    def kedro(self, *words: str, code: int = 0) -> str:
        """Run a command of Kedro, and give what it printed."""
        done = subprocess.run(  # noqa: S603 - of the project that this has made
            [self._kedro, *words],
            cwd=self.path,
            env=self._env,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != code:
            raise Failed(f"kedro {' '.join(words)}\n{done.stdout}{done.stderr}")
        return done.stdout

    def results(self, run: str = "last") -> dict[str, Any]:
        """Give the results of a run."""
        shown: dict[str, Any] = json.loads(self.kedro("mlrun", "show", run, "--json"))
        return dict(shown["results"])

    @contextmanager
    def server(self, *words: str) -> Iterator[str]:
        """Serve, and give the address."""
        command = [self._kedro, "mlrun", "serve", *words, "--port", "0"]
        process = subprocess.Popen(  # noqa: S603
            command,
            cwd=self.path,
            env=self._env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        lines, said = process.stdout or [], ""
        try:
            for line in lines:
                said += line
                if found := re.search(r"http://[\d.]+:\d+", line):
                    threading.Thread(target=list, args=[lines], daemon=True).start()
                    yield found[0]
                    return
            raise Failed(f"{' '.join(command)}\n{said}")
        finally:
            process.terminate()
            process.wait()

    def ask(self, url: str, rows: pd.DataFrame, count: int) -> Counter[str]:
        """Send requests of one row each, and count what answered: versions, or what failed."""
        at, found = urlsplit(url), Counter[str]()
        bodies = [json.dumps({"inputs": [row]}) for row in rows.to_dict(orient="records")]
        http = HTTPConnection(str(at.hostname), at.port, timeout=10)
        for number in range(count):
            try:
                http.request("POST", "/predict", bodies[number % len(bodies)], JSON)
                answer = http.getresponse()
                version = json.loads(answer.read()).get("model_version", "")
                found[version[:8] if answer.status == HTTPStatus.OK else "failed"] += 1
            except (OSError, HTTPException):
                found["failed"] += 1
                http.close()
        self.answered += count - found["failed"]
        return found


def made_rows(count: int, seed: int, shift: float = 0) -> pd.DataFrame:
    """Make customers, and which of them left; a shift makes their bills dearer."""
    random = np.random.default_rng(seed)
    months, bill = random.gamma(2, 12, count), random.normal(60 + shift, 15, count)
    plan = random.choice(["basic", "family", "business"], count, p=[0.5, 0.3, 0.2])
    calls = random.poisson(2, count)
    leaves = (bill - 60) / 8 - months / 15 + calls + 2 * (plan == "basic") - 1
    return pd.DataFrame(
        {
            "months": months.round(1),
            "monthly_bill": bill.round(2),
            "plan": plan,
            "calls_to_support": calls,
            "churned": np.where(leaves > random.logistic(size=count), "yes", "no"),
        }
    )


def configure(path: Path) -> str:
    """Put made rows into the project, as the section "Your own data" of its README says."""
    made_rows(ROWS, 1).to_csv(path / "data/01_raw/measurements.csv", index=False)
    for name, shift in {"new_measurements": 0, "shifted": 20}.items():
        rows = made_rows(NEW, 2, shift).drop(columns="churned")
        rows.to_csv(path / f"data/01_raw/{name}.csv", index=False)
    catalog, parameters = path / "conf/base/catalog.yml", path / "conf/base/parameters_training.yml"
    catalog.write_text(re.sub(r"\n  validator: .*", "", catalog.read_text()))
    parameters.write_text(parameters.read_text().replace("diagnosis", "churned"))
    settings = path / "conf/base/mlrun.yml"
    settings.write_text(settings.read_text().replace("gates: {}", GATES))
    return f"{ROWS} customers"


def live(life: Life) -> None:
    """Do all steps."""
    rows = made_rows(NEW, 3).drop(columns="churned")

    def search() -> str:
        told = json.loads(life.kedro("mlrun", "search", "--trials", str(TRIALS), "--json"))
        return f"{told['trials']} trials; best {told['metric']} {told['value']:.4f}"

    def promote(*words: str) -> str:
        return last_line(life.kedro("mlrun", "promote", *words))

    def refused() -> str:
        life.kedro("run", "--pipelines=training,evaluation", f"--params={POOR}")
        done = life.kedro("mlrun", "promote", "model", code=1)
        return last_line(done)

    def predict() -> str:
        life.kedro("run", "--pipelines=inference")
        return f"{NEW} rows"

    def drift(*words: str) -> str:
        life.kedro("mlrun", "submit", "--local", "--pipelines=monitoring", *words)
        found = life.results()
        return f"{found['drift.state']}; worst feature {found['drift.worst_feature']}"

    def challenger() -> str:
        life.kedro("run", "--pipelines=training,evaluation", f"--params={BETTER}")
        return promote("model", "--to", "challenger")

    def history() -> str:
        told = json.loads(life.kedro("mlrun", "history", "model", "--json"))
        refusals = sum(each["state"] == "error" for each in told)
        return f"{len(told)} entries, {refusals} of them a refusal"

    life.step("search", search)
    life.step("promote the best", lambda: promote("model"))
    life.step("predict new rows", predict)
    life.step("monitor new rows", drift)
    life.step("monitor shifted rows", lambda: drift(SHIFTED))
    life.step("gates refuse a poor model", refused)
    life.step("train a challenger", challenger)
    with life.server("model", "--shadow", "challenger") as url:

        def requests() -> str:
            return told_by(life.ask(url, rows, REQUESTS))

        def swapped(before: Counter[str]) -> Counter[str]:
            """Ask until another version answers than before."""
            end = time.monotonic() + PATIENCE
            while not (now := life.ask(url, rows, 1)).keys() - before.keys():
                if time.monotonic() > end:
                    raise SystemExit(f"The server hasn't followed the alias in {PATIENCE} seconds.")
            return now

        def under_load() -> str:
            found, said = life.ask(url, rows, 50), list[str]()
            before = found.copy()
            thread = threading.Thread(target=lambda: said.append(promote("model:challenger")))
            thread.start()
            while thread.is_alive():
                found += life.ask(url, rows, 50)
            return f"{''.join(said)} {told_by(found + swapped(before))}"

        def rollback() -> str:
            # Before: afterwards, the server may have followed already.
            before = life.ask(url, rows, 1)
            said = last_line(life.kedro("mlrun", "rollback", "model"))
            return f"{said} {told_by(swapped(before))}"

        life.step(f"serve {REQUESTS} requests, with a shadow", requests)
        life.step("promote the challenger under load", under_load)
        life.step("roll back", rollback)
    life.step("compare with the shadow", lambda: compared(life))
    life.step("history", history)


def compared(life: Life) -> str:
    """Tell how often the shadow would have given another answer, by the recorded requests."""
    files = [*life.path.glob(".mlrun/artifacts/requests/model/*/*/*.parquet")]
    told = pd.concat([pd.read_parquet(file) for file in files])
    if len(told) != life.answered:
        raise Failed(f"{len(told)} of {life.answered} requests are recorded.")
    differ = (told["answer.prediction"] != told["shadow.prediction"]).sum()
    return f"another answer to {differ} of {len(told)} requests"


def last_line(text: str) -> str:
    """Give the last line of what was printed."""
    return text.strip().splitlines()[-1]


def told_by(found: Counter[str]) -> str:
    """Tell how many requests each version answered; none may have failed."""
    if found["failed"]:
        raise Failed(f"{found['failed']} of {found.total()} requests failed.")
    return ", ".join(f"{count} answers by {version}" for version, count in found.items() if count)


def main() -> int:
    """Go through the life, and print its table."""
    begun, console = time.perf_counter(), Console(highlight=False)
    life = Life(ROOT / "build")
    try:
        life.step("make rows", lambda: configure(life.path))
        live(life)
    except Failed as error:
        console.print(f"This step failed: {error}", markup=False)
        return 1
    table = Table("step", "what came of it", "seconds")
    for what, came, seconds in life.rows:
        table.add_row(what, came, f"{seconds:.1f}")
    console.print(table)
    console.print(f"The whole life took {time.perf_counter() - begun:.0f} s. It is in {life.path}.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
