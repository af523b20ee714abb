"""Commands for what becomes of a model after training."""

from collections.abc import Sequence
from functools import partial

import click
from click import argument, option
from rich.console import Group, RenderableType

from ..models import promote as promotions
from ..records.records import Records
from ..records.summaries import Record
from ..runs.manager import MLRunContextManager
from ..text import shown
from . import tables
from .base import Answer, command

_TO = option("--to", "alias", default="champion", help="The alias, by default champion.")
_REASON = option("--reason", default="", help="Why, for those who look at the history.")


@command("promote", "kedro mlrun promote xgboost_model@last --reason 'more data'")
@argument("model")
@_TO
@_REASON
@option("--force", is_flag=True, help="Promote it even if the gates refuse it.")
def promote(records: Records, model: str, alias: str, reason: str, force: bool) -> Answer:
    """Give a version of a model an alias, if the gates let it.

    MODEL is a key (the latest version), KEY:TAG, KEY@RUN, a store:// URI, or a uid. An alias, such
    as champion or challenger, is a tag: it names one version, and moves to another.

    The gates are in conf/base/mlrun.yml. They judge this version, and the one that has the alias
    now, on rows of the test set that neither was trained on. A run named `promote` records that,
    refusals too.
    """
    config = MLRunContextManager().models
    told = promotions.promote(records, model, config, alias, reason, force)
    if told is None:
        return Answer({"moved": False}, f"'{model}' is {alias} already.")
    if told["state"] == "error":
        again = promotions.MEANWHILE in told["error"]
        advice = "Try again." if again else "To promote it nevertheless: --force"
        return Answer(told, _metrics(told), error=f"{promotions.sentence(told)} {advice}")
    ungated = "No gates are set in `models` of mlrun.yml, so nothing is judged."
    view = Group(_metrics(told), promotions.sentence(told))
    return Answer(told, view, "" if config.gates else ungated)


def _metrics(told: Record) -> RenderableType:
    results, roles = told["results"], ("candidate", "previous")
    names = [name.partition(".")[2] for name in results if name.startswith("candidate.")]
    rows = [
        {"metric": name}
        | {role: tables.value_text(results.get(f"{role}.{name}")) for role in roles}
        for name in names
    ]
    return tables.table(rows) if rows else ""


@command("rollback", "kedro mlrun rollback xgboost_model --reason 'slow'")
@argument("model", required=False)
@_TO
@_REASON
def rollback(records: Records, model: str | None, alias: str, reason: str) -> Answer:
    """Give an alias back to the version of a model that had it before.

    Each rollback goes one version further back. It is recorded as a run; no gate is asked. MODEL,
    a key, may be left out if only one model was ever given the alias.
    """
    if model is None:
        keys = sorted({row["model"] for row in promotions.history(records) if row["to"] == alias})
        if len(keys) != 1:
            which = f"There are {', '.join(keys)}" if keys else f"None was ever {alias}"
            raise click.UsageError(f"Name the model to roll back. {which}.")
        [model] = keys
    told = promotions.rollback(records, model, alias, reason)
    if told["state"] == "error":
        return Answer(told, error=f"{promotions.sentence(told)} Try again.")
    return Answer(told, promotions.sentence(told))


@command("history", "kedro mlrun history xgboost_model")
@argument("model", required=False)
def history(records: Records, model: str | None) -> Answer:
    """List promotions and rollbacks, newest first, with those that were refused."""
    told = promotions.history(records, model or "")
    if not told:
        what = model or f"a model of project '{records.project}'"
        how = f"kedro mlrun promote {model or 'MODEL'}"
        return Answer([], note=f"No promotion of {what} is recorded. To promote one: {how}")
    return Answer(told, partial(_history_table, told))


def _history_table(told: Sequence[Record], width: int) -> RenderableType:
    rows = []
    for row in told:
        runs = {
            head: tables.cell("run", version["run"], width) if (version := row[role]) else None
            for head, role in {"from": "previous", "to": "candidate"}.items()
        }
        killed = row["moved"] and row["state"] != "completed"
        first = {"run": row["uid"], "started": row["started"], "who": row["who"]}
        first |= {"action": row["action"], "alias": f"{row['model']}:{row['to']}", **runs}
        first |= {"state": f"{row['state']} (moved)" if killed else row["state"]}
        forced = "yes" if row["force"] else None
        last = {"forced": forced, "reason": row["reason"], "error": row["error"]}
        rows.append((first, _results(row), last))
    if len({first["alias"] for first, _, _ in rows}) == 1:
        for first, _, _ in rows:
            del first["alias"]
    empty = dict.fromkeys(name for _, results, _ in rows for name in results)
    return tables.table([{**first, **empty, **of, **last} for first, of, last in rows], width)


def _results(row: Record) -> dict[str, str]:
    """Give the candidate's metrics, with those of the version before it."""
    found, results = {}, row["results"]
    for role, value in results.items():
        of, _, name = role.partition(".")
        if of == "candidate":
            before = results.get(f"previous.{name}")
            found[name] = shown(value) + (f" (was {shown(before)})" if before is not None else "")
    return found
