"""`kedro mlrun search --submit`: one job, and with `--distributed` a job for each trial."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import KEDRO, PYTHON, Folder
from helpers import Store, new_store
from searched import SEARCH, counts, recorded, search
from stub_api import stub_api

from kedro_mlrun.jobs import background
from kedro_mlrun.search.config import SearchConfig
from kedro_mlrun.search.trials import Study

JOBS = ("--submit", "--distributed")
LABEL = "mlrun/parent-run"
# As if the search had been killed before it recorded the second trial.
FORGET = """
from kedro_mlrun import *
db, project = MLRunContextManager().to_read()
db.update_run({{"metadata.annotations": {{}}}}, "{uid}", project, iter=2)
db.update_run({{"status.state": "error"}}, "{uid}", project)
"""


@pytest.fixture
def project(project: Folder) -> Folder:
    """A project where what the nodes of jobs do is counted in its own folder."""
    variables = {"COUNTS": str(project.path), "REAL_PYTHON": ""}
    return replace(project, variables={**project.variables, **variables})


def submitted(project: Folder, *options: str) -> str:
    """Submit a search, wait for its end, and give its id."""
    uid = search(project, *options)["uid"]
    project.run(KEDRO, "mlrun", "logs", uid, "--follow", ok=False)
    return str(uid)


def runs_of(project: Folder, uid: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Give a search's own record with those of its iterations, and those of its jobs."""
    runs = recorded(project)
    own = [run for run in runs if run["metadata"]["uid"] == uid]
    jobs = [run for run in runs if run["metadata"]["labels"].get(LABEL) == uid]
    return own, sorted(jobs, key=lambda run: str(run["metadata"]["name"]))


def xs(runs: list[dict[str, Any]]) -> list[float]:
    return [run["spec"]["parameters"]["model.x"] for run in runs]


def listed(project: Folder, *options: str) -> list[str]:
    done = project.run(KEDRO, "mlrun", "runs", "--json", *options)
    return [run["name"] for run in json.loads(done.stdout)]


def test_each_trial_is_a_job_of_one_parent(project: Folder) -> None:
    """One that fails is an error, as is one whose job dies, and the search goes on.

    A list of runs shows the search alone. What had ended when it was killed isn't run again.
    """
    (project.path / "stop").write_text("train 3")
    options = ("--jobs", "1", "--sampler", "grid", "--set", "model.x=choice(0.2, 0.95, 0.4)")
    uid = submitted(project, *JOBS, *options)
    (run, *trials), jobs = runs_of(project, uid)
    assert (run["status"]["state"], run["status"]["results"]["best_iteration"]) == ("completed", 1)
    assert [trial["metadata"]["iteration"] for trial in trials] == [1, 2, 3]
    assert [trial["status"]["state"] for trial in trials] == ["completed", "error", "error"]
    # The first one, which tells where the metric is, runs in the parent.
    assert [job["metadata"]["name"] for job in jobs] == ["search-2", "search-3"]
    assert xs(jobs) == xs(trials[1:]) == [0.95, 0.4]
    failed, died = (trial["status"]["error"] for trial in trials[1:])
    assert failed == jobs[0]["status"]["error"] == "ValueError: x is too large"
    assert died.startswith("Its process was killed by SIGKILL.")
    assert died.endswith(f"(job {jobs[1]['metadata']['uid'][:8]})")
    assert "\n" not in died
    assert counts(project)["split"] == counts(project)["judge"] == 1
    assert listed(project) == ["search"]
    assert sorted(listed(project, "--label", f"{LABEL}={uid}")) == ["search-2", "search-3"]

    project.run(PYTHON, "-c", FORGET.format(uid=uid), PYTHONPATH="src")
    submitted(project, *JOBS, "--resume", uid)
    (run, *again), jobs = runs_of(project, uid)
    assert (run["status"]["state"], len(jobs), xs(again)) == ("completed", 2, xs(trials))
    assert [trial["status"].get("error") for trial in again] == [None, failed, died]
    # The best was in another process's memory.
    assert counts(project)["train"] == 3 + 1
    assert counts(project)["split"] == 1
    project.run(KEDRO, "mlrun", "delete", uid, "--yes")
    assert recorded(project) == []


def test_a_search_that_was_killed_as_a_job_goes_on_as_one(project: Folder) -> None:
    """Its trials' jobs end with it. Nothing is run twice that had ended, and no number is lost."""
    # Processes that are forked don't end with the one that has asked for them.
    forked = project
    project = replace(project, variables={**project.variables, "REAL_PYTHON": str(PYTHON)})
    (project.path / "parent").write_text("train 3")
    uid = submitted(project, *JOBS, "--trials", "4", "--params", "seed=4")
    (run, *trials), jobs = runs_of(project, uid)
    assert run["status"]["error"].startswith("Its process was killed by SIGKILL.")
    assert {job["status"]["state"] for job in jobs} <= {"aborted", "completed"}
    submitted(forked, "--submit", "--resume", uid)
    (run, *again), _ = runs_of(project, uid)
    assert (run["status"]["state"], run["metadata"]["labels"]["kind"]) == ("completed", "job")
    assert (run["metadata"]["name"], run["spec"]["parameters"]["seed"]) == ("search", 4)
    assert [trial["metadata"]["iteration"] for trial in again] == [1, 2, 3, 4]
    assert len(set(xs(again))) == 4
    # The first ones are those of a search in this process.
    study = Study(SearchConfig(**yaml.safe_load(SEARCH)))
    first = {number: study.ask(number) for number in (1, 2, 3, 4)}
    for trial in trials:
        assert {"model.x": xs([trial])[0]} == first[trial["metadata"]["iteration"]]
    for job in jobs:
        assert {"model.x": xs([job])[0]} == first[int(job["metadata"]["name"][-1])]
    assert "test.score" in run["status"]["results"]
    assert counts(project)["split"] == 1


def test_what_cant_be_a_job_is_said_before_it_is_sent(project: Folder) -> None:
    def refused(*options: str) -> str:
        return " ".join(search(project, *options, ok=False).split())

    assert "give --submit, too" in refused("--distributed")
    assert search(project, *JOBS, "--dry-run")["at_once"] == 2
    file = project.path / "conf" / "base" / "search.yml"
    file.write_text(f"{SEARCH}keep: all\n")
    assert "what a trial makes stays in its job" in refused(*JOBS)
    file.write_text(SEARCH)
    parameters = project.path / "conf" / "base" / "parameters.yml"
    text = parameters.read_text()
    parameters.write_text(text.replace("unused: 1", "db_password: open"))
    assert "A parameter is called like a secret" in refused(*JOBS)
    parameters.write_text(text)
    registry = project.path / "src" / "breast_cancer" / "pipeline_registry.py"
    code = registry.read_text().replace("def train(data, model: Model):", LOCKED)
    registry.write_text(code.replace("Node(train,", "Node(partial(train, lock=Lock()),"))
    assert "What the trials need can't be sent to their jobs (" in refused(*JOBS)
    assert listed(project) == []


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Store]:
    """An MLRun API with a search, three jobs of it, one of which has ended, and one of another."""
    with stub_api() as api:
        for store in new_store(api.url, tmp_path):
            db = store.manager.run_db
            for uid, parent, state in (
                ("1a", "", "running"),
                ("2b", "1a", "running"),
                ("3c", "1a", "completed"),
                ("4d", "1a", "pending"),
                ("5e", "6f", "running"),
            ):
                labels = {"kind": "job"} | ({LABEL: parent} if parent else {})
                metadata = {"uid": uid, "name": uid, "project": store.project, "labels": labels}
                run = {"metadata": metadata, "spec": {}, "status": {"state": state}}
                db.store_run(run, uid, store.project)
            yield store


def test_an_abort_reaches_the_jobs_of_trials(cluster: Store) -> None:
    """A cluster doesn't know that they belong to the search."""
    db = cluster.manager.run_db
    background.abort(db, db.read_run("1a", cluster.project), "It was aborted.")
    found = {uid: db.read_run(uid, cluster.project) for uid in ("1a", "2b", "3c", "4d", "5e")}
    assert [run["status"]["state"] for run in found.values()] == [
        *("aborted", "aborted", "completed", "aborted", "running")
    ]


LOCKED = """from functools import partial
from threading import Lock


def train(data, model: Model, lock=None):"""
