"""The commands of the README are those that tests run."""

import re

from helpers import ROOT
from test_project import shell_commands

# A pattern of a command, and the test that runs it.
RUN_BY = {
    r"git clone \S+( \S+)?": "test_project: a clone and make demo",
    r"cd \S+": "test_project: a clone and make demo",
    r"make demo": "test_project: a clone and make demo",
    r"make( help)?": "test_make: make lists every target",
    r"kedro mlrun (runs|show last|lineage \S+)": "test_project: the commands of its readme",
    r"kedro mlrun compare training last": "kedro_mlrun/commands",
    r"pip install git\+\S+": "test_wheel: the plugin leaves a project alone",
    r"kedro (mlrun init|run)": "test_wheel: init has a project's runs recorded",
    r"make update": "test_project: ordinary work and an update",
    r"make (run-local|submit-mlrun WATCH=1)": "test_project: the commands of its readme",
    r"kedro mlrun (doctor|workflow .*)": "test_project: the commands of its readme",
    r"kedro mlrun (submit --dry-run|logs last)": "test_jobs: secrets, and each way to run",
    r"kedro new --starter=\S+( --name .+| --config \S+)?": "test_generation: both doors",
    r"cookiecutter \S+( --no-input)?( project_name=.+)?": "test_generation: both doors",
}


def test_every_command_of_the_readme_is_run_by_a_test() -> None:
    commands = shell_commands(ROOT / "README.md")
    assert "make demo" in commands
    for command in commands:
        bare = command.split("  #")[0].strip()
        assert any(re.fullmatch(pattern, bare) for pattern in RUN_BY), command
