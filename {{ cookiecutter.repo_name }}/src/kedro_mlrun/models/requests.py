"""Requests and answers, recorded as Parquet by hour, in a thread that no answer waits for."""

import logging
import queue
import threading
import uuid
from collections.abc import Collection
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from time import monotonic
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..datasets.files import write
from .following import Followed, Predicting
from .prediction import Answer, first_line
from .schema import Rows
from .served import FOLDER

LOG = logging.getLogger(__name__)
SECONDS, ROWS = 10.0, 10_000  # after which a file is written
MOST, LARGEST = 100_000, 50_000_000  # rows, and bytes of requests, that wait to be written
TYPES = {"number": pa.float64(), "whole number": pa.int64(), "true or false": pa.bool_()}


class RequestLog:
    """Records requests below the artifacts' folder: `requests/MODEL/2026-11-26/22/….parquet`.

    A file has the features, and beside them `request.time`, `request.id`, `answer.version`,
    `answer.prediction` and `answer.probability.CLASS`; with a shadow the same as `shadow.…`.

    Args:
        place: the artifacts' folder, or a URL.
        name: the model's name.
        private: columns that are left out.
        shadow: a model whose answers are recorded, too, and not given.
    """

    def __init__(
        self, place: str, name: str, private: Collection[str] = (), shadow: Followed | None = None
    ) -> None:
        self.folder = f"{place.rstrip('/')}/{FOLDER}/{name}"
        self.dropped, self.seconds = 0, SECONDS
        self._private, self._shadow = {*private}, shadow
        self._waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._rows, self._bytes, self._said = 0, 0, ""
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="requests", daemon=True)
        self._thread.start()

    def put(self, rows: Rows, answer: Answer, identifier: Any, size: int) -> None:
        """Let a request of so many bytes be recorded; if too much waits for that, it is dropped."""
        count = len(rows)
        with self._lock:
            # One by itself may have more.
            if self._rows and (self._rows + count > MOST or self._bytes + size > LARGEST):
                self.dropped += count
                return
            self._rows, self._bytes = self._rows + count, self._bytes + size
        self._waiting.put((datetime.now(UTC), rows, answer, identifier, size))

    def close(self, seconds: float = 5.0) -> None:
        """Write what is waiting, as far as that is done in so many seconds."""
        self._ended.set()
        self._waiting.put(None)
        self._thread.join(seconds)

    def _run(self) -> None:
        found, count, since = list[Any](), 0, monotonic()
        while True:
            try:
                if item := self._waiting.get(timeout=max(0.0, since + self.seconds - monotonic())):
                    found.append(item)
                    count += len(item[1])
            except queue.Empty:
                pass
            is_last = self._ended.is_set() and self._waiting.empty()
            is_due = monotonic() >= since + self.seconds
            if is_due or is_last or count >= ROWS:
                if found:
                    self._record(found)
                found, count, since = [], 0, monotonic()
            if is_last:
                return

    def _record(self, found: list[Any]) -> None:
        rows, size = sum(len(each) for _, each, *_ in found), sum(each for *_, each in found)
        try:
            for hour, items in groupby(found, lambda item: item[0].strftime("%Y-%m-%d/%H")):
                self._write(hour, [*items])
            self._said = ""
        except Exception as error:
            with self._lock:
                self.dropped += rows
            if (line := first_line(error)) != self._said:
                self._said = line
                LOG.warning("Requests can't be recorded in %s: %s", self.folder, line)
        finally:
            with self._lock:
                self._rows, self._bytes = self._rows - rows, self._bytes - size

    def _write(self, hour: str, items: list[Any]) -> None:
        tables = [self._table(*item) for *item, _ in items]
        table = pa.concat_tables(tables, promote_options="permissive")
        if self._shadow:
            answers = self._shadowed(self._shadow.predictor, [rows for _, rows, *_ in items])
            for name in answers.column_names:
                table = table.append_column(name, answers[name])
        file = pa.BufferOutputStream()
        pq.write_table(table, file)
        path, content = f"{self.folder}/{hour}/{uuid.uuid4().hex}.parquet", file.getvalue()
        if "://" in path:
            write(path, content.to_pybytes())
            return
        # Under its name it is whole, whatever happens here.
        unfinished = Path(path).with_suffix(".unfinished")
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        try:
            unfinished.write_bytes(content)
            unfinished.rename(path)
        except OSError:
            unfinished.unlink(missing_ok=True)
            raise

    def _table(self, time: datetime, rows: Rows, answer: Answer, identifier: Any) -> pa.Table:
        columns: dict[str, Any] = {}
        for name, kind, values in zip(rows.names, rows.kinds, rows.lists(), strict=True):
            if name not in self._private:
                columns[name] = pa.array(_plain(values, kind), TYPES.get(kind, pa.string()))
        count = len(rows)
        columns["request.time"] = pa.array([time] * count, pa.timestamp("us", "UTC"))
        told = None if identifier is None else str(identifier)
        columns["request.id"] = pa.array([told] * count, pa.string())
        return pa.table(columns | _answered("answer", answer))

    def _shadowed(self, shadow: Predicting, rows: list[Rows]) -> pa.Table:
        """Let the shadow answer all rows at once; of one alone the last bit might be another."""
        try:
            return pa.table(_answered("shadow", shadow.answer(Rows.joined(rows))))
        except Exception as error:
            if len(rows) == 1:
                told = pa.array([str(error)[:300]] * len(rows[0]), pa.string())
                return pa.table({"shadow.error": told})
            # One of them is at fault, and it isn't known which.
            each = [self._shadowed(shadow, [one]) for one in rows]
            return pa.concat_tables(each, promote_options="permissive")


def _plain(values: Any, kind: str) -> list[Any]:
    """Give a column's values as Parquet takes them, what is missing as None."""
    if kind in TYPES:
        return [None if value != value else value for value in values]  # noqa: PLR0124
    return [None if value is None else str(value) for value in values]


def _answered(prefix: str, answer: Answer) -> dict[str, Any]:
    outputs, count = answer.outputs, len(answer.outputs)
    numbers = all(type(value) in {int, float} for value in outputs)
    told = pa.array([*map(float, outputs)] if numbers else [*map(str, outputs)])
    found = {f"{prefix}.prediction": told, f"{prefix}.version": pa.array([answer.version] * count)}
    if answer.probabilities is not None:
        for name, values in zip(answer.classes, answer.probabilities.T, strict=True):
            found[f"{prefix}.probability.{name}"] = pa.array(values.astype(float))
    return found
