"""Background jobs of the embedded store: each is started as a process of its own, and ended."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from ..lazy import mlrun, mlrun_loaded
from ..project import mlrun_env_file
from ..runs import workers
from ..runs.chain import CHAIN
from ..runs.manager import MLRunContextManager
from ..store.fields import LONG_AGO, PARENT, PROCESS
from ..store.process import GOING_ON, is_alive, process_label
from ..store.rows import Record
from ..store.store import Store
from .supervisor import GRACE, POLL, end_tree

NOT_INHERITED = {
    *("KEDRO_ENV", workers.VARIABLE, CHAIN, "MLRUN_CONTEXT_NAME"),
    *("MLRUN_EXEC_CODE", "MLRUN_EXEC_CONFIG", "MLRUN_META_TMPFILE"),
}
"""What the submitting process was told of its own runs. A job has all of that as parameters."""


def submit(db: Any, run: Record, schedule: Any) -> Record:
    """Start a run of a stored function of kind `job`, which MLRun's launcher has made."""
    from ..store.interface import active

    spec = run["spec"]
    asked = {
        "schedules": schedule,
        "retries of runs": (spec.get("retry") or {}).get("count"),
        "notifications": spec.get("notifications"),
        "background jobs on this system": os.name != "posix",
    }
    for what in filter(asked.get, asked):
        raise db.needs_api(what)
    uri = spec.get("function") or ""
    project, name, *which = mlrun.common.helpers.parse_versioned_object_uri(uri)
    function = db.get_function(name, project, *which)
    if function["kind"] != "job":
        raise db.needs_api(f"functions of kind '{function['kind']}'")
    run["metadata"]["project"] = active(run["metadata"].get("project"))
    return start(db, run, function, mlrun.mlconf.artifact_path)


def start(
    db: Store, run: Record, function: Record, artifact_path: str, by_mlrun: bool = True
) -> Record:
    """Record a run of a function as pending, and start its supervisor.

    What a pod would have is the same there: the function's source, unpacked anew, its `workdir` and
    its `env`, and what MLRun tells the job. What it prints is the run's log. If it isn't started
    `by_mlrun`, it is one of this project's own handler.
    """
    metadata, spec = run["metadata"], run["spec"]
    project, uid = metadata["project"], metadata.get("uid") or uuid.uuid4().hex
    if db.job_is_alive(uid, project):
        raise mlrun.errors.MLRunConflictError(
            f"Run {uid} of project {project} is a job that hasn't ended. Wait, or abort it."
        )
    spec["output_path"] = _absolute(spec.get("output_path") or artifact_path)
    url = f"sqlite:///{db.path.as_posix()}"
    # What a cluster has the values of, has none here.
    env = [item for item in function["spec"].get("env") or [] if item.get("value") is not None]
    settings = {item["name"]: str(item["value"]) for item in env} | {
        "MLRUN_ACTIVE_PROJECT": project,
        "MLRUN_ARTIFACT_PATH": _absolute(artifact_path),
        "MLRUN_DBPATH": url,
        # Which is read here, and would win over these.
        "MLRUN_IGNORE_ENV_FILE": "true",
    }
    supervisor = _start_supervisor(db.log_file(uid, project), settings)
    assert supervisor.stdin  # noqa: S101
    # Where this fails, the supervisor is told nothing, and ends. It may have been killed meanwhile;
    # then its run is found to be lost, as any other.
    with suppress(BrokenPipeError), supervisor.stdin as told:
        label = process_label(supervisor.pid)
        number = db.add_job(uid, project, label)
        own = {"kind": "job", "host": socket.gethostname(), PROCESS: label}
        metadata.update(uid=uid, project=project, labels=(metadata.get("labels") or {}) | own)
        # The job alone gets its secrets.
        public = {name: value for name, value in spec.items() if name != "secret_sources"}
        db.store_run(run | {"spec": public, "status": {"state": "pending"}}, uid, project)
        limit = MLRunContextManager().jobs.at_once
        # One that another job has started would wait for that, which waits for it.
        at_once = sys.maxsize if PARENT in metadata["labels"] else limit
        job = {"url": url, "number": number, "project": project, "uid": uid, "at_once": at_once}
        job |= _job(run, function)
        # MLRun takes its task from the environment.
        job |= {"task": None} if by_mlrun else {"task": run, "env": {}}
        # Neither by the command line nor by a file, where others could read it.
        told.write(json.dumps(job).encode())
    return db.read_run(uid, project)


def _job(run: Record, function: Record) -> Record:
    """Tell what MLRun's API would have a pod run."""
    spec, build = function["spec"], function["spec"].get("build") or {}
    options = {
        "handler": run["spec"].get("handler") or spec.get("default_handler"),
        "mode": spec.get("mode"),
        "origin-file": build.get("origin_filename"),
    }
    given = [f"--{name}={value}" for name, value in options.items() if value]
    code = build.get("functionSourceCode") or ""
    command = filter(None, [spec.get("command"), *(spec.get("args") or [])])
    return {
        "source": _absolute(build["source"]) if build.get("source") else "",
        "workdir": spec.get("workdir") or "",
        "arguments": ["--from-env", *given, *command],
        "env": {"MLRUN_EXEC_CONFIG": json.dumps(run), "MLRUN_EXEC_CODE": code},
    }


def _absolute(path: str) -> str:
    path = path.removeprefix("file://")
    return path if "://" in path else Path(path).absolute().as_posix()


def inherited() -> dict[str, str]:
    """Give the environment of this process as another run has it."""
    # MLRun has put its file into the environment if it is imported.
    told = os.environ | ({} if mlrun_loaded() else mlrun_env_file())
    return {name: told[name] for name in told.keys() - NOT_INHERITED}


def _start_supervisor(log: Path, settings: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a supervisor, which waits to be told what the job is."""
    log.parent.mkdir(parents=True, exist_ok=True)
    env = inherited()
    path = filter(None, env.get("PYTHONPATH", "").split(os.pathsep))
    own = settings.get("PYTHONPATH", os.pathsep.join(map(os.path.abspath, path)))
    # The package comes first on the path, so that the supervisor is this one.
    python_path = f"{Path(__file__).parents[2]}{os.pathsep}{own}"

    def opener(path: str, flags: int) -> int:
        return os.open(path, flags | os.O_APPEND, 0o600)

    with open(log, "wb", opener=opener) as output:
        supervisor = subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", "-m", "kedro_mlrun.jobs.supervisor"],
            cwd=log.parent,
            env={**env, **settings, "PYTHONPATH": python_path, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    # So that a long session has no zombies of the jobs that it submitted.
    threading.Thread(target=supervisor.wait, daemon=True).start()
    return supervisor


def abort(db: Any, run: Record, reason: str) -> None:
    """Abort a run, whatever runs it: the cluster, or a process of this machine; its jobs, too."""
    uid, project = run["metadata"]["uid"], run["metadata"]["project"]
    kind = (run["metadata"].get("labels") or {}).get("kind")
    on_cluster = kind in mlrun.runtimes.RuntimeKinds.runtime_with_handlers()
    try:
        if on_cluster or isinstance(db, Store):
            db.abort_run(uid, project, status_text=reason)
        else:
            # An API would change the record alone.
            end_processes(db, run)
            MLRunContextManager().abort_lost_runs(db)
            if (state := db.read_run(uid, project)["status"]["state"]) != "aborted":
                raise mlrun.errors.MLRunConflictError(f"Run {uid} has ended before: it is {state}.")
    finally:
        # After it, for it would start others in their place.
        abort_jobs_of(db, uid, project, reason)


def abort_jobs_of(db: Any, uid: str, project: str, reason: str) -> None:
    """Abort the jobs that a run has started, and that go on."""
    going_on = {"states": GOING_ON, "start_time_from": LONG_AGO}
    for run in db.list_runs(project=project, labels=[f"{PARENT}={uid}"], **going_on):
        if run["status"].get("state") not in GOING_ON:
            continue  # before 1.10, MLRun's API lists all
        if isinstance(db, Store):
            # Its supervisor records that it was stopped, but for one that had just begun.
            end_processes(db, run)
            db.end_run(run["metadata"]["uid"], project, "aborted", reason)
        else:
            # One that has ended in this moment needs no abort.
            with suppress(mlrun.errors.MLRunConflictError):
                db.abort_run(run["metadata"]["uid"], project, status_text=reason)


def release(run: Record) -> None:
    """Take away what a run that has ended was run by, for something else goes on with it.

    On a cluster that is its pod, by which MLRun tells a run's state.
    """
    db, metadata = MLRunContextManager().store, run["metadata"]
    if not isinstance(db, Store) and (metadata.get("labels") or {}).get("kind") == "job":
        of_job = {"project": metadata["project"], "object_id": metadata["uid"]}
        db.delete_runtime_resources(kind="job", force=True, **of_job)


def end_processes(db: Any, run: Record) -> None:
    """End all processes of a run on this machine, by SIGTERM and ten seconds later by SIGKILL."""
    uid, project = run["metadata"]["uid"], run["metadata"]["project"]
    labels, here = run["metadata"].get("labels") or {}, socket.gethostname()
    own, is_store = str(labels.get(PROCESS) or ""), isinstance(db, Store)
    host = labels.get("host") or (here if is_store else "a machine that its record doesn't name")
    queued = db.job_processes(uid, project) if is_store else {}
    above = [psutil.Process(), *psutil.Process().parents()]
    living = [_pid(label) for label in {own, *queued.values()} if is_alive(label)]
    why = ""
    if host != here:
        why = f"goes on on {host}, and this machine is {here}. Abort it there."
    elif not _pid(own):
        why = "has no label that tells its process. End that yourself."
    elif {process.pid for process in above} & {*living}:
        why = "goes on in this process. Abort it from another one."
    elif living and not queued and is_store and not _uses(db, _pid(own)):
        why = (
            f"goes on in process {_pid(own)}, which another copy of this store has started. Abort "
            "it there, or end the process yourself."
        )
    if why:
        raise mlrun.errors.MLRunPreconditionFailedError(f"Run {uid} {why}")
    if supervisor := queued.get("supervisor"):
        # It ends those of the job, among them orphans that nobody else would find.
        with suppress(ProcessLookupError):
            os.kill(_pid(supervisor), signal.SIGTERM)
        give_up = time.monotonic() + 2 * GRACE
        while is_alive(supervisor) and time.monotonic() < give_up:
            time.sleep(POLL)
    # What is left where a supervisor is stuck, or was killed itself, or where there is none.
    for label in {own, *(db.job_processes(uid, project).values() if is_store else ())}:
        # It may end in this moment.
        with suppress(psutil.NoSuchProcess):
            if is_alive(label):
                end_tree(_pid(label))


def _uses(store: Store, number: int) -> bool:
    """Tell whether a process has a store's file open, and not that of a copy."""
    try:
        files = psutil.Process(number).open_files()
    except psutil.AccessDenied:
        return True  # it can't be ended either
    except psutil.Error:
        return False
    return any(os.path.realpath(file.path) == os.path.realpath(store.path) for file in files)


def _pid(label: str) -> int:
    found = re.fullmatch(r"([1-9]\d*)-b?\d+", label)
    return int(found[1]) if found else 0
