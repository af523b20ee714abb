"""What a person or a script wants to know of a run, a version of an artifact, or several runs."""

import html
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..lazy import mlrun
from ..store.fields import (
    IMPORTANCE,
    MADE_OF,
    OWN,
    PROMOTION,
    SEARCH,
    SWEEP,
    TERMINAL_STATES,
    artifact_file,
    artifact_uri,
    moment,
    producer,
    run_fields,
    run_title,
    section,
)

Record = dict[str, Any]

# What a run's own record has in place of a value, as JSON.
_STAND_IN = re.compile(r'"(\*{5}|NaN|-?Infinity|-?\d{19,}|\d+ KiB: see .*)"')

# What is told of a run, and where its summary has it.
ABOUT = {"id": "uid", "name": "name", "state": "state", "started": "start_time", "took": "seconds"}


def summary(run: Mapping[str, Any]) -> Record:
    """Give what counts of a run; `error` is None, or the message and traceback."""
    metadata, status = run.get("metadata") or {}, run.get("status") or {}
    state = status.get("state") or ""
    ended = status.get("end_time") or status.get("last_update")
    end_time = ended if state in TERMINAL_STATES else None
    start, end = moment(status.get("start_time")), moment(end_time)
    return {
        "uid": metadata.get("uid") or "",
        "name": metadata.get("name") or "",
        "state": state,
        "start_time": status.get("start_time"),
        "end_time": end_time,
        "seconds": (end - start).total_seconds() if start and end else None,
        "parameters": section(run, "spec", "parameters"),
        "results": section(run, "status", "results"),
        "labels": section(run, "metadata", "labels"),
        "artifacts": section(run, "status", "artifact_uris"),
        "inputs": section(run, "spec", "inputs"),
        "error": status.get("error") or (status.get("status_text") if state == "aborted" else None),
    }


def search_of(run: Mapping[str, Any]) -> Record:
    """Give what came of a search or a sweep: the best trial, what counts, when it got better."""
    annotations, status = section(run, "metadata", "annotations"), run.get("status") or {}
    is_sweep = SWEEP in annotations  # of MLRun's own, whose trials have all parameters
    if not ((SEARCH in annotations or is_sweep) and status.get("iterations")):
        return {}
    asked = json.loads(annotations[SWEEP if is_sweep else SEARCH])
    asked = asked if is_sweep else asked["config"]
    header, *rows = status["iterations"]
    trials = [dict(zip(header, row, strict=True)) for row in rows]
    searched = {name for name in header if name.startswith("param.")}
    if is_sweep:
        columns = dict(zip(header, zip(*rows, strict=True), strict=True))
        searched = {name for name in searched if len({*map(repr, columns[name])}) > 1}
        searched = {name for name in searched if not name.startswith(f"param.{OWN}")}
    best, history, metric = Record(), list[Record](), f"output.{asked['metric']}"
    sign = 1 if asked["direction"] == "maximize" else -1
    for trial in sorted(trials, key=lambda trial: trial["iter"]):
        value = trial.get(metric) if trial["state"] == "completed" else None
        if not isinstance(value, int | float):
            continue  # it failed, or has a text, such as NaN
        if not history or sign * value > sign * history[-1]["value"]:
            best = {n.removeprefix("param."): v for n, v in trial.items() if n in searched}
            history.append({"trial": trial["iter"], "value": value})
    return {
        "metric": asked["metric"],
        "direction": asked["direction"],
        "trials": len(trials),
        "failed": sum(trial["state"] == "error" for trial in trials),
        "pruned": sum(trial["state"] == "aborted" for trial in trials),
        "parameters": {name: value for name, value in best.items() if value is not None},
        "importance": json.loads(annotations.get(IMPORTANCE) or "{}"),
        "history": history,
    }


def unreproducible(run: Mapping[str, Any]) -> str:
    """Tell why `kedro mlrun reproduce` can't make a run again, as far as its record says; or ""."""
    labels, notes = (section(run, "metadata", name) for name in ("labels", "annotations"))
    state, parameters = run["status"].get("state"), section(run, "spec", "parameters")
    wrong = {
        "is a search. Reproduce a run with what it has found.": {SEARCH, SWEEP} & notes.keys(),
        f"is {state}. Reproduce one that is completed.": state != "completed",
        "tells nothing of what it was made of. Reproduce a later run of a pipeline.": (
            MADE_OF not in notes
        ),
        "has made only what was missing. Reproduce one that has made all.": (
            parameters.get(f"{OWN}only_missing_outputs")
        ),
        "was given parameters of which its record has only a text. Reproduce one that has all: "
        "`tracking: {parameters: true}` in mlrun.yml.": (
            f"{OWN}parameters" not in section(run, "status", "artifact_uris")
            and _STAND_IN.search(json.dumps(parameters.get(f"{OWN}params")))
        ),
        "is of no commit. Commit the project, and run it again.": "git-commit" not in labels,
        "is of changes that were in no commit. Commit them, and run it again.": (
            labels.get("git-dirty") != "false"
        ),
    }
    return next(filter(wrong.get, wrong), "")


def fields_of(told: Record) -> Record:
    """Give, of a run's summary, what runs are chosen and told apart by, as `params.split.seed`."""
    about = {name: told[field] for name, field in ABOUT.items()} | {"name": run_title(told)}
    return about | run_fields(told["parameters"], told["results"], told["labels"])


def differing(told: Sequence[Record]) -> list[str]:
    """Name the project's parameters that differ between runs, by their `fields_of`, and results.

    Of both, what hardly any of the runs has comes last, and what is the same in all that have it.
    """
    # A promotion has others than the runs that one compares.
    told = [each for each in told if f"labels.{PROMOTION}" not in each]
    values = dict[str, list[str]]()
    for name, value in (pair for each in told for pair in each.items()):
        if value is not None and name.startswith(("params.", "results.")):
            values.setdefault(name, []).append(repr(value))

    def rank(name: str) -> tuple[Any, ...]:
        own, is_training = values[name], re.match(r"results\.(.*[._])?train", name) is not None
        is_rare, is_same = 10 * len(own) < len(told), len({*own}) == 1
        # What sums up, such as `best_model`, has the shorter names.
        return is_rare, is_same, is_training, -len(own), name.count(".")

    names = sorted(values, key=rank)
    params = [
        name
        for name in names
        if name.startswith("params.") and not name.startswith("params.kedro.")
        if len({*values[name]}) > 1 or len(values[name]) < len(told)
    ]
    return params + [name for name in names if name.startswith("results.")]


def artifact_summary(record: Mapping[str, Any]) -> Record:
    """Give what counts of an artifact's version, with the id of the run that saved it."""
    metadata, spec = record["metadata"], record["spec"]
    found = {
        "key": artifact_key(record),
        "kind": record["kind"],
        "uid": metadata.get("uid") or "",
        "tags": metadata.get("tags") or [],
        "run": producer(record),
        "uri": artifact_uri(record),
        "path": artifact_file(record),
        "size": spec.get("size"),
        "hash": metadata.get("hash"),
        "created": metadata.get("created"),
        "labels": metadata.get("labels") or {},
    }
    return {**found, "framework": spec.get("framework")} if record["kind"] == "model" else found


def uid_of(record: Mapping[str, Any]) -> str:
    """Give the id of a run, or of an artifact's version."""
    return str(record["metadata"].get("uid"))


def named_run(run: Mapping[str, Any]) -> str:
    """Name a run in a sentence, by its summary or its metadata."""
    return f"run '{run_title(run)}' {run['uid']}"


def artifact_key(record: Mapping[str, Any]) -> str:
    """Give the key that an artifact is found by."""
    return str(record["spec"].get("db_key") or record["metadata"]["key"])


def short_metric(name: str, key: str) -> str:
    """Leave out of a result's name the part that a model's key begins with: `test.auc`."""
    begins = f"{key}.".replace("_", ".").startswith
    return ".".join(p for p in name.split(".") if not begins(p.replace("_", ".") + ".")) or name


def compare(runs: Sequence[Mapping[str, Any]], everything: bool = False) -> Record:
    """List the parameters and results that differ, with each number's difference to the first.

    With `everything`, those that don't differ are listed, too.
    """
    compared: Record = {"runs": [summary(run) for run in runs]}
    for title in ("parameters", "results"):
        dicts = [run[title] for run in compared["runs"]]
        compared[title] = []
        for name in dict.fromkeys(name for values in dicts for name in values):
            values = [values.get(name) for values in dicts]
            # As texts, for NaN isn't equal to itself, and True is to 1.
            if everything or len(set(map(repr, values))) > 1:
                differences = [_difference(value, values[0]) for value in values]
                row = {"name": name, "values": values, "differences": differences}
                compared[title].append(row)
    return compared


def _difference(*pair: Any) -> Any:
    are_numbers = all(type(value) in {int, float} and math.isfinite(value) for value in pair)
    return pair[0] - pair[1] if are_numbers else None


def _escaped(value: Any) -> Any:
    """Give a record in which no text is HTML."""
    if isinstance(value, Mapping):
        return {_escaped(name): _escaped(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [*map(_escaped, value)]
    return html.escape(value) if isinstance(value, str) else value


def plot(runs: Iterable[Record], file: str) -> None:
    """Write MLRun's own comparison of runs, parallel coordinates, as HTML."""
    found = mlrun.lists.RunList()
    # MLRun puts texts into the page as they are.
    for run in map(_escaped, runs):
        for part, field in ("spec", "parameters"), ("status", "results"):
            values = section(run, part, field)
            scalars = {
                k: v if isinstance(v, int | float | str) else str(v) for k, v in values.items()
            }
            run[part] = {**run[part], field: scalars}
        found.append(run)
    found.compare(show=False, filename=file)
