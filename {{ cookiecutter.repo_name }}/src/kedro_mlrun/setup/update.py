"""Bring a generated project to a newer starter, with the user's edits kept.

The starter is rendered with the project's own answers, as it was and as it is now. Git merges the
difference in a repository of its own; the project is changed at once by the outcome, or not at all.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from click import ClickException

STATE = ".cruft.json"
PACKAGE = "src/kedro_mlrun"


class Update(NamedTuple):
    """What an update has done, or would do; `patch` has the edits of the package it replaced."""

    before: str
    after: str
    is_newer: bool
    files: list[str] = []
    conflicts: list[str] = []
    patch: str = ""


def update(folder: Path, to: str = "", check: bool = False) -> Update:
    """Merge what has changed in the starter into a project; `check` only looks for a newer one."""
    try:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
        answers = state["context"]["cookiecutter"]
        origin, commit = state["template"], state["commit"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ClickException(
            f"{folder / STATE} says which starter made this, and can't be read ({error}). Restore "
            "it from git; an installed package is updated by pip install --upgrade kedro-mlrun."
        ) from None
    if not check:
        # So that the update can be looked at, and undone.
        otherwise = "The project must be in a git repository: git init, git add ., git commit."
        if changed := _git(folder, "status", "--porcelain", "--", ".", otherwise=otherwise):
            raise ClickException(
                f"Some changes are not committed:\n{changed}\nCommit or stash them, and try again."
            )
    with TemporaryDirectory(prefix="kedro-mlrun-update-") as temporary:
        work = Path(temporary)
        commits = _commits(work / "starter", origin, commit, to)
        before, after = (_version(work / "starter", each) for each in commits)
        is_newer = len(set(commits)) > 1
        names = before, after
        if is_newer and before == after:
            # Between releases, only the commits tell the two apart.
            names = f"{before} ({commits[0][:8]})", f"{after} ({commits[1][:8]})"
        if check or not is_newer:
            return Update(*names, is_newer)
        base, new = (_rendered(work, each, answers) for each in commits)
        state["commit"] = answers["_commit"] = commits[1]
        (new / STATE).write_text(f"{json.dumps(state, indent=2)}\n", encoding="utf-8")
        merge, patch = work / "merge", f"kedro_mlrun-{before}.patch"
        conflicts = _merge(merge, base, new, folder, f"starter-{after}")
        _git(merge, "diff", "--binary", f"--output={merge / patch}", "base", "yours", "--", PACKAGE)
        if not (merge / PACKAGE).is_dir() or not (merge / patch).stat().st_size:
            (merge / patch).unlink()
            patch = ""
        _git(merge, "add", "--all", "--force")
        changes = ("diff", "--cached", "--no-renames", "yours")
        files = _git(merge, *changes, "--name-only", "-z").split("\0")
        _git(merge, *changes, "--binary", f"--output={work / 'changes'}")
        # All of them or none.
        directory = f"--directory={_git(folder, 'rev-parse', '--show-prefix')}"
        otherwise = "Nothing was changed, for something is in the way. Move it, and try again."
        apply = ("apply", "--whitespace=nowarn", directory, str(work / "changes"))
        _git(folder, *apply, otherwise=otherwise)
        return Update(*names, True, [*filter(None, files)], conflicts, patch)


def _commits(source: Path, origin: str, commit: str, to: str) -> tuple[str, str]:
    """Clone the starter; give the commit that made the project, and the one that is wanted."""
    folder = Path(to).expanduser().absolute()
    is_clone = bool(to) and (folder / "cookiecutter.json").is_file()
    address = str(folder) if is_clone else origin
    otherwise = f"{address} can't be cloned. Use --to PATH, or correct `template` in {STATE}."
    _git(source.parent, "clone", "-q", "--no-checkout", address, str(source), otherwise=otherwise)
    tags = _git(source, "tag", "--list", "v[0-9]*", "--sort=-v:refname").split()
    # Without a release, the newest commit; v1.0.0rc1 is for those who ask for it.
    releases = [tag for tag in tags if re.fullmatch(r"v[\d.]+", tag)]
    newest = [f"v{to}", to] if to else [*releases[:1], "HEAD"]
    wanted = ["HEAD"] if is_clone else newest
    before, after = _commit_of(source, commit), _commit_of(source, *wanted)
    if not (before and after):
        raise ClickException(
            f"The starter at {address} has no version {to if before else commit}. It has: "
            f"{', '.join(tags) or 'none'}. Give another --to, or correct `commit` in {STATE}."
        )
    # Never one before the project's, unless it is asked for.
    is_older = not to and _git(source, "rev-list", "--count", f"{before}..{after}") == "0"
    return before, before if is_older else after


def _commit_of(repository: Path, *names: str) -> str:
    """Give the commit of the first of these names that there is; "" of none."""
    for name in names:
        with suppress(ClickException):
            return _git(repository, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    return ""


def _version(source: Path, commit: str) -> str:
    file = f"{{{{ cookiecutter.repo_name }}}}/{PACKAGE}/__init__.py"
    found = re.search(r'(?m)^__version__ = "(.+)"', _git(source, "show", f"{commit}:{file}"))
    return found[1] if found else commit[:8]


def _rendered(work: Path, commit: str, answers: dict[str, Any]) -> Path:
    """Render the starter with the project's answers, apart from this process: its hooks print."""
    folder, config, output = work / commit, work / "cookiecutter.yml", work / f"{commit}-rendered"
    _git(work / "starter", "worktree", "add", "--quiet", "--detach", str(folder), commit)
    config.write_text(f"cookiecutters_dir: {work}/clones\nreplay_dir: {work}/replay\n")
    questions = json.loads((folder / "cookiecutter.json").read_text(encoding="utf-8"))
    given = [f"{name}={answers[name]}" for name in questions if name in answers and name[0] != "_"]
    _run(
        *(sys.executable, "-P", "-m", "cookiecutter", str(folder), "--no-input"),
        *("--output-dir", str(output), "--config-file", str(config), *given),
        otherwise=f"The starter's commit {commit} can't be rendered. Give another --to.",
    )
    (project,) = output.iterdir()
    return project


def _merge(repository: Path, base: Path, new: Path, folder: Path, theirs: str) -> list[str]:
    """Merge in a repository of its own, and name what a person has to decide."""
    _git(repository.parent, "init", "--quiet", str(repository))
    top = _git(folder, "rev-parse", "--show-toplevel")
    _git(repository, "fetch", "--quiet", "--depth=1", top, "HEAD")
    # Nothing is uncommitted, so that this is the project as it lies there.
    trees = {"yours": f"FETCH_HEAD:{_git(folder, 'rev-parse', '--show-prefix')}"}
    for branch, source in (("base", base), (theirs, new)):
        _git(repository, f"--work-tree={source}", "add", "--all", "--force")
        trees[branch] = _git(repository, "write-tree")
    for branch in ("base", theirs, "yours"):
        parent = ("-p", "base") if branch != "base" else ()
        commit = _git(repository, "commit-tree", "-m", branch, *parent, trees[branch])
        _git(repository, "branch", branch, commit)
    _git(repository, "reset", "--quiet", "--hard", "yours")
    is_vendored = (repository / PACKAGE).is_dir()
    try:
        _git(repository, "merge", "--quiet", "--no-edit", "--no-commit", theirs)
    except ClickException:
        if not _git(repository, "ls-files", "--unmerged"):
            raise
    # What isn't merged: the package and the state.
    _git(repository, "rm", "-r", "--quiet", "--force", "--ignore-unmatch", "--", PACKAGE, STATE)
    shutil.rmtree(repository / PACKAGE, ignore_errors=True)
    if is_vendored:
        shutil.copytree(new / PACKAGE, repository / PACKAGE)
    shutil.copy2(new / STATE, repository / STATE)
    for line in _git(repository, "status", "--porcelain", "--no-renames", "-z").split("\0"):
        # What the user has deleted stays deleted.
        if line[:2] in {"DU", "DD"}:
            _git(repository, "rm", "--quiet", "--force", "--", line[3:])
    left = _git(repository, "diff", "--name-only", "--diff-filter=U", "-z").split("\0")
    return [*filter(None, left)]


def _git(folder: Path, *arguments: str, otherwise: str = "") -> str:
    settings = ("core.autocrlf=false", "core.quotepath=false", "commit.gpgsign=false")
    identity = ("user.name=kedro mlrun update", "user.email=update@localhost")
    options = [part for setting in (*settings, *identity) for part in ("-c", setting)]
    return _run("git", "-C", str(folder), *options, *arguments, otherwise=otherwise)


def _run(*command: str, otherwise: str = "") -> str:
    # Inside of a git hook these name the repository of that hook.
    hooks_own = {"GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"}
    env = {name: value for name, value in os.environ.items() if name not in hooks_own}
    try:
        done = subprocess.run(command, env=env, capture_output=True, check=False)  # noqa: S603
    except FileNotFoundError:
        raise ClickException(f"{command[0]} isn't installed. Install it.") from None
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise ClickException(f"{otherwise}\n{said or f'{command} failed.'}".strip())
    return done.stdout.decode(errors="surrogateescape").strip()
