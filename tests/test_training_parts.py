"""What the parts of the training pipeline are, and that they agree with XGBoost.

These tests are not generated: what they hold, a user seldom changes.
"""

from runpy import run_path

import numpy as np
import pandas as pd
import pytest
from helpers import PROJECT, project_module

parameters = project_module("pipelines.parameters")
training = project_module("pipelines.training")
validate = project_module("pipelines.training.nodes").validate
validation_folds = project_module("pipelines.training.splitting").validation_folds
learning_curve = project_module("pipelines.training.curves").learning_curve
candidates = project_module("pipelines").CANDIDATES
boosted = project_module("pipelines").BOOSTED
make_flowers = run_path(str(PROJECT / "tests" / "pipelines" / "conftest.py"))["make_flowers"]

SPLIT = parameters.SplitParameters(target="kind")
BOOSTING = parameters.EstimatorParameters(
    estimator="xgboost.XGBClassifier",
    arguments={"n_estimators": 10, "n_jobs": 1, "random_state": 0},
)


@pytest.mark.parametrize("kinds", [["iris", "rose"], ["tulip", "iris", "rose"]])
def test_learning_curve_is_xgboosts_own(kinds: list[str]) -> None:
    """The curve is the one that XGBoost reports while it trains."""
    rows = make_flowers(kinds)
    ((models, _),) = validate(rows, SPLIT, BOOSTING)
    curve = learning_curve(models, rows, SPLIT)

    (model,), (fold,) = models, validation_folds(rows, SPLIT)
    codes = rows["kind"].astype("category").cat.codes.to_numpy()
    sets = [(model[:-1].transform(rows.iloc[part]), codes[part]) for part in fold]
    booster = model[-1].estimators_[0].fit(*sets[0], eval_set=sets, verbose=False)
    reported = [next(iter(result.values())) for result in booster.evals_result().values()]
    np.testing.assert_allclose(curve["train"], reported[0], rtol=1e-5)
    np.testing.assert_allclose(curve["validation"], reported[1], rtol=1e-5)
    assert curve.index.to_list() == list(range(1, 11))
    assert [axis.name for axis in curve.axes] == ["round", "log loss"]


@pytest.mark.parametrize(("validation", "sizes"), [(0.25, [15]), (4, [15, 15, 15, 15])])
def test_folds_keep_shares(validation: float, sizes: list[int]) -> None:
    """Each row is validated at most once, by a model that doesn't know it."""
    train: pd.DataFrame = make_flowers(["iris", "rose"]).iloc[:60]
    folds = validation_folds(train, SPLIT.model_copy(update={"validation": validation}))
    assert [len(held_out) for _, held_out in folds] == sizes
    for known, held_out in folds:
        assert sorted([*known, *held_out]) == list(range(60))
        share = (train["kind"].iloc[held_out] == "iris").mean()
        assert share == pytest.approx((train["kind"] == "iris").mean(), abs=0.05)
    held_out = np.concatenate([rows for _, rows in folds])
    assert len(set(held_out)) == len(held_out)


def test_candidates_are_namespaces() -> None:
    """Each candidate has the same nodes, in a namespace with its parameters and its model."""
    pipeline = training.create_pipeline()
    for name in candidates:
        own = pipeline.only_nodes_with_namespaces([name])
        assert own.inputs() == {"training_set", "params:split", f"params:{name}.model"}
        curve = {f"{name}_learning_curve"} if name in boosted else set()
        assert own.all_outputs() == curve | {
            f"{name}_model",
            f"{name}_training_prediction",
            f"{name}_validation_prediction",
            f"{name}.fold_models",
        }
    datasets = {name for name in pipeline.inputs() if not name.startswith("params:")}
    assert datasets == {"measurements"}


def test_a_trial_of_a_search_is_few_nodes() -> None:
    """What a model's parameters reach, up to the metric, neither splits nor uses the test set."""
    name = candidates[0]
    trial = training.create_pipeline().to_outputs("validation_metrics")
    trial = trial.from_inputs(f"params:{name}.model")
    assert {node.name for node in trial.nodes} == {f"{name}.validate", "score_validation"}
