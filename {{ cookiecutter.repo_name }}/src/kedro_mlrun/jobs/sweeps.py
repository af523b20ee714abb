"""MLRun's own sweeps, of a job with hyperparameters: what is noted and shown when one has ended."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import click
from rich.console import Console, Group
from rich.text import Text

from ..records.summaries import search_of
from ..runs.manager import MLRunContextManager
from ..runs.report import pairs
from ..store.fields import SWEEP, section
from ..text import kedro_command, nearest, rendered


def note_selector(context: Any, selector: str) -> None:
    """Note what the best of a sweep is chosen by, which its record lacks."""
    # As MLRun reads it: `accuracy` and `max.accuracy` are the same.
    how, _, metric = selector.partition(".")
    direction = "minimize" if how == "min" else "maximize"
    metric = metric if how in {"min", "max"} and metric else selector
    context.set_annotation(SWEEP, json.dumps({"metric": metric, "direction": direction}))


def print_sweep(run: Mapping[str, Any], results: Iterable[Mapping[str, Any]]) -> None:
    """Print of a sweep which iteration is the best, or why none is, and where to look next."""
    uid, found, metadata = str(run["metadata"]["uid"]), search_of(run), run["metadata"]
    best = section(run, "status", "results").get("best_iteration")
    parts: list[Any] = [Text(f"\nMLRun sweep '{metadata.get('name')}'"), pairs(("id", uid))]
    if best and found.get("history"):
        value = found["history"][-1]["value"]
        about = (found["metric"], value), *found["parameters"].items()
        parts += [Text(f"\nBest of {found['trials']} iterations: {best}"), pairs(*about)]
    else:
        known = {name for each in results if each for name in section(each, "status", "results")}
        metric = found.get("metric")
        why = f"none has the result '{metric}'. {nearest(metric or '', known)}".rstrip()
        hint = "nothing says by what to choose: --selector max.NAME"
        parts.append(Text(f"\nNo iteration is the best, for {why if metric else hint}"))
    hint = f"To look further: {kedro_command()} mlrun show {uid[:8]}"
    parts.append(Text(f"\nRecorded in {MLRunContextManager().location}.\n{hint}"))
    click.echo(rendered(Console(width=1000), Group(*parts)))
