"""A newer starter comes into a project that its user has changed: real repositories and merges."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from helpers import PROJECT, copy_starter

from kedro_mlrun.commands import cli
from kedro_mlrun.setup import manifest
from kedro_mlrun.setup import update as updates

TEMPLATE = "{{ cookiecutter.repo_name }}"
ADDED = "\n# of the user\n"


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.com")
    done = subprocess.run(
        ["git", "-C", folder, *identity, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def commit(folder: Path, message: str) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", f"--message={message}")


def append(file: Path, text: str = ADDED) -> None:
    file.write_text(file.read_text(encoding="utf-8") + text, encoding="utf-8")


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def write_manifest(starter: Path) -> None:
    """As `make fix` does it."""
    subprocess.run([sys.executable, "manifest.py"], cwd=starter, check=True)


@pytest.fixture(scope="module")
def starters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a starter with two versions: 0.2.0, and 9.0.0, which changes, renames and deletes."""
    folder = tmp_path_factory.mktemp("starter") / "starter"
    copy_starter(folder)
    git(folder.parent, "init", "--quiet", "--initial-branch=main", str(folder))
    project = folder / TEMPLATE
    (project / "notes.md").write_text("".join(f"Line {n} of the notes.\n" for n in range(20)))
    (project / "obsolete.md").write_text("Of the old version.\n")
    (project / "unused.md").write_text("Of the old version.\n")
    write_manifest(folder)
    commit(folder, "Old")
    git(folder, "tag", "v0.2.0")
    git(folder, "tag", "v9.0.0rc1")
    package = project / "src" / "kedro_mlrun"
    version = manifest_version(package)
    replace(package / "__init__.py", f'"{version}"', '"9.0.0"')
    write_manifest(folder)
    git(folder, "mv", f"{TEMPLATE}/notes.md", f"{TEMPLATE}/handbook.md")
    for name in ("obsolete.md", "unused.md"):
        (project / name).unlink()
    (project / "new.md").write_text("Of the new version.\n")
    replace(project / "conf" / "base" / "parameters_training.yml", "seed: 42", "seed: 43")
    append(project / "README.md", "\nOf the new version.\n")
    commit(folder, "New")
    git(folder, "tag", "v9.0.0")
    return folder


def manifest_version(package: Path) -> str:
    found = re.search(r'__version__ = "(.+)"', (package / "__init__.py").read_text())
    assert found
    return found[1]


@pytest.fixture(scope="module")
def generated(starters: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a project that the old version made."""
    tmp_path = tmp_path_factory.mktemp("generated")
    git(starters, "checkout", "--quiet", "v0.2.0")
    config = tmp_path / "cookiecutter.yml"
    config.write_text(f"cookiecutters_dir: {tmp_path}/clones\nreplay_dir: {tmp_path}/replay\n")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "cookiecutter", starters.name, "--no-input"),
            *("--output-dir", str(tmp_path), "--config-file", str(config)),
            *("project_name=Churn", "mlrun_project=my-churn"),
        ],
        cwd=starters.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    git(starters, "checkout", "--quiet", "main")
    return tmp_path / "churn"


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Render each commit once; the tests have the same answers."""
    folder, render = tmp_path_factory.mktemp("rendered"), updates._rendered

    def once(work: Path, commit: str, answers: Any) -> Path:
        if not (folder / commit).exists():
            shutil.copytree(render(work, commit, answers), folder / commit, symlinks=True)
        return Path(shutil.copytree(folder / commit, work / f"{commit}-copy", symlinks=True))

    return once


@pytest.fixture
def project(
    generated: Path,
    rendered: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Path]:
    """Give a copy of it in a new git repository, with the working folder in it."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setattr(updates, "_rendered", rendered)
    folder = tmp_path / "churn"
    shutil.copytree(generated, folder)
    git(tmp_path, "init", "--quiet", str(folder))
    monkeypatch.chdir(folder)
    yield folder


def update(*arguments: str) -> Result:
    return CliRunner().invoke(cli.cli, ["mlrun", "update", *arguments])


def test_edits_are_kept(project: Path) -> None:
    """Row 5: also what was edited before the first commit, renamed or deleted by the starter."""
    edited = {
        "conf/base/catalog.yml": ADDED,
        "README.md": None,
        "pyproject.toml": ADDED,
        "src/churn/pipelines/training/nodes.py": ADDED,
        "notes.md": ADDED,
    }
    for name, text in edited.items():
        if text:
            append(project / name, text)
    replace(project / "README.md", "# Churn", "# Our churn")
    replace(project / "conf/base/parameters_training.yml", "max_depth: 4", "max_depth: 5")
    append(project / "src/kedro_mlrun/hooks.py")
    (project / "own.md").write_text("The user's.\n")
    commit(project, "First")

    done = update()
    assert done.exit_code == 0, done.output
    assert re.search(r"Updated from \S+ to 9\.0\.0", done.output)
    for name in (
        "conf/base/catalog.yml",
        "pyproject.toml",
        "src/churn/pipelines/training/nodes.py",
    ):
        assert (project / name).read_text().endswith(ADDED), name
    readme = (project / "README.md").read_text()
    assert readme.startswith("# Our churn") and readme.endswith("Of the new version.\n")
    parameters = (project / "conf/base/parameters_training.yml").read_text()
    assert "max_depth: 5" in parameters and "seed: 43" in parameters
    assert not (project / "notes.md").exists()
    assert (project / "handbook.md").read_text().endswith(ADDED)
    assert not (project / "obsolete.md").exists()
    assert (project / "new.md").is_file() and (project / "own.md").is_file()
    # The package is the new one, and what was changed in the old one is a patch.
    package = project / "src" / "kedro_mlrun"
    assert manifest_version(package) == "9.0.0"
    assert manifest.changed_files(package) == []
    (patch,) = project.glob("kedro_mlrun-*.patch")
    assert "+# of the user" in patch.read_text() and patch.name in done.output
    git(project, "apply", "--check", patch.name)
    state = json.loads((project / ".cruft.json").read_text())
    assert state["context"]["cookiecutter"]["mlrun_project"] == "my-churn"
    # Once more, it is up to date.
    commit(project, "Updated")
    done = update()
    assert (done.exit_code, done.output) == (0, "kedro_mlrun 9.0.0 is the newest version.\n")


def test_a_conflict_is_marked(project: Path) -> None:
    """As git marks it, with exit code 1; what only one side has changed is merged all the same."""
    replace(project / "conf/base/parameters_training.yml", "seed: 42", "seed: 7")
    append(project / "obsolete.md")
    (project / "notes.md").unlink()
    commit(project, "First")
    done = update()
    assert done.exit_code == 1, done.output
    assert "Conflict in conf/base/parameters_training.yml" in done.output
    assert "Conflict in obsolete.md" in done.output
    parameters = (project / "conf/base/parameters_training.yml").read_text()
    assert re.search(r"<{7}.*\n.*seed: 7\n={7}\n.*seed: 43\n>{7} starter-9\.0\.0", parameters)
    # What the starter deletes and the user has edited stays; what the user has deleted is gone.
    assert (project / "obsolete.md").read_text().endswith(ADDED)
    assert not (project / "unused.md").exists()
    assert not (project / "handbook.md").exists()
    assert (project / "new.md").is_file()


@pytest.mark.parametrize("uncommitted", ["README.md", "own.md"])
def test_a_dirty_tree_is_refused(project: Path, uncommitted: str) -> None:
    commit(project, "First")
    with (project / uncommitted).open("a") as file:
        file.write(ADDED)
    before = tree(project)
    done = update()
    assert done.exit_code == 1
    assert uncommitted in done.output and "Commit or stash" in done.output
    assert tree(project) == before


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".git" not in path.parts
    }


def test_nothing_is_half_done(project: Path) -> None:
    """A file that git ignores stands where the new version has one: nothing at all is changed."""
    append(project / ".gitignore", "new.md\n")
    commit(project, "First")
    (project / "new.md").write_text("The user's.\n")
    before = tree(project)
    done = update()
    assert done.exit_code == 1
    assert "new.md" in done.output
    assert tree(project) == before


def test_it_tells_whether_there_is_a_newer_one(project: Path) -> None:
    """In whatever state the project is, and without changing anything."""
    before = tree(project)
    done = update("--check")
    assert (done.exit_code, done.output.count("9.0.0")) == (1, 1)
    assert update("--check", "--to", "0.2.0").exit_code == 0
    assert tree(project) == before


def test_two_commits_of_one_version_are_told_apart(
    project: Path, starters: Path, tmp_path: Path
) -> None:
    """Law 4: between releases, the versions are the same, and the commits are shown."""
    commit(project, "First")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(starters), str(clone))
    git(clone, "checkout", "--quiet", "v0.2.0")
    (clone / TEMPLATE / "between.md").write_text("Of no release.\n")
    commit(clone, "Between")
    version = manifest_version(clone / TEMPLATE / "src" / "kedro_mlrun")
    before, after = (git(clone, "rev-parse", name)[:8] for name in ("v0.2.0^{commit}", "HEAD"))
    done = update("--check", "--to", str(clone))
    assert done.exit_code == 1
    expected = f"There is kedro_mlrun {version} ({after}); this project has {version} ({before})."
    assert done.output.splitlines()[0] == expected
    done = update("--to", str(clone))
    assert f"Updated from {version} ({before}) to {version} ({after})" in done.output
    assert (project / "between.md").exists()


def test_a_version_or_a_clone_is_chosen(project: Path, starters: Path, tmp_path: Path) -> None:
    """The clone will do where the recorded address is gone."""
    commit(project, "First")
    assert "has no version 7" in update("--to", "7").output
    git(tmp_path, "clone", "--quiet", str(starters), "moved")
    state = json.loads((project / ".cruft.json").read_text())
    (project / ".cruft.json").write_text(json.dumps({**state, "template": f"{tmp_path}/gone"}))
    commit(project, "Gone")
    assert "can't be cloned" in update().output
    done = update("--to", str(tmp_path / "moved"))
    assert done.exit_code == 0, done.output
    assert manifest_version(project / "src" / "kedro_mlrun") == "9.0.0"


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (lambda project: shutil.rmtree(project / ".git"), "must be in a git repository"),
        (lambda project: (project / ".cruft.json").unlink(), "No such file"),
        (lambda project: (project / ".cruft.json").write_text("{}"), "can't be read"),
    ],
)
def test_what_is_missing_is_said(
    project: Path, prepare: Callable[[Path], object], said: str
) -> None:
    prepare(project)
    done = update()
    assert done.exit_code == 1
    assert said in done.output and "Traceback" not in done.output


def test_without_git(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law 9: one sentence says what is missing."""
    monkeypatch.setenv("PATH", "")
    done = update()
    assert (done.exit_code, done.output) == (1, "Error: git isn't installed. Install it.\n")


def test_a_project_in_a_folder_of_a_repository(project: Path) -> None:
    """As in a repository of several projects."""
    shutil.rmtree(project / ".git")
    git(project.parent, "init", "--quiet")
    commit(project.parent, "First")
    done = update()
    assert done.exit_code == 0, done.output
    assert (project / "new.md").is_file()
    assert git(project.parent, "status", "--porcelain", "--", "starter") == ""


def test_changed_files_are_found(project: Path) -> None:
    package = project / "src" / "kedro_mlrun"
    assert manifest.changed_files(package) == []
    text = (package / "hooks.py").read_bytes()
    (package / "hooks.py").write_bytes(text.replace(b"\n", b"\r\n"))
    assert manifest.changed_files(package) == []
    append(package / "hooks.py")
    (package / "project.py").unlink()
    (package / "own.py").write_text("")
    # Where the wheel has the starter.
    (package / "starter" / "hooks").mkdir(parents=True)
    (package / "starter" / "hooks" / "pre_gen_project.py").write_text("")
    assert manifest.changed_files(package) == ["hooks.py", "own.py", "project.py"]


def test_cruft_reads_the_state(project: Path, starters: Path) -> None:
    """Its format, with the starter as it was typed and the commit that rendered it."""
    state = json.loads((project / ".cruft.json").read_text())
    assert state.keys() == {"template", "commit", "checkout", "context", "directory", "skip"}
    assert state["template"] == str(starters)
    assert state["commit"] == git(starters, "rev-parse", "v0.2.0^{commit}")
    answers = state["context"]["cookiecutter"]
    assert (answers["project_name"], answers["repo_name"]) == ("Churn", "churn")


def test_a_starter_without_git_is_a_release() -> None:
    """As in the wheel: its version names the tag."""
    # Which has been made from files alone.
    state = json.loads((PROJECT / ".cruft.json").read_text())
    assert state["template"].startswith("https://")
    assert state["commit"] == f"v{manifest_version(PROJECT / 'src' / 'kedro_mlrun')}"
