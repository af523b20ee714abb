"""What all tests share: no setting of the machine, and a store of their own."""

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

API_VARIABLE = "MLRUN_TEST_DBPATH"
API = os.environ.get(API_VARIABLE)

# What the user's shell or ~/.mlrun.env tells MLRun must not reach the tests, nor they a team's API.
for name in list(os.environ):
    if name.startswith(("MLRUN_", "KEDRO_ENV")) and name != API_VARIABLE:
        del os.environ[name]
os.environ.update(MLRUN_IGNORE_ENV_FILE="true", DO_NOT_TRACK="true")

from tests import PROJECT, metadata, project_module  # noqa: E402

Store = SimpleNamespace


@pytest.fixture(params=["embedded", "api"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Give an empty MLRun project: on an embedded store, and on the API at MLRUN_TEST_DBPATH.

    It has the `dbpath`, the `project`'s name, the `manager`, and `new_process()`, after which
    nothing that the test did before is remembered but what is in the store.
    """
    if request.param == "api" and not API:
        pytest.skip(f"{API_VARIABLE} names no MLRun API")
    dbpath = API if request.param == "api" else f"sqlite:///{tmp_path}/mlrun.db"
    yield from _store(str(dbpath), tmp_path)


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Store]:
    """Give an empty MLRun project on an embedded store."""
    yield from _store(f"sqlite:///{tmp_path}/mlrun.db", tmp_path)


def _store(dbpath: str, folder: Path) -> Iterator[Store]:
    # Not at the top: pytest's own process would wait for it before it starts those of the tests.
    import mlrun

    manager = project_module("tracking").MLRunContextManager()
    settings = {
        "dbpath": dbpath,
        "active_project": f"test-{uuid.uuid4().hex[:12]}",
        "artifact_path": f"{folder}/artifacts",
    }
    # MLRun's own settings, which win over what a session reads from mlrun.yml.
    mlrun.mlconf.update(settings)
    manager.configure(None, folder)

    def new_process() -> None:
        while manager._runs:
            manager.close_run()
        manager._project = None
        mlrun.run.global_context.set(None)
        # What MLRun's functions leave behind when they ran in this process.
        for name in ("MLRUN_META_TMPFILE", "MLRUN_EXEC_CONFIG"):
            os.environ.pop(name, None)
        # MLRun keeps the first store that it resolved a store:// URL in.
        mlrun.datastore.store_manager._db = None

    new_process()
    yield Store(
        dbpath=dbpath,
        project=settings["active_project"],
        manager=manager,
        new_process=new_process,
    )
    new_process()
    mlrun.mlconf.update(dict.fromkeys(settings, ""))


def states(store: Store) -> list[tuple[str, str]]:
    """Give names and states of the project's runs, oldest first."""
    import mlrun

    long_ago = datetime(2000, 1, 1, tzinfo=UTC)
    runs = mlrun.get_run_db().list_runs(project=store.project, start_time_from=long_ago)
    return [(run["metadata"]["name"], run["status"]["state"]) for run in reversed(runs)]


@pytest.fixture
def python(embedded: Store, tmp_path: Path) -> Callable[[str], str]:
    """Give a function that runs code in a new Python process on the embedded store."""

    def run(code: str) -> str:
        env = {
            **os.environ,
            "MLRUN_DBPATH": embedded.dbpath,
            "MLRUN_ACTIVE_PROJECT": embedded.project,
            "MLRUN_ARTIFACT_PATH": f"{tmp_path}/artifacts",
            "PYTHONPATH": str(PROJECT / "src"),
        }
        code = f"from {metadata().package_name}.datasets import *\n{code}"
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run
