"""Kedro's own HTTP server: what it runs is recorded as everything else is."""

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from urllib.request import Request, urlopen

import pytest
from conftest import PYTHON, VENV, Folder
from helpers import own_port

KEDRO = VENV / "bin" / "kedro"

REGISTRY = """
import time
from pathlib import Path

from kedro.pipeline import Node, Pipeline


def tell(number):
    Path(f"at_work_{number}").touch()
    while not Path("go").exists():
        time.sleep(0.05)
    if number < 0:
        raise ValueError(f"{number} is below 0")
    return {"number": number}, float(number)


def register_pipelines():
    node = Node(tell, "params:number", ["told", "score"], name="tell")
    return {"__default__": Pipeline([node])}
"""

CATALOG = """
told:
  type: kedro_mlrun.MLRunAbstractDataset
score:
  type: kedro_mlrun.MLRunResult
"""

TELL = """
import json
from kedro_mlrun import MLRunAbstractDataset, MLRunContextManager
from kedro_mlrun.records.records import Records
from kedro_mlrun.records.summaries import summary
from kedro_mlrun.store.fields import producer
manager = MLRunContextManager()
records = Records(manager.db, manager.project.metadata.name)
saved = [producer(item) for item in records.artifacts("told", limit=None)]
told = {uid: MLRunAbstractDataset("told", load_args={"uid": uid}).load() for uid in saved}
print(json.dumps([[summary(run) for run in records.runs()], saved, told]))
"""


class Server:
    """A server of a project, and who asks it to run something."""

    def __init__(self, project: Folder) -> None:
        self.port = own_port()
        self.project = project
        self.log = (project.path / "server.log").open("w+")
        self.process = subprocess.Popen(
            [KEDRO, "server", "start", f"--port={self.port}"],
            cwd=project.path,
            env=dict(project.variables),
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )
        self.callers = ThreadPoolExecutor(4)
        self.until(self.answers)

    def until(self, condition: Callable[[], bool]) -> None:
        for _ in range(600):
            if condition():
                return
            assert self.process.poll() is None, self.said()
            time.sleep(0.1)
        raise AssertionError(self.said())

    def said(self) -> str:
        self.log.seek(0)
        return self.log.read()

    def answers(self) -> bool:
        try:
            return bool(self.ask("health")["status"] == "healthy")
        except OSError:
            return False

    def ask(self, path: str, body: Any = None) -> Any:
        request = Request(
            f"http://127.0.0.1:{self.port}/{path}",
            data=json.dumps(body).encode() if body else None,
            headers={"Content-Type": "application/json"},
        )
        with urlopen(request, timeout=60) as response:
            return json.load(response)

    def run(self, *numbers: int, **options: str) -> "list[Future[Any]]":
        """Ask for runs, all at once, and wait until their nodes are at work."""
        asked = [
            self.callers.submit(self.ask, "run", {"params": {"number": number}, **options})
            for number in numbers
        ]
        for number in numbers:
            self.until((self.project.path / f"at_work_{number}").exists)
        return asked


@pytest.fixture
def server(bake: Callable[..., Folder]) -> Iterator[Server]:
    project = bake()
    (project.path / "src" / "breast_cancer" / "pipeline_registry.py").write_text(REGISTRY)
    (project.path / "conf" / "base" / "catalog.yml").write_text(CATALOG)
    (project.path / "conf" / "base" / "parameters.yml").write_text("number: 0\n")
    server = Server(project)
    yield server
    server.process.kill()
    server.process.wait()
    server.callers.shutdown()
    server.log.close()


def test_runs_of_the_server(server: Server) -> None:
    """Several at once are several; a failing one is one, too; Ctrl-C waits for those that go on."""
    project, go = server.project, server.project.path / "go"
    asked = server.run(1, 2, -3)
    # With threads of their own, too.
    asked += server.run(4, runner="ThreadRunner")
    go.touch()
    states = [future.result()["status"] for future in asked]
    assert states == ["success", "success", "failure", "success"], server.said()

    go.unlink()
    asked = [*server.run(5), *server.run(6, runner="ThreadRunner")]
    assert server.ask("health")["status"] == "healthy"
    server.process.send_signal(signal.SIGINT)
    go.touch()
    assert [future.result()["status"] for future in asked] == ["success"] * 2, server.said()
    server.process.wait(timeout=60)

    printed = project.run(PYTHON, "-c", TELL, PYTHONPATH="src").stdout
    runs, saved, told = json.loads(printed.splitlines()[-1])
    found = {run["parameters"]["number"]: run for run in runs}
    assert len(runs) == len(found) == 6
    states = {number: run["state"] for number, run in found.items()}
    assert states == dict.fromkeys((1, 2, 4, 5, 6), "completed") | {-3: "error"}
    assert found[-3]["error"].startswith("Node 'tell': ValueError: -3 is below 0")
    done = [1, 2, 4, 5, 6]
    assert [found[number]["results"]["score"] for number in done] == done
    # Nothing was saved beside the runs.
    assert len(saved) == len(done)
    assert told == {found[number]["uid"]: {"number": number} for number in done}
