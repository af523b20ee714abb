"""The index of what runs are chosen and sorted by: their parameters, results and labels.

It may name too many runs, never too few: whoever asks looks at each of them.
"""

import sqlite3
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from .fields import NOT_FINITE, TERMINAL_STATES, as_json, failure, run_fields, run_name, section

LONGEST, LONGEST_ERROR = 100, 1_000  # characters of a text that is kept, and of an error
ROUNDED = 0.01  # seconds by which SQLite's days are inexact
LOOK = "INSERT OR IGNORE INTO run_values SELECT id, 0, NULL FROM runs WHERE "
"""Lets a run be looked at whatever is asked, for not all that it has is known."""

# As SQLite sorts values of any type.
NUMBER, TEXT, NOTHING = "value < ''", "value >= '' AND value < x''", "value >= x''"
# Which may be True, False, NaN and infinity, and are no texts then.
WORDS = ("true", "false", "nan", *NOT_FINITE)
SHORTENED = ("id", "labels.git-commit")  # of which people see the beginning
ERROR = ""  # is the name of what a run has failed with, for no field has that


def write_values(connection: sqlite3.Connection, owner: int, run: Mapping[str, Any]) -> None:
    """Replace what is known of a run's record; while it goes on, that is nothing."""
    values = dict[str, Any]()
    if (run.get("status") or {}).get("state") in TERMINAL_STATES:
        places = ("spec", "parameters"), ("status", "results"), ("metadata", "labels")
        values = run_fields(*as_json([section(run, *place) for place in places]))
    kept = {name: _kept(value) for name, value in values.items() if is_text(name)}
    connection.execute("DELETE FROM run_values WHERE owner = ?", (owner,))
    if not kept or len(kept) < len(values):
        connection.execute(f"{LOOK} id = ?", (owner,))
    if error := headline(run):
        kept[ERROR] = error
    names = [(name,) for name in kept]
    connection.executemany("INSERT OR IGNORE INTO value_names (name) VALUES (?)", names)
    connection.executemany(
        "INSERT INTO run_values SELECT ?, id, ? FROM value_names WHERE name = ?",
        [(owner, value, name) for name, value in kept.items()],
    )


def headline(run: Mapping[str, Any]) -> str:
    """Give what is searched of a run's error: not the traceback, which names everything."""
    error = failure(run).partition("\n\n")[0][:LONGEST_ERROR]
    return error.encode(errors="replace").decode()


def _kept(value: Any) -> Any:
    """Give what is kept of a value: of None no number or text, NULL where one has to look."""
    # NaN is as little a number here as True is.
    if isinstance(value, bool) or value != value:  # noqa: PLR0124
        return str(value).lower()
    if isinstance(value, str):
        return value if len(value) <= LONGEST and is_text(value) else None
    if isinstance(value, int):
        return value if abs(value) < 2**63 else None
    return b"" if value is None else value if isinstance(value, float) else None


def is_text(text: str) -> bool:
    """Tell whether SQLite can be given a text; Python's may have halves of characters."""
    with suppress(UnicodeEncodeError):
        return bool(text.encode()) or not text
    return False


Matching = tuple[str, list[Any]]
"""A query for the ids of runs, by an index, with the values to bind."""


def comparing(names: Sequence[str], comparison: str, text: str, number: float | None) -> Matching:
    """Find what a comparison with a number, or with a text where that is None, may hold for.

    Of what has to be equal, both count.
    """
    if comparison == "!=" or not is_text(text):
        return _matching(names, ("1",))
    texts = text, text.lower()  # of which True and False are compared with the latter
    if comparison == "=":
        conditions: list[Any] = [("value IN (?, ?, ?)", *texts, _kept(number))]
        if {*names} & {*SHORTENED}:
            conditions.append(("value BETWEEN ? AND ?", text, text + chr(sys.maxunicode)))
        return _matching(names, *conditions)
    if number is not None:
        return _matching(names, (f"value {comparison} ? AND {NUMBER}", number))
    bound = (max if "<" in comparison else min)(texts)
    return _matching(names, (f"value {comparison} ? AND {TEXT}", bound))


COLUMNS = {"id": "uid BETWEEN ? AND ?", "name": "name IN (?, ?)", "state": "state IN (?, ?)"}
"""Which of a run's columns tell whether a field of its own may be equal to a text."""


def equal(field: str, text: str) -> Matching:
    """Find runs of which a field in `COLUMNS` may be equal to a text, or begin with it as an id."""
    # A name of several pipelines is shown with a plus.
    other = text + chr(sys.maxunicode) if field == "id" else run_name(text)
    query = "SELECT owner FROM run_values WHERE name = 0 UNION ALL SELECT id FROM runs WHERE "
    return query + COLUMNS[field], [text, other]


def timed(comparison: str, bound: datetime | float) -> Matching:
    """Find runs that began before or after a time, or may have taken less or more than seconds."""
    # What is before the mark is the place that a run has among others.
    value, bounds = "substr(start_time, instr(start_time, '~') + 1)", list[Any]()
    if isinstance(bound, datetime):
        bounds = [bound.astimezone(UTC).isoformat(timespec="microseconds")]
    else:
        value = f"coalesce((julianday(end_time) - julianday({value})) * 86400, ?)"
        bounds = [bound, bound + (ROUNDED if "<" in comparison else -ROUNDED)]
    return f"SELECT id AS owner FROM runs WHERE {value} {comparison} ?", bounds  # noqa: S608


def containing(text: str) -> Matching:
    """Find runs with a text in their name, id, state, error or another short text."""
    names, text = "SELECT id FROM value_names", text.lower()
    lower = "lower({})" if text.isascii() else "lower_all(CAST({} AS BLOB))"
    value, name = map(lower.format, ("value", "name"))
    # A column of `runs` in each query, for an index has it.
    return " UNION ALL ".join(
        [
            "SELECT owner FROM run_values WHERE name = 0",
            f"SELECT owner FROM run_values WHERE name IN ({names}) AND {TEXT}"  # noqa: S608
            f" AND instr({value}, ?)",
            *(f"SELECT id FROM runs WHERE instr({each}, ?)" for each in ("state", "uid")),  # noqa: S608
            f"SELECT id FROM runs WHERE instr({name}, ?)",  # noqa: S608
        ]
        # A name of several pipelines is shown with a plus.
    ), [text, text, text, text.replace("+", "-")]


def _matching(names: Sequence[str], *conditions: tuple[Any, ...]) -> Matching:
    select, values = "SELECT owner FROM run_values WHERE name", list[Any]()
    among = f"IN (SELECT id FROM value_names WHERE name IN ({', '.join('?' * len(names))}))"  # noqa: S608
    queries = [f"{select} = 0"]
    for condition, *bound in (*conditions, ("value IS NULL",)):
        queries.append(f"{select} {among} AND {condition}")
        values += [*names, *bound]
    return " UNION ALL ".join(queries), values
