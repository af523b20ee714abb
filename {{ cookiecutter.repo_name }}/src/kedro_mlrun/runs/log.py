"""A run's log: what its processes log while it goes on."""

import logging
import os
import threading
from collections import deque
from contextlib import suppress
from functools import cache
from operator import itemgetter
from typing import Any

from ..secrets.known import hide
from ..store.store import Store
from . import workers

PART = 5 * 2**20  # characters that are kept of a log's beginning, and at least as many of its end
FORMAT = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%d %H:%M:%S")


class RunLog(logging.Handler):
    """Keeps what this process logs, and writes it to a run's log: at once, and a long one's end.

    `lock` is held while something is recorded. What a worker logs, without a store, its parent has.
    """

    def __init__(
        self, uid: str, db: Any = None, context: Any = None, lock: Any = None, run_id: str = ""
    ) -> None:
        super().__init__()
        self.setFormatter(FORMAT)
        self._db, self._context, self._recording, self.run_id = db, context, lock, run_id
        self._uid, self.part = uid, ""
        self._process, self._thread = os.getpid(), threading.get_ident()
        self._pool, self._of_workers = set[int](), dict[str, int]()
        self._own, self._ended = threading.RLock(), threading.Event()
        self._room, self._left_out, self._has_failed = PART, 0, False
        self._beginning, self._end = list[workers.Line](), deque[workers.Line]()
        logging.getLogger().addHandler(self)
        if db:
            # Not in this thread, which may be recording.
            threading.Thread(target=self._follow, daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what is logged."""
        # A run in another thread has a log of its own, and so has a process that was forked.
        is_own = self._has_thread() or not any(each._has_thread() for each in _open())
        with suppress(Exception):  # of arguments that don't fit, which other handlers tell
            if is_own and os.getpid() == self._process:
                text = self.format(record).replace(": ", f": {self.part}", 1)
                self.add((record.created, f"{text}\n"))

    def _has_thread(self) -> bool:
        here = threading.get_ident()
        return here == self._thread or here in self._pool

    def add(self, line: workers.Line) -> None:
        """Keep a line, in place of the oldest after the beginning if there are too many."""
        if not self._db:
            workers.leave_line(self._uid, line)
            return
        with self._own:
            self._room -= len(line[1])
            (self._beginning if self._room >= 0 else self._end).append(line)
            while self._room < -PART:
                self._room += len(self._end.popleft()[1])
                self._left_out += 1

    def _take(self, whole: bool) -> list[workers.Line]:
        with self._own:
            lines, self._beginning = sorted(self._beginning, key=itemgetter(0)), []
            if whole:
                if self._left_out:
                    text = f"[{self._left_out} messages are left out of this long log]\n"
                    lines.append((0, text))
                lines += sorted(self._end, key=itemgetter(0))
                self._end.clear()
                self._room, self._left_out = PART, 0
            return lines

    def _follow(self) -> None:
        while not self._ended.wait(1 if isinstance(self._db, Store) else 5):  # an API less often
            self._write()

    def _write(self, whole: bool = False) -> None:
        lines = list[workers.Line]()
        with self._recording:
            try:
                for line in workers.lines(self._uid, self._of_workers):
                    self.add(line)
                lines = self._take(whole)
                if text := hide("".join(text for _, text in lines)):
                    body = text.encode(errors="replace")
                    self._db.store_log(self._uid, self._context.project, body=body, append=True)
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
        self._ended.set()
        if failure:
            record = logging.LogRecord(__name__, logging.ERROR, "", 0, failure, None, None)
            self.add((record.created, f"{self.format(record)}\n"))
        self._write(whole=True)


def _open() -> list[RunLog]:
    return [each for each in logging.getLogger().handlers if isinstance(each, RunLog)]


def of_thread() -> list[RunLog]:
    """Give the logs of the runs that this thread is of."""
    return [each for each in _open() if each._has_thread()]


def note(name: str, text: str) -> None:
    """Write a line to the logs of the runs that this thread is of, and nowhere else."""
    for each in of_thread():
        each.handle(logging.LogRecord(name, logging.INFO, "", 0, text, None, None))


def take_thread(run_id: str | None) -> None:
    """Tell whose node a thread runs, if that is one of a runner's pool."""
    here, logs = threading.get_ident(), _open()
    if all(here != each._thread for each in logs):
        for each in logs:
            (each._pool.add if each.run_id == run_id else each._pool.discard)(here)


@cache
def of_worker(_process: int, uid: str) -> RunLog:
    """Give what hands over what a worker process logs to the run with this id of its parent."""
    return RunLog(uid)
