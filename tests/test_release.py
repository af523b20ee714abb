"""`make release` checks, builds and tags; its checks and tests are those that run here."""

import re
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest
from conftest import VENV, Folder

VERSION = "0.2.0"
DONE = ("-o", "check", "-o", "test", "-o", ".venv/installed")


@pytest.fixture
def clone(starter: Folder, tmp_path: Path) -> Folder:
    """Give a clone with the environment that the tests run in."""
    starter.run("git", "clone", "--quiet", starter.path, tmp_path / "clone")
    (tmp_path / "clone" / ".venv").symlink_to(VENV)
    return starter.at(tmp_path / "clone")


def release(clone: Folder, version: str = VERSION) -> subprocess.CompletedProcess[str]:
    return clone.run("make", *DONE, "release", f"VERSION={version}", ok=False)


def test_a_release_is_a_tag_a_wheel_and_an_archive(clone: Folder) -> None:
    done = release(clone)
    assert done.returncode == 0, done.stderr
    assert clone.run("git", "tag", "--list").stdout.split() == [f"v{VERSION}"]
    with zipfile.ZipFile(clone.path / "dist" / f"kedro_mlrun-{VERSION}-py3-none-any.whl") as wheel:
        assert "kedro_mlrun/hooks.py" in wheel.namelist()
    with tarfile.open(clone.path / "dist" / f"kedro-mlrun-starter-{VERSION}.tar.gz") as archive:
        assert f"kedro-mlrun-starter-{VERSION}/cookiecutter.json" in archive.getnames()
    assert clone.run("git", "status", "--porcelain").stdout == ""


@pytest.mark.parametrize(
    ("change", "version", "said"),
    [
        ("", "", "Name the version"),
        ("", "7.0.0", "another version than 7.0.0"),
        ("README.md", VERSION, "not committed"),
        ("CHANGELOG.md", VERSION, "no section"),
    ],
)
def test_what_is_not_ready_is_not_released(
    clone: Folder, change: str, version: str, said: str
) -> None:
    if change:
        file = clone.path / change
        file.write_text(re.sub(r"## \[0\.2\.0\]", "## [Unreleased]", file.read_text()) + "\n")
    if change == "CHANGELOG.md":
        clone.run("git", "commit", "--quiet", "--all", "--message=Change")
    done = release(clone, version)
    assert done.returncode and said in done.stderr
    assert clone.run("git", "tag", "--list").stdout == ""
