"""What jobs and runs need of this machine and the MLRun API, looked at one by one."""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import click

from .. import __version__
from ..api import client as api
from ..project import JobsConfig, find_config
from ..runs.manager import MLRunContextManager
from ..secrets import known as secrets
from ..setup import manifest
from . import image, source
from .function import mounted, on_cluster, read_function

OK, WARNING, WRONG, SKIPPED = "ok", "warning", "wrong", "skipped"
LONGEST_WAIT = 30
Look = Callable[[Path], str]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: its state, what was found, and what to do about it."""

    name: str
    state: str
    found: str
    fix: str = ""

    def to_dict(self) -> dict[str, str]:
        """Give it as JSON has it, without secrets."""
        return {name: secrets.hide(value) for name, value in asdict(self).items()}


class Wrong(click.ClickException):
    """Something isn't right: the first sentence says what, the rest what to do."""


class MayBeRight(Wrong):
    """Something limits what can be done, or can't be judged."""


def examine(project_path: Path) -> Iterator[Check]:
    """Look at everything that may keep runs from being recorded, or jobs from running."""
    has_store = True
    for name, (look, needs) in CHECKS.items():
        if needs and not has_store:
            yield Check(name, SKIPPED, "not looked at, because the store can't be used")
        elif needs == "api" and not on_cluster():
            yield Check(name, SKIPPED, "not needed on the embedded store, whose jobs run here")
        else:
            check = _looked(name, look, project_path)
            has_store = has_store and (name, check.state) != ("store", WRONG)
            yield check


def _looked(name: str, look: Look, project_path: Path) -> Check:
    try:
        return Check(name, OK, look(project_path))
    except click.ClickException as exc:
        found, _, fix = " ".join(exc.message.split()).partition(". ")
        limits = isinstance(exc, MayBeRight) or name in LIMITS
        return Check(name, WARNING if limits else WRONG, found.rstrip("."), fix.rstrip("."))
    except Exception as exc:
        # One of the store or of storage, and not of this program.
        foreign = type(exc).__module__.startswith(("mlrun.", "sqlite3", "botocore."))
        if not (foreign or isinstance(exc, OSError | ValueError)):
            raise
        return Check(name, WRONG, _short(exc), "Correct mlrun.yml, or ask who runs the MLRun API")


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")


# ---- this environment


def _packages(folder: Path) -> str:
    """Compare MLRun and Kedro with what images are made from."""
    file = image.requirements_file(folder)
    installed = {name: version(name) for name in ("mlrun", "kedro")}
    found = ", ".join(f"{name} {number}" for name, number in installed.items())
    # A requirements.txt may leave the version open.
    other = [
        name
        for name, number in installed.items()
        if (pinned := _pinned(file, name)) != number and (pinned or file.name == image.LOCK)
    ]
    if other:
        what = f"{file.name} has another {' and '.join(other)}"
        raise Wrong(f"{found}; {what}. Install what is locked: make install")
    return found


def _package(folder: Path) -> str:
    """Compare this package with the one that a job gets: from the source, or from its image."""
    found = manifest.version()
    if manifest.PACKAGE.is_relative_to(folder):
        return found
    file = image.requirements_file(folder)
    pinned = _pinned(file, "kedro-mlrun")
    if pinned != __version__:
        raise Wrong(
            f"{found}, and {pinned or 'none'} in {file.name}, from which the image of jobs is "
            f"built. Write kedro-mlrun=={__version__} there, and build it: kedro mlrun build"
        )
    return found


def _pinned(file: Path, name: str) -> str:
    """Give the version that a file of requirements has of a package; empty where it has none."""
    pattern = rf"^{name.replace('-', '[-_.]')}(?:\[.*\])? *== *([^\s;]+)"
    found = re.search(pattern, file.read_text(encoding="utf-8"), re.MULTILINE | re.IGNORECASE)
    return found[1] if found else ""


# ---- the store


def _store(_: Path) -> str:
    url = MLRunContextManager().connect()
    return f"MLRun API at {api.address(url)}" if on_cluster() else f"embedded store {url}"


def check_server(_: Path | None = None) -> str:
    """Compare the versions of client and server as MLRun's client does, which only logs it."""
    import mlrun
    import semver

    client, server = version("mlrun"), str(getattr(mlrun.get_run_db(), "server_version", ""))
    found = f"MLRun {server or 'of unknown version'}, and the client is {client}"
    try:
        its, own = (semver.VersionInfo.parse(text) for text in (server, client))
    except ValueError:
        raise MayBeRight(f"{found}; whether they fit can't be told. Try a run") from None
    fix = f'Write "mlrun~={its.major}.{its.minor}.0" in pyproject.toml, then make lock install'
    if own.major != its.major:
        raise Wrong(f"{found}, which doesn't fit. {fix}")
    if own.minor > its.minor:
        raise MayBeRight(f"{found}, which MLRun doesn't support newer. {fix}")
    if its.minor > own.minor + 2:
        raise MayBeRight(f"{found}, which is too old to be sure. {fix}")
    return found


def _project(_: Path) -> str:
    import mlrun

    name = mlrun.mlconf.active_project
    if not name:
        raise Wrong("None is named. Name it as `project` in mlrun.yml")
    try:
        found = mlrun.get_run_db().get_project(name)
    except mlrun.errors.MLRunNotFoundError:
        found = None
    return str(name) if found else f"{name}; the first run will create it"


def check_artifact_path(mounts: Sequence[str]) -> str:
    """Refuse a path for artifacts that jobs on a cluster don't see, and give it.

    `mounts` are the volumes that they have; a cluster may mount more than it tells.
    """
    import mlrun

    path, storage = mlrun.mlconf.artifact_path, mlrun.mlconf.storage
    path = mlrun.utils.template_artifact_path(path, mlrun.mlconf.active_project)
    path = path.removeprefix("file://")
    by_cluster = storage.auto_mount_params or storage.auto_mount_type not in {"auto", "none", ""}
    on_volume = any(Path(path).is_relative_to(mount) for mount in mounts)
    if on_cluster() and not ("://" in path or by_cluster or on_volume):
        raise Wrong(
            f"{path} is a folder of this machine, which no job on the cluster sees. Set "
            "artifact_path in mlrun.yml to a URL such as s3://bucket/path, or mount a volume there "
            "in function.yaml."
        )
    return str(path)


def _artifact_path(folder: Path) -> str:
    path = check_artifact_path(mounted(read_function(folder)) if on_cluster() else [])
    errors: list[str] = []

    def ask() -> None:
        try:
            _write_and_read(path)
        except Exception as exc:  # each storage has errors of its own
            errors.append(_short(exc))

    # A storage may not answer for minutes, and its own patience can't be set here.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(LONGEST_WAIT)
    if errors or thread.is_alive():
        raise Wrong(
            f"{path} can't be used ({''.join(errors) or f'no answer in {LONGEST_WAIT} s'}). "
            "Correct artifact_path in mlrun.yml or MLRUN_ARTIFACT_PATH, and the environment "
            "variables with its credentials (AWS_ACCESS_KEY_ID, …)"
        )
    return f"{path} can be written and read"


def _write_and_read(path: str) -> None:
    import mlrun

    if "://" not in path:
        # Before MLRun does it, which tries for ever where a file is in the way.
        Path(path).mkdir(parents=True, exist_ok=True)
    content = uuid.uuid4().hex.encode()
    item = mlrun.get_dataitem(f"{path.rstrip('/')}/.doctor-{content.decode()}")
    item.put(content)
    try:
        if item.get() != content:
            raise OSError("what was written there doesn't come back")
    finally:
        item.delete()


# ---- what a job gets


def _image(folder: Path) -> str:
    return image.usable(read_function(folder), folder)


def _function(folder: Path) -> str:
    name, client = str(read_function(folder).spec.image or ""), version("mlrun")
    tag = name.rpartition(":")[2] if ":" in name.rpartition("/")[2] else ""
    if image.is_stock(name) and tag not in {"", client}:
        own = f"{name.removesuffix(tag)}{client}"
        raise MayBeRight(
            f"image {name}, and the client is {client}. Write {own} in function.yaml, then kedro "
            "mlrun build"
        )
    return f"function.yaml with image {name or 'of MLRun by default'}"


def _source(folder: Path) -> str:
    config, _ = find_config()
    archive = source.pack(folder, (config.jobs if config else JobsConfig()).largest_file)
    size = len(archive.content) / source.MEGABYTE
    return f"{len(archive.files)} files, {size:.1f} MB as an archive"


def _git(folder: Path) -> str:
    """Tell whether `--source git` would work, which need not."""
    return source.git_source(folder)[0]


CHECKS: dict[str, tuple[Look, str]] = {
    "package": (_package, ""),
    "packages": (_packages, ""),
    "store": (_store, ""),
    "server": (check_server, "api"),
    "project": (_project, "store"),
    "artifact path": (_artifact_path, "store"),
    "image": (_image, "api"),
    "function": (_function, ""),
    "source": (_source, ""),
    "git": (_git, ""),
}
"""What looks, by name in their order, and whether it needs a store or even an API."""

LIMITS = {"package", "packages", "git"}
"""Where what is wrong only limits what can be done."""
