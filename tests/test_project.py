"""A generated project: its first run, its own checks, its package."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from conftest import KEDRO, PYTHON, VENV, Folder, changes, commit, environment_of_the_lock
from forkserver import fork_server
from test_jobs import PARAMS

# In the parameters of the training pipeline.
FEWER_TREES = ("n_estimators: 100", "n_estimators: 5")

# What Kedro tells that doesn't help here.
ADVICE = ("No nodes ran", "--async", "'.' characters", "logging configuration")


def test_a_failed_run_says_its_reason_once(bake: Callable[..., Folder]) -> None:
    """Law 9: what went wrong, and what to do, stands in one place; the traceback is recorded."""
    project, reason = bake(), "Column 'nope' is not in the data"
    wrong, forked = "split.target=nope", fork_server(PYTHON).environment
    for command in (
        ["make", "run-local", f"VENV={forked}", f"PARAMS={wrong}"],
        [KEDRO, "run", f"--params={wrong}"],
        [KEDRO, "run", f"--params={wrong}", "--runner=ParallelRunner"],
        [KEDRO, "mlrun", "workflow", "training", "--local", "--params", wrong],
    ):
        done = project.run(*command, ok=False)
        printed = done.stdout + done.stderr
        assert done.returncode and printed.count(reason) == 1, printed
        assert "Traceback" not in printed
        assert not [advice for advice in ADVICE if advice in printed]
    found = project.run(KEDRO, "mlrun", "show", "last").stdout
    assert "Traceback" in found and "in split_data" in found


def test_a_pipeline_of_ones_own_reads_a_shipped_model_without_a_warning(
    bake: Callable[..., Folder],
) -> None:
    """Law 9: Kedro warns of names with dots outside of their namespace, and none has any."""
    project = bake()
    folder = project.path / "src" / "breast_cancer" / "pipelines" / "reading"
    folder.mkdir()
    read = ["xgboost_model", "random_forest_model", "xgboost_learning_curve"]
    (folder / "__init__.py").write_text(
        "from kedro.pipeline import Node, Pipeline\n\n\n"
        "def create_pipeline():\n"
        f"    return Pipeline([Node(lambda *read: len(read), {read}, 'count', name='read')])\n"
    )
    done = project.make("run-local", f"PARAMS={PARAMS}")
    printed = done.stdout + done.stderr
    assert "Completed node: read" in printed
    assert not [advice for advice in (*ADVICE, "WARNING") if advice in printed], printed
    # Results in a short table, and no line padded: a terminal would fold it into empty ones.
    assert re.search(r"^ +accuracy +precision +recall +f1 +roc_auc +log_loss$", printed, re.M)
    assert not [line for line in printed.partition("MLRun run")[2].splitlines() if line[-1:] == " "]


def test_its_own_checks_and_tests_pass(bake: Callable[..., Folder]) -> None:
    project = bake()
    commit(project)
    project.run("git", "remote", "add", "origin", "https://user:secret@example.com/a.git")
    project.make("check")
    project.make("test")
    assert changes(project) == ""
    # It records in a temporary store.
    assert not (project.path / ".mlrun").exists()


def test_a_test_run_that_is_killed_leaves_the_work_tree_clean(
    bake: Callable[..., Folder], tmp_path: Path
) -> None:
    project, temporary = bake(), tmp_path / "temporary"
    commit(project)
    temporary.mkdir()
    process = subprocess.Popen(
        [fork_server(PYTHON).environment / "bin" / "python", "-m", "pytest", "tests/test_run.py"],
        cwd=project.path,
        env={**project.variables, "TMPDIR": str(temporary)},
    )
    while not [*temporary.glob("*/mlrun.db")]:
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert changes(project) == ""


def newer_starter(starter: Folder, folder: Path) -> Folder:
    """A clone of the starter with a later commit: other words, and a package of version 9."""
    starter.run("git", "clone", "--quiet", starter.path, folder)
    newer, template = starter.at(folder), folder / "{{ cookiecutter.repo_name }}"
    package = template / "src" / "kedro_mlrun"
    for file in (template / "README.md", package / "text.py"):
        file.write_text(file.read_text() + "\n# Of the newer starter\n")
    init = package / "__init__.py"
    init.write_text(re.sub('__version__ = ".+"', '__version__ = "9.0.0"', init.read_text()))
    newer.run(PYTHON, "manifest.py")
    newer.run("git", "commit", "--quiet", "--all", "--message=Newer")
    return newer


def test_checks_and_tests_pass_after_ordinary_work_and_an_update(
    starter: Folder, bake: Callable[..., Folder], tmp_path: Path
) -> None:
    """After the README's "Your own data", with new pipelines, notebooks, and a newer starter."""
    project = bake()
    conf, source = project.path / "conf" / "base", project.path / "src"
    pipelines = source / "breast_cancer" / "pipelines"
    rows = [(size, size % 7, ["small", "large"][size > 50]) for size in range(100)]
    frame = pd.DataFrame(rows, columns=["size", "noise", "kind"])
    frame.to_csv(project.path / "data" / "01_raw" / "own.csv", index=False)
    catalog = (conf / "catalog.yml").read_text().replace("measurements.csv", "own.csv")
    (conf / "catalog.yml").write_text(re.sub(r"^  validator: .+\n", "", catalog, flags=re.M))
    parameters = (conf / "parameters_training.yml").read_text()
    parameters = parameters.replace("diagnosis", "kind").replace(*FEWER_TREES)
    (conf / "parameters_training.yml").write_text(parameters)
    (pipelines / "schemas.py").unlink()
    (project.path / "data" / "01_raw" / "measurements.csv").unlink()

    project.run(KEDRO, "pipeline", "create", "scoring")
    (pipelines / "counting").mkdir()
    (pipelines / "counting" / "__init__.py").write_text(
        "from kedro.pipeline import Node, Pipeline\n\n\n"
        "def create_pipeline():\n"
        '    return Pipeline([Node(len, "measurements", "rows")])\n'
    )
    (project.path / "notebooks").mkdir()
    (project.path / "notebooks" / "look.ipynb").write_text(
        '{"cells": [{"cell_type": "code", "execution_count": null, "metadata": {}, "outputs": [],'
        ' "source": ["import os,sys\\n", "x=1;y = 2\\n", "%matplotlib inline\\n", "unknown"]}],'
        ' "metadata": {}, "nbformat": 4, "nbformat_minor": 5}'
    )
    edited = (
        project.path / "README.md",
        project.path / "pyproject.toml",
        pipelines / "training" / "nodes.py",
        source / "kedro_mlrun" / "hooks.py",
    )
    for file in edited:
        file.write_text(f"# Of the user\n{file.read_text()}")
    commit(project)

    newer = newer_starter(starter, tmp_path / "newer")
    assert "to 9.0.0" in project.make("update", f"TO={newer.path}").stdout
    for file in edited[:-1]:
        assert file.read_text().startswith("# Of the user\n"), file
    assert edited[0].read_text().endswith("# Of the newer starter\n")
    assert "own.csv" in (conf / "catalog.yml").read_text()
    assert not (pipelines / "schemas.py").exists()
    assert '"9.0.0"' in (source / "kedro_mlrun" / "__init__.py").read_text()
    assert "# Of the user" not in edited[-1].read_text()
    (patch,) = project.path.glob("kedro_mlrun-*.patch")
    assert "+# Of the user" in patch.read_text()
    assert "kedro_mlrun 9.0.0, unchanged" in project.run(KEDRO, "mlrun", "--version").stdout

    project.make("check")
    # The other tests make their own data and parameters.
    project.run(PYTHON, "-m", "pytest", "tests/test_run.py")
    project.run("git", "add", "--all")
    project.run("git", "commit", "--quiet", "--message=Updated")
    assert "completed" in project.make("run-local", "PIPELINE=counting,scoring").stdout
    assert changes(project) == ""


def plain(name: str) -> str:
    """A package's name, as it is compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


# What the project is built with, and what has the commands. The whole lock is in these tests' own
# environment, which is made in the same way.
LOCKED = "editables hatchling kedro mlrun packaging pathspec pluggy trove-classifiers".split()


def test_make_install_makes_an_environment_of_its_own(
    bake: Callable[..., Folder], tmp_path: Path
) -> None:
    """With uv, which is quick; test_make.py has pip install."""
    project = bake()
    programs = project.at(tmp_path / "programs").path
    (programs / "uv").symlink_to(VENV / "bin" / "uv")
    path = f"{programs}{os.pathsep}{project.variables['PATH']}"
    lock = project.path / "requirements.lock"
    pinned = dict(re.findall(r"^([^=\n]+)(==[^;\n]+)$", lock.read_text(), re.M))
    lock.write_text("".join(f"{name}{pinned[name]}\n" for name in LOCKED))
    project.run("make", "install", PATH=path)
    commands = project.path / ".venv" / "bin"
    used = project.run(commands / "python", "-c", "import kedro_mlrun; print(kedro_mlrun.__file__)")
    assert used.stdout.strip() == str(project.path / "src" / "kedro_mlrun" / "__init__.py")
    # All that the lock has, and what is in src.
    code = "import importlib.metadata as m; print(*{d.name for d in m.distributions()}, sep='\\n')"
    found = {plain(name) for name in project.run(commands / "python", "-c", code).stdout.split()}
    assert {*LOCKED, "breast-cancer"} <= found
    for command in ("kedro", "mlrun", "breast_cancer"):
        assert (commands / command).exists()
    assert (
        project.run("make", "install", PATH=path).stdout
        == "make: Nothing to be done for 'install'.\n"
    )


def test_its_package_runs_elsewhere(bake: Callable[..., Folder], tmp_path: Path) -> None:
    """The wheel and the configuration, in a fresh environment that knows nothing of the project."""
    project = bake(project_name="Packed")
    (project.path / "conf" / "local" / "credentials.yml").write_text("db: {password: hunter2}\n")
    project.make("package")
    elsewhere = project.at(tmp_path / "elsewhere")
    python = environment_of_the_lock(elsewhere)
    shutil.copytree(project.path / "data", elsewhere.path / "data")
    shutil.copytree(project.path / "dist", elsewhere.path, dirs_exist_ok=True)
    (wheel,) = elsewhere.path.glob("packed-*.whl")
    elsewhere.run(VENV / "bin/uv", "pip", "install", "--python", python, "--no-deps", wheel)
    shutil.move(project.path, tmp_path / "moved")

    archive = elsewhere.path / "conf-packed.tar.gz"
    listed = elsewhere.run("tar", "-tzf", archive).stdout.split()
    assert "conf/base/catalog.yml" in listed
    assert not [name for name in listed if name.startswith("conf/local/") and name[-1] != "/"]
    done = elsewhere.run(python, "-m", "packed", f"--conf-source={archive}", f"--params={PARAMS}")
    assert "completed" in done.stdout
    # The command is the same.
    assert "from packed.__main__ import main" in (python.parent / "packed").read_text()
