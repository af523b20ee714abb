"""The id that ties separate runs together, so that they share their artifacts."""

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..project import MLRunConfigError
from ..store.fields import LONG_AGO
from .dataset import RunDataset

CHAIN = "MLRUN_CHAIN_ID"
CHAIN_PATTERN = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


def chain_id() -> str:
    """Give what `MLRUN_CHAIN_ID` holds; empty where it isn't set."""
    value = os.environ.get(CHAIN, "")
    if value and not CHAIN_PATTERN.fullmatch(value):
        raise MLRunConfigError(
            f"The chain id '{value}' can't be a label of a run. Use at most 63 letters, digits, "
            "hyphens, underscores and dots, with a letter or digit at each end."
        )
    return value


@contextmanager
def in_chain(value: str | None) -> Iterator[None]:
    """Tie the runs of a `with` block to those with an id; without one the environment's remains."""
    before = os.environ.get(CHAIN, "")
    os.environ[CHAIN] = value or before
    try:
        yield
    finally:
        # Set back, for a notebook's process goes on.
        os.environ[CHAIN] = before


def tie(read: Mapping[str, RunDataset], catalog: Mapping[str, Any], manager: Any) -> None:
    """Let what a run reads come from its chain, where pipelines of the chain make it."""
    has_runs, made = made_in_chain(manager)
    own = [entry for name, entry in catalog.items() if name.partition("@")[0] in made]
    made |= {entry.get("key", "") for entry in own if isinstance(entry, dict)}
    tied = [name for name in read if {name.partition("@")[0], read[name].key} & made]
    for name, dataset in read.items():
        dataset.of_chain = has_runs and name in tied
    if tied and not has_runs:
        logging.getLogger(__name__).warning(
            "Chain '%s' has no runs yet. Loaded as without it: %s. If the id is misspelt, "
            "`kedro mlrun runs` lists the chains.",
            chain_id(),
            ", ".join(tied),
        )


def made_in_chain(manager: Any) -> tuple[bool, set[str]]:
    """Tell whether the chain has other runs, even failed, and what data their pipelines make.

    Where there is none, it is what all pipelines make.
    """
    from kedro.framework.project import pipelines as of_kedro

    # A run has Kedro find its own pipelines alone, and Kedro tells nobody publicly which.
    requested = of_kedro._requested_pipelines
    of_kedro.set_requested(None)
    try:
        pipelines = dict(of_kedro)
    finally:
        of_kedro.set_requested(requested)
    own, project, names = manager.current_of(), manager.project_name, set[str]()
    label = [f"workflow={chain_id()}"]
    manager.abort_lost_runs()
    for run in manager.store.list_runs(project=project, labels=label, start_time_from=LONG_AGO):
        if not own or run["metadata"]["uid"] != own.uid:
            told = run["spec"].get("parameters") or {}
            names.update(str(told.get("kedro.pipeline")).split(","))
    parts = [pipelines[name] for name in names or pipelines if name in pipelines]
    return bool(names), {name.partition("@")[0] for part in parts for name in part.all_outputs()}
