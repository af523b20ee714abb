"""The training pipeline: how it splits and trains, and what it refuses."""

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from tests import project_module

metrics = project_module("pipelines.metrics")
parameters = project_module("pipelines.parameters")
training = project_module("pipelines.training")
nodes = project_module("pipelines.training.nodes")
learning_curve = project_module("pipelines.training.curves").learning_curve
candidates = project_module("pipelines").CANDIDATES
boosted = project_module("pipelines").BOOSTED

FOREST = parameters.EstimatorParameters(
    estimator="sklearn.ensemble.RandomForestClassifier",
    arguments={"n_estimators": 10, "random_state": 0},
)
BOOSTING = parameters.EstimatorParameters(
    estimator="xgboost.XGBClassifier",
    arguments={"n_estimators": 10, "n_jobs": 1, "random_state": 0},
)


def options(**changes):
    """Make the parameters of a split."""
    return parameters.SplitParameters(**{"target": "kind", **changes})


def test_split_loses_nothing(three_kinds):
    """Every row is in exactly one of the two sets, with its index and its values."""
    both = pd.concat(nodes.split_data(three_kinds, options())).loc[three_kinds.index]
    pd.testing.assert_frame_equal(both.astype({"kind": object}), three_kinds)


def test_split_keeps_shares(three_kinds):
    """Each class has the same share in both sets; the test set has the configured size."""
    train, test = nodes.split_data(three_kinds, options(test_size=0.25))
    assert len(test) == 30
    assert test["kind"].value_counts().to_dict() == {"iris": 10, "rose": 10, "tulip": 10}
    assert train["kind"].value_counts().to_dict() == {"iris": 30, "rose": 30, "tulip": 30}


def test_split_is_repeatable(two_kinds):
    """The same seed gives the same sets, another seed gives others; the input is unchanged."""
    before = two_kinds.copy()
    first, again = (nodes.split_data(two_kinds, options(seed=1))[0] for _ in range(2))
    other, _ = nodes.split_data(two_kinds, options(seed=2))
    pd.testing.assert_frame_equal(first, again)
    assert set(first.index) != set(other.index)
    pd.testing.assert_frame_equal(two_kinds, before)


@pytest.mark.parametrize(
    ("labels", "categories"),
    [
        (["b", "a", "c"], ["a", "b", "c"]),
        ([2, 0, 1], [0, 1, 2]),
        ([True, False, True], [False, True]),
        (pd.Categorical(["lo", "hi", "lo"], ["lo", "hi", "none"], ordered=True), ["lo", "hi"]),
    ],
)
def test_split_orders_classes(labels, categories):
    """Classes are in alphabetical order, unless the data has an order of its own."""
    data = pd.DataFrame({"x": range(30), "kind": pd.Series(labels).repeat(10).to_list()})
    if isinstance(labels, pd.Categorical):
        data["kind"] = data["kind"].astype(labels.dtype)
    for part in nodes.split_data(data, options()):
        assert part["kind"].cat.categories.to_list() == categories


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": None}, r"'kind' is not in the data, .*sepal.*split\.target"),
        ({"kind": "iris"}, r"'kind' has 1 class.*split\.target"),
        ({"kind": ["iris", None] * 40}, r"'kind' has no value in 40 of 80"),
        (
            {"kind": ["lily", *["iris", "rose"] * 39, "iris"]},
            r"'lily' of .*'kind' has 1 of 80 rows",
        ),
        ({"id": "a7", "day": pd.Timestamp(0)}, r"not numeric: 'id', 'day'.*usecols"),
        ({"petal length": None, "sepal": None, "noise": None}, r"no column other than .*'kind'"),
    ],
)
def test_split_refuses_data(two_kinds, change, message):
    """An error names the column at fault and says what to do."""
    dropped = [column for column, value in change.items() if value is None]
    data = two_kinds.assign(**change).drop(columns=dropped)
    with pytest.raises(ValueError, match=message):
        nodes.split_data(data, options())


def test_split_refuses_too_small_a_share(three_kinds):
    """A test set too small for every class is refused, with the parameter to change."""
    with pytest.raises(ValueError, match=r"split\.test_size 0\.01.*change split\.test_size"):
        nodes.split_data(three_kinds, options(test_size=0.01))


@pytest.mark.parametrize("model", [FOREST, BOOSTING], ids=["sklearn", "xgboost"])
@pytest.mark.parametrize("data", ["two_kinds", "three_kinds"])
def test_training_is_repeatable(model, data, request):
    """Both estimators learn two or three text labels; the same seed gives the same model."""
    train, test = nodes.split_data(request.getfixturevalue(data), options())
    features = test.drop(columns="kind")
    first, again = (
        nodes.train_model(train, "kind", model).predict_proba(features) for _ in range(2)
    )
    assert (first == again).all()
    assert first.shape == (len(test), len(test["kind"].cat.categories))
    assert (first.argmax(axis=1) == test["kind"].cat.codes).mean() > 0.6


@pytest.mark.parametrize(
    ("estimator", "arguments"),
    [
        ("sklearn.linear_model.LogisticRegression", {"C": 0.5}),
        ("sklearn.svm.SVC", {"probability": True}),
        ("sklearn.neighbors.KNeighborsClassifier", {}),
    ],
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_another_estimator_is_configuration(three_kinds, estimator, arguments):
    """Any scikit-learn-compatible classifier can be named by its import path and arguments."""
    model = parameters.EstimatorParameters(estimator=estimator, arguments=arguments)
    train, _ = nodes.split_data(three_kinds, options())
    fitted = nodes.train_model(train, "kind", model)
    assert type(fitted).__name__ == estimator.rpartition(".")[2]
    assert arguments.items() <= fitted.get_params().items()
    scores = nodes.score_training(it=metrics.predict(fitted, train, "kind"))
    assert scores["train"]["it"]["roc_auc"] > 0.8


@pytest.mark.parametrize(
    ("estimator", "arguments", "message"),
    [
        ("sklearn.ensemble.RandomForrest", {}, r"RandomForrest' cannot be imported.*import path"),
        ("no_such_package.Classifier", {}, r"No module named 'no_such_package'"),
        ("os.system", {"command": "exit"}, r"'os.system' is not a classifier.*predict_proba"),
        ("sklearn.linear_model.LinearRegression", {}, r"LinearRegression' is not a classifier"),
        ("sklearn.svm.SVC", {}, r"SVC' is not a classifier with probabilities"),
        (
            "sklearn.tree.DecisionTreeClassifier",
            {"depth": 1},
            r"does not accept .*arguments.NAME=null",
        ),
        ("xgboost.XGBClassifier", {"n_estimator": 5}, r"does not know .* 'n_estimator'"),
    ],
)
def test_wrong_estimator_is_refused(two_kinds, estimator, arguments, message):
    """An error names the wrong path or argument; nothing but a classifier is called."""
    model = parameters.EstimatorParameters(estimator=estimator, arguments=arguments)
    train, _ = nodes.split_data(two_kinds, options())
    with pytest.raises(ValueError, match=message):
        nodes.train_model(train, "kind", model)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (None, {"n_estimators": 100, "max_features": "sqrt"}),
        ({"n_estimators": 3, "colsample": None, "learning_rate": None}, {"n_estimators": 3}),
        ({"n_estimators": 3, "max_features": None}, {"n_estimators": 3, "max_features": None}),
    ],
)
def test_null_leaves_out_arguments_of_another_estimator(two_kinds, arguments, expected):
    """Null takes back all arguments, or one that the estimator does not have; else it is a value."""
    model = parameters.EstimatorParameters(estimator=FOREST.estimator, arguments=arguments)
    train, _ = nodes.split_data(two_kinds, options())
    assert expected.items() <= nodes.train_model(train, "kind", model).get_params().items()


def test_set_without_categories_is_refused(two_kinds):
    """A training set that lost its categories is refused: its classes would have other numbers."""
    with pytest.raises(ValueError, match="no categorical column 'kind'"):
        nodes.train_model(two_kinds, "kind", FOREST)


@pytest.mark.parametrize(
    ("model", "values"),
    [
        ("SplitParameters", {"test_size": 0.2}),
        ("SplitParameters", {"target": ""}),
        ("SplitParameters", {"target": "kind", "test_size": 0}),
        ("SplitParameters", {"target": "kind", "test_size": 1}),
        ("SplitParameters", {"target": "kind", "test_size": float("nan")}),
        ("SplitParameters", {"target": "kind", "seed": -1}),
        ("SplitParameters", {"target": "kind", "size": 0.2}),
        ("EstimatorParameters", {"estimator": "RandomForestClassifier"}),
        ("EstimatorParameters", {"estimator": "sklearn.tree import x"}),
        ("EstimatorParameters", {"estimator": "sklearn.tree.Tree", "params": {}}),
        ("EvaluationParameters", {"metric": "auc"}),
        ("EvaluationParameters", {"metrics": "f1"}),
    ],
)
def test_wrong_parameters_are_refused(model, values):
    """Parameters that are out of bounds, missing or misspelt are refused."""
    with pytest.raises(ValidationError):
        getattr(parameters, model)(**values)


@pytest.mark.parametrize("data", ["two_kinds", "three_kinds"])
def test_learning_curve_is_xgboosts_own(data, request, tmp_path):
    """The curve of a loaded model is the one that XGBoost reports while it trains."""
    train, test = nodes.split_data(request.getfixturevalue(data), options())
    model = nodes.train_model(train, "kind", BOOSTING)
    model.save_model(tmp_path / "model.ubj")
    loaded = type(model)()
    loaded.load_model(tmp_path / "model.ubj")
    curve = learning_curve(loaded, train, test[test.columns[::-1]], "kind")

    sets = [
        (part.drop(columns="kind"), metrics.class_codes(part, "kind")) for part in (train, test)
    ]
    model.fit(*sets[0], eval_set=sets, verbose=False)
    reported = [next(iter(result.values())) for result in model.evals_result().values()]
    np.testing.assert_allclose(curve["train"], reported[0], rtol=1e-5)
    np.testing.assert_allclose(curve["test"], reported[1], rtol=1e-5)
    assert curve.index.to_list() == list(range(1, 11))
    assert curve.axes[0].name == "round"


@pytest.mark.parametrize(
    ("estimator", "arguments", "rounds"),
    [
        ("xgboost.XGBClassifier", {"n_estimators": 250, "max_depth": 1, "n_jobs": 1}, 100),
        ("xgboost.XGBClassifier", {"n_estimators": 3, "booster": "dart", "n_jobs": 1}, 3),
        ("xgboost.XGBClassifier", {"n_estimators": 3, "booster": "gblinear", "n_jobs": 1}, 0),
        ("xgboost.XGBRFClassifier", {"n_estimators": 3}, 1),
        ("sklearn.ensemble.GradientBoostingClassifier", {"n_estimators": 3}, 3),
        ("sklearn.ensemble.HistGradientBoostingClassifier", {"max_iter": 3}, 3),
        ("sklearn.ensemble.RandomForestClassifier", {"n_estimators": 3}, 0),
        ("sklearn.linear_model.LogisticRegression", {}, 0),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_any_estimator_has_a_learning_curve(two_kinds, estimator, arguments, rounds):
    """It is empty for a model that does not learn in rounds, and has at most 100 points."""
    train, test = nodes.split_data(two_kinds, options())
    description = parameters.EstimatorParameters(estimator=estimator, arguments=arguments)
    model = nodes.train_model(train, "kind", description)
    curve = learning_curve(model, train, test, "kind")
    assert len(curve) == rounds
    assert curve.columns.to_list() == ["train", "test"]
    assert curve.notna().all(axis=None)
    if rounds:
        last = metrics.score(metrics.predict(model, test, "kind"))["log_loss"]
        assert curve["test"].iloc[-1] == pytest.approx(last, rel=1e-5)


def test_candidates_are_namespaces():
    """Each candidate has the same nodes, in a namespace with its parameters and its model."""
    pipeline = training.create_pipeline()
    for name in candidates:
        train, *others = pipeline.only_nodes_with_namespaces([name]).nodes
        predict, *curve = sorted(others, key=lambda node: node.name, reverse=True)
        assert train.inputs == ["training_set", "params:split.target", f"params:{name}.model"]
        assert train.outputs == [f"{name}_model"]
        assert predict.inputs == [f"{name}_model", "training_set", "params:split.target"]
        outputs = [f"{name}_learning_curve"] if name in boosted else []
        assert [output for node in curve for output in node.outputs] == outputs
    datasets = {name for name in pipeline.inputs() if not name.startswith("params:")}
    assert datasets == {"measurements"}
