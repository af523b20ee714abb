"""A generated project: its first run, its own checks, its package."""

import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from conftest import VENV, Folder


def shell_commands(readme: Path) -> list[str]:
    """The lines of a document's bash blocks."""
    blocks = re.findall(r"^```bash\n(.*?)^```", readme.read_text(), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line]


def test_a_clone_and_make_demo_end_with_a_recorded_run(starter: Folder, tmp_path: Path) -> None:
    """All set-up included, as in the README's first lines."""
    starter.run("git", "clone", "--quiet", starter.path, tmp_path / "clone")
    clone = starter.at(tmp_path / "clone")
    done = clone.run("make", "demo")
    assert "completed" in done.stdout
    # A warning that a new user can do nothing about.
    assert "WARNING" not in done.stdout + done.stderr
    assert clone.run("git", "status", "--porcelain").stdout == ""


def test_the_commands_of_its_readme_work_and_leave_the_work_tree_clean(
    bake: Callable[..., Folder],
) -> None:
    project = bake()
    project.run("git", "init", "--quiet")
    project.run("git", "add", "--all")
    project.run("git", "commit", "--quiet", "--message=First")
    commands = shell_commands(project.path / "README.md")
    assert commands[0] == "make run-local"
    for command in commands:
        program, *arguments = command.split()
        assert program in {"make", ".venv/bin/kedro"}
        run = project.make if program == "make" else partial(project.run, VENV / "bin" / "kedro")
        expected = "can be written and read" if command.endswith("doctor") else "completed"
        assert expected in run(*arguments).stdout, command
    assert project.run("git", "status", "--porcelain").stdout == ""


def test_its_own_checks_and_tests_pass(bake: Callable[..., Folder]) -> None:
    project = bake()
    project.make("check")
    project.make("test")


def test_make_install_makes_an_environment_of_its_own(bake: Callable[..., Folder]) -> None:
    project = bake()
    project.run("make", "install")
    commands = project.path / ".venv" / "bin"
    moved = project.run(
        commands / "python", "-c", "import kedro_mlrun; print(kedro_mlrun.__file__)"
    )
    assert moved.stdout.strip() == str(project.path / "src" / "kedro_mlrun" / "__init__.py")
    assert "--conf-source" in project.run(commands / "kedro_mlrun", "--help").stdout
    assert project.run("make", "install").stdout == "make: Nothing to be done for 'install'.\n"


def test_its_package_runs_elsewhere(bake: Callable[..., Folder], tmp_path: Path) -> None:
    """The wheel and the configuration, in a fresh environment that knows nothing of the project."""
    project = bake(project_name="Packed")
    (project.path / "conf" / "local" / "credentials.yml").write_text("db: {password: hunter2}\n")
    project.make("package")
    elsewhere = project.at(tmp_path / "elsewhere")
    shutil.copytree(project.path / "data", elsewhere.path / "data")
    shutil.copytree(project.path / "dist", elsewhere.path, dirs_exist_ok=True)
    (wheel,) = elsewhere.path.glob("packed-*.whl")
    elsewhere.run(
        *("sh", project.path / "install.sh", "--no-deps"),
        *("-r", project.path / "requirements.lock", wheel),
    )
    shutil.move(project.path, tmp_path / "moved")

    archive = elsewhere.path / "conf-packed.tar.gz"
    listed = elsewhere.run("tar", "-tzf", archive).stdout.split()
    assert "conf/base/catalog.yml" in listed
    assert not [name for name in listed if name.startswith("conf/local/") and name[-1] != "/"]
    done = elsewhere.run(".venv/bin/python", "-m", "packed", f"--conf-source={archive}")
    assert "completed" in done.stdout
    assert "packed" in elsewhere.run(".venv/bin/packed", "--help").stdout
