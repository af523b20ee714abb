"""The embedded store: MLRun's run database on one SQLite file, which MLRun's own SDK works on."""

import codecs
import os
import socket
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from mlrun.common.formatters import RunFormat
from mlrun.common.schemas import BackgroundTask, BackgroundTaskState
from mlrun.errors import MLRunBadRequestError, MLRunConflictError, MLRunInvalidArgumentError
from mlrun.lists import RunList
from mlrun.utils import update_in

from .fields import PROCESS
from .interface import Interface, as_dict, as_mlrun, pages
from .process import is_alive, killed
from .rows import TERMINAL_STATES, Record, Where
from .sqlite import SCHEME

LOG_INTERVAL = 0.5  # seconds between two looks at a log; MLRun's setting is made for an API


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

    @as_mlrun
    def store_run(self, struct: Any, uid: str, project: str, iter: int = 0) -> None:
        """Write a run whole, replacing what was there."""
        with self.transaction():
            self.write_run(as_dict(struct), uid, project, iter)

    @as_mlrun
    def update_run(
        self, updates: Record, uid: str, project: str, iter: int = 0, timeout: int = 0
    ) -> None:
        """Change some fields of a run, but its name, by dotted names such as `status.state`."""
        with self.transaction():
            body = self.find_run(uid, project, iter)
            name = body["metadata"].get("name")
            for field, value in updates.items():
                update_in(body, field, value)
            if body["metadata"].get("name") != name:
                raise MLRunInvalidArgumentError("Changing name for an existing run is invalid")
            self.write_run(as_dict(body), uid, project, iter)

    @as_mlrun
    def read_run(
        self, uid: str, project: str, iter: int = 0, format_: str = RunFormat.full
    ) -> Record:
        """Read a run; with its artifacts as `status.artifacts` in the `full` format."""
        run = self.find_run(uid, project, iter)
        if format_ == RunFormat.full:
            run["status"]["artifacts"] = self.artifacts_of(run)
        return run

    def _list_runs(self, **query: Any) -> RunList:
        """List runs, newest start first; without a filter the last of each name within a week."""
        if not any(query[name] for name in query.keys() - {"project", "sort", "limit", "offset"}):
            week = datetime.now(UTC) - timedelta(days=7)
            query |= {"start_time_from": week, "newest": True}
        return RunList(self.find_runs(**query))

    list_runs = as_mlrun(_list_runs)
    paginated_list_runs = pages(_list_runs)

    @as_mlrun
    def del_run(self, uid: str, project: str, iter: int = 0) -> None:
        """Delete a run, where there is one, with its iterations and its log; its artifacts stay."""
        where = Where("project = ? AND uid = ?", project, uid)
        with self.transaction():
            for (state,) in self.select("state FROM runs", where):
                if state not in TERMINAL_STATES and self.job_is_alive(uid, project):
                    # Nobody could abort its processes then.
                    raise MLRunBadRequestError(
                        f"Can not delete run {uid} in {state} state, consider aborting it first"
                    )
            for table in ("logs", "runs"):
                self.delete(table, where)
        self.log_file(uid, project).unlink(missing_ok=True)

    def submit_job(self, runspec: Any, schedule: Any = None) -> Record:
        """Start a run of a stored function as a background process of this machine."""
        return self.jobs.submit(self, as_dict(runspec), schedule)

    @as_mlrun
    def abort_run(
        self,
        uid: str,
        project: str,
        iter: int = 0,
        timeout: int = 0,
        status_text: str = "It was aborted.",
    ) -> BackgroundTask:
        """End the processes of a run that goes on on this machine, and set it to aborted."""

        def going_on(*ends: str) -> Record:
            run = self.find_run(uid, project, iter)
            if (state := run["status"].get("state")) in ends:
                raise MLRunConflictError(
                    f"Run {uid} is already in terminal state ({state}), can not be aborted"
                )
            return run

        # All of them before the record, which then nobody else writes to.
        self.jobs.end_processes(self, going_on(*TERMINAL_STATES))
        # It may have been faster; any other end came from being stopped.
        going_on("completed")
        self.end_run(uid, project, "aborted", status_text, replace=True)
        status = {"state": BackgroundTaskState.succeeded}
        metadata = {"name": f"abort-{uid}", "project": project}
        return BackgroundTask(metadata=metadata, spec={}, status=status)

    def _abort_if_lost(self, uid: str, project: str) -> None:
        run = self.find_run(uid, project)
        labels = run["metadata"].get("labels") or {}
        going_on = run["status"].get("state") in {"pending", "running"}
        if going_on and labels.get("host") == socket.gethostname():
            process = str(labels.get(PROCESS) or "")
            # Asked last: a job that ends is no longer alive when it is no longer looked after.
            if not is_alive(process) and not self.job_is_alive(uid, project):
                self.end_run(uid, project, "aborted", killed(process))

    @as_mlrun
    def store_log(
        self, uid: str, project: str, body: bytes | str = b"", append: bool = False
    ) -> None:
        """Write a run's log, or add to it."""
        if not body:
            return
        row = (project, uid, body.encode() if isinstance(body, str) else body)
        with self.transaction() as connection:
            if not append:
                self.delete("logs", Where("project = ? AND uid = ?", project, uid))
                with suppress(FileNotFoundError):
                    os.truncate(self.log_file(uid, project), 0)
            connection.execute("INSERT INTO logs (project, uid, body) VALUES (?, ?, ?)", row)

    @as_mlrun
    def get_log(self, uid: str, project: str, offset: int = 0, size: int = -1) -> tuple[str, bytes]:
        """Read the state of a run and its log from a byte on; without a size, to its end."""
        if offset < 0:
            raise MLRunInvalidArgumentError("Offset cannot be negative")
        state = self.find_run(uid, project)["status"]["state"]
        where = Where("project = ? AND uid = ?", project, uid)
        log = b"".join(body for (body,) in self.select("body FROM logs", where, "ORDER BY id"))
        text = log[offset : None if size < 0 else offset + size]
        # What a background job prints is in a file, and follows.
        with suppress(FileNotFoundError), self.log_file(uid, project).open("rb") as file:
            file.seek(max(0, offset - len(log)))
            text += file.read(-1 if size < 0 else size - len(text))
        return state, text

    @as_mlrun
    def get_log_size(self, uid: str, project: str) -> int:
        """Give the size of a run's log in bytes, which may be more than fits into memory."""
        where, size = Where("project = ? AND uid = ?", project, uid), 0
        with suppress(FileNotFoundError):
            size = self.log_file(uid, project).stat().st_size
        return size + int(self.select("TOTAL(LENGTH(body)) FROM logs", where)[0][0])

    @as_mlrun
    def watch_log(
        self, uid: str, project: str, watch: bool = True, offset: int = 0
    ) -> tuple[str, int]:
        """Print a run's log until the run ends, and give its state and the bytes read."""
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
            if not watch or (has_ended and state in TERMINAL_STATES):
                sys.stdout.write(decoder.decode(b"", final=True))
                return state, offset
            time.sleep(LOG_INTERVAL)
