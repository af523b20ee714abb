"""A loaded model, verified, which answers rows: the one way to an answer for all who ask."""

import math
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..records.records import Records
from ..records.summaries import uid_of
from ..runs.manager import MLRunContextManager
from ..store.rows import Record
from ..store.store import Store
from .fast import Quick, quick
from .schema import MATRIX, RequestError, Rows, Schema
from .versions import ModelError, load_model, model_version

CHECKED = 64  # rows on which the quick way is compared with the model's own


@dataclass
class Answer:
    """What is said to some rows."""

    outputs: list[Any]  # of a classifier the names of classes
    probabilities: np.ndarray | None = None
    classes: Sequence[Any] = ()
    version: str = ""
    ignored: Sequence[str] = ()
    output: str = "prediction"  # the column that is predicted

    def part(self, start: int, stop: int, ignored: Sequence[str]) -> "Answer":
        """Give the answer to some of the rows."""
        told = None if self.probabilities is None else self.probabilities[start:stop]
        return replace(self, outputs=self.outputs[start:stop], probabilities=told, ignored=ignored)

    @property
    def body(self) -> dict[str, Any]:
        """Give the answer as JSON has it."""
        told: dict[str, Any] = {"model_version": self.version, "outputs": self.outputs}
        if self.probabilities is not None:
            told |= {"classes": self.classes, "probabilities": self.probabilities.tolist()}
        return told | ({"ignored_columns": self.ignored} if self.ignored else {})


class Predictor:
    """A model with its schema, which answers rows.

    Args:
        model: the model, as it was saved.
        record: the artifact's record.
    """

    together = True  # whether rows of several requests may be answered at once

    def __init__(self, model: Any, record: Record) -> None:
        self.model, self.name = model, str(record["spec"].get("db_key") or "")
        self.version = str(record["metadata"].get("uid") or "")
        self.schema = Schema(record["spec"])
        if not self.schema.inputs:
            raise ModelError(
                f"Nothing is recorded of the columns that {self.name} takes. Name its training_set "
                "in save_args of its catalog entry, and train it again."
            )
        self._has_probabilities = hasattr(model, "predict_proba")
        known, labels = getattr(model, "classes_", None), self.schema.labels
        learnt = known.tolist() if isinstance(known, np.ndarray) and known.ndim == 1 else []
        # The model may have learnt the numbers of classes that have names.
        is_named = len(labels) == len(learnt) and [*map(str, learnt)] != labels
        self.classes: Sequence[Any] = labels if is_named else learnt
        self._named = dict(zip(learnt, self.classes, strict=True))
        self._quick: Quick | None = None
        self.seconds = 0.0  # for one row
        self._choose()

    def _choose(self) -> None:
        """Ask sample rows in each way: the quick one is taken if its answers are the very same."""
        rows = self._sample()
        try:
            expected = self._plain(rows)
            one_by_one = [self._plain(_row(rows, n)) for n in range(4)]
        except Exception:
            # What the model says to made-up rows says little of others.
            self.together, self.seconds = False, math.inf
            return
        self.together = all(_same(_cut(expected, n), one) for n, one in enumerate(one_by_one))
        if (matrix := rows.matrix) is not None and (found := quick(self.model)):
            with suppress(Exception):
                if _same(found(matrix), expected) and _same(found(matrix[:1]), _cut(expected, 0)):
                    self._quick = found
        start = time.perf_counter()
        self._ask(_row(rows, 0))
        self.seconds = time.perf_counter() - start

    def _sample(self) -> Rows:
        """Make rows within what the training set had."""
        random, columns = np.random.default_rng(0), list[Sequence[Any]]()
        for name, kind in zip(self.schema.names, self.schema.kinds, strict=True):
            told = self.schema.stats.get(name) or {}
            low, high = (float(told.get(end) or 0) for end in ("min", "max"))
            if not (np.isfinite([low, high]).all() and low < high):
                low, high = low - 1.0, low + 1.0
            values: Any = random.uniform(low, high, CHECKED)
            if kind == "whole number":
                values = values.round().astype(int)
            elif kind == "true or false":
                values = random.integers(2, size=CHECKED).astype(bool)
            elif kind in {"text", "time"}:
                values = np.array(["2024-12-31T00:00:00"] * CHECKED, object)
            columns.append(values.tolist())
        if {*self.schema.kinds} == {"number"}:
            return Rows(self.schema.names, self.schema.kinds, numbers=np.array(columns).T.copy())
        return Rows(self.schema.names, self.schema.kinds, columns)

    def _plain(self, rows: Rows) -> tuple[Any, Any]:
        frame = rows.frame
        told = self.model.predict_proba(frame) if self._has_probabilities else None
        return self.model.predict(frame), told

    def _ask(self, rows: Rows) -> tuple[Any, Any]:
        if self._quick and (matrix := rows.matrix) is not None and np.isfinite(matrix).all():
            return self._quick(matrix)
        return self._plain(rows)

    def answer(self, rows: Rows) -> Answer:
        """Answer rows that the schema has checked.

        Raises:
            RequestError: the model can't take them.
        """
        try:
            found, told = self._ask(rows)
        except ValueError as error:
            raise refusal(error) from error
        outputs = np.asarray(found).tolist()
        if self._named:
            outputs = [self._named[output] for output in outputs]
        told = told if isinstance(told, np.ndarray) and told.ndim == MATRIX else None
        return Answer(outputs, told, self.classes, self.version, rows.ignored, self.schema.output)


def first_line(error: Exception) -> str:
    """Give the first line of an error, without a point at its end, or else its class."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def refusal(error: Exception) -> RequestError:
    """Say in one sentence why a model doesn't take rows."""
    # A KeyError has the key alone.
    what = f"{'there is no ' * isinstance(error, KeyError)}{first_line(error)}"
    return RequestError(f"The model doesn't take these rows: {what[:300].rstrip('.:')}.")


def _row(rows: Rows, number: int) -> Rows:
    if rows.numbers is not None:
        return Rows(rows.names, rows.kinds, numbers=rows.numbers[number : number + 1])
    return Rows(rows.names, rows.kinds, [values[number : number + 1] for values in rows.lists()])


def _cut(answer: tuple[Any, Any], number: int) -> tuple[Any, Any]:
    found, told = answer
    part = slice(number, number + 1)
    return found[part], None if told is None else told[part]


def _same(one: tuple[Any, Any], other: tuple[Any, Any]) -> bool:
    """Compare answers, bit by bit."""
    for mine, theirs in zip(map(np.asarray, one), map(np.asarray, other), strict=True):
        # Texts and whole numbers may be of another length; None is of kind "O".
        same_kind = mine.dtype.kind == theirs.dtype.kind != "f" or mine.dtype == theirs.dtype
        if not (same_kind and np.array_equal(mine, theirs)):
            return False
    return True


class ModelSource:
    """The version of a model that has a tag now, or a certain one.

    Args:
        key: the model artifact's key.
        tag: its tag.
        uid: its uid, in place of a tag, with the `tree` that it is of.
        project: the MLRun project, by default that of this Kedro project.
    """

    def __init__(
        self, key: str, tag: str = "", uid: str = "", tree: str = "", project: str = ""
    ) -> None:
        self.name, self.tag = key, tag
        self._named = f"{key}@{tree}^{uid}" if uid else f"{key}:{tag}"
        self._project = project

    def version(self) -> str:
        """Find out which version that is."""
        return uid_of(self.record())

    def record(self) -> Record:
        """Find the artifact's record."""
        project = self._project or MLRunContextManager().project_name
        return model_version(Records(present_store(), project), self._named)

    def load(self) -> Predictor:
        """Load and verify it."""
        record = self.record()
        # By its own id, for the tag may move on meanwhile.
        return Predictor(load_model(record), record)


def present_store() -> Any:
    """Give the run database; an embedded one that is gone would be made anew, and empty."""
    store = MLRunContextManager().store
    if isinstance(store, Store) and not store.path.is_file():
        raise ModelError(f"The store {store.path} is not there. Restore it.")
    return store
