"""The files that records name, found from the store's own folder, wherever that lies."""

import json
import os
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from .fields import OWN_ID

HERE = "{store}/"  # begins a path that is kept relative to the store's folder
FIELDS: dict[str, tuple[tuple[str, ...], ...]] = {
    "runs": (("spec", "output_path"), ("spec", "inputs")),
    "artifacts": (("spec", "target_path"), ("spec", "extra_data")),
    "functions": (("spec", "build", "source"),),
}
"""Where records have paths: a text, or texts in a dict."""

LONG = 2_000  # characters; a longer record of an artifact is compressed


class Places:
    """Turns the paths of records, which are absolute for MLRun, into those that a store keeps.

    What lies below the store's folder, or in the Kedro project that this is in, is kept relative to
    it, and so is found where the store is moved, copied or handed over. Other paths stay.
    """

    def __init__(self, store: Path) -> None:
        self.folder = store.parent
        # The paths of an earlier version's records: which folder was what is now another one.
        self._earlier: dict[Path, Path] = {}

    @cached_property
    def _roots(self) -> list[tuple[Path, Path]]:
        """Give what is found from the store, with the store's folder; also by their real paths."""
        from kedro.utils import find_kedro_project

        folders = self.folder, self.folder.resolve()
        return [(find_kedro_project(folder) or folder, folder) for folder in folders]

    def dump(self, table: str, body: dict[str, Any]) -> str | bytes:
        """Write a record as the store keeps it."""
        body = _changed(table, body, self._kept)
        text = json.dumps(body)
        if table != "artifacts" or len(text) < LONG:
            return text
        # What is said of each column of a data frame makes a record long.
        return zlib.compress(json.dumps(_histograms(body, _ends)).encode())

    def load(self, table: str, text: str | bytes) -> dict[str, Any]:
        """Read a record as MLRun sees it."""
        return _changed(table, read(text), self._found)

    def portable(self, table: str, text: str | bytes) -> str | bytes:
        """Rewrite an earlier version's record, also that of a store that was moved or copied."""
        with suppress(ValueError):
            return self.dump(table, _changed(table, read(text), self._moved))
        return text

    def has(self, path: str) -> bool:
        """Tell whether a file is the store's own, which moves and is copied with it."""
        return HERE in self._kept(path)

    def _kept(self, path: str) -> str:
        scheme, file, slash = _parts(path)
        # Where the last name is a link to elsewhere, it is the link that counts.
        names = [file, os.path.realpath(file)] if os.path.isabs(file) else []
        for name, (root, folder) in product(names, self._roots):
            if Path(name).is_relative_to(root) and ".." not in Path(file).parts:
                return f"{scheme}{HERE}{Path(os.path.relpath(name, folder)).as_posix()}{slash}"
        return path

    def _found(self, path: str) -> str:
        scheme, file, slash = _parts(path)
        if not file.startswith(HERE):
            return path
        file = os.path.normpath(self.folder / file.removeprefix(HERE))
        return f"{scheme}{Path(file).as_posix()}{slash}"

    def _moved(self, path: str) -> str:
        """Give where a file lies that an earlier version has recorded elsewhere, if it is here."""
        scheme, file, slash = _parts(path)
        if not os.path.isabs(file) or self.has(path):
            return path
        parts = Path(file).parts
        for number in range(1, len(parts)):
            before, after = Path(*parts[:number]), Path(*parts[number:])
            # With a run's id in it, it is no other file.
            if before not in self._earlier and any(map(OWN_ID.fullmatch, after.parts)):
                places = [root / after for root in (self._roots[0][0], self.folder)]
                if place := next(filter(Path.exists, places), None):
                    self._earlier[before] = Path(*place.parts[: -len(after.parts)])
            if root := self._earlier.get(before):
                return f"{scheme}{(root / after).as_posix()}{slash}"
        return path


def read(text: str | bytes) -> dict[str, Any]:
    """Read a record's text, compressed or not."""
    try:
        body = json.loads(text if isinstance(text, str) else zlib.decompress(text))
    except zlib.error as exc:
        raise ValueError(str(exc)) from None
    if not isinstance(body, dict):
        raise ValueError("it is no JSON object")
    return body if isinstance(text, str) else _histograms(body, _edges)


def _histograms(body: dict[str, Any], change: Callable[..., list[Any]]) -> dict[str, Any]:
    """Copy a record with other edges of the bins that MLRun has counted each column's values in."""
    with suppress(KeyError, TypeError, ValueError):
        stats = dict(body["status"]["stats"])
        for column in [column for column in stats if "hist" in stats[column]]:
            counts, edges = stats[column]["hist"]
            stats[column] = {**stats[column], "hist": [counts, change(counts, edges)]}
        return {**body, "status": {**body["status"], "stats": stats}}
    return body


def _ends(counts: list[int], edges: list[float]) -> list[float]:
    ends = [edges[0], edges[-1]]
    # They are half of a record, and follow from the first and the last to the last digit.
    return ends if repr(_edges(counts, ends)) == repr(edges) else edges


def _edges(counts: list[int], ends: list[float]) -> list[float]:
    number, (first, *_, last) = len(counts), ends
    if len(ends) != 2 or number < 2:  # noqa: PLR2004
        return ends
    # As NumPy's linspace.
    step = (last - first) / number
    return [*(index * step + first for index in range(number)), last]


def _parts(path: str) -> tuple[str, str, str]:
    scheme = "file://" if path.startswith("file://") else ""
    # A model's path ends with a slash, which tells MLRun that it is a folder.
    return scheme, path.removeprefix(scheme), "/" * path.endswith("/")


def _changed(table: str, body: dict[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    for field in FIELDS.get(table, ()):
        body = _with(body, field, change)
    return body


def _with(value: Any, field: Sequence[str], change: Callable[[str], str]) -> Any:
    """Copy a record, or a part of it, with a path changed."""
    if isinstance(value, str) and not field:
        return change(value)
    if isinstance(value, dict) and not field:
        return {name: _with(item, "", change) for name, item in value.items()}
    if isinstance(value, dict) and value.get(field[0]):
        return {**value, field[0]: _with(value[field[0]], field[1:], change)}
    return value
