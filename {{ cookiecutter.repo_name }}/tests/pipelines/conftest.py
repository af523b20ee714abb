"""Small data sets with text labels, as someone's own CSV has them."""

import numpy as np
import pandas as pd
import pytest


def _flowers(kinds: list[str]) -> pd.DataFrame:
    """Forty rows of each kind, in three columns that tell them apart, though not without error."""
    random = np.random.default_rng(0)
    kind = np.repeat(np.arange(len(kinds)), 40)
    frame = pd.DataFrame(
        random.normal(size=(len(kind), 3)) + kind[:, None] * [1.5, -1.0, 0.0],
        columns=["petal length", "sepal", "noise"],
    )
    frame.insert(1, "kind", np.array(kinds, dtype=object)[kind])
    return frame.sample(frac=1, random_state=0)


@pytest.fixture
def two_kinds() -> pd.DataFrame:
    """Rows of two classes."""
    return _flowers(["iris", "rose"])


@pytest.fixture
def three_kinds() -> pd.DataFrame:
    """Rows of three classes, whose order by name is another than by appearance."""
    return _flowers(["tulip", "iris", "rose"])
