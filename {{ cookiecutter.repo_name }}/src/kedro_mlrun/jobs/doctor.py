"""What jobs and runs need of this machine and the MLRun API, looked at one by one."""

import re
import uuid
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, NamedTuple

import click

from .. import __version__
from ..api import client as api
from ..lazy import mlrun
from ..project import find_config, mlrun_setting
from ..records.records import Records
from ..records.summaries import artifact_key
from ..runs.manager import MLRunContextManager
from ..secrets import known as secrets
from ..setup import manifest
from ..store.fields import artifact_file, producer
from ..store.sqlite import SCHEME
from ..store.store import Store
from . import image, source
from .function import SubmitError, is_plain, load_function, on_cluster, on_volume, read_function

OK, WARNING, WRONG, SKIPPED = "ok", "warning", "wrong", "skipped"


class Check(NamedTuple):
    """One thing that was looked at: its state, what was found, and what to do about it."""

    name: str
    state: str
    found: str
    fix: str = ""


def examine(project_path: Path) -> Iterator[Check]:
    """Look at everything that may keep runs from being recorded, or jobs from running."""
    wrong = list[str]()
    for name, (look, *needs) in CHECKS.items():
        state, fix = SKIPPED, ""
        if missing := [other for other in needs if other in wrong]:
            found = f"not looked at, because the {missing[0]} can't be used"
        elif "api" in needs and not on_cluster():
            found = "not needed on the embedded store, whose jobs run here"
        else:
            try:
                state, found = OK, look(project_path)
            except click.ClickException as exc:
                # The first sentence says what, the rest what to do.
                found, _, fix = " ".join(exc.message.split()).partition(". ")
                state = WARNING if name in LIMITS else WRONG
            except Exception as exc:  # each store and storage has errors of its own
                found, fix = repr(exc), "Correct mlrun.yml, or ask who runs the MLRun API"
                state = WRONG
        if state == WRONG:
            wrong.append(name)
        yield Check(name, state, *(secrets.hide(text).rstrip(".") for text in (found, fix)))


def embedded_store() -> Path:
    """Give the file of the embedded store, without MLRun, which would use it."""
    config, folder = find_config()
    for url in mlrun_setting("MLRUN_DBPATH"), config.dbpath if config else "":
        if url.startswith(f"{SCHEME}:///"):
            return Path(url.removeprefix(f"{SCHEME}:///")).absolute()
    return folder / ".mlrun" / "mlrun.db"


def _packages(folder: Path) -> str:
    """Compare what is installed with what the image of jobs is built from."""
    file = image.requirements_file(folder)
    text = file.read_text(encoding="utf-8")
    installed = {name: version(name) for name in ("mlrun", "kedro")}
    if not manifest.PACKAGE.is_relative_to(folder):
        # A job has it from its image, and not from the source.
        installed["kedro-mlrun"] = __version__
    other = []
    for name, number in installed.items():
        line = rf"^{name.replace('-', '[-_.]')}\b(?![-_.])(?:[^;\n]*?== *([^\s;]+))?"
        found = re.search(line, text, re.MULTILINE | re.IGNORECASE)
        # A requirements.txt may leave the version open.
        if not found or found[1] not in {None, number}:
            other.append(f"{found[1] if found else 'no'} {name}")
    shown = ", ".join(f"{name} {number}" for name, number in installed.items())
    if other:
        raise SubmitError(
            f"{shown}, and {file.name} has {' and '.join(other)}. Install what is in it, or write "
            "there what is installed, and for jobs on a cluster build the image: kedro mlrun build"
        )
    return shown


def _store(_folder: Path) -> str:
    manager = MLRunContextManager()
    if isinstance(store := manager.store, Store):
        _ = store.connection
    kind = "MLRun API at" if on_cluster() else "embedded store"
    return f"{kind} {api.address(manager.told()[0])}"


def _files(_: Path) -> str:
    """Look whether the files are there that artifacts of this project are said to have."""
    if on_cluster():
        return "where the MLRun API has them"
    manager, number, gone = MLRunContextManager(), 0, dict[str, str]()
    for item in Records(manager.store, manager.told()[1]).versions():
        number += 1
        path = artifact_file(item).removeprefix("file://")
        if path and "://" not in path and not Path(path).exists():
            gone[path] = f"{artifact_key(item)}@{producer(item)[:8]}"
    if not gone:
        return f"of {number} artifacts all are there"
    raise SubmitError(
        f"{len(gone)} of {number} artifacts have no file any more: "
        f"{', '.join([*gone.values()][:5])}, at {next(iter(gone))}. Bring the files back, or "
        "delete their runs: kedro mlrun delete RUN --artifacts"
    )


def _server(_: Path) -> str:
    """Compare the versions of client and server as MLRun's client does, which only logs it."""
    client, server = version("mlrun"), str(MLRunContextManager().run_db.server_version)
    found = f"MLRun {server or 'of unknown version'}, and the client is {client}"
    own, its = (re.match(r"(\d+)\.(\d+)", text) for text in (client, server))
    # By two minor versions a client may be older.
    if own and its and own[1] == its[1] and int(its[2]) - int(own[2]) in range(3):
        return found
    raise SubmitError(
        f"{found}, which may not fit. Use an MLRun API of the client's version, or up to two minor "
        "versions newer."
    )


def check_artifact_path(function: "mlrun.runtimes.KubejobRuntime") -> str:
    """Refuse a path for artifacts that a function's jobs on a cluster don't see, and give it."""
    path, storage = mlrun.mlconf.artifact_path, mlrun.mlconf.storage
    path = mlrun.utils.template_artifact_path(path, mlrun.mlconf.active_project)
    path = path.removeprefix("file://")
    # A cluster may mount more than a function tells.
    by_cluster = storage.auto_mount_params or storage.auto_mount_type not in {"auto", "none", ""}
    is_seen = "://" in path or by_cluster or on_volume(function.spec.volume_mounts, path)
    if on_cluster() and not is_seen:
        raise SubmitError(
            f"{path} is a folder of this machine, which no job on the cluster sees. Set "
            "artifact_path in mlrun.yml to a URL such as s3://bucket/path, or mount a volume there "
            "in function.yaml."
        )
    return str(path)


def _function(folder: Path) -> str:
    """Give the image of function.yaml, if MLRun can read that."""
    function = read_function(folder)
    spec = function["spec"] if is_plain(function) else load_function(folder).spec.to_dict()
    return f"image {spec.get('image') or 'mlrun/mlrun'}"


def _artifact_path(folder: Path) -> str:
    path = MLRunContextManager().artifact_path.removeprefix("file://")
    if on_cluster() or "{{" in path:
        path = check_artifact_path(load_function(folder))
    try:
        if "://" in path:
            item = mlrun.get_dataitem(f"{path.rstrip('/')}/.doctor-{uuid.uuid4().hex}")
            item.put(b"by kedro mlrun doctor")
            item.get()
            item.delete()
        else:
            Path(path).mkdir(parents=True, exist_ok=True)
            with NamedTemporaryFile(prefix=".doctor-", dir=path) as file:
                file.write(b"by kedro mlrun doctor")
    except Exception as exc:  # each storage has errors of its own
        raise SubmitError(
            f"{path} can't be used ({exc!r}). Correct artifact_path in mlrun.yml or "
            "MLRUN_ARTIFACT_PATH, and the environment variables with its credentials "
            "(AWS_ACCESS_KEY_ID, …)"
        ) from exc
    return f"{path} can be written and read"


def _source(folder: Path) -> str:
    archive = source.pack(folder, MLRunContextManager().jobs.largest_file)
    size = len(archive.content) / source.MEGABYTE
    return f"{len(archive.files)} files, {size:.1f} MB as an archive"


CHECKS: dict[str, Any] = {
    "package": (lambda _: manifest.version(),),
    "packages": (_packages,),
    "store": (_store,),
    "server": (_server, "store", "api"),
    "project": (lambda _: MLRunContextManager().told()[1], "store"),
    "function": (_function,),
    "artifact path": (_artifact_path, "store", "function"),
    "files": (_files, "store"),
    "image": (lambda path: image.usable(load_function(path), path), "store", "function", "api"),
    "source": (_source,),
}
"""What looks, by name in their order, and which checks have to be right for it, or `api`."""

LIMITS = {"packages", "server", "files"}
"""Where what is wrong only limits what can be done."""
