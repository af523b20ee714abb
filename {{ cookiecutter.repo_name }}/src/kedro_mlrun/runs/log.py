"""A run's log: what its processes log while it goes on."""

import logging
import os
import threading
from collections import deque
from contextlib import suppress
from functools import cache
from typing import Any

from ..secrets.known import hide
from ..store.store import Store
from . import workers

PART = 5 * 2**20  # characters that are kept of a log's beginning, and at least as many of its end
FORMAT = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%d %H:%M:%S")


class RunLog(logging.Handler):
    """Keeps what this process logs, and writes it to a run's log: at once, and a long one's end.

    `lock` is held while something is recorded. What is of no run, for it is a worker's, is taken.
    """

    def __init__(
        self, db: Any = None, context: Any = None, lock: Any = None, run_id: str = ""
    ) -> None:
        super().__init__()
        self.setFormatter(FORMAT)
        self._db, self._context, self._recording, self.run_id = db, context, lock, run_id
        self._process, self._thread = os.getpid(), threading.get_ident()
        self._pool = set[int]()
        self._timer: threading.Timer | None = None
        self._notes, self._has_failed = 0, False
        self._own, self._room, self._left_out = threading.RLock(), PART, 0
        self._beginning, self._end = list[str](), deque[str]()
        logging.getLogger().addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what is logged, and have it written soon."""
        # A run in another thread has a log of its own, and so has a process that was forked.
        is_own = self._has_thread() or not any(each._has_thread() for each in _open())
        with suppress(Exception):  # of arguments that don't fit, which other handlers tell
            if is_own and os.getpid() == self._process:
                self.add(f"{self.format(record)}\n")
                if self._db and not self._timer:
                    # Not in this thread, which may be recording; and an API isn't asked as often.
                    seconds = 1 if isinstance(self._db, Store) else 5
                    self._timer = threading.Timer(seconds, self._write)
                    self._timer.daemon = True
                    self._timer.start()

    def _has_thread(self) -> bool:
        here = threading.get_ident()
        return here == self._thread or here in self._pool

    def add(self, line: str) -> None:
        """Keep a line, in place of the oldest after the beginning if there are too many."""
        with self._own:
            self._room -= len(line)
            (self._beginning if self._room >= 0 else self._end).append(line)
            while self._room < -PART:
                self._room += len(self._end.popleft())
                self._left_out += 1

    def take(self, whole: bool = True) -> list[str]:
        """Give what has come since the last time, all of it or what is of the beginning."""
        with self._own:
            lines, self._beginning = self._beginning, []
            if whole:
                if self._left_out:
                    lines.append(f"[{self._left_out} messages are left out of this long log]\n")
                lines += self._end
                self._end.clear()
                self._room, self._left_out = PART, 0
            return lines

    def _write(self, whole: bool = False) -> None:
        of_run, lines = (self._context._uid, self._context.project), list[str]()
        with self._recording:
            self._timer = None
            try:
                for note in workers.notes(of_run[0], self._notes):
                    self._notes += 1
                    for line in note.get("log", ()):
                        self.add(line)
                lines = self.take(whole)
                if text := hide("".join(lines)):
                    body = text.encode(errors="replace")
                    self._db.store_log(*of_run, body=body, append=True)
            except Exception as error:
                self._beginning[:0] = lines
                if not self._has_failed:
                    self._has_failed = True
                    logging.getLogger(__name__).warning(
                        "The run's log can't be written: %s. The run goes on.",
                        str(error).rstrip("."),
                    )

    def end(self, failure: str) -> None:
        """Write the rest, with what the run has failed with, and keep nothing any more."""
        logging.getLogger().removeHandler(self)
        if self._timer:
            self._timer.cancel()
        if failure:
            record = logging.LogRecord(__name__, logging.ERROR, "", 0, failure, None, None)
            self.add(f"{self.format(record)}\n")
        self._write(whole=True)


def _open() -> list[RunLog]:
    return [each for each in logging.getLogger().handlers if isinstance(each, RunLog)]


def take_thread(run_id: str | None) -> None:
    """Tell whose node a thread runs, if that is one of a runner's pool."""
    here, logs = threading.get_ident(), _open()
    if all(here != each._thread for each in logs):
        for each in logs:
            (each._pool.add if each.run_id == run_id else each._pool.discard)(here)


@cache
def of_worker(_process: int) -> RunLog:
    """Give what a worker process logs, which its parent writes."""
    return RunLog()
