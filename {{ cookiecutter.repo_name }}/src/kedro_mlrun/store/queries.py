"""Conditions of queries on the embedded store, and how times and labels are written in it."""

from datetime import UTC, datetime
from typing import Any, Self, cast

from .fields import moment

Labels = str | dict[str, str | None] | list[str] | None
Time = datetime | str | None

CATEGORIES = ("model", "dataset", "document", "llm-prompt")
"""The kinds of artifacts that are a category of their own; the others are "other"."""


class Where:
    """The conditions of one query with their bound values; None and "" are no condition."""

    def __init__(self) -> None:
        self.clauses: list[str] = []
        self.values: list[Any] = []

    def __str__(self) -> str:
        return " AND ".join(f"({clause})" for clause in self.clauses) or "1"

    def add(self, clause: str, *values: Any) -> Self:
        """Add a condition in SQL, a constant of this package, with the values to bind."""
        self.clauses.append(clause)
        self.values += values
        return self

    def equal(self, **columns: Any) -> Self:
        """Compare columns with values, with `~part` of one, or with a list; "*" is no condition."""
        for column, value in columns.items():
            if isinstance(value, str | int) and value not in {"", "*"}:
                self.add(*_match(column, str(value)))
            elif value and not isinstance(value, str):
                self.add(f"{column} IN ({', '.join('?' * len(value))})", *map(str, value))
        return self

    def of_category(self, category: str | None) -> Self:
        """Compare an artifact's kind with a category of MLRun's."""
        if category == "other":
            return self.add(f"kind NOT IN {CATEGORIES}")
        return self.equal(kind=category)

    def between(self, column: str, since: Time, until: Time) -> Self:
        """Compare a time, including both ends."""
        if since:
            self.add(f"{column} >= ?", utc(since))
        if until:
            self.add(f"{column} <= ?", utc(until))
        return self

    def tagged(self, tag: str | None, project: str, key: str | None = None) -> Self:
        """Keep the artifacts that have a tag."""
        if tag in {None, "", "*"}:
            return self
        tags = Where().equal(tag=tag, tag_project=project, tag_key=key)
        return self.add(f"id IN (SELECT owner FROM artifact_tags WHERE {tags})", *tags.values)  # noqa: S608

    def labelled(self, table: str, labels: Labels) -> Self:
        """Keep what has all of these labels, each `name`, `name=value` or parts, `~name=~value`."""
        for label in label_list(labels):
            name, equals, value = label.partition("=")
            where = Where().add(f"owner = {table}.id").add(*_match("label.name", name.strip()))
            if equals:
                where.add(*_match("label.value", value.strip()))
            exists = f"EXISTS (SELECT 1 FROM {table[:-1]}_labels AS label WHERE {where})"  # noqa: S608
            self.add(exists, *where.values)
        return self

    def first_of_each(
        self, source: str, columns: str, order: str, direction: str, rows: int, groups: int
    ) -> Self:
        """Keep the first rows of each group of those that match so far, and the newest groups."""
        direction = "ASC" if direction == "asc" else "DESC"
        ranked = (
            f"SELECT id, {columns}, ROW_NUMBER() OVER (PARTITION BY {columns}"  # noqa: S608
            f" ORDER BY {order} {direction}, id {direction}) AS position,"
            f" MAX({order}) OVER (PARTITION BY {columns}) AS newest FROM {source} WHERE {self}"
        )
        grouped = (
            "SELECT id, position, DENSE_RANK() OVER"  # noqa: S608
            f" (ORDER BY newest DESC, {columns}) AS number FROM ({ranked})"
        )
        kept = f"position <= {int(rows)} AND (number <= {int(groups)} OR NOT {int(groups)})"
        return self.add(f"id IN (SELECT id FROM ({grouped}) WHERE {kept})", *self.values)  # noqa: S608


def _match(column: str, text: str) -> tuple[str, str]:
    if not text.startswith("~"):
        return f"{column} = ?", text
    escaped = text[1:].replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"{column} LIKE ? ESCAPE '\\'", f"%{escaped}%"


def label_list(labels: Labels) -> list[str]:
    """List labels as `name` or `name=value`, however MLRun takes them."""
    if isinstance(labels, dict):
        return [name if value is None else f"{name}={value}" for name, value in labels.items()]
    if isinstance(labels, str):
        return [label.strip() for label in labels.split(",") if label.strip()]
    return labels or []


def utc(time: datetime | str) -> str:
    """Write a time so that texts sort as times do."""
    return cast(datetime, moment(time)).astimezone(UTC).isoformat(timespec="microseconds")


def now() -> str:
    """Write the present time."""
    return utc(datetime.now(UTC))
