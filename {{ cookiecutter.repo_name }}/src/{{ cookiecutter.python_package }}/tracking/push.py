"""Runs that an MLRun API was not sent, sent later."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .api import SENT, UNSENT, address, check, renamed
from .records import RecordNotFoundError, Records, moment

if TYPE_CHECKING:
    from .records import Record


def unsent_runs(kept: Records) -> list[Record]:
    """List the runs that an API is still to be sent.

    Args:
        kept: the records of the embedded store.

    Returns:
        The runs' records, newest first.
    """
    return kept.runs(labels=[UNSENT], limit=None)


def push_run(kept: Records, run: Record) -> dict[str, Any]:
    """Send a run and its artifacts to the MLRun API that missed them; their files stay.

    Args:
        kept: the records of the embedded store.
        run: the run's record in it.

    Returns:
        The run's `name` and `uid`, the API's `address`, and the number of `artifacts` that it
        hadn't.

    Raises:
        RecordNotFoundError: nothing of the run is left to be sent.
        APIUnreachableError: the API still doesn't answer.
    """
    import mlrun
    from mlrun.db.httpdb import HTTPRunDB

    uid, project = run["metadata"]["uid"], kept.project
    labels = dict(run["metadata"].get("labels") or {})
    marked = labels.pop(UNSENT, "")
    if not marked:
        raise RecordNotFoundError(f"Nothing of run '{uid}' is left to be sent.")
    # The mark is without the credentials that MLRun may be told.
    told = mlrun.mlconf.dbpath
    url = told if address(told) == marked else marked
    check(url)
    # MLRun's own, for ours would keep what can't be sent where it comes from.
    client = HTTPRunDB(url).connect()
    annotations = dict(run["metadata"].get("annotations") or {})
    uids = {here: there for there, here in json.loads(annotations.pop(SENT, "{}")).items()}
    artifacts = [
        record for record in kept.artifacts_of(run) if record["metadata"]["uid"] not in uids
    ]
    for record in artifacts:
        metadata, key = record["metadata"], record["spec"]["db_key"]
        # As MLRun writes times: its API reads no others.
        metadata["created"] = str(moment(metadata.get("created")))
        metadata.pop("updated", None)
        sent = client.store_artifact(
            key, record, iter=metadata.get("iter"), project=project, tree=metadata["tree"]
        )
        # An API of another release gives artifacts other uids.
        uids[metadata["uid"]] = sent["metadata"]["uid"]
    status = {name: value for name, value in run["status"].items() if name != "artifacts"}
    status["artifact_uris"] = renamed(status.get("artifact_uris") or {}, uids)
    # The run after its artifacts, so that it names none that isn't there.
    metadata = {**run["metadata"], "labels": labels, "annotations": annotations}
    client.store_run({**run, "metadata": metadata, "status": status}, uid, project)
    updates = {"metadata.labels": labels, "metadata.annotations": annotations}
    kept.db.update_run(updates, uid, project)
    return {
        "name": run["metadata"]["name"],
        "uid": uid,
        "address": marked,
        "artifacts": len(artifacts),
    }
