"""One job, wherever it is started: the same records, nothing secret, nothing else needed."""

import json
import os
import re
import select
import signal
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import PYTHON, VENV, Folder, changes, commit

BIN = VENV / "bin"
KEDRO, MLRUN = BIN / "kedro", BIN / "mlrun"
PACKAGE = "breast_cancer"
FILES = {
    "training_set": "training_set.parquet",
    "xgboost_model": "model.pkl",
    "kedro.nodes": "kedro.nodes.parquet",
}
# Few trees, so that it is quick.
QUICK = {
    "random_forest.model.arguments.n_estimators": 5,
    "xgboost.model.arguments.n_estimators": 5,
    "split.seed": 3,
}
PARAMS = ",".join(f"{name}={value}" for name, value in QUICK.items())
PLANTED = ("in-credentials-8f3a1", "in-env-77b2c", "in-local-5e90d", "given-to-mlrun-1c4f6")


def shown(project: Folder, which: str = "last", **variables: str) -> Any:
    """What is recorded of a run."""
    done = project.run(KEDRO, "mlrun", "show", which, "--json", **variables)
    return json.loads(done.stdout)


def records(run: Any) -> Any:
    """What is the same of two runs of the same."""
    parameters = {
        name: value
        for name, value in run["parameters"].items()
        if not name.startswith("kedro.") and name != "pipeline"
    }
    artifacts = run["artifacts"]
    keys = sorted(artifacts) if isinstance(artifacts, dict) else sorted(map(str, artifacts))
    return run["state"], run["results"], parameters, keys


def test_each_way_to_run_gives_the_same_records(bake: Callable[..., Folder]) -> None:
    """Laws 4, 11: kedro run, the local launcher, MLRun's own command, and a submitted job."""
    project = bake()
    commit(project)
    project.run(KEDRO, "run", f"--params={PARAMS}")
    expected = records(shown(project))
    assert expected[0] == "completed"

    def logged(line: str) -> int:
        return project.run(KEDRO, "mlrun", "logs", "last").stdout.count(line)

    project.make("run-local", f"PARAMS={PARAMS}")
    assert records(shown(project)) == expected
    assert logged("Completed node: rank") == 1

    options = [f"-p{name}={value}" for name, value in QUICK.items()]
    project.run(MLRUN, "run", "-f", "function.yaml", "--local", *options, PYTHONPATH="src")
    assert records(shown(project)) == expected
    assert logged("Completed node: rank") == 1

    watched = project.make("submit-mlrun", f"PARAMS={PARAMS}", "WATCH=1").stdout
    assert records(shown(project)) == expected
    # Its log as it came, then the table that run-local ends with.
    log, _, table = watched.partition("MLRun run 'training+evaluation'")
    assert "Completed node: rank" in log
    assert "best_model" in table and "leaderboard.parquet" in table
    assert logged("Completed node: rank") == 1
    assert changes(project) == ""


def test_data_and_secrets_from_the_command_line(bake: Callable[..., Folder]) -> None:
    """`mlrun run` as in MLRun's own documents: parameters, an input, secrets from a file."""
    project = bake()
    lines = (project.path / "data/01_raw/measurements.csv").read_text().splitlines()
    other = project.path / "data/01_raw/other.csv"
    other.write_text("\n".join(lines[:301]) + "\n")
    (project.path / "secrets.txt").write_text(f"DB_PASSWORD={PLANTED[3]}\n")
    credentials = project.path / "conf/base/credentials.yml"
    credentials.write_text("db: {password: '${mlrun.secret:DB_PASSWORD}'}\n")
    command = [MLRUN, "run", "-f", "function.yaml", "--local", "-p", "pipeline=training"]
    command += [f"-p{name}={value}" for name, value in QUICK.items()]
    command += ["-p", "xgboost.model.arguments.max_depth=3", "-s", "file=secrets.txt"]
    command += ["-i", "measurements=data/01_raw/other.csv"]
    project.run(*command, PYTHONPATH="src")
    run = shown(project)
    assert (run["state"], run["parameters"]["xgboost.model.arguments.max_depth"]) == (
        "completed",
        3,
    )
    assert run["inputs"]["measurements"] == "data/01_raw/other.csv"
    nodes = project.run(KEDRO, "mlrun", "open", "training_set@last").stdout.strip()
    rows = f"import pandas; print(len(pandas.read_parquet({nodes!r})))"
    assert int(project.run(PYTHON, "-c", rows).stdout) == 225
    assert not found_in(project.path / ".mlrun", PLANTED[3])

    # Without the secret nothing runs, and the message says which one it is.
    done = project.run(KEDRO, "run", "--pipelines=training", ok=False)
    assert "takes the secret 'DB_PASSWORD'" in done.stderr and "Traceback" not in done.stderr
    project.run(KEDRO, "run", "--pipelines=training", f"--params={PARAMS}", DB_PASSWORD=PLANTED[3])


def test_a_job_that_fails(bake: Callable[..., Folder], tmp_path: Path) -> None:
    """Law 11: exit code 1 with the node's own error, and nothing stays in the temporary folder."""
    project = bake()
    temporary = project.at(tmp_path / "temporary").path
    away = {"TMPDIR": str(temporary)}
    params = "--params=split.target=nothing"
    for how in ("--local", "--watch"):
        command = (KEDRO, "mlrun", "submit", "-p", "training", params, how)
        done = project.run(*command, ok=False, **away)
        assert (done.returncode, [*temporary.iterdir()]) == (1, [])
        log, _, table = done.stdout.partition("MLRun run 'training'")
        reason = "ValueError: Column 'nothing' is not in the data"
        assert table.count(f"Node 'split': {reason}") == 1
        # The job's log says it, too, above and in the traceback; what is run here has none.
        assert (log + done.stderr).count(reason) == (2 if how == "--watch" else 0)
        run = shown(project)
        assert run["state"] == "error"
        assert "in split_data" in run["error"]
    done = project.make("submit-mlrun", "PIPELINE=training", "PARAMS=split.sed=1", ok=False)
    assert "Did you mean 'split.seed'?" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_mlruns_own_command_without_a_store(bake: Callable[..., Folder]) -> None:
    """It has none without MLRUN_DBPATH; how a run or a sweep ends is recorded all the same."""
    project = bake()
    command = [MLRUN, "run", "-f", "function.yaml", "--local", "-p", "pipeline=training"]
    done = project.run(*command, "-p", "load_versions=nothing", ok=False, PYTHONPATH="src")
    assert done.returncode == 1
    assert shown(project)["state"] == "error"

    # A sweep, whose iterations have worker processes, in an environment with a store of its own.
    other = project.path / "conf/other/mlrun.yml"
    other.parent.mkdir()
    other.write_text("project: breast-cancer\ndbpath: sqlite:///.mlrun/other.db\n")
    options = [f"-p{name}={value}" for name, value in QUICK.items() if name != "split.seed"]
    options += ["-p", "env=other", "-p", "runner=ParallelRunner"]
    options += ["-x", "split.seed=[1, 2]", "--selector", "max.train.xgboost.accuracy"]
    project.run(*command, *options, PYTHONPATH="src")
    run = shown(project, KEDRO_ENV="other")
    best = run["results"]["best_iteration"]
    assert run["state"] == "completed"
    text = project.run(KEDRO, "mlrun", "show", "last", "--env", "other").stdout
    for key, file in FILES.items():
        assert re.search(rf"\.mlrun/artifacts/{run['uid']}(-{best})?/{key}/\w{{8}}/{file}", text)
    assert shown(project)["state"] == "error"
    # The sweep's summary is with its run, too.
    assert not (project.path / "kedro-run").exists()
    assert list(project.path.glob(f".mlrun/artifacts/{run['uid']}/**/iteration_results.csv"))


def test_two_submitted_at_once(bake: Callable[..., Folder]) -> None:
    """Row 1: both end well, each with its own results."""
    project = bake()
    uids = []
    for seed in (1, 2):
        command = [KEDRO, "mlrun", "submit", "--json", f"--params={PARAMS},split.seed={seed}"]
        uids.append(json.loads(project.run(*command).stdout)["uid"])
    for uid in uids:
        project.run(KEDRO, "mlrun", "logs", uid, "--follow")
    first, second = (shown(project, uid) for uid in uids)
    assert first["state"] == second["state"] == "completed"
    assert first["results"] != second["results"]
    # The code was sent once.
    assert len([*(project.path / ".mlrun/artifacts/source").iterdir()]) == 1
    assert [*(project.path / ".mlrun/jobs").glob("*/code")] == []


def test_the_source_is_all_that_a_job_needs(bake: Callable[..., Folder], tmp_path: Path) -> None:
    """Row 2: unpacked in an empty folder, without the project being installed, or there."""
    project = bake()
    unpacked, store = tmp_path / "pod", tmp_path / "store"
    code = (
        "from kedro_mlrun.jobs import source; from pathlib import Path; "
        f"print(source.upload(source.pack(Path(), 50), {str(tmp_path)!r}))"
    )
    sent = project.run(PYTHON, "-c", code, PYTHONPATH="src").stdout.splitlines()[-1]
    with tarfile.open(sent) as archive:
        archive.extractall(unpacked, filter="data")
    project.path.rename(tmp_path / "moved")
    pod = project.at(unpacked / "src")
    importable = pod.at(tmp_path / "empty").run(PYTHON, "-c", f"import {PACKAGE}", ok=False)
    assert importable.returncode == 1
    task = {
        "metadata": {"name": "training", "uid": "1f" * 16, "project": "breast-cancer"},
        "spec": {
            "parameters": {"pipeline": "training", **QUICK},
            "output_path": f"{store}/artifacts",
            "handler": "kedro_mlrun.jobs.handler.run",
        },
    }
    # What a pod runs; the import lets it use the embedded store.
    start = "import kedro_mlrun; from mlrun.__main__ import main; main()"
    command = ["run", "--from-env", "--handler", "kedro_mlrun.jobs.handler.run"]
    variables = {
        "MLRUN_EXEC_CONFIG": json.dumps(task),
        "MLRUN_DBPATH": f"sqlite:///{store}/mlrun.db",
        "MLRUN_ACTIVE_PROJECT": "breast-cancer",
    }
    done = pod.run(PYTHON, "-c", start, *command, **variables)
    assert "Completed node: score_training" in done.stdout
    there = pod.at(unpacked)
    run = shown(there, "1f" * 16, **variables)
    assert run["state"] == "completed"
    assert "train.xgboost.accuracy" in run["results"]


def found_in(folder: Path, text: str) -> list[Path]:
    """The files that hold a text, also within archives."""
    found = []
    for path in filter(Path.is_file, folder.rglob("*")):
        content = path.read_bytes()
        if path.name.endswith(".tar.gz"):
            with tarfile.open(path) as archive:
                for member in filter(tarfile.TarInfo.isfile, archive):
                    file = archive.extractfile(member)
                    content += file.read() if file else b""
        if text.encode() in content:
            found.append(path)
    return found


def test_no_secret_is_sent(bake: Callable[..., Folder]) -> None:
    """Row 3: in the archive, the function, the task, the records and the logs."""
    project = bake()
    local = project.path / "conf/local"
    (local / "credentials.yml").write_text(f"db: {{password: {PLANTED[0]}}}\n")
    (local / "parameters.yml").write_text(f"note: {PLANTED[2]}\n")
    (project.path / ".env").write_text(f"API_TOKEN={PLANTED[1]}\n")
    base = project.path / "conf/base/credentials.yml"
    base.write_text("team: {password: '${mlrun.secret:TEAM}'}\n")
    command = [KEDRO, "mlrun", "submit", "-p", "training", "--watch"]
    done = project.run(*command, f"--params={PARAMS}", TEAM=PLANTED[3])
    dry = project.run(*command[:-1], "--dry-run", TEAM=PLANTED[3])
    for secret in PLANTED:
        assert found_in(project.path / ".mlrun", secret) == []
        assert secret not in done.stdout + done.stderr + dry.stdout + dry.stderr
    # The reference is sent, and only that.
    assert "conf/base/credentials.yml" in dry.stdout
    assert "conf/local" not in dry.stdout.partition("left_out")[0]

    (project.path / "src" / PACKAGE / "notes.py").write_text(f"# {PLANTED[0]}\n")
    done = project.run(*command, ok=False, TEAM=PLANTED[3])
    assert f"src/{PACKAGE}/notes.py, line 1, holds" in done.stderr
    (project.path / "src" / PACKAGE / "notes.py").unlink()
    function = project.path / "function.yaml"
    kept = function.read_text()
    function.write_text(kept.replace('DO_NOT_TRACK, value: "1"', f"TOKEN, value: {PLANTED[0]}"))
    done = project.run(*command, ok=False, TEAM=PLANTED[3])
    assert "function.yaml, line 23, holds what is known as a secret" in done.stderr
    function.write_text(kept.replace('DO_NOT_TRACK, value: "1"', "TOKEN, value: not-known-before"))
    done = project.run(*command, ok=False, TEAM=PLANTED[3])
    assert "'TOKEN' its value, which seems to be a secret" in done.stderr
    function.write_text(kept)
    (project.path / "conf/base/parameters.yml").write_text("db: {password: ''}\n")
    done = project.run(*command, "--params=db.password=x", ok=False, TEAM=PLANTED[3])
    assert (done.returncode, "seems to be a secret" in done.stderr) == (2, True)


@pytest.mark.parametrize(("answer", "state"), [("y", "aborted"), ("n", "completed")])
def test_ctrl_c_asks_what_becomes_of_the_job(
    bake: Callable[..., Folder], answer: str, state: str
) -> None:
    """On a terminal, while the job's log is followed."""
    project = bake()
    terminal, inner = os.openpty()
    # One that is to be aborted must not have ended before.
    params = PARAMS if answer == "n" else "random_forest.model.arguments.n_estimators=20000"
    command = ("mlrun", "submit", "--watch", f"--params={params}")
    process = project.start(*command, stdin=inner, stdout=inner, stderr=inner)
    os.close(inner)

    def read_until(text: str) -> None:
        shown = ""
        while text not in shown:
            assert select.select([terminal], [], [], 60)[0], shown
            shown += os.read(terminal, 4096).decode()

    read_until("Kedro project")
    process.send_signal(signal.SIGINT)
    read_until("as well? [y/N]")
    os.write(terminal, f"{answer}\n".encode())
    read_until("Aborted run" if answer == "y" else "goes on")
    assert process.wait() == 130
    os.close(terminal)
    project.run(KEDRO, "mlrun", "logs", "last", "--follow", ok=state == "completed")
    assert shown(project)["state"] == state
