"""What MLRun runs: one job is one Kedro run, in the job's own MLRun context."""

import atexit
import contextlib
import io
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from ..lazy import mlrun, mlrun_loaded
from ..project import MLRunConfig, config_loader, current_project
from ..runs.chain import in_chain
from ..runs.manager import MLRunContextManager
from ..secrets.known import hide
from ..store.context import RunContext, new_record
from ..store.store import Store
from .parameters import JobError, JobParameters, check_names, given


class RunFailedError(Exception):
    """A run failed; the message is what its record says of that."""


def run(context: "mlrun.MLClientCtx") -> None:
    """Run Kedro in an MLRun job. function.yaml names this as its handler.

    The job's parameters `pipeline`, `env`, `tags`, `nodes`, `from_nodes`, `to_nodes`, `runner`,
    `load_versions` and `chain_id` say what of the project runs; each other one is a Kedro
    parameter, with dots for nested ones. Its inputs replace where catalog entries have their data
    from. What the nodes save in MLRun are the job's results and artifacts.

    Args:
        context: the job's context.

    Raises:
        JobError: a parameter or an input isn't known, or can't be used.
        RunFailedError: a node failed.

    Example:
        ```python
        function = mlrun.import_function("function.yaml")
        function.run(params={"pipeline": "training", "split.test_size": 0.3}, local=True)
        ```
    """
    manager = MLRunContextManager()
    with adopted(context) as (job, loader, session):
        try:
            check_names(job.nested, loader)
            with in_chain(job.chain_id or context.labels.get("workflow")), session:
                which = {"pipeline_names": job.pipeline or None, **job.filters}
                session.run(runner=runner(job.runner), load_versions=job.load_versions, **which)
        except Exception as error:
            if manager.recorded_error is not error:
                raise
            say_it_once()
            # Without the error as its cause, which MLRun would write down a second time.
            raise RunFailedError(manager.failure) from None


@contextlib.contextmanager
def adopted(context: "mlrun.MLClientCtx") -> Iterator[tuple[JobParameters, Any, Any]]:
    """Log to a job's context, and give what the job is told, the project's loader and a session."""
    folder = current_project()
    manager = MLRunContextManager()
    if copy := os.environ.get("MLRUN_META_TMPFILE"):
        # MLRun's launcher leaves it behind, for a parent process that isn't there.
        atexit.register(Path(copy).unlink, missing_ok=True)
    with contextlib.chdir(folder):
        # In the project's folder, for there Kedro looks for conf/logging.yml when it is imported.
        from kedro.framework.session import KedroSession

        try:
            job = JobParameters.of(given(context))
            loader = config_loader(folder, job.env, job.nested)
            manager.configure(MLRunConfig.load(loader, folder), folder)
        finally:
            # Also where what it is told can't be used, so that its record says so.
            manager.adopt(context)
        try:
            yield job, loader, KedroSession.create(folder, env=job.env, runtime_params=job.nested)
        finally:
            manager.job_inputs = {}


def main(task: dict[str, Any]) -> None:
    """Be the process of a job of an embedded store."""
    MLRunContextManager().printed_is_log = True
    if reason := run_task(task, Store(os.environ["MLRUN_DBPATH"])):
        # As `mlrun run` says it, and ends.
        sys.exit(f"Runtime error: {reason}")


def run_task(task: dict[str, Any], store: Store) -> str:
    """Run a job as MLRun does, which isn't imported for that (law 7), and say why it failed."""
    metadata, spec = task["metadata"], task["spec"]
    path, parameters = spec.pop("output_path"), spec.pop("parameters")
    connect = MLRunContextManager().connect
    context = RunContext.open(store, new_record(metadata, path, parameters, **spec), connect)
    from kedro.utils import load_obj

    try:
        load_obj(str(spec["handler"]))(context)
    except Exception as error:
        if not isinstance(error, RunFailedError | click.ClickException):
            traceback.print_exc()
        reason = hide(str(error)) or type(error).__name__
        context.set_state(error=reason)
        return reason
    context.commit()
    if context.state == "running":
        # MLRun's own context of a job, which a node may have used, leaves that to others.
        context.set_state("completed")
    # A node may have ended it by MLRun's own context.
    return context.error if context.state == "error" else ""


def say_it_once() -> None:
    """Let MLRun say why a run has failed in its last line alone; it logs and prints it thrice."""
    if mlrun_loaded() and "MLRUN_LOG_LEVEL" not in os.environ:
        logging.getLogger("mlrun").addFilter(_is_no_failure)
        # It prints an error there, and keeps sys.stderr under this name.
        mlrun.runtimes.utils.stderr = io.StringIO()


def _is_no_failure(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(("Execution error, ", "Exec error - "))


def runner(name: str | None) -> Any:
    """Make a runner of `kedro.runner`, or of the class at an import path; None without a name."""
    from kedro.runner import AbstractRunner
    from kedro.utils import load_obj

    if not name:
        return None
    try:
        found = load_obj(name, "kedro.runner")
        if not (isinstance(found, type) and issubclass(found, AbstractRunner)):
            raise ValueError("it is no subclass of Kedro's AbstractRunner")
        return found()
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise JobError(
            f"There is no runner '{name}' ({error}). Use SequentialRunner, ThreadRunner, "
            "ParallelRunner, or the import path of one of your own."
        ) from None
