"""Stores for the package's tests."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from forkserver import fork_server
from helpers import API, PROJECT, Store, new_store
from store_api import store_api


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of each test that runs on both stores, run one case on the stand-in for an API."""
    seen, kept, left = set(), [], []
    for item in items:
        case = getattr(item, "callspec", None)
        on_stand_in = not API and case and case.params.get("store") == "api"
        test = (item.path, getattr(item, "originalname", ""))
        (left if on_stand_in and test in seen else kept).append(item)
        seen |= {test} if on_stand_in else set()
    config.hook.pytest_deselected(items=left)
    items[:] = kept


@pytest.fixture(scope="session")
def api_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address in MLRUN_TEST_DBPATH, or of a stand-in that answers as an API does."""
    if API:
        yield API
    else:
        with store_api(tmp_path_factory.mktemp("api")) as api:
            yield api.url


@pytest.fixture(params=["embedded", "api"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Give an empty MLRun project: on an embedded store, and on an API, see `api_url`.

    It has the `dbpath`, the `project`'s name, the `manager`, and `new_process()`, after which
    nothing that the test did before is remembered but what is in the store.
    """
    is_api = request.param == "api"
    dbpath = request.getfixturevalue("api_url") if is_api else f"sqlite:///{tmp_path}/mlrun.db"
    yield from new_store(dbpath, tmp_path)


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Store]:
    """Give an empty MLRun project on an embedded store."""
    yield from new_store(f"sqlite:///{tmp_path}/mlrun.db", tmp_path)


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
        code = f"from kedro_mlrun import *\n{code}"
        done = fork_server(Path(sys.executable)).run(["python", "-c", code], Path.cwd(), env)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run
