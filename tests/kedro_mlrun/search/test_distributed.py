"""`kedro mlrun search --submit --distributed`: one job, and a job for each of its trials."""

from dataclasses import replace

import pytest
from conftest import KEDRO, PYTHON, Folder
from searched import counts, recorded, search


@pytest.fixture
def project(project: Folder) -> Folder:
    """Where what nodes of jobs have done is counted in the project's folder."""
    variables = {"COUNTS": str(project.path), "REAL_PYTHON": str(PYTHON)}
    return replace(project, variables={**project.variables, **variables})


def test_each_trial_is_a_job_of_one_parent(project: Folder) -> None:
    uid = search(project, "--submit", "--distributed", "--trials", "3")["uid"]
    print(project.run(KEDRO, "mlrun", "logs", uid, "--follow").stdout)
    runs = recorded(project)
    for run in runs:
        print(
            run["metadata"]["uid"][:6],
            run["metadata"]["iteration"],
            run["metadata"]["name"],
            run["status"]["state"],
            run["status"].get("error"),
            run["metadata"]["labels"],
            run["spec"]["parameters"],
            run["status"]["results"],
            run["status"]["start_time"],
            run["status"]["last_update"],
        )
    print(counts(project))
    print(project.run(KEDRO, "mlrun", "runs").stdout)
    assert 0
