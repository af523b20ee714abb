"""What `kedro mlrun doctor` finds: each thing once, with what fixes it."""

import json
import os
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any
from unittest.mock import patch

import mlrun
import pytest
import yaml
from click.testing import CliRunner
from helpers import PROJECT, Store, new_store
from stub_api import StubAPI, stub_api

from kedro_mlrun import MLRunAbstractDataset, __version__
from kedro_mlrun.commands import cli as commands
from kedro_mlrun.jobs import doctor
from kedro_mlrun.jobs import function as functions
from kedro_mlrun.secrets import known as secrets

NAMES = {"packages", "store", "server", "project", "artifact path", "image"}
NAMES |= {"function", "source", "package", "files"}


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Know no secret of other tests, and undo what a command changes in the environment."""
    monkeypatch.setattr(secrets, "_known", secrets._Known())
    with patch.dict(os.environ):
        yield


@pytest.fixture
def api(tmp_path: Path) -> Iterator[StubAPI]:
    """An API that MLRun isn't connected to yet."""
    with stub_api() as api:
        yield api


def connected(api: StubAPI, folder: Path) -> Iterator[Store]:
    """Connect MLRun to an API."""
    return new_store(api.url, folder)


def found(code: int) -> dict[str, dict[str, str]]:
    """Run the command, which ends with this exit code, and give the checks by their names."""
    done = CliRunner().invoke(commands.cli, ["mlrun", "doctor", "--json"])
    assert done.exit_code == code, done.output
    checks = {check["name"]: check for check in json.loads(done.stdout)}
    assert checks.keys() == NAMES
    # Whatever is wrong, it is said what to do.
    assert all(check["fix"] for check in checks.values() if check["state"] in {"warning", "wrong"})
    return checks


def test_embedded_store(embedded: Store, tmp_path: Path) -> None:
    """All is well, nothing is left behind, and no API is missed."""
    checks = found(0)
    assert checks["store"]["found"] == f"embedded store {embedded.dbpath}"
    assert checks["project"]["found"] == embedded.project
    assert {name for name, check in checks.items() if check["state"] == "skipped"} == {
        "server",
        "image",
    }
    assert {name for name, check in checks.items() if check["state"] == "wrong"} == set()
    assert list((tmp_path / "artifacts").iterdir()) == []
    done = CliRunner().invoke(commands.cli, ["mlrun", "doctor"])
    assert "ok       artifact path" in done.stdout


def test_no_api(tmp_path: Path) -> None:
    """What needs it is skipped, and the rest is looked at."""
    for _ in new_store("http://127.0.0.1:9", tmp_path):
        checks = found(1)
    assert checks["store"]["state"] == "wrong"
    assert "127.0.0.1:9 doesn't answer" in checks["store"]["found"]
    assert checks["server"]["state"] == checks["project"]["state"] == "skipped"
    assert checks["source"]["state"] == "ok"


def test_artifact_path(embedded: Store, tmp_path: Path) -> None:
    """A file in the way of the folder, where MLRun alone would try for ever."""
    (tmp_path / "artifacts").write_text("")
    check = found(1)["artifact path"]
    assert check["state"] == "wrong"
    assert "can't be used (FileExistsError" in check["found"]


@pytest.mark.parametrize(
    ("version", "state"),
    [
        ("1.12.0", "ok"),
        ("1.13.0", "ok"),
        ("1.11.0", "warning"),
        ("2.0.0", "warning"),
        ("?", "warning"),
    ],
)
def test_versions(api: StubAPI, tmp_path: Path, version: str, state: str) -> None:
    """As MLRun's own client judges them; what it only logs is an answer here."""
    api.version = version
    for _ in connected(api, tmp_path):
        checks = {check.name: check for check in doctor.examine(PROJECT)}
    assert checks["server"].state == state
    assert version in checks["server"].found


def test_api(api: StubAPI, tmp_path: Path) -> None:
    """A folder of this machine isn't seen from the cluster, and MLRun's own image has no Kedro."""
    (tmp_path / "function.yaml").write_text("kind: job\nspec: {image: 'mlrun/mlrun:1.11.0'}\n")
    (tmp_path / "requirements.lock").write_text("mlrun==1.12.1\n")
    for store in connected(api, tmp_path):
        checks = {check.name: check for check in doctor.examine(tmp_path)}
        assert checks["project"].found == store.project
        assert "no job on the cluster sees" in checks["artifact path"].found
        assert checks["image"].state == "wrong"
        assert "has no Kedro" in checks["image"].found
        assert "kedro mlrun build" in checks["image"].fix
        mount = {"name": "data", "mountPath": str(tmp_path)}
        mounted = {"image": "team/own:1", "volume_mounts": [mount]}
        (tmp_path / "function.yaml").write_text(json.dumps({"kind": "job", "spec": mounted}))
        checks = {check.name: check for check in doctor.examine(tmp_path)}
        assert checks["artifact path"].state == checks["image"].state == "ok"
        assert checks["function"].state == "ok"
    assert all(method == "GET" for method, *_ in api.requests)


def test_function(embedded: Store, tmp_path: Path) -> None:
    """Without function.yaml no job can run; without a lock nothing says what with."""
    checks = {check.name: check for check in doctor.examine(tmp_path)}
    assert checks["function"].state == "wrong"
    assert checks["packages"].state == "warning"
    assert checks["artifact path"].found == "not looked at, because the function can't be used"


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"image": "own"}, "image own"),
        ({"resources": 5}, "'resources' in `spec` of function.yaml can't be 5"),
        ({"gpus": 1}, "'gpus' in `spec` of function.yaml is not a field"),
        ({"priority_class_name": "high"}, "image mlrun/mlrun"),
    ],
)
def test_fields_of_a_function(embedded: Store, tmp_path: Path, spec: Any, told: str) -> None:
    """MLRun is asked for what the starter's has not."""
    assert functions.FIELDS.keys() <= {*mlrun.runtimes.KubejobRuntime().spec._dict_fields}
    function = yaml.safe_load((PROJECT / "function.yaml").read_text())
    assert function["spec"].keys() == functions.FIELDS.keys()
    own = {"kind": "job", "metadata": {"name": "kedro"}, "spec": spec}
    (tmp_path / "function.yaml").write_text(json.dumps(own))
    checks = {check.name: check for check in doctor.examine(tmp_path)}
    assert told in checks["function"].found


def test_no_git(embedded: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said once, by what every job needs git for."""
    monkeypatch.setenv("PATH", "")
    checks = found(1)
    assert [name for name in checks if "git isn't installed" in checks[name]["found"]] == ["source"]


def test_package(embedded: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What isn't in the source comes from the image: from the lock, or else requirements.txt."""
    checks = {check.name: check for check in doctor.examine(PROJECT)}
    assert checks["package"].found.startswith(f"kedro_mlrun {__version__}")
    assert (checks["packages"].state, "kedro-mlrun" in checks["packages"].found) == ("ok", False)
    monkeypatch.setattr(doctor.manifest, "PACKAGE", Path("/elsewhere/kedro_mlrun"))

    def packages(file: str, own: str) -> doctor.Check:
        lines = [f"{name}=={metadata.version(name)} ; a == 'b'" for name in ("mlrun", "kedro")]
        (tmp_path / file).write_text("\n".join([*lines, own]))
        return next(check for check in doctor.examine(tmp_path) if check.name == "packages")

    assert "requirements.txt has no kedro-mlrun" in packages("requirements.txt", "").found
    assert packages("requirements.txt", "kedro-mlrun").state == "ok"
    other = packages("requirements.lock", "kedro_mlrun==0.0.1 ; sys_platform == 'linux'")
    assert (other.state, "requirements.lock has 0.0.1 kedro-mlrun" in other.found) == (
        "warning",
        True,
    )
    assert packages("requirements.lock", f"kedro-mlrun[all]=={__version__}").state == "ok"


def test_artifacts_without_their_files(embedded: Store, tmp_path: Path) -> None:
    """Law 12: what was left behind when a store was moved is told before it is missed."""
    for key in "here", "gone":
        MLRunAbstractDataset(key).save(key)
    assert found(0)["files"]["found"] == "of 2 artifacts all are there"
    (file,) = (tmp_path / "artifacts").glob("*/gone/*/gone.txt")
    file.unlink()
    check = found(0)["files"]
    assert check["state"] == "warning"
    assert f"1 of 2 artifacts have no file any more: gone@{file.parts[-4][:8]}" in check["found"]
    assert "kedro mlrun delete" in check["fix"]
