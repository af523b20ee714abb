"""The one place that opens, finds and closes MLRun's project and run."""

from __future__ import annotations

import atexit
import getpass
import multiprocessing.util
import os
import re
import socket
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, ClassVar

from ..api import client as api
from ..project import JobsConfig, MLRunConfig, MLRunConfigError, find_config, mlrun_dbpath
from ..secrets.known import REDACTED, hide
from ..secrets.known import register as register_secrets
from ..store.fields import DEFAULT_CONTEXT_NAME, PROCESS, run_name
from ..store.files import run_folder
from ..store.process import is_alive, killed, process_label
from . import workers

if TYPE_CHECKING:
    import mlrun


CHAIN = "MLRUN_CHAIN_ID"
"""The environment variable with the id that ties separate runs together."""

CHAIN_PATTERN = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")

OURS = "opened_by_kedro_mlrun"
"""The attribute of contexts that this package has opened, and so has to end."""


# A job finds its run in this variable from its first moment on. Later it may also be left over from
# a function that ran to its end in this process.
_IN_JOB = bool(os.environ.get("MLRUN_EXEC_CONFIG"))


class RunStoppedError(RuntimeError):
    """A run was stopped from outside, so nothing more is recorded of it."""

    def __init__(self, message: str = "The run was stopped.") -> None:
        # Without an argument, for that is how it is raised in another thread.
        super().__init__(message)


@dataclass
class _OpenRun:
    context: mlrun.MLClientCtx
    run_id: str | None
    """Kedro's; None for a run that was opened by saving something."""
    owned: bool
    """False for the run of an MLRun job, which MLRun ends."""


class MLRunContextManager:
    """MLRun's project and runs, for the whole process.

    Example:
        ```python
        manager = MLRunContextManager()
        manager.project.list_runs()
        manager.context.log_result("accuracy", 0.9)
        ```

    The settings come from `conf/<env>/mlrun.yml`. What MLRun itself was told wins: `MLRUN_DBPATH`,
    `MLRUN_ACTIVE_PROJECT`, `MLRUN_ARTIFACT_PATH`, its environment file, `mlrun.set_environment`.

    A run of a Kedro pipeline is found by the id that Kedro gives it, also by the worker processes
    of `ParallelRunner`. Without an id it is the newest that is open.
    """

    _instance: ClassVar[MLRunContextManager | None] = None

    lock: RLock
    """To be held while something is logged: MLRun's context is not made for several threads."""

    recorded_error: BaseException | None
    """What made the last pipeline fail, once it is in the run's record."""

    failure: str
    """What the record says of that."""

    job_inputs: dict[str, str]
    """What the job's run that is about to begin has instead of the data of catalog entries."""

    def __new__(cls) -> MLRunContextManager:
        """Give the process's one manager."""
        if cls._instance is None:
            cls._instance = super().__new__(cls)
            cls._instance._reset()
            if hasattr(os, "register_at_fork"):
                os.register_at_fork(after_in_child=cls._instance._leave_to_parent)
        return cls._instance

    def _reset(self) -> None:
        self.lock = RLock()
        self.recorded_error = None
        self.failure = ""
        self.job_inputs = {}
        self._config: MLRunConfig | None = None
        self._folder: Path | None = None
        self._applied: dict[str, str] = {}
        self._reached = ""
        self._connected = False
        self._project: mlrun.MlrunProject | None = None
        self._project_of = ("", "")
        self._runs: list[_OpenRun] = []
        self._stopped: set[str | None] = set()

    def _leave_to_parent(self) -> None:
        """Forget, in a forked process, what belongs to the one that it was forked from."""
        self.lock = RLock()
        self._runs = []
        self._project = None
        mlrun = sys.modules.get("mlrun")
        if mlrun:
            mlrun.run.global_context.set(None)
            # A connection can't be shared with the parent.
            api.forget_connection()

    def configure(self, config: MLRunConfig | None, folder: Path) -> None:
        """Take over settings. Without this, the first use looks for them in the project's files.

        Args:
            config: the settings; None for those of MLRun alone.
            folder: the folder of the Kedro project.
        """
        self._config = config
        self._folder = folder

    def _connect(self, ask: bool = True) -> None:
        """Point MLRun to the configured store and project, where it isn't told otherwise."""
        self._find_config()
        parent = None if self._runs else workers.announced()
        mlrun_module = sys.modules.get("mlrun")
        told = mlrun_module.mlconf.dbpath if mlrun_module else mlrun_dbpath()
        store = (parent and parent.dbpath) or told or (self._config and self._config.dbpath) or ""
        if store and not store.startswith(STORES):
            raise MLRunConfigError(
                f"'{store}' is no run database. Set MLRUN_DBPATH, or `dbpath` in mlrun.yml, to "
                "http://…, https://… or sqlite:///PATH."
            )
        if ask and store != self._reached:
            # Before MLRun is imported, which connects at once, and waits for longer.
            register_secrets(store)
            api.check(store)
            self._reached = store
        import mlrun

        if "MLRUN_LOG_LEVEL" not in os.environ and not self._connected:
            # MLRun tells of each project that it loads; Kedro's log and our table say what matters.
            mlrun.utils.logger.set_logger_level("WARNING")
        self._connected = True
        settings = (
            {
                "dbpath": self._config.dbpath,
                "active_project": self._config.project,
                "artifact_path": self._config.artifact_path,
            }
            if self._config
            else {}
        )
        for name, value in settings.items():
            current = getattr(mlrun.mlconf, name)
            if not current or current == self._applied.get(name):
                setattr(mlrun.mlconf, name, value)
                self._applied[name] = value
        if parent:
            mlrun.mlconf.dbpath, mlrun.mlconf.active_project = parent.dbpath, parent.project

    def connect(self) -> str:
        """Make sure that the configured store can be used; nothing is written in it.

        Returns:
            The URL of the run database, which may hold credentials.

        Raises:
            APIUnreachableError: the MLRun API doesn't answer.
            MLRunConfigError: mlrun.yml can't be used, or names no run database.
        """
        self._connect()
        import mlrun

        mlrun.get_run_db()
        return str(mlrun.mlconf.dbpath)

    @property
    def db(self) -> Any:
        """MLRun's run database, connected, in which runs whose process was killed are aborted."""
        self.abort_lost_runs()
        import mlrun

        return mlrun.get_run_db()

    def _find_config(self) -> None:
        if self._folder is None:
            self.configure(*find_config())

    @property
    def jobs(self) -> JobsConfig:
        """How jobs are started, as mlrun.yml has it."""
        with self.lock:
            self._find_config()
            return self._config.jobs if self._config else JobsConfig()

    @property
    def location(self) -> str:
        """Project and store in words, for messages; without what a URL may hold of credentials."""
        self._connect(ask=False)
        import mlrun

        store = api.address(mlrun.mlconf.dbpath) or "no store (MLRUN_DBPATH is not set)"
        return f"project '{mlrun.mlconf.active_project}' of {store}"

    def adopt(self, context: mlrun.MLClientCtx) -> None:
        """Make an MLRun job's context the one that is logged to, wherever the job was started.

        `mlrun run --local` starts without a store where `MLRUN_DBPATH` isn't set; then the job is
        recorded in the project's own.

        Args:
            context: the job's context.
        """
        with self.lock:
            import mlrun

            if "://" not in mlrun.mlconf.dbpath:
                # What MLRun puts there where it is told nothing.
                mlrun.mlconf.dbpath = ""
            if context.project:
                # What mlrun.yml says of it may be older than the job.
                mlrun.mlconf.active_project = context.project
            project = self.project.metadata.name
            if isinstance(context._rundb, mlrun.db.nopdb.NopDB):
                # MLRun has no public way to give a job another store. Its launcher, which ends the
                # run and the sweep that it may be of, has this very one, which records nothing.
                store, nowhere = mlrun.get_run_db(), context._rundb
                nowhere.__class__, nowhere.__dict__ = type(store), store.__dict__
                context._project = context.project or project
                self.abort_lost_runs()
                if context.iteration:
                    _store_sweep(context)
                context.store_run()
            # Not later, for what the run loads from earlier ones becomes an input as well.
            self.job_inputs = dict(context.inputs)
            path = context.artifact_path or mlrun.mlconf.artifact_path
            context.artifact_path = run_folder(path, context.uid)
            # At once, so that it is known whose run it is if this process is killed.
            context.set_label(PROCESS, process_label())
            context.commit()

    def fetch_input(self, name: str) -> str:
        """Bring what an input of the MLRun job names to this machine.

        Args:
            name: the input's name.

        Returns:
            The path of the file.
        """
        import mlrun

        return str(mlrun.run.global_context.get().get_input(name).local())

    @property
    def embedded_store(self) -> str:
        """The URL of the embedded store: the configured one, also while an MLRun API is used."""
        mlrun = sys.modules.get("mlrun")
        for url in (mlrun and mlrun.mlconf.dbpath, self._config and self._config.dbpath):
            if url and url.startswith("sqlite:"):
                return str(url)
        return f"sqlite:///{(Path(self._folder or '.') / '.mlrun' / 'mlrun.db').as_posix()}"

    @property
    def project(self) -> mlrun.MlrunProject:
        """The MLRun project, which is created where the store has none of its name.

        Returns:
            MLRun's project object.

        Raises:
            MLRunMissingProjectError: neither mlrun.yml nor MLRun's settings name a project, or a
                store.
        """
        with self.lock:
            self._connect()
            import mlrun

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
            return self.current or self.open_run(DEFAULT_CONTEXT_NAME)

    @property
    def current(self) -> mlrun.MLClientCtx | None:
        """The context of the run that is going on, or None. Unlike `context`, this opens none."""
        return self.current_of(None)

    def current_of(self, run_id: str | None) -> mlrun.MLClientCtx | None:
        """Find a run that is going on.

        Args:
            run_id: the id that Kedro gave it; None for the newest run.

        Returns:
            The run's context, or None. In a worker process it is a copy that sends nothing.
        """
        with self.lock:
            self._connect()
            run = self._open_run_of(run_id)
            if run and run_id:
                return run.context
            reference = workers.announced(run_id)
            if reference:
                return _copy(reference)
            if run_id:
                return None
            return self._mlruns_own() or (run.context if run else None)

    def _open_run_of(self, run_id: str | None) -> _OpenRun | None:
        for run in reversed(self._runs):
            if run_id in {None, run.run_id}:
                return run
        return None

    def _mlruns_own(self) -> mlrun.MLClientCtx | None:
        """Give the context that MLRun has for this process, which may be one of ours, or None."""
        import mlrun
        from mlrun.common.runtimes.constants import RunStates

        current = mlrun.run.global_context.get()
        if current is not None and current.state in RunStates.terminal_states():
            # Of a function that ran to its end in this process.
            current = None
        if current is None and _IN_JOB and not self._runs:
            current = mlrun.get_or_create_ctx(DEFAULT_CONTEXT_NAME)
        ours = any(current is run.context for run in self._runs)
        if getattr(current, OURS, False) and not ours:
            # It was opened before `%reload_kedro`, which imports this package anew.
            self._runs.append(_OpenRun(current, None, owned=True))
        return current

    def has_open(self, run_id: str) -> bool:
        """Tell whether this process, and not its parent, has a run open.

        Args:
            run_id: the id that Kedro gave the run.

        Returns:
            True from `open_run` to `close_run`.
        """
        return self._open_run_of(run_id) is not None

    @contextmanager
    def recording(self, run_id: str | None = None) -> Iterator[mlrun.MLClientCtx]:
        """Give the context to log to, for as long as nobody else in this process logs.

        Args:
            run_id: the id that Kedro gave the run; None for the newest. Without a run that is
                going on, one is opened.

        Yields:
            The run's context. What a worker process logs to it is added to the run at the end.

        Raises:
            RunStoppedError: that run was stopped from outside.
        """
        with self.lock:
            if run_id and run_id in self._stopped:
                # A node in another thread may go on for a while.
                raise RunStoppedError
            self._connect()
            reference = None if self._open_run_of(run_id) else workers.announced(run_id)
            if reference is None:
                # What has ended doesn't change: its data sets save to the run that goes on now.
                yield self.current_of(run_id) or self.context
                return
            copy = _copy(reference)
            yield copy
            _add(copy, reference)

    def open_run(
        self,
        name: str,
        run_id: str | None = None,
        labels: dict[str, str] | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> mlrun.MLClientCtx:
        """Open a run, unless an MLRun job has opened one.

        Args:
            name: the run's name, where `MLRUN_CONTEXT_NAME` gives none. Characters that MLRun does
                not take become hyphens.
            run_id: the id that Kedro gives the run, for a run of a pipeline.
            labels: labels of the run, beside those of its owner, process, host and chain.
            parameters: parameters of the run.

        Returns:
            The run's context. A run that this process had open goes on after `close_run`.

        Raises:
            MLRunConfigError: `MLRUN_CHAIN_ID` can't be an id.
        """
        with self.lock:
            self._connect()
            labels = {**(labels or {}), PROCESS: process_label()}
            if chain_id():
                labels["workflow"] = chain_id()
            context = self._mlruns_own()
            owned = context is None or any(context is run.context for run in self._runs)
            if context is None or owned:
                context = self._new_context(name, labels, parameters or {})
            else:
                for label, value in labels.items():
                    # A chain that is given wins over the workflow; a process over its starter.
                    context.set_label(label, value, replace=label in {"workflow", PROCESS})
                # MLRun has no public way to add several at once. What the job was given stays as it
                # was, for MLRun may run it again; but no secret does.
                recorded = parameters or {}
                given = {
                    name: value
                    for name, value in context._parameters.items()
                    if recorded.get(name) != REDACTED
                }
                context._parameters = {**recorded, **given}
            self._runs.append(_OpenRun(context, run_id, owned))
            if run_id:
                import mlrun

                datasets = self._config.tracking.datasets if self._config else []
                reference = workers.RunReference(
                    context._uid,
                    context.project,
                    mlrun.mlconf.dbpath,
                    datasets,
                    context.iteration,
                )
                workers.announce(run_id, reference)
            atexit.unregister(self._close_at_exit)
            atexit.register(self._close_at_exit)
            if multiprocessing.parent_process():
                # These end without the functions of `atexit`.
                multiprocessing.util.Finalize(None, self._close_at_exit, exitpriority=0)
            return context

    def _new_context(
        self, name: str, labels: dict[str, str], parameters: dict[str, Any]
    ) -> mlrun.MLClientCtx:
        project = self.project.metadata.name
        import mlrun

        self._ask_again()
        self.abort_lost_runs()
        uid = uuid.uuid4().hex
        spec = {
            "metadata": {
                "name": run_name(os.environ.get("MLRUN_CONTEXT_NAME") or name),
                "uid": uid,
                "project": project,
                "labels": {"owner": _user(), **labels},
            },
            "spec": {
                "output_path": run_folder(mlrun.mlconf.artifact_path, uid),
                "parameters": parameters,
            },
        }
        # With a spec, MLRun gives a new context even where it keeps that of an earlier run.
        context = mlrun.get_or_create_ctx(name, spec=spec)
        setattr(context, OURS, True)
        return context

    def _ask_again(self) -> None:
        """Let a run that begins try an API again that an earlier run has lost."""
        import mlrun

        client = mlrun.get_run_db()
        if api.unsent(client):
            api.check(client.base_url)
            client.kept = None

    def merge_workers(self, run_id: str) -> list[dict[str, Any]]:
        """Take over what worker processes have added to a run.

        Args:
            run_id: the id that Kedro gave the run.

        Returns:
            The notes that they left.
        """
        import mlrun

        run = self._open_run_of(run_id)
        notes = workers.notes(run.context._uid) if run else None
        if run is None or notes is None:
            return []
        with self.lock:
            of_run = run.context._uid, run.context.project
            record = mlrun.get_run_db().read_run(*of_run, iter=run.context.iteration)
            run.context.log_results(record["status"].get("results") or {}, commit=False)
            for name, text in (record["metadata"].get("annotations") or {}).items():
                run.context.set_annotation(name, text)
            run.context.inputs.update(record["spec"].get("inputs") or {})
            # The run's own view of them; its property gives a copy.
            run.context._artifacts_manager.artifact_uris.update(
                record["status"].get("artifact_uris") or {}
            )
            # Read once: what a late worker may still add makes a new file.
            workers.remove(run.context._uid)
        return notes

    def add_input(self, key: str, uri: str, run_id: str | None = None) -> None:
        """Note that a pipeline's run uses an artifact of an earlier run.

        Args:
            key: the artifact's key.
            uri: its `store://` URI.
            run_id: the id that Kedro gave the run; without one nothing is noted, for whoever looks
                at data in a notebook runs nothing.
        """
        current = self.current_of(run_id) if run_id else None
        if current is None or current.inputs.get(key) == uri:
            return
        if key in current.inputs:
            key = f"{key}-{uri.rpartition('^')[2][:8]}"
        with self.recording(run_id) as context:
            # It is sent with what the run saves next, or at its end.
            context.inputs[key] = uri

    def close_run(
        self,
        error: BaseException | str | None = None,
        run_id: str | None = None,
        aborted: str = "",
    ) -> bool:
        """End a run; a job's own run is left to MLRun, unless it is aborted.

        Args:
            error: what made the run fail; None for a run that completed.
            run_id: the id that Kedro gave the run; None for the newest.
            aborted: why the run was ended from outside, where it was.

        Returns:
            Whether the run has ended.
        """
        with self.lock:
            run = self._open_run_of(run_id)
            if run is None:
                return False
            if aborted:
                self._stopped.add(run.run_id)
            return self._close(run, error, aborted)

    def _close(
        self, run: _OpenRun, error: BaseException | str | None = None, aborted: str = ""
    ) -> bool:
        import mlrun

        with self.lock:
            if run.run_id:
                self.merge_workers(run.run_id)
                workers.withdraw(run.run_id)
            self._runs.remove(run)
            context = run.context
            if error is not None and run.owned:
                context.set_state(error=hide(str(error)) or type(error).__name__, commit=False)
            context.commit(completed=run.owned and not (error or aborted))
            # A job ends with its process; a context that somebody made by hand may go on.
            is_job = context._uid in os.environ.get("MLRUN_EXEC_CONFIG", "")
            if aborted and (run.owned or is_job):
                # An iteration takes its sweep with it.
                for iteration in {0, context.iteration}:
                    db, uid = mlrun.get_run_db(), context._uid
                    _set_aborted(db, uid, context.project, aborted, iteration)
                context.set_state("aborted", commit=False)
            if run.owned:
                # MLRun forgets a context that completed, but keeps one that failed.
                newest = self._open_run_of(None)
                mlrun.run.global_context.set(newest.context if newest else None)
            return run.owned or (is_job and bool(aborted))

    def _close_at_exit(self) -> None:
        # What ended a script is in `last_value`; in a notebook that is any cell's error.
        error = None if hasattr(sys, "ps1") else getattr(sys, "last_value", None)
        for run in [run for run in reversed(self._runs) if run.run_id is None]:
            if isinstance(error, KeyboardInterrupt):
                self._close(run, aborted="It was stopped by Ctrl-C.")
            else:
                self._close(run, error)

    def abort_lost_runs(self, db: Any = None) -> None:
        """Set the runs to aborted whose process on this host was killed, also while it waited.

        Args:
            db: MLRun's run database; by default the configured one.
        """
        project, host = self.project.metadata.name, socket.gethostname()
        import mlrun

        db, states = db or mlrun.get_run_db(), ["running", "pending"]
        going_on = db.list_runs(
            project=project,
            labels=[f"host={host}", PROCESS],
            states=states,
            # Without it, MLRun lists the runs of one week.
            start_time_from=datetime(2000, 1, 1, tzinfo=UTC),
        )
        for run in going_on:
            labels = run["metadata"]["labels"]
            process, uid = labels.get(PROCESS, ""), run["metadata"]["uid"]
            # Older APIs give those of other states, too, or by labels that were changed since.
            is_ours = run["status"].get("state") in states and labels.get("host") == host
            if is_ours and not is_alive(process) and not _has_supervisor(db, uid, project):
                _set_aborted(db, uid, project, killed(process))
                workers.remove(uid)


STORES = ("sqlite:", "http://", "https://")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container may run as a number that no user has.
        return str(os.getuid())


# What a worker process may add to; each is a dict.
ADDED = ("metadata.annotations", "spec.inputs", "status.results", "status.artifact_uris")


def _store_sweep(context: mlrun.MLClientCtx) -> None:
    """Store the run that a run is one iteration of; MLRun updates it when all have ended."""
    run = context.to_dict()
    run["metadata"]["iteration"], run["spec"]["parameters"] = 0, {}
    run["metadata"]["labels"][PROCESS] = process_label()
    context._rundb.store_run(run, run["metadata"]["uid"], context.project, iter=0)


def _copy(reference: workers.RunReference) -> mlrun.MLClientCtx:
    """Make a context that knows of the run what the store knows now, and sends nothing."""
    import mlrun

    db = mlrun.get_run_db()
    record = db.read_run(reference.uid, reference.project, iter=reference.iteration)
    context = mlrun.MLClientCtx.from_dict(record, rundb=db, store_run=False, include_status=True)
    # A job's record has not the folder that `adopt` gives it.
    path = context.artifact_path or mlrun.mlconf.artifact_path
    context.artifact_path = run_folder(path, context.uid)
    # What it knows is out of date as soon as another worker adds to the run.
    context._rundb = None
    return context


def _add(copy: mlrun.MLClientCtx, reference: workers.RunReference) -> None:
    """Add to the run what was logged to a copy."""
    import mlrun
    from mlrun.utils import get_in

    db, struct = mlrun.get_run_db(), copy.to_dict()
    with workers.one_at_a_time(reference.uid):
        record = db.read_run(reference.uid, reference.project, iter=reference.iteration)
        updates = {
            field: {**(get_in(record, field) or {}), **(get_in(struct, field) or {})}
            for field in ADDED
        }
        db.update_run(updates, reference.uid, reference.project, iter=reference.iteration)


def _has_supervisor(db: Any, uid: str, project: str) -> bool:
    """Tell whether a process is there that records how a submitted job of this machine died."""
    from ..store.db import LocalRunDB

    return isinstance(db, LocalRunDB) and db.job_is_alive(uid, project)


def _set_aborted(db: Any, uid: str, project: str, reason: str, iteration: int = 0) -> None:
    record = db.read_run(uid, project, iter=iteration)
    now = datetime.now(UTC).isoformat()
    record["status"].pop("artifacts", None)
    record["status"].update(state="aborted", error=reason, status_text=reason, last_update=now)
    # Not by update_run, for MLRun's API aborts only what runs in the cluster.
    db.store_run(record, uid, project, iter=iteration)


def chain_id() -> str:
    """Give the id that ties this run to others, so that they share their artifacts.

    Returns:
        What `MLRUN_CHAIN_ID` holds; empty where it isn't set.

    Raises:
        MLRunConfigError: it can't be an id.

    Example:
        >>> chain_id()
        ''
    """
    value = os.environ.get(CHAIN, "")
    if value and not CHAIN_PATTERN.fullmatch(value):
        raise MLRunConfigError(
            f"The chain id '{value}' can't be a label of a run. Use at most 63 letters, digits, "
            "hyphens, underscores and dots, with a letter or digit at each end."
        )
    return value


@contextmanager
def in_chain(value: str | None) -> Iterator[None]:
    """Tie the runs of a `with` block to others.

    Args:
        value: the id that they share; without one, the environment's remains.

    Example:
        >>> with in_chain("monday"):
        ...     chain_id()
        'monday'
    """
    before = os.environ.get(CHAIN)
    if value:
        os.environ[CHAIN] = value
    try:
        yield
    finally:
        # Set back, for a notebook's process goes on.
        if before is not None:
            os.environ[CHAIN] = before
        else:
            os.environ.pop(CHAIN, None)
