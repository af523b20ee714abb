"""The schemas that a project comes with, through its catalog: what stops a run, and what it says.

These tests are not generated, because a user has data with other columns.
"""

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from helpers import PROJECT, project_module
from kedro.io import DataCatalog
from kedro.validation import DataValidationError

schemas = project_module("pipelines.schemas")
DATA = pd.read_csv(PROJECT / "data" / "01_raw" / "measurements.csv")
ENTRIES = yaml.safe_load((PROJECT / "conf" / "base" / "catalog.yml").read_text(encoding="utf-8"))


def load(data: pd.DataFrame, folder: Path) -> Any:
    """Load the data through the entry's validator."""
    data.to_csv(folder / "data.csv", index=False)
    entry = {**ENTRIES["measurements"], "filepath": str(folder / "data.csv")}
    return DataCatalog.from_config({"measurements": entry}).load("measurements")


def test_the_data_of_the_project_pass(tmp_path: Path) -> None:
    """They are unchanged, and each of their columns has a rule."""
    pd.testing.assert_frame_equal(load(DATA, tmp_path), DATA)
    rules = "|".join(schemas.Measurements.to_schema().columns)
    assert [name for name in DATA.columns if not re.fullmatch(rules, name)] == []


@pytest.mark.parametrize(
    ("column", "value", "check"),
    [
        ("mean_radius", -1.0, r"finite_and_at_least_0"),
        ("worst_area", float("inf"), r"finite_and_at_least_0"),
        ("area_error", None, "not_nullable"),
        ("worst_texture", "17,5", r"dtype\('float64'\)"),
        ("diagnosis", "beningn", r"isin\(\['benign', 'malignant'\]\)"),
        ("diagnosis", None, "not_nullable"),
    ],
)
def test_a_row_that_breaks_a_rule_is_refused(
    tmp_path: Path, column: str, value: Any, check: str
) -> None:
    """The error names the data set, schema, column, check and number of rows."""
    data = DATA.astype(object)
    data.loc[[3, 5, 7], column] = value
    with pytest.raises(DataValidationError) as error:
        load(data, tmp_path)
    assert error.match(
        f"(?s)'measurements' on load.*schemas.Measurements.* {column}: {check} — 3 c"
    )
