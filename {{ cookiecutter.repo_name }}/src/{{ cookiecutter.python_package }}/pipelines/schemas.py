"""What the data must be like; `validator` in the catalog says which data set has which schema.

They describe the data that the project came with: with your own, describe yours, or leave the
`validator` lines out. A column that is not there is not looked for, because entries may leave some
out with `usecols`.
"""

import math
from typing import Any

import pandas as pd
from pandera.pandas import DataFrameModel, Field, check

DIAGNOSES = ["benign", "malignant"]


def _measured() -> Any:
    # Coerced, so that whole numbers will do, and of a column with text in it the rows are counted.
    return Field(coerce=True)


class Measurements(DataFrameModel):
    """The raw data: in each row measurements, none of them negative, and a diagnosis.

    Example:
        >>> Measurements.validate(pd.DataFrame({"mean_radius": [17], "other": ["a"]})).shape
        (1, 2)
    """

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
        """What is no number is counted as that."""
        numbers = pd.to_numeric(values, errors="coerce")
        return numbers.isna() | ((numbers >= 0) & (numbers < math.inf))


class SplitData(Measurements):
    """A training or test set: the same, with the diagnosis as a category.

    Example:
        >>> SplitData.validate(pd.DataFrame({"diagnosis": pd.Categorical(["benign"])})).shape
        (1, 1)
    """

    diagnosis: pd.CategoricalDtype | None = Field(isin=DIAGNOSES)
