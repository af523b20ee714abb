"""How runs end, what ties them together, and which runners they had: in processes of their own."""

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import PYTHON, VENV, Folder, environment_of_the_lock
from helpers import own_port
from stub_api import stub_api

KEDRO = VENV / "bin" / "kedro"

# Pipelines of 40 nodes, of one that fails, and of one that takes its time.
REGISTRY = """
import logging, os, time
from pathlib import Path

import pandas as pd
from kedro.pipeline import Node, Pipeline


def make(params):
    return pd.DataFrame({"x": range(params["rows"])})


def fail(frame, db):
    raise ValueError(f"no connection with {db['password']}")


def wait(frame):
    logging.getLogger(__name__).info("waiting")
    Path("waiting").touch()
    for _ in range(600):
        if Path("go").exists():
            return frame
        time.sleep(0.1)


def count(frame, late):
    return len(frame) + len(late)


def tell(db):
    logging.getLogger("kedro").warning("connecting with %s", db["password"])
    return "told"


def pass_on(frame):
    logging.getLogger(__name__).info("passed on")
    time.sleep(0.01)
    return frame, float(frame["x"].mean())


def double(number):
    logging.getLogger(__name__).info("doubled %s", number)
    return 2 * number


def log_city(city):
    from kedro_mlrun import MLRunContextManager

    MLRunContextManager().context.log_artifact("by_mlrun", body=city)
    return f"{city} →"


def register_pipelines():
    made = Node(make, "params:made", "made", name="make")
    many = [Node(make, "params:made", "frame_0", name="node_0")]
    many += [
        Node(pass_on, f"frame_{n // 4}", [f"frame_{n + 1}", f"mean_{n + 1}"], name=f"node_{n + 1}")
        for n in range(39)
    ]
    return {
        "__default__": Pipeline(many),
        "many": Pipeline(many),
        "failing": Pipeline([made, Node(fail, ["made", "params:db"], "never", name="break")]),
        "waiting": Pipeline(
            [
                made,
                Node(wait, "made", "frame_late", name="wait"),
                Node(count, ["made", "frame_late"], "mean_late", name="count"),
            ]
        ),
        "loading": Pipeline(
            [
                Node(make, "params:made", "frame_0", name="before"),
                Node(len, "nowhere", "length", name="load"),
                Node(make, "params:made", "frame_1", name="after"),
            ]
        ),
        "first": Pipeline([Node(double, "params:made.rows", "mean_first", name="first")]),
        "city": Pipeline([Node(log_city, "params:city", "mean_city", name="größe")]),
        "second": Pipeline(
            [
                Node(double, "mean_first", "mean_second", name="second"),
                Node(double, "mean_second", "mean_third", name="third"),
            ]
        ),
        "telling": Pipeline([Node(tell, "params:db", "told", name="tell")]),
    }
"""
CATALOG = """
made:
  type: kedro_mlrun.MLRunDataframeDataset
"frame_{n}":
  type: kedro_mlrun.MLRunDataframeDataset
"mean_{n}":
  type: kedro_mlrun.MLRunResult
nowhere:
  type: text.TextDataset
  filepath: data/nowhere.txt
told:
  type: text.TextDataset
  filepath: data/told.txt
  credentials: db
"""
PARAMETERS = "made: {rows: 7}\ncity: Zürich\ndb: {user: me, password: hunter2}\n"
SCRIPT = """
import json
from kedro_mlrun.datasets import *
project = MLRunContextManager().project.metadata.name
import mlrun
db = mlrun.get_run_db()
def runs():
    return db.list_runs(project=project, start_time_from="2000-01-01T00:00:00+00:00")
"""


@pytest.fixture
def project(bake: Callable[..., Folder]) -> Folder:
    """A generated project with the pipelines of this file beside its own."""
    project = bake()
    package = project.path / "src" / "breast_cancer"
    (package / "pipeline_registry.py").write_text(REGISTRY)
    settings = project.path / "conf" / "base" / "mlrun.yml"
    settings.write_text(settings.read_text().replace("datasets: []", "datasets: [told]"))
    with (project.path / "conf" / "base" / "catalog.yml").open("a") as catalog:
        catalog.write(CATALOG)
    (project.path / "conf" / "base" / "parameters.yml").write_text(PARAMETERS, encoding="utf-8")
    (project.path / "conf" / "local" / "credentials.yml").write_text(
        "db: {user: me, password: hunter2}\n"
    )
    return project


def kedro(project: Folder, *arguments: str, ok: bool = True, **variables: str) -> str:
    """Run kedro, and give all that it prints."""
    done = project.run(KEDRO, *arguments, ok=ok, **variables)
    return done.stdout + done.stderr


def python(project: Folder, code: str, **variables: str) -> Any:
    """Run code in a process of its own, and give what it prints last, which is JSON."""
    done = project.run(PYTHON, "-c", SCRIPT + code, PYTHONPATH="src", **variables)
    return json.loads(done.stdout.splitlines()[-1])


def records(project: Folder) -> list[dict[str, Any]]:
    """Give MLRun's records of all runs, newest first, those of killed processes set to aborted."""
    return python(
        project,
        "MLRunContextManager().abort_lost_runs()\n"
        "print(json.dumps([db.read_run(r['metadata']['uid'], r['metadata']['project']) "
        "for r in runs()], default=str))",
    )


def logged(project: Folder, run: str = "last") -> str:
    """Give the log of a run."""
    return project.run(KEDRO, "mlrun", "logs", run).stdout


def start(project: Folder, pipeline: str, **variables: str) -> subprocess.Popen[str]:
    """Start a run, and wait until its last node is at work."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    process = project.start("run", f"--pipelines={pipeline}", variables=variables, **streams)
    for _ in range(600):
        if (project.path / "waiting").exists():
            return process
        time.sleep(0.1)
    process.kill()
    raise AssertionError(process.communicate()[0])


def test_a_run_that_fails_is_stopped_or_killed_says_so(project: Folder) -> None:
    """What it had saved by then is there, and loads."""
    kedro(project, "run", "--pipelines=failing", ok=False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
        process = start(project, "waiting")
        while number == signal.SIGKILL and "waiting" not in logged(project):
            time.sleep(0.1)
        process.send_signal(number)
        process.communicate(timeout=60)
        (project.path / "waiting").unlink()
    killed, interrupted, stopped, failed = records(project)

    assert failed["status"]["state"] == "error"
    first, _, rest = failed["status"]["error"].partition("\n\n")
    assert first == "Node 'break': ValueError: no connection with *****"
    assert "Traceback" in rest and "in fail" in rest
    for run, reason in (
        (stopped, "It was stopped by SIGTERM."),
        (interrupted, "It was stopped by Ctrl-C."),
        (killed, "ended without recording its end."),
    ):
        assert run["status"]["state"] == "aborted"
        assert run["status"]["error"].endswith(reason)
    uids = [run["metadata"]["uid"] for run in (failed, stopped, interrupted, killed)]
    loaded, logs = python(
        project,
        f"uids = {uids}\nprint(json.dumps(["
        "[len(MLRunDataframeDataset('made', load_args={'uid': uid}).load()) for uid in uids], "
        "[db.get_log(uid, project)[1].decode() for uid in uids]]))",
    )
    assert loaded == [7] * 4
    ends = ["ValueError: no connection with *****", "stopped by SIGTERM.", "stopped by Ctrl-C."]
    for log, end in zip(logs, [*ends, "breast_cancer.pipeline_registry: waiting"], strict=True):
        assert end in log
    for run in (failed, stopped, interrupted):
        assert "kedro.nodes" in run["status"]["artifact_uris"]


RUNNERS = ["SequentialRunner", "ThreadRunner", "ParallelRunner", "SequentialRunner --async"]


@pytest.mark.parametrize("runner", RUNNERS)
def test_each_runner_records_all_of_a_run_once(project: Folder, runner: str) -> None:
    printed = kedro(project, "run", "--pipelines=many", *f"--runner={runner}".split())
    assert "Traceback" not in printed
    (run,) = records(project)
    assert run["status"]["state"] == "completed"
    frames = {f"frame_{n}" for n in range(40)}
    own = {f"kedro.{name}" for name in ("nodes", "pipeline", "parameters", "catalog")}
    assert run["status"]["artifact_uris"].keys() == frames | own
    assert run["status"]["results"] == {f"mean_{n}": 3.0 for n in range(1, 40)}
    assert run["metadata"]["labels"]["pipeline"] == "many"
    assert run["spec"]["parameters"]["kedro.runner"] == runner.partition(" ")[0]
    stored, nodes, log = python(
        project,
        f"records = db.list_artifacts(project=project, tree={run['metadata']['uid']!r})\n"
        "nodes = MLRunDataframeDataset('kedro.nodes').load().to_json(orient='records')\n"
        "keys = [record['metadata']['key'] for record in records]\n"
        f"log = db.get_log({run['metadata']['uid']!r}, project)[1].decode()\n"
        "print(json.dumps([keys, json.loads(nodes), log]))",
    )
    assert sorted(stored) == sorted(frames | own)
    for action in ("run", "load", "save"):
        steps = [step for step in nodes if step["action"] == action]
        counted = {(step["node"], step["dataset"]) for step in steps}
        assert len(steps) == len(counted)
        assert {step["node"] for step in steps} == {f"node_{n}" for n in range(40)} - (
            {"node_0"} if action == "load" else set()
        )
        assert all(step["seconds"] >= 0 for step in steps)
    assert log.count("INFO breast_cancer.pipeline_registry: passed on") == 39


def test_a_result_as_input_is_found_in_every_kind_of_process(project: Folder) -> None:
    """Law 7: in a worker that isn't forked, and in a run that isn't recorded, too."""
    kedro(project, "run", "--pipelines=first")
    spawned = {"KEDRO_MP_CONTEXT": "spawn", "PYTHONPATH": "src"}
    # More nodes than workers: Kedro 1.7 breaks a worker's log with its first one.
    runner = "one_worker.OneWorker"
    (project.path / "src" / "one_worker.py").write_text(
        "from functools import partial\nfrom kedro.runner import ParallelRunner\n"
        "OneWorker = partial(ParallelRunner, max_workers=1)\n"
    )
    command = (KEDRO, "run", "--pipelines=second", f"--runner={runner}")
    project.run(*command, **spawned)
    second, _ = records(project)
    assert second["status"]["results"] == {"mean_second": 28, "mean_third": 56}
    assert re.findall(r"doubled (\d+)", logged(project, second["metadata"]["uid"])) == ["14", "28"]
    settings = project.path / "conf" / "base" / "mlrun.yml"
    skipped = settings.read_text().replace("skip_pipelines: []", "skip_pipelines: [second]")
    settings.write_text(skipped)
    project.run(*command, **spawned)
    kedro(project, "run", "--pipelines=second")
    assert len(records(project)) == 2


def test_a_run_needs_no_installation_no_git_and_no_utf8(project: Folder, tmp_path: Path) -> None:
    """Law 10: the hooks stand in settings.py, the record lacks the commit alone, texts are whole.

    Files are UTF-8 in any locale, and a terminal gets what it has letters for.
    """
    python = environment_of_the_lock(project.at(tmp_path / "environment"))
    empty = str(project.at(tmp_path / "empty").path)
    ascii_only = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    command = (python, "-m", "kedro", "run", "--pipelines=city")
    done = project.run(*command, fork=False, PYTHONPATH="src", PATH=empty, **ascii_only)
    # Kedro's log goes by Python's rules; click makes UTF-8 of ASCII.
    assert "Completed node: gr\\xf6\\xdfe" in done.stdout
    assert "mean_city  Zürich →" in done.stdout
    (run,) = records(project)
    assert run["status"]["state"] == "completed"
    assert "git-commit" not in run["metadata"]["labels"]
    assert run["status"]["results"] == {"mean_city": "Zürich →"}
    assert run["spec"]["parameters"]["city"] == "Zürich"
    [written] = (project.path / ".mlrun").rglob("by_mlrun*")
    assert written.read_bytes() == "Zürich".encode()


def test_a_run_needs_no_place_in_the_projects_folder(project: Folder, tmp_path: Path) -> None:
    """Law 11: nothing is written beside store and artifacts, here because it can't be."""
    (project.path / ".mlrun").touch()
    elsewhere = {"MLRUN_DBPATH": f"sqlite:///{tmp_path}/store/runs.db"}
    elsewhere["MLRUN_ARTIFACT_PATH"] = f"{tmp_path}/artifacts"
    before = project.files().keys()
    kedro(project, "run", "--pipelines=many", PYTHONDONTWRITEBYTECODE="1", **elsewhere)
    assert "completed" in kedro(project, "mlrun", "runs", **elsewhere)
    assert project.files().keys() == before


def test_a_load_that_fails_names_its_node(project: Folder) -> None:
    """Also where the nodes run in threads, one beside the other."""
    for runner in ("SequentialRunner", "ThreadRunner"):
        kedro(project, "run", "--pipelines=loading", f"--runner={runner}", ok=False)
    for run in records(project):
        assert run["status"]["error"].startswith("Node 'load': DatasetError: ")


def test_a_password_is_nowhere(project: Folder) -> None:
    printed = [
        kedro(project, "run", "--pipelines=telling", "--params=db.password=hunter2,made.rows=3"),
        kedro(project, "run", "--pipelines=failing", ok=False),
        kedro(project, "run", "--pipelines=telling", "--runner=ParallelRunner"),
    ]
    newest, failed, _ = records(project)
    # In a worker process, too.
    assert "told" in newest["status"]["artifact_uris"]
    assert failed["spec"]["parameters"]["db.user"] == "me"
    assert failed["spec"]["parameters"]["db.password"] == "*****"
    assert "connecting with *****" in printed[0]
    assert [text for text in printed if "hunter2" in text] == []
    holding = [
        path
        for path in (project.path / ".mlrun").rglob("*")
        if path.is_file() and b"hunter2" in path.read_bytes()
    ]
    assert holding == []


def test_two_sessions_in_one_process_are_two_runs(project: Folder) -> None:
    code = """
from pathlib import Path
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
bootstrap_project(Path.cwd())
try:
    with KedroSession.create() as session:
        session.run(pipeline_names=["failing"])
except ValueError:
    pass
with KedroSession.create() as session:
    session.run(pipeline_names=["many"])
print(json.dumps([[run["metadata"]["name"], run["status"]["state"]] for run in runs()]))
"""
    assert python(project, code) == [["many", "completed"], ["failing", "error"]]


def test_a_notebook_reads_without_a_run(project: Folder) -> None:
    """And a cell that is interrupted leaves no run that says it is running."""
    kedro(project, "run", "--pipelines=many")
    code = """
from IPython.testing.globalipapp import start_ipython
shell = start_ipython()
shell.run_cell("%load_ext kedro.ipython").raise_error()
shell.run_cell("frame = catalog.load('frame_3')").raise_error()
assert len(shell.user_ns["frame"]) == 7
shell.run_cell("from kedro_mlrun.datasets import *\\nMLRunResult('seen').save(1)").raise_error()
shell.run_cell("%reload_kedro").raise_error()
before = len(runs())
shell.run_cell('''
import signal
from pathlib import Path
def interrupt(*_):
    if Path("waiting").exists():
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.raise_signal(signal.SIGINT)
signal.signal(signal.SIGALRM, interrupt)
signal.setitimer(signal.ITIMER_REAL, 0.2, 0.2)
session.run(pipeline_names=["waiting"])
''')
print(json.dumps([before, [run["status"]["state"] for run in runs()]]))
"""
    # The run in the middle is the one that was opened by saving something.
    assert python(project, code) == [2, ["aborted", "running", "completed"]]


def test_an_api_that_does_not_answer_stops_the_run_at_its_start(project: Folder) -> None:
    """In one sentence that names its address, and the embedded store as the way out."""
    for address in ("http://127.0.0.1:9", "http://me:hunter2@127.0.0.1:9"):
        command = (KEDRO, "run", "--pipelines=many")
        done = project.run(*command, ok=False, MLRUN_DBPATH=address)
        printed = done.stdout + done.stderr
        assert "The MLRun API at http://127.0.0.1:9 doesn't answer" in printed
        assert "MLRUN_DBPATH=sqlite:///.mlrun/mlrun.db" in printed
        assert "Traceback" not in printed and "hunter2" not in printed


def test_nothing_is_lost_when_the_api_goes_away(project: Folder) -> None:
    """What can't be sent is in the embedded store, whole, and says where it belongs."""
    # MLRun tries again for half a minute, if it is let.
    impatient = {"MLRUN_HTTPDB__RETRY_API_CALL_ON_EXCEPTION": "disabled"}
    impatient["MLRUN_HTTP_RETRY_DEFAULTS__MAX_RETRIES"] = "0"
    with stub_api(own_port()) as api:
        process = start(project, "waiting", MLRUN_DBPATH=api.url, **impatient)
        api.shutdown()
        api.server_close()
        (project.path / "go").touch()
        printed = process.communicate(timeout=60)[0]
        (sent,) = api.runs.values()
        port, before = api.server_address[1], api.artifacts
    assert sent["status"]["state"] == "running"
    assert process.returncode == 0, printed
    assert "The MLRun API doesn't answer. Trying again" in printed
    assert f"{api.url} stopped answering. The run is kept in sqlite:///" in printed
    assert f"mlrun push {sent['metadata']['uid'][:8]}" in printed
    assert "Retrying" not in printed and "Traceback" not in printed

    (kept,) = records(project)
    assert kept["metadata"]["uid"] == sent["metadata"]["uid"]
    assert kept["metadata"]["labels"]["unsent-to"] == api.url
    assert kept["status"]["state"] == "completed"
    # The last node loaded what was sent before, too.
    assert kept["status"]["results"] == {"mean_late": 14}
    assert {"made", "frame_late"} <= kept["status"]["artifact_uris"].keys()
    # What was sent before, under other uids, is whole as well.
    *loaded, log = python(
        project,
        f"uid = {kept['metadata']['uid']!r}\n"
        "loaded = [len(MLRunDataframeDataset(key, load_args={'uid': uid}).load()) "
        "for key in ('made', 'frame_late')]\n"
        "print(json.dumps([*loaded, db.get_log(uid, project)[1].decode()]))",
    )
    assert loaded == [7, 7]
    assert "waiting" in log and "Completed node: count" in log

    # Later, from where MLRun is told to record now, it is sent; once.
    with stub_api(port) as api:
        api.runs, api.artifacts = {sent["metadata"]["uid"]: sent}, dict(before)
        api.projects["breast-cancer"] = {"metadata": {"name": "breast-cancer"}, "spec": {}}
        printed = kedro(project, "mlrun", "push")
        # Those that it had before are not sent again.
        missing = {"frame_late", "kedro.nodes"}
        assert f"with {len(missing)} artifacts" in printed and f"to {api.url}" in printed
        (arrived,) = api.runs.values()
        requests = len(api.requests)
        assert "MLRUN_DBPATH=https://" in kedro(project, "mlrun", "push", ok=False)
        assert "MLRUN_DBPATH=https://" in kedro(project, "mlrun", "push", "last", ok=False)
        assert len(api.requests) == requests
        printed = kedro(project, "mlrun", "push", MLRUN_DBPATH=api.url)
        assert printed.startswith("Nothing of project")
        printed = kedro(project, "mlrun", "push", "last", MLRUN_DBPATH=api.url)
        assert f"{api.url} has run 'waiting'" in printed
    assert arrived["status"]["state"] == "completed"
    assert "unsent-to" not in arrived["metadata"]["labels"]
    added = [artifact for uid, artifact in api.artifacts.items() if uid not in before]
    assert {artifact["metadata"]["key"] for artifact in added} == missing
    named = arrived["status"]["artifact_uris"].values()
    assert {uri.rpartition("^")[2] for uri in named} == set(api.artifacts)


def test_push_says_what_it_did(project: Folder, tmp_path: Path) -> None:
    """A line for each run, and in the end all; what can't be sent is exit code 1."""
    kedro(project, "run", "--pipelines=many")
    kedro(project, "run", "--pipelines=failing", ok=False)
    team = {"MLRUN_ARTIFACT_PATH": str(tmp_path / "team")}
    (newest, oldest) = records(project)
    with stub_api() as api:
        file = Path(artifact_path(project, newest, "made"))
        file.rename(file.with_suffix(".gone"))
        done = project.run(KEDRO, "mlrun", "push", ok=False, MLRUN_DBPATH=api.url, **team)
        assert done.returncode == 1
        number = len(oldest["status"]["artifact_uris"])
        (last,), first = done.stdout.splitlines(), done.stderr.splitlines()[0]
        assert first.startswith(f"Sent run 'many' {oldest['metadata']['uid']} with {number} art")
        assert last.startswith(f"Sent 1 run with {number} artifacts, ")
        assert last.endswith("1 could not be sent.")
        assert f"the file of its artifact 'made' is gone: {file}" in done.stderr
        file.with_suffix(".gone").rename(file)
        printed = project.run(KEDRO, "mlrun", "push", "--json", MLRUN_DBPATH=api.url, **team)
        (run,) = json.loads(printed.stdout)
        assert (run["uid"], run["state"]) == (newest["metadata"]["uid"], "sent")
        loaded = python(
            project,
            "print(json.dumps(len(MLRunDataframeDataset('made', load_args="
            f"{{'tree': {run['uid']!r}}}).load())))",
            MLRUN_DBPATH=api.url,
        )
        assert loaded == 7
        assert kedro(project, "mlrun", "push", "nobody", ok=False, MLRUN_DBPATH=api.url).startswith(
            "Error: Project 'breast-cancer' has no run 'nobody'."
        )


def artifact_path(project: Folder, run: dict[str, Any], key: str) -> str:
    """Where an artifact of a run has its file."""
    uri = run["status"]["artifact_uris"][key]
    return str(json.loads(kedro(project, "mlrun", "open", uri, "--json"))["path"])
