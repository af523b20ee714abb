"""Starting a job: here by MLRun's local launcher, or where the run database has jobs run."""

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout, suppress
from typing import Any

from ..lazy import mlrun
from ..runs.manager import MLRunContextManager
from ..text import Visible
from .function import SubmitError
from .parameters import JobError
from .plan import Plan
from .source import upload


def run_here(plan: Plan) -> bool:
    """Run a job in this process by MLRun's local launcher, and tell whether it completed."""
    _quiet()
    with suppress(mlrun.runtimes.utils.RunError):
        plan.function.run(plan.task, local=True, watch=True)
        return True
    return False


def wait_for(uid: str, project: str) -> bool:
    """Print a job's log as it comes, and tell whether the job completed."""
    stream: Any = Visible(sys.stdout)
    with redirect_stdout(stream):
        state, _ = MLRunContextManager().run_db.watch_log(uid, project)
    return str(state) == "completed"


class _RefusedError(BaseException):
    """The run database refuses a job; MLRun's launcher would only log any other error."""


def submit(
    plan: Plan,
    schedule: str | None = None,
    retry: int = 0,
    notify: Sequence[tuple[str, Mapping[str, str]]] = (),
) -> None:
    """Send a job; each run of a schedule gets an id of its own.

    An MLRun API runs it on its cluster, the embedded store in a process of its own. `notify` are
    kinds of notification, such as `slack`, with their parameters in MLRun.
    """
    if schedule:
        try:
            mlrun.common.schemas.ScheduleCronTrigger.from_crontab(schedule)
        except ValueError as error:
            raise JobError(
                f"'{schedule}' is not a schedule ({error}). Write minute, hour, day of the month, "
                'month and day of the week, as in a crontab: "0 2 * * *" is each day at two.'
            ) from None
    notifications = [
        mlrun.model.Notification(
            kind=kind,
            name=kind,
            when=["completed", "error", "aborted"],
            message="The run has ended",
            # MLRun keeps these in a secret of the cluster, for they may be a webhook's address.
            secret_params=dict(params),
        )
        for kind, params in notify
    ]
    if plan.project.archive:
        url = upload(plan.project.archive, mlrun.mlconf.artifact_path)
        plan.function.with_source_archive(url, workdir=plan.function.spec.workdir)
    _quiet()
    db = MLRunContextManager().run_db
    submit_job = db.submit_job

    def heard(*args: Any, **kwargs: Any) -> Any:
        try:
            return submit_job(*args, **kwargs)
        except Exception as error:
            raise _RefusedError(str(error).rstrip(".")) from error

    db.submit_job = heard
    try:
        plan.function.run(
            plan.task,
            watch=False,
            schedule=schedule,
            retry=mlrun.model.Retry(count=retry) if retry else None,
            notifications=notifications or None,
        )
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
