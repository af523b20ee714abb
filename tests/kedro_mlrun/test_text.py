"""Words for a person."""

from pathlib import Path

import pytest

from kedro_mlrun import text


def test_a_near_name_is_asked_for() -> None:
    """The question ends with a space, so that it can stand before another sentence."""
    assert text.nearest("measurement", ["measurements", "a"]) == "Did you mean 'measurements'? "
    assert text.nearest("x", iter(["measurements"])) == ""


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.97202797, "0.9720"),
        (1e-9, "1e-09"),
        (None, "—"),
        (3, "3"),
        (float("nan"), "nan"),
        (-1234567.891, "-1234567.891"),
        (123456791.0, "123456791"),
        (1e300, "1e+300"),
    ],
)
def test_values(value: object, written: str) -> None:
    assert text.shown(value) == written


def test_paths_are_short_where_they_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert text.shown_path(f"{tmp_path.as_posix()}/a/b.csv") == "a/b.csv"
    assert text.shown_path("/elsewhere/b.csv") == "/elsewhere/b.csv"
    assert text.shown_path("") == "(in its record)"


def test_a_wrong_parameter_is_one_sentence() -> None:
    """Law 9: its name, what is allowed and what it is, without pydantic's own words."""
    said = """Parameter validation failed:
- Parameter 'split': Failed to instantiate Split for parameter 'split': 1 validation error for Split
test_size
  Input should be less than 1 [type=less_than, input_value=1.5, input_type=float]
    For further information visit https://errors.pydantic.dev/2.14/v/less_than"""
    assert text.plain_refusal(said) == "'split': test_size Input should be less than 1, and is 1.5"
    assert text.plain_refusal("Another  reason.") == "Another reason"
