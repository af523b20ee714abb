"""The runs that this process has open, their workers' copies of them, and lost runs."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import click
import psutil

from ..api import client as api
from ..lazy import mlrun
from ..secrets.known import REDACTED, hide
from ..store.context import ADDED, RunContext, is_tested, new_record
from ..store.fields import LONG_AGO, OWN, PROCESS, run_folder, run_name
from ..store.process import GOING_ON, lost, process_label
from ..store.store import Store
from . import workers
from .log import RunLog
from .provenance import shortened

Context = Any  # what logs to a run: a RunContext, or MLRun's own (`mlrun.MLClientCtx`)


@dataclass
class OpenRun:
    """A run from its beginning to its end."""

    context: Context
    run_id: str | None  # None for a run that was opened by saving something
    owned: bool  # False for the run of an MLRun job, which MLRun ends
    log: RunLog | None = None  # of a pipeline's run, unless what its process prints is kept

    def end(self, error: BaseException | str | None, aborted: str, db: Any) -> bool:
        """Write down how the run went, and tell whether it has ended."""
        context = self.context
        if error is not None and self.owned:
            context.set_state(error=hide(str(error)) or type(error).__name__, commit=False)
        context.commit(completed=self.owned and not (error or aborted))
        # A job ends with its process; a context that somebody made by hand may go on.
        is_job = isinstance(context, RunContext)
        is_job = is_job or context._uid in os.environ.get("MLRUN_EXEC_CONFIG", "")
        ended = self.owned or (is_job and bool(aborted))
        if aborted and ended:
            # An iteration takes its sweep with it.
            for iteration in {0, context.iteration}:
                of_run = (context._uid, context.project)
                _set_ended(db, *of_run, "aborted", aborted, iteration)
            context.set_state("aborted", commit=False)
        return ended


def mlruns_own(context: Context) -> mlrun.MLClientCtx | None:
    """Give MLRun's context of a run; what is logged to it and to a lighter one is in both."""
    return context.full if isinstance(context, RunContext) else context


def merge_workers(context: Context, db: Any) -> None:
    """Take over what worker processes have added to a run."""
    if not workers.have_written(context._uid):
        return
    _take_over(context, _record(db, context._uid, context.project, context.iteration))


def new_context(
    db: Any,
    place: tuple[str, str],
    name: str,
    labels: dict[str, str],
    parameters: dict[str, Any],
    connect: Callable[[], None] | None,
) -> Context:
    """Open a run, named as `MLRUN_CONTEXT_NAME` says, or else by `name`.

    `place` is its project, and where its artifacts go. Without `connect` the context is MLRun's.
    """
    project, artifact_path = place
    if not isinstance(db, Store):
        _reach(db)
    abort_lost_runs(db, project)
    # A container may run as a number that no user has.
    owner, uid = psutil.Process().username(), uuid.uuid4().hex
    name = run_name(os.environ.get("MLRUN_CONTEXT_NAME") or name)
    metadata = {"name": name, "uid": uid, "project": project, "labels": {"owner": owner, **labels}}
    output_path = run_folder(artifact_path, uid)
    if connect:
        return RunContext.open(db, new_record(metadata, output_path, parameters), connect)
    spec = {"output_path": output_path, "parameters": parameters}
    # With a spec, MLRun gives a new context even where it keeps that of an earlier run.
    return mlrun.get_or_create_ctx(name, spec={"metadata": metadata, "spec": spec})


def resumed(
    db: Any, record: dict[str, Any], labels: dict[str, str], connect: Callable[[], object] | None
) -> Context:
    """Open a run again that was stopped, with what its record has."""
    uid, project = record["metadata"]["uid"], record["metadata"]["project"]
    state = record["status"]["state"]
    if isinstance(db, Store) and (now := db.read_run(uid, project)["status"]["state"]) != state:
        # Two of it at once would replace each other's iterations.
        raise click.UsageError(
            f"Run {uid[:8]} can't go on: another command has begun to go on with it, and it is "
            f"{now}. To look at it: kedro mlrun show {uid[:8]}"
        )
    # It may have been a job's, or of another machine.
    here = {"kind": "local", "host": socket.gethostname()}
    record["metadata"]["labels"].update({**here, **labels})
    status = record["status"]
    status["state"] = "running"
    for name in ("error", "status_text", "end_time", "artifacts"):
        status.pop(name, None)
    if connect and isinstance(db, Store) and is_tested():
        return RunContext.open(db, record, connect)
    db.store_run(record, uid, project)
    return mlrun.MLClientCtx.from_dict(
        record, db, autocommit=True, store_run=False, include_status=True
    )


def iteration_of(context: Context, record: dict[str, Any]) -> Context:
    """Give what logs to an iteration of a run by the iteration's record; it tags nothing."""
    if isinstance(context, RunContext):
        iteration = RunContext(record, context._store, context._connect)
        iteration.is_latest = False
        return iteration
    # MLRun's API tags it all the same, until the run itself saves something by that key.
    return mlrun.MLClientCtx.from_dict(record, context._rundb, autocommit=True, include_status=True)


def take_back(context: Context, record: dict[str, Any]) -> None:
    """Let a run that a new job goes on with have what its record had of it before."""
    for known, (part, name) in zip(_added_to(context), ADDED, strict=True):
        before = (record.get(part) or {}).get(name) or {}
        missing = {key: value for key, value in before.items() if key not in known}
        if isinstance(context, RunContext):
            context.add(part, name, missing)
        else:
            known.update(missing)


def _reach(db: Any) -> None:
    from ..api.keeping import unsent

    if unsent(db):
        # An earlier run has lost the API; this one tries it again.
        api.check(db.base_url)
        db.kept = None


def add_to_job(context: Context, labels: dict[str, str], parameters: dict[str, Any]) -> None:
    """Note in the run of an MLRun job what is known of the pipeline's run that it is."""
    for label, value in labels.items():
        # A chain that is given wins over the workflow; a process over its starter.
        context.set_label(label, value, replace=label in {"workflow", PROCESS})
    # MLRun has no public way to add several at once. What the job was given stays as it was, for
    # MLRun may run it again; but no secret does, nor here, where it doesn't, what is large.
    job, own = context._parameters, isinstance(context, RunContext)
    given = {name: value for name, value in job.items() if parameters.get(name) != REDACTED}
    kind = context.labels.get("kind")
    if parameters and not (own or kind in mlrun.runtimes.RuntimeKinds.retriable_runtimes()):
        given = shortened(given, f"{OWN}parameters")
    whole = {**parameters, **given}
    if own:
        job.clear()
        job.update(whole)
    else:
        context._parameters = whole


def store_in(db: Any, context: mlrun.MLClientCtx) -> None:
    """Let a job that records nowhere, and the sweep that it may be of, be recorded in a store."""

    class Store(mlrun.db.nopdb.NopDB):  # type: ignore[misc]
        """Is the store in all but its identity."""

        def __getattribute__(self, name: str) -> Any:
            return getattr(db, name)

    # MLRun has no public way to give a job another store. Its launcher, which ends the run and the
    # sweep, has this very one, which records nothing.
    context._rundb.__class__ = Store
    if context.iteration:
        # MLRun updates the sweep when all of its runs have ended.
        sweep = context.to_dict()
        sweep["metadata"]["iteration"], sweep["spec"]["parameters"] = 0, {}
        sweep["metadata"]["labels"][PROCESS] = process_label()
        context._rundb.store_run(sweep, sweep["metadata"]["uid"], context.project, iter=0)
    context.store_run()


def copy_of(
    reference: workers.RunReference, db: Any, artifact_path: str, connect: Callable[[], None]
) -> Context:
    """Make a context that knows of a run what the store knows now, and sends nothing."""
    record = _record(db, reference.uid, reference.project, reference.iteration)
    context: Context
    if isinstance(db, Store) and is_tested():
        context = RunContext(record, db, connect, sends=False)
        context.refresh()
    else:
        context = mlrun.MLClientCtx.from_dict(record, db, store_run=False, include_status=True)
        # What it knows is out of date as soon as another worker adds to the run.
        context._rundb = None
    # A job's record has not the folder that its process has given it.
    context.artifact_path = run_folder(context.artifact_path or artifact_path, context.uid)
    return context


def own_place(path: str, producer: Any) -> str:
    """Give the folder for what a run logs, its own where MLRun would take one for all runs."""
    if not isinstance(producer, mlrun.MLClientCtx) or path not in {"", producer.artifact_path}:
        return path
    place = path or mlrun.mlconf.artifact_path
    return run_folder(place, producer._uid) if place else path


@contextmanager
def up_to_date(copy: Context, db: Any) -> Iterator[None]:
    """Let a copy know what the run has by now, and send what is logged to it, one at a time."""
    of_run = copy._uid, copy.project, copy.iteration
    with workers.one_at_a_time(copy._uid):
        if isinstance(copy, RunContext):
            copy.refresh()
            yield
            copy.send()
            return
        _take_over(copy, _record(db, *of_run), whole=True)
        yield
        fields = zip(ADDED, _added_to(copy), strict=True)
        db.update_run({f"{part}.{name}": known for (part, name), known in fields}, *of_run)


def _record(db: Any, uid: str, project: str, iteration: int) -> dict[str, Any]:
    # MLRun's way would read the artifacts, too.
    read = db.find_run if isinstance(db, Store) else db.read_run
    return dict(read(uid, project, iter=iteration))


def _take_over(context: Context, record: dict[str, Any], whole: bool = False) -> None:
    """Let a context have what its run's record has, and with `whole` nothing else."""
    for known, (part, name) in zip(_added_to(context), ADDED, strict=True):
        if whole:
            known.clear()
        known.update((record.get(part) or {}).get(name) or {})


def _added_to(context: Context) -> tuple[dict[str, Any], ...]:
    """Give what a context has of each of `ADDED`, of which MLRun's properties give copies."""
    if isinstance(context, RunContext):
        return context.annotations, context.inputs, context._results, context.artifact_uris
    uris = context._artifacts_manager.artifact_uris
    return context._annotations, context.inputs, context._results, uris


def abort_lost_runs(db: Any, project: str) -> None:
    """Set the runs to aborted whose process on this host is gone, also if it only waited.

    One that an API has missed to its end has ended as the embedded store has it.
    """
    # How a submitted job of this machine died is recorded by the process that watches it.
    going_on = db.list_runs(
        project=project,
        labels=[f"host={socket.gethostname()}", PROCESS],
        states=GOING_ON,
        start_time_from=LONG_AGO,
    )
    for run in going_on:
        uid = run["metadata"]["uid"]
        # Read again, for it may have ended since, and older APIs list others as well.
        if lost(run) and not (isinstance(db, Store) and db.job_is_alive(uid, project)):
            if reason := lost(db.read_run(uid, project)):
                state, reason = _kept(db, uid, project) or ("aborted", reason)
                _set_ended(db, uid, project, state, reason)
                workers.forget(uid)


def _kept(db: Any, uid: str, project: str) -> tuple[str, str] | None:
    """Tell how a run has ended that an API has missed, and where it is kept."""
    if isinstance(db, Store):
        return None
    from ..api.keeping import kept_run

    return kept_run(db, uid, project)


def _set_ended(
    db: Any, uid: str, project: str, state: str, reason: str, iteration: int = 0
) -> None:
    record = db.read_run(uid, project, iter=iteration)
    now = datetime.now(UTC).isoformat()
    record["status"].pop("artifacts", None)
    record["status"].update(state=state, status_text=reason, last_update=now)
    if state != "completed":
        record["status"]["error"] = reason
    # Not by update_run, for MLRun's API aborts only what runs in the cluster.
    db.store_run(record, uid, project, iter=iteration)
