"""`make release` checks, builds and tags; its checks and tests are those that run here."""

import hashlib
import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from conftest import KEDRO, VENV, Folder, commit, generate
from helpers import ROOT

sys.path.append(str(ROOT / "tools"))

import locked  # noqa: E402

VERSION = "0.3.0.dev0"
DONE = ("-o", "check", "-o", "test", "-o", ".venv/installed")
STARTER = f"kedro-mlrun-starter-{VERSION}"


@pytest.fixture
def clone(starter: Folder, tmp_path: Path) -> Folder:
    """Give a clone with the environment that the tests run in."""
    starter.run("git", "clone", "--quiet", starter.path, tmp_path / "clone")
    (tmp_path / "clone" / ".venv").symlink_to(VENV)
    return starter.at(tmp_path / "clone")


def release(clone: Folder, version: str) -> subprocess.CompletedProcess[str]:
    return clone.run("make", *DONE, "release", f"VERSION={version}", ok=False)


def test_a_release_is_a_tag_and_what_can_be_checked(clone: Folder) -> None:
    """A wheel, the starter, what it is made of and checksums; built again, the same bytes."""
    done = release(clone, "0.3.0-test")
    assert done.returncode == 0, done.stderr
    assert f"0.3.0-test is {VERSION}" in done.stdout
    assert clone.run("git", "tag", "--list").stdout.split() == [f"v{VERSION}"]
    assert clone.run("git", "status", "--porcelain").stdout == ""
    changed = clone.run("git", "show", "--format=", "--name-only").stdout.splitlines()
    # What is new isn't released by it.
    assert changed and not any(name.endswith("CHANGELOG.md") for name in changed)
    clone.run(sys.executable, "manifest.py", "--check")

    dist = clone.path / "dist"
    sums = dict(reversed(line.split()) for line in (dist / "SHA256SUMS").read_text().splitlines())
    assert sums == {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in dist.iterdir()
        if file.name != "SHA256SUMS"
    }
    with zipfile.ZipFile(dist / f"kedro_mlrun-{VERSION}-py3-none-any.whl") as wheel:
        assert "kedro_mlrun/hooks.py" in wheel.namelist()
    with tarfile.open(dist / f"{STARTER}.tar.gz") as archive:
        archive.extractall(clone.path.parent, filter="data")
    unpacked = clone.at(clone.path.parent / STARTER)
    assert not (unpacked.path / ".github").exists()
    makes = [clone.at(generate(each, each.path / "build")).files() for each in (unpacked, clone)]
    assert {**makes[0], ".cruft.json": None} == {**makes[1], ".cruft.json": None}
    materials = json.loads((dist / f"{STARTER}.cdx.json").read_text())
    assert (materials["bomFormat"], materials["specVersion"]) == ("CycloneDX", "1.6")
    refs = [component["bom-ref"] for component in materials["components"]]
    assert len(set(refs)) == len(locked.locked())
    assert {ref for each in materials["dependencies"] for ref in each["dependsOn"]} == {*refs}

    clone.run("make", *DONE, "dist")
    assert sums == {name: hashlib.sha256((dist / name).read_bytes()).hexdigest() for name in sums}

    done = release(clone, "0.3.0")
    assert done.returncode == 0, done.stderr
    assert clone.run("git", "tag", "--list").stdout.split() == ["v0.3.0", f"v{VERSION}"]
    assert "## [0.3.0] - 20" in (clone.path / "CHANGELOG.md").read_text()
    assert "0.3.0rc1 is before 0.3.0" in release(clone, "0.3.0rc1").stderr


@pytest.mark.parametrize(
    ("change", "version", "said"),
    [
        ({}, "", "Name the version"),
        ({}, "0.3", "0.3 is no version such as"),
        ({"bad.py": "x=1"}, "0.3.0", "not committed"),
        ({"CHANGELOG.md": "## [0.2.0] - 2026-01-01\n\n- A"}, "0.3.0", "no section [Unreleased]"),
        ({"CHANGELOG.md": "## [Unreleased]\n\n### Added\n\n## [0.2.0]\n- A"}, "0.3.0", "is empty"),
        ({"tag": "v0.3.0"}, "0.3.0", "a tag v0.3.0 already"),
        ({"tag": "v0.4.0rc1"}, "0.4.0-test", "0.4.0.dev0 is before 0.4.0rc1"),
    ],
)
def test_what_is_not_ready_is_not_released(
    clone: Folder, change: dict[str, str], version: str, said: str
) -> None:
    """That is said at once: the checks, which take minutes, would find the file's bad format."""
    for name, text in change.items():
        if name == "tag":
            clone.run("git", "tag", text)
        else:
            (clone.path / name).write_text(f"{text}\n")
    if "CHANGELOG.md" in change:
        clone.run("git", "commit", "--quiet", "--all", "--message=Change")
    before = clone.run("git", "rev-parse", "HEAD").stdout
    done = clone.run("make", *DONE[2:], "release", f"VERSION={version}", ok=False)
    assert done.returncode and said in done.stderr
    assert clone.run("git", "tag", "--list").stdout.split() == [*filter(None, [change.get("tag")])]
    assert clone.run("git", "rev-parse", "HEAD").stdout == before


def tags() -> list[str]:
    """The releases that this clone knows."""
    listed = ["git", "-C", str(ROOT), "tag", "--list", "v[0-9]*"]
    return subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split()


NO_TAGS = pytest.param("", marks=pytest.mark.skip("This clone has no tags: git fetch --tags"))


@pytest.mark.parametrize("tag", tags() or [NO_TAGS])
def test_a_project_of_each_release_can_be_updated(
    tag: str, starter: Folder, tmp_path: Path
) -> None:
    """Without a conflict, to the starter as it is now, which has its history."""
    starter.run("git", "clone", "--quiet", ROOT, tmp_path / "old")
    old, new = starter.at(tmp_path / "old"), starter.at(tmp_path / "new")
    starter.run("git", "clone", "--quiet", ROOT, new.path)
    old.run("git", "checkout", "--quiet", tag)
    project = starter.at(generate(old, tmp_path / "projects"))
    commit(project)
    for name in new.run("git", "ls-files").stdout.splitlines():
        (new.path / name).unlink()
    for name, (content, _) in starter.files().items():
        if not name.startswith(".git/"):
            (new.path / name).parent.mkdir(parents=True, exist_ok=True)
            (new.path / name).write_bytes(content)
    commit(new)
    done = project.run(KEDRO, "mlrun", "update", f"--to={new.path}", ok=False)
    assert done.returncode == 0, done.stdout
    made = starter.at(generate(new, tmp_path / "made")).files()
    assert {**project.files(), ".cruft.json": None}.items() >= {**made, ".cruft.json": None}.items()


def test_no_licence_of_a_locked_package_is_surprising() -> None:
    licences = {each.name: locked.licence(each.name) for each in locked.locked()}
    assert [each for each in licences.items() if not locked.is_expected(each[1])] == []
    assert not locked.is_expected("LGPL-3.0 AND MIT") and not locked.is_expected("")
