"""The commands of a generated project, as processes of their own."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

from conftest import KEDRO, Folder
from test_jobs import PARAMS

FAILING = "--params=split.target=nope"


def test_a_run_is_looked_at(bake: Callable[..., Folder]) -> None:
    """From `kedro run` with a chain id to its record; what is piped is whole, and alone."""
    project = bake()
    run = ("run", "--pipelines=training", f"--params={PARAMS}", "--chain-id=x1")
    project.run(KEDRO, *run, COLUMNS="80")
    listed = project.run(KEDRO, "mlrun", "runs", COLUMNS="20")
    assert listed.stderr == ""
    head, row = (line.split() for line in listed.stdout.splitlines())
    assert head[:3] == ["id", "name", "state"]
    found = json.loads(project.run(KEDRO, "mlrun", "show", "last", "--json").stdout)
    assert row[:3] == [found["uid"], "training", "completed"]
    assert "xgboost_model" in found["artifacts"]
    path = project.run(KEDRO, "mlrun", "open", "xgboost_model").stdout.strip()
    assert Path(path).is_file()
    # Law 7: the page's file is written without MLRun.
    timed = (sys.executable, "-X", "importtime", "-m", "kedro", "mlrun")
    done = project.run(*timed, "ui", "--export", "run.html", "--last", "1")
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "jinja2" in imported and "mlrun" not in imported
    assert "<h1>1 run</h1>" in (project.path / "run.html").read_text(encoding="utf-8")
    done = project.run(KEDRO, "mlrun", "show", "nothing", ok=False)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)


def test_a_run_that_fails_ends_in_one_line(bake: Callable[..., Folder]) -> None:
    """However it is started; the traceback is in its record."""
    project = bake()
    for command in ([KEDRO, "run"], [sys.executable, "-m", "breast_cancer"]):
        done = project.run(*command, FAILING, ok=False, PYTHONPATH="src")
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].startswith("Error: The run failed with ")
        assert "Traceback" not in done.stdout + done.stderr
    done = project.run(KEDRO, "run", "--pipelines=trainig", ok=False)
    assert "To list all pipelines: kedro registry list" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    done = project.run(KEDRO, "run", "--verbose", FAILING, ok=False)
    assert "Traceback" in done.stdout + done.stderr
    assert "Traceback" in project.run(KEDRO, "mlrun", "show", "last").stdout
