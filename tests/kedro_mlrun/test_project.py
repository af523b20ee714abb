"""conf/<env>/mlrun.yml, and the loader that reads it."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from forkserver import fork_server
from helpers import PROJECT
from kedro.config import OmegaConfigLoader

from kedro_mlrun import project as config

# A project as plain `kedro new` makes it, but for what its settings say.
PYPROJECT = """
[tool.kedro]
package_name = "plain"
project_name = "plain"
kedro_init_version = "1.7.0"
"""


@pytest.fixture
def loaded(tmp_path: Path) -> Callable[..., str]:
    """Give a function that makes a project, and runs a script in it that knows its `loader`."""

    def run(settings: str, files: dict[str, str], script: str = "", **env: str) -> str:
        files = {"pyproject.toml": PYPROJECT, "src/plain/settings.py": settings, **files}
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        (tmp_path / "conf" / "base").mkdir(parents=True, exist_ok=True)
        code = (
            "from kedro_mlrun.project import *\n"
            f"folder = project_folder()\n{script or 'print(find_config()[0].project)'}\n"
        )
        path = {"PYTHONPATH": str(PROJECT / "src"), "PATH": "/usr/bin:/bin"}
        command = ["python", "-c", code]
        done = fork_server(Path(sys.executable)).run(command, tmp_path, {**path, **env})
        assert not done.returncode, done.stderr
        return (done.stdout + done.stderr).strip()

    return run


def load(folder: Path, base: str, local: str = "") -> object:
    for env, text in {"base": base, "local": local}.items():
        (folder / "conf" / env).mkdir(parents=True)
        if text:
            (folder / "conf" / env / "mlrun.yml").write_text(text)
    loader = config.prepared(
        OmegaConfigLoader(str(folder / "conf"), base_env="base", default_run_env="local")
    )
    return config.MLRunConfig.load(loader, folder)


def test_the_shipped_file_holds_the_defaults() -> None:
    """What a reader finds in the file is what holds without it."""
    shipped = yaml.safe_load((PROJECT / "conf" / "base" / "mlrun.yml").read_text())
    assert shipped == config.MLRunConfig(project=shipped["project"]).model_dump()


def test_environments_and_paths(tmp_path: Path) -> None:
    """An environment's file wins over base; relative paths are the project's."""
    loaded = load(tmp_path, "project: iris\nartifact_path: out", "project: mine")
    assert loaded == config.MLRunConfig(
        project="mine",
        dbpath=f"sqlite:///{tmp_path}/.mlrun/mlrun.db",
        artifact_path=f"{tmp_path}/out",
    )


def test_urls_stay_as_they_are(tmp_path: Path) -> None:
    """An API's address and a bucket are nobody's relative paths."""
    text = "project: iris\ndbpath: https://mlrun-api\nartifact_path: s3://bucket/a"
    loaded = load(tmp_path, text)
    assert loaded == config.MLRunConfig(**yaml.safe_load(text))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("project: iris\nstore: x", "store: Extra inputs are not permitted"),
        ("dbpath: https://mlrun-api", "project: Field required"),
        ("project: My_Project", "project: String"),
        (f"project: {'a' * 64}", "project: String"),
        ("project: iris\ndbpath: ftp://user:hunter2@x", "dbpath: String"),
        ("project: iris\nartifact_path: ''", "artifact_path: String"),
        (
            "project: iris\nmodels: {gates: {roc_auc: {}}}",
            r"\(models.gates.roc_auc: Without at_least, at_most or worse_by it lets every model",
        ),
        ("project: iris\nartifact_path: a#b", "can't keep artifacts in .*a#b"),
        ("", "No mlrun.yml found in"),
        *(
            (text, "has to have words for keys.* Fix conf/base/mlrun.yml")
            for text in ("1: 2", "[]", "1")
        ),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, reason: str) -> None:
    """An unknown key or an unusable value is one message that names it, and the keys there are."""
    with pytest.raises(config.MLRunConfigError, match=reason) as error:
        load(tmp_path, text)
    assert "\n" not in str(error.value)
    assert "hunter2" not in str(error.value)


def test_an_environment_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named, and not the file that would be in it."""
    monkeypatch.setenv("KEDRO_ENV", "nosuch")
    with pytest.raises(config.MLRunConfigError, match="not a valid directory: .*conf/nosuch"):
        config.find_config()


def test_the_project_is_found_without_kedro(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script or a notebook in the project's folder uses its settings."""
    for folder in (PROJECT / "src", tmp_path):
        monkeypatch.chdir(folder)
        found, project = config.find_config()
        assert project == PROJECT
        assert found.dbpath == f"sqlite:///{PROJECT}/.mlrun/mlrun.db"


MLRUN_YML = "project: base"


@pytest.mark.parametrize(
    ("settings", "files", "env", "found"),
    [
        pytest.param("", {"conf/base/mlrun.yml": MLRUN_YML}, {}, "base", id="no settings"),
        pytest.param(
            "CONF_SOURCE = 'settings'",
            {"settings/base/mlrun.yml": MLRUN_YML},
            {},
            "base",
            id="source",
        ),
        pytest.param(
            "CONFIG_LOADER_ARGS = {'base_env': 'all', 'default_run_env': 'mine'}",
            {"conf/all/mlrun.yml": MLRUN_YML, "conf/mine/mlrun.yml": "project: mine"},
            {},
            "mine",
            id="environments",
        ),
        pytest.param(
            "CONFIG_LOADER_ARGS = {'base_env': 'base'}",
            {"conf/base/mlrun.yml": MLRUN_YML, "conf/prod/mlrun.yml": "project: prod"},
            {"KEDRO_ENV": "prod"},
            "prod",
            id="no default environment",
        ),
        pytest.param(
            "CONFIG_LOADER_ARGS = {'base_env': 'base', 'default_run_env': 'base',"
            " 'custom_resolvers': {'double': lambda text: text * 2},"
            " 'config_patterns': {'mlrun': ['tracking.yml']}}",
            {"conf/base/tracking.yml": "project: ${double:ab}"},
            {},
            "abab",
            id="resolvers and patterns",
        ),
        pytest.param(
            "from kedro.config import AbstractConfigLoader\n"
            "class Loader(AbstractConfigLoader):\n"
            "    def __init__(self, conf_source, env=None, runtime_params=None, own=''):\n"
            "        super().__init__(conf_source, env, runtime_params)\n"
            "        self['mlrun'] = {'project': own}\n"
            "CONFIG_LOADER_CLASS = Loader\n"
            "CONFIG_LOADER_ARGS = {'own': 'made'}",
            {},
            {},
            "made",
            id="a loader without patterns",
        ),
    ],
)
def test_the_loader_is_the_projects_own(loaded, settings, files, env, found):
    """With all that its settings say, as in a session; and nothing else is printed."""
    assert loaded(settings, files, **env) == found


def test_what_a_run_is_given_is_for_mlrun_yml_too(loaded):
    """A job's parameters, as `kedro run --params` has them."""
    script = (
        "print(MLRunConfig.load(config_loader(folder, params={'name': 'given'}), folder).project)"
    )
    files = {"conf/base/mlrun.yml": "project: '${runtime_params:name}'"}
    assert loaded("", files, script) == "given"


def test_conf_local_is_made_where_it_is_needed_alone(loaded, tmp_path):
    """Kedro doesn't start without the default environment's folder, which git doesn't keep."""
    local = tmp_path / "conf" / "local"
    base = {"conf/base/mlrun.yml": MLRUN_YML, "conf/prod/mlrun.yml": "project: prod"}
    loaded("CONFIG_LOADER_ARGS = {'base_env': 'base', 'default_run_env': 'prod'}", base)
    assert not local.exists()
    loaded("", base, KEDRO_ENV="prod")
    assert not local.exists()
    loaded("", base)
    assert local.is_dir()


def test_a_project_without_mlrun_yml(loaded):
    """An installed plugin asks whether there is one, and leaves the project alone."""
    asked = "loader = config_loader(folder)\nprint(has_config(loader), 'mlrun' in loader)"
    assert loaded("", {}, asked) == "False False"
    # It is read once.
    assert loaded("", {"conf/base/mlrun.yml": MLRUN_YML}, asked) == "True True"
    mistake = f"try:\n    {asked.splitlines()[-1]}\nexcept MLRunConfigError as error: print(error)"
    mistake = f"loader = config_loader(folder)\n{mistake}"
    assert "has to have words for keys" in loaded("", {"conf/base/mlrun.yml": "[]"}, mistake)


def test_pipelines_are_imported_once(loaded):
    """However often somebody asks for the configuration."""
    registry = "print('imported')\ndef register_pipelines():\n    print('made')\n    return {}\n"
    script = "find_config()\nfrom kedro.framework.project import pipelines\n"
    script += "for _ in range(3):\n    find_config()\n    list(pipelines)"
    files = {"conf/base/mlrun.yml": MLRUN_YML, "src/plain/pipeline_registry.py": registry}
    assert loaded("", files, script).split() == ["imported", "made"]
