"""Runs, artifacts and functions in the embedded store, as JSON's types.

It needs no MLRun. Queries are what MLRun's client calls the arguments of its lists.
"""

import json
import logging
import os
import sqlite3
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any, Self, cast
from urllib.parse import quote

from .errors import not_found
from .fields import PARENT, artifact_uid, moment, section
from .fields import TERMINAL_STATES as TERMINAL_STATES  # noqa: PLC0414 - others have it from here
from .sqlite import AT_WORK, Database
from .values import ERROR, LOOK, NOTHING, NUMBER, TEXT, WORDS, Matching, write_values

Record = dict[str, Any]
LATEST = "latest"
LOG = logging.getLogger(__name__)
UNREADABLE = (
    "%s '%s' (row %d) of %s can't be read, and is left out: %s. "
    "To see what else is damaged, and rescue the rest: kedro mlrun doctor --store"
)
FEW = 1_000  # runs that are found one by one; more are met on the way through all
MANY = 50_000  # ids of runs that SQLite can be given in a query

# The changes in the order in which they came.
CHANGES = (
    "*, (SELECT json_group_array(body) FROM "
    "(SELECT body FROM run_changes WHERE owner = runs.id ORDER BY id)) AS changes"
)

ORDERS = {
    "id": "uid",
    "name": "name",
    "state": "state",
    "started": "start_time",
    "took": "julianday(end_time) - julianday(start_time)",
}
"""What runs can be sorted by in SQL."""


def _order(sort: bool | str) -> str:
    field, _, ascending = str(sort).partition(" ")
    order = "start_time DESC, id DESC" if sort else "id"
    if by := ORDERS.get(field):
        order = f"{by} IS NULL, {by} {'ASC' if ascending else 'DESC'}, {order}"
    return order


def _change(body: Record, change: Record) -> None:
    for part, fields in change.items():
        for name, value in fields.items():
            if isinstance(value, dict):
                body[part].setdefault(name, {}).update(value)
            else:
                body[part][name] = value


class Where:
    """The conditions of one query with their bound values; None and "" are no condition."""

    def __init__(self, clause: str = "1", *values: Any) -> None:
        self.clauses = [clause]
        self.values = list(values)

    def __str__(self) -> str:
        return " AND ".join(f"({clause})" for clause in self.clauses)

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

    def labelled(self, table: str, labels: Any) -> Self:
        """Keep what has all of these labels, each `name`, `name=value` or parts, `~name=~value`."""
        if isinstance(labels, dict):
            labels = [n if value is None else f"{n}={value}" for n, value in labels.items()]
        elif isinstance(labels, str):
            labels = labels.split(",")
        for label in filter(None, labels or ()):
            name, equals, value = map(str.strip, label.partition("="))
            where = Where(f"owner = {table}.id").add(*_match("label.name", name))
            if equals:
                where.add(*_match("label.value", value))
            exists = f"EXISTS (SELECT 1 FROM {table[:-1]}_labels AS label WHERE {where})"  # noqa: S608
            self.add(exists, *where.values)
        return self


def _match(column: str, text: str) -> tuple[str, str]:
    part = f"instr(lower({column}), lower(?))"
    return (part, text[1:]) if text.startswith("~") else (f"{column} = ?", text)


def utc(time: datetime | str) -> str:
    """Write a time so that texts sort as times do."""
    return cast(datetime, moment(time)).astimezone(UTC).isoformat(timespec="microseconds")


def now() -> str:
    """Write the present time."""
    return utc(datetime.now(UTC))


class Rows(Database):
    """What is recorded in a store. What writes is called in a transaction."""

    def select(self, what: str, where: Where, tail: str = "") -> list[sqlite3.Row]:
        """Read rows; the texts are constants of this package."""
        query = f"SELECT {what} WHERE {where} {tail}"
        try:
            with AT_WORK:
                return self.connection.execute(query, where.values).fetchall()
        except sqlite3.DatabaseError as exc:
            self.say_if_damaged(exc)
            raise

    def delete(self, table: str, where: Where) -> None:
        """Delete rows."""
        names: list[sqlite3.Row] = []
        if table == "runs":
            own = Where(f"owner IN (SELECT id FROM runs WHERE {where})", *where.values)  # noqa: S608
            names = self.select("DISTINCT name FROM run_values", own)
        self.connection.execute(f"DELETE FROM {table} WHERE {where}", where.values)  # noqa: S608
        for (name,) in names:
            used = "SELECT 1 FROM run_values WHERE name = value_names.id"
            self.delete("value_names", Where(f"id = ? AND NOT EXISTS ({used})", name))

    def write(self, table: str, identity: Record, body: Record, **columns: Any) -> int:
        """Write a record whole, with its labels and a missing project; give its id."""
        self.insert_project({"metadata": {"name": identity["project"]}, "spec": {}})
        # UTF-8, also where Python takes the file system for one of ASCII.
        home = os.fsencode(self.path.parent).decode(errors="replace")
        self.connection.execute("INSERT OR IGNORE INTO homes (folder) VALUES (?)", (home,))
        columns |= {"body": self.places.dump(table, body)}
        changes = ", ".join(f"{column} = excluded.{column}" for column in columns)
        names, values = ", ".join(identity | columns), [*identity.values(), *columns.values()]
        ((owner,),) = self.connection.execute(
            f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(values))})"  # noqa: S608
            f" ON CONFLICT ({', '.join(identity)}) DO UPDATE SET {changes} RETURNING id",
            values,
        )
        labels = section(body, "metadata", "labels")
        self.write_pairs(f"{table[:-1]}_labels", "value", owner, labels)
        return int(owner)

    def write_pairs(self, table: str, column: str, owner: int, pairs: Record) -> None:
        """Replace the labels of a row, or what else it has by name."""
        self.delete(table, Where("owner = ?", owner))
        self.connection.executemany(
            f"INSERT INTO {table} (owner, name, {column}) VALUES (?, ?, ?)",  # noqa: S608
            [(owner, name, str(value)) for name, value in pairs.items()],
        )

    def insert_project(self, body: Record) -> bool:
        """Write a project unless there is one of its name, and tell whether there was none."""
        metadata = body["metadata"]
        metadata["created"] = metadata.get("created") or now()
        body.setdefault("status", {})["state"] = "online"
        cursor = self.connection.execute(
            "INSERT OR IGNORE INTO projects (name, created, body) VALUES (?, ?, ?)",
            (metadata["name"], str(metadata["created"]), json.dumps(body)),
        )
        return cursor.rowcount == 1

    def where(self, table: str, query: Record, few: int | None = None) -> Where:
        """Take from a query what several lists have: project, name, labels, `beginning` of ids.

        And of runs what they are `matching`.
        """
        key = "key" if table == "artifacts" else "name"
        matching = query.pop("matching", None) or ()
        owners, matching = self._few(matching, FEW if few is None else few)
        # With the plus, here and below, SQLite takes another index that leads to the few.
        project = "+project" if "using" in query or owners is not None else "project"
        where = Where().equal(**{project: query.pop("project", None), key: query.pop("name", None)})
        if beginning := query.pop("beginning", None):
            where.add("uid BETWEEN ? AND ?", beginning, beginning + chr(sys.maxunicode))
        if owners is not None:
            where.add(f"id IN ({', '.join(map(str, owners))})")
        for clause, values in matching:
            where.add(f"EXISTS (SELECT 1 FROM ({clause}) WHERE owner = runs.id)", *values)  # noqa: S608
        return where.labelled(table, query.pop("labels", None))

    def find_runs(self, **query: Any) -> list[Record]:
        """List runs, newest start first; `newest` of each name; `using` an artifact's uid."""
        # Of those that go on there are few, too: a lost one is looked for whenever a run begins.
        go_on = {*(query.get("states") or TERMINAL_STATES)}.isdisjoint(TERMINAL_STATES)
        few = go_on or query.keys() & {"uid", "using"}
        where = self.where("runs", query)
        where.equal(uid=query.pop("uid", None), state=query.pop("states", None))
        if using := query.pop("using", None):
            where.add("id IN (SELECT owner FROM run_inputs WHERE artifact_uid = ?)", using)
        if not query.pop("iter", False):
            where.add("+iteration = 0" if few else "iteration = 0")
        # What has come to a run that goes on is noted beside it.
        later = "id IN (SELECT owner FROM run_changes WHERE updated {} ?)"
        if at := query.pop("last_update_time_from", None):
            where.add(f"updated >= ? OR {later.format('>=')}", utc(at), utc(at))
        if at := query.pop("last_update_time_to", None):
            where.add(f"updated <= ? AND NOT {later.format('>')}", utc(at), utc(at))
        for column in ("start_time", "end_time"):
            for end, comparison in ("from", ">="), ("to", "<="):
                if at := query.pop(f"{column}_{end}", None):
                    # See `_place`. With both, an index leads to those that are late enough.
                    where.add(f"substr({column}, instr({column}, '~') + 1) {comparison} ?", utc(at))
                    if end == "from":
                        where.add(f"{column} >= ?", utc(at))
        if query.pop("newest", False):
            # Beside a maximum, SQLite gives the other columns of its row.
            newest = f"SELECT id, MAX(updated) FROM runs WHERE {where} GROUP BY project, name"  # noqa: S608
            where.add(f"id IN (SELECT id FROM ({newest}))", *where.values)  # noqa: S608
        return self.records("runs", where, _order(query.pop("sort", True)), **query)

    def count_runs(self, project: str) -> int:
        """Count the runs of a project, but for those that another one has started."""
        lacks = "NOT EXISTS (SELECT 1 FROM run_labels WHERE owner = runs.id AND name = ?)"
        where = Where("project = ? AND iteration = 0", project).add(lacks, PARENT)
        return int(self.select("count(*) FROM runs", where)[0][0])

    def _few(
        self, matching: Iterable[Matching], most: int
    ) -> tuple[set[int] | None, list[Matching]]:
        """Give the ids of the runs that match, as far as those are few, and what else has to."""
        few, others = None, list[Matching]()
        for query, values in matching:
            found = Where("1", *values)
            rows = self.select(f"DISTINCT owner FROM ({query})", found, f"LIMIT {most + 1}")
            if len(rows) > most:
                others.append((query, values))
            else:
                owners = {owner for (owner,) in rows}
                few = owners if few is None else few & owners
                most = len(few)  # for what holds for more of them is asked of these
        return few, others

    def run_fields(self, project: str) -> set[str]:
        """Give the fields that runs of a project are known to have."""
        own = "SELECT 1 FROM run_values AS own JOIN runs ON runs.id = own.owner"
        own += " WHERE own.name = value_names.id AND project = ? AND +iteration = 0"
        where = Where(f"EXISTS ({own})", project)
        return {name for (name,) in self.select("name FROM value_names", where)} - {ERROR}

    def run_values(
        self,
        names: Sequence[str],
        largest: bool,
        count: int,
        **query: Any,
    ) -> dict[str, Any]:
        """Give the ids of so many runs that come first by a field, the newest start first.

        Each has its value, of the first of these names that it has: b"" where there is none, and
        None or one of `WORDS` where one has to look at the run, which is then given in any case.
        """
        # All that match, for they are asked for several times.
        where = self.where("runs", query, few=MANY).equal(state=query.pop("states", None))
        where.add("iteration = 0")
        rows, found = self.select("* FROM value_names", Where().equal(name=[*names])), list[Any]()
        known = {row["name"]: row["id"] for row in rows}
        fields = [0, *(known[name] for name in names if name in known)]

        def find(source: str, condition: str, lacks: Sequence[int], order: str, most: int) -> None:
            own = Where(condition).add(str(where), *where.values)
            if others := ", ".join(map(str, lacks)):
                others = f"owner = runs.id AND name IN ({others})"
                own.add(f"NOT EXISTS (SELECT 1 FROM run_values WHERE {others})")  # noqa: S608
            tail = f"ORDER BY {order} start_time DESC, id DESC LIMIT {most:d}"
            found.extend(self.select(f"uid, start_time, id, {source}", own, tail))

        def find_all(part: str, order: str, most: int) -> None:
            join = "CROSS JOIN runs ON id = own.owner"  # it has to begin with the index
            for place, field in enumerate(fields):
                own = f"own.name = {field} AND {part}"
                find(f"value FROM run_values AS own {join}", own, fields[:place], order, most)

        # In the order of the index, so that only those are read that come first.
        find_all(NUMBER, by_value := f"value {'DESC' if largest else 'ASC'},", count)
        find_all(f"{TEXT} AND value NOT IN {WORDS}", by_value, count)
        if len(found) < count:
            find_all(NOTHING, by_value, count)
            find("x'' AS value FROM runs", "1", fields, "", count)
        for part in ("value IS NULL", f"value IN {WORDS}"):
            find_all(part, "", -1)
        found.sort(key=lambda row: (row["start_time"], row["id"]), reverse=True)
        return {row["uid"]: row["value"] for row in found}

    def find_artifacts(self, **query: Any) -> list[Record]:
        """List artifacts' records, last updated first; one of several tags comes once for each."""
        project, name, tag = query.get("project"), query.get("name") or "", query.pop("tag", None)
        key = "" if name.startswith("~") else name
        few = key or tag or query.keys() & {"tree", "uid", "beginning"}
        where = self.where("artifacts", query).equal(iteration=query.pop("iter", None))
        where.equal(**{name: query.pop(name, None) for name in ("uid", "tree", "kind")})
        if query.pop("best_iteration", False):
            where.add("best_iteration")
        if tag and tag != "*":
            where.equal(tag=tag, tag_project=project, tag_key=key)
        order = f"{'+' if few else ''}updated DESC, id DESC, tag"
        return self.records("artifacts", where, order, **query)

    def records(
        self, table: str, where: Where, order: str, limit: int = -1, offset: int = 0, **others: Any
    ) -> list[Record]:
        """Read records, those of artifacts and functions once for each tag, which is put in."""
        for argument in filter(others.get, others):
            raise self.needs_api(f"'{argument}' of lists")
        found = None
        while found is None:
            found = self._readable(table, where, order, f"LIMIT {limit:d} OFFSET {offset:d}")
        return found

    def _readable(self, table: str, where: Where, order: str, part: str) -> list[Record] | None:
        """Read records; None where some of them turn out to be none, for then others take part."""
        source = f"{CHANGES} FROM runs"
        if table != "runs":
            source = f"* FROM {table} LEFT JOIN {table[:-1]}_tags ON owner = id"
        broken = self.broken.setdefault(table, set())
        known, readable = len(broken), where
        if broken:
            # Also for pages, which begin where the one before ended. What is written anew has its
            # time.
            rows = ", ".join(["(?, ?)"] * known)
            readable = Where(str(where), *where.values)
            readable.add(f"(id, updated) NOT IN (VALUES {rows})", *chain(*broken))
        if table == "runs":
            # By their ids, or whole records would be sorted.
            ids = f"SELECT id FROM runs WHERE {readable} ORDER BY {order} {part}"  # noqa: S608
            readable, part = Where(f"id IN ({ids})", *readable.values), ""
        found = []
        for row in self.select(source, readable, f"ORDER BY {order} {part}"):
            try:
                body = self.places.load(table, row["body"])
                for text in json.loads(row["changes"]) if table == "runs" else ():
                    _change(body, json.loads(text))
                if table != "runs":
                    body = {**body, "metadata": {**body["metadata"], "tag": row["tag"]}}
                found.append(body)
            except ValueError as exc:
                name = row["key" if table == "artifacts" else "name"]
                # Once, also where it comes once for each of its tags.
                if (version := (row["id"], row["updated"])) not in broken:
                    LOG.warning(UNREADABLE, table[:-1], name, row["id"], self.path, exc)
                broken.add(version)
        return found if len(broken) == known else None

    def run(self, uid: str, project: str, iter: int = 0) -> Record | None:
        """Read a run, if there is one."""
        where = Where("project = ? AND uid = ? AND iteration = ?", project, uid, iter)
        found = self.records("runs", where, "id")
        return found[0] if found else None

    def find_run(self, uid: str, project: str, iter: int = 0) -> Record:
        """Read a run, which has to be there."""
        if run := self.run(uid, project, iter):
            return run
        raise not_found(f"Run uid {uid} of project {project} not found")

    def artifacts_of(self, run: Record) -> list[Record]:
        """Read the artifacts' records that a run's `status.artifact_uris` names."""
        uris = section(run, "status", "artifact_uris").values()
        uids = [*filter(None, map(artifact_uid, uris))]
        project, found = run["metadata"]["project"], dict[str, Record]()
        for item in self.find_artifacts(project=project, uid=uids) if uids else ():
            found.setdefault(item["metadata"]["uid"], item)
        return [found[uid] for uid in uids if uid in found]

    def write_run(self, body: Record, uid: str, project: str, iteration: int) -> None:
        """Write a run whole."""
        metadata, status = body.setdefault("metadata", {}), body.setdefault("status", {})
        metadata.update(uid=uid, project=project)
        metadata.setdefault("iteration", iteration)
        state = status.setdefault("state", "created")
        status["start_time"] = status.get("start_time") or now()
        status["last_update"] = now()
        if state in TERMINAL_STATES:
            status["end_time"] = status.get("end_time") or status["last_update"]
        end_time = utc(status["end_time"]) if status.get("end_time") else None
        identity = {"project": project, "uid": uid, "iteration": iteration}
        started = self._place(identity, utc(status["start_time"]))
        times = {"start_time": started, "updated": utc(status["last_update"])}
        others = {"name": metadata.get("name") or "", "state": state, "end_time": end_time}
        owner = self.write("runs", identity, body, **others, **times)
        inputs = section(body, "spec", "inputs").items()
        uids = {name: uid for name, uri in inputs if (uid := artifact_uid(uri))}
        self.write_pairs("run_inputs", "artifact_uid", owner, uids)
        self.delete("run_changes", Where("owner = ?", owner))
        write_values(self.connection, owner, body)

    def add_to_run(self, change: Record, uid: str, project: str, iteration: int) -> None:
        """Note what comes to a run's record: fields of its parts, of dicts what is new in them.

        Unlike writing the run, this takes no longer the more the record has.
        """
        query = "INSERT INTO run_changes (owner, updated, body) SELECT id, ?, ? FROM runs WHERE "
        where = Where("project = ? AND uid = ? AND iteration = ?", project, uid, iteration)
        values = (now(), json.dumps(change), *where.values)
        if not self.connection.execute(f"{query}{where}", values).rowcount:
            self.find_run(uid, project, iteration)  # which tells that there is none
        self.connection.execute(f"{LOOK}{where}", where.values)

    def run_version(self, uid: str, project: str, iteration: int) -> tuple[Any, ...]:
        """Give what changes with each change of a run's record; nothing if there is none."""
        where = Where("project = ? AND uid = ? AND iteration = ?", project, uid, iteration)
        change = "(SELECT max(id) FROM run_changes WHERE owner = runs.id)"
        return tuple(tuple(row) for row in self.select(f"updated, {change} FROM runs", where))

    def _place(self, identity: Record, started: str) -> str:
        """Give the text by which a run is sorted: its start, or `<start of another>~<its start>`.

        A clock that was set back must not put a run before those that began earlier. So a run that
        begins while the newest one is in the future, by this clock, takes that one's place.
        """
        [(known,)] = self.select("MAX(start_time) FROM runs", Where().equal(**identity))
        if known:
            place, mark, _ = known.partition("~")
        else:
            others = Where().equal(project=identity["project"], iteration=identity["iteration"])
            [(place,)] = self.select("MAX(start_time) FROM runs", others)
            mark, place = "~" if place and place > now() else "", (place or "").partition("~")[0]
        return f"{place}~{started}" if mark and started < place else started

    def end_run(
        self, uid: str, project: str, state: str, reason: str, replace: bool = False
    ) -> None:
        """End a run with its iterations, where its process can't; `replace` also another end."""
        text = reason.partition("\n\n")[0]
        with self.transaction():
            where = Where("project = ? AND uid = ?", project, uid)
            for row in self.select("iteration, state FROM runs", where):
                if row["state"] not in TERMINAL_STATES or (replace and row["iteration"] == 0):
                    body = self.find_run(uid, project, row["iteration"])
                    body["status"].update(state=state, error=reason, status_text=text)
                    self.write_run(body, uid, project, row["iteration"])

    def log_file(self, uid: str, project: str) -> Path:
        """Give the file with what a background job prints, whether there is one or not."""
        project, uid = (quote(name, safe="").replace(".", "%2E") for name in (project, uid))
        return self.path.parent / "logs" / project / f"{uid}.log"

    def read_artifact(
        self, key: str, project: str, tag: str = "", tree: str = "", uid: str = "", iter: Any = None
    ) -> Record:
        """Read an artifact's record: the latest where neither tag, tree nor uid tells which."""
        tag = tag or ("" if tree or uid else LATEST)
        where = Where("project = ? AND key = ?", project, key)
        if tag and not (uid and tag == LATEST):
            where = Where().equal(tag=tag, tag_project=project, tag_key=key)
        where.equal(uid=uid, tree=tree, iteration=iter or None)
        if iter == 0:  # the run's own, or the best where only iterations have the key
            where.add("iteration = 0 OR best_iteration")
        # The run's own artifact before the best of its iterations, and of several the newest.
        order = "iteration = 0 DESC, best_iteration DESC, updated DESC, id DESC, tag"
        for record in self.records("artifacts", where, order, limit=1):
            return record
        parts = zip("#:@^", (iter, tag, tree, uid), strict=True)
        uri = f"{project}/{key}{''.join(f'{sign}{part}' for sign, part in parts if part)}"
        raise not_found(f"Artifact {uri} not found")
