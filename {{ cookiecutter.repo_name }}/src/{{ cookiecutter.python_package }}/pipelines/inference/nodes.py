"""How new rows are checked, and predicted."""

import logging
from typing import Any

import numpy as np
import pandas as pd

from ..training.preprocessing import as_text, feature_kinds

LOGGER = logging.getLogger(__name__)
CURE = "Correct new_measurements, or its entry in conf/base/catalog.yml."


def predict_rows(model: Any, new_measurements: pd.DataFrame) -> pd.DataFrame:
    """Predict new rows, whose columns may be in any order, without a target.

    The rows keep their index, and the columns that the model does not use, such as ids, to join by.
    """
    rows = take_features(model, new_measurements)
    if hasattr(model, "classes_"):
        odds = np.asarray(model.predict_proba(rows))
        answers = {"prediction": model.classes_[odds.argmax(axis=1)]}
        answers |= {f"probability_{name}": odds[:, n] for n, name in enumerate(model.classes_)}
    else:
        answers = {"prediction": model.predict(rows)}
    unused = new_measurements.rename(columns=str).drop(columns=rows.columns)
    if names := ", ".join(unused):
        LOGGER.warning("Columns that the model does not use stay beside the predictions: %s", names)
    return unused.assign(**answers)


def take_features(model: Any, new_measurements: pd.DataFrame) -> pd.DataFrame:
    """Take the features that a model was trained on, or say what is wrong with them.

    Of a date, the model itself says so.
    """
    data, kinds = new_measurements.rename(columns=str), feature_kinds(model)
    if missing := [name for name in kinds if name not in data.columns]:
        raise ValueError(
            f"new_measurements has no {', '.join(missing)}, which the model needs: its columns are "
            f"{', '.join(data.columns)}. {CURE}"
        )
    if data.empty:
        raise ValueError(f"new_measurements has no rows. {CURE}")
    rows = data[[*kinds]]
    for name in [name for name, kind in kinds.items() if kind == "numbers"]:
        numbers = pd.to_numeric(rows[name], errors="coerce").astype("float64")
        odd = rows[name][rows[name].notna() & ~np.isfinite(numbers)]
        for row, value in odd.head(1).items():
            raise ValueError(
                f"Column {name!r} of new_measurements has {value!r} in row {row!r}, where the model "
                f"was trained on numbers. {CURE}"
            )
    if texts := [name for name, kind in kinds.items() if kind == "categories"]:
        known = model["preprocessing"].named_transformers_["categories"][-1].categories_
        for name, values, names in zip(texts, as_text(rows[texts]).T, known, strict=True):
            if unseen := sorted({*values} - {*names, "missing"}):
                message = "Column %r has categories that the model has not seen and counts as rare:"
                LOGGER.warning(f"{message} %s", name, ", ".join(unseen[:5]))
    return rows
