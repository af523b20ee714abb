"""A search of the pipelines that a project comes with."""

import json
from collections.abc import Callable
from typing import Any

from conftest import KEDRO, Folder

SHUFFLED = """

_split = split_data


@functools.wraps(_split)
def split_data(*given):
    training, test = _split(*given)
    labels = test["diagnosis"].sample(frac=1, random_state=0).array
    return training, test.assign(diagnosis=labels)
"""
OPTIONS = ("--set", "xgboost.model.arguments.n_estimators=int(1, 9)", "--trials", "4")


def search(project: Folder) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give what a search answers but for its id, and its run's results."""
    done = project.run(KEDRO, "mlrun", "search", "--json", *OPTIONS)
    shown = json.loads(project.run(KEDRO, "mlrun", "show", "last", "--json").stdout)
    answer = json.loads(done.stdout)
    del answer["uid"]
    return answer, shown["results"]


def test_the_test_set_does_not_choose_the_best_trial(bake: Callable[..., Folder]) -> None:
    """With the labels of its rows shuffled, a search finds the same, by the same value."""
    project = bake()
    answer, results = search(project)
    (splitting,) = project.path.glob("src/*/pipelines/training/splitting.py")
    code = splitting.read_text().replace("\nimport", "\nimport functools\nimport", 1)
    splitting.write_text(code + SHUFFLED)
    other, others = search(project)
    assert results["test.xgboost.roc_auc"] > 0.9
    assert others["test.xgboost.roc_auc"] < 0.7
    assert other == answer
    scored = [name for name in results if not name.startswith("test.")]
    assert {name: others[name] for name in scored} == {name: results[name] for name in scored}
