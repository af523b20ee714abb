"""The schema of the data, which `validator` in the catalog names.

It describes the data that the project came with. For your own data, describe its columns here, or
remove the `validator` line. Columns may be absent, because an entry can omit some with `usecols`.
"""

import math

import pandas as pd
from pandera.pandas import DataFrameModel, Field, check

DIAGNOSES = ["benign", "malignant"]
MEASURED = "(mean|worst)_.+|.+_error"


class Measurements(DataFrameModel):
    """The raw data: in each row measurements, none of them negative, and a diagnosis."""

    # Coerced, so that whole numbers pass, and an error names the rows that hold text.
    measured: float | None = Field(alias=MEASURED, regex=True, coerce=True)
    diagnosis: str | None = Field(isin=DIAGNOSES)

    @check(MEASURED)
    def finite_and_at_least_0(cls, values: pd.Series) -> pd.Series:
        # Text and missing values break other rules.
        numbers = pd.to_numeric(values, errors="coerce")
        return numbers.isna() | ((numbers >= 0) & (numbers < math.inf))
