"""Runs that train small models."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import Store
from sklearn.linear_model import LogisticRegression

from kedro_mlrun import MLRunDataframeDataset, MLRunModel
from kedro_mlrun.records.records import Records


def _made(seed: int, rows: int = 60) -> pd.DataFrame:
    """Make rows of two features, the first of which tells the kind."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(random.normal(size=(rows, 2)), columns=["x", "y"])
    kind = np.where(frame["x"] + random.normal(scale=0.3, size=rows) > 0, "yes", "no")
    return frame.assign(kind=pd.Categorical(kind))


@pytest.fixture
def made() -> Callable[[int], pd.DataFrame]:
    """Give the function that makes rows."""
    return _made


@pytest.fixture
def train(store: Store) -> Callable[..., str]:
    """Give a function that trains a model in a run, and gives the run's id."""

    def train(
        features: str = "xy",
        training: pd.DataFrame | None = None,
        test: pd.DataFrame | None = None,
        model: Any = None,
        coded: bool = False,
    ) -> str:
        training_set = _made(1) if training is None else training
        context = store.manager.open_run("training")
        MLRunDataframeDataset("training_set").save(training_set)
        MLRunDataframeDataset("test_set").save(_made(2) if test is None else test)
        target = training_set["kind"].cat.codes if coded else training_set["kind"]
        model = (model or LogisticRegression()).fit(training_set[[*features]], target)
        save_args = {"training_set": "training_set", "label_column": "kind"}
        MLRunModel("model", save_args=save_args).save(model)
        store.manager.close_run()
        return str(context._uid)

    return train


@pytest.fixture
def records(store: Store) -> Records:
    """Give the project's records, as the commands read them."""
    return Records(*store.manager.to_read())
