"""What goes with a deleted record: files and functions that nothing else has, here or elsewhere."""

import os
import re
import shutil
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from ..lazy import mlrun
from .fields import own_folder, producer
from .places import Places
from .rows import Rows, Where
from .sqlite import APPLICATION_ID, number, open_to_read

SOURCE = re.compile(r"/source/[0-9a-f]{64}\.tar\.gz$")
YOUNG = 3600  # seconds for which an archive stays: it may be for a job whose run comes next


def delete_data(record: Mapping[str, Any], store: Rows | None) -> None:
    """Delete an artifact's bytes, or refuse if they aren't those of its own run and store.

    `store` is the embedded store that has the record, or None.
    """
    target = record["spec"].get("target_path")
    if not target:
        return
    folder, path = own_folder(target, producer(record)), Path(target)
    is_own = folder != "" and ".." not in PurePosixPath(target).parts
    if is_own and "://" not in target:
        # A link in the path may lead anywhere; one at its end is deleted itself.
        real = path.parent.resolve() / path.name
        is_own = real.is_relative_to(Path(folder).resolve()) and not Path(folder).is_symlink()
        # Another store, such as a copy of this one, may have the same artifact's file.
        others = other_stores(_near(real, store), store.path) if is_own and store else ()
        uid = record["metadata"]["uid"]
        is_own = is_own and not any(_names(each, real, uid) for each in others)
    if not is_own:
        raise mlrun.errors.MLRunInvalidArgumentError(
            f"{target} is not in a folder of the run that made it, or belongs to another store, so "
            "it isn't deleted. Delete it yourself if nothing else needs it."
        )
    if "://" in target:
        item = mlrun.get_dataitem(target)
        for name in item.listdir() if target.endswith("/") else ():
            mlrun.get_dataitem(f"{target}{name}").delete()
        item.delete()
    elif path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def delete_source(run: Mapping[str, Any], store: Rows) -> None:
    """Delete the archive and the functions of a deleted job, unless other jobs have this source."""
    _, named, own_hash = str((run.get("spec") or {}).get("function")).rpartition("@")
    sources = dict[str, str]()
    for function in store.records("functions", Where(), "id") if named else ():
        build = (function.get("spec") or {}).get("build") or {}
        sources[function["metadata"].get("hash") or ""] = build.get("source") or ""
    source = sources.get(own_hash, "")
    # Elsewhere it may be a copied store's as well, or a person's.
    if not SOURCE.search(source) or not store.places.has(source):
        return
    with suppress(FileNotFoundError):
        if time.time() - os.path.getmtime(source) < YOUNG:
            return
    hashes = [name for name, other in sources.items() if name and other == source]
    naming = Where(" OR ".join(["instr(body, ?)"] * len(hashes)), *hashes)
    with store.transaction():
        if store.select("1 FROM runs", naming, "LIMIT 1"):
            return
        store.delete("functions", naming)
    Path(source).unlink(missing_ok=True)


def other_stores(files: Iterable[Path], store: Path) -> list[Path]:
    """Give the stores among files, also damaged ones, but this one."""
    found = []
    # To close what SQLite has beside a file takes this process's locks from it.
    for path in {path for path in files if not path.name.endswith(("-shm", "-wal"))}:
        if os.path.isfile(path) and not os.path.samefile(path, store):
            with suppress(sqlite3.Error), closing(open_to_read(path)) as connection:
                if number(connection, "application_id") == APPLICATION_ID:
                    found.append(path)
    return found


def _near(file: Path, store: Rows) -> Iterator[Path]:
    """Give what may be another store: all where this one is or was, and stores above the file."""
    homes = (row["folder"] for row in store.select("folder FROM homes", Where()))
    for folder in {store.path.parent, *(Path(os.fsdecode(home.encode())) for home in homes)}:
        yield from folder.glob("*")
    for folder in file.parents:
        yield from folder.glob(f"*{store.path.suffix or '.db'}")


def _names(store: Path, file: Path, uid: str) -> bool:
    # Not opened as a store, which would be migrated.
    try:
        with closing(open_to_read(store)) as connection:
            query = "SELECT body FROM artifacts WHERE uid = ?"
            rows = connection.execute(query, (uid,)).fetchall()
        records = [Places(store).load("artifacts", body) for (body,) in rows]
    except (sqlite3.Error, ValueError):
        # It is damaged, and may be rescued.
        return True
    named = [os.path.realpath(record["spec"].get("target_path") or "") for record in records]
    return os.path.realpath(file) in named
