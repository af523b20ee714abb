"""Starting a job: here by MLRun's local launcher, or where the run database has jobs run."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..project import config_loader
from ..runs import provenance as record
from ..runs.chain import chain_id
from ..runs.inputs import check_used, with_inputs
from ..runs.manager import MLRunContextManager
from ..runs.report import print_run
from ..secrets import known as secrets
from ..store.fields import run_name
from ..text import nearest
from . import doctor, image, source
from .function import load_function, on_cluster
from .groups import check_crossing, missing_inputs, mounted, with_later
from .handler import folder_of_project, runner
from .parameters import JobError, JobParameters, check_names, reason

if TYPE_CHECKING:
    import mlrun
    from kedro.framework.context import KedroContext
    from kedro.pipeline import Pipeline


LARGEST_TASK = 120_000
"""Bytes: a job gets its task as an environment variable, for which Linux has 128 KiB."""


class SubmitError(click.ClickException):
    """A job can't be started."""


@dataclass
class Plan:
    """A job that can be started: what is sent, and where to."""

    function: mlrun.runtimes.KubejobRuntime
    task: mlrun.run.RunTemplate
    archive: source.Archive | None

    def to_dict(self) -> dict[str, Any]:
        """Show what would be sent.

        Returns:
            `function`, `task`, and of the source's archive its `files` with their bytes, its
            `size` in bytes, its `digest`, and what was `left_out` and why.
        """
        shown = {
            "store": MLRunContextManager().location,
            "function": self.function.to_dict(),
            "task": self.task.to_dict(),
        }
        if self.archive:
            shown["source"] = {
                "digest": self.archive.digest,
                "size": self.archive.size,
                "files": dict(self.archive.files),
                "left_out": dict(self.archive.left_out),
            }
        return shown


def prepare(
    job: JobParameters,
    inputs: Mapping[str, str],
    kind: str | None = "archive",
    name: str | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Plan:
    """Make sure that a job can run, before anything is sent.

    Args:
        job: what the job is to run.
        inputs: other data for catalog entries: paths, URLs or `store://` URIs, by their names.
        kind: where the job has its source from: `archive`, `git` or `image`; None for a job in this
            process, which uses what is here.
        name: the run's name; by default that of its pipelines.
        overrides: what the function has otherwise than function.yaml, see `load_function`.

    Returns:
        What `submit` and `run_here` take.

    Raises:
        JobError: a pipeline, node, parameter, input or runner isn't known or can't be used.
        SubmitError: a job has no way to what it needs.
        FunctionError: function.yaml can't be used.
        SourceError: the source can't be sent.
        APIUnreachableError: the MLRun API doesn't answer.
    """
    MLRunContextManager().connect()
    with secrets.given_later(kind is not None and on_cluster()):
        return _prepared(job, inputs, kind, name, overrides)


def _prepared(
    job: JobParameters,
    inputs: Mapping[str, str],
    kind: str | None,
    name: str | None,
    overrides: Mapping[str, Any] | None,
) -> Plan:
    folder = folder_of_project()
    loader = config_loader(folder, job.env)
    check_names(job.runtime_params, loader)
    _check_secrets(job)
    runner(job.runner)
    context, pipeline = _pipeline(folder, job)
    function = load_function(folder, overrides)
    _check_env(function)
    import mlrun

    job_chain = job.chain_id or chain_id() or None
    parameters = {**job.to_dict(), **({"chain_id": job_chain} if job_chain else {})}
    archive = _set_source(function, folder, kind, context) if kind else None
    inputs = _checked_inputs(inputs, pipeline, context, folder, archive, mounted(function))
    task = mlrun.new_task(
        name=run_name(name or job.title),
        project=function.metadata.project,
        params=parameters,
        inputs=inputs,
        handler=function.spec.default_handler,
    )
    task.metadata.uid = uuid.uuid4().hex
    # Where the job runs there is no repository.
    task.metadata.labels.update(record.git_labels(folder))
    if archive:
        _check_data(function, pipeline, context, inputs, archive, folder, job.title)
    plan = Plan(function, task, archive)
    size = len(json.dumps(task.to_dict(), default=str))
    if kind and size > LARGEST_TASK:
        raise SubmitError(
            f"The job's parameters and inputs have {size:,} bytes, and no more than "
            f"{LARGEST_TASK:,} reach a job. Put what is large into a file of conf/base."
        )
    if secrets.line_with_secret(json.dumps(plan.to_dict(), default=str).encode()):
        raise SubmitError(
            "function.yaml or a parameter holds what is known as a secret, and everyone who sees "
            "the run could read it. Write ${mlrun.secret:NAME} in conf/base/credentials.yml."
        )
    return plan


def _check_secrets(job: JobParameters) -> None:
    for name in job.runtime_params:
        if secrets.is_secret(name):
            raise JobError(
                f"Parameter '{name}' seems to be a secret, and everyone who sees the run could "
                "read it. Write ${mlrun.secret:NAME} in conf/base/credentials.yml, and set NAME."
            )


def _check_env(function: mlrun.runtimes.KubejobRuntime) -> None:
    for variable in function.spec.env or []:
        name = variable.get("name", "") if isinstance(variable, dict) else ""
        if secrets.is_secret(str(name)) and variable.get("value"):
            raise SubmitError(
                f"function.yaml gives the environment variable '{name}' its value, which seems to "
                "be a secret, and everyone who sees the function could read it. Name a Kubernetes "
                "secret as its valueFrom, or store it in the MLRun project."
            )


def _pipeline(folder: Path, job: JobParameters) -> tuple[KedroContext, Pipeline]:
    """Find what the job runs, and validate its parameters as Kedro does."""
    from kedro.framework.project import pipelines
    from kedro.framework.session import KedroSession
    from kedro.pipeline import Pipeline
    from kedro.validation.exceptions import ParameterValidationError

    names = job.pipeline or ["__default__"]
    for name in names:
        if name not in pipelines:
            raise JobError(
                f"The project has no pipeline '{name}'. {nearest(name, pipelines)}"
                f"It has {', '.join(sorted(pipelines))}."
            )
    session = KedroSession.create(
        folder, env=job.env, runtime_params=job.nested, save_on_close=False
    )
    context = session.load_context()
    try:
        # Reading them validates them.
        _ = context.params
        pipeline = sum((pipelines[name] for name in names), Pipeline([])).filter(
            tags=job.tags,
            node_names=job.nodes,
            from_nodes=job.from_nodes,
            to_nodes=job.to_nodes,
        )
    except (ValueError, ParameterValidationError) as error:
        raise JobError(reason(error)) from None
    return context, pipeline


def _check_cluster() -> None:
    if not on_cluster():
        raise SubmitError(
            f"There are no schedules, retries or notifications in {MLRunContextManager().location}:"
            " they need an MLRun API. Set MLRUN_DBPATH to the address of one."
        )


def _set_source(
    function: mlrun.runtimes.KubejobRuntime, folder: Path, kind: str, context: KedroContext
) -> source.Archive | None:
    loader: Any = context.config_loader
    own = str(function.spec.image)
    if on_cluster():
        _check_api(function)
        function.spec.image = image.usable(function, folder)
    if kind == "archive":
        envs = {loader.base_env, context.env or loader.default_run_env}
        return source.pack(folder, MLRunContextManager().jobs.largest_file, sorted(envs))
    if kind == "git":
        found = source.git_source(folder)
        workdir = "/".join(part for part in (found.subfolder, function.spec.workdir) if part)
        function.with_source_archive(found.url, workdir=workdir, pull_at_runtime=True)
        return None
    if not on_cluster() or image.is_stock(own):
        raise SubmitError(
            f"The image {own} isn't one with this project's code. Build the Dockerfile, name what "
            "it gave as `image` in function.yaml, and submit to an MLRun API."
        )
    function.spec.build.load_source_on_run = None
    function.spec.workdir = f"{image.CODE_FOLDER}/{function.spec.workdir}"
    return None


def _check_api(function: mlrun.runtimes.KubejobRuntime) -> None:
    """Make sure that the API takes jobs of this client, and that they find what is sent."""
    for check in (doctor.server(), doctor.unseen_path(mounted(function))):
        if check and check.state == doctor.WRONG:
            raise SubmitError(f"The {check.name}: {check.found}. {check.mend}.")


def _checked_inputs(
    inputs: Mapping[str, str],
    pipeline: Pipeline,
    context: KedroContext,
    folder: Path,
    archive: source.Archive | None,
    mounts: Sequence[str],
) -> dict[str, str]:
    """Give the inputs as the job finds them."""
    with contextlib.chdir(folder):
        with_inputs(context.config_loader["catalog"], inputs, lambda name: name)
    check_used(inputs, pipeline.inputs(), pipeline.all_outputs())
    if archive is None or on_cluster():
        packed = {name for name, _ in archive.files} if archive else set()
        for name, given in inputs.items():
            seen = given in packed or any(Path(given).is_relative_to(mount) for mount in mounts)
            if archive and "://" not in given and not seen:
                raise SubmitError(
                    f"Input '{name}' is {given}, which is on this machine and not in the source "
                    "that the job gets. Give it as a URL that the cluster can read."
                )
        return dict(inputs)
    # On the same machine, but in another folder.
    return {
        name: given if "://" in given else (folder / given).as_posix()
        for name, given in inputs.items()
    }


def _check_data(
    function: mlrun.runtimes.KubejobRuntime,
    pipeline: Pipeline,
    context: KedroContext,
    inputs: Mapping[str, str],
    archive: source.Archive,
    folder: Path,
    title: str,
) -> None:
    """Make sure that the job finds the data and credentials it needs, and later ones its data."""
    packed = {name for name, _ in archive.files}
    # Kedro makes a new one each time that it is asked.
    mounts, catalog = mounted(function), context.catalog
    lost = missing_inputs(pipeline, catalog, packed, folder, set(inputs), mounts)
    if lost:
        raise SubmitError(" ".join(lost))
    from kedro.framework.project import pipelines

    check_crossing(with_later(title, pipeline, pipelines), catalog, mounts)
    sent = source.credentials(folder, archive)
    for name, entry in context.config_loader["catalog"].items():
        needed = entry.get("credentials") if isinstance(entry, dict) else None
        if isinstance(needed, str) and needed not in sent and name in pipeline.datasets():
            raise SubmitError(
                f"Catalog entry '{name}' takes the credentials '{needed}', which the job won't "
                "have, for no secret is sent. Put them into conf/base/credentials.yml as "
                "${mlrun.secret:NAME}."
            )


def run_here(plan: Plan) -> bool:
    """Run a job in this process, through MLRun's local launcher, and show its end.

    Args:
        plan: what `prepare` gave.

    Returns:
        Whether it completed.
    """
    import mlrun

    uid, project = plan.task.metadata.uid, plan.function.metadata.project
    _quiet()
    try:
        plan.function.run(plan.task, local=True, watch=True)
    except mlrun.runtimes.utils.RunError:
        completed = False
    else:
        completed = True
    print_run(uid, project)
    return completed


def submit(
    plan: Plan,
    schedule: str | None = None,
    retry: int = 0,
    notify: Sequence[tuple[str, Mapping[str, str]]] = (),
) -> str:
    """Send a job to where the run database has jobs run.

    That is a cluster with an MLRun API, and a process of its own with the embedded store.

    Args:
        plan: what `prepare` gave.
        schedule: when to run it again and again, as in a crontab; None for once, now.
        retry: how often MLRun tries again when it fails.
        notify: kinds of notification, such as `slack`, and their parameters in MLRun; they tell how
            the run ended.

    Returns:
        The run's id; empty for a schedule, each of whose runs gets its own.

    Raises:
        SubmitError: MLRun didn't take it.
    """
    import mlrun

    if schedule or retry or notify:
        _check_cluster()
    notifications = [_notification(kind, params) for kind, params in notify]
    if schedule:
        _check_schedule(schedule)
    if plan.archive:
        url = source.upload(plan.archive, mlrun.mlconf.artifact_path)
        plan.function.with_source_archive(url, workdir=plan.function.spec.workdir)
    _quiet()
    with _heard(mlrun.get_run_db()):
        plan.function.run(
            plan.task,
            watch=False,
            schedule=schedule,
            retry=mlrun.model.Retry(count=retry) if retry else None,
            notifications=notifications or None,
        )
    return "" if schedule else str(plan.task.metadata.uid)


def _quiet() -> None:
    """Let MLRun not log what the user is told anyway, with tracebacks at that."""
    import mlrun

    if "MLRUN_LOG_LEVEL" not in os.environ:
        mlrun.utils.logger.set_logger_level("CRITICAL")


@contextlib.contextmanager
def _heard(db: Any) -> Iterator[None]:
    """Let it be heard when the run database refuses a job, which MLRun's launcher only logs."""
    refused: list[Exception] = []
    submit_job = db.submit_job

    def listen(*args: Any, **kwargs: Any) -> Any:
        try:
            return submit_job(*args, **kwargs)
        except Exception as error:
            refused.append(error)
            raise

    db.submit_job = listen
    try:
        yield
    except Exception as error:
        # A job that was taken and has failed since tells that itself, in its run.
        if not refused and type(error).__name__ != "RunError":
            raise
    finally:
        del db.submit_job
    if refused:
        reason = str(refused[0]).rstrip(".")
        raise SubmitError(f"MLRun didn't take the job: {reason}.") from refused[0]


def _check_schedule(schedule: str) -> None:
    from mlrun.common.schemas import ScheduleCronTrigger

    try:
        ScheduleCronTrigger.from_crontab(schedule)
    except ValueError as error:
        raise JobError(
            f"'{schedule}' is no schedule ({error}). Write minute, hour, day of the month, month "
            'and day of the week, as in a crontab: "0 2 * * *" is each day at two.'
        ) from None


def _notification(kind: str, params: Mapping[str, str]) -> mlrun.model.Notification:
    import mlrun

    # MLRun keeps these parameters in a secret of the cluster, for they may be a webhook's address.
    return mlrun.model.Notification(
        kind=kind,
        name=kind,
        when=["completed", "error", "aborted"],
        message="The run has ended",
        secret_params=dict(params),
    )


def watch(uid: str, project: str) -> bool:
    """Print a job's log as it comes, and how the job ended.

    Args:
        uid: the run's id.
        project: its MLRun project.

    Returns:
        Whether it completed.
    """
    import mlrun

    state, _ = mlrun.get_run_db().watch_log(uid, project)
    print_run(uid, project)
    return str(state) == "completed"


def abort(uid: str, project: str, reason: str) -> None:
    """End a job that waits or runs.

    Args:
        uid: the run's id.
        project: its MLRun project.
        reason: what its record says of that.
    """
    import mlrun

    mlrun.get_run_db().abort_run(uid, project, status_text=reason)


def schedules(project: str) -> list[dict[str, Any]]:
    """List the jobs that are run again and again.

    Args:
        project: the MLRun project.

    Returns:
        Of each its `name`, its `schedule` as in a crontab, the time of its `next` run, and the
        `state` of the last one.
    """
    _check_cluster()
    import mlrun

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
    """Remove a schedule; its runs stay.

    Args:
        name: the schedule's name.
        project: its MLRun project.

    Raises:
        JobError: there is none of that name.
    """
    import mlrun

    names = [item["name"] for item in schedules(project)]
    if name not in names:
        raise JobError(
            f"Project '{project}' has no schedule '{name}'. {nearest(name, names)}"
            "To list them: kedro mlrun schedules"
        )
    mlrun.get_run_db().delete_schedule(project, name)
