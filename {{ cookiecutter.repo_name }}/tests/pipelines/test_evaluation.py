"""Metrics, plots, and both pipelines from a CSV to the plots."""

from io import BytesIO

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
train_model = project_module("pipelines.training.nodes").train_model
evaluation = project_module("pipelines.evaluation")
plots = project_module("pipelines.evaluation.plots")
candidates = project_module("pipelines").CANDIDATES
boosted = project_module("pipelines").BOOSTED

OPTIONS = parameters.SplitParameters(target="kind")
SMALL = {"n_estimators": 10, "random_state": 0, "n_jobs": 1}
FOREST = parameters.EstimatorParameters(
    estimator="sklearn.ensemble.RandomForestClassifier", arguments=SMALL
)


def predicted(data):
    """Train on half of the rows and predict the others."""
    return metrics.predict(train_model(data[::2], OPTIONS, FOREST), data[1::2], OPTIONS)


@pytest.mark.parametrize("data", ["two_kinds", "three_kinds"])
def test_metrics_are_scikit_learns(data, request):
    """Of two classes, the last is the positive one; of three, each counts the same."""
    prediction = predicted(request.getfixturevalue(data).iloc[10:])
    actual, chosen, odds = prediction.actual, prediction.predicted, prediction.probabilities
    binary = len(prediction.classes) == 2
    average = {"average": "binary" if binary else "macro"}
    expected = {
        "accuracy": reference.accuracy_score(actual, chosen),
        "precision": reference.precision_score(actual, chosen, **average),
        "recall": reference.recall_score(actual, chosen, **average),
        "f1": reference.f1_score(actual, chosen, **average),
        "roc_auc": reference.roc_auc_score(
            actual, odds[:, 1] if binary else odds, multi_class="ovr"
        ),
        "log_loss": reference.log_loss(actual, odds),
    }
    scores = metrics.score(prediction)
    assert scores == pytest.approx(expected)
    assert tuple(scores) == metrics.METRICS["classification"]
    assert {type(value) for value in scores.values()} == {float}


def test_metrics_of_a_regression():
    """A regression has metrics of its own."""
    actual, chosen = np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 7.0])
    scores = metrics.score(metrics.Prediction(actual, chosen, np.empty((3, 0)), ()))
    expected = {"r2": reference.r2_score(actual, chosen), "mae": 1.0, "rmse": 3**0.5}
    assert scores == pytest.approx(expected)


def test_other_data_than_trained_on_are_refused(two_kinds, three_kinds):
    """An error names the class that the model does not know, or the target that is missing."""
    model = train_model(two_kinds, OPTIONS, FOREST)
    with pytest.raises(ValueError, match=r"'kind' has the class 'tulip', .*only iris, rose\."):
        metrics.predict(model, three_kinds, OPTIONS)
    with pytest.raises(ValueError, match=r"no column 'kind', which split\.target names"):
        metrics.predict(model, two_kinds.drop(columns="kind"), OPTIONS)


def png(figure):
    """Return the bytes that Kedro's dataset for figures writes."""
    file = BytesIO()
    figure.savefig(file, bbox_inches="tight")
    return file.getvalue()


@pytest.mark.parametrize("data", ["two_kinds", "three_kinds"])
def test_plots_can_be_opened(data, request):
    """Both plots have a legible size, for any number and any names of classes."""
    frame = request.getfixturevalue(data).replace({"kind": {"rose": "$ro_se^$"}})
    predictions = dict.fromkeys(["forest", "other"], predicted(frame))
    (roc,) = plots.plot_roc_curve(**predictions)
    (matrix,) = plots.plot_confusion_matrix("other", **predictions)
    for figure in (roc, matrix):
        image = Image.open(BytesIO(png(figure)))
        image.verify()
        assert image.format == "PNG"
        assert min(image.size) > 600
    first, again = (next(plots.plot_roc_curve(**predictions)) for _ in range(2))
    assert png(first) == png(again)
    counts = reference.confusion_matrix(predictions["other"].actual, predictions["other"].predicted)
    shown = [text.get_text().partition("\n")[0] for text in matrix.axes[0].texts]
    assert shown == [str(count) for count in counts.ravel()]
    # Those of a regression draw nothing.
    assert not [*plots.plot_residuals("other", **predictions)]
    assert not [*plots.plot_predictions(**predictions)]
    assert pyplot.get_fignums() == []  # which keeps its figures for ever


def test_own_csv_takes_an_entry_and_parameters(three_kinds, tmp_path):
    """One catalog entry and the parameters take another CSV through both pipelines."""
    three_kinds.to_csv(tmp_path / "own.csv", index=False)
    values = {
        "split": parameters.SplitParameters(target="kind", validation=3),
        "choice": parameters.ChoiceParameters(metric="accuracy"),
    }
    for name in candidates:
        forest = "sklearn.ensemble.RandomForestClassifier"
        estimator = "xgboost.XGBClassifier" if name in boosted else forest
        model = parameters.EstimatorParameters(estimator=estimator, arguments=SMALL)
        values[f"{name}.model"] = model
    catalog = DataCatalog(
        {"measurements": CSVDataset(filepath=str(tmp_path / "own.csv"))}
        | {f"params:{name}": MemoryDataset(value) for name, value in values.items()}
    )
    pipeline = training.create_pipeline() + evaluation.create_pipeline()
    outputs = SequentialRunner().run(pipeline, catalog)
    made = {name: dataset.load() for name, dataset in outputs.items() if dataset.exists()}
    curves = {f"{name}_learning_curve" for name in boosted}
    scores = {"training_metrics", "validation_metrics", "evaluation_metrics", "best_score"}
    folds = {f"{name}.fold_models" for name in candidates if name not in boosted}
    others = {"model", "leaderboard", "roc_curve", "confusion_matrix"}
    assert set(made) >= scores | curves | folds | others
    assert {len(made[curve]) for curve in curves} <= {10}
    assert set(made["validation_metrics"]["validation"]) == set(candidates)
    assert made["leaderboard"]["accuracy"].is_monotonic_decreasing
    assert made["evaluation_metrics"]["test"][candidates[0]]["accuracy"] > 0.6


def test_evaluation_runs_by_itself():
    """It loads only what the training pipeline saves, which never sees the test set again."""
    needed = evaluation.create_pipeline().inputs()
    datasets = {name for name in needed if not name.startswith("params:")}
    assert datasets == {"best_model", "test_set", *(f"{name}_model" for name in candidates)}
    assert datasets <= training.create_pipeline().all_outputs()
    assert "test_set" in training.create_pipeline().outputs()
