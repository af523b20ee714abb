"""How the data is divided, and what is refused before anything is trained."""

import logging

import numpy as np
import pandas as pd
import pytest

from tests import project_module

parameters = project_module("pipelines.parameters")
splitting = project_module("pipelines.training.splitting")


def options(**changes):
    """Make the parameters of a split."""
    return parameters.SplitParameters(**{"target": "kind", **changes})


def split(data, metric="roc_auc", **changes):
    """Split the data."""
    return splitting.split_data(
        data, options(**changes), parameters.ChoiceParameters(metric=metric)
    )


def test_split_loses_nothing(three_kinds):
    """Every row is in exactly one of the two sets, with its index and its values."""
    both = pd.concat(split(three_kinds)).loc[three_kinds.index]
    pd.testing.assert_frame_equal(both.astype({"kind": object}), three_kinds)


def test_split_keeps_shares(three_kinds):
    """Each class has the same share in both sets; the test set has the configured size."""
    train, test = split(three_kinds, test_size=0.25)
    assert len(test) == 30
    assert test["kind"].value_counts().to_dict() == {"iris": 10, "rose": 10, "tulip": 10}
    assert train["kind"].value_counts().to_dict() == {"iris": 30, "rose": 30, "tulip": 30}


def test_split_is_repeatable(two_kinds):
    """The same seed gives the same sets, another seed gives others; the input is unchanged."""
    before = two_kinds.copy()
    first, again = (split(two_kinds, seed=1)[0] for _ in range(2))
    other, _ = split(two_kinds, seed=2)
    pd.testing.assert_frame_equal(first, again)
    assert set(first.index) != set(other.index)
    pd.testing.assert_frame_equal(two_kinds, before)


def test_a_regression_is_split_at_random(two_kinds):
    """The number to predict stays a number, whatever it was in the data."""
    data = two_kinds.assign(kind=range(80))
    train, test = split(data, metric="r2", task="regression", test_size=0.25)
    assert (len(train), len(test)) == (60, 20)
    assert {part["kind"].dtype for part in (train, test)} == {np.dtype("float64")}


def test_columns_are_left_out(two_kinds):
    """They are in no set, and so no model uses them."""
    for part in split(two_kinds, leave_out=["wild", "found"]):
        assert part.columns.to_list() == ["petal length", "kind", "sepal", "colour"]


def test_rows_without_target_are_left_out(two_kinds, caplog):
    """A warning says how many; a class that nobody has any more is none."""
    data = two_kinds.assign(kind=two_kinds["kind"].astype("category").cat.add_categories("none"))
    data.iloc[:5, 1] = None
    with caplog.at_level(logging.WARNING):
        train, test = split(data)
    assert len(train) + len(test) == 75
    assert "'kind' has no value in 5 of 80 rows" in caplog.text
    assert train["kind"].cat.categories.to_list() == ["iris", "rose"]


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        ({}, {"target": "sort"}, r"'sort' is not in the data, .*sepal.*split\.target"),
        ({"kind": "iris"}, {}, r"'kind' has the same value.*split\.target"),
        (
            {"kind": ["lily", "lily", "lily", *["iris", "rose"] * 38, "iris"]},
            {},
            r"'lily' of .*'kind' has 2 of the 60 training rows, too few for split\.validation 0\.2\.",
        ),
        ({}, {"test_size": 0.01}, r"split\.test_size 0\.01\. Add rows, or change split\.test_size"),
        ({"id": [f"a{number}" for number in range(80)]}, {}, r"'id' .*ids, .*split\.leave_out"),
    ],
)
def test_split_refuses_data(two_kinds, change, settings, message):
    """An error names the column or parameter at fault and says what to do."""
    with pytest.raises(ValueError, match=message):
        split(two_kinds.assign(**change), **settings)
