"""The background jobs of a store that have not ended, in the order of submission."""

import shutil
import sqlite3
from pathlib import Path
from typing import cast

from .process import is_alive
from .sqlite import Database


class JobQueue(Database):
    """The queue of a store; a job is in it as long as its supervisor or its process is alive."""

    def add_job(self, uid: str, project: str, supervisor: str) -> int | None:
        """Add a job by its supervisor's label and give its number; None if it is in the queue."""
        if self.job_is_alive(uid, project):
            return None
        with self.transaction() as connection:
            # What is left of one that was killed.
            for row in self._jobs("project = ? AND uid = ?", project, uid):
                self._remove(connection, row["id"])
            cursor = connection.execute(
                "INSERT INTO jobs (project, uid, inode, supervisor) VALUES (?, ?, ?, ?)",
                (project, uid, self.inode(), supervisor),
            )
            return cast(int, cursor.lastrowid)

    def set_job_process(self, number: int, label: str) -> None:
        """Note the process of a job, which keeps its place if the supervisor is killed."""
        with self.transaction() as connection:
            connection.execute("UPDATE jobs SET process = ? WHERE id = ?", (label, number))

    def remove_job(self, number: int) -> None:
        """Take a job that has ended from the queue, and delete its folder."""
        with self.transaction() as connection:
            self._remove(connection, number)

    def jobs_ahead(self, number: int, at_once: int) -> int:
        """Count the jobs for which one has to wait if so many may run at once."""
        living, rows = 0, self._jobs("id < ?", number)
        for row in rows:
            if self._processes(row):
                living += 1
            else:
                self.remove_job(row["id"])
            # To ask for no more processes than needed, where many wait.
            if living == at_once:
                return len(rows) - at_once + 1
        return 0

    def job_processes(self, uid: str, project: str) -> dict[str, str]:
        """Give the labels of a job's living processes, its `supervisor` and its own `process`."""
        rows = self._jobs("project = ? AND uid = ?", project, uid)
        return self._processes(rows[0]) if rows else {}

    def job_is_alive(self, uid: str, project: str) -> bool:
        """Tell whether a background job waits, runs, or is being looked after at its end."""
        return bool(self.job_processes(uid, project))

    def job_folder(self, number: int) -> Path:
        """Give the folder that a job's source is unpacked to."""
        return self.path.parent / "jobs" / str(number)

    def _jobs(self, where: str, *values: object) -> list[sqlite3.Row]:
        query = f"SELECT * FROM jobs WHERE {where} ORDER BY id"  # noqa: S608
        return self.connection.execute(query, values).fetchall()

    def _processes(self, row: sqlite3.Row) -> dict[str, str]:
        if row["inode"] != self.inode():
            return {}
        names = ("supervisor", "process")
        return {name: row[name] for name in names if row[name] and is_alive(row[name])}

    def _remove(self, connection: sqlite3.Connection, number: int) -> None:
        connection.execute("DELETE FROM jobs WHERE id = ?", (number,))
        shutil.rmtree(self.job_folder(number), ignore_errors=True)
