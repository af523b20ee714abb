"""The project's source, as a job gets it: an archive of what git tracks, or a commit."""

import gzip
import hashlib
import io
import os
import re
import subprocess
import tarfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import yaml

from ..lazy import mlrun
from ..project import register_env_files
from ..runs import provenance
from ..runs.manager import MLRunContextManager
from ..secrets import known as secrets
from ..store.fields import flatten
from .function import SubmitError

MEGABYTE = 1_000_000
# `${oc.env:NAME,default}` isn't one: the default may be a password.
_REFERENCE = re.compile(r"\$\{(mlrun\.secret|oc\.env):\s*[\w./-]+\s*\}")


@dataclass(frozen=True)
class Archive:
    """The project's source as a `.tar.gz`; the same files give the same bytes.

    `files` have their sizes, `left_out` the reason; `credentials` are the names that can be used.
    """

    content: bytes = field(repr=False)
    files: dict[str, int]
    left_out: dict[str, str]
    credentials: set[str]

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the archive, in hexadecimal digits."""
        return hashlib.sha256(self.content).hexdigest()


def pack_for(env: str | None, project_path: Path, loader: Any) -> Archive:
    """Pack the project as it runs in an environment of Kedro's, by default the loader's."""
    envs = sorted({loader.base_env, env or loader.default_run_env})
    return pack(project_path, MLRunContextManager().jobs.largest_file, envs)


def pack(project_path: Path, largest_file: float, envs: Sequence[str] = ("base",)) -> Archive:
    """Pack the files of the project that git tracks, or would track; none over so many megabytes.

    Never what is in `conf/local`, credentials below `conf`, and `.env` files, even where git tracks
    them. Of the job's environments, credentials that are nothing but references are packed even
    where git ignores them, without their comments.
    """
    from kedro.framework.project import settings

    project_path, conf = project_path.resolve(), str(settings.CONF_SOURCE)
    # Where git ignores these, what they hold is to be known all the same.
    register_env_files(project_path)
    here = [path.name for path in project_path.glob(".env*") if _never(path.name, conf)]
    usable, left_out = _credentials(project_path, conf, envs)
    # Written anew, for a comment may hold what the reference is for. Kedro reads all of these with
    # a YAML parser, whatever they are called.
    dumped = {name: yaml.safe_dump(values, sort_keys=False) for name, values in usable.items()}
    contents, links = {name: each.encode() for name, each in dumped.items()}, []
    for name in sorted({*_listed(project_path, "pyproject.toml"), *here} - usable.keys()):
        path = project_path / name
        if reason := _never(name, conf):
            left_out.setdefault(name, reason)
        elif path.is_symlink() and path.exists():
            links.append(name)
        elif not path.is_file():
            left_out[name] = "no file is there (for a submodule: git submodule update --init)"
        elif (size := path.stat().st_size) > largest_file * MEGABYTE:
            raise SubmitError(
                f"{name} has {size / MEGABYTE:,.1f} MB, and no file over {largest_file:g} MB is "
                "sent with the source (`largest_file` under `jobs` in conf/base/mlrun.yml). Put it "
                "into object storage and name it there in the catalog, or put it into .gitignore."
            )
        else:
            contents[name] = path.read_bytes()
    for name, text in contents.items():
        if line := secrets.line_with_secret(text):
            raise SubmitError(
                f"{name}, line {line}, holds what is known as a secret, so the project isn't sent. "
                "Put it into conf/local/credentials.yml alone, and into this file its reference."
            )
    sizes = {name: len(contents.get(name, b"")) for name in sorted({*contents, *links})}
    content = _archive(project_path, f"{conf}/local", contents, links)
    return Archive(content, sizes, left_out, {str(key) for each in usable.values() for key in each})


def _archive(
    project_path: Path, folder: str, contents: Mapping[str, bytes], links: Sequence[str]
) -> bytes:
    """Make a .tar.gz in which nothing depends on who made it, and when."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        # Without this folder Kedro doesn't start.
        for name in sorted({folder, *contents, *links}):
            entry, path = tarfile.TarInfo(name), project_path / name
            content = contents.get(name, b"")
            entry.size, entry.mode = len(content), 0o755 if os.access(path, os.X_OK) else 0o644
            if name == folder:
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            elif name in links:
                target = path.resolve()
                # Its content isn't packed instead: it may be anything of this machine, of any size.
                if not any((project_path / packed).is_relative_to(target) for packed in contents):
                    raise SubmitError(
                        f"{name} is a link to {target}, which isn't sent. Name that file in the "
                        "catalog by a URL that the job can read, and remove the link or put it "
                        "into .gitignore."
                    )
                # MLRun doesn't unpack absolute ones.
                entry.type = tarfile.SYMTYPE
                entry.linkname = os.path.relpath(target, path.parent.resolve())
            archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(buffer.getvalue(), compresslevel=6, mtime=0)


def _never(name: str, conf: str) -> str:
    """Give the reason why a file is never sent; empty if it may be."""
    if name.startswith(f"{conf}/local/"):
        return f"{conf}/local stays on this machine"
    if name.startswith(f"{conf}/") and "credentials" in name.lower():
        return "credentials stay on this machine"
    parts = PurePosixPath(name.lower()).parts
    if any(part in {".env", ".envrc"} or part.startswith(".env.") for part in parts):
        return "it holds this machine's environment variables"
    return "it is not source code" if {".git", ".mlrun"}.intersection(parts) else ""


def _listed(folder: Path, surely: str = "") -> Iterator[str]:
    """Give what git tracks or would track below a folder; one of them `surely`."""
    listing = ("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    names: list[str] = []
    with suppress(SubmitError):
        names = _git(folder, *listing).split("\0")
    if surely not in names:
        # In no repository, in one of another user, or in one that ignores the whole project.
        with TemporaryDirectory() as repository:
            _git(folder, "init", "--quiet", "--bare", repository)
            options = (f"--git-dir={repository}", f"--work-tree={folder}")
            names = _git(folder, *options, *listing).split("\0")
    for name in filter(None, names):
        inner = folder / name
        if (inner / ".git").exists() and not inner.is_symlink():
            # A submodule, or a repository that lies in this one.
            yield from (f"{name.rstrip('/')}/{file}" for file in _listed(inner))
        else:
            yield name.rstrip("/")


def _git(folder: Path, *arguments: str) -> str:
    """Give what git says; whatever keeps it from that is one error."""
    try:
        done = provenance.git(folder, *arguments)
        if not done.returncode:
            return done.stdout
        why = " ".join(done.stderr.split()).rstrip(".")
    except FileNotFoundError:
        raise SubmitError(
            "git isn't installed, which tells the files that a job gets. Install it, or submit "
            "with --local or --source image."
        ) from None
    except subprocess.TimeoutExpired as exc:
        why = str(exc)
    raise SubmitError(
        f"git {arguments[0]} fails in {folder} ({secrets.hide(why)}). Fix that, or submit with "
        "another --source."
    )


def _credentials(
    project_path: Path, conf: str, envs: Sequence[str]
) -> tuple[dict[str, dict[Any, Any]], dict[str, str]]:
    """Give the credentials of `envs` that may be sent, and why others aren't.

    What is in any file of credentials is known as secret from then on.
    """
    usable, left_out = dict[str, dict[Any, Any]](), dict[str, str]()
    for path in sorted((project_path / conf).rglob("*.*")):
        name = path.relative_to(project_path).as_posix()
        is_read = path.suffix in {".yml", ".yaml", ".json"} and path.is_file()
        if not (is_read and "credentials" in name.lower()):
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        try:
            # A reference itself is no secret.
            literals = yaml.safe_load(_REFERENCE.sub("null", text))
            secrets.register(literals, everything=True)
            literals, values = flatten(literals), yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, AttributeError):
            # Kedro will say that when it reads it.
            literals = values = None
        if not name.startswith(tuple(f"{conf}/{env}/" for env in envs)):
            continue
        if not isinstance(values, dict):
            left_out[name] = "it isn't YAML of names and values"
        elif literal := [key for key in literals if literals[key] not in (None, "null")]:
            left_out[name] = (
                f"the value of {', '.join(literal)} is in it; only ${{mlrun.secret:NAME}} and "
                "${oc.env:NAME} are sent"
            )
        elif not name.startswith(f"{conf}/local/"):
            usable[name] = values
    return usable, left_out


def upload(archive: Archive, artifact_path: str) -> str:
    """Put an archive below an artifact path, unless it is there, and give its path or URL."""
    if "{{" in artifact_path:
        project = MLRunContextManager().project_name
        artifact_path = mlrun.utils.template_artifact_path(artifact_path, project)
    url = f"{artifact_path.removeprefix('file://').rstrip('/')}/source/{archive.digest}.tar.gz"
    if "://" not in url:
        path = Path(url).absolute()
        with suppress(OSError):
            os.utime(path)  # for the deletion of other runs, which spares what is young
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            # Under another name first: it is there as a whole or not at all.
            part = path.with_name(f".{uuid.uuid4().hex}")
            part.write_bytes(archive.content)
            part.replace(path)
        return path.as_posix()
    item, there = mlrun.get_dataitem(url), False
    with suppress(Exception):  # each store has errors of its own; writing tells what is wrong
        there = item.stat().size == len(archive.content)
    if not there:
        # Object stores show an object when all of it has arrived.
        item.put(archive.content)
    return url


def git_source(project_path: Path) -> tuple[str, str]:
    """Give the current commit's URL for MLRun, and the project's folder in it.

    MLRun clones by https, whatever the remote's own URL is; the token for a private repository it
    takes from the project's secrets (`GIT_TOKEN`), so that the URL has none.
    """
    # A first line for the folder, which may be empty.
    told = _git(project_path, "rev-parse", "--show-prefix", "HEAD", "--abbrev-ref", "HEAD")
    subfolder, commit, branch = told.splitlines()
    if changed := _git(project_path, "status", "--porcelain", "--untracked-files=all", "--", "."):
        raise SubmitError(
            f"The project differs from the last commit, at least in {changed.splitlines()[0][3:]}. "
            "Commit and push that, or submit with --source archive."
        )
    config = ("config", "--get", "--default")
    remote = _git(project_path, *config, "origin", f"branch.{branch}.remote").strip()
    # Not what git makes of it (`insteadOf`), which may be good on this machine only.
    url = _git(project_path, *config, "", f"remote.{remote}.url").strip()
    # `git@host:path` is short for a URL of ssh.
    parts = urlsplit(re.sub(r"^(?:[\w.-]+@)?([\w.-]{2,}):(?!//)", r"ssh://\1/", url))
    if parts.scheme not in {"https", "ssh", "git+ssh", "git"} or not parts.hostname:
        raise SubmitError(
            f"MLRun clones by https alone, and the remote '{remote}' is "
            f"{secrets.hide(url) or 'not there'}. Push to a server with https, or submit with "
            "--source archive."
        )
    # The port of ssh is not that of https.
    port = f":{parts.port}" if parts.port and parts.scheme == "https" else ""
    clone = f"git://{parts.hostname}{port}/{parts.path.strip('/')}"
    refs = _git(project_path, "ls-remote", "--symref", remote, "HEAD", "refs/tags/*")
    head = re.search(r"^ref: refs/heads/(\S+)\tHEAD$", refs, re.MULTILINE)
    default = head[1] if head else "HEAD"
    fragment = f"refs/commits/{commit}"
    there = ("for-each-ref", f"--contains={commit}", f"refs/remotes/{remote}/{default}")
    if f"{commit}\tHEAD" not in refs and not _git(project_path, *there):
        # An annotated tag's commit has a line of its own.
        tag = re.search(rf"^{commit}\trefs/tags/(\S+?)(\^{{}})?$", refs, re.MULTILINE)
        if not tag:
            raise SubmitError(
                f"The commit {commit[:12]} is neither in the default branch '{default}' of the "
                f"remote '{remote}', where MLRun looks for it, nor a tag there. Push it (git "
                f"push), push a tag (git tag NAME; git push {remote} NAME), or submit with "
                "--source archive."
            )
        # As a branch, for which git takes a tag, too; MLRun looks for refs/tags/… only in the
        # default branch.
        fragment = tag[1]
    return f"{clone}#{fragment}", subfolder.strip("/")
