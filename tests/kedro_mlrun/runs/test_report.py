"""What a person sees when a run has ended."""

import math

from kedro_mlrun.commands.base import Answer
from kedro_mlrun.runs.report import results_view

METRICS = ("accuracy", "precision", "recall", "f1", "roc_auc", "log_loss")


def shown(results: dict[str, object]) -> list[list[str]]:
    """Give the words of each line."""
    return [line.split() for line in Answer(None, results_view(results))._rendered().splitlines()]


def test_results_with_the_same_last_names_stand_side_by_side() -> None:
    """Law 4: of 25 results each is there, in a line for each model and data set."""
    rows = [f"{data}.{model}" for data in ("test", "train") for model in ("forest", "xgb")]
    results = {f"{row}.{metric}": 0.5 for row in rows for metric in METRICS}
    lines = shown({**results, "best_model": "forest"})
    assert lines[0] == [*METRICS]
    assert lines[1:5] == [[row, *["0.5000"] * len(METRICS)] for row in rows]
    assert lines[5:] == [["best_model", "forest"]]
    assert shown(results) == lines[:5]


def test_other_results_stand_below_each_other() -> None:
    """Law 4: what has no partner, another set of names, or is no number, is shown by its name."""
    results = {
        "loss": math.nan,
        "one.a": 1,
        "one.b": 2,
        "two.a": 3,
        "two.c": 4,
        "three.note": "a [red]",
        "three.more": None,
        "four.note": "b",
        "[bold].x": True,
    }
    assert shown(results) == [
        [name, *str("—" if value is None else value).split()] for name, value in results.items()
    ]
    many = {f"{row}.{number}": number for row in "ab" for number in range(9)}
    assert len(shown(many)) == len(many)
