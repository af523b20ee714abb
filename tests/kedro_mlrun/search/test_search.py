"""`kedro mlrun search`: one run of many trials, in processes of their own."""

import json
import re
import shlex
import uuid
from collections import Counter
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import yaml
from conftest import KEDRO, PYTHON, Folder
from searched import REGISTRY, SEARCH, counts, recorded, search

SHOW = (KEDRO, "mlrun", "show", "last")
RUNS = ("last", "last~1")
WIDE = {"width": "int(1, 4)"}


def test_a_search_is_one_run_and_each_trial_an_iteration(project: Folder) -> None:
    """What the parameters don't reach runs once, and evaluation judges the best, once.

    The best trial's model is the one that is saved, and the run's parameters are its.
    """
    answer = search(project)
    assert counts(project) == {"split": 1, "other": 1, "train": 6, "score": 6, "judge": 1}
    run, *trials = recorded(project)
    assert [trial["metadata"]["iteration"] for trial in trials] == [1, 2, 3, 4, 5, 6]
    values = [trial["status"]["results"]["validation.score"] for trial in trials]
    best = trials[values.index(max(values))]
    x = best["spec"]["parameters"]["model.x"]
    number = best["metadata"]["iteration"]
    assert answer["uid"] == run["metadata"]["uid"]
    assert (answer["best_iteration"], answer["parameters"]) == (number, {"model.x": x})

    assert (run["metadata"]["name"], run["status"]["state"]) == ("search", "completed")
    assert run["status"]["results"] == {
        "validation.score": max(values),
        "other": 3,
        "best_iteration": number,
        "test.score": x,
    }
    parameters = run["spec"]["parameters"]
    assert (parameters["model.x"], parameters["model.arguments.n"], parameters["seed"]) == (
        x,
        2,
        3,
    )
    header, *rows = run["status"]["iterations"]
    assert header == ["state", "iter", "param.model.x", "output.validation.score"]
    assert [row[1] for row in rows] == [1, 2, 3, 4, 5, 6]
    saved = Counter(item["metadata"]["key"] for item in run["status"]["artifacts"])
    own = {"training_set", "test_set", "trained", "iteration_results", "parallel_coordinates"}
    own |= {"optimization_history", "param_importances"}
    assert {key for key in saved if not key.startswith("kedro.")} == own
    assert set(saved.values()) == {1}
    # Only one of them has Plotly in its file.
    paths = [Path(item["spec"]["target_path"]) for item in run["status"]["artifacts"]]
    assert sum(path.stat().st_size > 1e6 for path in paths if path.is_file()) == 1
    shown = json.loads(project.run(*SHOW, "--json").stdout)["search"]
    assert (shown["trials"], shown["failed"], shown["parameters"]) == (6, 0, {"model.x": x})
    assert shown["importance"] == {"model.x": 1.0}
    better = [value for number, value in enumerate(values) if value > max(values[:number] or [-9])]
    assert [each["value"] for each in shown["history"]] == better
    # By the key that it is opened by.
    (chart,) = re.findall(r"search_parallel_coordinates +(\S+)", project.run(*SHOW).stdout)
    opened = project.run(KEDRO, "mlrun", "open", "search_parallel_coordinates").stdout
    assert opened.strip().endswith(chart)
    code = "from kedro_mlrun import *; print(MLRunAbstractDataset('trained').load()['x'])"
    assert float(project.run(PYTHON, "-c", code, PYTHONPATH="src").stdout.split()[-1]) == x


def test_a_killed_search_goes_on_and_repeats_nothing(project: Folder) -> None:
    """20 trials, killed in the ninth: 20 iterations, none twice; what was saved isn't redone."""
    (project.path / "stop").write_text("train 9")
    search(project, "--trials", "20", ok=False)
    assert counts(project)["score"] == 8
    answer = search(project, "--resume", "last")
    run, *trials = recorded(project)
    assert (answer["trials"], run["status"]["state"]) == (20, "completed")
    assert [trial["metadata"]["iteration"] for trial in trials] == [*range(1, 21)]
    tried = [trial["spec"]["parameters"]["model.x"] for trial in trials]
    assert len(set(tried)) == 20
    # The one that was killed is trained anew, and so may be the best of those before.
    assert counts(project)["split"] == counts(project)["judge"] == 1
    assert 21 <= counts(project)["train"] <= 22
    assert len(run["status"]["iterations"]) == 21

    refused = search(project, "--resume", "last", ok=False)
    assert "is completed, so it can't go on" in refused


def test_what_ctrl_c_leaves_is_there(project: Folder) -> None:
    """The trials that were done are recorded, with the best of them."""
    (project.path / "interrupt").write_text("train 4")
    search(project, ok=False)
    run, *trials = recorded(project)
    assert (run["status"]["state"], run["status"]["error"]) == (
        "aborted",
        "It was stopped by Ctrl-C.",
    )
    values = [trial["status"]["results"]["validation.score"] for trial in trials]
    assert len(values) == 3
    assert run["status"]["results"]["best_iteration"] == values.index(max(values)) + 1
    assert len(run["status"]["iterations"]) == 4
    search(project, "--resume", run["metadata"]["uid"][:8])
    assert len(recorded(project)) == 7


def test_trials_in_processes_of_their_own_are_recorded_once_each(project: Folder) -> None:
    """They are at work at once, and each has what it would have had alone."""
    (project.path / "meet").touch()
    (project.path / "conf" / "base" / "search.yml").write_text(f"{SEARCH}keep: all\n")
    answer = search(project, "--jobs", "2", "--trials", "5")
    run, *trials = recorded(project)
    assert [trial["metadata"]["iteration"] for trial in trials] == [1, 2, 3, 4, 5]
    for trial in trials:
        assert {*trial["status"]["artifact_uris"]} == {"trained"}
        x = trial["spec"]["parameters"]["model.x"]
        score = trial["status"]["results"]["validation.score"]
        assert score == pytest.approx(-((x - 0.3) ** 2))
    assert run["status"]["results"]["test.score"] == answer["parameters"]["model.x"]
    assert len(set((project.path / "processes").read_text().split())) == 3
    assert counts(project)["split"] == 1


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_search_has_a_log(project: Folder, jobs: str) -> None:
    """A line for each trial as it ends, the one that is printed; and what its nodes log.

    Law 8, in processes of their own, too; and what these print is no part of the answer.
    """
    parameters = project.path / "conf" / "base" / "parameters.yml"
    secret = "{db: {password: hunter2}, "
    parameters.write_text(secret + parameters.read_text().removeprefix("{"))
    own = "logging.getLogger('breast_cancer.shop').info('with hunter2: %s', model.x)"
    registry = project.path / "src" / "breast_cancer" / "pipeline_registry.py"
    registry.write_text(
        REGISTRY.replace('count("train")', f'count("train"); import logging; {own}')
    )
    grid = ("--sampler", "grid", "--set", "model.x=choice(0.2, 0.95, 0.4, 0.3)")
    printed = project.run(
        *(KEDRO, "mlrun", "search", "--json", "--jobs", jobs, *grid),
        REAL_PYTHON=project.variables.get("REAL_PYTHON", str(PYTHON)),
    )
    log = project.run(KEDRO, "mlrun", "logs", "last").stdout
    told = re.findall(r"(?m)^Trial .*$", printed.stderr)
    assert re.findall(r"INFO kedro_mlrun.search.runner: (Trial \d of .*)", log) == told
    assert sorted(re.sub(r"\(\S+ s\)", "(s)", line) for line in told) == [
        "Trial 1 of 6 (s): validation.score -0.0100, the best so far",
        "Trial 2 of 6 (s): failed: ValueError: x is too large",
        "Trial 3 of 6 (s): validation.score -0.0100",
        "Trial 4 of 6 (s): validation.score 0.0000, the best so far",
    ]
    # With two jobs, the first trial runs in another process than the rest, and the best again.
    trained = re.findall(r"INFO breast_cancer.shop: Trial (\d): with \*+: (\S+)", log)
    assert {("1", "0.2"), ("2", "0.95"), ("3", "0.4"), ("4", "0.3")} == {*trained}
    assert ("Trial 4, the best, is run again" in log) == (jobs == "2")
    assert json.loads(printed.stdout)["best_iteration"] == 4
    assert "hunter2" not in printed.stderr


def test_what_cant_be_searched_is_said(project: Folder) -> None:
    """One sentence says what is wrong, and one what to change; what judges the best has no say."""

    def refused(*options: str) -> str:
        return " ".join(search(project, *options, ok=False).split())

    assert "has no parameter 'model.y'" in refused("--set", "model.y=int(1,2)")
    told = refused("--set", "unused=int(1,2)")
    assert "No node of pipeline 'training' takes the parameter 'unused'." in told
    assert "There is no pipeline 'trainin'. Did you mean 'training'?" in refused("-p", "trainin")
    assert not (project.path / "counts").exists()
    told = refused("--metric", "test.score")
    assert "is called 'test.score'. Change `metric`; the closest are validation.score." in told
    assert counts(project)["judge"] == 0


def test_a_misspelt_metric_is_told_before_the_first_trial(project: Folder) -> None:
    """Refused where the catalog has the names, and else told by the pipeline's last run."""
    project.run(KEDRO, "run", "--pipelines=training")
    done = project.run(KEDRO, "mlrun", "search", "--dry-run", "--metric", "validation.scor")
    told = " ".join((done.stdout + done.stderr).split())
    assert "Did you mean 'validation.score'? The first trial will tell." in told
    catalog = project.path / "conf" / "base" / "catalog.yml"
    catalog.write_text(
        catalog.read_text().replace(
            "{type: kedro_mlrun.MLRunResult, flatten: true}", "{type: kedro_mlrun.MLRunResult}"
        )
    )
    told = search(project, "--dry-run", "--metric", "validatio", ok=False)
    assert "the closest are validation." in told


def test_what_a_search_needs_is_said_before_it_begins(project: Folder) -> None:
    """Optuna, where it isn't installed; and no secret, which would be recorded with the rest."""
    secret = ("--params", "model.arguments.api_key=hunter2")
    told = " ".join(search(project, *secret, ok=False).split())
    assert "--params has a secret" in told
    assert "hunter2" not in told
    # What Python takes for a module that is missing.
    hide = "import sys\nsys.modules['optuna'] = None\n"
    (project.path / "src" / "breast_cancer" / "__init__.py").write_text(hide)
    assert "pip install 'optuna>=4,<6'" in search(project, ok=False)
    assert not (project.path / "counts").exists()


def test_a_plan_tells_what_would_run_how_often(project: Folder) -> None:
    grid = ("--json", "--dry-run", "--set", "model.x=float(0,1,0.5)", "--sampler", "grid")
    done = project.run(KEDRO, "mlrun", "search", *grid, "--trials", "2")
    assert "`trials` is 2, and the grid has more points" in " ".join(done.stderr.split())
    assert json.loads(done.stdout)["trials"] == 2
    told = search(project, *grid[1:])
    assert (told["trials"], told["metric"]) == (3, "validation.score")
    assert told["nodes"] == {
        "once": ["split"],
        "for each trial": ["train", "score"],
        "with the best": ["judge", "other"],
    }
    assert not (project.path / "counts").exists()
    (project.path / "conf" / "base" / "search.yml").write_text("- pipeline: training")
    assert "search.yml in " in (told := search(project, ok=False))
    assert "can't be read" in " ".join(told.split())


def test_what_is_told_to_run_again_gives_the_best_trial(project: Folder) -> None:
    """With all that the search was given; no command can replace a parameter that is a dict."""
    given = ("--set", "model.x=choice(0.1, 0.2)", "--env", "local")
    given += ("--params", "seed=4,model.arguments.n=5")
    done = project.run(KEDRO, "mlrun", "search", *given)
    told = done.stdout
    ended = "All combinations are tried, so the search ends after 2 of 6 trials."
    assert ended in " ".join((told + done.stderr).split())
    again = shlex.split(told.partition("To run it again: ")[2])
    project.run(KEDRO, *again[1:])
    run, best = (json.loads(project.run(*SHOW[:3], name, "--json").stdout) for name in RUNS)
    results = best["results"].items()
    assert results >= run["results"].items() > {("other", 4)}
    both = {"model": {"choice": [{"x": 0.1}, {"x": "float(0, 0.8)"}]}}
    changed = yaml.safe_load(SEARCH) | {"parameters": both}
    (project.path / "conf" / "base" / "search.yml").write_text(yaml.safe_dump(changed))
    told = project.run(KEDRO, "mlrun", "search", "--trials", "1").stdout
    assert "To run it again, write these parameters into conf/base." in told


def test_processes_end_with_a_search_that_is_killed(project: Folder) -> None:
    (project.path / "parent").write_text("train 3")
    search(project, "--jobs", "2", ok=False)
    processes = {int(pid) for pid in (project.path / "processes").read_text().split()}
    assert len(processes) > 1
    _, living = psutil.wait_procs(
        [psutil.Process(p) for p in processes if psutil.pid_exists(p)], 30
    )
    assert not living


def test_trials_that_fail_are_recorded_and_the_search_goes_on(project: Folder) -> None:
    """Unless the first three fail. One without the metric, or with NaN, is one that fails."""
    others = "return {'score': {'validation': {0.5: {'score': float('nan')}, 0.6: {'other': 1}}"
    others = f"if trained['x'] in {{0.5, 0.6}}:\n        {others}[trained['x']]}}}}\n    bonus ="
    registry = project.path / "src" / "breast_cancer" / "pipeline_registry.py"
    registry.write_text(REGISTRY.replace("bonus =", others))
    values = "model.x=choice(0.95, 0.2, 0.5, 0.6, 0.4)"
    answer = search(project, "--set", values, "--sampler", "grid")
    run, *trials = recorded(project)
    states = ["error", "completed", "error", "error", "completed"]
    assert [trial["status"]["state"] for trial in trials] == states
    assert [trial["status"].get("error") for trial in trials if trial["status"].get("error")] == [
        "ValueError: x is too large",
        "ValueError: the metric 'validation.score' is 'NaN', and no number",
        "ValueError: the metric 'validation.score' is no result of this trial",
    ]
    assert trials[3]["status"]["results"] == {"validation.other": 1}
    assert answer["parameters"] == {"model.x": 0.2}
    assert run["status"]["state"] == "completed"
    hopeless = search(project, "--set", "model.x=float(0.91, 1)", ok=False)
    assert "No trial succeeded. The last one failed: ValueError: x is too large" in hopeless
    assert counts(project)["train"] == 5 + 3


def test_a_search_whose_evaluation_has_failed_goes_on_with_that(project: Folder) -> None:
    """Its trials aren't repeated. A choice replaces a parameter whole, and is found again."""
    options = {"choice": [{"x": "float(0, 0.8)"}, {"kind": "wide", "x": 0.3, "arguments": WIDE}]}
    changed = yaml.safe_load(SEARCH) | {"parameters": {"model": options}, "trials": 12}
    (project.path / "conf" / "base" / "search.yml").write_text(yaml.safe_dump(changed))
    (project.path / "broken").touch()
    assert "The search failed with RuntimeError: broken" in search(project, ok=False)
    (project.path / "broken").unlink()
    answer = search(project, "--resume", "last")
    assert answer["parameters"] == {
        "model.kind": "wide",
        "model.x": 0.3,
        "model.arguments.width": 4,
    }
    run, *trials = recorded(project)
    assert len(trials) == 12
    assert run["spec"]["parameters"].items() >= answer["parameters"].items()
    # That of the parameter before it isn't its.
    assert "model.arguments.n" not in run["spec"]["parameters"]
    # The best trial's model was in memory.
    assert counts(project)["train"] == 12 + 1
    assert counts(project)["split"] == 1


def test_a_search_on_an_api_goes_on_as_well(project: Folder, api_url: str) -> None:
    """Its trials are recorded there as on the embedded store."""
    (project.path / "stop").write_text("train 4")
    variables = {"MLRUN_DBPATH": api_url, "MLRUN_ACTIVE_PROJECT": f"search-{uuid.uuid4().hex[:8]}"}
    project = replace(project, variables={**project.variables, **variables})
    search(project, ok=False)
    # What is forked has MLRun already, which then warns of an older API where the answer is.
    search(project, "--resume", "last", fork=False)
    run, *trials = recorded(project)
    assert [trial["metadata"]["iteration"] for trial in trials] == [1, 2, 3, 4, 5, 6]
    assert {trial["status"]["state"] for trial in trials} == {"completed"}
    assert run["status"]["state"] == "completed"
    assert len(run["status"]["iterations"]) == 7
    assert counts(project)["split"] == 1


def test_a_metric_that_the_parameters_do_not_reach_is_told(project: Folder) -> None:
    """Law 9: else the first of many equal trials would be taken for the best."""
    width = ("--set", "model.arguments.width=int(1, 9)", "--trials", "3")
    done = project.run(KEDRO, "mlrun", "search", *width)
    assert "3 trials have the same validation.score" in done.stderr + done.stdout
