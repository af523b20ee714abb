"""Starting a job: here by MLRun's local launcher, or where the run database has jobs run."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..lazy import mlrun
from ..runs.report import print_run
from ..text import nearest
from .checks import check
from .function import SubmitError
from .parameters import JobError, JobParameters
from .plan import Plan, make_plan, project_for
from .source import upload


def prepare(
    parameters: JobParameters,
    inputs: Mapping[str, str],
    source: str | None = "archive",
    name: str | None = None,
) -> Plan:
    """Make a job, and make sure that it can run; nothing is sent.

    `inputs` are other data for catalog entries: paths, URLs or `store://` URIs. `source` is
    `archive`, `git` or `image`, or None for a job in this process.
    """
    with project_for(parameters, source) as project:
        return check(make_plan(project, parameters, inputs, name))


def run_here(plan: Plan, show: bool = True) -> bool:
    """Run a job in this process by MLRun's local launcher, and tell whether it completed."""
    _quiet()
    try:
        plan.function.run(plan.task, local=True, watch=True)
        completed = True
    except mlrun.runtimes.utils.RunError:
        completed = False
    if show:
        print_run(plan.task.metadata.uid, plan.function.metadata.project)
    return completed


class _RefusedError(BaseException):
    """The run database refuses a job; MLRun's launcher would only log any other error."""


def submit(
    plan: Plan,
    schedule: str | None = None,
    retry: int = 0,
    notify: Sequence[tuple[str, Mapping[str, str]]] = (),
) -> str:
    """Send a job, and give its run's id; none for a schedule, each of whose runs gets its own.

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
    db: Any = mlrun.get_run_db()
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
        raise SubmitError(f"MLRun didn't take the job: {error}.") from error.__cause__
    except mlrun.runtimes.utils.RunError:
        # A job that was taken and has failed since tells that itself, in its run.
        pass
    finally:
        del db.submit_job
    return "" if schedule else str(plan.task.metadata.uid)


def _quiet() -> None:
    """Let MLRun not log what the user is told anyway, with tracebacks at that."""
    if "MLRUN_LOG_LEVEL" not in os.environ:
        mlrun.utils.logger.set_logger_level("CRITICAL")


def watch(uid: str, project: str) -> bool:
    """Print a job's log as it comes, and how it ended; tell whether it completed."""
    state, _ = mlrun.get_run_db().watch_log(uid, project)
    print_run(uid, project)
    return str(state) == "completed"


def schedules(project: str) -> list[dict[str, Any]]:
    """List the jobs that are run again and again, with the next run and the last one's state."""
    found = mlrun.get_run_db().list_schedules(project, include_last_run=True).schedules
    return [
        {
            "name": item.name,
            "schedule": item.cron_trigger.to_crontab(),
            "next": str(item.next_run_time or ""),
            "state": ((item.last_run or {}).get("status") or {}).get("state", ""),
        }
        for item in found
    ]


def remove_schedule(name: str, project: str) -> None:
    """Remove a schedule; its runs stay."""
    names = [item["name"] for item in schedules(project)]
    if name not in names:
        raise JobError(
            f"Project '{project}' has no schedule '{name}'. {nearest(name, names)}"
            "To list them: kedro mlrun schedules"
        )
    mlrun.get_run_db().delete_schedule(project, name)
