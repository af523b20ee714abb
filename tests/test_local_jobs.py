"""Jobs on the embedded store: how they end, when it isn't well."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from conftest import KEDRO, PYTHON, Folder
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
    package = project.path / "src" / "kedro_mlrun"
    (package / "work.py").write_text(HANDLER)
    patient = package / "jobs" / "supervisor.py"
    patient.write_text(patient.read_text().replace("GRACE = 10\n", "GRACE = 2\n"))
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


STEPS = """
import json
import os
import signal
import sys

from kedro.pipeline import Node, Pipeline


def begin(number):
    if signal_number := {2: signal.SIGKILL}.get(number):
        os.kill(os.getpid(), signal_number)
    if number == 3:
        sys.exit(3)
    if number == 4:
        raise ValueError("no luck")
    if number == 5:
        import mlrun
        mlrun.get_or_create_ctx("of-a-node").log_result("own", 7)
    if number == 6:
        import mlrun
        mlrun.get_or_create_ctx("of-a-node").set_state(error="a node says so")
    return {"pid": os.getpid(), "team": os.environ.get("TEAM", "")}


def register_pipelines():
    return {"first": Pipeline([Node(begin, "params:number", "answer", name="begin")])}
"""
# Of each process that imports the project: its id, and whether it has imported MLRun.
NOTED = """
import atexit, os, sys

@atexit.register
def note():
    with open(os.environ["NOTES"], "a") as file:
        file.write(f"{os.getpid()} {'mlrun' in sys.modules}\\n")
"""


@pytest.fixture
def small(bake: Callable[..., Folder]) -> Folder:
    """A project of one node, which ends as its parameter says."""
    project = bake()
    package, conf = project.path / "src/breast_cancer", project.path / "conf/base"
    (package / "__init__.py").write_text(NOTED)
    (package / "pipeline_registry.py").write_text(STEPS)
    (conf / "catalog.yml").write_text("answer: {type: kedro_mlrun.MLRunResult, flatten: true}\n")
    (conf / "parameters_training.yml").write_text("number: 1\n")
    # What MLRun would put into the environment when it is imported.
    (project.path.parent / "mlrun.env").write_text("TEAM=red\n")
    files = {"NOTES": "notes", "MLRUN_ENV_FILE": "mlrun.env"}
    paths = {name: str(project.path.parent / file) for name, file in files.items()}
    variables = {**project.variables, **paths}
    return replace(project, variables=variables)


def submitted(project: Folder, number: int, how: str = "--watch") -> Any:
    """Submit the project's pipeline, and give its run's record when it has ended."""
    command = ("mlrun", "submit", "-p", "first", f"--params=number={number}", how)
    failing = number in {2, 3, 4, 6}
    done = project.run(KEDRO, *command, ok=not failing)
    assert done.returncode == failing
    with sqlite3.connect(project.path / ".mlrun" / "mlrun.db") as store:
        [(body,)] = store.execute("SELECT body FROM runs ORDER BY id DESC LIMIT 1")
    return json.loads(body)


def test_a_job_is_one_process_without_mlrun(small: Folder) -> None:
    """Law 7: beside what submits it, one process imports the project; and none of them MLRun."""
    run = submitted(small, 1)
    notes = [line.split() for line in (small.path.parent / "notes").read_text().splitlines()]
    assert [imported for _, imported in notes] == ["False", "False"]
    pid, team = (run["status"]["results"][name] for name in ("pid", "team"))
    assert team == "red"
    assert notes[0][0] == str(pid) == run["metadata"]["labels"]["process"].partition("-")[0]
    # The other two start quickly.
    code = "import sys, kedro_mlrun.jobs.supervisor; print({'kedro', 'mlrun'} & {*sys.modules})"
    path = str(small.path / "src")
    done = small.run(sys.executable, "-c", code, fork=False, PYTHONPATH=path)
    assert done.stdout == "set()\n"


def test_a_job_without_mlrun_is_recorded_as_by_mlrun(small: Folder) -> None:
    """Law 6: field by field, but for what is another one of each run, and a cluster's limits."""
    own = submitted(small, 1)
    function = small.path / "function.yaml"
    # Which MLRun alone knows what to do with.
    function.write_text(function.read_text() + "  description: as MLRun does it\n")
    of_mlrun = submitted(small, 1)
    notes = (small.path.parent / "notes").read_text().splitlines()
    assert [line.split()[1] for line in notes] == ["False", "False", "True", "True"]
    for run in (own, of_mlrun):
        run["spec"].pop("state_thresholds")
        run["status"]["results"].pop("pid")
        for name in ("uid", "labels", "annotations"):
            run["metadata"][name] = sorted(run["metadata"][name]) if name != "uid" else ""
        for name in ("start_time", "last_update", "end_time"):
            assert run["status"].pop(name)
        run["status"]["artifact_uris"] = sorted(run["status"]["artifact_uris"])
        assert run["spec"].pop("function").startswith("breast-cancer/kedro@")
    assert own == of_mlrun


def test_a_node_of_a_job_without_mlrun_may_use_it(small: Folder) -> None:
    """Law 6: MLRun's context there is that of the job's own run."""
    run = submitted(small, 5)
    assert run["status"]["state"] == "completed"
    assert run["status"]["results"]["own"] == 7
    assert {"pid", "team"} <= run["status"]["results"].keys()


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (2, "Its process was killed by SIGKILL."),
        (3, "It was interrupted before its end."),
        (4, "Node 'begin': ValueError: no luck"),
    ],
)
def test_a_job_without_mlrun_says_how_it_ended(small: Folder, number: int, reason: str) -> None:
    """By a signal that nothing withstands, by itself, or by an error of a node."""
    status = submitted(small, number)["status"]
    assert status["state"] == ("aborted" if number == 3 else "error")
    assert status["error"].startswith(reason)
    assert [*(small.path / ".mlrun" / "jobs").iterdir()] == []


@pytest.mark.parametrize("how", ["--watch", "--local"])
def test_a_job_ends_as_its_record_says(small: Folder, how: str) -> None:
    """Law 4: also where a node has told that to MLRun, and nothing was raised."""
    status = submitted(small, 6, how)["status"]
    assert (status["state"], status["error"]) == ("error", "a node says so")
