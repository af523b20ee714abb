"""One trial as an MLRun job of its own."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, cast

import cloudpickle

from ..datasets.abstract import MLRunAbstractDataset
from ..jobs.handler import RunFailedError, adopted, say_it_once
from ..runs.manager import MLRunContextManager
from ..secrets.known import hide
from ..store.fields import OWN, TRIAL
from .space import Params
from .trials import Trial
from .work import Prepared

if TYPE_CHECKING:
    import mlrun

PREPARED = f"{OWN}prepared"
"""The key of the artifact with what all trials of a search need, and the job's input with it."""
ASKED, ENDED = f"{TRIAL}.asked", f"{TRIAL}.ended"
"""Annotations of a job's run: what it was told, and what came of it."""


def run(context: "mlrun.MLClientCtx") -> None:
    """Run a trial. A search names this as the handler of its trials' jobs.

    Args:
        context: the job's context.

    Raises:
        RunFailedError: a node failed.
    """
    with adopted(context) as (_, _, session):
        # Which is none of the catalog's entries.
        MLRunContextManager().job_inputs = {}
        # For what hooks do before nodes can run; and the secrets are known from then on.
        session.load_context()
        prepared = MLRunAbstractDataset(PREPARED, {"path": str(context.inputs[PREPARED])}).load()
        trial = cast(Prepared, cloudpickle.loads(prepared)).run(*asked(context.annotations))[0]
    what = asdict(replace(trial, error=hide(trial.error)))
    # Data, which `keep: best` has none of.
    del what["kept"]
    context.set_annotation(ENDED, json.dumps(what))
    context.log_results(trial.results)
    context.commit()
    if trial.error:
        say_it_once()
        raise RunFailedError(trial.error)


def told(number: int, params: Params, *limits: Any) -> dict[str, str]:
    """Give the annotations that tell a job which trial it is."""
    return {TRIAL: json.dumps(params), ASKED: json.dumps([number, *limits])}


def asked(annotations: Mapping[str, str]) -> list[Any]:
    """Give what a job was `told`."""
    number, *limits = json.loads(annotations[ASKED])
    # JSON has no numbers as names.
    limits = [{int(step): limit for step, limit in each.items()} for each in limits]
    return [number, json.loads(annotations[TRIAL]), *limits]


def ended(annotations: Mapping[str, str]) -> Trial | None:
    """Give the trial that a job was; None where it died before."""
    if not (text := annotations.get(ENDED)):
        return None
    found = json.loads(text)
    found["steps"] = {int(step): value for step, value in found["steps"].items()}
    return Trial(**found)
