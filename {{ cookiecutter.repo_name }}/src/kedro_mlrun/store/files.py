"""The files of artifacts: which of them belong to one run alone, and their deletion."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ..lazy import mlrun
from .fields import producer

# The ids that MLRun and this project make. Another one may be the name of any folder.
RUN_ID = re.compile(r"[0-9a-f]{32}")


def run_folder(artifact_path: str, uid: str) -> str:
    """Give the folder that one run writes to and no other."""
    if "://" not in artifact_path:
        artifact_path = Path(artifact_path).absolute().as_posix()
    if uid in artifact_path or "{{run.uid}}" in artifact_path:
        return artifact_path
    return f"{artifact_path.rstrip('/')}/{uid}"


def own_folder(path: str, run_id: str) -> str:
    """Give the folder of a run that a path or URL is in, up to the run's id; "" if in none."""
    before, found, _ = f"{path}/".partition(f"/{run_id}/")
    return before + f"/{run_id}" if found and RUN_ID.fullmatch(run_id) else ""


def delete_data(record: Mapping[str, Any]) -> None:
    """Delete an artifact's bytes, or refuse if they are not in the folder of its own run."""
    target = record["spec"].get("target_path")
    if not target:
        return
    folder = own_folder(target, producer(record))
    refusal = mlrun.errors.MLRunInvalidArgumentError(
        f"{target} is not in a folder of the run that made it, so it isn't deleted. "
        "Delete it yourself if nothing else needs it."
    )
    if not folder or ".." in PurePosixPath(target).parts:
        raise refusal
    if "://" in target:
        item = mlrun.get_dataitem(target)
        for name in item.listdir() if target.endswith("/") else ():
            mlrun.get_dataitem(f"{target}{name}").delete()
        item.delete()
        return
    path, real = Path(target), Path(folder).resolve()
    # A link in the path may lead anywhere; one at its end is deleted itself.
    if not (path.parent.resolve() / path.name).is_relative_to(real) or Path(folder).is_symlink():
        raise refusal
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    for parent in path.parents:
        if not parent.is_relative_to(folder) or not parent.is_dir() or any(parent.iterdir()):
            break
        parent.rmdir()
