"""The one place that opens, finds and closes MLRun's project and run."""

from __future__ import annotations

import atexit
import multiprocessing.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import RLock
from typing import Any, ClassVar

from ..api import client as api
from ..lazy import mlrun, mlrun_loaded
from ..project import (
    NOT_TOLD,
    JobsConfig,
    MLRunConfig,
    MLRunConfigError,
    ModelsConfig,
    find_config,
    mlrun_setting,
)
from ..secrets.known import register as register_secrets
from ..store.context import RunContext, is_tested
from ..store.fields import DEFAULT_CONTEXT_NAME, PROCESS, run_folder
from ..store.process import process_label
from ..store.sqlite import SCHEME
from ..store.store import Store
from . import open_runs, workers
from .chain import chain_id
from .log import RunLog
from .open_runs import Context, OpenRun, mlruns_own

# A job finds its run in this variable from its first moment on. Later it may also be left over from
# a function that ran to its end in this process.
_IN_JOB = bool(os.environ.get("MLRUN_EXEC_CONFIG"))
SETTINGS = ("dbpath", "active_project", "artifact_path")  # of MLRun, that mlrun.yml has, too
_UNSET = MLRunConfig.model_construct(project="", dbpath="", artifact_path="")


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
    A run of a pipeline is found by its id, also by the workers of `ParallelRunner`; without an id
    it is the newest that is open.
    """

    _instance: ClassVar[MLRunContextManager | None] = None

    def __new__(cls) -> MLRunContextManager:
        """Give the process's one manager."""
        if cls._instance is None:
            cls._instance = super().__new__(cls)
            cls._instance._begin()
        return cls._instance

    def _begin(self) -> None:
        # Held while something is logged: MLRun's context is not made for several threads.
        self.lock = RLock()
        # What made the last pipeline fail, once it is in the run's record, and what that says.
        self.recorded_error: BaseException | None = None
        self.failure = ""
        # What the job's run that is about to begin has instead of the data of catalog entries.
        self.job_inputs: dict[str, str] = {}
        # The record of the run that the one which is about to begin goes on with.
        self.resumes: dict[str, Any] | None = None
        self._config: MLRunConfig = _UNSET
        self._folder: Path | None = None
        self._applied: dict[str, str] = {}
        self._reached = ""
        self._projects: dict[tuple[str, str], mlrun.MlrunProject] = {}
        self._stores: dict[str, Store] = {}
        self._runs: list[OpenRun] = []
        self._copies: dict[str, Context] = {}  # in a worker, of its parent's runs, by their ids
        self._job: RunContext | None = None
        self.printed_is_log = _IN_JOB  # that of a job, which so has one
        self._stopped: set[str | None] = set()
        os.register_at_fork(after_in_child=self._leave_to_parent)
        atexit.register(self._close_at_exit)

    def _leave_to_parent(self) -> None:
        """Forget, in a forked process, what belongs to the one that it was forked from."""
        self.lock, self._runs, self._job, self._projects = RLock(), [], None, {}
        self._copies = {}
        if mlrun := mlrun_loaded():
            mlrun.run.global_context.set(None)
            # A connection can't be shared with the parent.
            api.forget_connection()

    def configure(self, config: MLRunConfig | None, folder: Path) -> None:
        """Take over settings that the first use would else look for in the project's files."""
        self._config, self._folder = config or _UNSET, folder

    def _settings(self) -> MLRunConfig:
        if self._folder is None:
            self.configure(*find_config())
        return self._config

    def told(self) -> tuple[str, str, str]:
        """Give the run database's URL, the project and the artifacts' place, as they are now."""
        config, loaded = self._settings(), mlrun_loaded()
        parent = None if self._runs else workers.announced()
        told = dict[str, str]()
        for name in SETTINGS:
            setting = mlrun_setting(f"MLRUN_{name.upper()}")
            current = str(getattr(loaded.mlconf, name) or "") if loaded else setting
            own = getattr(config, name.removeprefix("active_"))
            told[name] = own if current in {"", NOT_TOLD, self._applied.get(name)} else current
        if parent:
            told |= {"dbpath": parent.dbpath, "active_project": parent.project}
        store = told["dbpath"]
        if store and not store.startswith(("sqlite:", "http://", "https://")):
            raise MLRunConfigError(
                f"'{store}' is not a run database URL. Set MLRUN_DBPATH, or `dbpath` in mlrun.yml, "
                "to http://…, https://… or sqlite:///PATH."
            )
        return told["dbpath"], told["active_project"], told["artifact_path"]

    def _connect(self, ask: bool = True) -> None:
        """Point MLRun to the configured store and project where it isn't told otherwise."""
        told = self.told()
        if ask and told[0] != self._reached:
            # Before MLRun is imported, which connects at once, and waits for longer.
            register_secrets(told[0])
            api.check(told[0])
            self._reached = told[0]
            if "MLRUN_LOG_LEVEL" not in os.environ:
                # MLRun tells of each project that it loads; Kedro's log and our table say enough.
                mlrun.utils.logger.set_logger_level("WARNING")
        for name, value in zip(SETTINGS, told, strict=True):
            if getattr(mlrun.mlconf, name) != value:
                self._applied[name] = value
                setattr(mlrun.mlconf, name, value)

    @property
    def artifact_path(self) -> str:
        """Where artifacts are kept."""
        return self.told()[2]

    @property
    def is_plain(self) -> bool:
        """Tell whether runs are recorded without MLRun: on an embedded store, and in no job."""
        url, project, path = self.told()
        # What else MLRun may be told, it knows best.
        others = any(name in os.environ for name in ("MLRUN_CONFIG_FILE", "MLRUN_META_TMPFILE"))
        others = others or any(name.startswith("MLRUN_ARTIFACTS__") for name in os.environ)
        embedded = url.startswith(f"{SCHEME}:") and bool(project) and "://" not in path
        return embedded and not (_IN_JOB or others)

    def connect(self) -> str:
        """Make sure that the configured store can be used, and give its URL; nothing is written."""
        _ = self.run_db
        return str(mlrun.mlconf.dbpath)

    @property
    def run_db(self) -> Any:
        """MLRun's run database, connected."""
        # Before, MLRun would make one that records nothing, and keep it.
        self._connect()
        return mlrun.get_run_db()

    @property
    def db(self) -> Any:
        """MLRun's run database, in which runs whose process is gone are aborted."""
        self.abort_lost_runs()
        return self.run_db

    @property
    def store(self) -> Any:
        """The embedded store, without MLRun where that isn't imported; else MLRun's run database.

        It has those of MLRun's methods that datasets and runs need, with arguments by name.
        """
        if mlrun_loaded() or not self.is_plain:
            return self.run_db
        if (url := self.told()[0]) not in self._stores:
            self._stores[url] = Store(url)
        return self._stores[url]

    @property
    def project_name(self) -> str:
        """The name of MLRun's project."""
        if mlrun_loaded() or not self.is_plain:
            return str(self.project.metadata.name)
        return self.told()[1]

    def to_read(self) -> tuple[Any, str]:
        """Give what is asked for records, an embedded store without MLRun, and the project."""
        self.abort_lost_runs()
        return self.store, self.project_name

    def abort_lost_runs(self, db: Any = None) -> None:
        """Abort the runs whose process is gone, in the configured store or another one."""
        # First the project, which connects.
        project = self.project_name
        try:
            open_runs.abort_lost_runs(db or self.store, project)
        except mlrun.errors.MLRunRuntimeError:  # of a store that can only be read
            pass

    @property
    def jobs(self) -> JobsConfig:
        """How jobs are started, as mlrun.yml has it."""
        return self._settings().jobs

    @property
    def models(self) -> ModelsConfig:
        """What becomes of models after training, as mlrun.yml has it."""
        return self._settings().models

    @property
    def location(self) -> str:
        """Project and store in words, for messages; without what a URL may hold of credentials."""
        url, project, _ = self.told()
        return f"project '{project}' of {api.address(url) or 'no store (MLRUN_DBPATH is not set)'}"

    @property
    def embedded_store(self) -> str:
        """The URL of the embedded store: the configured one, also while an MLRun API is used."""
        loaded, own = mlrun_loaded(), Path(self._folder or ".") / ".mlrun" / "mlrun.db"
        urls = loaded and loaded.mlconf.dbpath, self._config.dbpath, f"sqlite:///{own.as_posix()}"
        return next(str(url) for url in urls if url and url.startswith("sqlite:"))

    @property
    def project(self) -> mlrun.MlrunProject:
        """The MLRun project, which is created where the store has none of its name."""
        with self.lock:
            self._connect()
            store, name = mlrun.mlconf.dbpath, mlrun.mlconf.active_project
            if not (name and store):
                raise mlrun.errors.MLRunMissingProjectError(
                    "No MLRun project, or no store of it, is named. Set MLRUN_ACTIVE_PROJECT and "
                    "MLRUN_DBPATH, or `project` and `dbpath` in mlrun.yml."
                )
            if (store, name) not in self._projects:
                own = str(self._folder or Path.cwd())
                # Not the Kedro project's own folder, for MLRun records the git remote that it finds
                # there, and that may hold a password. It needs no other one either.
                with TemporaryDirectory() as folder:
                    project = mlrun.get_or_create_project(name, context=folder, save=False)
                if not project.metadata.created:
                    try:
                        project = project.save_to_db(store=False)
                    except mlrun.errors.MLRunConflictError:
                        # Another process was faster.
                        project = mlrun.get_run_db().get_project(name)
                # There MLRun looks for the files that it is told of.
                project.spec.context = own
                self._projects[store, name] = project
            return self._projects[store, name]

    def adopt(self, context: Context) -> None:
        """Log to a job's context from now on, in the project's store if it is in none."""
        with self.lock:
            if isinstance(context, RunContext):
                self._job = context
            else:
                self._adopt_mlruns(context)
            # Not later, for what the run loads from earlier ones becomes an input as well.
            self.job_inputs = dict(context.inputs)
            context.artifact_path = run_folder(
                context.artifact_path or self.artifact_path, context.uid
            )
            # At once, so that it is known whose run it is if this process is killed.
            context.set_label(PROCESS, process_label())
            context.commit()

    def _adopt_mlruns(self, context: mlrun.MLClientCtx) -> None:
        if context.project:
            # What mlrun.yml says of it may be older than the job.
            mlrun.mlconf.active_project = context.project
        project = self.project.metadata.name
        if isinstance(context._rundb, mlrun.db.nopdb.NopDB):
            # `mlrun run --local` where MLRUN_DBPATH isn't set.
            context._project = context.project or project
            open_runs.store_in(self.db, context)
            # It is recorded, and MLRun would say a dozen times that it isn't.
            mlrun.mlconf.httpdb.nop_db.verbose = False
        # Where Dask runs it, MLRun doesn't say so itself.
        mlrun.run.global_context.set(context)

    def fetch_input(self, name: str) -> str:
        """Bring what an input of the job names to this machine, and give the file's path."""
        context = mlruns_own(self._job) or mlrun.run.global_context.get()
        return str(context.get_input(name).local())

    @property
    def context(self) -> mlrun.MLClientCtx:
        """MLRun's context of the run that is going on; inside an MLRun job this is the job's own.

        Where no run is going on, in a notebook or a script, one is opened, named by
        `MLRUN_CONTEXT_NAME`, and completed when the process ends.
        """
        return mlruns_own(self.context_of())

    @property
    def current(self) -> mlrun.MLClientCtx | None:
        """MLRun's context of the run that is going on, or None: unlike `context`, it opens none."""
        return mlruns_own(self.current_of())

    def current_of(self, run_id: str | None = None) -> Context | None:
        """Give what logs to a run that is going on; in a worker a copy that sends nothing."""
        with self.lock:
            run = self._open(run_id)
            if run_id and not (run or workers.announced(run_id)):
                # One that never began; a process that was stopped early may have no MLRun.
                return None
            if run is None and (reference := workers.announced(run_id)):
                return self._copy(reference)
            own = None if run_id else self._mlruns_own()
            return own or (run.context if run else None)

    def _open(self, run_id: str | None = None) -> OpenRun | None:
        """Find a run that this process, and not its parent, has open; by default the newest."""
        found = (run for run in reversed(self._runs) if run_id in {None, run.run_id})
        return next(found, None)

    def _mlruns_own(self) -> Context | None:
        """Give the context of this process's job, or that MLRun has for it, or None."""
        if self._job and self._job.state == "running":
            # Unless a node of it has opened another one.
            return self._runs[-1].context if self._runs else self._job
        if not (_IN_JOB or mlrun_loaded()):
            return None
        if not self._runs:
            self._connect()
        current = mlrun.run.global_context.get()
        for run in self._runs:
            if isinstance(run.context, RunContext) and run.context.is_of(current):
                return run.context
        if current and current.state in mlrun.common.runtimes.constants.RunStates.terminal_states():
            # Of a function that ran to its end in this process.
            current = None
        if current is None and _IN_JOB and not self._runs:
            current = mlrun.get_or_create_ctx(DEFAULT_CONTEXT_NAME)
        return current

    def _copy(self, reference: workers.RunReference) -> Context:
        """Give a worker's copy of its parent's run, as it is by now."""
        known = self._copies.get(reference.uid)
        if isinstance(known, RunContext):
            known.refresh()
            return known
        if not is_tested():
            self._connect()
        made = open_runs.copy_of(reference, self.store, self.told()[2], self._connect)
        self._copies[reference.uid] = made
        return made

    def share_runs(self) -> None:
        """Let MLRun, which has just been imported, have the run that is going on as its own."""
        # Without the lock, which may be held by who waits for this import.
        context = self._runs[-1].context if self._runs else self._job
        if context is None and (reference := workers.announced()):
            context = self._copy(reference)
        if context is not None:
            self._connect()
            mlrun.run.global_context.set(mlruns_own(context))

    def context_of(self, run_id: str | None = None, known: Context | None = None) -> Context:
        """Give what to log to: a context that is known, if its run hasn't ended since.

        Without a run that is going on, one is opened; one that was stopped can't be logged to.
        """
        with self.lock:
            # A worker has a copy, which has no connection.
            if has_ended := known is not None and known._rundb is not None:
                going_on = [run.context for run in self._runs] + [self._mlruns_own()]
                has_ended = all(known is not each for each in going_on)
            if has_ended or (run_id and run_id in self._stopped):
                # A node in another thread may go on for a while.
                raise RuntimeError("The run has ended. Nothing is saved to it any more.")
            # What has ended doesn't change: its datasets save to the run that goes on now.
            return known or self.current_of(run_id) or self.open_run(DEFAULT_CONTEXT_NAME)

    @contextmanager
    def recording(
        self, run_id: str | None = None, known: Context | None = None
    ) -> Iterator[Context]:
        """Give the context to log to, for as long as nobody else in this process logs."""
        with self.lock:
            context = self.context_of(run_id, known)
            if context._rundb is not None:
                yield context
                return
            # A worker's copy: what it adds depends on what others have added.
            with open_runs.up_to_date(context, self.store):
                yield context

    def open_run(
        self,
        name: str,
        run_id: str | None = None,
        labels: dict[str, str] | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> Context:
        """Open a run, unless an MLRun job has opened one, and give its context.

        `run_id` is that of a pipeline's run; `MLRUN_CONTEXT_NAME` wins over `name`.
        """
        with self.lock:
            is_plain = self.is_plain and is_tested()
            if not is_plain:
                self._connect()
            labels = {**(labels or {}), PROCESS: process_label()}
            if chain := chain_id():
                labels["workflow"] = chain
            context = self._mlruns_own()
            owned = context is None or any(context is run.context for run in self._runs)
            if context is None or owned:
                connect = self._connect if is_plain else None
                place = self.project_name, self.told()[2]
                if record := self.resumes:
                    self.resumes = None
                    context = open_runs.resumed(self.store, record, labels, connect)
                else:
                    context = open_runs.new_context(
                        self.store, place, name, labels, parameters or {}, connect
                    )
            else:
                open_runs.add_to_job(context, labels, parameters or {})
            self._runs.append(run := OpenRun(context, run_id, owned))
            if mlrun_loaded():
                self.share_runs()
            if run_id:
                where = context._uid, context.project, self.told()[0]
                datasets = self._config.tracking.datasets
                reference = workers.RunReference(*where, datasets, context.iteration)
                workers.announce(run_id, reference)
                if owned or (isinstance(context, RunContext) and not self.printed_is_log):
                    run.log = RunLog(context._uid, self.store, context, self.lock, run_id)
            if multiprocessing.parent_process():
                # These end without the functions of `atexit`.
                multiprocessing.util.Finalize(None, self._close_at_exit, exitpriority=0)
            return context

    @contextmanager
    def logging_to(self, context: Context, run_id: str | None) -> Iterator[None]:
        """Let a context have what a pipeline's run saves, such as that of an iteration of it."""
        with self.lock:
            self._runs.append(run := OpenRun(context, run_id, owned=False))
            try:
                yield
            finally:
                self._runs.remove(run)

    def add_input(self, key: str, uri: str, run_id: str | None = None) -> None:
        """Note that a pipeline's run uses an artifact of an earlier run."""
        with self.recording(run_id) as context:
            if context.inputs.get(key, uri) != uri:
                key = f"{key}-{uri.rpartition('^')[2][:8]}"
            # It is sent with what the run saves next, or at its end.
            context.inputs[key] = uri

    def close_run(
        self, error: BaseException | str | None = None, run_id: str | None = None, aborted: str = ""
    ) -> bool:
        """End a run, by default the newest, and tell whether it has ended.

        A job's own run is left to MLRun, unless it is `aborted`: why it was ended from outside.
        """
        with self.lock:
            run = self._open(run_id)
            if run is None:
                return False
            if aborted:
                self._stopped.add(run.run_id)
            if run.run_id:
                open_runs.merge_workers(run.context, self.store)
                if run.log:
                    run.log.end(str(error or aborted))
                workers.announce(run.run_id, None)
            self._runs.remove(run)
            ended = run.end(error, aborted, self.store)
            if run.owned and (loaded := mlrun_loaded()):
                # MLRun forgets a context that completed, but keeps one that failed.
                newest = self._open()
                loaded.run.global_context.set(mlruns_own(newest.context) if newest else None)
            return ended

    def _close_at_exit(self) -> None:
        # What ended a script is in `last_value`; in a notebook that is any cell's error.
        error = None if hasattr(sys, "ps1") else getattr(sys, "last_value", None)
        aborted = "It was stopped by Ctrl-C." if isinstance(error, KeyboardInterrupt) else ""
        while self._runs:
            self.close_run(None if aborted else error, aborted=aborted)
