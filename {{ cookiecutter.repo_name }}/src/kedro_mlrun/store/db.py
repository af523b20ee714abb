"""The embedded store: MLRun's run database on one SQLite file, which MLRun's own SDK works on."""

import codecs
import os
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from mlrun.common.formatters import RunFormat
from mlrun.common.schemas import BackgroundTask, BackgroundTaskState
from mlrun.errors import MLRunBadRequestError, MLRunConflictError, MLRunInvalidArgumentError
from mlrun.lists import RunList
from mlrun.utils import update_in

from .fields import PROCESS
from .interface import ALL_DAYS, Interface, active, as_dict, by_name, pages
from .process import is_alive, killed
from .rows import TERMINAL_STATES, Record, Where
from .sqlite import SCHEME

LOG_INTERVAL = 0.5  # seconds between two looks at a log; MLRun's setting is made for an API

_NO_FILTERS = "project sort limit offset rows_per_partition partition_order max_partitions".split()


class LocalRunDB(Interface):
    """MLRun's run database interface on SQLite.

    Any number of threads and processes may use one store at once. The methods take the arguments of
    MLRun's client (`mlrun.db.httpdb.HTTPRunDB`), which explains them, and mean the same by them.
    `jobs`, a module, starts and ends background jobs; the store has only their queue.
    """

    kind = SCHEME

    def __init__(self, url: str, *_args: Any, jobs: Any = None, **_kwargs: Any) -> None:
        super().__init__(url)
        self.token_provider = None
        self.jobs = jobs

    def connect(self, secrets: Record | None = None) -> "LocalRunDB":
        """Open the store, making or migrating it where needed."""
        # MLRun keeps this object even if that fails, so each first use of it opens and checks.
        _ = self.connection
        return self

    def store_run(self, struct: Any, uid: str, project: str = "", iter: int = 0) -> None:
        """Write a run whole, replacing what was there."""
        body = as_dict(struct)
        with self.transaction():
            self.write_run(body, uid, active(project), iter)

    def update_run(
        self, updates: Record, uid: str, project: str = "", iter: int = 0, timeout: int = 45
    ) -> None:
        """Change some fields of a run, but its name, by dotted names such as `status.state`."""
        with self.transaction():
            body = self.find_run(uid, active(project), iter)
            name = body["metadata"].get("name")
            for field, value in updates.items():
                update_in(body, field, value)
            if body["metadata"].get("name") != name:
                raise MLRunInvalidArgumentError("Changing name for an existing run is invalid")
            self.write_run(as_dict(body), uid, active(project), iter)

    def read_run(
        self, uid: str, project: str = "", iter: int = 0, format_: str = RunFormat.full
    ) -> Record:
        """Read a run; with its artifacts as `status.artifacts` in the `full` format."""
        run = self.find_run(uid, active(project), iter)
        if format_ == RunFormat.full:
            run["status"]["artifacts"] = self.artifacts_of(run)
        return run

    def _list_runs(self, query: Record) -> RunList:
        """List runs, newest start first; without a filter the last of each name within a week."""
        if not any(value for field, value in query.items() if field not in _NO_FILTERS):
            week = datetime.now(UTC) - timedelta(days=7)
            query = query | {"start_time_from": week, "partition_by": "project_and_name"}
        return RunList(self.find_runs(query))

    list_runs = by_name(_list_runs)
    paginated_list_runs = pages(_list_runs)

    def del_run(self, uid: str, project: str = "", iter: int = 0) -> None:
        """Delete a run, where there is one, with its iterations and its log; its artifacts stay."""
        self._delete_runs(Where().equal(project=active(project)).add("uid = ?", uid))

    @by_name
    def del_runs(self, query: Record) -> None:
        """Delete runs with their iterations and logs; their artifacts stay."""
        where = self.where("runs", query).equal(state=query.get("state"))
        since = datetime.now(UTC) - timedelta(days=query.get("days_ago") or ALL_DAYS)
        self._delete_runs(where.between("start_time", since))

    def _delete_runs(self, where: Where) -> None:
        with self.transaction():
            rows = self.select("DISTINCT project, uid, state FROM runs", where)
            for project, uid, state in rows:
                if state not in TERMINAL_STATES and self.job_is_alive(uid, project):
                    # Nobody could abort its processes then.
                    raise MLRunBadRequestError(
                        f"Can not delete run {uid} in {state} state, consider aborting it first"
                    )
                for table in ("logs", "runs"):
                    self.delete(table, Where("project = ? AND uid = ?", project, uid))
        for project, uid, _ in rows:
            self.log_file(uid, project).unlink(missing_ok=True)

    def submit_job(self, runspec: Any, schedule: Any = None) -> Record:
        """Start a run of a stored function as a background process of this machine."""
        return self.jobs.submit(self, as_dict(runspec), schedule)

    @by_name
    def abort_run(self, query: Record) -> BackgroundTask:
        """End the processes of a run that goes on on this machine, and set it to aborted."""
        uid, project = query["uid"], query["project"]
        run = self._abortable(query, TERMINAL_STATES)
        # All of them before the record, which then nobody else writes to.
        self.jobs.end_processes(self, run)
        # It may have been faster; any other end came from being stopped.
        self._abortable(query, ("completed",))
        reason = query.get("status_text") or "It was aborted."
        self.end_run(uid, project, "aborted", reason, replace=True)
        status = {"state": BackgroundTaskState.succeeded}
        metadata = {"name": f"abort-{uid}", "project": project}
        return BackgroundTask(metadata=metadata, spec={}, status=status)

    def _abortable(self, query: Record, ends: Sequence[str]) -> Record:
        run = self.find_run(query["uid"], query["project"], query.get("iter", 0))
        if (state := run["status"].get("state")) in ends:
            raise MLRunConflictError(
                f"Run {query['uid']} is already in terminal state ({state}), can not be aborted"
            )
        return run

    def _abort_if_lost(self, uid: str, project: str) -> None:
        run = self.find_run(uid, project)
        labels = run["metadata"].get("labels") or {}
        going_on = run["status"].get("state") in {"pending", "running"}
        if going_on and labels.get("host") == socket.gethostname():
            process = str(labels.get(PROCESS) or "")
            # Asked last: a job that ends is no longer alive when it is no longer looked after.
            if not is_alive(process) and not self.job_is_alive(uid, project):
                self.end_run(uid, project, "aborted", killed(process))

    def store_log(
        self, uid: str, project: str = "", body: bytes | str | None = None, append: bool = False
    ) -> None:
        """Write a run's log, or add to it."""
        if not body:
            return
        row = (active(project), uid, body.encode() if isinstance(body, str) else body)
        with self.transaction() as connection:
            if not append:
                self.delete("logs", Where("project = ? AND uid = ?", *row[:2]))
                with suppress(FileNotFoundError):
                    os.truncate(self.log_file(uid, row[0]), 0)
            connection.execute("INSERT INTO logs (project, uid, body) VALUES (?, ?, ?)", row)

    @by_name
    def get_log(self, query: Record) -> tuple[str, bytes]:
        """Read the state of a run and its log from a byte on; without a size, to its end."""
        uid, project, offset = query["uid"], query["project"], query.get("offset", 0)
        if offset < 0:
            raise MLRunInvalidArgumentError("Offset cannot be negative")
        state = self.find_run(uid, project)["status"]["state"]
        size = -1 if query.get("size") is None else query["size"]
        where = Where("project = ? AND uid = ?", project, uid)
        log = b"".join(body for (body,) in self.select("body FROM logs", where, "ORDER BY id"))
        text = log[offset : None if size < 0 else offset + size]
        # What a background job prints is in a file, and follows.
        with suppress(FileNotFoundError), self.log_file(uid, project).open("rb") as file:
            file.seek(max(0, offset - len(log)))
            text += file.read(-1 if size < 0 else size - len(text))
        return state, text

    def get_log_size(self, uid: str, project: str = "") -> int:
        """Give the size of a run's log in bytes, which may be more than fits into memory."""
        where, size = Where("project = ? AND uid = ?", active(project), uid), 0
        with suppress(FileNotFoundError):
            size = self.log_file(uid, active(project)).stat().st_size
        return size + int(self.select("TOTAL(LENGTH(body)) FROM logs", where)[0][0])

    @by_name
    def watch_log(self, query: Record) -> tuple[str, int]:
        """Print a run's log until the run ends, and give its state and the bytes read."""
        uid, project, offset = query["uid"], query["project"], query.get("offset", 0)
        # A character may come in two parts.
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        while True:
            # Before the log is read: a job says something after it has recorded its end.
            has_ended = not self.job_is_alive(uid, project)
            if has_ended:
                self._abort_if_lost(uid, project)
            state, text = self.get_log(uid, project, offset)
            sys.stdout.write(decoder.decode(text))
            sys.stdout.flush()
            offset += len(text)
            if not query.get("watch", True) or (has_ended and state in TERMINAL_STATES):
                sys.stdout.write(decoder.decode(b"", final=True))
                return state, offset
            time.sleep(LOG_INTERVAL)
