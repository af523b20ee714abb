"""What is deleted of a run: its record, its artifacts' records, and their bytes."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from .records import artifact_file, producer

if TYPE_CHECKING:
    from .records import Records

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


def delete_run(records: Records, run: Mapping[str, Any], artifacts: bool = False) -> dict[str, Any]:
    """Delete a run, as MLRun does with its iterations and its log.

    The version of an artifact's key that was saved before becomes the latest one.

    Args:
        records: the records to delete from.
        run: the run's record.
        artifacts: also its artifacts, records and bytes; without, they stay and can be loaded.

    Returns:
        The keys of the `deleted` artifacts, and which files were `kept` for which reason.

    Raises:
        MLRunPreconditionFailedError: the run has not ended.
    """
    import mlrun
    from mlrun.common.runtimes.constants import RunStates

    uid, state = run["metadata"]["uid"], run["status"].get("state")
    if state not in RunStates.terminal_states():
        raise mlrun.errors.MLRunPreconditionFailedError(
            f"Run {uid} is {state}, so it can't be deleted. Wait for its end, or stop it."
        )
    deleted: list[str] = []
    kept: list[dict[str, str]] = []
    found = records.artifacts_of(run) if artifacts else []
    for record in found:
        key, metadata = record["spec"]["db_key"], record["metadata"]
        identity = {"tree": metadata["tree"], "uid": metadata["uid"]}
        # The record first: a crash then leaves bytes without a record, and never one without bytes.
        records.db.del_artifact(key, project=records.project, **identity)
        deleted.append(key)
        try:
            delete_data(record)
        except Exception as exc:
            kept.append({"key": key, "path": artifact_file(record), "reason": str(exc)})
    for key in dict.fromkeys(deleted):
        records.make_newest_the_latest(key)
    folder = own_folder(run["spec"].get("output_path") or "", uid) if artifacts else ""
    if folder and "://" not in folder and not kept and not Path(folder).is_symlink():
        # What is beside the artifacts' files, such as the schema of a CSV.
        shutil.rmtree(folder, ignore_errors=True)
    records.db.del_run(uid, records.project)
    return {"deleted": sorted(deleted), "kept": kept}
