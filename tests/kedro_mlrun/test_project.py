"""conf/<env>/mlrun.yml."""

from pathlib import Path

import pytest
import yaml
from helpers import PROJECT
from kedro.config import OmegaConfigLoader

from kedro_mlrun import project as config


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
        ("project: iris\nartifact_path: a#b", "can't keep artifacts in .*a#b"),
        ("", "No mlrun.yml found in"),
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
    with pytest.raises(config.MLRunConfigError, match="no environment 'nosuch' in .*conf"):
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
