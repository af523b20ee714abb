"""The evaluation pipeline: how it scores, ranks and plots the candidates."""

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
boosted = project_module("pipelines").BOOSTED

OPTIONS = parameters.SplitParameters(target="kind")
FOREST = {"estimator": "sklearn.ensemble.RandomForestClassifier"}
BOOSTING = {"estimator": "xgboost.XGBClassifier"}


def train(data, description, **arguments):
    """Split the data and train one model; return it with the test set."""
    training_set, test_set = training_nodes.split_data(data, OPTIONS)
    arguments = {"n_estimators": 10, "random_state": 0, "n_jobs": 1, **arguments}
    model = parameters.EstimatorParameters(**description, arguments=arguments)
    return training_nodes.train_model(training_set, "kind", model), test_set


def prediction(actual, positive):
    """Make the prediction of two classes from each row's probability of the second."""
    positive = np.array(positive)
    chosen = (positive > 0.5).astype(int)
    return metrics.Prediction(
        np.array(actual), chosen, np.column_stack([1 - positive, positive]), ("no", "yes")
    )


def test_binary_metrics_are_of_the_last_class():
    """Of two classes, the last is the positive one."""
    scores = metrics.score(prediction([0, 0, 0, 1, 1], [0.1, 0.2, 0.9, 0.8, 0.4]))
    assert scores["accuracy"] == pytest.approx(3 / 5)
    assert scores["precision"] == pytest.approx(1 / 2)
    assert scores["recall"] == pytest.approx(1 / 2)
    assert scores["f1"] == pytest.approx(1 / 2)
    assert scores["roc_auc"] == pytest.approx(4 / 6)
    assert scores["log_loss"] == pytest.approx(-np.log([0.9, 0.8, 0.1, 0.8, 0.4]).mean())


def test_metrics_of_more_classes_are_means(three_kinds):
    """Of three classes, each counts the same, whatever its size."""
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
    """`params:evaluation` can name each metric that is computed."""
    scores = metrics.score(prediction([0, 1], [0.1, 0.9]))
    assert tuple(scores) == get_args(parameters.Metric)
    assert {type(value) for value in scores.values()} == {float}


@pytest.mark.parametrize("description", [FOREST, BOOSTING], ids=["sklearn", "xgboost"])
def test_order_of_columns_does_not_matter(three_kinds, description):
    """Columns in another order, or additional ones, do not change the predictions."""
    model, test_set = train(three_kinds, description)
    permuted = test_set[test_set.columns[::-1]].assign(more="text")
    expected, given = (metrics.predict(model, data, "kind") for data in (test_set, permuted))
    assert (expected.probabilities == given.probabilities).all()
    assert (expected.predicted == given.predicted).all()


def test_other_data_than_trained_on_are_refused(two_kinds, three_kinds):
    """An error names the missing feature, or the classes that the model does not know."""
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
    """The lowest log_loss wins, and the highest of any other metric; ties are broken by name."""
    scores = {
        "c": {"accuracy": 0.9, "roc_auc": 0.7, "log_loss": 0.1},
        "b": {"accuracy": 0.8, "roc_auc": 0.9, "log_loss": 0.3},
        "a": {"accuracy": 0.9, "roc_auc": 0.8, "log_loss": 0.2},
    }
    options = parameters.EvaluationParameters(metric=metric)
    best, score, leaderboard = nodes.rank_candidates({"test": scores}, options)
    assert best == order[0]
    assert score == {"best_score": {metric: scores[best][metric]}}
    assert leaderboard["candidate"].to_list() == order
    assert leaderboard.index.to_list() == [0, 1, 2]
    assert leaderboard.columns.to_list() == ["candidate", "accuracy", "roc_auc", "log_loss"]
    assert leaderboard.set_index("candidate").to_dict("index") == scores


def png(figure):
    """Return the bytes that Kedro's dataset for figures writes."""
    file = BytesIO()
    figure.savefig(file, bbox_inches="tight")
    return file.getvalue()


@pytest.mark.parametrize("data", ["two_kinds", "three_kinds"])
def test_plots_can_be_opened(data, request):
    """Both plots have a legible size, for any number and any names of classes."""
    frame = request.getfixturevalue(data).replace({"kind": {"rose": "$ro_se^$"}})
    model, test_set = train(frame, FOREST)
    predictions = dict.fromkeys(["forest", "other"], metrics.predict(model, test_set, "kind"))
    roc = plots.plot_roc_curve(**predictions)
    for figure in (roc, plots.plot_confusion_matrix("other", **predictions)):
        image = Image.open(BytesIO(png(figure)))
        image.verify()
        assert image.format == "PNG"
        assert min(image.size) > 600
    assert png(roc) == png(plots.plot_roc_curve(**predictions))


def test_figures_are_not_kept(two_kinds):
    """Pyplot, which keeps its figures for ever, does not know of them."""
    model, test_set = train(two_kinds, FOREST)
    figure = plots.plot_roc_curve(forest=metrics.predict(model, test_set, "kind"))
    assert figure.axes
    assert pyplot.get_fignums() == []


def test_own_csv_takes_an_entry_and_parameters(three_kinds, tmp_path):
    """One catalog entry and the parameters take another CSV through both pipelines."""
    three_kinds.to_csv(tmp_path / "own.csv", index=False)
    model = parameters.EstimatorParameters(**BOOSTING, arguments={"n_estimators": 9, "n_jobs": 1})
    values = {
        "split": OPTIONS,
        "split.target": OPTIONS.target,
        "evaluation": parameters.EvaluationParameters(metric="f1"),
        **{f"{name}.model": model for name in candidates},
    }

    def run():
        catalog = DataCatalog(
            {"measurements": CSVDataset(filepath=str(tmp_path / "own.csv"))}
            | {f"params:{name}": MemoryDataset(value) for name, value in values.items()}
        )
        pipeline = training.create_pipeline() + evaluation.create_pipeline()
        outputs = SequentialRunner().run(pipeline, catalog)
        return {name: dataset.load() for name, dataset in outputs.items()}

    first, again = run(), run()
    curves = {f"{name}_learning_curve" for name in boosted}
    made = {"training_metrics", "best_score", "leaderboard", "roc_curve", "confusion_matrix"}
    assert set(first) == made | curves
    assert {len(first[curve]) for curve in curves} <= {9}
    assert set(first["training_metrics"]["train"]) == set(candidates)
    assert first["leaderboard"]["f1"].is_monotonic_decreasing
    assert first["leaderboard"]["accuracy"].min() > 0.6
    assert first["leaderboard"].equals(again["leaderboard"])
    assert png(first["roc_curve"]) == png(again["roc_curve"])


def test_evaluation_runs_by_itself():
    """It loads only what the training pipeline saves, so it can run alone, later."""
    needed = evaluation.create_pipeline().inputs()
    datasets = {name for name in needed if not name.startswith("params:")}
    assert datasets == {"test_set", *(f"{name}_model" for name in candidates)}
    assert datasets <= training.create_pipeline().all_outputs()
