"""Jobs on the embedded store: how they end, when it isn't well."""

import json
import os
import signal
import subprocess
from collections.abc import Callable
from typing import Any

from conftest import PYTHON, Folder
from forkserver import fork_server

HANDLER = """
import os, signal, subprocess, sys, time

def run(context, end):
    print("it begins", flush=True)
    if end == "raise":
        raise ValueError("no luck")
    if end == "exit":
        os._exit(3)
    if end == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    # A child that SIGTERM doesn't end, whose parent is gone; and a job with the last word.
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "print('ready', flush=True); time.sleep(600)"
    )
    child = (
        "import os, subprocess, sys; started = subprocess.Popen([sys.executable, '-c', sys.argv[1]]"
        ", stdout=subprocess.PIPE, start_new_session=True); started.stdout.readline(); "
        "print(started.pid)"
    )
    pid = subprocess.run(
        [sys.executable, "-c", child, code], stdout=subprocess.PIPE, check=True
    ).stdout
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        context.log_result("child", int(pid))
        context.commit()
        time.sleep(600)
    finally:
        context.set_state("error", error="the last word")
"""
START = """
import json, os, psutil, sys, tarfile, time
from pathlib import Path
from kedro_mlrun import MLRunContextManager
project = MLRunContextManager().project.metadata.name
import mlrun
db = mlrun.get_run_db()
"""
SUBMIT = f"""
with tarfile.open("source.tar.gz", "w:gz") as archive:
    archive.add("src")
uids = {{}}
for end in ("raise", "exit", "kill", "missing", "wait"):
    function = mlrun.new_function("kedro", kind="job", image="mlrun/mlrun", project=project)
    function.spec.default_handler = "kedro_mlrun.work.run"
    function.spec.workdir = "src"
    function.spec.build.source = "missing.tar.gz" if end == "missing" else "source.tar.gz"
    if end == "wait":
        # Not forked: the job is to be below its supervisor.
        sys.executable = {str(PYTHON)!r}
    run = function.run(name=end, params={{"end": end}}, watch=False, local=False)
    uids[end] = run.metadata.uid
print(json.dumps([os.getpid(), uids]), flush=True)
time.sleep(600)
"""
WAIT = """
uids = json.loads(sys.argv[1])
while "child" not in (db.read_run(uids["wait"], project)["status"].get("results") or {}):
    time.sleep(0.1)
MLRunContextManager().abort_lost_runs()
db.abort_run(uids["wait"], project, status_text="enough")
for uid in uids.values():
    db.watch_log(uid, project)
statuses = {end: db.read_run(uid, project)["status"] for end, uid in uids.items()}
child = statuses["wait"]["results"]["child"]
left = [p.pid for p in psutil.process_iter() if p.pid == child and p.status() != 'zombie']
print()
print(json.dumps([statuses, left]))
"""


def test_jobs_that_end_badly_say_so(bake: Callable[..., Folder]) -> None:
    """They outlive what submitted them, and the record tells how each one ended."""
    project = bake()
    (project.path / "src" / "kedro_mlrun" / "work.py").write_text(HANDLER)
    submitter = subprocess.Popen(
        [fork_server(PYTHON).environment / "bin" / "python", "-c", START + SUBMIT],
        cwd=project.path,
        env={**project.variables, "PYTHONPATH": "src"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert submitter.stdout
    # MLRun logs to stdout, too. What is forked has a session of its own.
    session, uids = json.loads(next(line for line in submitter.stdout if line.startswith("[")))
    # As when a terminal is closed, and harder.
    os.killpg(session, signal.SIGHUP)
    os.killpg(session, signal.SIGKILL)
    submitter.communicate()
    done = project.run(PYTHON, "-c", START + WAIT, json.dumps(uids), PYTHONPATH="src")
    statuses: dict[str, dict[str, Any]]
    statuses, processes = json.loads(done.stdout.splitlines()[-1])

    states = {end: status["state"] for end, status in statuses.items()}
    assert states == {**dict.fromkeys(states, "error"), "wait": "aborted"}
    errors = {end: status["error"] for end, status in statuses.items()}
    assert errors["raise"] == "no luck"
    what, _, log = errors["exit"].partition("\n\n")
    assert what == "Its process ended with exit code 3 before the run's end."
    assert log.endswith("it begins")
    assert errors["kill"].startswith("Its process was killed by SIGKILL.")
    missing = f"{project.path}/missing.tar.gz"
    assert errors["missing"] == (
        f"The job could not be started: The source {missing} isn't there. "
        "Fix that, and submit it again."
    )
    assert errors["wait"] == "enough"
    folders = [path.name for path in (project.path / ".mlrun" / "jobs").iterdir()]
    assert (processes, folders) == ([], [])
