"""What is done with a trained model: new rows are predicted, and watched for drift."""

from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner

from tests import project_module

parameters = project_module("pipelines.parameters")
train_model = project_module("pipelines.training.nodes").train_model
predict_rows = project_module("pipelines.inference.nodes").predict_rows
monitoring = project_module("pipelines.monitoring.nodes")

LINEAR = "sklearn.linear_model.LogisticRegression"
WATCH = parameters.MonitoringParameters(fail_on_drift=True)


def train(data, target="kind", estimator=LINEAR, **options):
    """Train a model."""
    split = parameters.SplitParameters(target=target, **options)
    return train_model(data, split, parameters.EstimatorParameters(estimator=estimator))


def test_new_rows_keep_what_they_are_joined_by(three_kinds, caplog):
    """Columns may be in any order, without a target; what the model does not use stays as it is."""
    model, features = train(three_kinds), three_kinds.drop(columns="kind")
    new = features[features.columns[::-1]].assign(id="c-1", colour="green")
    found = predict_rows(model, new)
    assert found.index.equals(new.index)
    odds = [f"probability_{name}" for name in ("iris", "rose", "tulip")]
    assert found.columns.to_list() == ["id", "prediction", *odds]
    assert (found["prediction"] == model.predict(features.assign(colour="green"))).all()
    np.testing.assert_array_equal(found[odds], model.predict_proba(features.assign(colour="green")))
    assert "the model has not seen and counts as rare: green" in " ".join(caplog.text.split())
    assert caplog.text.count("does not use stay beside the predictions: id") == 1
    ridge = train(features, "petal length", "sklearn.linear_model.Ridge", task="regression")
    assert predict_rows(ridge, new.drop(columns="id"))["prediction"].dtype == "float64"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.drop(columns=["wild"]), r"has no wild, which .* columns are petal"),
        (lambda rows: rows.iloc[:0], r"new_measurements has no rows\. Correct"),
        (lambda rows: rows.assign(sepal="wide"), r"'sepal' .* has 'wide' in row \d+, .* numbers"),
        (lambda rows: rows.assign(sepal=np.inf), r"'sepal' .* has inf in row"),
        (lambda rows: rows.assign(found="soon"), r"'found' has 'soon' in row \d+, .* dates"),
    ],
)
def test_wrong_rows_are_refused(two_kinds, change, message):
    """An error names the column, the row and the value, and says what to correct."""
    model, rows = train(two_kinds), change(two_kinds)
    with pytest.raises(ValueError, match=message):
        predict_rows(model, rows)
    with pytest.raises(ValueError, match=message):
        monitoring.measure_drift(model, two_kinds, two_kinds, rows, WATCH)


def test_two_shifted_features_of_30_are_found_and_no_other():
    """The worst feature decides; the run fails where the parameters say so."""
    old, new = np.random.default_rng(0).normal(size=(2, 300, 30))
    columns = [f"x{number}" for number in range(30)]
    train_set, test_set = pd.DataFrame(old, columns=columns), pd.DataFrame(new, columns=columns)
    model = train(train_set.assign(kind=np.where(train_set["x0"] > 0, "no", "yes")))
    shifted = test_set.assign(x3=test_set["x3"] + 1, x7=test_set["x7"] - 1)
    table = monitoring.measure_drift(model, train_set, test_set, shifted, WATCH)
    assert set(table["feature"][table["drifted"]]) == {"x3", "x7"}
    assert {"x3", "x7"} == set(table["feature"][:2])
    figure, found = monitoring.report_drift(table)
    figure.savefig(BytesIO())
    assert (found["drift"]["state"], found["drift"]["features"]) == ("drift", 2)
    with pytest.raises(ValueError, match=r"drifted in 'x\d' most: its distance is 0\.\d\d, the"):
        monitoring.fail_on_drift(found, WATCH)
    rest = parameters.MonitoringParameters(leave_out=["x3", "x7"])
    table = monitoring.measure_drift(model, train_set, test_set, shifted, rest)
    assert not table["drifted"].any()
    monitoring.fail_on_drift(found, rest)


@pytest.mark.parametrize(
    ("change", "worst"),
    [
        ({}, None),
        ({"colour": "green"}, "colour"),
        ({"sepal": None}, "sepal"),
        ({"found": "2031-01-01"}, "found"),
        ({"wild": True}, "wild"),
    ],
)
def test_columns_of_every_kind_are_watched(three_kinds, change, worst):
    """New categories, missing values, later dates; a batch of few rows is said to be too small."""
    model = train(three_kinds)
    new = three_kinds.drop(columns="kind").assign(**change)
    table = monitoring.measure_drift(model, three_kinds, three_kinds, new, WATCH)
    _, found = monitoring.report_drift(table)
    assert (found["drift"]["worst_feature"] if found["drift"]["found"] else None) == worst
    table = monitoring.measure_drift(model, three_kinds, three_kinds, new[:1], WATCH)
    figure, found = monitoring.report_drift(table)
    figure.savefig(BytesIO())
    assert (found["drift"]["state"], found["drift"]["found"]) == ("too small", False)


def test_the_pipelines_need_a_champion_and_new_rows(three_kinds):
    """A run that drift fails has saved its results by then."""
    names = ["champion_training_set", "champion_test_set", "new_measurements"]
    data = {name: MemoryDataset(three_kinds) for name in names}
    data |= {"champion_model": MemoryDataset(train(three_kinds))}
    data |= {"params:monitoring": MemoryDataset(WATCH)}
    for name in ("inference", "monitoring"):
        pipeline = project_module(f"pipelines.{name}").create_pipeline()
        assert pipeline.inputs() <= data.keys()
        outputs = SequentialRunner().run(pipeline, DataCatalog(data))
        assert set(outputs) == pipeline.outputs()
