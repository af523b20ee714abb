"""What a person or a script wants to know of a run, a version of an artifact, or several runs."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from operator import itemgetter
from typing import Any

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
    failure,
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
ALWAYS = ("labels.process", "labels.session")  # differ, and tell nothing
# What the last part of a result's name says of which value is best; of others nobody knows.
SMALL = "loss error rmse mse mae mape brier perplexity regret seconds ms latency deviance fpr fnr"
SMALL += " nll ece wer cer distance time std rank davies"
SMALL += " drop gap logloss mlogloss merror rmsle mphe"
LARGE = "accuracy precision recall f1 auc ap map score r2 iou dice ndcg kappa mcc specificity"
LARGE += " sensitivity likelihood skill aucpr"


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
        "error": failure(run) or None,
    }


def trials_of(run: Mapping[str, Any]) -> list[Record]:
    """Give what a search or a sweep has tried, by MLRun's names of columns, such as `param.x`."""
    with suppress(Exception):  # It is none, or its record is damaged.
        header, *rows = run["status"]["iterations"]
        trials = [dict(zip(map(str, header), row, strict=True)) for row in rows]
        return sorted(trials, key=itemgetter("iter"))
    return []


def search_of(run: Mapping[str, Any]) -> Record:
    """Give what came of a search or a sweep: the best trial, what counts, when it got better."""
    annotations, trials = section(run, "metadata", "annotations"), trials_of(run)
    is_sweep = SWEEP in annotations  # of MLRun's own, whose trials have all parameters
    if not (trials and (SEARCH in annotations or is_sweep)):
        return {}
    asked = json.loads(annotations[SWEEP if is_sweep else SEARCH])
    asked = asked if is_sweep else asked["config"]
    searched = {name for name in trials[0] if name.startswith("param.")}
    if is_sweep:
        searched -= same_in(trials) | {name for name in searched if name.startswith(f"param.{OWN}")}
    best, history, metric = Record(), list[Record](), f"output.{asked['metric']}"
    sign = 1 if asked["direction"] == "maximize" else -1
    for trial in trials:
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


def same_in(trials: Sequence[Record]) -> set[str]:
    """Name the columns in which trials don't differ."""
    return {name for name in trials[0] if len({repr(trial[name]) for trial in trials}) == 1}


def unreproducible(run: Mapping[str, Any]) -> str:
    """Tell why `kedro mlrun reproduce` can't make a run again, as far as its record says; or ""."""
    labels, notes = (section(run, "metadata", name) for name in ("labels", "annotations"))
    state, parameters = run["status"].get("state"), section(run, "spec", "parameters")
    wrong = {
        "is a search. Reproduce a run with what it has found.": {SEARCH, SWEEP} & notes.keys(),
        "failed. Reproduce one that is completed.": state == "error",
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
        "names no commit, for there was none, or Git didn't answer in 2 seconds. Commit the "
        "project, see that `git status` is fast, and run it again.": "git-commit" not in labels,
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
    for name in dict.fromkeys(name for each in told for name in each):
        if name.startswith(("params.", "results.")):
            found = (each.get(name) for each in told)
            values[name] = [repr(value) for value in found if value is not None]

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
        if len({*values[name]}) > 1 or 0 < len(values[name]) < len(told)
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


def histories(told: Record) -> Record:
    """Give, of a run's summary, the URIs of metrics over steps, by their keys."""
    saved = told["artifacts"]
    return {key: uri for key, uri in saved.items() if f"{key}.chart" in saved}


def is_number(value: Any) -> bool:
    """Tell whether a value is a number that can be compared and drawn."""
    is_one = isinstance(value, int | float) and not isinstance(value, bool)
    return is_one and math.isfinite(value)


def compare(runs: Sequence[Mapping[str, Any]], everything: bool = False) -> Record:
    """Give the parameters, results and labels that differ between runs, and which value is best.

    Each has a value of every run, and a number's difference to the first run's. With `everything`,
    what doesn't differ is listed, too, and what only Kedro calls a parameter.
    """
    compared: Record = {"runs": [*map(summary, runs)]}
    compared |= {part: [] for part in ("results", "parameters", "labels")}
    parts = itemgetter("parameters", "results", "labels")
    told = [run_fields(*parts(run)) for run in compared["runs"]]
    # A promotion has others than the runs that one compares.
    plain = [n for n, each in enumerate(told) if f"labels.{PROMOTION}" not in each]
    plain = plain if len(plain) > 1 else [*range(len(told))]
    for field in dict.fromkeys(name for each in told for name in each):
        part, _, name = field.partition(".")
        values = [each.get(field) for each in told]
        is_own = name.startswith(OWN) or field in ALWAYS
        # As texts, for NaN isn't equal to itself, and True is to 1.
        if everything or (not is_own and len({repr(values[n]) for n in plain}) > 1):
            row: Record = {"name": name, "field": field, "values": values}
            row["differences"] = [_difference(value, values[0]) for value in values]
            row["best"] = _best(name, values) if part == "results" else None
            compared["parameters" if part == "params" else part].append(row)
    return compared


def _difference(*pair: Any) -> Any:
    return pair[0] - pair[1] if all(map(is_number, pair)) else None


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
