"""The training pipeline: how candidates are trained, validated and chosen."""

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression

from tests import project_module

metrics = project_module("pipelines.metrics")
parameters = project_module("pipelines.parameters")
nodes = project_module("pipelines.training.nodes")
preprocessing = project_module("pipelines.training.preprocessing")
validation_folds = project_module("pipelines.training.splitting").validation_folds
learning_curve = project_module("pipelines.training.curves").learning_curve

OPTIONS = parameters.SplitParameters(target="kind")
FOREST = "sklearn.ensemble.RandomForestClassifier"
LOGISTIC = "sklearn.linear_model.LogisticRegression"
BOOSTING = "xgboost.XGBClassifier"
SMALL = {"n_estimators": 10, "n_jobs": 1, "random_state": 0}


class Own(ClassifierMixin, BaseEstimator):
    """A classifier of one's own, which always answers alike."""

    def fit(self, features, target):
        """Remember the classes."""
        self.classes_ = np.unique(target)
        return self

    def predict_proba(self, features):
        """Find all classes equally likely."""
        return np.full((len(features), len(self.classes_)), 1 / len(self.classes_))

    def predict(self, features):
        """Choose the first."""
        return np.full(len(features), self.classes_[0])


def describe(estimator, arguments=None, **more):
    """Make the parameters of a model."""
    return parameters.EstimatorParameters(estimator=estimator, arguments=arguments, **more)


def train(data, estimator, arguments=None, options=OPTIONS, **more):
    """Train a model on all rows."""
    return nodes.train_model(data, options, describe(estimator, arguments, **more))


@pytest.mark.parametrize("estimator", [FOREST, BOOSTING])
@pytest.mark.parametrize("data", ["two_kinds", "three_kinds"])
def test_models_answer_with_names(estimator, data, request):
    """Columns of any kind are learnt, missing values too; the same seed gives the same model."""
    rows = request.getfixturevalue(data)
    first, again = (train(rows, estimator, SMALL) for _ in range(2))
    features = rows.drop(columns="kind")
    answers = first.predict(features)
    assert (answers == again.predict(features)).all()
    assert (answers == rows["kind"]).mean() > 0.9
    assert first.classes_.tolist() == sorted(set(rows["kind"]))
    assert first.predict_proba(features).shape == (len(rows), len(first.classes_))


@pytest.mark.parametrize("estimator", [FOREST, BOOSTING])
def test_new_rows_need_no_target_and_no_order(three_kinds, estimator):
    """Columns in another order, more of them, and unknown categories do not disturb a model."""
    model = train(three_kinds, estimator, SMALL)
    features = three_kinds.drop(columns="kind")
    permuted = features[features.columns[::-1]].assign(more="text")
    assert (model.predict(permuted) == model.predict(features)).all()
    assert len(model.predict(features.assign(colour="never seen", found=None, sepal=None))) == 120
    with pytest.raises(ValueError, match=r"missing: \{'sepal'\}"):
        model.predict(features.drop(columns="sepal"))


def test_preprocessing_is_fitted_on_the_rows_that_train(two_kinds):
    """Neither the other rows of a fold nor the test set are known to it."""
    data = two_kinds.assign(sepal=0.0)
    ((_, held_out),) = validation_folds(data, OPTIONS)
    data.iloc[held_out, data.columns.get_loc("sepal")] = 1000.0
    (((model,), _),) = nodes.validate(data, OPTIONS, describe(FOREST, SMALL))
    numbers = model["preprocessing"].named_transformers_["numbers"]
    assert numbers["standardscaler"].mean_[1] == 0


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, None], "numbers"),
        ([True, None], "numbers"),
        (pd.array([1, None], dtype="Int64"), "numbers"),
        ([None, None, np.nan], "numbers"),
        (["a", None, 3], "categories"),
        (["2024-12-31", None], "dates"),
        ([pd.Timestamp("2024-12-31"), None], "dates"),
        (["it was long and loud", "to me it was very good"], "words"),
        (["San José de Metán", "San José de Metán"], "categories"),
    ],
)
def test_kinds_of_columns(values, kind):
    """What a column holds decides, and not its dtype alone."""
    column = pd.Series(values, name="x")
    assert preprocessing.column_kind(column) == kind
    frame = pd.DataFrame({"x": column, "y": 1.0})
    prepared = preprocessing.make_preprocessing(frame).fit(frame)
    assert np.isfinite(prepared.transform(frame.iloc[::-1])).all()
    assert len(prepared.get_feature_names_out()) == prepared.transform(frame).shape[1]


def test_dates_become_numbers():
    """A day counts from 1970, with the month and the weekday; what is no date is missing."""
    parts = preprocessing.date_parts(pd.DataFrame({"day": ["1970-01-02", "2024-02-31"]}))
    np.testing.assert_array_equal(parts, [[1, 1, 4], [np.nan, np.nan, np.nan]])


@pytest.mark.parametrize(
    ("estimator", "arguments"),
    [
        (LOGISTIC, {"C": 0.5}),
        ("sklearn.svm.SVC", {"probability": True}),
        (f"{__name__}.Own", {}),
    ],
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_another_estimator_is_configuration(three_kinds, estimator, arguments):
    """Any scikit-learn-compatible classifier can be named, and the arguments are its own."""
    fitted = train(three_kinds, estimator, arguments)[-1].estimators_[0]
    assert type(fitted).__name__ == estimator.rpartition(".")[2]
    assert (arguments or {}).items() <= fitted.get_params().items()
    instead = {"estimator": estimator, "arguments": arguments}
    other = train(three_kinds, FOREST, SMALL, instead=instead)[-1].estimators_[0]
    assert repr(other) == repr(fitted)


def test_a_pipeline_is_configuration(three_kinds):
    """What has an `estimator` among the arguments is created as well."""
    steps = [
        ["poly", {"estimator": "sklearn.preprocessing.PolynomialFeatures"}],
        ["logistic", {"estimator": LOGISTIC, "arguments": {"max_iter": 1000}}],
    ]
    model = train(three_kinds, "sklearn.pipeline.Pipeline", {"steps": steps})
    assert isinstance(model[-1].estimators_[0]["logistic"], LogisticRegression)
    assert model.predict(three_kinds).shape == (120,)


@pytest.mark.parametrize(
    ("estimator", "arguments", "message"),
    [
        ("sklearn.ensemble.RandomForrest", {}, r"RandomForrest' cannot be imported.*import path"),
        ("os.system", {"command": "exit"}, r"'os.system' is not a scikit-learn-compatible class"),
        ("sklearn.linear_model.LinearRegression", {}, r"LinearRegression' .*does not suit .*class"),
        ("sklearn.svm.SVC", {}, r"SVC' .* Name a classifier with `predict_proba`"),
        ("sklearn.tree.DecisionTreeClassifier", {"depth": 1}, r"does not accept .*`instead`"),
        ("xgboost.XGBClassifier", {"n_estimator": 5}, r"does not know .*'n_estimator'"),
    ],
)
def test_wrong_estimator_is_refused(two_kinds, estimator, arguments, message):
    """An error names the wrong path or argument; nothing but an estimator is called."""
    with pytest.raises(ValueError, match=message):
        train(two_kinds, estimator, arguments)


@pytest.mark.parametrize(
    ("model", "values"),
    [
        ("SplitParameters", {"test_size": 0.2}),
        ("SplitParameters", {"target": "kind", "task": "cluster"}),
        ("SplitParameters", {"target": "kind", "test_size": 0}),
        ("SplitParameters", {"target": "kind", "test_size": float("nan")}),
        ("SplitParameters", {"target": "kind", "validation": 1}),
        ("SplitParameters", {"target": "kind", "seed": -1}),
        ("EstimatorParameters", {"estimator": "sklearn.tree import x"}),
        ("EstimatorParameters", {"estimator": "sklearn.tree.Tree", "params": {}}),
        ("EstimatorParameters", {"estimator": "a.B", "instead": {"arguments": {}}}),
        ("ChoiceParameters", {"metric": "auc"}),
        ("MonitoringParameters", {"smallest_distance": 1}),
    ],
)
def test_wrong_parameters_are_refused(model, values):
    """Parameters that are out of bounds, missing or misspelt are refused."""
    with pytest.raises(ValidationError):
        getattr(parameters, model)(**values)


def prediction(actual, positive):
    """Make the prediction of two classes from each row's probability of the second."""
    positive = np.array(positive)
    chosen = (positive > 0.5).astype(int)
    probabilities = np.column_stack([1 - positive, positive])
    return metrics.Prediction(np.array(actual), chosen, probabilities, ("no", "yes"))


@pytest.mark.parametrize("metric", ["roc_auc", "accuracy", "log_loss"])
def test_best_comes_first(metric):
    """The lowest log_loss wins, and the highest of any other metric."""
    actual = np.array([0, 1] * 30)
    good, bad = prediction(actual, 0.1 + 0.8 * actual), prediction(actual, 0.9 - 0.8 * actual)
    choice = parameters.ChoiceParameters(metric=metric)
    best, score, leaderboard = nodes.rank_candidates(choice, a=bad, b=good)
    # Without an interval: the score is the same, whichever rows are drawn.
    expected = {metric: metrics.measure(good, metric), "tied_with": "none"}
    assert (best, score["best_score"]) == ("b", pytest.approx(expected))
    assert leaderboard["candidate"].to_list() == ["b", "a"]
    assert leaderboard.columns.to_list() == ["candidate", *metrics.score(good), "low", "high"]


def test_a_tie_is_no_win():
    """Where the difference may be chance, it is said who could as well be the best."""
    random = np.random.default_rng(0)
    actual = np.array([0, 1] * 40)
    guesses = {
        name: prediction(actual, (0.3 * actual + random.random(80)).clip(0, 1)) for name in "ab"
    }
    sure = {"sure": prediction(actual, 0.1 + 0.8 * actual)}
    choice = parameters.ChoiceParameters()
    best, score, board = nodes.rank_candidates(choice, **guesses)
    score = score["best_score"]
    assert {best, score["tied_with"]} == {"a", "b"}
    assert score["low"] < board["roc_auc"][1] < score["roc_auc"] < score["high"]
    best, score, _ = nodes.rank_candidates(choice, **guesses, **sure)
    assert (best, score["best_score"]["tied_with"]) == ("sure", "none")
    best, score, _ = nodes.rank_candidates(choice, **sure, copy=sure["sure"])
    assert (best, score["best_score"]["tied_with"]) == ("copy", "sure")


@pytest.mark.parametrize(
    ("estimator", "arguments", "rounds"),
    [
        (BOOSTING, {"n_estimators": 120, "max_depth": 1, "n_jobs": 1}, 100),
        (BOOSTING, {"n_estimators": 3, "booster": "dart", "n_jobs": 1}, 3),
        (BOOSTING, {"n_estimators": 3, "booster": "gblinear", "n_jobs": 1}, 0),
        ("sklearn.ensemble.GradientBoostingClassifier", {"n_estimators": 3}, 3),
        ("sklearn.ensemble.HistGradientBoostingClassifier", {"max_iter": 3}, 3),
        (LOGISTIC, {}, 0),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_any_estimator_has_a_learning_curve(two_kinds, estimator, arguments, rounds):
    """It is empty for a model that does not learn in rounds, and has at most 100 points."""
    options = OPTIONS.model_copy(update={"validation": 2})
    _, (models, prediction) = nodes.validate(two_kinds, options, describe(estimator, arguments))
    curve = learning_curve(models, two_kinds, options)
    assert len(curve) == rounds
    assert curve.columns.to_list() == ["train", "validation"]
    assert curve.notna().all(axis=None)
    if rounds:
        last = metrics.measure(prediction, "log_loss")
        assert curve["validation"].iloc[-1] == pytest.approx(last, rel=1e-5)
