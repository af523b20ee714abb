"""An artifact's file, and what is shown of it: a part at most, and nothing is run or unpickled."""

import csv
import hashlib
import json
from contextlib import suppress
from functools import cache
from itertools import count, islice
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

import click

from ..lazy import mlrun
from .summaries import Record, artifact_key, artifact_summary

SIZE = 100  # rows of a page
MOST_COLUMNS, LONGEST = 200, 200_000  # columns of a table; characters of a text
IMAGES = {
    ".gif": "image/gif",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webp": "image/webp",
}
FETCHED = 100_000_000  # bytes that are brought here at most
TABLES, PAGES = {".csv", ".parquet"}, {".htm", ".html"}
# Some have bytes that are a text by chance.
BINARY = {".bin", ".joblib", ".npy", ".npz", ".onnx", ".pickle", ".pkl", ".pt", ".ubj", ".zip"}


def suffix(record: Record) -> str:
    """Give the ending of an artifact's file, which tells what it is."""
    return Path(artifact_summary(record)["path"]).suffix.lower()


def kind(record: Record) -> str:
    """Tell as what an artifact is shown: as image, table, page, text, or not at all."""
    path, ending = artifact_summary(record)["path"], suffix(record)
    if not path or path.endswith("/") or ending in BINARY:
        return ""
    kinds = {"image": IMAGES, "table": TABLES, "page": PAGES}
    return next((name for name, endings in kinds.items() if ending in endings), "text")


def local_path(record: Record) -> str:
    """Give the path or URL of an artifact's file or folder, unless a path isn't there."""
    path, is_there = artifact_summary(record)["path"].removeprefix("file://"), False
    with suppress(OSError, ValueError):  # of a name that no file can have
        is_there = "://" in path or Path(path).exists()
    if path and is_there:
        return path
    if path:
        raise click.ClickException(
            f"{path} does not exist: it was written on another machine, or deleted since. Copy it "
            "there, or make it again with kedro run."
        )
    raise click.ClickException(
        f"'{artifact_key(record)}' has no file: its data is in its record. Load it with the "
        "catalog."
    )


def local_file(record: Record) -> Path:
    """Give an artifact's file, brought here from where an MLRun API's runs have it."""
    path, size = local_path(record), artifact_summary(record)["size"]
    if "://" in path:
        # Nor is a server asked because a record says so.
        if path.startswith("http") or (isinstance(size, int) and size > FETCHED):
            raise click.ClickException(f"{path} is not fetched for a page. Load it by the catalog.")
        return _fetched(path)
    if not Path(path).is_file():
        raise click.ClickException(f"{path} is a folder, which isn't shown.")
    return Path(path)


@cache
def _folder() -> Any:
    return TemporaryDirectory(prefix="kedro-mlrun-ui-")


@cache
def _fetched(url: str) -> Path:
    """Bring a file here, once: what is recorded doesn't change."""
    name = hashlib.sha256(url.encode(errors="replace")).hexdigest()
    file = Path(_folder().name, name, PurePosixPath(url).name)
    file.parent.mkdir(exist_ok=True)  # of a try that failed
    mlrun.get_dataitem(url).download(str(file))
    return file


def table(record: Record, page: int = 0, size: int = SIZE) -> Record:
    """Read a page of a table: `columns`, `rows`, how many there are in `total`, if that is told."""
    file = local_file(record)
    read = _parquet if suffix(record) == ".parquet" else _csv
    try:
        return {"start": page * size, **read(file, page * size, size)}
    except Exception as error:
        raise click.ClickException(f"{file.name} can't be read as a table: {error}") from error


def _parquet(file: Path, start: int, size: int) -> Record:
    import pyarrow.parquet as pq

    rows, first = list[Any](), 0
    with pq.ParquetFile(file) as opened:
        meta, schema = opened.metadata, opened.schema_arrow
        total, skip = meta.num_rows, start
        # pandas has a frame's index in the last columns, or, of a range, in no column.
        index = (schema.pandas_metadata or {}).get("index_columns") or []
        names = sorted(schema.names, key=index.__contains__, reverse=True)
        # Whole groups of rows needn't be read.
        while first < meta.num_row_groups and skip >= meta.row_group(first).num_rows:
            skip -= meta.row_group(first).num_rows
            first += 1
        groups, columns = [*range(first, meta.num_row_groups)], names[:MOST_COLUMNS]
        for batch in opened.iter_batches(size, groups, columns) if groups else ():
            part = batch.slice(min(skip, batch.num_rows), size - len(rows))
            rows += zip(*(column.to_pylist() for column in part.columns), strict=True)
            skip = max(0, skip - batch.num_rows)
            if len(rows) == size:
                break
    heads = ["index" if name.startswith("__index_level_") else name for name in columns]
    steps, plain = index[0] if index else None, {"name": None, "start": 0, "step": 1}
    if isinstance(steps, dict) and plain.items() - steps.items():
        heads.insert(0, steps["name"] or "index")
        numbers = count(steps["start"] + start * steps["step"], steps["step"])
        rows = [(number, *row) for number, row in zip(numbers, rows, strict=False)]
    return {"columns": heads, "rows": rows, "total": total, "wide": max(len(names), len(heads))}


def _csv(file: Path, start: int, size: int) -> Record:
    with file.open(encoding="utf-8", errors="replace", newline="") as opened:
        lines = csv.reader(opened)
        header = next(lines, [])
        rows = [*islice(lines, start, start + size + 1)]
    # One more tells that there is a next page.
    total = start + len(rows) if len(rows) <= size else None
    rows = [row[:MOST_COLUMNS] for row in rows[:size]]
    if header[:1] == [""]:
        header[0] = "index"
        if all(row[:1] == [str(n)] for n, row in enumerate(rows, start)):
            header, rows = header[1:], [row[1:] for row in rows]
    return {"columns": header[:MOST_COLUMNS], "rows": rows, "total": total, "wide": len(header)}


def text(record: Record) -> str:
    """Read the beginning of a text; "" where it is none."""
    file = local_file(record)
    with file.open("rb") as opened:
        data = opened.read(4 * LONGEST)
    if b"\0" in data:
        return ""
    found = data.decode(errors="replace")
    if suffix(record) == ".json" and len(data) < LONGEST:
        with suppress(ValueError, RecursionError):
            found = json.dumps(json.loads(found), indent=2, ensure_ascii=False)
    return f"{found[:LONGEST]}\n…" if len(found) > LONGEST else found
