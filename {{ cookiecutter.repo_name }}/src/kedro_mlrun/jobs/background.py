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

import mlrun
import psutil
from mlrun.common.helpers import parse_versioned_object_uri
from mlrun.errors import (
    MLRunBadRequestError,
    MLRunConflictError,
    MLRunNotImplementedServerError,
    MLRunPreconditionFailedError,
)
from mlrun.utils import dict_to_json

from ..runs import workers
from ..runs.chain import CHAIN
from ..runs.manager import MLRunContextManager
from ..store.db import LocalRunDB
from ..store.fields import PROCESS
from ..store.interface import active
from ..store.process import is_alive, process_label
from ..store.rows import Record
from .supervisor import GRACE, POLL, end_tree

NOT_INHERITED = {
    *("KEDRO_ENV", workers.VARIABLE, CHAIN, "MLRUN_CONTEXT_NAME"),
    *("MLRUN_EXEC_CODE", "MLRUN_EXEC_CONFIG", "MLRUN_META_TMPFILE"),
}
"""What the submitting process was told of its own runs. A job has all of that as parameters."""

# The package comes first on the path, so that the supervisor is this one.
SUPERVISOR = """
import sys
sys.path.insert(0, sys.argv[1])
from kedro_mlrun.jobs.supervisor import main
main()
"""


def submit(db: LocalRunDB, run: Record, schedule: Any) -> Record:
    """Record a run of a stored function of kind `job` as pending, and start its supervisor.

    What a pod would have is the same there: the function's source, unpacked anew, its `workdir` and
    its `env`, and what MLRun tells the job. What it prints is the run's log.
    """
    metadata, spec = run["metadata"], run["spec"]
    project, uid = active(metadata.get("project")), metadata.get("uid") or uuid.uuid4().hex
    function = _function_of(db, run, schedule)
    if db.job_is_alive(uid, project):
        raise MLRunConflictError(f"Run {uid} of project {project} is a job that hasn't ended.")
    spec["output_path"] = _absolute(spec.get("output_path") or mlrun.mlconf.artifact_path)
    url = f"sqlite:///{db.path.as_posix()}"
    env = {item["name"]: item.get("value") for item in function["spec"].get("env") or []}
    # What a cluster has the values of, has none here.
    settings = {name: str(value) for name, value in env.items() if value is not None} | {
        "MLRUN_ACTIVE_PROJECT": project,
        "MLRUN_ARTIFACT_PATH": _absolute(mlrun.mlconf.artifact_path),
        "MLRUN_DBPATH": url,
        # Which this process has read, and which would win over these.
        "MLRUN_IGNORE_ENV_FILE": "true",
    }
    supervisor = _start_supervisor(db.log_file(uid, project), settings)
    number = None
    try:
        label = process_label(supervisor.pid)
        number = db.add_job(uid, project, label)
        own = {"kind": "job", "host": socket.gethostname(), PROCESS: label}
        metadata.update(uid=uid, project=project, labels=(metadata.get("labels") or {}) | own)
        # The job alone gets its secrets.
        public = {name: value for name, value in spec.items() if name != "secret_sources"}
        db.store_run(run | {"spec": public, "status": {"state": "pending"}}, uid, project)
    except BaseException:
        supervisor.kill()
        if number is not None:
            db.remove_job(number)
        raise
    job = {
        "url": url,
        "number": number,
        "project": project,
        "uid": uid,
        "at_once": MLRunContextManager().jobs.at_once,
        **_job(run, function),
    }
    assert supervisor.stdin  # noqa: S101
    # Neither by the command line nor by a file, where others could read it. The supervisor may have
    # been killed meanwhile; then its run is found to be lost, as any other.
    with suppress(BrokenPipeError), supervisor.stdin:
        supervisor.stdin.write(json.dumps(job).encode())
    return db.read_run(uid, project)


def _function_of(db: LocalRunDB, run: Record, schedule: Any) -> Record:
    """Give the function of a run that is to be a job, if such a job can run here."""
    spec = run["spec"]
    asked = {
        "schedules": schedule,
        "retries of runs": (spec.get("retry") or {}).get("count"),
        "notifications": spec.get("notifications"),
    }
    for what, value in asked.items():
        if value:
            raise db.needs_api(what)
    if os.name != "posix":
        raise MLRunNotImplementedServerError(
            "Jobs in the background need Linux or macOS, as long as there is no MLRun API. "
            "Run it in this process, with local=True, or set MLRUN_DBPATH to an API's address."
        )
    project, name, tag, hash_key = parse_versioned_object_uri(spec.get("function") or "")
    function = db.get_function(name, project, tag, hash_key)
    if function["kind"] != "job":
        raise db.needs_api(f"functions of kind '{function['kind']}'")
    return function


def _job(run: Record, function: Record) -> Record:
    """Tell what MLRun's API would have a pod run."""
    spec, build = function["spec"], function["spec"].get("build") or {}
    options = {
        "--name": run["metadata"]["name"],
        "--out-path": run["spec"]["output_path"],
        "--handler": run["spec"].get("handler") or spec.get("default_handler"),
        "--mode": spec.get("mode"),
        "--origin-file": build.get("origin_filename"),
    }
    given = [text for option, value in options.items() if value for text in (option, value)]
    env = {"MLRUN_EXEC_CONFIG": dict_to_json(run)}
    if build.get("functionSourceCode"):
        env["MLRUN_EXEC_CODE"] = build["functionSourceCode"]
    command = [spec["command"]] if spec.get("command") else []
    return {
        "source": _absolute(build["source"]) if build.get("source") else "",
        "workdir": spec.get("workdir") or "",
        "arguments": ["--from-env", *given, *command, *(spec.get("args") or [])],
        "env": env,
    }


def _absolute(path: str) -> str:
    path = path.removeprefix("file://")
    return path if "://" in path else Path(path).absolute().as_posix()


def _start_supervisor(log: Path, settings: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a supervisor, which waits to be told what the job is."""
    log.parent.mkdir(parents=True, exist_ok=True)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    inherited = {name: os.environ[name] for name in os.environ if name not in NOT_INHERITED}
    path = filter(None, inherited.get("PYTHONPATH", "").split(os.pathsep))
    inherited["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, path))
    try:
        supervisor = subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", "-c", SUPERVISOR, str(Path(__file__).parents[2])],
            cwd=log.parent,
            env={**inherited, **settings, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    finally:
        os.close(output)
    # So that a long session has no zombies of the jobs that it submitted.
    threading.Thread(target=supervisor.wait, daemon=True).start()
    return supervisor


def end_processes(db: LocalRunDB, run: Record) -> None:
    """End all processes of a run on this machine, by SIGTERM and ten seconds later by SIGKILL."""
    uid, project = run["metadata"]["uid"], run["metadata"]["project"]
    own, queued = _process_of(run), db.job_processes(uid, project)
    above = {os.getpid(), *(process.pid for process in psutil.Process().parents())}
    living = [label for label in {own, *queued.values()} if is_alive(label)]
    if above & {_pid(label) for label in living}:
        raise MLRunPreconditionFailedError(
            f"Run {uid} goes on in this process. Abort it from another one."
        )
    if run["metadata"]["labels"].get("kind") == "job" and living and not queued:
        raise MLRunPreconditionFailedError(
            f"Run {uid} goes on in process {_pid(own)}, which another copy of this store has "
            "started. Abort it there, or end the process yourself."
        )
    if "supervisor" in queued:
        # It ends those of the job, among them orphans that nobody else would find.
        with suppress(ProcessLookupError):
            os.kill(_pid(queued["supervisor"]), signal.SIGTERM)
        give_up = time.monotonic() + 2 * GRACE
        while is_alive(queued["supervisor"]) and time.monotonic() < give_up:
            time.sleep(POLL)
    # What is left where a supervisor is stuck, or was killed itself, or where there is none.
    for label in {own, *db.job_processes(uid, project).values()}:
        if is_alive(label):
            end_tree(_pid(label))


def _process_of(run: Record) -> str:
    """Give the label of the process of this machine that has a run open."""
    metadata, here = run["metadata"], socket.gethostname()
    labels = metadata.get("labels") or {}
    if labels.get("host", here) != here:
        raise MLRunPreconditionFailedError(
            f"Run {metadata['uid']} goes on on {labels['host']}, and this machine is {here}. "
            "Abort it there."
        )
    process = str(labels.get(PROCESS) or "")
    if not re.fullmatch(r"[1-9]\d*-\d+", process):
        raise MLRunBadRequestError(
            f"Run {metadata['uid']} can not be aborted, for it has no label that tells its "
            "process. End that yourself."
        )
    return process


def _pid(label: str) -> int:
    return int(label.partition("-")[0])
