"""What is done to columns of any kind, so that every estimator can learn from them."""

from typing import Any

import numpy as np
import pandas as pd

DATE = r"\d{4}-\d\d-\d\d"
MOST_CATEGORIES = 50
MOST_WORDS = 200
SPACES_IN_A_TEXT = 3
NUMBERS = ("boolean", "integer", "floating", "mixed-integer-float", "decimal")


def column_kind(values: pd.Series) -> str:
    """Tell how a column is prepared: as `numbers`, `dates`, `words` or `categories`.

    Booleans are numbers, texts such as 2024-12-31 dates. Most texts of words are different and long.
    """
    present = values.dropna()
    if pd.api.types.is_numeric_dtype(values) or pd.api.types.infer_dtype(present) in NUMBERS:
        return "numbers"
    text = present.astype(str)
    if len(text) and text.str.match(DATE).all():
        return "dates"
    has_words = text.str.count(" ").median() >= SPACES_IN_A_TEXT
    return "words" if has_words and text.nunique() > len(text) / 2 else "categories"


def make_preprocessing(features: pd.DataFrame) -> Any:
    """Choose for each column how it is prepared, and make a ColumnTransformer, not fitted, of it.

    A missing number or date becomes the median, and a further column says that it was missing. A
    missing text is a category. Rare and unknown categories count as one.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

    def prepare(function: Any, *steps: Any) -> Any:
        return make_pipeline(FunctionTransformer(function, feature_names_out=_names), *steps)

    imputer = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
    encoder = OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=MOST_CATEGORIES)
    # By position, because a model server may get rows without names. With names, order is free.
    at: dict[str, list[int]] = {"numbers": [], "dates": [], "categories": [], "words": []}
    for position, (_, values) in enumerate(features.items()):
        at[column_kind(values)].append(position)
    return ColumnTransformer(
        [
            ("numbers", prepare(as_numbers, imputer, StandardScaler()), at["numbers"]),
            ("dates", prepare(date_parts, imputer, StandardScaler()), at["dates"]),
            ("categories", prepare(as_text, encoder), at["categories"]),
            *(
                (f"words_{n}", prepare(as_text, TfidfVectorizer(max_features=MOST_WORDS)), n)
                for n in at["words"]
            ),
        ],
        sparse_threshold=0,  # not every estimator takes sparse matrices
    )


def feature_kinds(model: Any) -> dict[str, str]:
    """Tell the kind, as in `column_kind`, of each feature that a model was trained on."""
    names, kinds = model.feature_names_in_, dict[str, str]()
    for step, _, positions in model["preprocessing"].transformers_:
        kinds |= {names[at]: step.partition("_")[0] for at in np.atleast_1d(positions).astype(int)}
    return {name: kinds[name] for name in names}


def as_numbers(columns: Any) -> np.ndarray:
    """Convert columns to numbers; missing ones are NaN."""
    if isinstance(columns, np.ndarray) and columns.dtype == np.float64:
        return columns  # rows of a model server, for which pandas takes long
    return pd.DataFrame(columns).apply(pd.to_numeric).to_numpy("float64", na_value=np.nan)


def as_text(columns: Any) -> np.ndarray:
    """Convert columns to text, also what is missing; a single column to a list of texts."""
    frame = (pd.DataFrame if np.ndim(columns) > 1 else pd.Series)(columns).astype(object)
    return frame.where(frame.notna(), "missing").astype(str).to_numpy(object)


def date_parts(columns: Any) -> np.ndarray:
    """Convert each date to the days since 1970, the month and the day of the week.

    A column has become one of dates because all of its texts look like some, as all later ones must.
    """
    parts: list[Any] = []
    for name, values in pd.DataFrame(columns).items():
        odd = values[values.notna() & ~values.astype(str).str.match(DATE)]
        for row, value in odd.head(1).items():
            raise ValueError(
                f"Column {name!r} has {value!r} in row {row!r}, where the model was trained on "
                "dates such as 2024-12-31."
            )
        dates = pd.to_datetime(values, errors="coerce", utc=True, format="ISO8601")
        days = (dates - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(days=1)
        parts += [days, dates.dt.month, dates.dt.dayofweek]
    return np.column_stack(parts).astype("float64")


def _names(transformer: Any, columns: Any) -> list[str]:
    """Name what a function of this module returns."""
    parts = ("_days", "_month", "_weekday") if transformer.func is date_parts else ("",)
    return [f"{column}{part}" for column in columns for part in parts]
