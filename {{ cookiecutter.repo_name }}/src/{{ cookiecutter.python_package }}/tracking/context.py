"""The one place that opens, finds and closes MLRun's project and run."""

from __future__ import annotations

import atexit
import getpass
import os
import re
import sys
import uuid
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, ClassVar

from .config import MLRunConfig, find_config

if TYPE_CHECKING:
    import mlrun

DEFAULT_CONTEXT_NAME = "kedro-mlrun-ctx"
"""The name of a run that a notebook or a script opens by saving something."""

# A job finds its run in this variable from its first moment on. Later it may also be left over from
# a function that ran to its end in this process.
_IN_JOB = bool(os.environ.get("MLRUN_EXEC_CONFIG"))


class MLRunContextManager:
    """MLRun's project and run, one of each for the process.

    Example:
        ```python
        manager = MLRunContextManager()
        manager.project.list_runs()
        manager.context.log_result("accuracy", 0.9)
        ```

    The settings come from `conf/<env>/mlrun.yml`. What MLRun itself was told wins: `MLRUN_DBPATH`,
    `MLRUN_ACTIVE_PROJECT`, `MLRUN_ARTIFACT_PATH`, its environment file, `mlrun.set_environment`.
    """

    _instance: ClassVar[MLRunContextManager | None] = None

    lock: RLock
    """To be held while something is logged: MLRun's context is not made for several threads."""

    def __new__(cls) -> MLRunContextManager:
        """Give the process's one manager."""
        if cls._instance is None:
            cls._instance = super().__new__(cls)
            cls._instance._reset()
        return cls._instance

    def _reset(self) -> None:
        self.lock = RLock()
        self._config: MLRunConfig | None = None
        self._folder: Path | None = None
        self._applied: dict[str, str] = {}
        self._project: mlrun.MlrunProject | None = None
        self._project_of = ("", "")
        self._runs: list[mlrun.MLClientCtx] = []
        self._opened_by_use: mlrun.MLClientCtx | None = None

    def configure(self, config: MLRunConfig | None, folder: Path) -> None:
        """Take over settings. Without this, the first use looks for them in the project's files.

        Args:
            config: the settings; None for those of MLRun alone.
            folder: the folder of the Kedro project.
        """
        self._config = config
        self._folder = folder

    def _connect(self) -> None:
        """Point MLRun to the configured store and project, where it isn't told otherwise."""
        if self._folder is None:
            here = Path(__file__)
            self.configure(*find_config(Path.cwd() if "site-packages" in here.parts else here))
        import mlrun

        if "MLRUN_LOG_LEVEL" not in os.environ:
            # MLRun tells of each project that it loads; Kedro's log and our table say what matters.
            mlrun.utils.logger.set_logger_level("WARNING")
        if not self._config:
            return
        settings = {
            "dbpath": self._config.dbpath,
            "active_project": self._config.project,
            "artifact_path": self._config.artifact_path,
        }
        for name, value in settings.items():
            current = getattr(mlrun.mlconf, name)
            if not current or current == self._applied.get(name):
                setattr(mlrun.mlconf, name, value)
                self._applied[name] = value

    @property
    def location(self) -> str:
        """Project and store in words, for messages; without what a URL may hold of credentials."""
        import mlrun

        self._connect()
        store = re.sub(
            r"//[^/@]*@", "//", mlrun.mlconf.dbpath or "no store (MLRUN_DBPATH is not set)"
        )
        return f"project '{mlrun.mlconf.active_project}' of {store}"

    @property
    def project(self) -> mlrun.MlrunProject:
        """The MLRun project, which is created where the store has none of its name.

        Returns:
            MLRun's project object.

        Raises:
            MLRunMissingProjectError: neither mlrun.yml nor MLRun's settings name a project, or a
                store.
        """
        import mlrun

        with self.lock:
            self._connect()
            store, name = mlrun.mlconf.dbpath, mlrun.mlconf.active_project
            for value, what, where in (
                (name, "project", "MLRUN_ACTIVE_PROJECT, or `project` in mlrun.yml"),
                (store, "store", "MLRUN_DBPATH, or `dbpath` in mlrun.yml"),
            ):
                if not value:
                    raise mlrun.errors.MLRunMissingProjectError(
                        f"No MLRun {what} is named. Set {where}."
                    )
            if not self._project or self._project_of != (store, name):
                # Not the Kedro project's own folder, for MLRun records the git remote that it finds
                # there, and that may hold a password.
                folder = Path(self._folder or ".") / ".mlrun"
                project = mlrun.get_or_create_project(name, context=str(folder), save=False)
                if not project.metadata.created:
                    project = self._create(project)
                self._project, self._project_of = project, (store, name)
            return self._project

    @staticmethod
    def _create(project: mlrun.MlrunProject) -> mlrun.MlrunProject:
        import mlrun

        try:
            return project.save_to_db(store=False)
        except mlrun.errors.MLRunConflictError:
            # Another process was faster.
            return mlrun.get_run_db().get_project(project.metadata.name)

    @property
    def context(self) -> mlrun.MLClientCtx:
        """The context of the run that is going on.

        Inside an MLRun job this is the job's own. Where no run is going on, in a notebook or a
        script, one is opened, named by `MLRUN_CONTEXT_NAME`, and completed when the process ends.

        Returns:
            MLRun's execution context.
        """
        with self.lock:
            current = self.current
            if current is None:
                current = self._opened_by_use = self.open_run(DEFAULT_CONTEXT_NAME)
            return current

    @property
    def current(self) -> mlrun.MLClientCtx | None:
        """The context of the run that is going on, or None. Unlike `context`, this opens none."""
        import mlrun
        from mlrun.common.runtimes.constants import RunStates

        with self.lock:
            self._connect()
            current = mlrun.run.global_context.get()
            if current is not None and current.state in RunStates.terminal_states():
                # Of a function that ran to its end in this process.
                current = None
            if current is None and _IN_JOB and not self._runs:
                current = mlrun.get_or_create_ctx(DEFAULT_CONTEXT_NAME)
            return current or (self._runs[-1] if self._runs else None)

    @property
    def owns_run(self) -> bool:
        """Whether this manager opened the run that is going on, and so has to end it."""
        return bool(self._runs) and self.current is self._runs[-1]

    def open_run(self, name: str) -> mlrun.MLClientCtx:
        """Open a run, unless an MLRun job has opened one.

        Args:
            name: the run's name, where `MLRUN_CONTEXT_NAME` gives none. Characters that MLRun does
                not take become hyphens.

        Returns:
            The run's context. A run that this process had open goes on after `close_run`.
        """
        import mlrun

        with self.lock:
            current = self.current
            if current is not None and not self.owns_run:
                return current
            project = self.project.metadata.name
            uid = uuid.uuid4().hex
            spec = {
                "metadata": {
                    "name": run_name(os.environ.get("MLRUN_CONTEXT_NAME") or name),
                    "uid": uid,
                    "project": project,
                    "labels": {"owner": getpass.getuser()},
                },
                "spec": {"output_path": run_folder(mlrun.mlconf.artifact_path, uid)},
            }
            # With a spec, MLRun gives a new context even where it keeps that of an earlier run.
            context = mlrun.get_or_create_ctx(name, spec=spec)
            self._runs.append(context)
            atexit.unregister(self._close_at_exit)
            atexit.register(self._close_at_exit)
            return context

    def close_run(self, error: BaseException | None = None) -> None:
        """End the run that this manager opened last; a job's own run is left to MLRun.

        Args:
            error: what made the run fail; None for a run that completed.
        """
        import mlrun

        with self.lock:
            if not self.owns_run:
                if self.current is not None:
                    self.current.commit()
                return
            context = self._runs.pop()
            if error is None:
                context.commit(completed=True)
            else:
                context.set_state(error=str(error) or type(error).__name__, commit=False)
                context.commit()
            # MLRun forgets a context that completed, but keeps one that failed.
            mlrun.run.global_context.set(self._runs[-1] if self._runs else None)

    def _close_at_exit(self) -> None:
        while self.owns_run:
            error: BaseException | None = RuntimeError("The process ended before its run did.")
            if self._runs[-1] is self._opened_by_use:
                # What ended a script is in `last_value`; in a notebook that is any cell's error.
                error = None if hasattr(sys, "ps1") else getattr(sys, "last_value", None)
            self.close_run(error)


def run_name(name: str) -> str:
    """Make a name that MLRun takes for a run.

    Args:
        name: any text, such as the name of a Kedro pipeline.

    Returns:
        At most 63 letters, digits, dots, hyphens and underscores, a letter or digit at each end.

    Example:
        >>> run_name("__default__"), run_name("data science")
        ('default', 'data-science')
    """
    return re.sub(r"[^-A-Za-z0-9_.]+", "-", name)[:63].strip("-_.") or DEFAULT_CONTEXT_NAME


def run_folder(artifact_path: str, uid: str) -> str:
    """Give the folder that one run writes to and no other.

    Args:
        artifact_path: where artifacts are kept.
        uid: the run's id.

    Returns:
        The path with the run's id in it; absolute, unless it is a URL.

    Example:
        >>> run_folder("s3://bucket/artifacts", "1f0c")
        's3://bucket/artifacts/1f0c'
    """
    if "://" not in artifact_path:
        artifact_path = Path(artifact_path).absolute().as_posix()
    if uid in artifact_path or "{{run.uid}}" in artifact_path:
        return artifact_path
    return f"{artifact_path.rstrip('/')}/{uid}"
