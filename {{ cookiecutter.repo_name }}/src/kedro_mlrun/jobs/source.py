"""The project's source, as a job gets it: an archive of what git tracks, or a commit."""

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
from typing import Any
from urllib.parse import urlsplit

import click

from ..runs import provenance
from ..secrets import known as secrets

MEGABYTE = 1_000_000
# `${oc.env:NAME,default}` isn't one: the default may be a password.
_REFERENCE = re.compile(r"\$\{(mlrun\.secret|oc\.env):\s*[\w./-]+\s*\}")
GIT_SECONDS = 60
_SSH = re.compile(r"(?:[\w.-]+@)?(?P<host>[\w.-]{2,}):(?P<path>(?!//).+)")


class SourceError(click.ClickException):
    """The project's source can't be sent."""


@dataclass(frozen=True)
class Archive:
    """The project's source as a `.tar.gz`; the same files give the same bytes.

    `files` have their sizes, `left_out` the reason; `credentials` are the names that can be used.
    """

    content: bytes = field(repr=False)
    files: dict[str, int]
    left_out: dict[str, str]
    credentials: set[str]

    @property
    def digest(self) -> str:
        """The SHA-256 of the archive, in hexadecimal digits."""
        return hashlib.sha256(self.content).hexdigest()


def pack(project_path: Path, largest_file: float, envs: Sequence[str] = ("base",)) -> Archive:
    """Pack the files of the project that git tracks, or would track; none over so many megabytes.

    Never what is in `conf/local`, credentials below `conf`, and `.env` files, even where git tracks
    them. Of the job's environments, credentials that are nothing but references are packed even
    where git ignores them, without their comments.
    """
    from kedro.framework.project import settings

    project_path, conf = project_path.resolve(), str(settings.CONF_SOURCE)
    listed = sorted(set(_listed(project_path, "pyproject.toml")))
    _learn_secrets(project_path, conf, listed)
    contents, credentials, left_out = _references(project_path, conf, envs)
    links, executable = [], set()
    for name in listed:
        path = project_path / name
        if name in contents:
            continue
        if reason := _never(name, conf):
            if path.name != ".gitkeep":
                left_out.setdefault(name, reason)
        elif path.is_symlink() and not path.exists():
            left_out[name] = "it is a link to nothing"
        elif path.is_symlink():
            links.append(name)
        elif path.is_file():
            stat = path.stat()
            if stat.st_size > largest_file * MEGABYTE:
                raise SourceError(
                    f"{name} has {stat.st_size / MEGABYTE:,.1f} MB, and no file over "
                    f"{largest_file:g} MB is sent with the source (`largest_file` under `jobs` in "
                    "conf/base/mlrun.yml). Put it into object storage and name it there in the "
                    "catalog, or put it into .gitignore."
                )
            contents[name] = path.read_bytes()
            if stat.st_mode & 0o100:
                executable.add(name)
        elif path.is_dir():
            left_out[name] = "it is a submodule without files: git submodule update --init"
    for name, content in contents.items():
        if line := secrets.line_with_secret(content):
            raise SourceError(
                f"{name}, line {line}, holds what is known as a secret, so the project isn't sent. "
                "Put it into conf/local/credentials.yml alone, and into this file its reference."
            )
    targets = {name: _target(project_path, name, contents) for name in links}
    sizes = {name: len(content) for name, content in contents.items()} | dict.fromkeys(links, 0)
    archive = _archive(f"{conf}/local", contents, targets, executable)
    return Archive(archive, dict(sorted(sizes.items())), left_out, credentials)


def _archive(
    local: str,
    contents: Mapping[str, bytes],
    links: Mapping[str, str],
    executable: Iterable[str],
) -> bytes:
    """Make a .tar.gz in which nothing depends on who made it, and when."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        # Without this folder Kedro doesn't start.
        for name in sorted({local, *contents, *links}):
            entry, content = tarfile.TarInfo(name), contents.get(name, b"")
            entry.mode = 0o755 if name in executable or name not in contents else 0o644
            entry.size = len(content)
            if name in links:
                entry.type, entry.linkname = tarfile.SYMTYPE, links[name]
            elif name not in contents:
                entry.type = tarfile.DIRTYPE
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _never(name: str, conf: str) -> str:
    """Give the reason why a file is never sent; empty if it may be."""
    parts = PurePosixPath(name.lower()).parts
    if name.startswith(f"{conf}/local/"):
        return f"{conf}/local stays on this machine"
    if name.startswith(f"{conf}/") and any("credentials" in part for part in parts):
        return "credentials stay on this machine"
    if any(part in {".env", ".envrc"} or part.startswith(".env.") for part in parts):
        return "it holds this machine's environment variables"
    return "it is not source code" if {".git", ".mlrun"}.intersection(parts) else ""


def _target(project_path: Path, name: str, contents: Iterable[str]) -> str:
    """Give what a link leads to, relative to it: MLRun doesn't unpack absolute ones."""
    link = project_path / name
    target = link.resolve()
    packed = {project_path / path for path in contents}
    if not any(path == target or path.is_relative_to(target) for path in packed):
        # Its content isn't packed instead: it may be anything of this machine, of any size.
        why = "isn't sent" if target.is_relative_to(project_path) else "is outside of the project"
        raise SourceError(
            f"{name} is a link to {target}, which {why}. Name that file in the catalog by a URL "
            "that the job can read, and remove the link or put it into .gitignore."
        )
    return os.path.relpath(target, link.parent.resolve()).replace(os.sep, "/")


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
            raise SourceError(f"git can't list the files of {folder} ({_said(done)}). Fix that.")
    for name in filter(None, done.stdout.split("\0")):
        inner = folder / name
        if (inner / ".git").exists() and not inner.is_symlink():
            # A submodule, or a repository that lies in this one.
            yield from (f"{name.rstrip('/')}/{file}" for file in _listed(inner))
        else:
            yield name.rstrip("/")


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return provenance.git(folder, *arguments, seconds=GIT_SECONDS)
    except FileNotFoundError:
        raise SourceError(
            "There is no git command, and .gitignore says what belongs to the source. Install "
            "git, or submit an image that has the code in it: --source image."
        ) from None
    except subprocess.TimeoutExpired:
        raise SourceError(
            f"git {arguments[0]} gave no answer within {GIT_SECONDS} s. Try it by hand in {folder}."
        ) from None


def _said(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return secrets.hide("; ".join(lines[-2:]).strip().rstrip(".")) or "it doesn't say why"


# ---- credentials


def _learn_secrets(project_path: Path, conf: str, listed: Iterable[str]) -> None:
    """Have it known what is secret in files that stay here, so that it isn't sent with others."""
    import dotenv

    for path in _credentials_files(project_path / conf):
        # A reference itself is no secret.
        secrets.register(_yaml(_REFERENCE.sub("", _text(path))), everything=True)
    for path in {*project_path.glob(".env*"), *(project_path / name for name in listed)}:
        if path.name.startswith(".env") and path.is_file():
            with suppress(UnicodeDecodeError):
                secrets.register(dotenv.dotenv_values(path, interpolate=False))


def _credentials_files(folder: Path) -> list[Path]:
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix in {".yml", ".yaml", ".json"}
        and any("credentials" in part.lower() for part in path.relative_to(folder).parts)
        and path.is_file()
    ]


def _references(
    project_path: Path, conf: str, envs: Sequence[str]
) -> tuple[dict[str, bytes], set[str], dict[str, str]]:
    """Give the credentials that may be sent, their names, and why others of `envs` aren't."""
    import yaml

    contents: dict[str, bytes] = {}
    names: set[str] = set()
    left_out: dict[str, str] = {}
    for path in [path for env in envs for path in _credentials_files(project_path / conf / env)]:
        name = path.relative_to(project_path).as_posix()
        values = _yaml(_text(path))
        if name.startswith(f"{conf}/local/"):
            left_out[name] = _never(name, conf)
        elif not isinstance(values, dict):
            left_out[name] = "it isn't YAML of names and values"
        elif literal := next(_literals(values), ""):
            left_out[name] = (
                f"the value of {literal} is in it; only ${{mlrun.secret:NAME}} and "
                "${oc.env:NAME} are sent"
            )
        else:
            # Written anew, for a comment may hold what the reference is for. Kedro reads all of
            # these with a YAML parser, whatever they are called.
            contents[name] = yaml.safe_dump(values, sort_keys=False).encode()
            names |= {str(key) for key in values}
    return contents, names, left_out


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _yaml(text: str) -> Any:
    """Read YAML; None if it is none, which Kedro will say when it reads it."""
    import yaml

    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return None


def _literals(value: Any, name: str = "") -> Iterator[str]:
    """Give the dotted names of values that are no references."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _literals(item, f"{name}.{key}" if name else str(key))
    elif not (isinstance(value, str) and _REFERENCE.fullmatch(value)):
        yield name


# ---- sending


def upload(archive: Archive, artifact_path: str) -> str:
    """Put an archive below an artifact path, unless it is there, and give its path or URL."""
    import mlrun

    folder = mlrun.utils.template_artifact_path(artifact_path, mlrun.mlconf.active_project)
    url = f"{folder.removeprefix('file://').rstrip('/')}/source/{archive.digest}.tar.gz"
    if "://" not in url:
        path = Path(url).absolute()
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            # Under another name first: it is there as a whole or not at all.
            part = path.with_name(f".{uuid.uuid4().hex}")
            part.write_bytes(archive.content)
            part.replace(path)
        return path.as_posix()
    item = mlrun.get_dataitem(url)
    try:
        there = item.stat().size == len(archive.content)
    except Exception:  # each store has errors of its own; writing tells what is really wrong
        there = False
    if not there:
        # Object stores show an object when all of it has arrived.
        item.put(archive.content)
    return url


# ---- a commit


def git_source(project_path: Path) -> tuple[str, str]:
    """Give the current commit's URL for MLRun, and the project's folder in it.

    MLRun clones by https, whatever the remote's own URL is; the token for a private repository it
    takes from the project's secrets (`GIT_TOKEN`), so that the URL has none.
    """

    def told(*arguments: str) -> str:
        return _git(project_path, *arguments).stdout.strip()

    top = _git(project_path, "rev-parse", "--show-toplevel", "--show-prefix", "HEAD")
    if top.returncode:
        raise _error(f"{project_path} is in no git repository that has a commit. Commit and push")
    _, subfolder, commit = top.stdout.splitlines()
    dirty = told("status", "--porcelain", "--untracked-files=all", "--", ".").splitlines()
    if dirty:
        more = f" and {len(dirty) - 1} more" if len(dirty) > 1 else ""
        name = dirty[0].split(maxsplit=1)[1]
        raise _error(f"{name}{more} differ from the last commit. Commit and push them")
    branch = told("symbolic-ref", "--quiet", "--short", "HEAD")
    remote = told("config", f"branch.{branch}.remote") or "origin"
    # Not what git makes of it (`insteadOf`), which may be good on this machine only.
    url = told("config", f"remote.{remote}.url")
    if not url:
        raise _error(f"The repository has no remote '{remote}'. Add one, and push to it")
    if not (clone := as_git_url(url)):
        raise _error(
            f"MLRun clones by https alone, and the remote '{remote}' is {secrets.hide(url)}. Push "
            "to a server with https"
        )
    fragment = _fragment(project_path, remote, commit)
    return f"{clone}#{fragment}", subfolder.strip("/")


def _error(message: str) -> SourceError:
    return SourceError(f"{message}, or submit with --source archive.")


def as_git_url(url: str) -> str:
    """Give a remote's URL as MLRun clones it, without credentials; empty where it can't."""
    parts = urlsplit(url)
    if parts.scheme in {"https", "ssh", "git+ssh", "git"} and parts.hostname:
        # The port of ssh is not that of https.
        port = f":{parts.port}" if parts.port and parts.scheme == "https" else ""
        return f"git://{parts.hostname}{port}{parts.path.rstrip('/')}"
    if "://" not in url and (short := _SSH.fullmatch(url)):
        return f"git://{short['host']}/{short['path'].strip('/')}"
    return ""


def _fragment(project_path: Path, remote: str, commit: str) -> str:
    """Name the commit so that MLRun finds it: in the default branch, or by a tag."""
    asked = _git(project_path, "ls-remote", "--symref", remote)
    if asked.returncode:
        raise _error(
            f"The remote '{remote}' can't be asked for its commits ({_said(asked)}). Fix it"
        )
    lines = [line.split("\t") for line in asked.stdout.splitlines()]
    head = next((ref[5:] for ref, name in lines if ref.startswith("ref: ")), "HEAD")
    branch = head.removeprefix("refs/heads/")
    tips = {name: tip for tip, name in lines if not tip.startswith("ref: ")}
    # What the branch had when it was last fetched, where its present tip isn't known here.
    for tip in (tips.get("HEAD", ""), f"refs/remotes/{remote}/{branch}"):
        if tip and not _git(project_path, "merge-base", "--is-ancestor", commit, tip).returncode:
            return f"refs/commits/{commit}"
    for name, tip in tips.items():
        if tip == commit and name.startswith("refs/tags/"):
            # An annotated tag's commit has a line of its own. Named as a branch, for which git
            # takes a tag, too; MLRun looks for refs/tags/… only in the default branch.
            return name.removeprefix("refs/tags/").removesuffix("^{}")
    raise _error(
        f"The commit {commit[:12]} is neither in the default branch '{branch}' of the remote "
        f"'{remote}', where MLRun looks for it, nor a tag there. Push it (git push), push a tag "
        f"(git tag NAME; git push {remote} NAME)"
    )
