"""The queue of the background jobs that a store has."""

import shutil
import sqlite3
from pathlib import Path
from typing import cast

from .process import is_alive
from .rows import Rows, Where


class JobQueue(Rows):
    """The queue of a store; a job is in it as long as its supervisor or its process is alive."""

    def add_job(self, uid: str, project: str, supervisor: str) -> int:
        """Add a job that isn't in the queue, by its supervisor's label, and give its number."""
        for row in self.select("* FROM jobs", Where()):
            # Of one that was killed, or that the store was copied with.
            if not self._processes(row):
                self.remove_job(row["id"])
        with self.transaction() as connection:
            query = "INSERT INTO jobs (project, uid, inode, supervisor) VALUES (?, ?, ?, ?)"
            values = (project, uid, self.inode(), supervisor)
            return cast(int, connection.execute(query, values).lastrowid)

    def set_job_process(self, number: int, label: str) -> None:
        """Note the process of a job, which keeps its place if the supervisor is killed."""
        with self.transaction() as connection:
            connection.execute("UPDATE jobs SET process = ? WHERE id = ?", (label, number))

    def remove_job(self, number: int) -> None:
        """Take a job that has ended from the queue, and delete its folder."""
        with self.transaction():
            self.delete("jobs", Where("id = ?", number))
            shutil.rmtree(self.job_folder(number), ignore_errors=True)

    def jobs_ahead(self, number: int, at_once: int) -> int:
        """Count the jobs for which one has to wait if so many may run at once."""
        living, rows = 0, self.select("* FROM jobs", Where("id < ?", number), "ORDER BY id")
        for row in rows:
            living += bool(self._processes(row))
            # To ask for no more processes than needed, where many wait.
            if living == at_once:
                return len(rows) - at_once + 1
        return 0

    def job_processes(self, uid: str, project: str) -> dict[str, str]:
        """Give the labels of a job's living processes, its `supervisor` and its own `process`."""
        rows = self.select("* FROM jobs", Where("project = ? AND uid = ?", project, uid))
        return self._processes(rows[0]) if rows else {}

    def job_is_alive(self, uid: str, project: str) -> bool:
        """Tell whether a background job waits, runs, or is being looked after at its end."""
        return bool(self.job_processes(uid, project))

    def job_folder(self, number: int) -> Path:
        """Give the folder that a job's source is unpacked to; another store has other numbers."""
        return self.path.parent / "jobs" / f"{self.path.stem}-{number}"

    def _processes(self, row: sqlite3.Row) -> dict[str, str]:
        labels = {name: row[name] for name in ("supervisor", "process") if row[name]}
        mine = row["inode"] == self.inode()
        return {name: label for name, label in labels.items() if mine and is_alive(label)}
