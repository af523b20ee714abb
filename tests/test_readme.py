"""What the two READMEs tell someone to type is typed here, or by the test that is named here."""

import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import PYTHON, VENV, Folder, changes, commit
from forkserver import fork_server
from helpers import ROOT
from test_project import FEWER_TREES
from test_wheel import plain  # noqa: F401

ADDRESS = "https://github.com/OWNER/kedro-mlrun-starter"
PROGRAMS = "make kedro mlrun python pip git cookiecutter pre-commit".split()
READMES = (ROOT / "README.md", ROOT / "{{ cookiecutter.repo_name }}" / "README.md")

# A pattern of a command that no test here types, why, and the test that does so in its own way.
ELSEWHERE = {
    r"pip install git\+\S+": (
        "installs into this environment",
        "test_wheel: test_init_has_a_projects_runs_recorded_and_undo_takes_it_out",
    ),
    r"kedro run --load-versions=NAME:RUN_ID": (
        "has names to fill in",
        "test_chain: test_a_chain_keeps_training_and_evaluation_together",
    ),
    r"kedro pipeline create NAME": (
        "has a name to fill in",
        "test_project: test_checks_and_tests_pass_after_ordinary_work_and_an_update",
    ),
    r"make (check|test)": ("takes long", "test_project: test_its_own_checks_and_tests_pass"),
    r"make package|python -m .+": (
        "runs in an environment of its own",
        "test_project: test_its_package_runs_elsewhere",
    ),
    r"make lock": (
        "asks a package index; what it made is read",
        "test_generation: test_the_lock_pins_every_dependency",
    ),
    r"kedro mlrun push": (
        "needs an API, here a stub",
        "kedro_mlrun/api/test_push: test_a_run_is_there_once_and_whole",
    ),
    r"kedro mlrun build": (
        "needs a cluster, here a stub",
        "kedro_mlrun/jobs/test_image: test_command",
    ),
    r"make submit-mlrun SCHEDULE=.+": (
        "needs a cluster, here a stub",
        "kedro_mlrun/jobs/test_submit: test_schedules_retries_and_notifications",
    ),
    r"kedro server start": ("goes on", "test_server: test_runs_of_the_server"),
    r"mlrun run -f function\.yaml --local -p split\.seed=7": (
        "is typed there, and its records are read",
        "test_jobs: test_each_way_to_run_gives_the_same_records",
    ),
    r"kedro mlrun reproduce last": (
        "runs once more what takes long",
        "test_reproduce: test_a_run_is_reproduced_here_and_in_a_clone",
    ),
    r"mlrun project .+": (
        "its records are read",
        "test_workflow: test_mlrun_runs_the_project_as_its_users_expect",
    ),
    r"kedro mlrun serve model": (
        "goes on",
        "kedro_mlrun/models/test_serve_command: test_a_model_and_a_pipeline_answer_as_a_run_does",
    ),
    r"kedro mlrun rollback model": (
        "needs two promotions",
        "kedro_mlrun/models/test_commands: test_a_model_is_promoted_by_hand_and_rolled_back",
    ),
    r"kedro mlrun (serve model --deploy|monitor model)": (
        "needs a cluster, here a stub",
        "kedro_mlrun/jobs/test_deploy: test_a_deployed_model_is_monitored",
    ),
    r"kedro mlrun build --with-code": (
        "needs a cluster, here a stub",
        "kedro_mlrun/jobs/test_image: test_with_code",
    ),
    r"make ui|kedro mlrun ui": (
        "goes on",
        "kedro_mlrun/page/test_command: test_the_page_is_served_until_ctrl_c",
    ),
    r"kedro mlrun ui --export .+": (
        "is typed there",
        "kedro_mlrun/page/test_command: test_the_page_is_served_until_ctrl_c",
    ),
    r"make docs": ("takes minutes: CI runs it", "docs/pages: test_page"),
    r"make life": ("takes long", "test_life: test_a_model_lives"),
    r"pre-commit install": (
        "is no package of the project; the hook's commands run",
        "test_generation: test_pre_commit_runs_the_projects_own_ruff",
    ),
    r"make check test|make fix": (
        "of the starter: CI runs them",
        "test_generation: test_continuous_integration_calls_make",
    ),
    r"kedro mlflow init": ("is another project's", ""),
}


def blocks(readme: Path) -> list[list[str]]:
    """The lines of each of a document's bash blocks, as in an activated environment."""
    text = readme.read_text().replace(".venv/bin/", "")
    found = re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [[line for line in block.splitlines() if line] for block in found]


def in_sentences(readme: Path) -> list[str]:
    """The commands that stand in a document's sentences and tables."""
    text = re.sub(r"^```.*?^```", "", readme.read_text(), flags=re.MULTILINE | re.DOTALL)
    spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)]
    spans = [span.removeprefix(".venv/bin/") for span in spans]
    return [span for span in spans if span.split()[0] in PROGRAMS]


def is_elsewhere(command: str) -> bool:
    return any(re.fullmatch(pattern, command) for pattern in ELSEWHERE)


def follow(folder: Folder, commands: list[str]) -> list[str]:
    """Type commands one after the other; each must succeed. Give what they print."""
    said = []
    for command in commands:
        program, *arguments = shlex.split(command)
        if program == "cd":
            folder = folder.at(folder.path / arguments[0])
        elif program == "make":
            if (folder.path / "cookiecutter.json").exists():
                # As after `make install`, which has made the environment that the tests run in.
                (folder.path / ".venv").symlink_to(fork_server(PYTHON).environment)
                done = folder.run("make", "--assume-old=.venv/installed", *arguments)
            else:
                done = folder.make(*arguments)
            said.append(done.stdout + done.stderr)
        elif not is_elsewhere(command):
            own = VENV / "bin" / program
            words: list[str | Path] = [own if own.exists() else program]
            if folder.python != PYTHON:
                words = ["python", "-m", program]
            done = folder.run(*words, *arguments)
            said.append(done.stdout + done.stderr)
    return said


@pytest.fixture
def reader(starter: Folder, tmp_path: Path) -> Folder:
    """A folder where git takes the starter that is tested for the one at its address."""
    redirect = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_VALUE_0": ADDRESS}
    redirect["GIT_CONFIG_KEY_0"] = f"url.{starter.path}.insteadOf"
    there = starter.at(tmp_path / "reader")
    return replace(there, variables={**there.variables, **redirect})


def test_the_commands_of_the_starters_readme_work(reader: Folder, plain: Folder) -> None:  # noqa: F811
    """Law 9: what the README tells someone to type can be typed, block after block."""
    project = replace(reader, path=reader.path / "churn-model")
    demo, new, cookiecutter, existing, compare, after, submit, update = blocks(READMES[0])
    *_, demonstrated = follow(reader, demo)
    example = re.search(r"^```text\n(MLRun run .*?)^```", READMES[0].read_text(), re.M | re.S)
    for line in example[1].splitlines() if example else [""]:
        # The names at the left, and the heads of the results, are those of the demo.
        shown = r"accuracy .*" if line.strip().startswith("accuracy") else r"\S*.*?(?=  |$)"
        assert re.search(shown, line.strip())[0] in demonstrated, line  # type: ignore[index]
    assert "state  completed" in demonstrated and "WARNING" not in demonstrated
    assert changes(reader.at(reader.path / "kedro-mlrun-starter")) == ""

    assert "completed" in follow(reader, new)[-1]
    follow(reader.at(reader.path / "other"), cookiecutter)
    assert "completed" in follow(plain, existing)[-1]
    _, runs, compared, lineage = follow(project, compare)
    assert runs.count("completed") == 2
    assert re.search(r"max_depth +4 +2", compared) or re.search(r"max_depth +2 +4", compared)
    assert "came from\n└── run training" in lineage
    # The others are those of a project's own README.
    others = {*sum(blocks(READMES[1]), [])}
    promoted, *_ = follow(project, [each for each in after if each not in others])
    assert "is model:champion now" in promoted
    commit(project)
    follow(project, [each for each in submit if each not in others])
    assert "newest" in follow(project, update)[-1]


# What a command says that shows no run, by its end.
SAID = {"doctor": "can be written and read", "--dry-run": "for each trial:"}
SAID |= {"'first one'": "is model:champion now"}


def test_the_commands_of_a_projects_readme_work(bake: Callable[..., Folder]) -> None:
    """Law 11: they leave the work tree clean."""
    project = bake()
    parameters = project.path / "conf" / "base" / "parameters_training.yml"
    parameters.write_text(parameters.read_text().replace(*FEWER_TREES))
    commit(project)
    commands = sum(blocks(project.path / "README.md"), [])
    assert commands[0] == "make run-local"
    typed = [command for command in commands if not is_elsewhere(command)]
    for command, said in zip(typed, follow(project, commands), strict=True):
        ends = (end for end in SAID if command.endswith(end))
        assert SAID.get(next(ends, ""), "completed") in said, command
    follow(project, ["kedro mlrun --help", "kedro mlrun update --check"])
    assert changes(project) == ""


@pytest.mark.parametrize("readme", READMES, ids=["starter", "project"])
def test_what_stands_in_sentences_is_typed_too(readme: Path) -> None:
    """Law 9: each command is one of a block, begins like one, or is named with its test."""
    typed = [command for each in READMES for block in blocks(each) for command in block]
    typed += ["kedro mlrun --help", "kedro mlrun update --check", "make"]
    commands = in_sentences(readme)
    assert len(commands) > 5
    for command in commands:
        begins = any(f"{line} ".startswith(f"{command} ") for line in typed)
        assert begins or is_elsewhere(command), command


def test_the_tests_elsewhere_exist() -> None:
    written = [command for each in READMES for command in sum(blocks(each), in_sentences(each))]
    for pattern, (reason, named) in ELSEWHERE.items():
        assert reason
        assert any(re.fullmatch(pattern, command) for command in written), pattern
        if named:
            file, name = named.split(": ")
            assert f"def {name}(" in (ROOT / "tests" / f"{file}.py").read_text(), named


def test_the_accepted_versions_are_those_that_are_asked_for() -> None:
    said = dict(
        re.findall(r"^\| (Kedro|MLRun) \| .* \| (\S+, \S+) \|$", READMES[0].read_text(), re.M)
    )
    for file in (ROOT / "pyproject.toml", READMES[1].with_name("pyproject.toml")):
        for name, accepted in said.items():
            assert re.search(
                rf'"{name.lower()}\S*?{re.escape(accepted.replace(" ", ""))}"', file.read_text()
            )
    assert len(said) == 2
