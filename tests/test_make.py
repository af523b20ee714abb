"""The Makefiles, as someone who has just cloned or generated uses them."""

import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import VENV, Folder

SH = shutil.which("sh")


def targets(folder: Folder) -> set[str]:
    """The targets that a Makefile says it has."""
    text = (folder.path / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.+)$", text, re.MULTILINE).group(1).split()
    return set(phony) - {"check-venv"}


def test_make_lists_every_target_of_the_starter(starter: Folder) -> None:
    listed = set(re.findall(r"^  make (\S+) ", starter.make().stdout, re.MULTILINE))
    assert listed == targets(starter)
    assert {"help", "install", "demo", "test", "check", "fix", "clean"} <= listed


def test_make_lists_every_target_of_a_project(bake: Callable[..., Folder]) -> None:
    project = bake()
    text = project.make().stdout
    listed = set(re.findall(r"^  make (\S+) +[a-z]\w* ", text, re.MULTILINE))
    # Of what takes variables, there are examples.
    assert {"run-local", "submit-mlrun"} == set(re.findall(r"^  make (\S+) [A-Z]+=", text, re.M))
    assert listed == targets(project)
    assert {"install", "run-local", "submit-mlrun", "check", "fix", "test", "package"} <= listed


def test_a_venv_that_is_none_is_named(bake: Callable[..., Folder]) -> None:
    done = bake().run("make", "test", "VENV=nowhere", ok=False)
    assert done.returncode != 0
    assert done.stderr.startswith("VENV=nowhere has no bin/python: ")


@pytest.fixture
def kedro_that_prints(tmp_path: Path) -> str:
    """An environment whose `kedro` prints the arguments it gets, one on a line."""
    folder = tmp_path / "an environment" / "bin"
    folder.mkdir(parents=True)
    for name in ("kedro", "python"):
        (folder / name).write_text(f"#!{SH}\nprintf '%s\\n' \"$@\"\n")
        (folder / name).chmod(0o755)
    return f"VENV={folder.parent}"


def test_a_run_gets_what_is_typed(bake: Callable[..., Folder], kedro_that_prints: str) -> None:
    parameters = """split.target=it's "ill", or `not`,split.seed=7"""
    project = bake()
    typed = ["PIPELINE=training,evaluation", f"PARAMS={parameters}", "ENV=staging"]
    typed += ["INPUTS=measurements=s3://a bucket/b.csv"]
    expected = ["mlrun", "submit", "--pipelines=training,evaluation", f"--params={parameters}"]
    expected += ["--inputs=measurements=s3://a bucket/b.csv", "--env=staging"]
    done = project.run("make", "run-local", kedro_that_prints, *typed)
    assert done.stdout.splitlines() == [*expected, "--local"]
    typed += ["SCHEDULE=0 2 * * *", "WATCH=1"]
    done = project.run("make", "submit-mlrun", kedro_that_prints, *typed)
    assert done.stdout.splitlines() == [*expected, "--schedule=0 2 * * *", "--watch"]


def test_a_run_does_not_get_the_shells_own_variable(
    bake: Callable[..., Folder], kedro_that_prints: str
) -> None:
    done = bake().run("make", "run-local", kedro_that_prints, ENV="/etc/profile")
    assert done.stdout.split() == ["mlrun", "submit", "--local"]


def make_path(folder: Path, **programs: str) -> str:
    """A PATH with the basic tools and the given shell scripts only."""
    folder.mkdir()
    for tool in ("rm", "sh"):
        (folder / tool).symlink_to(shutil.which(tool))
    for name, script in programs.items():
        (folder / name).write_text(f"#!{SH}\n{script}\n")
        (folder / name).chmod(0o755)
    return str(folder)


@pytest.mark.parametrize(
    "programs",
    [
        {},
        # pyenv's shims exist for every version that it could run, and fail.
        {"uv": "exit 127", "python3.11": "exit 127", "python3": "exit 127"},
        # A Python of another version, and a uv that can bring none.
        {"uv": '[ "$1" = --version ]', "python3": "exit 1"},
    ],
)
def test_without_python_one_sentence_says_what_to_install(
    bake: Callable[..., Folder], tmp_path: Path, programs: dict[str, str]
) -> None:
    project = bake()
    path = make_path(tmp_path / "bin", **programs)
    done = project.run(SH, "install.sh", "-r", "requirements.lock", ok=False, PATH=path)
    assert done.returncode == 1
    assert re.fullmatch(r"Neither Python 3\.11 nor uv was found: install .+\.\n", done.stderr)
    assert not (project.path / ".venv").exists()


def test_a_python_of_another_name_is_found(bake: Callable[..., Folder], tmp_path: Path) -> None:
    """Here with no uv, and no index to get it from: pip installs."""
    project = bake()
    python = os.path.realpath(sys.executable)
    path = make_path(tmp_path / "bin", python3=f'exec {python} "$@"')
    (project.path / "nothing.txt").touch()
    project.run(SH, "install.sh", "-r", "nothing.txt", PATH=path, PIP_NO_INDEX="1")
    project.run(project.path / ".venv" / "bin" / "python", "-c", "import pip")


def test_fix_repairs_what_check_refuses(bake: Callable[..., Folder]) -> None:
    project = bake()
    before = project.files()
    ugly = project.path / "tests" / "test_ugly.py"
    ugly.write_text("import sys, os\ndef test_it() -> None:\n  assert os.sep!=sys.path\n")
    refused = project.make("check", ok=False)
    assert refused.returncode != 0
    assert ugly.read_text().startswith("import sys, os\n")
    project.make("fix")
    assert ugly.read_text().startswith("import os\nimport sys\n\n\ndef")
    ugly.unlink()
    nodes = project.path / "src" / "breast_cancer" / "pipelines" / "metrics.py"
    nodes.write_text(nodes.read_text() + "\n\nfrom kedro_mlrun import MLRunModel  # noqa\n")
    assert "BROKEN" in project.make("check", ok=False).stdout
    nodes.write_bytes(before["src/breast_cancer/pipelines/metrics.py"][0])
    project.make("clean")
    assert project.files() == before
    assert VENV.exists()
