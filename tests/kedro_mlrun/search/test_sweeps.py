"""MLRun's own sweeps of a project's job: `function.run(hyperparams=…)`."""

import json
from collections import Counter
from typing import Any

from conftest import KEDRO, PYTHON, Folder
from searched import counts

CODE = """
import json, sys
from kedro_mlrun import *
project = MLRunContextManager().project.metadata.name
MLRunContextManager().connect()
import mlrun
from mlrun.model import HyperParamOptions
db = mlrun.get_run_db()
function = mlrun.import_function("function.yaml")
def sweep(hyperparams, **options):
    options = HyperParamOptions(selector="max.validation.score", **options)
    try:
        function.run(params={"pipeline": "training"}, hyperparams=hyperparams,
                     hyper_param_options=options, local=True)
    except Exception as error:
        print(error, file=sys.stderr)
    runs = db.list_runs(project=project, iter=True, start_time_from="2000-01-01T00:00:00+00:00")
    runs = [run for run in runs if run["metadata"]["uid"] == runs[0]["metadata"]["uid"]]
    found = [(run["metadata"]["uid"], run["metadata"]["iteration"]) for run in runs]
    return [db.read_run(uid, project, iter=number) for uid, number in sorted(found)]
"""


def run(project: Folder, code: str) -> Any:
    done = project.run(PYTHON, "-c", f"{CODE}\n{code}", PYTHONPATH="src")
    return json.loads(done.stdout.splitlines()[-1])


def test_a_list_of_integers_and_floats_stays_what_it_is(project: Folder) -> None:
    """And the chart is drawn where a parameter is a list."""
    options = {"model.arguments.n": [2, 3], "model.x": [0.5, 0.3]}
    sweep, *trials = run(
        project, f"print(json.dumps(sweep({options!r}, strategy='list'), default=str))"
    )
    assert [trial["status"]["state"] for trial in trials] == ["completed", "completed"]
    assert [trial["spec"]["parameters"]["model.arguments.n"] for trial in trials] == [2, 3]
    assert (sweep["status"]["state"], sweep["status"]["results"]["best_iteration"]) == (
        "completed",
        2,
    )
    saved = Counter(item["metadata"]["key"] for item in sweep["status"]["artifacts"])
    assert saved["parallel_coordinates"] == saved["iteration_results"] == 1


def test_a_stop_condition_may_name_results_with_dots(project: Folder) -> None:
    """One that names none stops nothing, and the sweep ends."""
    code = """
met = sweep({"model.x": [0.5, 0.3, 0.1]}, stop_condition="validation.score > -0.001")
unmet = sweep({"model.x": [0.5, 0.3]}, stop_condition="score > -0.001")
print(json.dumps([met, unmet], default=str))
"""
    (met, *some), (unmet, *every) = run(project, code)
    assert (met["status"]["state"], len(some)) == ("completed", 2)
    assert (unmet["status"]["state"], len(every)) == ("completed", 2)
    assert counts(project)["train"] == 4


def test_what_cant_be_run_side_by_side_ends_as_an_error(project: Folder) -> None:
    """It doesn't say that it is running, for ever; without Dask, MLRun can't run it."""
    code = "print(json.dumps(sweep({'model.x': [0.5, 0.3]}, parallel_runs=2), default=str))"
    (sweep,) = run(project, code)
    assert sweep["status"]["state"] == "error"
    assert "No module named 'distributed'" in sweep["status"]["error"]


def test_what_dask_runs_logs_to_its_own_iteration(project: Folder) -> None:
    """Dask's workers call the handler with a context that MLRun hasn't made the process's."""
    code = """
from mlrun.runtimes.local import remote_handler_wrapper
from kedro_mlrun.jobs.handler import run
metadata = {"name": "sweep", "uid": "5" * 32, "project": project, "iteration": 1, "labels": {}}
task = {"metadata": metadata, "spec": {"parameters": {"pipeline": "training"}}}
record, *_ = remote_handler_wrapper(json.dumps(task), run)
runs = db.list_runs(project=project, iter=True, start_time_from="2000-01-01T00:00:00+00:00")
print(json.dumps([record, [run["metadata"]["name"] for run in runs]], default=str))
"""
    record, names = run(project, code)
    assert record["status"]["results"]["validation.score"] == -((0.5 - 0.3) ** 2)
    assert set(names) <= {"sweep"}


def test_a_sweep_shows_its_best_and_leaves_nothing_beside_its_store(project: Folder) -> None:
    """MLRun isn't told of the store, and says so once; it is recorded in the project's own."""
    before = {path.name for path in project.path.iterdir()}
    code = """
import kedro_mlrun, mlrun
function = mlrun.import_function("function.yaml")
options = mlrun.model.HyperParamOptions(selector="max.validation.score")
values = {"model.x": [0.5, 0.3]}
function.run(params={"pipeline": "training"}, hyperparams=values, hyper_param_options=options,
             local=True)
"""
    done = project.run(PYTHON, "-c", code, PYTHONPATH="src")
    told = done.stdout + done.stderr
    assert told.count("MLRUN_DBPATH is misconf") + told.count("Could not detect path") == 1
    best = [line.split() for line in told.partition("Best of 2 iterations: 2")[2].splitlines()]
    assert best[1:3] == [["validation.score", "0.0000"], ["model.x", "0.3000"]]
    found = json.loads(project.run(KEDRO, "mlrun", "show", "last", "--json").stdout)
    assert found["search"]["parameters"] == {"model.x": 0.3}
    assert f"kedro mlrun show {found['uid'][:8]}" in told
    after = {path.name for path in project.path.iterdir()}
    assert after - before == {".mlrun", "counts", "processes"}


def test_a_selector_that_names_no_result_is_told(project: Folder) -> None:
    """Not by silence; and MLRun finds the project's store as soon as the handler is there."""
    sweep = ("-f", "function.yaml", "-p", "pipeline=training", "-x", "model.x=[0.5,0.3]")
    command = (KEDRO.with_name("mlrun"), "run", "--local", *sweep, "--selector", "max.valid.score")
    done = project.run(*command)
    *_, told = done.stdout.partition("Kedro project")
    why = "No iteration is the best, for none has the result 'valid.score'. "
    assert f"{why}Did you mean 'validation.score'?" in told
    assert "MLRUN_DBPATH" not in told
