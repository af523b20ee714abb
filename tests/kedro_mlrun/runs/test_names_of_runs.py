"""How runs are named: by the pipelines that they run."""

import mlrun
import pytest
from helpers import Store
from kedro.framework import project
from kedro.pipeline import Node, Pipeline

from kedro_mlrun.records.records import Records
from kedro_mlrun.runs.provenance import in_order, ran
from kedro_mlrun.store.fields import DEFAULT_CONTEXT_NAME, run_title


def step(data: object) -> object:
    return data


# Each takes what the one before makes.
STEPS = ["raw", "split", "fit", "predict", "score"]
NODES = [Node(step, *pair, name=pair[1]) for pair in zip(STEPS, STEPS[1:], strict=False)]
ALL, TRAINING, EVALUATION = Pipeline(NODES), Pipeline(NODES[:2]), Pipeline(NODES[2:])
MORE = EVALUATION + Pipeline([Node(step, "score", "more", name="more")])
LONG = "a" * 40
PARTS = {"evaluation": EVALUATION, "training": TRAINING}


@pytest.mark.parametrize(
    ("registered", "expected"),
    [
        (PARTS, ["training", "evaluation"]),
        ({"ml": ALL, **PARTS}, ["training", "evaluation"]),
        ({"fit": Pipeline(NODES[1:2]), **PARTS}, ["training", "evaluation"]),
        ({"whole": ALL}, ["whole"]),
        ({"training": TRAINING}, ["__default__"]),
        ({"training": TRAINING, "other": MORE}, ["__default__"]),
        ({LONG: TRAINING, f"other_{LONG}": EVALUATION}, ["__default__"]),
    ],
)
def test_the_default_pipeline_is_named_by_its_parts(
    monkeypatch: pytest.MonkeyPatch, registered: dict[str, Pipeline], expected: list[str]
) -> None:
    """Law 4: a record says which pipelines ran, not that none was asked for."""
    monkeypatch.setattr(project, "pipelines", {"__default__": ALL, **registered})
    assert ran(None, ALL) == ran(["__default__"], ALL) == expected
    assert ran(["a", "b"], ALL) == ["a", "b"]


def test_pipelines_are_named_in_the_order_in_which_they_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Law 4: the same command gives the same name; Kedro hands several on in a random order."""
    known = {"other": MORE, **PARTS, "idle": Pipeline([Node(step, "x", "y")])}
    monkeypatch.setattr(project, "pipelines", known)
    expected = ["training", "evaluation", "other", "idle"]
    for names in (known, expected, reversed(expected)):
        assert in_order([*names], ALL) == expected
    assert in_order(["gone"], ALL) == ["gone"]


def test_a_part_of_it_is_named_by_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Law 4: with `--tags` or `--from-nodes`, pipelines of which nothing runs aren't named."""
    monkeypatch.setattr(project, "pipelines", {"__default__": ALL, **PARTS})
    assert ran(None, Pipeline(NODES[3:])) == ["evaluation"]
    assert ran(None, Pipeline([])) == ["__default__"]


def test_such_a_run_is_found_by_each_of_its_pipelines(store: Store) -> None:
    """Law 4: and by `__default__`, which its parameters say was asked for."""
    uids = {}
    for pipelines, asked in (
        ("training,evaluation", "__default__"),
        ("__default__", "__default__"),
    ):
        labels = {"pipeline": pipelines}
        context = store.manager.open_run(pipelines, labels=labels)
        uids[pipelines] = context.uid
        store.manager.close_run()
        updates = {"spec.parameters": {"kedro.pipeline": asked}}
        mlrun.get_run_db().update_run(updates, context.uid, store.project)
    records = Records(mlrun.get_run_db(), store.project)
    new, old = uids.values()
    found = {
        asked: {run["metadata"]["uid"] for run in records.runs(pipeline=asked)}
        for asked in ("training", "evaluation", "training,evaluation", "__default__", "train")
    }
    assert found == {
        **dict.fromkeys(["training", "evaluation", "training,evaluation"], {new}),
        **{"__default__": {new, old}, "train": set()},
    }
    runs = {uid: records.run(uid)["metadata"] for uid in (new, old)}
    assert run_title(runs[new]) == "training+evaluation"
    assert run_title(runs[old]) == runs[old]["name"] == "default"
    assert run_title({"name": "mine", "labels": {"pipeline": "training"}}) == "mine"
    for which in ("training+evaluation", "training-evaluation", "last:evaluation", "last~1"):
        assert records.run(which)["metadata"]["uid"] == new


def test_a_run_of_no_pipeline_has_a_name_too() -> None:
    """Law 4: a script's run is called alike in each list."""
    assert run_title({"name": DEFAULT_CONTEXT_NAME, "labels": {}}) == DEFAULT_CONTEXT_NAME
