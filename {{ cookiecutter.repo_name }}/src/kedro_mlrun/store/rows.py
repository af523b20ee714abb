"""Runs, artifacts and functions in the embedded store, as dicts of JSON's types.

It needs no MLRun. Queries are dicts of what MLRun's client calls the arguments of its lists.
"""

import json
import sqlite3
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .fields import artifact_uid
from .queries import Where, now, utc
from .sqlite import Database

Record = dict[str, Any]

LATEST = "latest"
TERMINAL_STATES = ("completed", "error", "aborted", "skipped")


class Rows(Database):
    """What is recorded in a store. What writes is called in a transaction."""

    def select(self, what: str, where: Where, tail: str = "") -> list[sqlite3.Row]:
        """Read rows; the texts are constants of this package, and values are bound."""
        query = f"SELECT {what} WHERE {where} {tail}"
        return self.connection.execute(query, where.values).fetchall()

    def delete(self, table: str, where: Where) -> None:
        """Delete rows."""
        self.connection.execute(f"DELETE FROM {table} WHERE {where}", where.values)  # noqa: S608

    def write(self, table: str, identity: Record, body: Record, **columns: Any) -> int:
        """Write a record whole, with its labels and its project if that isn't there; give its id."""
        self.insert_project({"metadata": {"name": identity["project"]}, "spec": {}})
        columns |= {"body": json.dumps(body)}
        changes = ", ".join(f"{column} = excluded.{column}" for column in columns)
        names, values = ", ".join(identity | columns), [*identity.values(), *columns.values()]
        ((owner,),) = self.connection.execute(
            f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(values))})"  # noqa: S608
            f" ON CONFLICT ({', '.join(identity)}) DO UPDATE SET {changes} RETURNING id",
            values,
        )
        self.write_pairs(f"{table[:-1]}_labels", "value", owner, body["metadata"].get("labels"))
        return int(owner)

    def write_pairs(self, table: str, column: str, owner: int, pairs: Record | None) -> None:
        """Replace the labels of a row, or what else it has by name."""
        self.delete(table, Where().add("owner = ?", owner))
        self.connection.executemany(
            f"INSERT INTO {table} (owner, name, {column}) VALUES (?, ?, ?)",  # noqa: S608
            [(owner, name, str(value)) for name, value in (pairs or {}).items()],
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

    def where(self, table: str, query: Record) -> Where:
        """Take from a query what all lists have: project, name and labels."""
        name = {_key(table): query.pop("name", None)}
        where = Where().equal(project=query.pop("project", None), **name)
        return where.labelled(table, query.pop("labels", None))

    def find_runs(self, query: Record) -> list[Record]:
        """List runs, newest start first."""
        where, uid = self.where("runs", query), query.pop("uid", None)
        where.equal(uid=uid, state=query.pop("states", None))
        if not query.pop("iter", False):
            # With the plus, SQLite takes the index that leads to the few runs of those ids.
            where.add("+iteration = 0" if uid else "iteration = 0")
        times = {"start_time": "start_time", "last_update_time": "updated", "end_time": "end_time"}
        for field, column in times.items():
            since, until = query.pop(f"{field}_from", None), query.pop(f"{field}_to", None)
            where.between(column, since, until)
        order = "start_time DESC, id DESC" if query.pop("sort", True) else "id"
        return self._find("runs", query, where, order)

    def find_artifacts(self, query: Record) -> list[Record]:
        """List artifacts' records, last updated first; one of several tags comes once for each."""
        project, name = query.get("project"), query.get("name") or ""
        tag, tree = query.pop("tag", None), query.pop("tree", None)
        where = self.where("artifacts", query).of_category(query.pop("category", None))
        where.between("updated", query.pop("since", None), query.pop("until", None))
        where.equal(iteration=query.pop("iter", None), kind=query.pop("kind", None), tree=tree)
        if query.pop("best_iteration", False):
            where.add("best_iteration")
        if part := query.pop("producer_uri", None):
            where.add("instr(producer_uri, ?)", part)
        key = "" if name.startswith("~") else name
        if tag and tag != "*":
            where.equal(tag=tag, tag_project=project, tag_key=key)
        # With the plus, SQLite does not walk along the times where another index leads to the few.
        order = f"{'+' if key or tag or tree else ''}updated DESC, id DESC, tag"
        return self._find("artifacts", query, where, order)

    def find_functions(self, query: Record) -> list[Record]:
        """List functions, last updated first; one of several tags comes once for each."""
        where, tag = self.where("functions", query), query.pop("tag", None)
        where.equal(kind=query.pop("kind", None), tag=tag, state=query.pop("states", None))
        where.between("updated", query.pop("since", None), query.pop("until", None))
        if tag == "*":
            where.add("tag IS NOT NULL")
        return self._find("functions", query, where, "updated DESC, id DESC, tag")

    def _find(self, table: str, query: Record, where: Where, order: str) -> list[Record]:
        what, source = "body", table
        if table != "runs":
            what, source = "body, tag", f"{table} LEFT JOIN {table[:-1]}_tags ON owner = id"
        limit, offset = query.pop("limit", -1), query.pop("offset", 0)
        by, direction = query.pop("partition_sort_by", None), query.pop("partition_order", "")
        rows, groups = query.pop("rows_per_partition", 1), query.pop("max_partitions", 0)
        if partition := query.pop("partition_by", None):
            columns = _key(table) if partition == "name" else f"project, {_key(table)}"
            # A run has no time of creation of its own: MLRun takes its start for it.
            created = "start_time" if table == "runs" else "created"
            by = created if by == "created" else "updated"
            where.first_of_each(source, columns, by, direction, rows, groups)
        for argument, value in query.items():
            if value:
                raise self.needs_api(f"'{argument}' of lists")
        tail = f"ORDER BY {order} LIMIT {limit:d} OFFSET {offset:d}"
        return [_record(*row) for row in self.select(f"{what} FROM {source}", where, tail)]

    def runs_beginning_with(self, uid: str, project: str, limit: int = 2) -> list[Record]:
        """List runs by the beginning of their ids, a question that MLRun's API can't be asked."""
        return self._beginning_with("runs", uid, project, limit, "iteration = 0")

    def artifacts_beginning_with(self, uid: str, project: str, limit: int = 2) -> list[Record]:
        """List artifacts' records by the beginning of their uids; the API can't be asked this."""
        return self._beginning_with("artifacts", uid, project, limit, "1")

    def _beginning_with(
        self, table: str, uid: str, project: str, limit: int, more: str
    ) -> list[Record]:
        where = Where().add("project = ?", project).add(more)
        where.add("uid >= ? AND uid < ?", uid, uid + chr(sys.maxunicode))
        rows = self.select(f"body FROM {table}", where, f"ORDER BY uid LIMIT {limit:d}")
        return [_record(*row) for row in rows]

    def runs_using(
        self, artifact_uid: str, project: str, limit: int = 20
    ) -> tuple[list[Record], int]:
        """List runs that have an artifact in `spec.inputs`, newest first; and count all of them."""
        # With the plus, SQLite takes the index that leads to the few runs.
        where = Where().add("+project = ? AND +iteration = 0", project)
        where.add("id IN (SELECT owner FROM run_inputs WHERE artifact_uid = ?)", artifact_uid)
        tail = f"ORDER BY start_time DESC, id DESC LIMIT {limit:d}"
        runs = [_record(*row) for row in self.select("body FROM runs", where, tail)]
        return runs, self.select("COUNT(*) AS number FROM runs", where)[0]["number"]

    def find_run(self, uid: str, project: str, iter: int = 0) -> Record:
        """Read a run."""
        where = Where().add("project = ? AND uid = ? AND iteration = ?", project, uid, iter)
        for row in self.select("body FROM runs", where):
            return _record(*row)
        raise self.missing(f"Run uid {uid} of project {project} not found")

    def artifacts_of(self, run: Record) -> list[Record]:
        """Read the artifacts' records that a run's `status.artifact_uris` names."""
        project = run["metadata"]["project"]
        uids = map(artifact_uid, (run["status"].get("artifact_uris") or {}).values())
        found = (
            self._artifact(Where().add("project = ? AND uid = ?", project, uid)) for uid in uids
        )
        return [record for record in found if record]

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
        end_time = status.get("end_time")
        owner = self.write(
            "runs",
            {"project": project, "uid": uid, "iteration": iteration},
            body,
            name=metadata.get("name") or "",
            state=state,
            start_time=utc(status["start_time"]),
            end_time=utc(end_time) if end_time else None,
            updated=utc(status["last_update"]),
        )
        inputs = (body.get("spec") or {}).get("inputs") or {}
        uids = {name: uid for name, uri in inputs.items() if (uid := artifact_uid(uri))}
        self.write_pairs("run_inputs", "artifact_uid", owner, uids)

    def end_run(
        self, uid: str, project: str, state: str, reason: str, *, replace: bool = False
    ) -> None:
        """End a run with its iterations, where its own process can't; `replace` also another end.

        Of a reason with several paragraphs, the first one is the `status_text`.
        """
        with self.transaction():
            where = Where().add("project = ? AND uid = ?", project, uid)
            for row in self.select("iteration, state, body FROM runs", where):
                whole = row["iteration"] == 0
                if row["state"] in TERMINAL_STATES and not (whole and replace):
                    continue
                body = _record(row["body"])
                text = reason.partition("\n\n")[0]
                body["status"].update(state=state, error=reason, status_text=text)
                self.write_run(body, uid, project, row["iteration"])

    def log_file(self, uid: str, project: str) -> Path:
        """Give the file with what a background job prints, whether there is one or not."""
        project, uid = (quote(name, safe="").replace(".", "%2E") for name in (project, uid))
        return self.path.parent / "logs" / project / f"{uid}.log"

    def read_log(self, uid: str, project: str, offset: int = 0, size: int | None = None) -> bytes:
        """Read the log of a run from a byte on; without a size, to its end."""
        where = Where().add("project = ? AND uid = ?", project, uid)
        log = b"".join(row["body"] for row in self.select("body FROM logs", where, "ORDER BY id"))
        text = log[offset : None if size is None else offset + size]
        # What a background job prints is in a file, and follows.
        with suppress(FileNotFoundError), self.log_file(uid, project).open("rb") as file:
            file.seek(max(0, offset - len(log)))
            text += file.read(-1 if size is None else size - len(text))
        return text

    def log_size(self, uid: str, project: str) -> int:
        """Give the size of a run's log in bytes, which may be more than fits into memory."""
        where, size = Where().add("project = ? AND uid = ?", project, uid), 0
        with suppress(FileNotFoundError):
            size = self.log_file(uid, project).stat().st_size
        return size + int(self.select("TOTAL(LENGTH(body)) FROM logs", where)[0][0])

    def find_artifact(self, query: Record) -> Record:
        """Read an artifact's record: the latest where neither tag, tree nor uid tells which.

        Iteration 0 is the run's own, or the best one where only iterations have the key.
        """
        key, project, iter = query["key"], query["project"], query.get("iter")
        tree, uid = query.get("tree"), query.get("uid")
        tag, where = query.get("tag") or (None if tree or uid else LATEST), Where()
        if tag and not (uid and tag == LATEST):
            where.tagged(tag, project, key)
        else:
            where.add("project = ? AND key = ?", project, key)
        where.equal(uid=uid, tree=tree, iteration=iter or None)
        if iter == 0:
            where.add("iteration = 0 OR best_iteration")
        if found := self._artifact(where, tag):
            return found
        parts = {"#": iter, ":": tag, "@": tree, "^": uid}
        name = "".join(f"{mark}{part}" for mark, part in parts.items() if part not in {None, ""})
        raise self.missing(f"Artifact {project}/{key}{name} not found")

    def _artifact(self, where: Where, tag: str | None = None) -> Record | None:
        # The run's own artifact before the best of its iterations, and of several the newest.
        tail = "ORDER BY iteration = 0 DESC, best_iteration DESC, updated DESC, id DESC LIMIT 1"
        rows = self.select("id, body FROM artifacts", where, tail)
        if not rows:
            return None
        owned = Where().add("owner = ?", rows[0]["id"])
        tags = self.select("tag FROM artifact_tags", owned, "ORDER BY tag = 'latest'")
        names = [row["tag"] for row in tags]
        return _record(rows[0]["body"], tag if tag in names else (names or [None])[0])


def _key(table: str) -> str:
    return "key" if table == "artifacts" else "name"


def _record(text: str, tag: Any = ...) -> Record:
    body: Record = json.loads(text)
    # The tags of artifacts and functions are kept beside them.
    if tag is not ...:
        body["metadata"]["tag"] = tag
    return body
