"""The schemas of the data; `validator` in the catalog says which data set has which.

They describe the data that the project came with. For your own data, describe its columns here, or
remove the `validator` lines. Columns may be absent, because an entry can omit some with `usecols`.
"""

import math
from typing import Any

import pandas as pd
from pandera.pandas import DataFrameModel, Field, check

DIAGNOSES = ["benign", "malignant"]


def _measured() -> Any:
    # Coerced, so that whole numbers pass, and an error names the rows that hold text.
    return Field(coerce=True)


class Measurements(DataFrameModel):
    """The raw data: in each row measurements, none of them negative, and a diagnosis."""

    mean_radius: float | None = _measured()
    mean_texture: float | None = _measured()
    mean_perimeter: float | None = _measured()
    mean_area: float | None = _measured()
    mean_smoothness: float | None = _measured()
    mean_compactness: float | None = _measured()
    mean_concavity: float | None = _measured()
    mean_concave_points: float | None = _measured()
    mean_symmetry: float | None = _measured()
    mean_fractal_dimension: float | None = _measured()
    radius_error: float | None = _measured()
    texture_error: float | None = _measured()
    perimeter_error: float | None = _measured()
    area_error: float | None = _measured()
    smoothness_error: float | None = _measured()
    compactness_error: float | None = _measured()
    concavity_error: float | None = _measured()
    concave_points_error: float | None = _measured()
    symmetry_error: float | None = _measured()
    fractal_dimension_error: float | None = _measured()
    worst_radius: float | None = _measured()
    worst_texture: float | None = _measured()
    worst_perimeter: float | None = _measured()
    worst_area: float | None = _measured()
    worst_smoothness: float | None = _measured()
    worst_compactness: float | None = _measured()
    worst_concavity: float | None = _measured()
    worst_concave_points: float | None = _measured()
    worst_symmetry: float | None = _measured()
    worst_fractal_dimension: float | None = _measured()
    diagnosis: str | None = Field(isin=DIAGNOSES)

    @check("^(mean|worst)_|_error$", regex=True)
    def finite_and_at_least_0(cls, values: pd.Series) -> pd.Series:
        # Text and missing values break other rules.
        numbers = pd.to_numeric(values, errors="coerce")
        return numbers.isna() | ((numbers >= 0) & (numbers < math.inf))


class SplitData(Measurements):
    """A training or test set: the same, with the diagnosis as a category."""

    diagnosis: pd.CategoricalDtype | None = Field(isin=DIAGNOSES)
