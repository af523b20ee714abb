"""The wheel `kedro-mlrun`: a plugin for projects that exist, and the starter for new ones."""

import json
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Folder, commit
from helpers import copy_starter

TEMPLATE = "{{ cookiecutter.repo_name }}"
KEDRO = ("python", "-m", "kedro")

PIPELINE = """
from kedro.pipeline import Pipeline, node


def fit(rate):
    return {"rate": rate["rate"]}


def score(model):
    return {"accuracy": model["rate"] / 2}


def create_pipeline(**kwargs):
    return Pipeline([node(fit, "rate", "model"), node(score, "model", "metrics")])
"""

CATALOG = """
# Git ignores it, as Kedro's template has it
rate:
  type: json.JSONDataset
  filepath: data/01_raw/rate.json

# What the pipeline makes
model:
  type: pickle.PickleDataset
  filepath: data/model.pkl  # trained

metrics:
  type: json.JSONDataset
  filepath: data/metrics.json
"""

ODD_SETTINGS = """
from kedro.framework.hooks import hook_impl
from omegaconf import OmegaConf


class Resolvers:
    @hook_impl
    def after_context_created(self, context):
        OmegaConf.register_new_resolver("where", lambda: "data", replace=True)


HOOKS = (Resolvers(),)
CONF_SOURCE = "settings"
CONFIG_LOADER_ARGS = {"base_env": "common", "default_run_env": "local"}
"""

OWN_CLI = """
import click


@click.group()
def cli():
    pass


@cli.command()
def hello():
    click.echo("Hello")
"""

HAS_IMPORTED = """
import sys
from kedro.framework.cli.cli import main
sys.argv = ["kedro", "run"]
try:
    main()
except SystemExit as exit:
    print(exit.code, "mlrun" in sys.modules, "kedro_mlrun.hooks" in sys.modules)
"""


@pytest.fixture
def plain(installed: Folder, tmp_path: Path) -> Folder:
    """A project of Kedro's own template with a small pipeline, all of it committed."""
    options = ("--tools=none", "--example=n", "--telemetry=no")
    installed.at(tmp_path).run(*KEDRO, "new", "--name=Plain Project", *options)
    # Kedro's own logging writes to stdout.
    (tmp_path / "logging.yml").write_text("{version: 1, disable_existing_loggers: false}")
    quiet = {**installed.variables, "KEDRO_LOGGING_CONFIG": f"{tmp_path}/logging.yml"}
    project = replace(installed, path=tmp_path / "plain-project", variables=quiet)
    pipeline = project.path / "src" / "plain_project" / "pipelines" / "training"
    pipeline.mkdir(parents=True)
    (pipeline.parent / "__init__.py").touch()
    (pipeline / "__init__.py").write_text(PIPELINE)
    (project.path / "conf" / "base" / "catalog.yml").write_text(CATALOG)
    raw = project.path / "data" / "01_raw" / "rate.json"
    raw.parent.mkdir(parents=True)
    raw.write_text('{"rate": 1.5}')
    commit(project)
    return project


def changed(project: Folder) -> list[str]:
    """What git would commit, by its path."""
    lines = project.run("git", "status", "--porcelain", "-uall").stdout.splitlines()
    return sorted(line[3:] for line in lines)


def kedro(project: Folder, *arguments: str) -> str:
    done = project.run(*KEDRO, *arguments)
    return done.stdout + done.stderr


def runs(project: Folder) -> list[str]:
    """The recorded runs' states."""
    done = project.run(*KEDRO, "mlrun", "runs", "--json")
    return [run["state"] for run in json.loads(done.stdout)]


def test_the_wheel_has_nothing_that_git_ignores_and_an_editable_one_is_the_folder_alone(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    copy_starter(tmp_path)
    for folder in (TEMPLATE, f"{TEMPLATE}/src/kedro_mlrun/store"):
        for name in (".mlrun/mlrun.db", "__pycache__/x.pyc", ".mypy_cache/x.json"):
            file = tmp_path / folder / name
            file.parent.mkdir(exist_ok=True)
            file.touch()
    starter = Folder(tmp_path, settings)
    for target in ("wheel:standard", "wheel:editable"):
        starter.run(sys.executable, "-m", "hatchling", "build", "-t", target, "-d", target[6:])

    names = names_in(tmp_path / "standard")
    sources = {
        file.relative_to(tmp_path / TEMPLATE / "src").as_posix()
        for file in (tmp_path / TEMPLATE / "src" / "kedro_mlrun").rglob("*.py")
    }
    assert sources <= names
    assert {f"kedro_mlrun/starter/{TEMPLATE}/src/{name}" for name in sources} <= names
    assert {"kedro_mlrun/starter/cookiecutter.json", "kedro_mlrun/starter/prompts.yml"} <= names
    assert f"kedro_mlrun/starter/{TEMPLATE}/.gitignore" in names
    assert not [name for name in names if ".mlrun" in name or "cache" in name]
    editable = {name for name in names_in(tmp_path / "editable") if ".dist-info/" not in name}
    assert editable == {"_kedro_mlrun.pth"}


def names_in(folder: Path) -> set[str]:
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        return set(wheel.namelist())


def test_kedro_new_makes_the_same_project_from_the_wheel_as_from_a_clone(
    installed: Folder, bake: Callable[..., Folder], tmp_path: Path
) -> None:
    folder = installed.at(tmp_path / "new")
    folder.run(*KEDRO, "new", "--starter=mlrun", "--name=Other Name", "--telemetry=no")
    made, cloned = (
        folder.at(folder.path / "other-name").files(),
        bake(project_name="Other Name").files(),
    )
    # These tell where each comes from, and whether Kedro's telemetry was asked for.
    for files in (made, cloned):
        for name in (".cruft.json", ".telemetry"):
            files.pop(name)
    assert made == cloned


def test_the_plugin_leaves_a_project_without_mlrun_yml_alone(plain: Folder) -> None:
    done = plain.run("python", "-c", HAS_IMPORTED, fork=False)
    assert done.stdout.split()[-3:] == ["0", "False", "False"]
    assert changed(plain) == []
    assert not (plain.path / ".mlrun").exists()


def test_init_has_a_projects_runs_recorded_and_undo_takes_it_out(plain: Folder) -> None:
    said = kedro(plain, "mlrun", "init", "--catalog")
    assert "+   type: kedro_mlrun.MLRunModel" in said
    written = [".gitignore", "conf/base/catalog.yml", "conf/base/mlrun.yml", "function.yaml"]
    assert changed(plain) == written
    assert "project: plain-project\n" in (plain.path / "conf/base/mlrun.yml").read_text()
    before = plain.files()
    assert "Nothing to write" in kedro(plain, "mlrun", "init", "--catalog")
    assert plain.files() == before

    kedro(plain, "run")
    shown = kedro(plain, "mlrun", "show", "last")
    assert "accuracy  0.75" in shown
    assert "model.pkl" in shown
    kedro(plain, "mlrun", "submit", "--watch")
    # Workers register the plugin's hooks by themselves.
    kedro(plain, "run", "--runner=ParallelRunner")
    assert runs(plain) == ["completed"] * 3
    assert changed(plain) == written

    kedro(plain, "mlrun", "init", "--undo")
    assert changed(plain) == []
    kedro(plain, "run")
    assert (plain.path / ".mlrun" / "mlrun.db").exists()


def test_one_run_is_recorded_where_the_settings_or_a_vendored_copy_have_the_hooks_too(
    plain: Folder,
) -> None:
    kedro(plain, "mlrun", "init", "--vendor")
    assert (plain.path / "src" / "kedro_mlrun" / "hooks.py").exists()
    kedro(plain, "run")
    assert runs(plain) == ["completed"]
    kedro(plain, "mlrun", "init", "--undo")
    assert changed(plain) == []
    assert not (plain.path / "src" / "kedro_mlrun").exists()


def test_init_works_in_a_project_that_has_things_elsewhere(plain: Folder) -> None:
    """Own cli.py, hooks that bring a resolver, settings, and folders; no src."""
    root = plain.path
    (root / "src" / "plain_project").rename(root / "plain_project")
    (root / "conf").rename(root / "settings")
    (root / "settings" / "base").rename(root / "settings" / "common")
    project = (
        (root / "pyproject.toml").read_text().replace('source_dir = "src"', 'source_dir = "."')
    )
    (root / "pyproject.toml").write_text(project)
    (root / "settings" / "common" / "catalog.yml").write_text(
        CATALOG.replace("data/", "${where:}/")
    )
    (root / "plain_project" / "settings.py").write_text(ODD_SETTINGS)
    (root / "plain_project" / "cli.py").write_text(OWN_CLI)
    commit(plain)

    kedro(plain, "mlrun", "init", "--catalog", "--vendor")
    assert "settings/common/mlrun.yml" in changed(plain)
    assert kedro(plain, "hello") == "Hello\n"
    kedro(plain, "run")
    kedro(plain, "mlrun", "submit", "--watch")
    assert runs(plain) == ["completed"] * 2
    kedro(plain, "mlrun", "init", "--undo")
    assert changed(plain) == []
