"""What a model takes and answers, as its record has it, and a request's rows checked against it."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus
from itertools import chain
from operator import itemgetter
from typing import Any

import click
import numpy as np

from ..store.rows import Record

# The kinds of values, by MLRun's names of types; others are text.
KINDS = {"float": "number", "float32": "number", "int": "whole number", "int32": "whole number"}
KINDS |= {"bool": "true or false", "datetime": "time", "": "value"}
NUMERIC = ("number", "whole number", "true or false")
TYPES: dict[str, set[type]] = {
    "number": {float, int},
    "whole number": {int, float},
    "true or false": {bool},
    "value": {float, int, bool, str},
}
# The Open Inference Protocol's types of tensors.
DATATYPES = {"BOOL": "?", "FP16": "f2", "FP32": "f4", "FP64": "f8", "BYTES": "O"}
DATATYPES |= {f"INT{8 * n}": f"i{n}" for n in (1, 2, 4, 8)}
DATATYPES |= {f"UINT{8 * n}": f"u{n}" for n in (1, 2, 4, 8)}
MATRIX = 2  # dimensions
EXACT = 2**53  # below it, each whole number is a float
# What pandas reads as missing, so that a CSV means here what it means to a pipeline.
MISSING = {"", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null", "<NA>", "-NaN", "-nan"}
MISSING |= {"#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "1.#IND", "1.#QNAN"}


class RequestError(click.ClickException, ValueError):
    """A request can't be answered: one sentence for who sent it, with HTTP's number for it."""

    def __init__(self, message: str, status: int = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(message)
        self.status = int(status)


@dataclass
class Rows:
    """The rows of a request, as the columns of a frame, or as a matrix of numbers alone."""

    names: Sequence[str]
    kinds: Sequence[str]
    columns: list[Sequence[Any]] | None = None
    numbers: np.ndarray | None = None
    ignored: list[str] = field(default_factory=list)  # columns that the model doesn't take

    def __len__(self) -> int:
        return len(self.numbers if self.numbers is not None else (self.columns or [()])[0])

    @cached_property
    def matrix(self) -> np.ndarray | None:
        """All columns as 64-bit floats, missing ones NaN; None if that would change a value."""
        if self.numbers is not None or not {*self.kinds} <= {*NUMERIC}:
            return self.numbers
        matrix = np.array(self.columns, dtype=np.float64).T
        whole = [n for n, kind in enumerate(self.kinds) if kind == "whole number"]
        return None if (np.abs(matrix[:, whole]) >= EXACT).any() else np.ascontiguousarray(matrix)

    @property
    def frame(self) -> Any:
        """Give a frame with the types that pandas reads such columns with."""
        import pandas as pd

        if self.columns is None:
            # As pandas reads a file: the last bit of a product depends on the place in memory.
            return pd.DataFrame(np.asfortranarray(self.numbers), columns=[*self.names])
        made = {}
        for name, kind, values in zip(self.names, self.kinds, self.columns, strict=True):
            is_whole = kind == "whole number" and None not in values
            dtype: Any = "int64" if is_whole else "float64" if kind in NUMERIC[:2] else None
            dtype = object if kind == "text" else dtype
            made[name] = _times(values) if kind == "time" else pd.Series(values, dtype=dtype)
        return pd.DataFrame(made)

    @classmethod
    def joined(cls, parts: "Sequence[Rows]") -> "Rows":
        """Put rows of several requests below each other."""
        first = parts[0]
        if len(parts) == 1:
            return first
        if all(part.numbers is not None for part in parts):
            numbers = np.concatenate([part.numbers for part in parts if part.numbers is not None])
            return cls(first.names, first.kinds, numbers=numbers)
        each = zip(*(part.lists() for part in parts), strict=True)
        return cls(first.names, first.kinds, [[*chain(*values)] for values in each])

    def lists(self) -> list[Sequence[Any]]:
        """Give the columns, each as a list."""
        if self.columns is not None:
            return self.columns
        return [] if self.numbers is None else self.numbers.T.tolist()


class Schema:
    """The columns that a model takes, in their order, and its output with the classes' names.

    Args:
        spec: what the model's record has of it.
        is_strict: whether rows must be these columns; if not, they are those of lists, which have
            no names, and objects may have any.
    """

    def __init__(self, spec: Mapping[str, Any], is_strict: bool = True) -> None:
        self.inputs, self.is_strict = spec.get("inputs") or [], is_strict
        self.outputs, self.stats = spec.get("outputs") or [], spec.get("feature_stats") or {}
        self.names = [str(feature["name"]) for feature in self.inputs]
        self.kinds = [KINDS.get(feature.get("value_type") or "", "text") for feature in self.inputs]
        self._floats = bool(self.names) and {*self.kinds} == {"number"}
        names = self.names
        self._ordered = itemgetter(*names) if len(names) > 1 else lambda row: (row[names[0]],)
        output = self.outputs[0] if self.outputs else {}
        self.output = str(output.get("name") or "prediction")
        labels = output.get("labels") or {}
        self.labels = [labels[number] for number in sorted(labels, key=int)]

    @property
    def example(self) -> list[Any]:
        """Give a row that a request may have, of the training set's medians."""
        of_kinds = {"whole number": 1, "true or false": True, "time": "2024-12-31", "text": "text"}
        row: list[Any] = [of_kinds.get(kind, 0.5) for kind in self.kinds]
        for n, name in enumerate(self.names):
            if self.kinds[n] in {"number", "whole number"} and "50%" in self.stats.get(name, {}):
                median = float(f"{self.stats[name]['50%']:.4g}")
                row[n] = median if self.kinds[n] == "number" else round(median)
        return row

    def rows(self, found: Any) -> Rows:
        """Check rows: a list of dicts, or of lists in the columns' order."""
        if not (isinstance(found, list) and found):
            raise RequestError("Send a list of rows with at least one row.")
        kinds, ignored = {*map(type, found)}, list[str]()
        if kinds == {dict}:
            if not self.is_strict:
                return self._unknown(found)
            extra = {name for row in found if len(row) > len(self.names) for name in row}
            ignored, found = sorted(extra.difference(self.names)), self._in_order(found)
        elif kinds != {list}:
            raise RequestError("Each row must be an object of columns, or a list of values.")
        elif not self.names:
            raise RequestError("Nothing is recorded of the columns' order. Send rows as objects.")
        elif wrong := [row for row in found if len(row) != len(self.names)]:
            raise RequestError(
                f"A row has {len(wrong[0])} values, and the model takes {len(self.names)} columns."
            )
        if self._floats and {*map(type, chain.from_iterable(found))} <= {float, int, type(None)}:
            try:
                numbers = np.array(found, dtype=np.float64)
            except OverflowError:
                raise RequestError("A number is too large for the model.") from None
            if np.isinf(numbers).any():
                raise RequestError("A number is infinite, or too large for the model.")
            return Rows(self.names, self.kinds, numbers=numbers, ignored=ignored)
        columns = [*map(self._column, self.names, self.kinds, zip(*found, strict=True))]
        return Rows(self.names, self.kinds, columns, ignored=ignored)

    def _in_order(self, found: Sequence[Mapping[str, Any]]) -> list[Any]:
        try:
            return [*map(self._ordered, found)]
        except KeyError:
            missing = [name for name in self.names if any(name not in row for row in found)]
            shown = ", ".join(f"'{name}'" for name in missing[:5]) + ", …" * (len(missing) > 5)  # noqa: PLR2004
            what = f"column{'s' * (len(missing) > 1)} {shown}"
            raise RequestError(f"The rows lack the {what}.") from None

    def _column(self, name: str, kind: str, values: Sequence[Any]) -> Sequence[Any]:
        """Check the values of a column; what is missing becomes None."""
        if wrong := {*map(type, values)} - TYPES.get(kind, {str}) - {type(None)}:
            bad = next(value for value in values if type(value) in wrong)
            raise RequestError(f"Column '{name}' has {_told(bad)}, and takes a {kind}.")
        if kind in {"number", "whole number", "value"}:
            floats = [value for value in values if type(value) is float]
            if any(map(math.isinf, floats)):
                raise RequestError(f"Column '{name}' has an infinite number.")
            if any(map(math.isnan, floats)):
                values = [None if value != value else value for value in values]  # noqa: PLR0124
            if kind == "whole number":
                if any(value % 1 for value in values if type(value) is float):
                    raise RequestError(f"Column '{name}' has a fraction, and takes a whole number.")
                values = [value if value is None else int(value) for value in values]
            large = 2**63 if kind == "whole number" else 10**308
            if any(type(value) is int and not -large <= value < large for value in values):
                raise RequestError(f"Column '{name}' has a number that is too large for the model.")
        if kind == "time":
            try:
                _times(values)
            except (ValueError, OverflowError):
                what = f"Column '{name}' takes times such as 2024-12-31T08:00."
                raise RequestError(what) from None
        return values

    def _unknown(self, found: Sequence[Mapping[str, Any]]) -> Rows:
        """Take rows of whatever columns the first one has."""
        names = [*found[0]]
        if not names or any(row.keys() != found[0].keys() for row in found):
            raise RequestError("All rows must have the same columns.")
        columns = [self._column(name, "value", [row[name] for row in found]) for name in names]
        return Rows(names, ["value"] * len(names), columns)

    def body(self, found: Any) -> Rows:
        """Check a request's JSON: rows, or an object with rows or tensors as `inputs`."""
        if isinstance(found, dict):
            if "inputs" not in found:
                raise RequestError("Send a list of rows, or an object with rows as `inputs`.")
            found = found["inputs"]
        return self.tensors(found) if is_tensors(found) else self.rows(found)

    def tensors(self, found: Sequence[Record]) -> Rows:
        """Check tensors: one of all columns in their order, or one for each column by its name."""
        arrays = {}
        for tensor in found:
            name = tensor.get("name")
            if not isinstance(name, str) or name in arrays:
                raise RequestError("Each tensor needs a `name` of its own.")
            arrays[name] = _array(name[:64], tensor)
        lengths = {array.shape[0] for array in arrays.values()}
        if len(lengths) > 1 or 0 in lengths:
            raise RequestError("The tensors must have the same number of rows, at least one.")
        first = next(iter(arrays.values()))
        is_table = len(arrays) == 1 and first.ndim == MATRIX
        if is_table and (first.shape[1] != 1 or len(self.names) == 1):
            return self.rows(first.tolist())
        for name, array in arrays.items():
            if array.shape[1:] not in {(), (1,)}:
                raise RequestError(
                    f"Tensor '{name[:64]}' has the shape {[*array.shape]}. Send one of the shape "
                    f"[rows, {len(self.names) or 'columns'}], or one for each column."
                )
        each = zip(*(array.reshape(-1).tolist() for array in arrays.values()), strict=True)
        return self.rows([dict(zip(arrays, row, strict=True)) for row in each])

    def csv(self, body: bytes) -> Rows:
        """Check CSV with a line of names at its beginning; as pandas does, take NA as missing."""
        try:
            lines = [*csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True)]
        except (UnicodeDecodeError, csv.Error) as error:
            raise RequestError(f"The body isn't CSV in UTF-8: {error}.") from None
        names, *values = [line for line in lines if line] or [[]]
        if not values:
            raise RequestError(
                "The CSV has no rows. Send a line of names, and a line for each row."
            )
        if len({*names}) < len(names):
            raise RequestError("The CSV has two columns of one name.")
        if wrong := next((line for line in values if len(line) != len(names)), None):
            raise RequestError(
                f"A line of the CSV has {len(wrong)} values, and the first one {len(names)} names."
            )
        known = dict(zip(self.names, self.kinds, strict=True))
        other = "text" if self.is_strict else "value"
        kinds = [known.get(name, other) for name in names]
        each = zip(*map(_from_text, names, kinds, zip(*values, strict=True)), strict=True)
        return self.rows([dict(zip(names, row, strict=True)) for row in each])


def is_tensors(found: Any) -> bool:
    """Tell whether a request's inputs are tensors of the Open Inference Protocol."""
    tensors = isinstance(found, list) and bool(found)
    return tensors and all(
        isinstance(each, dict) and ("datatype" in each or {"shape", "data"} <= each.keys())
        for each in found
    )


def _array(name: str, tensor: Record) -> np.ndarray:
    """Make an array of a tensor, whose data is nested or flat."""
    shape, kind, data = tensor.get("shape"), tensor.get("datatype"), tensor.get("data")
    if not isinstance(kind, str) or kind not in DATATYPES:
        raise RequestError(f"Tensor '{name}' needs a `datatype`: {', '.join(DATATYPES)}.")
    sizes = shape if isinstance(shape, list) else []
    is_shape = 0 < len(sizes) <= MATRIX and all(type(n) is int and 0 <= n < EXACT for n in sizes)
    if not is_shape:
        raise RequestError(f"Tensor '{name}' needs a `shape` of one or two whole numbers.")
    flat: list[Any] = [data]
    while flat and all(isinstance(part, list) for part in flat):
        flat = [*chain.from_iterable(flat)]
    count = math.prod(sizes)
    if not isinstance(data, list) or len(flat) != count:
        raise RequestError(
            f"Tensor '{name}' has {len(flat)} values, and its shape {shape} takes {count}."
        )
    wanted: dict[str, set[type]] = {"BO": {bool}, "BY": {str, type(None)}}
    wanted["FP"] = {int, float, type(None)}
    if wrong := {*map(type, flat)} - wanted.get(kind[:2], {int}):
        bad = next(value for value in flat if type(value) in wrong)
        raise RequestError(f"Tensor '{name}' of {kind} has {_told(bad)}.")
    try:
        with np.errstate(over="ignore"):  # what is infinite then is refused
            array = np.array(flat)
            made = array.astype(DATATYPES[kind]) if flat else array
        # Of whole numbers, NumPy would keep the last bits alone.
        is_same = kind[:2] in {"FP", "BY"} or bool((made == array).all())
    except (OverflowError, TypeError, ValueError):
        is_same = False
    if not is_same:
        raise RequestError(f"Tensor '{name}' has a number that is too large for {kind}.")
    return made.reshape(sizes)


def _times(values: Sequence[Any]) -> Any:
    import pandas as pd

    return pd.to_datetime(pd.Series(values, dtype=object), format="ISO8601")


def _from_text(name: str, kind: str, texts: Sequence[str]) -> list[Any]:
    if kind == "value":  # a number, where all are
        try:
            return _from_text(name, "number", texts)
        except RequestError:
            kind = "text"
    if kind in {"text", "time"}:
        return [None if text in MISSING else text for text in texts]
    if kind == "true or false":
        known = {"true": True, "false": False, **dict.fromkeys(map(str.lower, MISSING))}
        return [known.get(text.strip().lower(), text) for text in texts]
    numbers = []
    for text in texts:
        try:
            numbers.append(_number(text.strip()))
        except ValueError:
            raise RequestError(f"Column '{name}' has {_told(text)}, and takes a {kind}.") from None
    return numbers


def _number(text: str) -> float | int | None:
    if "_" in text:  # which Python allows in numbers
        raise ValueError(text)
    try:
        # int, where it is one, for a float has 53 bits.
        return None if text in MISSING else int(text)
    except ValueError:
        return float(text)


def _told(value: Any) -> str:
    """Tell a value that is of the wrong kind, in so many words as a line has room for."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return "a list" if isinstance(value, list) else "an object"
    text = str(value)[:40]
    return f"the text '{text}'" if isinstance(value, str) else f"the number {text}"
