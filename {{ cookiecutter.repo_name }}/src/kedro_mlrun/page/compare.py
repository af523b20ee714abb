"""Several runs side by side."""

import base64
import difflib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain, filterfalse
from typing import Any

import click
import yaml
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from ..records import previews, summaries
from ..records.records import Records, is_promotion
from ..records.summaries import Record, artifact_key, fields_of, histories, summary, uid_of
from ..store.fields import NOT_FINITE, OWN, flatten, run_title
from .app import Page, address, whole
from .models import versions
from .run import item
from .run import trials as of_search
from .runs import MOST, row
from .shown import apart, heads

FEW = 8  # runs that are columns, and have images and texts beside each other
POINTS, LEAST_POINTS, MOST_POINTS = 20_000, 30, 500  # of all metrics over steps; of a curve
# What an exported file has at most: characters of all images, and of all trials; versions; points.
ROOM, ROOM_OF_TRIALS, MODELS, POINTS_OF_FILE = 5_000_000, 60_000, 30, 5_000


def asked(records: Records, request: Request) -> tuple[list[Record], int]:
    """Find the runs that an address names, and how many there are no more."""
    given = ",".join(request.query_params.getlist("id")).split(",")
    uids = [*filter(None, dict.fromkeys(given))]
    if len(uids) > MOST:
        raise click.UsageError(f"{len(uids)} runs are too many to compare. Check {MOST} at most.")
    # Promotions, which have other parameters, come last, so that no run is compared with them.
    found = sorted(records.runs_of(uids), key=is_promotion)
    return found, len(uids) - len(found)


def compare(page: Page, request: Request) -> Response:
    """Show what differs between runs."""
    records = page.records()
    found, gone = asked(records, request)
    if len(found) < 2:  # noqa: PLR2004
        deleted = f"{gone} of these runs {'is' if gone == 1 else 'are'} deleted. " if gone else ""
        raise click.UsageError(f"{deleted}Check two runs or more to compare them.")
    ids, first = ",".join(map(uid_of, found)), whole(request, "first")
    link, data = (partial(address, path, id=ids) for path in ("/compare", "/compare/data"))
    shown = compared(records, found, first)
    return page.html(request, "compare.html", link=link, charts=data(), gone=gone, **shown)


def compared(
    records: Records, runs: Sequence[Record], first: int = 0, room: int | None = None
) -> Record:
    """Give what is shown of runs, of one all that it has.

    Eight have their images and texts beside each other, from the first on that is asked for. With
    `room`, images are part of the page, as far as they fit.
    """
    (told, parts), few = _told_apart(runs, len(runs) == 1), runs[first : first + FEW]
    shown = {"parts": parts, "columns": [*chain(*parts.values())], "first": first, "few": FEW}
    shown["rows"] = [row(run, fields_of(of), ()) for run, of in zip(runs, told, strict=True)]
    shown["diffs"] = [diff(runs[0], o) for o in few if o is not runs[0] and not is_promotion(o)]
    return {**shown, "as_columns": len(runs) <= FEW, "images": images(records, few, room)}


def _told_apart(runs: Sequence[Record], everything: bool = False) -> tuple[list[Record], Record]:
    """Give summaries of runs, and what differs in parts, by names and texts that tell it apart."""
    parts = summaries.compare(runs, everything)
    told = parts.pop("runs")
    names, fields = heads(each["field"] for each in chain(*parts.values())), [*map(fields_of, told)]
    for each in chain(*parts.values()):
        each["name"], texts = names[each["field"]], zip(fields, apart(each["values"]), strict=True)
        each["texts"] = [text if each["field"] in own else "" for own, text in texts]
    return told, parts


def of_file(page: Page, runs: Sequence[Record]) -> Record:
    """Give what an exported file tells besides, for it has no links: trials, and models."""
    records, trials, room = page.records(), dict[str, Markup](), ROOM_OF_TRIALS
    for run in runs:
        tried = of_search(run)
        if tried["rows"]:
            text = page.render("_trials.html", **tried)
            room -= len(text)
            # What doesn't fit is only named.
            trials[_named(run)] = Markup(text if room > 0 else "")  # noqa: S704 - it is escaped
    of = [records.artifacts_of(run, kind="model", best_iteration=True) for run in runs]
    models = sorted(chain(*of), key=lambda each: not item(each)["tags"])  # with an alias first
    shown = versions(records, models[:MODELS])
    names = [*dict.fromkeys(name for each in shown for name in each["metrics"])]
    return {"trials": trials, "models": shown, "saved": len(models), "heads": names}


def data(page: Page, request: Request) -> Any:
    """Give `chart_data` as JSON, or `curves`, which take longer."""
    records, key = page.records(), request.query_params.get("key", "")
    found, _ = asked(records, request)
    if "curves" in request.query_params:
        return curves(records, found, key)
    return chart_data([] if key else found)


def chart_data(runs: Sequence[Record]) -> Record:
    """Give what charts are drawn from: runs, and each field's values in their order.

    Of a search alone, that is of its trials, and its metric is told.
    """
    what = "runs" if len(runs) > 1 else "trials"
    runs = [*filterfalse(is_promotion, runs)] or runs
    told, compared = _told_apart([*_trials(runs)] if what == "trials" else runs)
    metric = ""
    with suppress(Exception):  # It is no search, or its record is damaged.
        metric = f"results.{summaries.search_of(runs[0])['metric']}" if what == "trials" else ""
    about = [{"title": run_title(run)} | {n: run[n] for n in ("uid", "seconds")} for run in told]
    for each in chain(*compared.values()):
        del each["differences"], each["texts"]
        each["values"] = [None if value in NOT_FINITE else value for value in each["values"]]
    return {"what": what, "metric": metric, "runs": about, **compared}


def _trials(runs: Iterable[Record]) -> Iterator[Record]:
    """Give what searches have tried as runs."""
    for run in runs:
        for trial in summaries.trials_of(run):
            param, output = (
                {name.removeprefix(kind): trial[name] for name in trial if name.startswith(kind)}
                for kind in ("param.", "output.")
            )
            about = {"name": f"trial {trial['iter']}", "labels": {"state": trial.get("state")}}
            status = {"results": output, "state": trial.get("state")}
            yield {"metadata": about, "spec": {"parameters": param}, "status": status}


def curves(
    records: Records, runs: Sequence[Record], key: str = "", points: int = POINTS
) -> list[Record]:
    """Give metrics over steps, each with a curve of every run that has recorded it.

    Of one run, that is of every metric that it has recorded together.
    """
    every = [(n, *of) for n, run in enumerate(runs) for of in histories(summary(run)).items()]
    kept = [each for each in every if key in {"", each[1]}]
    found = dict[str, Record]()
    for number, saved, uri in kept:
        with suppress(Exception):  # Without a file that is gone, all else is shown.
            for part, over, curve in _history(records.artifact(str(uri)), points // len(kept)):
                name = f"{saved}.{part}" if part else saved
                if len(runs) == 1:
                    name, curve["name"] = saved, part or saved
                metric = found.setdefault(name, {"name": name, "over": over, "curves": []})
                metric["curves"].append({"run": number, **curve})
    return [*found.values()]


def _history(record: Record, points: int) -> Iterator[tuple[str, str, Record]]:
    """Read a metric history, about so many points: each curve's name, what it is over, points."""
    import numpy as np
    import pandas as pd
    import pyarrow.parquet as pq

    file = previews.local_file(record)
    if file.suffix == ".csv":
        frame = pd.read_csv(file, index_col=0)
    else:
        with pq.ParquetFile(file) as opened:  # in a third of pandas' own time
            frame = opened.read(use_threads=False).to_pandas()
    steps, times = frame.index.to_series(), frame.pop("time") if "time" in frame else None
    times = steps if times is None and steps.dtype.kind in "mM" else times
    most = min(MOST_POINTS, max(LEAST_POINTS, points // max(1, len(frame.columns))))
    if times is not None:
        times = pd.to_datetime(times) if times.dtype == object else times  # of a CSV
        times = times - times.iloc[0]
        times = (times.dt.total_seconds() if times.dtype.kind == "m" else times).tolist()
    xs = steps.tolist() if steps.dtype.kind in "iuf" else [*range(len(frame))]
    for name, column in frame.items():
        ys = pd.to_numeric(column, errors="coerce").to_numpy(float, na_value=np.nan)
        kept = [*np.flatnonzero(np.isfinite(ys))]
        if len(kept) > most:
            # Of each part its extremes, so that no spike is lost.
            parts = np.array_split(kept, most // 2)
            ends = [{part[ys[part].argmin()], part[ys[part].argmax()]} for part in parts]
            kept = sorted(set().union(*ends))
        curve: Record = {"x": [xs[n] for n in kept], "y": [float(f"{ys[n]:.12g}") for n in kept]}
        curve["time"] = times and [times[n] for n in kept]
        yield str(name) if len(frame.columns) > 1 else "", str(frame.index.name or "step"), curve


def _named(run: Record) -> str:
    return f"{run_title(summary(run))} {uid_of(run)[:8]}"


def diff(*runs: Record) -> Record:
    """Give the difference of two runs' parameters, line by line, each with its sign."""
    texts = []
    for run in runs:
        values = flatten(summary(run)["parameters"])
        plain = {name: value for name, value in values.items() if not name.startswith(OWN)}
        texts.append(yaml.safe_dump(plain, sort_keys=True, allow_unicode=True).splitlines())
    (left, right), (old, new) = texts, map(_named, runs)
    lines = difflib.unified_diff(left, right, old, new, lineterm="", n=2)
    return {"title": f"{old} → {new}", "lines": [(line[:1], line) for line in lines]}


def images(records: Records, runs: Sequence[Record], room: int | None = None) -> Record:
    """Give the images of runs by their keys, each with its run's number; see `compared`."""
    found = Record()
    for number, run in enumerate(runs):
        for record in records.artifacts_of(run):
            if previews.kind(record) == "image":
                each = item(record)
                if room is not None:
                    each["image"] = _inline(record, room)
                    room -= len(each["image"])
                found.setdefault(artifact_key(record), []).append((number, each))
    return found


def _inline(record: Record, room: int) -> str:
    """Give an image as an address that has all of it; "" if it is too large, or gone."""
    with suppress(Exception):
        text = base64.b64encode(previews.local_file(record).read_bytes()).decode()
        if len(text) < room:
            return f"data:{previews.IMAGES[previews.suffix(record)]};base64,{text}"
    return ""
