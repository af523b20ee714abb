"""What jobs and runs need of this machine and the MLRun API, looked at one by one."""

from __future__ import annotations

import re
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from ..api import client as api
from ..project import JobsConfig, find_config
from ..runs.manager import MLRunContextManager
from ..secrets import known as secrets
from . import image, source

OK, WARNING, WRONG, SKIPPED = "ok", "warning", "wrong", "skipped"
PYTHON = (3, 11)
LONGEST_WAIT = 30
_MINORS_BEHIND = 2
_NOT_NEEDED = "not needed on the embedded store"
_NOT_KNOWN = "not looked at, because the store can't be used"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Args:
        name: what.
        state: `ok`, `warning` for what may be right and limits what can be done, `wrong`, or
            `skipped` where it isn't needed or can't be looked at.
        found: what was found.
        mend: what to do about it; empty where nothing is to be done.
    """

    name: str
    state: str
    found: str
    mend: str = ""

    def to_dict(self) -> dict[str, str]:
        """Give it as JSON has it.

        Returns:
            The fields by their names, without secrets.
        """
        return {name: secrets.hide(value) for name, value in asdict(self).items()}


def examine(project_path: Path) -> Iterator[Check]:
    """Look at everything that may keep runs from being recorded, or jobs from running.

    Args:
        project_path: the folder of the Kedro project.

    Yields:
        The checks, each when it is done.
    """
    yield _python()
    yield _packages(project_path)
    store = _store()
    yield store
    function = _function(project_path)
    if store.state == WRONG:
        yield from (
            Check(name, SKIPPED, _NOT_KNOWN)
            for name in ("server", "project", "artifact path", "image")
        )
    else:
        import mlrun

        on_api = mlrun.mlconf.dbpath.startswith("http")
        yield server() if on_api else Check("server", SKIPPED, _NOT_NEEDED)
        yield _project()
        yield _artifact_path(function, on_api)
        yield (
            _image(function, project_path)
            if on_api
            else Check("image", SKIPPED, _NOT_NEEDED + ", whose jobs run in this environment")
        )
    yield _image_version(function)
    yield _archive(project_path)
    yield _git(project_path)


def _split(name: str, state: str, error: Exception | str) -> Check:
    """Take a message apart, of which the first sentence says what is, and the rest what to do."""
    text = error.message if isinstance(error, click.ClickException) else str(error)
    found, _, mend = " ".join(text.split()).partition(". ")
    return Check(name, state, found.rstrip(".") or type(error).__name__, mend.rstrip("."))


def _within(ask: Callable[[], Check], name: str, mend: str) -> Check:
    """Ask what may not answer for minutes: a storage's own patience can't be set here."""
    answers: list[Check] = []
    thread = threading.Thread(target=lambda: answers.append(ask()), daemon=True)
    thread.start()
    thread.join(LONGEST_WAIT)
    return answers[0] if answers else Check(name, WRONG, f"no answer in {LONGEST_WAIT} s", mend)


# ---- this environment


def _python() -> Check:
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] == PYTHON:
        return Check("python", OK, found)
    needed = ".".join(map(str, PYTHON))
    return Check(
        "python", WRONG, f"{found}, and MLRun needs {needed}", "Make .venv anew: make clean install"
    )


def _packages(project_path: Path) -> Check:
    """Compare MLRun and Kedro with what requirements.lock has, which images are made from."""
    try:
        lock = (project_path / image.LOCK).read_text(encoding="utf-8")
    except OSError:
        return Check("packages", WARNING, f"no {image.LOCK}", "Make it: make lock")
    installed = {name: version(name) for name in ("mlrun", "kedro")}
    found = ", ".join(f"{name} {number}" for name, number in installed.items())
    other = [
        name
        for name, number in installed.items()
        if not re.search(rf"^{name}=={re.escape(number)}\s*$", lock, re.MULTILINE)
    ]
    if not other:
        return Check("packages", OK, found)
    return Check(
        "packages",
        WARNING,
        f"{found}; {image.LOCK} has another {' and '.join(other)}",
        "Install what is locked: make install",
    )


# ---- the store


def _store() -> Check:
    try:
        url = MLRunContextManager().connect()
    except click.ClickException as exc:
        return _split("store", WRONG, exc)
    except Exception as exc:
        if not _is_foreseen(exc):
            raise
        return Check("store", WRONG, str(exc), "Correct MLRUN_DBPATH, or `dbpath` in mlrun.yml")
    if url.startswith("http"):
        return Check("store", OK, f"MLRun API at {api.address(url)}")
    return Check("store", OK, f"embedded store {url}")


def _is_foreseen(error: Exception) -> bool:
    """Tell whether an error is one of the store or of storage, and not of this program."""
    return isinstance(error, OSError | ValueError) or type(error).__module__.startswith(
        ("mlrun.", "sqlite3", "botocore.")
    )


def server() -> Check:
    """Compare the versions of client and server as MLRun's client does, which only logs it.

    Returns:
        What was found.
    """
    import mlrun

    client = version("mlrun")
    server = str(getattr(mlrun.get_run_db(), "server_version", ""))
    numbers = [re.match(r"(\d+)\.(\d+)\.", text) for text in (client, server)]
    found = f"MLRun {server or 'of unknown version'}, and the client is {client}"
    if not all(numbers) or server.startswith("0.0."):
        return Check("server", WARNING, f"{found}; whether they fit can't be told", "Try a run")
    (major, minor), (its_major, its_minor) = (
        tuple(map(int, number.groups())) for number in numbers if number
    )
    mend = f'Write "mlrun~={its_major}.{its_minor}.0" in pyproject.toml, then make lock install'
    if major != its_major:
        return Check("server", WRONG, f"{found}, which doesn't fit", mend)
    if minor > its_minor:
        return Check("server", WARNING, f"{found}, which MLRun doesn't support newer", mend)
    if its_minor > minor + _MINORS_BEHIND:
        return Check("server", WARNING, f"{found}, which is too old to be sure", mend)
    return Check("server", OK, found)


def _project() -> Check:
    import mlrun

    name = mlrun.mlconf.active_project
    if not name:
        return Check("project", WRONG, "none is named", "Name it as `project` in mlrun.yml")
    try:
        found = mlrun.get_run_db().get_project(name)
    except mlrun.errors.MLRunNotFoundError:
        found = None
    except Exception as exc:
        if not _is_foreseen(exc):
            raise
        return Check("project", WRONG, f"{name} ({exc})", "Ask who runs the MLRun API for access")
    return Check("project", OK, name if found else f"{name}; the first run will create it")


# ---- where artifacts are kept


def _artifact_path(function: dict[str, Any] | None, on_api: bool) -> Check:
    mounts = ((function or {}).get("spec") or {}).get("volume_mounts") or []
    unseen = unseen_path([mount.get("mountPath", "") for mount in mounts]) if on_api else None
    if unseen:
        return unseen
    local = _path_of_artifacts()
    mend = (
        "Correct artifact_path in mlrun.yml or MLRUN_ARTIFACT_PATH, and the environment variables "
        "with its credentials (AWS_ACCESS_KEY_ID, …)"
    )

    def ask() -> Check:
        try:
            _write_and_read(local)
        except Exception as exc:  # each storage has errors of its own
            return Check("artifact path", WRONG, f"{local} can't be used ({_short(exc)})", mend)
        return Check("artifact path", OK, f"{local} can be written and read")

    return _within(ask, "artifact path", mend)


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")


def _path_of_artifacts() -> str:
    import mlrun

    template = mlrun.mlconf.artifact_path
    path = mlrun.utils.template_artifact_path(template, mlrun.mlconf.active_project)
    return str(path).removeprefix("file://")


def unseen_path(mounts: Sequence[str]) -> Check | None:
    """Find out whether artifacts are kept where no job on a cluster sees them.

    Args:
        mounts: the folders of the volumes that a job has.

    Returns:
        What is wrong with the artifact path; None where it is a URL or in one of the folders, or
        where the cluster mounts more in its jobs than it tells.
    """
    import mlrun

    path, storage = _path_of_artifacts(), mlrun.mlconf.storage
    by_cluster = storage.auto_mount_params or storage.auto_mount_type not in {"auto", "none", ""}
    if "://" in path or by_cluster or any(Path(path).is_relative_to(mount) for mount in mounts):
        return None
    return Check(
        "artifact path",
        WRONG,
        f"{path} is a folder of this machine, which no job on the cluster sees",
        "Set artifact_path in mlrun.yml to a URL such as s3://bucket/path, or mount a volume "
        "there in function.yaml",
    )


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


# ---- the function and its image


def _function(project_path: Path) -> dict[str, Any] | None:
    """Read function.yaml; None where it can't be, which whoever submits is told."""
    import yaml

    try:
        found = yaml.safe_load((project_path / "function.yaml").read_bytes())
    except (OSError, yaml.YAMLError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("spec"), dict) else None


_NO_FUNCTION = ("no readable function.yaml", "Take it from a new project of this starter")


def _image_version(function: dict[str, Any] | None) -> Check:
    if function is None:
        return Check("function", WRONG, *_NO_FUNCTION)
    name, client = str(function["spec"].get("image") or ""), version("mlrun")
    tag = name.rpartition(":")[2] if ":" in name.rpartition("/")[2] else ""
    if image.is_stock(name) and tag and tag != client:
        return Check(
            "function",
            WARNING,
            f"image {name}, and the client is {client}",
            f"Write {name.removesuffix(tag)}{client} in function.yaml, then kedro mlrun build",
        )
    return Check("function", OK, f"function.yaml with image {name or 'of MLRun by default'}")


def _image(function: dict[str, Any] | None, project_path: Path) -> Check:
    if function is None:
        return Check("image", WRONG, *_NO_FUNCTION)
    import mlrun

    try:
        runtime = mlrun.new_function(runtime=function)
        runtime.metadata.project = mlrun.mlconf.active_project
        return Check("image", OK, image.usable(runtime, project_path))
    except click.ClickException as exc:
        return _split("image", WRONG, exc)
    except Exception as exc:
        if not _is_foreseen(exc):
            raise
        return Check("image", WRONG, _short(exc), "Correct function.yaml")


# ---- the source


def _archive(project_path: Path) -> Check:
    try:
        config, _ = find_config()
        jobs = config.jobs if config else JobsConfig()
        archive = source.pack(project_path, jobs.largest_file)
    except click.ClickException as exc:
        return _split("source", WRONG, exc)
    size = archive.size / source.MEGABYTE
    return Check("source", OK, f"{len(archive.files)} files, {size:.1f} MB as an archive")


def _git(project_path: Path) -> Check:
    """Tell whether `--source git` would work, which need not."""
    try:
        return Check("git", OK, source.git_source(project_path).url)
    except source.SourceError as exc:
        check = _split("git", WARNING, exc)
        return Check("git", WARNING, f"not for --source git: {check.found}", check.mend)
