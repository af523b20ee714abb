"""Deleting a run: its record, and its artifacts' records and bytes."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..lazy import mlrun
from ..store.fields import artifact_file
from ..store.files import delete_data, own_folder
from .records import Records
from .summaries import Record


def delete_run(records: Records, run: Mapping[str, Any], artifacts: bool = False) -> Record:
    """Delete a run, on request with its artifacts; tell what was `deleted` and what `kept`."""
    from mlrun.common.runtimes.constants import RunStates

    uid, state = run["metadata"]["uid"], run["status"].get("state")
    if state not in RunStates.terminal_states():
        raise mlrun.errors.MLRunPreconditionFailedError(
            f"Run {uid} is {state}, so it can't be deleted. Wait for its end, or abort it."
        )
    deleted: list[str] = []
    kept: list[dict[str, str]] = []
    for record in records.artifacts_of(run) if artifacts else []:
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
