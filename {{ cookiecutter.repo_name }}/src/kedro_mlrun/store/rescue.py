"""What of a store can be read, row by row, and its copy in a new file."""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from .places import read
from .sqlite import SCHEME, Database, open_to_read
from .values import write_values

RECORDS = ("projects", "runs", "artifacts", "functions", "logs")
INDEX = ("run_values", "value_names")  # made of records


def examine(path: Path, copy: Database | None = None) -> tuple[Counter[str], list[str]]:
    """Count the rows of each table that can be read, and tell what is wrong with others.

    Those that can be read are copied, if there is a store to copy them to.
    """
    readable, problems = Counter[str](), list[str]()
    # Read only, for nothing in the file is to change.
    with closing(open_to_read(path)) as connection:
        try:
            told = connection.execute("PRAGMA integrity_check(9)").fetchall()
        except sqlite3.DatabaseError as exc:
            told = [(str(exc),)]
        problems += [line for (text,) in told if text != "ok" for line in text.splitlines()]
        query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
        try:
            tables = {name for (name,) in connection.execute(query)} - {"jobs", *INDEX}
        except sqlite3.DatabaseError as exc:
            return readable, [str(exc)]
        # Labels and tags after what they belong to: those of lost records are refused.
        for table in (*RECORDS, *sorted(tables.difference(RECORDS))):
            for number, row in _rows(connection, table):
                try:
                    _take(table, row, copy)
                    readable[table] += 1
                except (sqlite3.Error, ValueError) as exc:
                    known = row if isinstance(row, dict) else {}
                    name = known.get("uid") or known.get("name")
                    is_own = table in {*RECORDS, "run_changes"}
                    problems += [f"{table[:-1]} {name or number}: {exc}"] * is_own
    return readable, problems


def rescue(path: Path) -> Path:
    """Copy what can be read to a new store beside a damaged one, which stays as it is."""
    new = path.with_name(f"{path.stem}-rescued{path.suffix}")
    if new.exists():
        raise FileExistsError(f"{new} is there already. Move it away, and try again.")
    copy = Database(f"{SCHEME}:///{new.as_posix()}")
    with copy.transaction():
        examine(path, copy)
    # To be moved as one file.
    new.with_name(f"{new.name}-reserve").unlink(missing_ok=True)
    copy.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    copy.close()
    return new


def _rows(connection: sqlite3.Connection, table: str) -> Iterator[tuple[int, Any]]:
    """Give each row of a table, or the error that it is, with its number."""
    try:
        last = connection.execute(f"SELECT max(rowid) FROM {table}").fetchone()[0] or 0  # noqa: S608
    except sqlite3.DatabaseError:
        # The last page is damaged: as many as the file can hold.
        last = 100 * connection.execute("PRAGMA page_count").fetchone()[0]
    for number in range(1, last + 1):
        try:
            query = f"SELECT * FROM {table} WHERE rowid = ?"  # noqa: S608
            for row in connection.execute(query, (number,)):
                yield number, dict(row)
        except sqlite3.DatabaseError as exc:
            yield number, exc


def _take(table: str, row: Any, copy: Database | None) -> None:
    if isinstance(row, Exception):
        raise row
    if table == "run_changes":
        json.loads(row["body"])
    if table in RECORDS[:-1]:
        body = read(row["body"], table)
        row = {**row, "body": copy.places.portable(table, row["body"])} if copy else row
    if copy:
        query = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})"  # noqa: S608
        copy.connection.execute(query, [*row.values()])
        if table == "runs":
            write_values(copy.connection, row["id"], body)
