"""The image that jobs run in: what MLRun is told to build, and which one a job takes."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from helpers import PROJECT, Store, new_store
from mlrun.errors import MLRunNotImplementedServerError
from stub_api import StubAPI, stub_api

from kedro_mlrun import MLRunContextManager
from kedro_mlrun.commands import cli as commands
from kedro_mlrun.jobs import image
from kedro_mlrun.jobs.source import Archive

LOCK = "# made by uv\nkedro==1.7.0\nappnope==1.0.0 ; sys_platform == 'darwin'\nmlrun==1.12.1\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a requirements.lock."""
    (tmp_path / "requirements.lock").write_text(LOCK)
    return tmp_path


@pytest.fixture
def api(tmp_path: Path) -> Iterator[StubAPI]:
    """An API that builds images, which MLRun is connected to."""
    with stub_api() as api:
        for _ in new_store(api.url, tmp_path):
            yield api


def function(**spec: Any) -> Any:
    """Give the function of the jobs."""
    import mlrun

    struct = {
        "kind": "job",
        "metadata": {"name": "kedro", "project": "iris"},
        "spec": {"image": "mlrun/mlrun:1.12.1", "default_handler": "a.b", "workdir": "src", **spec},
    }
    return mlrun.new_function(runtime=struct)


def test_build(api: StubAPI, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """MLRun is sent the exact pins, and told to install nothing else; once for each content."""
    jobs = function(node_selector={"disk": "ssd"}, build={"load_source_on_run": True})
    before = jobs.to_dict()
    assert image.built_image(jobs, folder) is None
    name = image.build(jobs, folder)
    assert re.fullmatch(r"\.kedro-iris:[0-9a-f]{12}", name)
    assert "INFO pushed" in capsys.readouterr().out
    sent = next(body for _, path, body in api.requests if path == "v1/build/function")
    assert sent["with_mlrun"] == "no"
    built = sent["function"]
    assert built["metadata"]["name"] == "kedro-image"
    assert built["spec"]["node_selector"] == {"disk": "ssd"}
    assert built["spec"]["build"] == {
        "image": name,
        "base_image": "mlrun/mlrun:1.12.1",
        "requirements": [line for line in LOCK.splitlines() if "==" in line],
        "extra_args": "--build-arg PIP_NO_DEPS=1",
    }
    assert jobs.to_dict() == before
    assert image.built_image(jobs, folder) == image.usable(jobs, folder) == name
    assert image.build(jobs, folder) == name
    assert [path for _, path, _ in api.requests].count("v1/build/function") == 1
    (folder / "requirements.lock").write_text(LOCK.replace("1.7.0", "1.7.1"))
    assert image.built_image(jobs, folder) is None
    assert image.build(jobs, folder) != name


def test_with_code(api: StubAPI, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLRun is sent where the code is, and where it belongs; once for each code, for servers."""
    sent, code = list[str](), Archive(b"code", {}, {}, set())
    monkeypatch.setattr(image, "upload", lambda _, place: sent.append(place) or f"{place}/c.tar.gz")
    with pytest.raises(image.SubmitError, match="with code from s3://.*path is /"):
        image.build(function(), folder, code=code)
    monkeypatch.setattr(MLRunContextManager, "artifact_path", "s3://bucket")
    with pytest.raises(image.SubmitError, match="kedro mlrun build --with-code"):
        image.usable(function(), folder, code)
    name = image.build(function(), folder, code=code)
    assert sent == ["s3://bucket"]
    build = next(iter(api.functions.values()))["spec"]["build"]
    assert (build["source"], build["load_source_on_run"]) == ("s3://bucket/c.tar.gz", False)
    assert build["source_code_target_dir"] == image.CODE_FOLDER == "/project"
    assert build["base_image"] == "mlrun/mlrun:1.12.1" and "kedro==1.7.0" in build["requirements"]
    assert build["commands"] == ["chmod 777 /project"]
    assert image.usable(function(), folder, code) == name
    assert image.build(function(), folder, code=code) == name
    for other in (None, Archive(b"other", {}, {}, set())):
        assert image.built_image(function(), folder, other) is None


def test_what_else_is_installed(api: StubAPI, folder: Path) -> None:
    """The function's own commands and packages come before the lock, and are in the name."""
    build = {"commands": ["apt-get update"], "requirements": ["boto3>1", "s3fs"]}
    name = image.build(function(build=build), folder)
    sent = next(iter(api.functions.values()))["spec"]["build"]
    assert sent["commands"] == [
        "apt-get update",
        "PIP_NO_DEPS=0 python -m pip install 'boto3>1' s3fs",
    ]
    assert sent["requirements"][0] == "kedro==1.7.0"
    assert name != image.build(function(), folder)


def test_failed_build(api: StubAPI, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is one sentence after MLRun's log, and no job takes that image."""
    api.build_state, api.build_log = "error", "ERROR no such package\n"
    with pytest.raises(image.SubmitError, match=r"couldn't build the image \.kedro-iris") as raised:
        image.build(function(), folder)
    assert raised.value.exit_code == 1
    assert "no such package" in capsys.readouterr().out
    with pytest.raises(image.SubmitError, match="has no Kedro.*kedro mlrun build"):
        image.usable(function(), folder)
    assert image.usable(function(image="team/own:1"), folder) == "team/own:1"


def test_command(api: StubAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    """The image's name is the answer; the log goes beside it."""
    from kedro_mlrun.commands import jobs as module

    monkeypatch.setattr(module, "load_function", lambda _: function())
    done = CliRunner().invoke(commands.cli, ["mlrun", "build"])
    assert done.exit_code == 0, done.output
    assert re.fullmatch(r"\.kedro-iris:\w{12}\n", done.stdout)
    assert "INFO pushed" in done.stderr
    requirements = next(iter(api.functions.values()))["spec"]["build"]["requirements"]
    assert "kedro==1.7.0" in requirements
    api.build_state = "error"
    done = CliRunner().invoke(commands.cli, ["mlrun", "build", "--again"])
    assert (done.exit_code, done.stdout) == (1, "")
    assert "Error: MLRun couldn't build the image" in done.stderr


def test_embedded_store(embedded: Store, folder: Path) -> None:
    with pytest.raises(MLRunNotImplementedServerError, match="no images of its own"):
        image.build(function(), folder)


def test_dockerfile() -> None:
    """It is made from what is locked, and nothing that is secret gets into it."""
    lock = (PROJECT / "requirements.lock").read_text()
    docker = (PROJECT / "Dockerfile").read_text()
    mlrun = re.search(r"^mlrun==(\S+)", lock, re.MULTILINE)
    assert mlrun
    assert f"ARG MLRUN_VERSION={mlrun[1]}\n" in docker
    assert f"WORKDIR {image.CODE_FOLDER}\n" in docker
    ignored = (PROJECT / ".dockerignore").read_text().splitlines()
    never = {"conf/local/*", "conf/**/*credentials*", "**/.env", "**/.env.*", ".git", ".mlrun"}
    assert never <= set(ignored)
