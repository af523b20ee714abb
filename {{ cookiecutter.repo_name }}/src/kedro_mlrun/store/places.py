"""The files that records name, found from the store's own folder, wherever that lies."""

import json
import os
import re
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from .fields import OWN_ID

HERE = "{store}/"  # begins a path that is kept relative to the store's folder
FIELDS = {
    "runs": (("spec", "output_path"), ("spec", "inputs")),
    "artifacts": (("spec", "target_path"), ("spec", "src_path"), ("spec", "extra_data")),
    "functions": (("spec", "build", "source"),),
}
"""Where records have paths: a text, or texts in a dict."""

PARTS = {"runs": ("metadata", "status"), "artifacts": ("metadata", "spec")}  # else the first alone
LONG = 2_000  # characters; a longer record of an artifact is compressed


class Places:
    """Turns the paths of records, which are absolute for MLRun, into those that a store keeps.

    What lies below the store's folder, or in the Kedro project that this is in, is kept relative to
    it, and so is found where the store is moved, copied or handed over. Other paths stay.
    """

    def __init__(self, store: Path) -> None:
        self.folder = store.parent

    @cached_property
    def _roots(self) -> dict[str, str]:
        """Give the folders below which files are found from the store, and their way from it."""
        from kedro.utils import find_kedro_project

        ways = {}
        for folder in self.folder, self.folder.resolve():
            # The nearest first, for the store's folder may be handed over without the project.
            for root in filter(None, (folder, find_kedro_project(folder))):
                ways[root.as_posix()] = HERE + "../" * len(folder.relative_to(root).parts)
        return ways

    def dump(self, table: str, body: dict[str, Any]) -> str | bytes:
        """Write a record as the store keeps it."""
        body = _changed(table, body, self._kept)
        text = json.dumps(body)
        # What is said of each column of a data frame makes a record long.
        is_long = table == "artifacts" and len(text) > LONG
        return zlib.compress(text.encode()) if is_long else text

    def load(self, table: str, text: str | bytes) -> dict[str, Any]:
        """Read a record as MLRun sees it."""
        return _changed(table, read(text, table), self._found)

    def portable(self, table: str, text: str | bytes) -> str | bytes:
        """Rewrite an earlier version's record, also that of a store that was moved or copied."""
        with suppress(ValueError):
            return self.dump(table, _changed(table, read(text, table), self._moved))
        return text

    def has(self, path: str) -> bool:
        """Tell whether a file is the store's own, which moves and is copied with it."""
        return HERE in self._kept(path)

    def _kept(self, path: str) -> str:
        scheme, file, slash = _parts(path)
        if not os.path.isabs(file) or ".." in file.split("/"):
            return path
        return scheme + (self._below(file) or self._below(os.path.realpath(file)) or file) + slash

    def _below(self, file: str) -> str:
        ways = ((way, file.partition(f"{root}/")) for root, way in self._roots.items())
        return next((way + rest for way, (no, found, rest) in ways if found and not no), "")

    def _found(self, path: str) -> str:
        scheme, file, slash = _parts(path)
        if not file.startswith(HERE):
            return path
        file = os.path.normpath(self.folder / file.removeprefix(HERE))
        return f"{scheme}{Path(file).as_posix()}{slash}"

    def _moved(self, path: str) -> str:
        """Give where a file lies that an earlier version has recorded elsewhere, if it is here."""
        scheme, file, slash = _parts(path)
        # With a run's id or a source's hash in it, it is no other file.
        own = re.match(rf".*?/({OWN_ID.pattern}(?=-\d+/|/|$)|[0-9a-f]{{64}}\.tar\.gz$)", file)
        if own and os.path.isabs(file) and not self.has(file):
            parts, ending = own[0].split("/"), file.removeprefix(own[0])
            for start, root in product(range(1, len(parts)), self._roots):
                found = "/".join([root, *parts[start:]])
                if os.path.exists(found):
                    return scheme + found + ending + slash
        return path


def read(text: str | bytes, table: str = "") -> dict[str, Any]:
    """Read a record's text, compressed or not, and check that it is one."""
    try:
        body = json.loads(text if isinstance(text, str) else zlib.decompress(text))
    except zlib.error as exc:
        raise ValueError(str(exc)) from None
    parts = PARTS.get(table, ("metadata",)) if table else ()
    if not isinstance(body, dict) or not all(isinstance(body.get(part), dict) for part in parts):
        raise ValueError(f"it is no JSON object with {' and '.join(parts)}")
    return body


def _parts(path: str) -> tuple[str, str, str]:
    scheme = "file://" if path.startswith("file://") else ""
    # A model's path ends with a slash, which tells MLRun that it is a folder.
    slash = "/" if path.endswith("/") else ""
    return scheme, path.removeprefix(scheme).rstrip("/"), slash


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
