"""Whether a model may have an alias: the gates of mlrun.yml, on rows that it was not trained on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from ..project import GateConfig, MLRunConfigError, ModelsConfig
from ..records.records import Records
from ..records.summaries import Record, artifact_key
from ..runs.provenance import plain
from ..store.fields import artifact_named, artifact_uri, producer, section
from ..text import nearest, shown
from .versions import ModelError, load_frame, load_model

if TYPE_CHECKING:
    import pandas as pd

FEWEST_ROWS = 20  # of a test set that can tell which of two models is better
ROUNDING = 1e-9  # for 0.8 - 0.7 is a little more than 0.1
Models = dict[str, tuple[Record, Any]]  # the record and the model, by `candidate` and `previous`


@dataclass
class Verdict:
    """What the gates say of a candidate.

    Args:
        results: the metrics of both models, as `candidate.roc_auc` and `previous.roc_auc`; how many
            `rows` they were judged on, and how many of the test set were `rows_left_out`.
        inputs: the URI of the `test_set`.
        refusals: why the candidate may not have the alias; none if it may.
    """

    results: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    refusals: list[str] = field(default_factory=list)


def judge(
    records: Records, candidate: Record, model: Any, previous: Record | None, config: ModelsConfig
) -> Verdict:
    """Judge a candidate, which is `model` when loaded, and the version that it is to replace."""
    verdict, gates = Verdict(), config.gates
    if not gates:
        return verdict
    scorers = _scorers(gates)
    try:
        models = {"candidate": (candidate, model)}
        if previous:
            models["previous"] = (previous, load_model(previous))
        rows = _unseen_rows(verdict, records, models, config)
        for role, (record, each) in models.items():
            scores = _scores(record, each, rows, scorers)
            verdict.results |= {f"{role}.{name}": value for name, value in scores.items()}
        verdict.refusals += _refusals(gates, verdict.results)
    except click.ClickException as error:
        verdict.refusals.append(error.message.rstrip("."))
    verdict.results = plain(verdict.results)
    return verdict


def _scorers(gates: Mapping[str, GateConfig]) -> dict[str, Any]:
    from sklearn.metrics import get_scorer, get_scorer_names

    for name in gates:
        if name not in (known := get_scorer_names()):
            raise MLRunConfigError(
                f"models.gates of mlrun.yml has '{name}', which is no scorer of scikit-learn. "
                f"{nearest(name, known)}Name one of sklearn.metrics.get_scorer_names()."
            )
    return {name: get_scorer(name) for name in gates}


def _refusals(gates: Mapping[str, GateConfig], results: Mapping[str, Any]) -> list[str]:
    found = []
    for name, gate in gates.items():
        value, before = results[f"candidate.{name}"], results.get(f"previous.{name}")
        # So that NaN doesn't pass.
        if gate.at_least is not None and not value >= gate.at_least:
            found.append(f"{name} is {shown(value)}, and at_least is {gate.at_least}")
        if gate.at_most is not None and not value <= gate.at_most:
            found.append(f"{name} is {shown(value)}, and at_most is {gate.at_most}")
        if gate.worse_by is not None and before is not None:
            if not before - value <= gate.worse_by + ROUNDING:
                worse = f"the previous one has {shown(before)}, and worse_by is {gate.worse_by}"
                found.append(f"{name} is {shown(value)}, {worse}")
    return found


def _unseen_rows(
    verdict: Verdict, records: Records, models: Models, config: ModelsConfig
) -> "pd.DataFrame":
    """Give the rows of the candidate's test set that none of the models was trained on."""
    trained_on = {
        role: _saved_beside(records, config.training_set, record)
        for role, (record, _) in models.items()
    }
    # A run that only trains loads both sets, or the training set alone.
    candidate, _ = models["candidate"]
    test_set = _saved_beside(records, config.test_set, candidate, trained_on["candidate"])
    verdict.inputs["test_set"] = artifact_uri(test_set)
    left = rows = load_frame(test_set)
    for record in trained_on.values():
        seen = load_frame(record)
        # With none in common it is another table, and the scores say what it lacks.
        if columns := [name for name in rows.columns if name in seen.columns]:
            left = left[~_hashes(left[columns]).isin(_hashes(seen[columns]))]
    verdict.results |= {"rows": len(left), "rows_left_out": len(rows) - len(left)}
    if len(left) < FEWEST_ROWS:
        raise ModelError(
            f"{len(left)} of the {len(rows)} rows of {config.test_set} are in no training set of "
            f"the models, and they are judged on {FEWEST_ROWS} or more"
        )
    return left


def _saved_beside(records: Records, key: str, *others: Record) -> Record:
    """Find an artifact of the runs that saved others: saved there, in their chain, or loaded."""
    for other in others:
        run = records.producing_run(other) or {}
        found = records.artifacts(key, run=run, limit=None) if run else []
        iteration = other["metadata"].get("iter")
        same = [item for item in found if item["metadata"].get("iter") == iteration]
        found = same or found or [*records.versions(name=key, tree=other["metadata"]["tree"])]
        if not found:
            uris = map(str, section(run, "spec", "inputs").values())
            named = (uri for uri in uris if artifact_named(uri).get("key") == key)
            found = [records.named(uri) for uri in named]
        if found:
            return max(found, key=lambda item: str(item["metadata"].get("updated")))
    model = others[0]
    raise ModelError(
        f"run {producer(model)[:8] or 'unknown'}, which trained {artifact_key(model)}, has no "
        f"artifact '{key}': save it there, or name another one in `models` of mlrun.yml"
    )


def _hashes(rows: "pd.DataFrame") -> "pd.Series":
    """Hash rows so that the same values are the same, whatever the types of the columns are."""
    import pandas as pd

    same = {
        name: values.astype("float64")
        if pd.api.types.is_numeric_dtype(values)
        else values.astype(object).map(str)
        for name, values in rows.items()
    }
    return pd.util.hash_pandas_object(pd.DataFrame(same, index=rows.index), index=False)


def _scores(
    record: Record, model: Any, rows: "pd.DataFrame", scorers: Mapping[str, Any]
) -> dict[str, float]:
    """Score a model by its own schema: what it takes, what it answers, and its classes' names."""
    from sklearn.metrics import mean_squared_error

    from .schema import Schema

    key, schema = artifact_key(record), Schema(record["spec"])
    features, target, labels = schema.names, schema.output, schema.labels
    advice = "save it with `save_args: {training_set: …}`, and label_column, in the catalog"
    if not features or len(schema.outputs) != 1:
        raise ModelError(f"{key} is recorded without its features and one target: {advice}")
    if missing := [name for name in [*features, target] if name not in rows]:
        known = ", ".join(map(str, rows.columns))
        raise ModelError(
            f"{key} has the column '{missing[0]}', which is none of its test set's ({known}): "
            f"{advice}"
        )
    actual, scored = rows[target], model
    if labels:
        actual = actual.astype(object).map(str).map({name: n for n, name in enumerate(labels)})
        if unknown := sorted({*rows[target][actual.isna()].map(str)}):
            raise ModelError(f"{key} doesn't know the class '{unknown[0]}' of its test set")
        actual, scored = actual.astype("int64"), _numbered(model)
    found = {}
    for name, scorer in scorers.items():
        # Which scikit-learn would compute of the classes' numbers.
        if labels and scorer._score_func.__module__ == mean_squared_error.__module__:
            raise ModelError(
                f"{name} is a metric of regressions, and {key} tells classes: name one of "
                "classifications, such as roc_auc or f1, in models.gates of mlrun.yml"
            )
        try:
            found[name] = float(scorer(scored, rows[features], actual))
        except Exception as error:
            why = " ".join(str(error).split()).rstrip(".")
            raise ModelError(f"{key} can't be judged by {name}: {why}") from error
    return found


def _numbered(model: Any) -> Any:
    """Give a classifier whose classes are 0, 1, … as most scorers want it; the last is positive."""
    import numpy as np
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Numbered(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
        classes_ = np.arange(len(model.classes_))

        def predict(self, rows: Any) -> Any:
            numbers = {name: number for number, name in enumerate(model.classes_.tolist())}
            return np.array([numbers[name] for name in np.asarray(model.predict(rows)).tolist()])

        def __getattr__(self, name: str) -> Any:
            # predict_proba and decision_function, if it has them.
            return getattr(model, name)

    return Numbered()
