"""Kedro hooks: when a run opens, what it records, how it ends."""

from __future__ import annotations

import atexit
import logging
import multiprocessing
import os
import signal
import sqlite3
import sys
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from inspect import isgeneratorfunction
from time import perf_counter
from types import FrameType
from typing import TYPE_CHECKING, Any

import click
from kedro.config import MissingConfigException
from kedro.framework import project as of_kedro
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol, DatasetError
from kedro.io.core import is_parameter
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from omegaconf.errors import InterpolationResolutionError

from .lazy import Lazy, ipython
from .text import show_all

# Kedro makes the hooks for each of its commands, of which few run a pipeline (law 7).
if TYPE_CHECKING:
    from . import project
    from .models import after_run
    from .runs import chain, log, pipeline_run, provenance, workers
    from .runs import dataset as entries
    from .runs import manager as run_manager
    from .secrets import known as secrets
else:
    project, secrets = Lazy(f"{__package__}.project"), Lazy(f"{__package__}.secrets.known")
    after_run = Lazy(f"{__package__}.models.after_run")
    rooms = ("chain", "dataset", "log", "manager", "pipeline_run", "provenance", "workers")
    chain, entries, log, run_manager, pipeline_run, provenance, workers = (
        Lazy(f"{__package__}.runs.{room}") for room in rooms
    )

# What a person calls it, and what Python does on it where nobody says otherwise.
SIGNALS: dict[int, tuple[str, Any]] = {
    signal.SIGINT: ("Ctrl-C", signal.default_int_handler),
    signal.SIGTERM: ("SIGTERM", signal.SIG_DFL),
}
RUN_ID = "mlrun_run_id"  # an attribute of a run's catalog, in its worker processes too


class RecordingError(click.ClickException):
    """A run can't be recorded: one line for the user of Kedro."""

    def __init__(self, reason: BaseException) -> None:
        super().__init__(
            f"The run can't be recorded: {str(reason).rstrip('.')}. Correct that, or run without "
            "a record: `tracking: {enabled: false}` in mlrun.yml."
        )


class _Thread(threading.local):
    """What one thread is at: by node, for a node may run a session of its own."""

    def __init__(self) -> None:
        self.next_run: pipeline_run.PipelineRun
        self.started: dict[str, float] = {}
        self.catalogs: dict[str, CatalogProtocol] = {}


class MLRunHooks:
    """Makes each run of a Kedro pipeline a run in MLRun, named after the pipeline.

    Example:
        In settings.py:

        ```python
        HOOKS = (MLRunHooks(),)
        ```
    """

    def __init__(self) -> None:
        self._tracking: project.TrackingConfig
        self._runs: dict[str, pipeline_run.PipelineRun] = {}
        self._stopped_by = ""
        self._thread = _Thread()
        self._load_seconds: dict[tuple[str, str, int], float] = {}
        os.register_at_fork(after_in_child=self._leave_to_parent)

    # After other hooks, which may bring resolvers and credentials.
    @hook_impl(trylast=True)
    def after_context_created(self, context: KedroContext) -> None:
        """Take over mlrun.yml, and give each MLRun dataset its catalog name as key."""
        show_all(sys.stdout)  # where Kedro logs to as well
        loader, manager = project.prepared(context.config_loader), run_manager.MLRunContextManager()
        config = project.MLRunConfig.load(loader, context.project_path)
        manager.configure(config, context.project_path)
        self._tracking = config.tracking
        secrets.allow(config.tracking.not_secret)
        project.register_env_files(context.project_path)
        parts = {kind: _read(loader, kind) for kind in ("credentials", "parameters", "catalog")}
        for kind, part in parts.items():
            # A catalog entry names its credentials, and the name is no secret.
            values = _without_names_of_credentials(part) if kind == "catalog" else part
            secrets.register(values, everything=kind == "credentials")
        secrets.install()
        if catalog := parts["catalog"]:
            catalog = entries.with_inputs(catalog, manager.job_inputs, manager.fetch_input)
            # A dataset isn't told its name, and an entry made from a pattern has it only then. So
            # the name goes where Kedro reads the catalog from, which fills in a pattern's braces.
            loader["catalog"] = {name: with_key(name, entry) for name, entry in catalog.items()}

    @hook_impl
    def after_catalog_created(
        self, conf_catalog: dict[str, Any], parameters: dict[str, Any]
    ) -> None:
        """Learn what the run that is about to begin has to work with."""
        secrets.register(parameters["parameters"])
        self._thread.next_run = pipeline_run.PipelineRun(self._tracking, parameters, conf_catalog)

    # These three are around the same hooks of other plugins, whose errors are the run's.
    @hook_impl(wrapper=True)
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> Generator[None, Any, Any]:
        """Open the run."""
        self._begin(run_params, pipeline, catalog)
        try:
            return (yield)
        except Exception as error:
            self._end_failed(_run_id(catalog), error)
            raise

    def _begin(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        manager = run_manager.MLRunContextManager()
        entries.check_used(manager.job_inputs, pipeline.inputs())
        # They are of this run, and not of one that a node of it may start.
        manager.job_inputs = {}
        ours: dict[str, entries.RunDataset] = {}
        for name in pipeline.datasets():
            if dataset := entries.run_dataset(catalog.get(name, fallback_to_runtime_pattern=True)):
                ours[name] = dataset
        if ours and chain.chain_id():
            read = {name: ours[name] for name in sorted(ours.keys() & pipeline.inputs())}
            chain.tie(read, self._thread.next_run.catalog, manager)
        saved = {name: ours[name] for name in ours.keys() & pipeline.all_outputs()}
        if not self._tracking.records(run_params.get("pipeline_names") or ["__default__"]):
            pipeline_run.leave_unrecorded(pipeline, catalog, saved)
            return
        entries.find_sources(saved, catalog)
        self._watch_for_interrupts()
        run = self._thread.next_run
        self._runs[run.run_id] = run
        setattr(catalog, RUN_ID, run.run_id)
        for dataset in ours.values():
            dataset.run_id = run.run_id
        with _in_one_line():
            try:
                run.begin(pipeline, run_params)
            except Exception as error:
                # Kedro tells of no error that comes before the first node.
                self._end_failed(run.run_id, error)
                raise

    @hook_impl
    def before_dataset_loaded(self, node: Node) -> None:
        """Start the clock."""
        self._thread.started[node.name] = perf_counter()

    @hook_impl
    def before_dataset_saved(self, dataset_name: str, node: Node) -> None:
        """Start the clock; a generator has run until it yields what is saved."""
        if isgeneratorfunction(node.func) and dataset_name == node.outputs[0]:
            self._note_run(node, self._thread.catalogs[node.name])
        self._thread.started[node.name] = perf_counter()

    @hook_impl
    def after_dataset_loaded(self, dataset_name: str, data: Any, node: Node) -> None:
        """Stop the clock."""
        # This hook isn't told which run it is in. The next one is, and has the very same object.
        self._load_seconds[node.name, dataset_name, id(data)] = self._seconds(node)

    @hook_impl
    def before_node_run(self, node: Node, catalog: CatalogProtocol, inputs: dict[str, Any]) -> None:
        """Note what was loaded, and start the node's clock."""
        if multiprocessing.parent_process():
            if (config := of_kedro.LOGGING).data is config:
                # Kedro 1.7 configures the log of a worker that isn't forked with itself, and the
                # worker's next node would fail on that. This one changes nothing.
                unchanged = {of_kedro.PACKAGE_NAME: dict[str, Any]()}
                config.data = {"version": 1, "incremental": True, "loggers": unchanged}
            # A worker that isn't forked knows no secrets yet. Data are never searched for them.
            secrets.register({name: inputs[name] for name in inputs if is_parameter(name)})
            secrets.install()
            run_id = _run_id(catalog)
            if run_id not in self._runs and (reference := workers.announced(run_id)):
                logging.getLogger().addHandler(log.of_worker(os.getpid(), reference.uid))
        log.take_thread(_run_id(catalog))
        for name, data in inputs.items():
            seconds = self._load_seconds.pop((node.name, name, id(data)), None)
            if not is_parameter(name):
                note = {"node": node.name, "action": "load", "dataset": name, "seconds": seconds}
                self._note_data(catalog, note, data)
        for name in node.outputs:
            if dataset := entries.run_dataset(catalog.get(name)):
                dataset.see(inputs)
        # Its saves happen in this thread.
        self._thread.catalogs[node.name] = catalog
        self._thread.started[node.name] = perf_counter()

    @hook_impl
    def after_node_run(self, node: Node, catalog: CatalogProtocol) -> None:
        """Note how long the node took, unless it begins now."""
        if not isgeneratorfunction(node.func):
            self._note_run(node, catalog)

    def _note_run(self, node: Node, catalog: CatalogProtocol) -> None:
        self._note(catalog, {"node": node.name, "action": "run", "seconds": self._seconds(node)})

    @hook_impl
    def on_node_error(self, node: Node, catalog: CatalogProtocol) -> None:
        """Note which node failed."""
        self._note(catalog, {"failed": node.name})

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any, node: Node) -> None:
        """Note what was saved."""
        seconds = self._seconds(node)
        note = {"node": node.name, "action": "save", "dataset": dataset_name, "seconds": seconds}
        self._note_data(self._thread.catalogs[node.name], note, data)
        self._thread.started[node.name] = perf_counter()

    def _seconds(self, node: Node) -> float:
        return perf_counter() - self._thread.started[node.name]

    def _note_data(self, catalog: CatalogProtocol, note: dict[str, Any], data: Any) -> None:
        if not _run_id(catalog):
            return  # of a run that isn't recorded; a file would be read for its hash
        name = note["dataset"]
        dataset = catalog.get(name)
        note |= provenance.size_of(dataset, data) | {"origin": provenance.origin_of(dataset)}
        recorded = self._note(catalog, note)
        if any(fnmatchcase(name, pattern) for pattern in recorded):
            saved = note["action"] == "save"
            pipeline_run.record_dataset(_run_id(catalog), name, dataset, data, saved)

    def _note(self, catalog: CatalogProtocol, note: dict[str, Any]) -> Sequence[str]:
        """Keep a note for the end of the run, and tell which datasets it records beside MLRun's."""
        run_id = _run_id(catalog)
        if run := self._runs.get(run_id):
            run.notes.append(note)
            return run.tracking.datasets
        if reference := workers.announced(run_id):
            workers.leave_note(reference.uid, note)
            return reference.datasets
        return ()

    @hook_impl(wrapper=True)
    def after_pipeline_run(self, catalog: CatalogProtocol) -> Generator[None, Any, Any]:
        """Complete the run, and show it."""
        try:
            answer = yield
        except Exception as error:
            self._end_failed(_run_id(catalog), error)
            raise
        run_id, manager = _run_id(catalog), run_manager.MLRunContextManager()
        context = manager.current_of(run_id) if run_id in self._runs else None
        with _in_one_line():
            self._end_run(run_id)
        if context and manager.models.promote_if_better:
            after_run.promote(context)
        return answer

    @hook_impl(wrapper=True)
    def on_pipeline_error(
        self, catalog: CatalogProtocol, error: Exception
    ) -> Generator[None, Any, Any]:
        """End the run as failed, and show it."""
        try:
            return (yield)
        finally:
            self._end_failed(_run_id(catalog), error)

    def _end_failed(self, run_id: str, error: Exception) -> None:
        try:
            if self._stopped_by:
                # Its worker processes were, too, and that is the error.
                self._end_run(run_id, aborted=f"It was stopped by {self._stopped_by}.")
            else:
                self._end_run(run_id, error)
        except Exception as failure:  # of a store that can't be written to
            logging.getLogger(__name__).warning(
                "The run's end isn't recorded: %s. Its record has what was saved before; to have "
                "all of it, run the pipeline again.",
                str(failure).rstrip("."),
            )
            # Another error of a node is its own, and Kedro shows it.
            if _of_store(error):
                raise RecordingError(error) from error

    def _end_run(self, run_id: str, error: BaseException | None = None, aborted: str = "") -> None:
        run = self._runs.pop(run_id, None)
        try:
            if run:
                run.end(error, aborted)
        finally:
            if not self._runs:
                self._stopped_by = ""
                self._set_signals(self._interrupt, None)

    def _watch_for_interrupts(self) -> None:
        """Let a run that is stopped from outside end as aborted."""
        atexit.unregister(self._at_exit)
        atexit.register(self._at_exit)
        if shell := ipython():  # there the process goes on
            shell.events.register("post_run_cell", self._after_cell)
        self._set_signals(None, self._interrupt)

    def _set_signals(self, before: Any, after: Any) -> None:
        """Let a handler take a signal from another one; None is Python's own."""
        # Only the main thread may do that. Kedro's server runs pipelines in others, and ends them.
        is_main = threading.current_thread() is threading.main_thread()
        for number, (_, default) in SIGNALS.items() if is_main else ():
            # Not from somebody else's, nor from none, as nohup wants it.
            if signal.getsignal(number) == (before or default):
                signal.signal(number, after or default)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        """Note the signal, and let the nodes' own clean-up and the end of the run take place."""
        self._stopped_by, default = SIGNALS[number]
        if any(run.side_by_side for run in self._runs.values()):
            logging.getLogger(__name__).warning(
                "%s: the run ends when the nodes that are at work have ended. "
                "To end it at once: kill -9 %s",
                self._stopped_by,
                os.getpid(),
            )
        if callable(default):
            default(number, frame)
        sys.exit(128 + number)

    def _leave_to_parent(self) -> None:
        """Forget, in a forked process, the runs of the one that it was forked from."""
        self._runs.clear()
        self._set_signals(self._interrupt, None)

    def _at_exit(self) -> None:
        self._end_unfinished(self._runs.values(), getattr(sys, "last_value", None))

    def _after_cell(self, result: Any) -> None:
        # Those of other threads go on.
        own = [run for run in self._runs.values() if run.thread is threading.current_thread()]
        self._end_unfinished(own, result.error_in_exec)
        ipython().events.unregister("post_run_cell", self._after_cell)

    def _end_unfinished(
        self, runs: Iterable[pipeline_run.PipelineRun], error: BaseException | None
    ) -> None:
        stopped = f"It was stopped by {self._stopped_by}." if self._stopped_by else ""
        # An error is of another hook, before the first node or after the last one.
        found = error if isinstance(error, Exception) and not stopped else None
        for run in [*runs]:
            reason = "" if found else stopped or "It was interrupted before its end."
            self._end_run(run.run_id, found, reason)


def _of_store(error: BaseException | None) -> bool:
    """Tell whether an error, or its cause, is one of the store; it raises MLRun's own."""
    if error is None:
        return False
    return type(error).__module__.startswith("mlrun.") or _of_store(error.__cause__)


@contextmanager
def _in_one_line() -> Iterator[None]:
    """Say in one line what keeps a run from being recorded."""
    try:
        yield
    except Exception as error:
        # No node is at work here, so that files and datasets are those of the store, too.
        of_store = _of_store(error) or isinstance(error, OSError | DatasetError | sqlite3.Error)
        if of_store and not isinstance(error, click.ClickException):
            raise RecordingError(error) from error
        raise


def _without_names_of_credentials(part: Any) -> Any:
    if not isinstance(part, dict):
        return part
    return {
        key: _without_names_of_credentials(value)
        for key, value in part.items()
        if not (key == "credentials" and isinstance(value, str))
    }


def _run_id(catalog: CatalogProtocol) -> str:
    return getattr(catalog, RUN_ID, "")  # which a run that isn't recorded hasn't


def _read(loader: Any, kind: str) -> Any:
    """Read a part of the configuration; a secret that it needs and that isn't there is named."""
    try:
        return loader[kind]
    except MissingConfigException:
        return {}
    except InterpolationResolutionError as error:
        # OmegaConf makes one of its own of each error of a resolver.
        found: BaseException | None = error
        while found and not isinstance(found, secrets.MissingSecretError):
            found = found.__context__
        raise found or error from None


def with_key(name: str, entry: Any) -> Any:
    """Give a catalog entry of an MLRun dataset its name as key, where it has none."""
    if isinstance(entry, dict) and entries.is_run_type(str(entry.get("type"))):
        # What follows an @ is Kedro's transcoding: the same data by another name.
        return {**entry, "key": entry.get("key") or name.partition("@")[0]}
    if isinstance(entry, dict) and "dataset" in entry:
        # One that wraps another, such as Kedro's CachedDataset.
        return {**entry, "dataset": with_key(name, entry["dataset"])}
    return entry
