"""What the package's tests share: a generated project, and a store of their own."""

import atexit
import os
import random
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace

API_VARIABLE = "MLRUN_TEST_DBPATH"
API = os.environ.get(API_VARIABLE)
ROOT = Path(__file__).parents[1]

# What the user's shell or ~/.mlrun.env tells MLRun must not reach the tests, nor they a team's API.
for name in list(os.environ):
    if name.startswith(("MLRUN_", "KEDRO_ENV")) and name != API_VARIABLE:
        del os.environ[name]
os.environ.update(MLRUN_IGNORE_ENV_FILE="true", DO_NOT_TRACK="true", COLUMNS="200")

from cookiecutter.main import cookiecutter  # noqa: E402
from kedro.framework.project import pipelines  # noqa: E402
from kedro.framework.startup import ProjectMetadata, bootstrap_project  # noqa: E402

Store = SimpleNamespace


def listed_files() -> list[str]:
    """The files of this repository as they are now, committed or not; not what git ignores."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def copy_starter(folder: Path) -> None:
    """Copy the files that a clone of this repository would hold."""
    for name in listed_files():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)


def _generated() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="kedro-mlrun-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    copy_starter(folder / "starter")
    config = folder / "cookiecutter.yml"
    config.write_text(f"cookiecutters_dir: {folder}/clones\nreplay_dir: {folder}/replay\n")
    return Path(
        cookiecutter(
            str(folder / "starter"),
            no_input=True,
            output_dir=str(folder),
            config_file=str(config),
        )
    )


PROJECT = _generated()
"""A generated project, whose `src` is where the tests import the package from."""


@cache
def metadata() -> ProjectMetadata:
    """Give what pyproject.toml says of the project, among it the package's name."""
    return bootstrap_project(PROJECT)


metadata()


def project_module(name: str) -> ModuleType:
    """Import a module of the user's package in the project."""
    return import_module(f"{metadata().package_name}.{name}")


def new_store(dbpath: str, folder: Path) -> Iterator[Store]:
    """Give an empty MLRun project in a store, see the fixture `store`."""
    # Not at the top: pytest's own process would wait for it before it starts those of the tests.
    import mlrun

    from kedro_mlrun import MLRunContextManager

    manager = MLRunContextManager()
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
        manager._projects.clear()
        mlrun.run.global_context.set(None)
        # What MLRun's functions leave behind when they ran in this process.
        for name in ("MLRUN_META_TMPFILE", "MLRUN_EXEC_CONFIG"):
            os.environ.pop(name, None)
        # Kedro keeps which pipelines were asked for last.
        pipelines.configure(f"{metadata().package_name}.pipeline_registry")
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
    # MLRun sets it to `./` where it is asked for a store and knows none.
    os.environ.pop("MLRUN_DBPATH", None)


def own_port() -> int:
    """Give a free port that nobody else takes, also while nothing listens at it.

    It is none that a system gives by itself, and none that a server finds as the next free one.
    """
    while True:
        with socket.socket() as free, suppress(OSError):
            free.bind(("127.0.0.1", random.randrange(10_000, 30_000)))
            return int(free.getsockname()[1])


def states(store: Store) -> list[tuple[str, str]]:
    """Give names and states of the project's runs, oldest first."""
    import mlrun

    long_ago = datetime(2000, 1, 1, tzinfo=UTC)
    runs = mlrun.get_run_db().list_runs(project=store.project, start_time_from=long_ago)
    return [(run["metadata"]["name"], run["status"]["state"]) for run in reversed(runs)]
