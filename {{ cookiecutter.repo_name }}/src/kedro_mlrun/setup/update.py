"""Bring a generated project to a newer starter, with the user's edits kept.

The starter is rendered twice with the project's own answers, as it was and as it is now. Git merges
the difference into the project's files in a repository of its own, so that renamed and deleted
files, binary files and conflicts are what they are in any merge. What comes of that is applied to
the project at once, or not at all.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

STATE = ".cruft.json"
PACKAGE = "src/kedro_mlrun"


class UpdateError(click.ClickException):
    """The project can't be updated; nothing of it was changed."""


@dataclass
class Update:
    """What an update has done, or would do."""

    before: str
    after: str
    is_newer: bool
    files: list[str]
    conflicts: list[str]
    patch: str = ""
    """The file with the edits of the package, which was replaced as a whole."""


@dataclass
class _Starter:
    """One version of the starter."""

    repository: Path
    commit: str

    @property
    def version(self) -> str:
        file = f"{{{{ cookiecutter.repo_name }}}}/{PACKAGE}/__init__.py"
        text = _git(self.repository, "show", f"{self.commit}:{file}")
        found = re.search(r'^__version__ = "(.+)"', text, re.MULTILINE)
        return found[1] if found else self.commit[:8]

    def check_out(self, folder: Path) -> Path:
        commit = ("--detach", str(folder), self.commit)
        _git(self.repository, "worktree", "add", "--quiet", *commit)
        return folder


def update(folder: Path, to: str = "", check: bool = False) -> Update:
    """Merge what has changed in the starter into a project; `check` only looks for a newer one."""
    state = _state(folder)
    with TemporaryDirectory(prefix="kedro-mlrun-update-") as temporary:
        work = Path(temporary)
        if not check:
            _check_clean(folder)
        before, after = _starters(state, to, work)
        versions = before.version, after.version
        if check or before.commit == after.commit:
            return Update(*versions, before.commit != after.commit, [], [])
        state["commit"] = state["context"]["cookiecutter"]["_commit"] = after.commit
        renderings = [_rendered(starter, state, work) for starter in (before, after)]
        return _merged(folder, work / "merge", state, renderings, versions)


def _state(folder: Path) -> dict[str, Any]:
    try:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
        return {**state, "context": {"cookiecutter": dict(state["context"]["cookiecutter"])}}
    except FileNotFoundError:
        raise UpdateError(
            f"{folder} has no {STATE}, so it isn't known which starter made it. Where the package "
            "is installed, update it with pip: pip install --upgrade kedro-mlrun."
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise UpdateError(
            f"{folder / STATE} can't be read ({error}). Restore it from git."
        ) from None


def _check_clean(folder: Path) -> None:
    try:
        changed = _git(folder, "status", "--porcelain", "--", ".")
    except UpdateError:
        raise UpdateError(
            f"{folder} is not in a git repository. Run `git init`, `git add .` and `git commit`, "
            "so that you can look at the update, and undo it."
        ) from None
    if changed:
        raise UpdateError(
            "The project has changes that are not committed:\n"
            f"{changed}\nCommit or stash them, and update again."
        )


# ---- the starter, as it was and as it is now


def _starters(state: dict[str, Any], to: str, work: Path) -> tuple[_Starter, _Starter]:
    origin, commit = state["template"], state["commit"]
    folder = Path(to).expanduser() if to else None
    if folder is not None and (folder / "cookiecutter.json").is_file():
        if not (folder / ".git").exists():
            raise UpdateError(
                f"{folder} is not a git repository. Clone the starter with git, or give the "
                "number of a version."
            )
        # It has the older commit as well, unless it isn't a clone of that starter.
        source, to = _clone(str(folder.absolute()), work / "starter"), "HEAD"
        if not _has(source, commit):
            _git(source, "fetch", "--quiet", "--tags", origin, "HEAD")
    else:
        source = _clone(origin, work / "starter")
    if not _has(source, commit):
        raise UpdateError(
            f"The starter at {origin} has no commit {commit}, which made this project. "
            f"Correct `template` or `commit` in {STATE}."
        )
    newest = _newest(source, commit) if not to else to
    found = next((name for name in (f"v{newest}", newest) if _has(source, name)), None)
    if found is None:
        tags = ", ".join(_git(source, "tag", "--sort=-v:refname").split()) or "none"
        raise UpdateError(f"The starter at {origin} has no version {to}. It has: {tags}.")
    commits = [_git(source, "rev-parse", f"{name}^{{commit}}") for name in (commit, found)]
    return _Starter(source, commits[0]), _Starter(source, commits[1])


def _clone(origin: str, folder: Path) -> Path:
    try:
        _git(folder.parent, "clone", "--quiet", "--no-checkout", origin, str(folder))
    except UpdateError as error:
        raise UpdateError(
            f"The starter at {origin} can't be cloned: {error.message.splitlines()[-1]} "
            f"Give a clone of it with --to PATH, or correct `template` in {STATE}."
        ) from None
    return folder


def _has(repository: Path, revision: str) -> bool:
    try:
        return bool(_git(repository, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}"))
    except UpdateError:
        return False


def _newest(repository: Path, commit: str) -> str:
    """Give the newest release; without any, the newest commit. Never one before the project's."""
    tags = _git(repository, "tag", "--list", "v[0-9]*", "--sort=-v:refname").split()
    newest = tags[0] if tags else "HEAD"
    behind = _git(repository, "rev-list", "--count", f"{commit}..{newest}")
    return commit if behind == "0" else newest


def _rendered(starter: _Starter, state: dict[str, Any], work: Path) -> Path:
    """Render the starter with the project's answers, in a process of its own."""
    folder = starter.check_out(work / starter.commit)
    config, output = work / "cookiecutter.yml", work / f"{starter.commit}-rendered"
    config.write_text(f"cookiecutters_dir: {work}/clones\nreplay_dir: {work}/replay\n")
    questions = json.loads((folder / "cookiecutter.json").read_text(encoding="utf-8"))
    answers = state["context"]["cookiecutter"]
    given = [f"{name}={answers[name]}" for name in questions if name in answers and name[0] != "_"]
    done = subprocess.run(  # noqa: S603
        [
            *(sys.executable, "-P", "-m", "cookiecutter", str(folder), "--no-input"),
            *("--output-dir", str(output), "--config-file", str(config), *given),
        ],
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise UpdateError(
            f"The starter's version {starter.version} can't be rendered: "
            f"{(done.stderr or done.stdout).strip().splitlines()[-1]}"
        )
    (project,) = output.iterdir()
    return project


# ---- the merge


def _merged(
    folder: Path,
    repository: Path,
    state: dict[str, Any],
    renderings: list[Path],
    versions: tuple[str, str],
) -> Update:
    base, new = renderings
    repository.mkdir()
    _git(repository, "init", "--quiet")
    listed = _git(folder, "ls-files", "-z").split("\0")
    _commit(repository, base, _files(base))
    generated = _git(repository, "rev-parse", "HEAD")
    _commit(repository, folder, listed)
    yours = _git(repository, "rev-parse", "HEAD")
    edits = _git(repository, "diff", "--binary", generated, yours, "--", PACKAGE, strip=False)
    is_vendored = (repository / PACKAGE).is_dir()
    if not is_vendored:
        edits = ""

    def replace_ours() -> None:
        """Let all sides agree on what isn't merged: the package and the state."""
        shutil.rmtree(repository / PACKAGE, ignore_errors=True)
        if is_vendored:
            shutil.copytree(new / PACKAGE, repository / PACKAGE)
        text = json.dumps(state, indent=2)
        (repository / STATE).write_text(f"{text}\n", encoding="utf-8")

    _git(repository, "checkout", "--quiet", "--orphan", "base")
    _commit(repository, base, _files(base), replace_ours)
    theirs = f"starter-{versions[1]}"
    _git(repository, "checkout", "--quiet", "-b", theirs)
    _commit(repository, new, _files(new), replace_ours)
    _git(repository, "checkout", "--quiet", "-b", "yours", "base")
    _commit(repository, folder, listed, replace_ours)
    conflicts = _merge(repository, theirs)
    patch = f"kedro_mlrun-{versions[0]}.patch" if edits else ""
    if patch:
        (repository / patch).write_text(edits, encoding="utf-8")
    _git(repository, "add", "--all", "--force")
    files = _git(repository, "diff", "--cached", "--name-only", "--no-renames", "-z", yours)
    difference = repository.with_suffix(".diff")
    _git(
        repository,
        *("diff", "--cached", "--binary", "--no-renames", f"--output={difference}", yours),
    )
    _apply(folder, difference)
    return Update(*versions, True, [name for name in files.split("\0") if name], conflicts, patch)


def _files(folder: Path) -> list[str]:
    return [
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() or path.is_symlink()
    ]


def _commit(repository: Path, source: Path, names: Iterable[str], then: Any = None) -> None:
    """Commit these files, and no others."""
    for path in repository.iterdir():
        if path.name != ".git":
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for name in filter(None, names):
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source / name, repository / name, follow_symlinks=False)
    if then:
        then()
    _git(repository, "add", "--all", "--force")
    _git(repository, "commit", "--quiet", "--allow-empty", "--message=starter")


def _merge(repository: Path, theirs: str) -> list[str]:
    """Merge, and name what a person has to decide. What the user has deleted stays deleted."""
    try:
        _git(repository, "merge", "--quiet", "--no-edit", "--no-commit", theirs)
    except UpdateError:
        if not _git(repository, "ls-files", "--unmerged"):
            raise
    status = _git(repository, "status", "--porcelain", "-z").split("\0")
    for line in status:
        if line[:2] in {"DU", "DD"}:
            _git(repository, "rm", "--quiet", "--force", "--", line[3:])
    left = _git(repository, "diff", "--name-only", "--diff-filter=U", "-z").split("\0")
    return [name for name in left if name]


def _apply(folder: Path, difference: Path) -> None:
    """Change the project's files, all of them or none."""
    if not difference.stat().st_size:
        return
    top = Path(_git(folder, "rev-parse", "--show-toplevel"))
    prefix = _git(folder, "rev-parse", "--show-prefix")
    directory = [f"--directory={prefix}"] if prefix else []
    _git(top, "apply", "--whitespace=nowarn", *directory, str(difference))


def _git(folder: Path, *arguments: str, strip: bool = True) -> str:
    settings = ("core.autocrlf=false", "core.quotepath=false", "commit.gpgsign=false")
    identity = ("user.name=kedro mlrun update", "user.email=update@localhost")
    options = [part for setting in (*settings, *identity) for part in ("-c", setting)]
    done = subprocess.run(  # noqa: S603
        ["git", "-C", str(folder), *options, *arguments],  # noqa: S607
        env=_environment(),
        capture_output=True,
        check=False,
    )
    if done.returncode:
        message = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise UpdateError(message or f"git {arguments[0]} failed.")
    text = done.stdout.decode(errors="surrogateescape")
    return text.strip() if strip else text


def _environment() -> dict[str, str]:
    # Inside of a git hook these name the repository of that hook.
    return {
        name: value
        for name, value in os.environ.items()
        if name not in {"GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"}
    }
