"""The files of artifacts: which of them belong to one run alone, and their deletion."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from .fields import producer

# The ids that MLRun and this project make. Another one may be the name of any folder.
RUN_ID = re.compile(r"[0-9a-f]{32}")


def own_folder(path: str, run_id: str) -> str:
    """Give the folder that a path is in and that belongs to one run alone.

    Args:
        path: a path or URL.
        run_id: the run's id.

    Returns:
        The path up to the part that is the run's id; empty where there is none.

    Example:
        >>> own_folder(
        ...     "s3://bucket/0123456789abcdef0123456789abcdef/train/0/model.pkl",
        ...     "0123456789abcdef0123456789abcdef",
        ... )
        's3://bucket/0123456789abcdef0123456789abcdef'
    """
    before, found, _ = f"{path}/".partition(f"/{run_id}/")
    return before + f"/{run_id}" if found and RUN_ID.fullmatch(run_id) else ""


def delete_data(record: Mapping[str, Any]) -> None:
    """Delete an artifact's bytes, where they are in the folder of the run that made it.

    Args:
        record: the artifact's record.

    Raises:
        MLRunInvalidArgumentError: they are elsewhere, where they may be anybody's.
        OSError: they can't be deleted.
    """
    import mlrun

    target = record["spec"].get("target_path") or ""
    if not target:
        # What is inline has none.
        return
    folder = own_folder(target, producer(record))
    refusal = mlrun.errors.MLRunInvalidArgumentError(
        f"{target} is not in a folder of the run that made it, so it isn't deleted. "
        "Delete it yourself if nothing else needs it."
    )
    if not folder or ".." in PurePosixPath(target).parts:
        raise refusal
    if "://" in target:
        _delete_url(target)
        return
    path, real = Path(target), Path(folder).resolve()
    # A link in the path may lead anywhere; one at its end is deleted itself.
    if not (path.parent.resolve() / path.name).is_relative_to(real) or Path(folder).is_symlink():
        raise refusal
    _delete_path(path)
    for parent in path.parents:
        if not parent.is_relative_to(folder) or not parent.is_dir() or any(parent.iterdir()):
            break
        parent.rmdir()


def _delete_path(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _delete_url(url: str) -> None:
    import mlrun

    item = mlrun.get_dataitem(url)
    for name in item.listdir() if url.endswith("/") else ():
        mlrun.get_dataitem(f"{url}{name}").delete()
    item.delete()


def run_folder(artifact_path: str, uid: str) -> str:
    """Give the folder that one run writes to and no other.

    Args:
        artifact_path: where artifacts are kept.
        uid: the run's id.

    Returns:
        The path with the run's id in it; absolute, unless it is a URL.

    Example:
        >>> run_folder("s3://bucket/artifacts", "1f0c")
        's3://bucket/artifacts/1f0c'
    """
    if "://" not in artifact_path:
        artifact_path = Path(artifact_path).absolute().as_posix()
    if uid in artifact_path or "{{run.uid}}" in artifact_path:
        return artifact_path
    return f"{artifact_path.rstrip('/')}/{uid}"
