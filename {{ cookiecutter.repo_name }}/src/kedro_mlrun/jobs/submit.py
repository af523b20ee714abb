"""Starting a job: here by MLRun's local launcher, or where the run database has jobs run."""

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout, suppress
from typing import Any

import psutil

from ..lazy import mlrun
from ..runs.manager import MLRunContextManager
from ..store.context import is_tested
from ..store.fields import as_json
from ..store.rows import Record
from ..text import Visible
from . import background, handler
from .function import SubmitError, is_plain
from .parameters import JobError
from .plan import Plan
from .source import upload

HANDLER = f"{handler.__name__}.run"
Kinds = Sequence[tuple[str, Mapping[str, str]]]


def run_here(plan: Plan) -> bool:
    """Run a job in this process, and tell whether it completed."""
    manager = MLRunContextManager()
    if _needs_no_mlrun(plan):
        run, _ = _recorded(plan, "local")
        run["spec"]["output_path"] = manager.artifact_path
        return not handler.run_task(run, manager.store)
    _ = manager.project
    _quiet()
    with suppress(mlrun.runtimes.utils.RunError):
        mlrun.new_function(runtime=plan.function).run(plan.task, local=True, watch=True)
        return True
    return False


def wait_for(uid: str, project: str) -> bool:
    """Print a job's log as it comes, and tell whether the job completed."""
    stream: Any = Visible(sys.stdout)
    with redirect_stdout(stream):
        state, _ = MLRunContextManager().store.watch_log(uid, project)
    return str(state) == "completed"


class _RefusedError(BaseException):
    """The run database refuses a job; MLRun's launcher would only log any other error."""


def submit(plan: Plan, schedule: str | None = None, retry: int = 0, notify: Kinds = ()) -> None:
    """Send a job; each run of a schedule gets an id of its own.

    An MLRun API runs it on its cluster, the embedded store in a process of its own. `notify` are
    kinds of notification, such as `slack`, with their parameters in MLRun.
    """
    manager = MLRunContextManager()
    if schedule:
        try:
            mlrun.common.schemas.ScheduleCronTrigger.from_crontab(schedule)
        except ValueError as error:
            raise JobError(
                f"'{schedule}' is not a schedule ({error}). Write minute, hour, day of the month, "
                'month and day of the week, as in a crontab: "0 2 * * *" is each day at two.'
            ) from None
    if plan.project.archive:
        plan.give_source(upload(plan.project.archive, manager.artifact_path))
    if _needs_no_mlrun(plan) and not (schedule or retry or notify):
        # What MLRun's launcher does for a job of an embedded store, without MLRun (law 7).
        recorded = _recorded(plan)
        background.start(manager.store, *recorded, manager.artifact_path, by_mlrun=False)
    else:
        _launch(plan, schedule, retry, notify)


def _needs_no_mlrun(plan: Plan) -> bool:
    """Tell whether a job is started and recorded without MLRun: if it needs nothing special."""
    manager, spec = MLRunContextManager(), plan.function["spec"]
    env = (str(variable.get("name")) for variable in spec.get("env") or ())
    return (
        os.name == "posix"
        and manager.is_plain
        and is_tested()
        and "{{" not in manager.artifact_path
        and is_plain(plan.function)
        and spec.get("default_handler") == HANDLER
        and not any(name.startswith("MLRUN_") for name in env)
    )


def _recorded(plan: Plan, kind: str = "") -> tuple[Record, Record]:
    """Record a job's function; give its run and the function, of JSON's types alone."""
    db = MLRunContextManager().store
    # YAML knows dates, for example.
    run, function = as_json([plan.task, plan.function | ({"kind": kind} if kind else {})])
    name, project = function["metadata"]["name"], plan.project.name
    digest = db.store_function(function, name, project, versioned=True)
    # A container may run as a number that no user has.
    run["metadata"]["labels"] |= {"kind": function["kind"], "owner": psutil.Process().username()}
    run["spec"]["function"] = f"{project}/{name}@{digest}"
    run["metadata"] |= {"project": project}
    return run, function


def _launch(plan: Plan, schedule: str | None, retry: int, notify: Kinds) -> None:
    """Send a job by MLRun's launcher."""
    ended = {"when": ["completed", "error", "aborted"], "message": "The run has ended"}
    notifications = [
        # MLRun keeps these in a secret of the cluster, for they may be a webhook's address.
        mlrun.model.Notification(kind=kind, name=kind, secret_params=dict(params), **ended)
        for kind, params in notify
    ]
    retries = mlrun.model.Retry(count=retry) if retry else None
    _ = MLRunContextManager().project
    db, function = MLRunContextManager().run_db, mlrun.new_function(runtime=plan.function)
    _quiet()
    submit_job = db.submit_job

    def heard(*args: Any, **kwargs: Any) -> Any:
        try:
            return submit_job(*args, **kwargs)
        except Exception as error:
            raise _RefusedError(str(error).rstrip(".")) from error

    db.submit_job = heard
    try:
        how = {"schedule": schedule, "retry": retries, "notifications": notifications or None}
        function.run(plan.task, watch=False, **how)
    except _RefusedError as error:
        raise SubmitError(
            f"MLRun didn't take the job: {error}. Fix that, or ask who runs the MLRun API."
        ) from error.__cause__
    except mlrun.runtimes.utils.RunError:
        # A job that was taken and has failed since tells that itself, in its run.
        pass
    finally:
        del db.submit_job


def _quiet() -> None:
    """Let MLRun not say what the user is told anyway, with tracebacks at that."""
    if "MLRUN_LOG_LEVEL" not in os.environ:
        mlrun.utils.logger.set_logger_level("CRITICAL")
