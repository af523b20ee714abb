"""The evaluation pipeline: how the candidates are judged, ranked and drawn."""

from io import BytesIO
from typing import get_args

import numpy as np
import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner
from kedro_datasets.pandas import CSVDataset
from matplotlib import pyplot
from PIL import Image
from sklearn import metrics as reference

from tests import project_module

metrics = project_module("pipelines.metrics")
parameters = project_module("pipelines.parameters")
training = project_module("pipelines.training")
training_nodes = project_module("pipelines.training.nodes")
evaluation = project_module("pipelines.evaluation")
nodes = project_module("pipelines.evaluation.nodes")
plots = project_module("pipelines.evaluation.plots")
candidates = project_module("pipelines").CANDIDATES

OPTIONS = parameters.SplitParameters(target="kind")
FOREST = {"estimator": "sklearn.ensemble.RandomForestClassifier"}
BOOSTING = {"estimator": "xgboost.XGBClassifier"}


def train(data, description, **arguments):
    """Split the data and train one model; give it with the test set."""
    training_set, test_set = training_nodes.split_data(data, OPTIONS)
    arguments = {"n_estimators": 10, "random_state": 0, "n_jobs": 1, **arguments}
    model = parameters.EstimatorParameters(**description, arguments=arguments)
    return training_nodes.train_model(training_set, "kind", model), test_set


def prediction(actual, positive):
    """Give what a model of two classes says, by each row's probability of the second class."""
    positive = np.array(positive)
    chosen = (positive > 0.5).astype(int)
    return metrics.Prediction(
        np.array(actual), chosen, np.column_stack([1 - positive, positive]), ("no", "yes")
    )


def test_binary_metrics_are_of_the_last_class():
    """With two classes, the last in the order of the categories is the positive one."""
    scores = metrics.score(prediction([0, 0, 0, 1, 1], [0.1, 0.2, 0.9, 0.8, 0.4]))
    assert scores["accuracy"] == pytest.approx(3 / 5)
    assert scores["precision"] == pytest.approx(1 / 2)
    assert scores["recall"] == pytest.approx(1 / 2)
    assert scores["f1"] == pytest.approx(1 / 2)
    assert scores["roc_auc"] == pytest.approx(4 / 6)
    assert scores["log_loss"] == pytest.approx(-np.log([0.9, 0.8, 0.1, 0.8, 0.4]).mean())


def test_metrics_of_more_classes_are_means(three_kinds):
    """With more classes every class counts the same, whatever its size."""
    model, test_set = train(three_kinds.iloc[20:], FOREST)
    scores = metrics.score(metrics.predict(model, test_set, "kind"))
    actual, features = test_set["kind"].cat.codes, test_set.drop(columns="kind")
    assert scores["f1"] == reference.f1_score(actual, model.predict(features), average="macro")
    assert scores["roc_auc"] == pytest.approx(
        np.mean(
            [
                reference.roc_auc_score(actual == number, model.predict_proba(features)[:, number])
                for number in range(3)
            ]
        )
    )


def test_every_metric_can_be_chosen():
    """What is computed is what `params:evaluation` lets choose from, as plain numbers."""
    scores = metrics.score(prediction([0, 1], [0.1, 0.9]))
    assert tuple(scores) == get_args(parameters.Metric)
    assert {type(value) for value in scores.values()} == {float}


@pytest.mark.parametrize("description", [FOREST, BOOSTING], ids=["sklearn", "xgboost"])
def test_order_of_columns_does_not_matter(three_kinds, description):
    """A test set with columns in another order, or with more of them, is predicted the same."""
    model, test_set = train(three_kinds, description)
    permuted = test_set[test_set.columns[::-1]].assign(more="text")
    expected, given = (metrics.predict(model, data, "kind") for data in (test_set, permuted))
    assert (expected.probabilities == given.probabilities).all()
    assert (expected.predicted == given.predicted).all()


def test_other_data_than_trained_on_are_refused(two_kinds, three_kinds):
    """A test set that lacks a feature, or has other classes, is refused by their names."""
    model, test_set = train(two_kinds, FOREST)
    with pytest.raises(ValueError, match=r"lacks columns .*'sepal'.*train again"):
        metrics.predict(model, test_set.drop(columns="sepal"), "kind")
    with pytest.raises(ValueError, match=r"knows 2 classes, but .*'kind' has 3: iris, rose, tulip"):
        metrics.predict(model, train(three_kinds, FOREST)[1], "kind")


@pytest.mark.parametrize(
    ("metric", "order"),
    [("roc_auc", ["b", "a", "c"]), ("accuracy", ["a", "c", "b"]), ("log_loss", ["c", "a", "b"])],
)
def test_best_comes_first(metric, order):
    """The lowest log_loss is the best, and the highest of any other metric; equals go by name."""
    scores = {
        "c": {"accuracy": 0.9, "roc_auc": 0.7, "log_loss": 0.1},
        "b": {"accuracy": 0.8, "roc_auc": 0.9, "log_loss": 0.3},
        "a": {"accuracy": 0.9, "roc_auc": 0.8, "log_loss": 0.2},
    }
    options = parameters.EvaluationParameters(metric=metric)
    best, leaderboard = nodes.rank_candidates({"test": scores}, options)
    assert best == order[0]
    assert leaderboard["candidate"].to_list() == order
    assert leaderboard.index.to_list() == [0, 1, 2]
    assert leaderboard.columns.to_list() == ["candidate", "accuracy", "roc_auc", "log_loss"]
    assert leaderboard.set_index("candidate").to_dict("index") == scores


def drawn(figure):
    """Give the figure as Kedro's dataset for it writes it."""
    file = BytesIO()
    figure.savefig(file, bbox_inches="tight")
    return file.getvalue()


@pytest.mark.parametrize("data", ["two_kinds", "three_kinds"])
def test_pictures_can_be_opened(data, request):
    """Both pictures are of a legible size, for any number and any names of classes."""
    frame = request.getfixturevalue(data).replace({"kind": {"rose": "$ro_se^$"}})
    model, test_set = train(frame, FOREST)
    predictions = dict.fromkeys(["forest", "other"], metrics.predict(model, test_set, "kind"))
    roc = plots.plot_roc_curve(**predictions)
    for figure in (roc, plots.plot_confusion_matrix("other", **predictions)):
        image = Image.open(BytesIO(drawn(figure)))
        image.verify()
        assert image.format == "PNG"
        assert min(image.size) > 600
    assert drawn(roc) == drawn(plots.plot_roc_curve(**predictions))


def test_figures_are_not_kept(two_kinds):
    """Pyplot, which keeps the figures that it makes for ever, is not told of them."""
    model, test_set = train(two_kinds, FOREST)
    figure = plots.plot_roc_curve(forest=metrics.predict(model, test_set, "kind"))
    assert figure.axes
    assert pyplot.get_fignums() == []


def test_own_csv_takes_an_entry_and_parameters(three_kinds, tmp_path):
    """One catalog entry and parameters take another CSV through both pipelines, repeatably."""
    three_kinds.to_csv(tmp_path / "own.csv", index=False)

    def run():
        catalog = DataCatalog(
            {
                "measurements": CSVDataset(filepath=str(tmp_path / "own.csv")),
                "params:split": MemoryDataset(OPTIONS),
                "params:split.target": MemoryDataset(OPTIONS.target),
                "params:evaluation": MemoryDataset(parameters.EvaluationParameters(metric="f1")),
                "params:random_forest.model": MemoryDataset(
                    parameters.EstimatorParameters(
                        estimator="sklearn.linear_model.LogisticRegression"
                    )
                ),
                "params:xgboost.model": MemoryDataset(
                    parameters.EstimatorParameters(
                        **BOOSTING, arguments={"n_estimators": 10, "n_jobs": 1}
                    )
                ),
            }
        )
        outputs = SequentialRunner().run(
            training.create_pipeline() + evaluation.create_pipeline(), catalog
        )
        return {name: dataset.load() for name, dataset in outputs.items()}

    first, again = run(), run()
    assert set(first) == {
        "xgboost.learning_curve",
        "training_metrics",
        "leaderboard",
        "roc_curve",
        "confusion_matrix",
    }
    assert len(first["xgboost.learning_curve"]) == 10
    assert set(first["training_metrics"]["train"]) == set(candidates)
    assert first["leaderboard"]["f1"].is_monotonic_decreasing
    assert first["leaderboard"]["accuracy"].min() > 0.6
    assert first["leaderboard"].equals(again["leaderboard"])
    assert drawn(first["roc_curve"]) == drawn(again["roc_curve"])


def test_evaluation_runs_by_itself():
    """Training saves what evaluation needs beside parameters: it can run alone, later."""
    needed = evaluation.create_pipeline().inputs()
    datasets = {name for name in needed if not name.startswith("params:")}
    assert datasets == {"test_set", *(f"{name}.model" for name in candidates)}
    assert datasets <= training.create_pipeline().all_outputs()
