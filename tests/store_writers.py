"""What processes of the store's tests do: in a module of its own, which starts no project."""

import ctypes
import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import mlrun
import mlrun.db.factory

import kedro_mlrun  # noqa: F401 - it registers the store
from kedro_mlrun.store.db import LocalRunDB

RESULTS, ARTIFACTS = 50, 10


def use(url: str, folder: Path) -> None:
    """Point MLRun to a store, as mlrun.yml does."""
    mlrun.mlconf.dbpath, mlrun.mlconf.artifact_path = url, str(folder)
    mlrun.mlconf.active_project = "iris"
    mlrun.utils.logger.set_logger_level("ERROR")


def write_results(url: str, folder: Path, number: int) -> None:
    """Be one of several writers: one run with many results and artifacts."""
    use(url, folder)
    context = mlrun.get_or_create_ctx(f"writer-{number}", project="iris")
    context.artifact_path = str(folder)
    for result in range(RESULTS):
        context.log_result(f"r{result}", number * result)
    for artifact in range(ARTIFACTS):
        context.log_artifact(
            f"a{number}-{artifact}", body=f"{number} {artifact}", db_key=f"a{number}-{artifact}"
        )
    context.commit(completed=True)


def store_versions(url: str, number: int) -> None:
    for version in range(10):
        store_version(LocalRunDB(url), f"{number}-{version}")


def store_version(db: Any, tree: str, key: str = "model", **options: Any) -> None:
    record = {"kind": "model", "metadata": {"key": key, "tree": tree}, "spec": {"db_key": key}}
    db.store_artifact(key, record, project="iris", tree=tree, **options)


def store_when_told(url: str, told: Connection) -> None:
    db = LocalRunDB(url)
    store_version(db, "first")
    told.send("stored")
    told.recv()
    store_version(db, "second")


def save_until_killed(url: str, folder: Path, name: str, saved: Connection) -> None:
    """Save one artifact after the other, and tell of each that was saved."""
    use(url, folder)
    context = mlrun.get_or_create_ctx(name, project="iris")
    context.artifact_path = str(folder)
    for number in range(10_000):
        key = f"{name}-{number}"
        context.log_artifact(key, body=os.urandom(100_000), db_key=key, format="bin")
        context.log_result("saved", number)
        saved.send(key)


def forked(function: Callable[..., Any], *args: Any, may_write: bool = True) -> Any:
    """Call a function in a process that has imported MLRun, which takes longer than most do."""
    start = None if may_write else obey_permissions
    with multiprocessing.get_context("fork").Pool(1, start) as pool:
        return pool.apply(function, args)


def obey_permissions() -> None:
    """Be no superuser, who may write everywhere, as far as files are concerned."""
    if os.getuid():
        return
    header, capabilities = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None)
    libc.capget(header, capabilities)
    capabilities[0] &= ~(1 << 1)  # CAP_DAC_OVERRIDE
    libc.capset(header, capabilities)
