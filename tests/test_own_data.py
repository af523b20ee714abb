"""Data of many kinds through the pipelines that a project comes with, in memory.

Each works, or is refused in a sentence that is true and says what to do. These tests are not
generated, because a user has one data set.
"""

import logging
import re
from ast import literal_eval
from collections.abc import Callable
from functools import cache
from io import BytesIO, StringIO
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from helpers import project_module
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner
from sklearn import datasets, metrics

parameters = project_module("pipelines.parameters")
training = project_module("pipelines.training")
evaluation = project_module("pipelines.evaluation")
predict_rows = project_module("pipelines.inference.nodes").predict_rows
measure_drift = project_module("pipelines.monitoring.nodes").measure_drift
MonitoringParameters = parameters.MonitoringParameters

CLASSIFIERS = {
    "random_forest": ("sklearn.ensemble.RandomForestClassifier", {"random_state": 0}),
    "xgboost": ("xgboost.XGBClassifier", {"n_jobs": 1, "random_state": 0}),
}
REGRESSORS = {
    "random_forest": ("sklearn.ensemble.RandomForestRegressor", {"random_state": 0}),
    "xgboost": ("xgboost.XGBRegressor", {"n_jobs": 1, "random_state": 0}),
}


class Kept(MemoryDataset):
    """A dataset that the runner doesn't empty after its last use."""

    def _release(self) -> None: ...


def run(
    data: pd.DataFrame, metric: str = "", test_set: MemoryDataset | None = None, **split: Any
) -> dict[str, Any]:
    """Train and evaluate as `kedro run` does, and give everything that the nodes made."""
    is_regression = split.get("task") == "regression"
    choice = metric or ("r2" if is_regression else "roc_auc")
    values = {
        "split": parameters.SplitParameters(**split),
        "choice": parameters.ChoiceParameters(metric=choice),
    }
    for name, (path, arguments) in (REGRESSORS if is_regression else CLASSIFIERS).items():
        values[f"{name}.model"] = parameters.EstimatorParameters(
            estimator=path, arguments={**arguments, "n_estimators": 10}
        )
    pipeline = training.create_pipeline() + evaluation.create_pipeline()
    made = {name: Kept() for name in pipeline.all_outputs()}
    made["test_set"] = test_set or made["test_set"]
    catalog = DataCatalog(
        {"measurements": MemoryDataset(data), **made}
        | {f"params:{name}": MemoryDataset(value) for name, value in values.items()}
    )
    SequentialRunner().run(pipeline, catalog)
    return {name: dataset.load() for name, dataset in made.items() if dataset.exists()}


def split(data: pd.DataFrame, **options: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split the data, of a classification."""
    split_data = project_module("pipelines.training.splitting").split_data
    choice = parameters.ChoiceParameters()
    return cast(Any, split_data(data, parameters.SplitParameters(**options), choice))


def labelled(features: pd.DataFrame, score: Any, names: list[str], seed: int = 0) -> pd.DataFrame:
    """Give features a target: classes of the same size along a score, with a little noise."""
    noise = np.random.default_rng(seed).normal(scale=0.2 * np.std(score), size=len(features))
    return features.assign(target=pd.qcut(score + noise, len(names), labels=names).astype(str))


def shipped(load: Callable[..., Any]) -> pd.DataFrame:
    """Give one of scikit-learn's data sets, with the names of its classes."""
    data = load(as_frame=True)
    frame = data.frame
    if "target_names" in data and len(data.target_names) == frame["target"].nunique():
        frame["target"] = frame["target"].map(lambda number: str(data.target_names[number]))
    return frame


def mixed(rows: int = 120) -> pd.DataFrame:
    """Text, numbers, booleans, dates, three classes with text labels."""
    random = np.random.default_rng(1)
    day = pd.Timestamp("2024-01-01") + pd.to_timedelta(random.integers(0, 300, rows), "D")
    city = random.choice(["Zürich", "Köln", "São Paulo"], rows)
    frame = pd.DataFrame(
        {
            "city": city,
            "age": random.normal(40, 9, rows),
            "member": random.random(rows) < 0.5,
            "level": pd.Categorical(random.choice(["low", "high"], rows)),
            "since": day,
            "last [visit]": day.strftime("%Y-%m-%d"),
        }
    )
    score = frame["age"] + 20 * (city == "Köln") + 10 * frame["member"]
    return labelled(frame, score, ["never", "perhaps", "sure"])


def holed() -> pd.DataFrame:
    """Values missing in every column, of the target too."""
    data = mixed().astype(object)
    return data.mask(np.random.default_rng(2).random(data.shape) < 0.1).assign(empty=np.nan)


def rare() -> pd.DataFrame:
    """Two classes, 1 to 50."""
    random = np.random.default_rng(3)
    is_fraud = np.arange(1020) % 51 == 0
    amounts = random.normal(is_fraud[:, None] * 2.0, size=(1020, 3))
    return pd.DataFrame(amounts, columns=list("abc")).assign(
        target=np.where(is_fraud, "fraud", "ok")
    )


def wide() -> pd.DataFrame:
    """5,000 rows of 40 numbers."""
    x, y = datasets.make_classification(5000, 40, n_informative=8, random_state=0)
    return pd.DataFrame(x).assign(target=y)  # with numbers for names


def reviews() -> pd.DataFrame:
    """A text of several words in each row."""
    random = np.random.default_rng(4)
    words = random.choice(["the", "film", "was", "long", "and", "loud", "to", "me"], (90, 7))
    mood = random.choice(["good", "bad"], 90)
    ends = np.where(mood == "good", "wonderful", "awful")
    text = [" ".join(row) for row in np.column_stack([words, ends])]
    stars = random.integers(1, 6, 90)
    return pd.DataFrame({"text": text, "stars": stars, "target": mood == "good"})


def identified() -> pd.DataFrame:
    """Rows with constant columns and an id of text."""
    return mixed().assign(one=1, same="x", id=[f"c-{number:04}" for number in range(120)])


def lonely() -> pd.DataFrame:
    """A class that only one row has."""
    data = shipped(datasets.load_iris)
    return pd.concat([data, data.iloc[:1].assign(target="rose")], ignore_index=True)


def read(csv: str, **load_args: Any) -> pd.DataFrame:
    """Read a CSV file as the catalog's dataset does."""
    return pd.read_csv(StringIO(csv), **load_args)


def odd(values: pd.Series, text: str) -> pd.Series:
    """Replace one of the values."""
    return values.astype(object).where(np.arange(len(values)) != 7, text)


WORKS: dict[str, tuple[Callable[[], pd.DataFrame], dict[str, Any], float]] = {
    "iris": (lambda: shipped(datasets.load_iris), {}, 0.9),
    "wine, 3 folds": (lambda: shipped(datasets.load_wine), {"validation": 3}, 0.9),
    "of every kind, constant, ids": (identified, {"leave_out": ["id"]}, 0.8),
    "holes everywhere": (holed, {}, 0.55),
    "1 to 50": (rare, {}, 0.8),
    "5,000 x 40": (wide, {}, 0.8),
    "texts, labels are booleans": (reviews, {}, 0.8),
    "diabetes": (lambda: shipped(datasets.load_diabetes), {"task": "regression"}, 0.2),
    "of every kind, a number": (
        lambda: mixed().assign(target=lambda data: data["age"] * 2 + data["member"]),
        {"task": "regression", "validation": 3},
        0.8,
    ),
}


@cache
def made_of(kind: str) -> dict[str, Any]:
    """Give what the pipelines make of data that work."""
    make, split, _ = WORKS[kind]
    return run(make(), target="target", **split)


@pytest.mark.parametrize("kind", WORKS)
@pytest.mark.filterwarnings("ignore:The least populated class")
def test_data_are_trained_on_and_judged(kind: str) -> None:
    """The models learn, and predict new rows without target, in another order, as they are."""
    make, split, at_least = WORKS[kind]
    data, made = make(), made_of(kind)
    name = made["best_model"]
    metric = "r2" if split.get("task") == "regression" else "roc_auc"
    assert made["evaluation_metrics"]["test"][name][metric] > at_least
    best = made["best_score"]["best_score"]
    if best[metric] == 1:  # resamples of a perfect score tell nothing
        assert best.keys() == {metric, "tied_with"}
    else:
        assert best["low"] <= best[metric] <= best["high"]
    plots = {"predicted_against_actual", "residuals"} & made.keys()
    for plot in plots:
        made[plot].savefig(BytesIO())
    assert bool(plots) is (metric == "r2") is not ("roc_curve" in made)

    test_set, model = made["test_set"], made[f"{name}_model"]
    expected = model.predict(test_set.drop(columns="target"))
    new = data.loc[test_set.index, data.columns[::-1]].drop(columns="target")
    np.testing.assert_array_equal(model.predict(new.rename(columns=str)), expected)
    if metric == "roc_auc":
        # Names of classes, of the target's own type.
        assert set(expected) <= set(data["target"].dropna())
        assert model.predict_proba(new.rename(columns=str)).shape == (len(new), len(model.classes_))
    # The inference pipeline takes them, with an id, and gives it back.
    found = predict_rows(model, new.assign(c_id=range(len(new))))
    np.testing.assert_array_equal(found["prediction"], expected)
    assert found["c_id"].to_list() == [*range(len(new))]
    odds = found.filter(like="probability_")
    assert odds.shape[1] == (len(model.classes_) if metric == "roc_auc" else 0)
    # They don't differ from those that were trained on, but for chance.
    table = measure_drift(model, made["training_set"], test_set, new, MonitoringParameters())
    assert not table["drifted"].any()
    # A model server gives rows as lists.
    some = test_set.drop(columns="target").astype(object)
    rows = some.where(some.notna(), None).to_numpy().tolist()
    np.testing.assert_array_equal(model.predict(rows), expected)


REFUSED: dict[str, tuple[Callable[[], pd.DataFrame], dict[str, Any], str]] = {
    "a class of one row": (
        lonely,
        {},
        r"Class 'rose' .* has 1 of the 151 rows, .*remove its rows",
    ),
    "ids": (
        identified,
        {},
        r"Every text in column 'id' is different, as in .* ids.*split\.leave_out",
    ),
    "a number as classes": (
        lambda: shipped(datasets.load_diabetes),
        {},
        r"has 1 of the 442 rows, too few .*set split\.task to regression",
    ),
    "classes as a number": (
        mixed,
        {"task": "regression"},
        r"not finite numbers, which a regression needs.*set split\.task to classification",
    ),
    "another task's metric": (
        mixed,
        {"metric": "rmse"},
        r"choice\.metric is 'rmse', which a classification .* Choose from accuracy, ",
    ),
    "too many folds": (
        lambda: mixed(40),
        {"task": "regression", "target": "age", "validation": 35},
        r"There are 30 training rows, too few for split\.validation 35\.",
    ),
    "a column that is not there": (
        mixed,
        {"leave_out": ["idd"]},
        r"'idd' is not in the data, whose columns are city, age.*Correct split\.leave_out",
    ),
    "infinite": (
        lambda: mixed().assign(ratio=np.inf),
        {},
        r"'ratio' has infinite values. Correct them.*split\.leave_out",
    ),
    "a copy of the target": (
        lambda: mixed().pipe(lambda data: data.assign(**{"target.1": data["target"]})),
        {},
        r"'target\.1' is a copy of the target\. Leave .*split\.leave_out",
    ),
    "a copy of a number": (
        lambda: mixed().pipe(lambda data: data.assign(years=data["age"])),
        {"task": "regression", "target": "age"},
        r"'years' is a copy of the target\.",
    ),
    "no rows": (lambda: mixed().iloc[:0], {}, r"The data has no rows\. Add some\."),
    "no row with a target": (
        lambda: mixed().assign(target=None),
        {},
        r"The data has no rows with a target\.",
    ),
    "semicolons": (
        lambda: read(mixed().to_csv(index=False, sep=";")),
        {},
        r"'target' is not in the data, .* Set load_args: {'sep': \";\"} in .*catalog\.yml",
    ),
    "tabs": (lambda: read(mixed().to_csv(index=False, sep="\t")), {}, r"{'sep': \"\\t\"} in"),
    "a number to predict with one text": (
        lambda: mixed().pipe(lambda data: data.assign(target=odd(data["age"], "unknown"))),
        {"task": "regression"},
        r"'target' has numbers in 119 of 120 rows, .*'na_values': \['unknown'\]",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_data_are_refused_in_a_sentence(kind: str) -> None:
    """Law 9: before anything is trained, with what to do."""
    make, split, message = REFUSED[kind]
    with pytest.raises(ValueError, match=message):
        run(make(), **{"target": "target", **split})


def test_rows_that_are_counted_or_have_no_target_are_told(caplog: Any) -> None:
    """A number in each row may be an id; rows without a target are left out."""
    data = mixed().assign(row=range(120))
    data.loc[:9, "target"] = None
    with caplog.at_level(logging.WARNING):
        sets = split(data, target="target")
    assert sum(map(len, sets)) == 110
    assert "no value in 10 of 120 rows, which are left out" in caplog.text
    assert "Column 'row' counts the rows" in caplog.text


DAYS = pd.Series(pd.date_range("2024-01-01", periods=120)).sample(frac=1, random_state=0)
SIZES = pd.Series(np.random.default_rng(5).normal(50, 30, 120).round(4))
MISREAD: dict[str, tuple[pd.Series, str, str, dict[str, Any]]] = {
    "one text among numbers": (
        odd(SIZES, "unknown"),
        "numbers in 119",
        "unknown",
        {"na_values": ["unknown"]},
    ),
    "a decimal comma": (
        SIZES.astype(str).str.replace(".", ","),
        "numbers in 120",
        ",",
        {"decimal": ","},
    ),
    "both, and whole numbers": (
        odd(pd.Series([f"{n}" if n % 2 else f"{n},5" for n in range(120)]), "n. a."),
        "numbers in 119",
        "n. a.",
        {"decimal": ",", "na_values": ["n. a."]},
    ),
    "thousands": (
        (SIZES * 1e5).map("{:,.0f}".format),
        "numbers in 120",
        ",",
        {"thousands": ","},
    ),
    "thousands with dots": (
        (SIZES * 1e5).map("{:,.2f}".format).str.translate(str.maketrans(",.", ".,")),
        "numbers in 120",
        ",",
        {"decimal": ",", "thousands": "."},
    ),
    "dates with the day first": (
        DAYS.dt.strftime("%d.%m.%Y"),
        "dates in 120",
        ".2024",
        {"parse_dates": ["x"], "dayfirst": True},
    ),
    "dates and times with the month first": (
        DAYS.dt.strftime("%m/%d/%Y 12:30"),
        "dates in 120",
        "/2024 12:30",
        {"parse_dates": ["x"], "dayfirst": False},
    ),
    "an odd cell among dates": (
        odd(DAYS.dt.strftime("%Y-%m-%d"), "soon"),
        "dates in 119",
        "soon",
        {"na_values": ["soon"]},
    ),
}


@pytest.mark.parametrize("kind", MISREAD)
def test_numbers_and_dates_that_are_read_as_text_are_told(kind: str, caplog: Any) -> None:
    """With what pandas needs to read them; and with that, they are numbers and dates."""
    values, what, value, load_args = MISREAD[kind]
    data, options = mixed()[["city", "target"]].assign(x=values.to_numpy()), {"target": "target"}
    message = (
        rf"Column 'x' has {what} of 120 rows, .* such as '.*{re.escape(value)}.*'\. "
        rf"Correct them, or set load_args: {re.escape(str(load_args))} in the entry measurements"
    )
    with pytest.raises(ValueError, match=message):  # like a column of ids
        split(data, **options)
    split(pd.concat([data, data], ignore_index=True), **options)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert re.search(message.replace("119", "238").replace("120", "240"), record.getMessage())

    told = literal_eval(record.getMessage().split("load_args: ")[1].split(" in the entry")[0])
    caplog.clear()
    again = read(data.to_csv(index=False), **told)
    kind_of = project_module("pipelines.training.preprocessing").column_kind
    assert kind_of(again["x"]) == what.split()[0]
    split(again, **options)
    assert not caplog.records


@pytest.mark.parametrize("texts", [["XS", "S", "36"], ["10.0.0.1", "10.0.0.2"], ["1.2.3", "4-5"]])
def test_what_looks_a_bit_like_numbers_is_not_told(texts: list[str], caplog: Any) -> None:
    """Sizes, addresses and versions are categories."""
    split(mixed().assign(x=texts * (120 // len(texts))), target="target")
    assert not caplog.records


def test_the_test_set_does_not_choose() -> None:
    """Row 2: with the labels of its rows shuffled, the same candidate is chosen, as surely."""

    class Shuffled(Kept):
        def save(self, data: pd.DataFrame) -> None:
            labels = data["target"].sample(frac=1, random_state=0).to_numpy()
            super().save(data.assign(target=labels))

    made, data = made_of("iris"), shipped(datasets.load_iris)
    other = run(data, target="target", test_set=Shuffled())
    scores = [each["evaluation_metrics"]["test"]["xgboost"]["accuracy"] for each in (made, other)]
    assert scores[0] > 0.9
    assert scores[1] < 0.6
    assert other["best_model"] == made["best_model"]
    assert other["best_score"] == made["best_score"]
    pd.testing.assert_frame_equal(other["leaderboard"], made["leaderboard"])


def test_what_chooses_is_of_rows_that_were_not_trained_on() -> None:
    """Of all folds together; and it is the metric that scikit-learn computes."""
    made = made_of("wine, 3 folds")
    prediction = made["xgboost_validation_prediction"]
    assert len(prediction.actual) == len(made["training_set"])
    scores = made["validation_metrics"]["validation"]
    expected = metrics.roc_auc_score(prediction.actual, prediction.probabilities, multi_class="ovr")
    assert scores["xgboost"]["roc_auc"] == pytest.approx(expected)
    best = made["best_score"]["best_score"]["roc_auc"]
    assert best == max(of["roc_auc"] for of in scores.values()) == made["leaderboard"]["roc_auc"][0]
