"""Runs that didn't end by themselves: their process was killed, or they were stopped."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from typing import Any

from ..store.fields import PROCESS
from ..store.process import is_alive, killed
from . import workers

GOING_ON = ["running", "pending"]


def abort_lost_runs(db: Any, project: str) -> None:
    """Set the runs to aborted whose process on this host was killed, also while it waited."""
    host = socket.gethostname()
    going_on = db.list_runs(
        project=project,
        labels=[f"host={host}", PROCESS],
        states=GOING_ON,
        # Without it, MLRun lists the runs of one week.
        start_time_from=datetime(2000, 1, 1, tzinfo=UTC),
    )
    for run in going_on:
        labels = run["metadata"]["labels"]
        process, uid = labels.get(PROCESS, ""), run["metadata"]["uid"]
        # Older APIs give those of other states, too, or by labels that were changed since.
        is_ours = run["status"].get("state") in GOING_ON and labels.get("host") == host
        if is_ours and not is_alive(process) and not _has_supervisor(db, uid, project):
            set_aborted(db, uid, project, killed(process))
            workers.remove(uid)


def _has_supervisor(db: Any, uid: str, project: str) -> bool:
    """Tell whether a process is there that records how a submitted job of this machine died."""
    from ..store.db import LocalRunDB

    return isinstance(db, LocalRunDB) and db.job_is_alive(uid, project)


def set_aborted(db: Any, uid: str, project: str, reason: str, iteration: int = 0) -> None:
    """Write down that a run was aborted, and why."""
    record = db.read_run(uid, project, iter=iteration)
    now = datetime.now(UTC).isoformat()
    record["status"].pop("artifacts", None)
    record["status"].update(state="aborted", error=reason, status_text=reason, last_update=now)
    # Not by update_run, for MLRun's API aborts only what runs in the cluster.
    db.store_run(record, uid, project, iter=iteration)
