"""The project's source, as a job gets it: an archive of its files, or a commit."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import subprocess
import tarfile
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import click

from ..secrets import known as secrets

MEGABYTE = 1_000_000
LOCAL = "conf/local"
"""Kedro's environment of this machine: the folder is in the archive, what it holds never is."""

FILE_MODE, EXECUTABLE_MODE = 0o644, 0o755
EXECUTABLE_BIT = 0o100
GIT_SECONDS = 60
# What a git hook sets for the commands that it calls, which would look into another repository.
_OF_GIT_HOOKS = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR")

# `${oc.env:NAME,default}` isn't one: the default may be a password.
_REFERENCE = re.compile(r"\$\{(mlrun\.secret|oc\.env):\s*[\w./-]+\s*\}")
_CREDENTIALS = (".yml", ".yaml", ".json")
_SSH = re.compile(r"(?:[\w.-]+@)?(?P<host>[\w.-]{2,}):(?P<path>(?!//).+)")


class SourceError(click.ClickException):
    """The project's source can't be sent; the message says why, and what to do."""

    exit_code = 1


@dataclass(frozen=True)
class Archive:
    """The project's source as a `.tar.gz`; the same files give the same bytes.

    Args:
        content: the bytes of the archive.
        files: the path of each file in it, relative to the project, and its size in bytes.
        folders: the folders that are in it even where they are empty.
        left_out: the path of what isn't in it though it may be expected to be, and why.
    """

    content: bytes = field(repr=False)
    files: list[tuple[str, int]]
    folders: list[str]
    left_out: list[tuple[str, str]]

    @property
    def size(self) -> int:
        """The size of the archive in bytes."""
        return len(self.content)

    @property
    def digest(self) -> str:
        """The SHA-256 of the archive, in hexadecimal digits."""
        return hashlib.sha256(self.content).hexdigest()

    def write(self, path: Path) -> None:
        """Write the archive into a file, which is there as a whole or not at all.

        Args:
            path: the file. Its folder is made where it is missing.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
        try:
            part.write_bytes(self.content)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


class GitSource(NamedTuple):
    """A commit of the project's repository, for MLRun to clone.

    Args:
        url: what a function's `spec.build.source` takes.
        subfolder: the project's folder in the repository, without slashes at its ends; empty where
            it is the repository's own. The function's `workdir` is relative to the repository.
    """

    url: str
    subfolder: str


# ---- the archive


def pack(project_path: Path, largest_file: float, envs: Sequence[str] = ("base",)) -> Archive:
    """Pack the files of the project that git tracks, or would track.

    Never what is in `conf/local`, credentials below `conf`, and `.env` files, even where git tracks
    them. Of the environments of the job, credentials that are nothing but references
    (`${mlrun.secret:NAME}`, `${oc.env:NAME}`) are packed even where git ignores them, without their
    comments.

    Args:
        project_path: the folder of the Kedro project.
        largest_file: how many megabytes (of 1,000,000 bytes) a file may have.
        envs: Kedro's environments that the job reads.

    Returns:
        The archive.

    Raises:
        SourceError: git isn't there, a file is too large or holds a known secret, or a link leads
            out of the project.
    """
    project_path = project_path.resolve()
    left_out: dict[str, str] = {}
    listed = sorted(set(_listed(project_path, "pyproject.toml")))
    _learn_secrets(project_path, listed)
    contents, left = _references(project_path, envs)
    left_out |= left
    links: dict[str, str] = {}
    # Without following links, which are packed as links.
    found = {name: project_path / name for name in listed}
    for name, path in found.items():
        if name in contents:
            continue
        if reason := _never(name):
            if path.name != ".gitkeep":
                left_out.setdefault(name, reason)
        elif path.is_symlink():
            if path.exists():
                links[name] = _target(project_path, name)
            else:
                left_out[name] = "it is a link to nothing"
        elif path.is_file():
            contents[name] = _read(path, name, largest_file)
        elif path.is_dir():
            left_out[name] = "it is a submodule without files: git submodule update --init"
    _check_links(links, contents)
    for name, content in contents.items():
        if line := secrets.line_with_secret(content):
            raise SourceError(
                f"{name}, line {line}, holds what is known as a secret, so the project isn't sent. "
                "Put it into conf/local/credentials.yml alone, and into this file its reference."
            )
    marked = {PurePosixPath(name).parent for name in listed if name.endswith("/.gitkeep")}
    folders = sorted({LOCAL, *map(str, marked)})
    modes = {
        name: EXECUTABLE_MODE
        for name in contents
        if name in found and found[name].stat().st_mode & EXECUTABLE_BIT
    }
    return Archive(
        _archive(folders, contents, links, modes),
        sorted(
            {**{name: len(contents[name]) for name in contents}, **dict.fromkeys(links, 0)}.items()
        ),
        folders,
        sorted(left_out.items()),
    )


def _archive(
    folders: Iterable[str],
    contents: Mapping[str, bytes],
    links: Mapping[str, str],
    modes: Mapping[str, int],
) -> bytes:
    """Make a .tar.gz in which nothing depends on who made it, and when."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name in sorted({*folders, *contents, *links}):
            entry = tarfile.TarInfo(name)
            entry.mode = modes.get(name, FILE_MODE)
            if name in contents:
                entry.size = len(contents[name])
                archive.addfile(entry, io.BytesIO(contents[name]))
                continue
            entry.type = tarfile.SYMTYPE if name in links else tarfile.DIRTYPE
            entry.mode = EXECUTABLE_MODE
            entry.linkname = links.get(name, "")
            archive.addfile(entry)
    return buffer.getvalue()


def _read(path: Path, name: str, largest_file: float) -> bytes:
    size = path.stat().st_size / MEGABYTE
    if size > largest_file:
        raise SourceError(
            f"{name} has {size:,.1f} MB, and no file over {largest_file:g} MB is sent with the "
            "source (`largest_file` under `jobs` in conf/base/mlrun.yml). Put it into object "
            "storage and name it there in the catalog, or put it into .gitignore."
        )
    return path.read_bytes()


def _never(name: str) -> str:
    """Give the reason why a file is never sent; empty if it may be."""
    parts = PurePosixPath(name.lower()).parts
    if name.startswith(f"{LOCAL}/"):
        return f"{LOCAL} stays on this machine"
    if parts[0] == "conf" and any("credentials" in part for part in parts):
        return "credentials stay on this machine"
    if any(part in {".env", ".envrc"} or part.startswith(".env.") for part in parts):
        return "it holds this machine's environment variables"
    if {".git", ".mlrun"}.intersection(parts):
        return "it is no source"
    return ""


def credentials(project_path: Path, archive: Archive) -> set[str]:
    """Give the names of the credentials that are in an archive, as catalog entries refer to them.

    Args:
        project_path: the folder of the Kedro project.
        archive: what `pack` gave.

    Returns:
        The names.
    """
    project_path = project_path.resolve()
    sent = {project_path / name for name, _ in archive.files}
    files = [path for path in _credentials_files(project_path / "conf") if path in sent]
    return {str(name) for path in files for name in _yaml(path) or {}}


# ---- links


def _target(project_path: Path, name: str) -> str:
    """Give what a link leads to, relative to it: MLRun doesn't unpack absolute ones."""
    link = project_path / name
    target = link.resolve()
    if not target.is_relative_to(project_path):
        # Its content isn't packed instead: it may be anything of this machine, of any size.
        raise SourceError(
            f"{name} is a link to {target}, which is outside of the project and so isn't sent. "
            "Name that file in the catalog by a URL that the job can read, and remove the link or "
            "put it into .gitignore."
        )
    return os.path.relpath(target, link.parent.resolve()).replace(os.sep, "/")


def _check_links(links: Mapping[str, str], contents: Mapping[str, bytes]) -> None:
    folders = {str(folder) for name in contents for folder in PurePosixPath(name).parents}
    for name, target in links.items():
        path = os.path.normpath(PurePosixPath(name).parent / target).replace(os.sep, "/")
        if path not in contents and path not in folders:
            raise SourceError(
                f"{name} is a link to {path}, which isn't sent. Have git track that file, or "
                "remove the link."
            )


# ---- secrets


def _learn_secrets(project_path: Path, listed: Iterable[str]) -> None:
    """Have it known what is secret in files that stay here, so that it isn't sent with others."""
    import dotenv

    for path in _credentials_files(project_path / "conf"):
        secrets.register(_without_references(_yaml(path)), everything=True)
    named = [project_path / name for name in listed if _never(name)]
    for path in {*project_path.glob(".env*"), *named}:
        if path.name.startswith(".env") and path.is_file():
            with suppress(UnicodeDecodeError):
                secrets.register(dotenv.dotenv_values(path, interpolate=False))


def _credentials_files(folder: Path) -> list[Path]:
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix in _CREDENTIALS
        and any("credentials" in part.lower() for part in path.relative_to(folder).parts)
        and path.is_file()
    ]


def _references(project_path: Path, envs: Sequence[str]) -> tuple[dict[str, bytes], dict[str, str]]:
    """Give the credentials that may be sent, and why the others of these environments aren't."""
    import yaml

    contents: dict[str, bytes] = {}
    left_out: dict[str, str] = {}
    for env in dict.fromkeys(envs):
        for path in _credentials_files(project_path / "conf" / env):
            name = path.relative_to(project_path).as_posix()
            values = _yaml(path)
            if name.startswith(f"{LOCAL}/"):
                left_out[name] = f"{LOCAL} stays on this machine"
            elif not isinstance(values, dict):
                left_out[name] = "it isn't YAML of names and values"
            elif literal := next(_literals(values), ""):
                left_out[name] = (
                    f"the value of {literal} is in it; only ${{mlrun.secret:NAME}} and "
                    "${oc.env:NAME} are sent"
                )
            else:
                # Written anew, for a comment may hold what the reference is for. Kedro reads
                # all of these with a YAML parser, whatever they are called.
                contents[name] = yaml.safe_dump(values, sort_keys=False).encode()
    return contents, left_out


def _yaml(path: Path) -> Any:
    """Read a YAML file; None if it is none, which Kedro will say when it reads it."""
    import yaml

    try:
        return yaml.safe_load(path.read_bytes())
    except (yaml.YAMLError, ValueError):
        return None


def _is_reference(value: Any) -> bool:
    return isinstance(value, str) and bool(_REFERENCE.fullmatch(value))


def _literals(value: Any, name: str = "") -> Iterator[str]:
    """Give the dotted names of values that are no references."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _literals(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _literals(item, f"{name}.{number}")
    elif not _is_reference(value):
        yield name


def _without_references(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_references(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_references(item) for item in value]
    return None if _is_reference(value) else value


# ---- what git tracks


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run git, which never asks for a password."""
    env = {name: value for name, value in os.environ.items() if name not in _OF_GIT_HOOKS}
    env |= {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    env.setdefault("GIT_SSH_COMMAND", "ssh -o BatchMode=yes")
    try:
        return subprocess.run(  # noqa: S603
            ["git", *arguments],  # noqa: S607
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=GIT_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise SourceError(
            "The git command isn't there, and .gitignore says what belongs to the source. Install "
            "git, or build an image that has the code in it and submit with --source image."
        ) from None
    except subprocess.TimeoutExpired:
        raise SourceError(
            f"git {arguments[0]} gave no answer within {GIT_SECONDS} s. Try it by hand in {folder}."
        ) from None


def _listed(folder: Path, surely: str = "") -> Iterator[str]:
    """Give what git tracks or would track below a folder, relative to it.

    Where a file isn't in it that surely is one of them, the repository doesn't care for the folder.
    """
    listing = ("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    done = _git(folder, *listing)
    if done.returncode or (surely and surely not in done.stdout.split("\0")):
        # In no repository, in one of another user, or in one that ignores the whole project.
        with tempfile.TemporaryDirectory() as repository:
            _git(folder, "init", "--quiet", "--bare", repository)
            done = _git(folder, f"--git-dir={repository}", f"--work-tree={folder}", *listing)
        if done.returncode:
            raise SourceError(
                f"git can't list the files of {folder} ({_said(done)}). Mend that first."
            )
    for name in filter(None, done.stdout.split("\0")):
        inner = folder / name
        if (inner / ".git").exists() and not inner.is_symlink():
            # A submodule, or a repository that lies in this one.
            yield from (f"{name.rstrip('/')}/{file}" for file in _listed(inner))
        else:
            yield name.rstrip("/")


def _said(done: subprocess.CompletedProcess[str]) -> str:
    """Give git's own words, as one line without secrets."""
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return secrets.hide("; ".join(lines[-2:]).strip().rstrip(".")) or "it doesn't say why"


# ---- sending


def upload(archive: Archive, artifact_path: str) -> str:
    """Put an archive below an artifact path, unless it is there already.

    Args:
        archive: what `pack` gave.
        artifact_path: an absolute folder, or a URL of any store that MLRun knows; what MLRun puts
            in for `{{project}}` is put in.

    Returns:
        Its path or URL, `<artifact path>/source/<digest>.tar.gz`, for `spec.build.source`.

    Raises:
        OSError: it can't be written; another store may raise an error of its own.
    """
    import mlrun

    folder = mlrun.utils.template_artifact_path(artifact_path, mlrun.mlconf.active_project)
    url = f"{folder.removeprefix('file://').rstrip('/')}/source/{archive.digest}.tar.gz"
    if "://" not in url:
        path = Path(url).absolute()
        if not path.is_file():
            archive.write(path)
        return path.as_posix()
    item = mlrun.get_dataitem(url)
    try:
        there = item.stat().size == archive.size
    except Exception:  # each store has errors of its own; writing tells what is really wrong
        there = False
    if not there:
        # Object stores show an object when all of it has arrived.
        item.put(archive.content)
    return url


# ---- a commit


def git_source(project_path: Path) -> GitSource:
    """Give the project's current commit as a source that MLRun clones.

    MLRun clones by https, whatever the remote's own URL is, and of one branch: without a branch's
    name the default one. A commit can be asked for only in that branch, so one that isn't there
    needs a tag.

    No credentials are in the URL. For a private repository MLRun takes a token from the project's
    secrets: `GIT_TOKEN` (or `GITHUB_TOKEN`, `GITLAB_TOKEN`).

    Args:
        project_path: the folder of the Kedro project.

    Returns:
        The source, and the project's folder in it.

    Raises:
        SourceError: what MLRun would clone isn't what is here, or it can't clone it.
    """
    top = _git(project_path, "rev-parse", "--show-toplevel", "--show-prefix", "HEAD")
    if top.returncode:
        raise SourceError(
            f"{project_path} is in no git repository that has a commit. Commit and push the "
            "project, or submit it with --source archive."
        )
    _, subfolder, commit = top.stdout.splitlines()
    dirty = _git(project_path, "status", "--porcelain", "--untracked-files=all", "--", ".").stdout
    if dirty.strip():
        names = [line[3:] for line in dirty.splitlines()]
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        raise SourceError(
            f"{names[0]}{more} differ from the last commit, which is what a job would get. Commit "
            "and push them, or submit with --source archive."
        )
    remote = _remote(project_path)
    url = _clone_url(project_path, remote)
    return GitSource(f"{url}#{_fragment(project_path, remote, commit)}", subfolder.strip("/"))


def _remote(project_path: Path) -> str:
    """Give the remote of the current branch, or else origin."""
    branch = _git(project_path, "symbolic-ref", "--quiet", "--short", "HEAD").stdout.strip()
    upstream = _git(project_path, "config", f"branch.{branch}.remote").stdout.strip()
    remotes = _git(project_path, "remote").stdout.split()
    for name in (upstream, "origin", *remotes):
        if name in remotes:
            return name
    raise SourceError(
        "The project's repository has no remote that a job could clone it from. Add one (git "
        "remote add origin URL) and push to it, or submit with --source archive."
    )


def _clone_url(project_path: Path, remote: str) -> str:
    """Turn a remote's URL into the form that MLRun clones: git://host/path, meaning https."""
    # What git makes of it first, for it may be short for another one (`insteadOf`).
    urls = [
        _git(project_path, "remote", "get-url", remote).stdout.strip(),
        _git(project_path, "config", f"remote.{remote}.url").stdout.strip(),
    ]
    for url in urls:
        if clone := _as_git_url(url):
            return clone
    raise SourceError(
        f"MLRun clones by https alone, and the remote '{remote}' is {secrets.hide(urls[-1])}. Push "
        "to a server with https, or submit with --source archive."
    )


def _as_git_url(url: str) -> str:
    """Give the URL without credentials; empty where MLRun can't clone it.

    Example:
        >>> _as_git_url("git@github.com:team/iris.git")
        'git://github.com/team/iris.git'
        >>> _as_git_url("https://me:token@git.example.com:8443/iris")
        'git://git.example.com:8443/iris'
        >>> _as_git_url("/srv/iris.git"), _as_git_url("http://git/iris")
        ('', '')
    """
    parts = urlsplit(url)
    if parts.scheme in {"https", "ssh", "git+ssh", "git"} and parts.hostname:
        # The port of ssh is not that of https.
        port = parts.netloc.rpartition("@")[2].partition(":")[2]
        port = f":{port}" if port and parts.scheme == "https" else ""
        return f"git://{parts.hostname}{port}{parts.path.rstrip('/')}"
    if "://" not in url and (short := _SSH.fullmatch(url)):
        return f"git://{short['host']}/{short['path'].strip('/')}"
    return ""


def _fragment(project_path: Path, remote: str, commit: str) -> str:
    """Name the commit so that MLRun finds it in what it clones."""
    asked = _git(project_path, "ls-remote", "--symref", remote)
    if asked.returncode:
        raise SourceError(
            f"The remote '{remote}' can't be asked whether it has this commit ({_said(asked)}). "
            "Mend that, or submit with --source archive."
        )
    lines = [line.split("\t") for line in asked.stdout.splitlines()]
    default = next((ref[5:] for ref, name in lines if ref.startswith("ref: ")), "")
    tips = {name: tip for tip, name in lines if not tip.startswith("ref: ")}
    short = default.removeprefix("refs/heads/")
    # What the default branch had when it was last fetched, where its present tip isn't known here.
    for tip in (tips.get("HEAD", ""), f"refs/remotes/{remote}/{short}"):
        if tip and not _git(project_path, "merge-base", "--is-ancestor", commit, tip).returncode:
            return f"refs/commits/{commit}"
    for name, tip in tips.items():
        # An annotated tag's commit has a line of its own.
        tag = name.removeprefix("refs/tags/").removesuffix("^{}")
        if tip == commit and name.startswith("refs/tags/"):
            # As a branch, for which git takes a tag, too; MLRun looks for refs/tags/… only in the
            # default branch.
            return tag
    if commit in tips.values():
        raise SourceError(
            f"The remote '{remote}' has the commit {commit[:12]}, but MLRun finds commits of its "
            f"default branch '{short}' only. Merge it, push a tag (git tag NAME; git push {remote} "
            "NAME), or submit with --source archive."
        )
    raise SourceError(
        f"The commit {commit[:12]} isn't on the remote '{remote}', where a job would clone it. "
        "Push it (git push), or submit with --source archive."
    )
