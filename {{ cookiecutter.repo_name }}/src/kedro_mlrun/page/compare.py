"""Several runs side by side."""

import difflib
from collections.abc import Sequence
from typing import Any

import click
import yaml
from starlette.requests import Request
from starlette.responses import Response

from ..records.records import Records
from ..records.summaries import Record, artifact_key, fields_of, summary, uid_of
from ..store.fields import flatten
from . import previews
from .app import Page
from .run import item
from .runs import row
from .shown import is_number

ALWAYS = ("labels.process", "labels.session")  # differ, and tell nothing
MOST, FEW = 500, 8  # runs; up to how many are columns, of which each is read
# Of what is best small; of all else, the largest is.
SMALL = ("loss", "error", "rmse", "mse", "mae", "mape", "brier", "perplexity", "regret", "seconds")


def asked(records: Records, request: Request) -> list[Record]:
    """Find the runs that an address names."""
    uids = [uid for given in request.query_params.getlist("id") for uid in given.split(",") if uid]
    uids = [*dict.fromkeys(uids)]
    if len(uids) > MOST:
        raise click.UsageError(f"{len(uids)} runs are too many to compare. Check {MOST} at most.")
    found = [*records.runs_of(uids)]
    if len(found) < 2:  # noqa: PLR2004
        raise click.UsageError("Check two runs or more to compare them.")
    return found


def differences(runs: Sequence[Record]) -> Record:
    """Give what differs between runs: names, each with a value of every run, and the best."""
    told = [fields_of(summary(run)) for run in runs]
    names = dict.fromkeys(name for each in told for name in each)
    found: Record = {"params": [], "results": [], "labels": []}
    for name in names:
        part, _, rest = name.partition(".")
        values = [each.get(name) for each in told]
        # As texts, for NaN isn't equal to itself, and True is to 1.
        if part not in found or rest.startswith("kedro.") or name in ALWAYS:
            continue
        if len({*map(repr, values)}) > 1:
            best = _best(rest, values) if part == "results" else None
            found[part].append({"name": rest, "field": name, "values": values, "best": best})
    return found


def _best(name: str, values: Sequence[Any]) -> Any:
    numbers = {value for value in values if is_number(value)}
    # Of what is alike, nothing is the best.
    if len(numbers) < 2:  # noqa: PLR2004
        return None
    return min(numbers) if is_small_best(name) else max(numbers)


def is_small_best(name: str) -> bool:
    """Tell by a result's name whether the smaller is better."""
    return any(word in name.lower() for word in SMALL)


def compare(page: Page, request: Request) -> Response:
    """Show what differs between runs; of two, also the parameters as a text."""
    records = page.records()
    found = asked(records, request)
    return page.html(
        request,
        "compare.html",
        **table(found),
        diff=diff(*found[:2]) if len(found) == 2 else [],  # noqa: PLR2004
        images=images(records, found) if len(found) <= FEW else {},
        ids=",".join(map(uid_of, found)),
    )


def table(runs: Sequence[Record]) -> Record:
    """Give the table of what differs, with few runs as columns and many as rows."""
    parts = differences(runs)
    columns = [each for part in ("results", "params", "labels") for each in parts[part]]
    names = [each["field"] for each in columns]
    rows = [row(run, fields_of(summary(run)), names) for run in runs]
    return {"parts": parts, "columns": columns, "rows": rows, "as_columns": len(runs) <= FEW}


def chart_data(runs: Sequence[Record]) -> Record:
    """Give what charts are drawn from: runs, and each field's values in their order."""
    told = [summary(run) for run in runs]
    about = [{name: run[name] for name in ("uid", "name", "state", "start_time")} for run in told]
    return {"runs": about, **differences(runs)}


def data(page: Page, request: Request) -> Any:
    """Give `chart_data` as JSON."""
    return chart_data(asked(page.records(), request))


def diff(first: Record, second: Record) -> list[tuple[str, str]]:
    """Give the difference of two runs' parameters, line by line, each with its sign."""
    texts = []
    for run in (first, second):
        values = flatten(summary(run)["parameters"])
        plain = {name: value for name, value in values.items() if not name.startswith("kedro.")}
        texts.append(yaml.safe_dump(plain, sort_keys=True, allow_unicode=True).splitlines())
    names = [f"{run['metadata'].get('name')} {uid_of(run)[:8]}" for run in (first, second)]
    (left, right), (old, new) = texts, names
    lines = difflib.unified_diff(left, right, old, new, lineterm="", n=2)
    return [(line[:1], line) for line in lines]


def images(records: Records, runs: Sequence[Record]) -> dict[str, list[Record | None]]:
    """Give the images of runs that several have, side by side."""
    found = [
        {
            artifact_key(record): item(record)
            for record in records.artifacts_of(run)
            if previews.kind(record) == "image"
        }
        for run in runs
    ]
    keys = dict.fromkeys(key for each in found for key in each)
    return {key: [each.get(key) for each in found] for key in keys}
