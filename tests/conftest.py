"""Projects to test: made from the files that a clone of this repository would hold."""

import compileall
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from cookiecutter.main import cookiecutter
from forkserver import SHARED, fork_server, option, share
from helpers import copy_starter

# The environment that the tests run in has everything a generated project needs.
VENV = Path(sys.prefix)
KEDRO = VENV / "bin" / "kedro"
PYTHON = VENV / "bin" / "python"


def pytest_configure(config: pytest.Config) -> None:
    """Have one process that commands are forked from, for all workers."""
    if not hasattr(config, "workerinput"):
        share()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long, so that all workers are at work to the end."""
    items.sort(key=lambda item: Path(__file__).parent != item.path.parent)
    for item in items:
        if "installed" in item.fixturenames:  # type: ignore[attr-defined]
            item.add_marker(pytest.mark.xdist_group("installed"))


@dataclass(frozen=True)
class Folder:
    """A folder to run commands in, with nothing of the user's own settings."""

    path: Path
    variables: Mapping[str, str]
    # Whose `python -m kedro` is forked.
    python: Path = PYTHON

    def run(
        self, *command: str | Path, ok: bool = True, fork: bool = True, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command there; with `ok` it must succeed, and with `fork` Python's are forked."""
        env = {**self.variables, **variables}
        words = [*map(str, command)]
        if words[0].startswith(f"{VENV}/bin/") or self.python != PYTHON:
            words[0] = Path(words[0]).name
        slow = words[0] in {"kedro", "mlrun"} or (words[0] == "python" and option(words))
        if slow and fork:
            done = fork_server(self.python).run(words, self.path, env)
        else:
            done = subprocess.run(
                command, cwd=self.path, env=env, capture_output=True, text=True, check=False
            )
        assert not ok or done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done

    def start(
        self, *command: str, variables: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[Any]:
        """Starts `kedro …` there, forked, with the streams that `subprocess.Popen` takes."""
        kedro = fork_server(self.python).environment / "bin" / "kedro"
        env = {**self.variables, **(variables or {})}
        return subprocess.Popen([kedro, *command], cwd=self.path, env=env, **options)

    def make(self, *arguments: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs make there, with the environment that the tests run in."""
        venv = f"VENV={fork_server(self.python).environment}"
        return self.run("make", "--no-print-directory", *arguments, venv, ok=ok)

    def at(self, path: Path) -> "Folder":
        """The same for another folder, which is made if it is missing."""
        path.mkdir(parents=True, exist_ok=True)
        return replace(self, path=path)

    def files(self) -> dict[str, tuple[bytes, int]]:
        """The content and mode of each file, by its path in the folder; but for compiled ones."""
        return {
            path.relative_to(self.path).as_posix(): (path.read_bytes(), path.stat().st_mode)
            for path in sorted(self.path.rglob("*"))
            if path.is_file() and path.suffix != ".pyc"
        }


def give_pipelines(project: Folder, registry: str, parameters: str, catalog: str) -> None:
    """Let a generated project have these pipelines, parameters and data in place of its own."""
    (project.path / "src" / "breast_cancer" / "pipeline_registry.py").write_text(registry)
    conf = project.path / "conf" / "base"
    for file in conf.glob("parameters*"):
        file.unlink()
    (conf / "parameters.yml").write_text(parameters)
    (conf / "catalog.yml").write_text(catalog)


def environment_of_the_lock(folder: Folder) -> Path:
    """An environment with the packages of the lock, which knows no kedro_mlrun, without a copy."""
    folder.run(sys.executable, "-m", "venv", "--without-pip", ".venv")
    (packages,) = folder.path.glob(".venv/lib/python*/site-packages")
    for path in next(VENV.glob("lib/python*/site-packages")).iterdir():
        if not re.match(r"_?(editable_impl_)?kedro_mlrun", path.name):
            (packages / path.name).symlink_to(path)
    return folder.path / ".venv" / "bin" / "python"


def commit(folder: Folder) -> None:
    """Make the folder a git repository with a commit of all that it holds."""
    folder.run("git", "init", "--quiet", "--initial-branch=main")
    folder.run("git", "add", "--all")
    folder.run("git", "commit", "--quiet", "--message=First")


def changes(folder: Folder) -> str:
    """What git says has changed since."""
    return folder.run("git", "status", "--porcelain").stdout


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Environment variables under which no setting of the user has a say."""
    folder = tmp_path_factory.mktemp("settings")
    config = folder / "cookiecutter.yml"
    config.write_text(f"cookiecutters_dir: {folder}/clones\nreplay_dir: {folder}/replay\n")
    kept = {
        name: value
        for name, value in os.environ.items()
        # PYTHONPATH is set by Kedro, to the project that these tests import the package from.
        if not name.startswith(
            (
                "MLRUN_",
                "KEDRO_",
                "V3IO_",
                "MAKE",
                "MFLAGS",
                "PYTEST_",
                "PYTHONPATH",
                "PYTHONDONT",
                SHARED,
            )
        )
    }
    return kept | {
        "COOKIECUTTER_CONFIG": str(config),
        "DO_NOT_TRACK": "1",
        "COLUMNS": "200",
        # What mypy knows of other packages is the same for all projects, and the next time, too.
        "MYPY_CACHE_DIR": str(VENV / "mypy"),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_AUTHOR_NAME": "test",
        "GIT_AUTHOR_EMAIL": "test@example.com",
        "GIT_COMMITTER_NAME": "test",
        "GIT_COMMITTER_EMAIL": "test@example.com",
    }


@pytest.fixture(scope="session")
def starter(tmp_path_factory: pytest.TempPathFactory, settings: Mapping[str, str]) -> Folder:
    """A clone of this repository as its files are now, committed or not."""
    clone = tmp_path_factory.mktemp("starter") / "starter.git"
    copy_starter(clone)
    folder = Folder(clone, settings)
    folder.run("git", "init", "--quiet", "--initial-branch=main")
    folder.run("git", "add", "--all")
    folder.run("git", "commit", "--quiet", "--message=As it is now")
    return folder


def generate(starter: Folder, folder: Path, **names: str) -> Path:
    """Generates a project in a folder, and gives its own."""
    project = cookiecutter(
        str(starter.path),
        no_input=True,
        extra_context=names,
        output_dir=str(folder),
        config_file=starter.variables["COOKIECUTTER_CONFIG"],
    )
    return Path(project)


@pytest.fixture(scope="session")
def default_project(starter: Folder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project without names of one's own, compiled: each command would do it again."""
    project = generate(starter, tmp_path_factory.mktemp("default"))
    compileall.compile_dir(project / "src", quiet=1)
    return project


@pytest.fixture
def bake(starter: Folder, default_project: Path, tmp_path: Path) -> Callable[..., Folder]:
    """Generates a project: `bake()`, or with names, `bake(project_name="Churn")`."""

    def bake(**names: str) -> Folder:
        if names:
            return starter.at(generate(starter, tmp_path, **names))
        project = tmp_path / default_project.name
        shutil.copytree(default_project, project, dirs_exist_ok=True)
        return starter.at(project)

    return bake


@pytest.fixture(scope="session")
def installed(
    tmp_path_factory: pytest.TempPathFactory, starter: Folder, settings: Mapping[str, str]
) -> Folder:
    """A folder with the wheel, and an environment of its own where it is installed.

    The other packages are those of the tests' environment, but for its kedro_mlrun and what only
    the starter's example needs.
    """
    other = {"_kedro_mlrun.pth", "kedro_mlrun", "matplotlib", "pandera", "sklearn", "xgboost"}
    folder = tmp_path_factory.mktemp("installed")
    starter.run(sys.executable, "-m", "hatchling", "build", "--target=wheel", "-d", folder)
    venv.create(folder / "venv")
    [packages] = (folder / "venv" / "lib").glob("python*/site-packages")
    for package in Path(sysconfig.get_path("purelib")).iterdir():
        if package.name not in other and not package.name.startswith("kedro_mlrun-"):
            (packages / package.name).symlink_to(package)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(packages)
    compileall.compile_dir(packages / "kedro_mlrun", quiet=1)
    path = f"{folder}/venv/bin{os.pathsep}{settings['PATH']}"
    variables = {**settings, "PATH": path, "PYTHONPATH": ""}
    return Folder(folder, variables, folder / "venv" / "bin" / "python")
