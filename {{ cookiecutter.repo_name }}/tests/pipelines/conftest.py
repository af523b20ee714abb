"""Small data sets with columns of every kind, like a CSV of your own."""

import numpy as np
import pandas as pd
import pytest


def make_flowers(kinds: list[str]) -> pd.DataFrame:
    """Make forty rows of each kind, which three columns separate, though not perfectly."""
    random = np.random.default_rng(0)
    kind = np.repeat(np.arange(len(kinds)), 40)
    frame = pd.DataFrame(
        random.normal(size=(len(kind), 2)) + kind[:, None] * [1.5, -1.0],
        columns=["petal length", "sepal"],
    )
    frame["colour"] = np.where(random.random(len(kind)) < 0.2 + 0.3 * kind, "red", "blue")
    frame["wild"] = random.random(len(kind)) < 0.5
    frame["found"] = [f"2024-0{month}-15" for month in random.integers(1, 9, len(kind))]
    frame.loc[::9, ["sepal", "colour", "found"]] = None
    frame.insert(1, "kind", np.array(kinds, dtype=object)[kind])
    return frame.sample(frac=1, random_state=0)


@pytest.fixture
def two_kinds() -> pd.DataFrame:
    """Rows of two classes."""
    return make_flowers(["iris", "rose"])


@pytest.fixture
def three_kinds() -> pd.DataFrame:
    """Rows of three classes, which first appear in another order than the alphabetical one."""
    return make_flowers(["tulip", "iris", "rose"])
