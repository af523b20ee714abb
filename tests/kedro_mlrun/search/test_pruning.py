"""Trials that end early, and trials whose artifacts are all kept."""

import json
import random
from collections import Counter
from typing import Any

import optuna
import pytest
import yaml
from conftest import KEDRO, PYTHON, Folder
from optuna.trial import TrialState

from kedro_mlrun.search.config import SearchConfig
from kedro_mlrun.search.trials import STEPS, Study, Trial, why_pruned

RATES = (0.3, 0.35, 0.4, 0.25, 0.2, 0.45, 0.001, 0.32)
BAD = 7  # the trial of a rate that learns next to nothing
REGISTRY = """
import os, signal, sys
from pathlib import Path

import numpy as np
from kedro.pipeline import Node, Pipeline
from sklearn.ensemble import GradientBoostingRegressor

# The processes that a search starts are given pipes, which one that the tests fork isn't.
sys.executable = os.environ.get("REAL_PYTHON", sys.executable)


def make(seed):
    features = np.random.default_rng(seed).normal(size=(60, 3))
    return features, features[:, 0] + features[:, 1] ** 2


def boost(features, target, model):
    booster = GradientBoostingRegressor(
        warm_start=True, max_depth=1, learning_rate=model["rate"], random_state=0
    )
    for rounds in range(10, 41, 10) if model.get("yields", True) else [40]:
        booster.set_params(n_estimators=rounds).fit(features[:40], target[:40])
        with Path("counts").open("a") as file:
            file.write(f"{model['rate']}\\n")
        if Path("stop").exists() and Path("stop").read_text() == str(model["rate"]):
            Path("stop").unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        yield booster


def score(booster, features, target):
    return {"validation": {"r2": booster.score(features[40:], target[40:])}}


def describe(booster):
    return {"rounds": booster.n_estimators, "rate": booster.learning_rate}


def register_pipelines():
    data = ["features", "target"]
    return {
        "__default__": Pipeline([
            Node(make, "params:seed", data, name="make"),
            Node(boost, [*data, "params:model"], "booster", name="boost"),
            Node(score, ["booster", *data], "scores", name="score"),
            Node(describe, "booster", "about", name="describe"),
        ]),
    }
"""
CATALOG = """
scores: {type: kedro_mlrun.MLRunResult, flatten: true}
booster: {type: kedro_mlrun.MLRunModel, save_args: {tag: candidate}}
about: {type: kedro_mlrun.MLRunAbstractDataset}
"""
SEARCH = {
    "metric": "validation.r2",
    "parameters": {"model.rate": f"choice({', '.join(map(str, RATES))})"},
    "sampler": "grid",
    "trials": len(RATES),
}


@pytest.fixture
def boosting(project: Folder) -> Folder:
    """A project whose model yields after each ten rounds."""
    (project.path / "src" / "breast_cancer" / "pipeline_registry.py").write_text(REGISTRY)
    conf = project.path / "conf" / "base"
    (conf / "parameters.yml").write_text("{seed: 3, model: {rate: 0.3}}")
    (conf / "catalog.yml").write_text(CATALOG)
    ask(project)
    return project


def ask(project: Folder, **changes: Any) -> None:
    """Write search.yml."""
    text = yaml.safe_dump({**SEARCH, **changes})
    (project.path / "conf" / "base" / "search.yml").write_text(text)


def search(project: Folder, *options: str, ok: bool = True) -> Any:
    """Run a search, and give what it answers as JSON, or, where it fails, what it prints."""
    command = (KEDRO, "mlrun", "search", "--json", *options)
    done = project.run(*command, ok=ok, REAL_PYTHON=str(PYTHON))
    return json.loads(done.stdout) if done.returncode == 0 else done.stderr


def recorded(project: Folder) -> list[dict[str, Any]]:
    """Give the newest run, and then its iterations, as MLRun's SDK reads them."""
    code = """
db, project = MLRunContextManager().run_db, MLRunContextManager().project.metadata.name
runs = db.list_runs(project=project, iter=True, labels="pipeline")
uid = runs[0]["metadata"]["uid"]
numbers = sorted(r["metadata"]["iteration"] for r in runs if r["metadata"]["uid"] == uid)
print(json.dumps([db.read_run(uid, project, iter=number) for number in numbers], default=str))
"""
    return list(python(project, code))


def steps(trial: dict[str, Any]) -> dict[str, float]:
    """Give the metric after each step, as it is recorded."""
    return dict(json.loads(trial["metadata"]["annotations"][STEPS]))


def python(project: Folder, code: str) -> Any:
    """Run code in a process of its own, and give what it prints."""
    begin = "import json\nfrom kedro_mlrun import *\n"
    done = project.run(PYTHON, "-c", begin + code, PYTHONPATH="src")
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_a_trial_is_pruned_where_optunas_median_pruner_prunes(direction: str) -> None:
    """At each step but the last, where nothing is left to be saved."""
    numbers, pruner = random.Random(0), optuna.pruners.MedianPruner()
    asked_for = {"metric": "score", "parameters": {"x": "float(0, 1)"}, "prune": True}
    wanted = SearchConfig(**asked_for, direction=direction)
    study, decisions = Study(wanted), Counter[bool]()
    for number in range(1, 41):
        assert (params := study.ask(number)) is not None
        limits, told, why = study.limits(), dict[int, float](), ""
        while len(told) < 5 and not why:
            told[len(told) + 1] = numbers.random()
            why = why_pruned(wanted, told, limits)
            if len(told) < 5:
                going_on = optuna.trial.create_trial(
                    state=TrialState.RUNNING, intermediate_values=told
                )
                assert bool(why) == pruner.prune(study._optuna, going_on)
                decisions[bool(why)] += 1
        study.tell(Trial(number, params, None if why else told[5], steps=told, pruned=why))
    assert min(decisions[True], decisions[False]) > 10
    states = Counter(trial.state for trial in study._optuna.trials)
    assert (states[TrialState.PRUNED], states[TrialState.FAIL]) == (study.pruned, 0)


def test_a_bad_trial_ends_at_a_step_and_is_recorded_so(boosting: Folder) -> None:
    """It has its results so far, is aborted and no failure, is never best, and isn't repeated."""
    ask(boosting, prune=True)
    (boosting.path / "stop").write_text(str(RATES[BAD]))  # the one after it
    search(boosting, ok=False)
    answer = search(boosting, "--resume", "last")
    run, *trials = recorded(boosting)
    assert [trial["metadata"]["iteration"] for trial in trials] == [*range(1, len(RATES) + 1)]
    bad = trials[BAD - 1]
    assert bad["status"]["state"] == "aborted"
    assert bad["status"]["status_text"].startswith("Pruned at step 1: validation.r2 was ")
    assert bad["status"]["results"] == {"validation.r2": steps(bad)["1"]}
    completed = [trial for trial in trials if trial["status"]["state"] == "completed"]
    assert len(completed) >= 5
    assert {len(steps(trial)) for trial in completed} == {4}
    counted = Counter((boosting.path / "counts").read_text().split())
    assert counted["0.001"] == 1
    # One round of ten was lost with the process, and the best model was made anew.
    best = str(answer["parameters"]["model.rate"])
    assert counted[best] in {4, 8, 9}
    values = {trial["metadata"]["iteration"]: steps(trial)["4"] for trial in completed}
    assert values[answer["best_iteration"]] == max(values.values()) == answer["value"]
    shown = json.loads(boosting.run(KEDRO, "mlrun", "show", "last", "--json").stdout)["search"]
    assert (shown["failed"], shown["pruned"]) == (0, len(trials) - len(completed))
    assert "pruned" in boosting.run(KEDRO, "mlrun", "show", "last").stdout
    assert run["status"]["state"] == "completed"


def test_all_is_kept_of_trials(boosting: Folder) -> None:
    """As artifacts of iterations, beside those of the best, which is what is loaded elsewhere."""
    boosting.run(KEDRO, "run")
    first = "print(json.dumps(MLRunAbstractDataset('about').load()))"
    before = python(boosting, first)
    ask(boosting, prune=True, keep="all")
    (boosting.path / "stop").write_text(str(RATES[1]))
    search(boosting, ok=False)
    # A trial hides nothing, nor does it take a tag.
    assert python(boosting, first) == before
    model = "MLRunModel('booster', load_args={'tag': 'candidate'}).load()"
    assert python(boosting, f"print({model}.learning_rate)") == before["rate"]
    answer = search(boosting, "--resume", "last")
    run, *trials = recorded(boosting)
    uid, best = run["metadata"]["uid"], answer["best_iteration"]
    assert python(boosting, first)["rate"] == answer["parameters"]["model.rate"]
    assert trials[BAD - 1]["status"]["state"] == "aborted"
    code = f"""
import mlrun
uid, project = {uid!r}, MLRunContextManager().project
db = MLRunContextManager().run_db
found = db.list_artifacts(project=project.metadata.name, tree=uid)
found = {{a["metadata"]["uid"]: a for a in found}}.values()  # which may have two tags
found = [a for a in found if a["metadata"]["key"] in ("booster", "about")]
which = dict(project=project.metadata.name, tree=uid, best_iteration=True)
best = [a["metadata"].get("iter") or 0 for a in db.list_artifacts("about", **which)]
third = db.list_artifacts("about", project=project.metadata.name, tree=uid, iter=3)
loaded = [
    MLRunAbstractDataset("about", load_args=dict(uid=uid, iter=n)).load()["rate"] for n in (1, 3)
]
about = [(a["metadata"], a["spec"]["target_path"]) for a in found]
about = [[metadata["key"], metadata.get("iter") or 0, path] for metadata, path in about]
producers = [a["spec"]["producer"]["uri"] for a in third]
print(json.dumps([about, best, producers, loaded]))
"""
    about, of_best, producers, loaded = python(boosting, code)
    completed = {t["metadata"]["iteration"] for t in trials if t["status"]["state"] == "completed"}
    assert best in completed
    assert len(completed) >= 5
    for key in ("booster", "about"):
        assert {n for name, n, _ in about if name == key} == {0, *completed}
    assert len({path for _, _, path in about}) == len(about) == 2 * (len(completed) + 1)
    assert (of_best, loaded) == ([0], [RATES[0], RATES[2]])
    assert [uri.rpartition("/")[2] for uri in producers] == [f"{uid}-3"]
    assert {*trials[0]["status"]["artifact_uris"]} == {"booster", "about"}
    boosting.run(KEDRO, "mlrun", "delete", uid, "--artifacts", "--yes")
    assert not [*boosting.path.glob(f".mlrun/artifacts/{uid}*")]
    assert python(boosting, first) == before


def test_what_is_yielded_last_is_what_there_is(boosting: Folder) -> None:
    """Also without pruning; what has the parts one by one is refused, and so is one step."""
    answer = search(boosting, "--trials", "2")
    run, *trials = recorded(boosting)
    assert [STEPS in trial["metadata"]["annotations"] for trial in trials] == [False, False]
    about = python(boosting, "print(json.dumps(MLRunAbstractDataset('about').load()))")
    assert about == {"rounds": 40, "rate": answer["parameters"]["model.rate"]}
    code = "print(MLRunDataframeDataset('kedro.nodes').load().to_json(orient='records'))"
    ran = [step["seconds"] for step in python(boosting, code) if step["node"] == "boost"]
    assert len(ran) >= 2

    (boosting.path / "conf" / "base" / "parameters.yml").write_text(
        "{seed: 3, model: {rate: 0.3, yields: false}}"
    )
    ask(boosting, prune=True)
    told = " ".join(search(boosting, ok=False).split())
    assert "`prune` is true, and a trial has one step only." in told
    assert "`split.validation: 5`" in told
    ask(boosting, prune="sometimes")
    told = " ".join(search(boosting, ok=False).split())
    assert "prune: Input should be a valid boolean" in told
    assert "and it is 'sometimes'" in told
    ask(boosting)
    catalog = CATALOG + "features: {type: pickle.PickleDataset, filepath: data/features.pkl}\n"
    adding = catalog.replace(
        "kedro_mlrun.MLRunModel, save_args: {tag: candidate}",
        "pickle.PickleDataset, filepath: data/b.pkl",
    )
    (boosting.path / "conf" / "base" / "catalog.yml").write_text(adding)
    told = " ".join(search(boosting, ok=False).split())
    assert "Node 'boost' yields parts of 'booster'" in told


def test_pruning_needs_a_node_that_yields(project: Folder) -> None:
    """What is said names what to do, before anything runs."""
    conf = project.path / "conf" / "base" / "search.yml"
    conf.write_text(conf.read_text() + "prune: true\n")
    told = " ".join(search(project, ok=False).split())
    assert "`prune` is true, and no node of a trial yields anything. Let one yield" in told
    assert not (project.path / "counts").exists()
