"""What the fields of records hold: names, times and files, and which files are a run's own."""

import re
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from ..lazy import mlrun

OWN = "kedro."  # begins the keys of what is recorded beside what the nodes save
DEFAULT_CONTEXT_NAME = "kedro-mlrun-ctx"  # of a run that saving something in a notebook opens
PROCESS = "process"  # the label that tells which process of the host has the run open


def run_name(name: str) -> str:
    """Make a name that MLRun takes for a run: `__default__` becomes `default`."""
    return re.sub(r"[^-A-Za-z0-9_.]+", "-", name)[:63].strip("-_.") or DEFAULT_CONTEXT_NAME


def artifact_file(record: Mapping[str, Any]) -> str:
    """Give the path or URL of an artifact's bytes, of a model its own file; "" if it is inline."""
    spec = record["spec"]
    return (spec.get("target_path") or "") + (spec.get("model_file") or "")


def artifact_uid(uri: Any) -> str:
    """Give the uid of the artifact that a URI names: `9e5a` of `store://models/iris/forest^9e5a`."""
    return str(uri).partition("^")[2] if str(uri).startswith("store://") else ""


def producer(record: Mapping[str, Any]) -> str:
    """Give the id of the run that has saved an artifact; "" where no run did."""
    of = record["spec"].get("producer") or {}
    if of.get("kind") != "run":
        return ""
    # An iteration of a run has the run's id with its number.
    iteration = (record.get("metadata") or {}).get("iter")
    return str(of.get("uri") or "").rpartition("/")[2].removesuffix(f"-{iteration}")


def moment(text: Any) -> datetime | None:
    """Read a time as MLRun writes it. Without a zone it is UTC."""
    value = datetime.fromisoformat(str(text)) if text else None
    return value.replace(tzinfo=value.tzinfo or UTC) if value else None


def run_folder(artifact_path: str, uid: str) -> str:
    """Give the folder that one run writes to and no other."""
    if "://" not in artifact_path:
        artifact_path = Path(artifact_path).absolute().as_posix()
    if uid in artifact_path or "{{run.uid}}" in artifact_path:
        return artifact_path
    return f"{artifact_path.rstrip('/')}/{uid}"


def own_folder(path: str, run_id: str) -> str:
    """Give the folder of a run that a path or URL is in, up to the run's id; "" if in none."""
    # The ids that MLRun and this project make. Another one may be the name of any folder.
    before, found, _ = f"{path}/".partition(f"/{run_id}/")
    return before + f"/{run_id}" if found and re.fullmatch("[0-9a-f]{32}", run_id) else ""


def delete_data(record: Mapping[str, Any], store: Path | None = None) -> None:
    """Delete an artifact's bytes, or refuse if they aren't those of its own run and store."""
    target = record["spec"].get("target_path")
    if not target:
        return
    folder, path = own_folder(target, producer(record)), Path(target)
    is_own = folder != "" and ".." not in PurePosixPath(target).parts
    if is_own and "://" not in target:
        # A link in the path may lead anywhere; one at its end is deleted itself.
        real = path.parent.resolve() / path.name
        # The records of a copied project name files of the original, beside which its store is.
        beside = [parent / store.name for parent in real.parents] if store else []
        copied = any(file.exists() and not (store and file.samefile(store)) for file in beside)
        is_own = real.is_relative_to(Path(folder).resolve()) and not Path(folder).is_symlink()
        is_own = is_own and not copied
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
