"""The Makefiles, as someone who has just cloned or generated uses them."""

import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import KEDRO, VENV, Folder, commit

SH = shutil.which("sh")


def targets(folder: Folder) -> set[str]:
    """The targets that a Makefile says it has."""
    text = (folder.path / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.+)$", text, re.MULTILINE).group(1).split()
    return set(phony) - {"check-venv", "ready"}


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
    folder = tmp_path / 'an "environment" for US$HOME' / "bin"
    folder.mkdir(parents=True)
    for name in ("kedro", "python"):
        (folder / name).write_text(f"#!{SH}\nprintf '%s\\n' \"$@\"\n")
        (folder / name).chmod(0o755)
    return f"VENV={folder.parent}"


# What make, or a shell, would expand or execute.
HOSTILE = [
    "price=US$50",
    "$(x)",
    "a=$(shell touch made)",
    "a=${HOME}",
    "`touch made`",
    "$$(touch made)",
    """it's "ill", or `not` # $@""",
    "$(error stopped)",
    "a\\b;touch made",
]


@pytest.mark.parametrize("in_environment", [False, True])
def test_a_run_gets_what_is_typed(
    bake: Callable[..., Folder], kedro_that_prints: str, in_environment: bool
) -> None:
    """Law 4: each variable arrives as it was given, and nothing of it is executed."""
    project = bake()
    names = ("PIPELINE", "PARAMS", "INPUTS", "ENV", "SCHEDULE")
    options = ("pipelines", "params", "inputs", "env", "schedule")
    for text in HOSTILE:
        given = {name: f"{text} of {name}" for name in names}
        words = [f"--{option}={given[name]}" for name, option in zip(names, options, strict=True)]
        typed = [f"{name}={value}" for name, value in given.items()]
        if in_environment:
            words.remove(f"--env={given['ENV']}")  # it would be that of the user's shell
            typed = []
        for target, last in {"run-local": "--local", "submit-mlrun": "--watch"}.items():
            more, told = ["WATCH=1"], words
            if last == "--local":
                more, told = ["SCHEDULE="], [word for word in words if "schedule" not in word]
            variables = given if in_environment else {}
            done = project.run("make", target, kedro_that_prints, *typed, *more, **variables)
            assert done.stdout.splitlines() == ["mlrun", "submit", *told, last]
        done = project.run("make", "update", kedro_that_prints, f"TO={text}")
        assert done.stdout.splitlines() == ["mlrun", "update", f"--to={text}"]
        refused = project.run("make", "test", f"VENV=no {text}", ok=False)
        assert refused.stderr.startswith(f"VENV=no {text} has no bin/python: ")
    assert not (project.path / "made").exists()


def test_the_examples_of_the_help_can_be_typed(
    bake: Callable[..., Folder], kedro_that_prints: str
) -> None:
    """Law 9: the command that each of them becomes is accepted."""
    project = bake()
    raw = project.path / "data" / "01_raw" / "measurements.csv"
    shutil.copy(raw, project.path / "other.csv")
    commit(project)
    examples = re.findall(r"^  (make \S+ [A-Z]+=.+)$", project.make().stdout, re.MULTILINE)
    assert len(examples) > 3
    for example in examples:
        printed = project.run(*shlex.split(example), kedro_that_prints).stdout.splitlines()
        done = project.run(KEDRO, *printed, "--dry-run", ok="SCHEDULE" not in example)
        told = done.stdout + done.stderr
        # The embedded store has none.
        wanted = "needs an MLRun API" if done.returncode else "kedro_mlrun.jobs.handler.run"
        assert wanted in told, example


def test_a_release_gets_what_is_typed(starter: Folder, tmp_path: Path) -> None:
    """Law 4: the version is refused as it was given, and nothing of it is executed."""
    done = ("-o", "check", "-o", "test", "-o", ".venv/installed")
    starter.run("git", "clone", "--quiet", starter.path, tmp_path / "clone")
    clone = starter.at(tmp_path / "clone")
    (clone.path / ".venv").symlink_to(VENV)
    for text in HOSTILE:
        refused = clone.run("make", *done, "release", f"VERSION={text}", ok=False)
        assert refused.stderr.startswith(f"{text} is no version such as ")
    assert not (clone.path / "made").exists()


def test_a_misspelt_variable_is_refused(
    bake: Callable[..., Folder], kedro_that_prints: str
) -> None:
    """Law 9: otherwise it would be ignored, and another run would start than was asked for."""
    project, typed = bake(), (kedro_that_prints, "PARAM=split.seed=7")
    done = project.run("make", "run-local", *typed, ok=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "There is no variable PARAM. Choose from PIPELINE PARAMS INPUTS ENV " in done.stderr
    # One of another Makefile that calls this one.
    assert project.run("make", "run-local", *typed, MAKELEVEL="1").stdout


def test_what_run_local_can_not_do_is_not_ignored(bake: Callable[..., Folder]) -> None:
    """Law 9: a schedule is refused before anything runs, in the words of make."""
    project = bake()
    done = project.make("run-local", "SCHEDULE=0 2 * * *", ok=False)
    assert "run-local runs now. For SCHEDULE: make submit-mlrun" in done.stderr
    assert "--" not in done.stderr and "MLRun run" not in done.stdout


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
