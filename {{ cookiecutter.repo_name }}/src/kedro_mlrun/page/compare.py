"""Several runs side by side."""

import base64
import difflib
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import click
import yaml
from starlette.requests import Request
from starlette.responses import Response

from ..records import previews
from ..records.records import Records
from ..records.summaries import Record, artifact_key, fields_of, summary, uid_of
from ..store.fields import flatten, run_title
from .app import Page
from .run import item
from .runs import row
from .shown import is_number

ALWAYS = ("labels.process", "labels.session")  # differ, and tell nothing
MOST, FEW = 500, 8  # runs; how many are columns, and have images and texts beside each other
POINTS, LEAST_POINTS, MOST_POINTS = 20_000, 60, 500  # of all curves of a metric; of one
ROOM = 5_000_000  # characters of all images in an exported file
# What the last part of a result's name says of which value is best; of others nobody knows.
SMALL = "loss error rmse mse mae mape brier perplexity regret seconds ms latency deviance fpr fnr"
SMALL += " nll ece wer cer distance"
LARGE = "accuracy precision recall f1 auc ap map score r2 iou dice ndcg kappa mcc specificity"
LARGE += " sensitivity likelihood skill"


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
    words = {*re.split("[^a-z0-9]+", name.lower().rpartition(".")[2])}
    is_small = not words.isdisjoint(SMALL.split())
    if not is_small and words.isdisjoint(LARGE.split()):
        return None
    return max(numbers) if words & {"neg", "skill"} or not is_small else min(numbers)


def compare(page: Page, request: Request) -> Response:
    """Show what differs between runs."""
    records = page.records()
    found = asked(records, request)
    ids = ",".join(map(uid_of, found))
    return page.html(request, "compare.html", ids=ids, **compared(records, found))


def compared(records: Records, runs: Sequence[Record], room: int | None = None) -> Record:
    """Give what is shown of runs; with `room`, images are part of the page, as far as they fit."""
    parts, few = differences(runs), runs[:FEW]
    columns = [each for part in ("results", "params", "labels") for each in parts[part]]
    names = [each["field"] for each in columns]
    return {
        "parts": parts,
        "columns": columns,
        "rows": [row(run, fields_of(summary(run)), names) for run in runs],
        "as_columns": len(runs) <= FEW,
        "diffs": [diff(few[0], other) for other in few[1:]],
        "images": images(records, few, room),
    }


def data(page: Page, request: Request) -> Any:
    """Give `chart_data` as JSON, or `curves`, which take longer."""
    records = page.records()
    found = asked(records, request)
    return curves(records, found) if "curves" in request.query_params else chart_data(found)


def chart_data(runs: Sequence[Record]) -> Record:
    """Give what charts are drawn from: runs, and each field's values in their order."""
    told = [{**summary(run), "title": run_title(summary(run))} for run in runs]
    about = [{name: run[name] for name in ("uid", "title", "seconds")} for run in told]
    return {"runs": about, **differences(runs)}


def curves(records: Records, runs: Sequence[Record]) -> list[Record]:
    """Give metrics over steps, each with a curve of every run that has recorded it."""
    found = dict[str, Record]()
    most = min(MOST_POINTS, max(LEAST_POINTS, POINTS // max(1, len(runs))))
    for number, run in enumerate(runs):
        saved = summary(run)["artifacts"]
        for key in [key for key in saved if f"{key}.chart" in saved]:
            with suppress(Exception):  # Without a file that is gone, all else is shown.
                for name, over, curve in _history(records.artifact(str(saved[key])), most):
                    metric = found.setdefault(name, {"name": name, "over": over, "curves": []})
                    metric["curves"].append({"run": number, **curve})
    return [*found.values()]


def _history(record: Record, most: int) -> Iterator[tuple[str, str, Record]]:
    """Read a metric history: each curve's name, what it is over, and at most so many points."""
    import numpy as np
    import pandas as pd
    import pyarrow.parquet as pq

    file, key = previews.local_file(record), artifact_key(record)
    if file.suffix == ".csv":
        frame = pd.read_csv(file, index_col=0)
    else:
        with pq.ParquetFile(file) as opened:  # in a third of pandas' own time
            frame = opened.read(use_threads=False).to_pandas()
    steps, times = frame.index.to_series(), frame.pop("time") if "time" in frame else None
    times = steps if times is None and steps.dtype.kind in "mM" else times
    if times is not None:
        times = times - times.iloc[0]
        times = (times.dt.total_seconds() if times.dtype.kind == "m" else times).tolist()
    xs = steps.tolist() if steps.dtype.kind in "iuf" else [*range(len(frame))]
    for name, column in frame.items():
        ys = column.to_numpy(float, na_value=np.nan)
        kept = [*np.flatnonzero(np.isfinite(ys))]
        if len(kept) > most:
            # Of each part its extremes, so that no spike is lost.
            parts = np.array_split(kept, most // 2)
            ends = [{part[ys[part].argmin()], part[ys[part].argmax()]} for part in parts]
            kept = sorted(set().union(*ends))
        curve: Record = {"x": [xs[n] for n in kept], "y": [float(f"{ys[n]:.6g}") for n in kept]}
        curve["time"] = times and [times[n] for n in kept]
        whole = f"{key}.{name}" if len(frame.columns) > 1 else key
        yield whole, str(frame.index.name or "step"), curve


def diff(*runs: Record) -> Record:
    """Give the difference of two runs' parameters, line by line, each with its sign."""
    texts = []
    for run in runs:
        values = flatten(summary(run)["parameters"])
        plain = {name: value for name, value in values.items() if not name.startswith("kedro.")}
        texts.append(yaml.safe_dump(plain, sort_keys=True, allow_unicode=True).splitlines())
    names = [f"{run_title(summary(run))} {uid_of(run)[:8]}" for run in runs]
    (left, right), (old, new) = texts, names
    lines = difflib.unified_diff(left, right, old, new, lineterm="", n=2)
    return {"title": " → ".join(names), "lines": [(line[:1], line) for line in lines]}


def images(
    records: Records, runs: Sequence[Record], room: int | None = None
) -> dict[str, list[Record | None]]:
    """Give the images of runs side by side; see `compared`."""
    found = dict[str, list[Record | None]]()
    for number, run in enumerate(runs):
        for record in records.artifacts_of(run):
            if previews.kind(record) == "image":
                each = item(record)
                if room is not None:
                    each["image"] = _inline(record, room)
                    room -= len(each["image"])
                found.setdefault(artifact_key(record), [None] * len(runs))[number] = each
    return found


def _inline(record: Record, room: int) -> str:
    """Give an image as an address that has all of it; "" if it is too large, or gone."""
    with suppress(Exception):
        text = base64.b64encode(previews.local_file(record).read_bytes()).decode()
        if len(text) < room:
            return f"data:{previews.IMAGES[previews.suffix(record)]};base64,{text}"
    return ""
