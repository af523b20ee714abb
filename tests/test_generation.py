"""What is generated, and that both doors generate the same."""

import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from conftest import KEDRO, VENV, Folder
from helpers import ROOT
from packaging.requirements import Requirement

TEMPLATE = "{{ cookiecutter.repo_name }}"
COOKIECUTTER = VENV / "bin" / "cookiecutter"


def generated(folder: Folder) -> Folder:
    """The one project in a folder."""
    (project,) = folder.path.iterdir()
    return folder.at(project)


@pytest.mark.parametrize(
    "name",
    [
        "Breast Cancer",
        "  Mixed-case_Name   2 ",
        "A name of more than sixty-three characters, had it a comma in it".replace(",", ""),
    ],
)
def test_both_doors_give_the_same_project(starter: Folder, tmp_path: Path, name: str) -> None:
    ours = starter.at(tmp_path / "cookiecutter")
    ours.run(COOKIECUTTER, starter.path, "--no-input", f"project_name={name}")
    theirs = starter.at(tmp_path / "kedro")
    theirs.run(KEDRO, "new", f"--starter={starter.path}", "--name", name)

    assert generated(ours).path.name == generated(theirs).path.name
    assert generated(ours).files() == generated(theirs).files()


def test_names_can_be_given_one_by_one(starter: Folder, tmp_path: Path) -> None:
    names = {
        "project_name": "Churn",
        "repo_name": "churn.models",
        "python_package": "churn_prediction",
        "mlrun_project": "team-churn",
    }
    ours = starter.at(tmp_path / "cookiecutter")
    ours.run(COOKIECUTTER, starter.path, "--no-input", *(f"{key}={names[key]}" for key in names))
    config = tmp_path / "names.yml"
    config.write_text(yaml.safe_dump(names))
    theirs = starter.at(tmp_path / "kedro")
    theirs.run(KEDRO, "new", f"--starter={starter.path}", "--config", config)

    project = generated(ours)
    assert project.path.name == "churn.models"
    assert (project.path / "src" / "churn_prediction" / "__init__.py").is_file()
    assert "team-churn" in (project.path / "conf" / "base" / "mlrun.yml").read_text()
    assert project.files() == generated(theirs).files()


def test_the_doors_take_the_url_of_a_git_repository(
    starter: Folder, tmp_path: Path, bake: Callable[..., Folder]
) -> None:
    url = f"git+{starter.path.as_uri()}"
    ours = starter.at(tmp_path / "cookiecutter")
    ours.run(COOKIECUTTER, url, "--no-input")
    theirs = starter.at(tmp_path / "kedro")
    theirs.run(KEDRO, "new", f"--starter={url}", "--name", "Breast Cancer")

    here = bake().files()
    assert generated(ours).files() == generated(theirs).files()
    assert {**here, ".cruft.json": None} == {**generated(ours).files(), ".cruft.json": None}


def test_kedro_asks_for_the_project_name_only(starter: Folder, tmp_path: Path) -> None:
    assert list(yaml.safe_load((starter.path / "prompts.yml").read_text())) == ["project_name"]


def test_nothing_of_the_template_is_left(bake: Callable[..., Folder]) -> None:
    for name, (content, _) in bake().files().items():
        assert "{" not in name
        if not name.startswith("src/kedro_mlrun/"):
            assert not re.search(rb"cookiecutter\.[a-z]|\{%", content), name


def test_python_files_of_the_template_are_python(starter: Folder) -> None:
    """They are copied as they are, so that editors, linters and people can read them."""
    files = list((starter.path / TEMPLATE).rglob("*.py"))
    assert files
    for path in files:
        compile(path.read_text(encoding="utf-8"), path, "exec")


def lines_of(project: Folder, folder: str) -> int:
    """The lines of the user's own files in a folder."""
    files = [name for name in project.files() if name.startswith(f"{folder}/")]
    own = [name for name in files if "kedro_mlrun" not in name.split("/")]
    return sum(len(project.files()[name][0].splitlines()) for name in own)


def test_what_is_the_users_can_be_read_in_an_hour(bake: Callable[..., Folder]) -> None:
    project = bake()
    assert lines_of(project, "src") <= 1200
    assert lines_of(project, "tests") <= 700


def test_the_package_is_small_and_so_are_its_files(bake: Callable[..., Folder]) -> None:
    files = bake().files()
    own = [name for name in files if name.startswith("src/kedro_mlrun/") and "json" not in name]
    lines = [len(files[name][0].splitlines()) for name in own]
    assert max(lines) <= 500
    assert sum(lines) <= 22_100


def test_the_package_has_the_same_bytes_in_every_project(bake: Callable[..., Folder]) -> None:
    names = {"project_name": "Churn Model", "python_package": "churn_prediction"}
    ours, theirs = (
        {name: content for name, content in project.files().items() if "/kedro_mlrun/" in name}
        for project in (bake(), bake(**names, mlrun_project="team-churn"))
    )
    assert ours == theirs
    assert "src/kedro_mlrun/__init__.py" in ours


def test_continuous_integration_calls_make(bake: Callable[..., Folder]) -> None:
    project = bake()
    name = ".github/workflows/ci.yml"
    workflow = (project.path / name).read_bytes()
    assert workflow == (ROOT / TEMPLATE / name).read_bytes()
    steps = [step.get("run") for step in yaml.safe_load(workflow)["jobs"]["test"]["steps"]]
    assert [step for step in steps if step] == ["make check", "make test"]


def actions(*workflows: Path) -> set[str]:
    """The actions that workflows use, each at a commit, with its version."""
    return {use for path in workflows for use in re.findall(r"uses: (.+)", path.read_text())}


def test_both_owners_workflows_use_the_same_commits_of_actions() -> None:
    """Those of the starter are renewed by Dependabot, which doesn't know the template's."""
    name = Path(".github", "workflows")
    ours, theirs = actions(*(ROOT / name).glob("*")), actions(*(ROOT / TEMPLATE / name).glob("*"))
    assert theirs <= ours
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v[\d.]+", use) for use in ours)


def test_what_agents_are_told_of_is_there(bake: Callable[..., Folder]) -> None:
    project = bake()
    text = (project.path / "AGENTS.md").read_text()
    places = re.findall(r"`((?:src|conf|tests|data|evaluation|pipelines)/[\w./*]+)`", text)
    assert "src/kedro_mlrun/" in places
    for place in [each.replace("NAME", "*") for each in places]:
        assert [*project.path.glob(place), *project.path.glob(f"src/*/**/{place}")], place
    makefile = (project.path / "Makefile").read_text()
    for target in re.findall(r"make ([a-z-]+)", text):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_pre_commit_runs_the_projects_own_ruff(bake: Callable[..., Folder]) -> None:
    """Nothing is downloaded, and what `make check` excludes is excluded."""
    project = bake()
    (project.path / ".venv").symlink_to(VENV)
    ugly = project.path / "src" / "kedro_mlrun" / "ugly.py"
    own = project.path / "tests" / "ugly.py"
    for path in (ugly, own):
        path.write_text("import os,sys\n")
    (repository,) = yaml.safe_load((project.path / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    for hook in repository["hooks"]:
        assert hook["language"] == "system"
        project.run(*hook["entry"].split(), ugly, own, ok=False)
    assert own.read_text() != ugly.read_text() == "import os,sys\n"


def test_no_file_names_a_machine_or_a_package_index(starter: Folder) -> None:
    theirs = re.compile(
        rb"/[r]oot/|/home/[a-z]|/Users/[a-z]|(?<!no-emit)-(extra-)?index-url|(?<!emit)-find-links"
        rb"|" + re.escape(str(ROOT).encode())
    )
    for name, (content, _) in starter.files().items():
        if not name.startswith(".git/") and name != "tests/test_generation.py":
            assert not theirs.search(content), (name, theirs.search(content))


def test_the_lock_pins_every_dependency(bake: Callable[..., Folder]) -> None:
    project = bake()
    lock: dict[str, list[str]] = {}
    for line in (project.path / "requirements.lock").read_text().splitlines():
        if not line.startswith("#"):
            name, version = re.fullmatch(r"([\w.-]+)==([\w.+-]+)(?: ; .+)?", line).groups()
            lock.setdefault(name, []).append(version)
    declared = tomllib.loads((project.path / "pyproject.toml").read_text())
    build = declared["build-system"]["requires"]
    declared = declared["project"]
    starters = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    for text in (
        build + declared["dependencies"] + declared["optional-dependencies"]["dev"] + starters
    ):
        requirement = Requirement(text)
        versions = lock.get(requirement.name, [])
        assert versions, f"{text} is not in requirements.lock: make lock"
        assert all(version in requirement.specifier for version in versions), (text, versions)
