"""In what runs differ."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..lazy import mlrun
from .summaries import Record, section, summary


def compare(runs: Sequence[Mapping[str, Any]]) -> Record:
    """List the parameters and results that differ, with each number's difference to the first."""
    return {
        "runs": [summary(run) for run in runs],
        "parameters": _differing([section(run, "spec", "parameters") for run in runs]),
        "results": _differing([section(run, "status", "results") for run in runs]),
    }


def _differing(dicts: Sequence[Record]) -> list[Record]:
    found = []
    for name in dict.fromkeys(name for values in dicts for name in values):
        values = [values.get(name) for values in dicts]
        # As texts, for NaN isn't equal to itself, and True is to 1.
        if len(set(map(repr, values))) > 1:
            differences = [_difference(value, values[0]) for value in values]
            found.append({"name": name, "values": values, "differences": differences})
    return found


def _difference(*pair: Any) -> Any:
    are_numbers = all(type(value) in {int, float} and math.isfinite(value) for value in pair)
    return pair[0] - pair[1] if are_numbers else None


def comparable(runs: Iterable[Mapping[str, Any]]) -> Any:
    """Give runs as the `RunList` that MLRun's own comparison draws from."""
    found = mlrun.lists.RunList()
    for run in runs:
        parameters = section(run, "spec", "parameters")
        results = section(run, "status", "results")
        if not parameters or not results:
            raise mlrun.errors.MLRunInvalidArgumentError(
                f"Run {run['metadata']['uid']} has no {'results' if parameters else 'parameters'}, "
                "so MLRun can't draw it beside others. Leave it out."
            )
        spec = {**run["spec"], "parameters": _scalars(parameters)}
        status = {**run["status"], "results": _scalars(results)}
        found.append({**run, "spec": spec, "status": status})
    return found


def _scalars(values: Record) -> Record:
    return {
        name: value if isinstance(value, int | float | str) else str(value)
        for name, value in values.items()
    }
