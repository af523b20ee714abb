"""One run of a pipeline, from its catalog's creation to its end."""

import itertools
import json
import logging
import os
import re
import sys
import threading
import traceback
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import kedro
from kedro.io import AbstractDataset, CatalogProtocol, MemoryDataset, SharedMemoryDataCatalog
from kedro.io.shared_memory_dataset import SharedMemoryDataset
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from kedro.runner import task

from ..project import TrackingConfig
from ..secrets import known as secrets
from ..store.fields import MADE_OF, OWN, flatten
from ..store.store import Store
from . import provenance, workers
from .dataset import RunDataset, run_dataset
from .manager import MLRunContextManager
from .open_runs import merge_workers
from .report import print_run

_KEDRO = f"{Path(kedro.__file__).parent}{os.sep}"
COLUMNS = ["node", "action", "dataset", "seconds", "rows", "columns", "bytes"]


@dataclass
class PipelineRun:
    """What is recorded of one run of a pipeline, beside what its nodes save."""

    tracking: TrackingConfig
    parameters: Mapping[str, Any]  # as catalog entries: `parameters`, `params:split`, …
    catalog: Mapping[str, Any]
    # Not Kedro's, which is a time, and two sessions may begin in the same millisecond.
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    notes: list[dict[str, Any]] = field(default_factory=list)
    thread: threading.Thread = field(default_factory=threading.current_thread)
    partly: Pipeline | None = None  # of which Kedro runs only what makes missing outputs
    folder: str = ""  # the project's
    side_by_side: bool = False  # by a runner that waits for its threads or processes

    def begin(self, pipeline: Pipeline, run_params: Mapping[str, Any]) -> None:
        """Open the run, and record what is known of it."""
        asked = provenance.in_order(run_params.get("pipeline_names") or [], pipeline)
        run_params = {**run_params, "pipeline_names": asked}
        names = provenance.ran(asked, pipeline)
        self.folder = str(run_params["project_path"])
        runner = str(run_params.get("runner"))  # "None" is the sequential one
        self.side_by_side = not re.search("None|SequentialRunner|SearchRunner", runner)
        self.partly = pipeline if run_params.get("only_missing_outputs") else None
        command = secrets.command_line(sys.argv)
        parameters = provenance.parameters(self._taken(pipeline), run_params, command)
        short = provenance.shortened(parameters, f"{OWN}parameters")
        labels = provenance.labels(
            {**run_params, "pipeline_names": names}, run_params["project_path"]
        )
        name = "-".join(name.strip("_") for name in names)
        MLRunContextManager().open_run(name, self.run_id, labels, short)
        if self.tracking.parameters:
            # All that was configured, whoever takes it.
            configured = provenance.config_yaml(self.parameters["parameters"])
            _save(self.run_id, f"{OWN}parameters", configured, "yaml")
        if self.tracking.catalog:
            catalog = provenance.config_yaml(self.catalog, self.folder)
            _save(self.run_id, f"{OWN}catalog", catalog, "yaml")
        if self.tracking.pipeline:
            with _extra("The pipeline's graph"):
                _save(self.run_id, f"{OWN}pipeline", provenance.graph(pipeline), "json")

    def end(self, error: BaseException | None = None, aborted: str = "") -> None:
        """Record how the run went, and why it was ended from outside, end it, and show it."""
        import pandas as pd

        manager = MLRunContextManager()
        context = manager.current_of(self.run_id)
        if context is None:
            return  # it never began
        # What the embedded store has reserved on a disk that is full is for a run's end as well.
        if isinstance(db := manager.store, Store):
            db.make_room()
        try:
            self.notes += workers.notes(context._uid)
            steps = [note for note in self.notes if "action" in note]
            if self.partly and not (error or aborted):
                ran = {note["node"] for note in steps}
                left = Pipeline(node for node in self.partly.nodes if node.name in ran)
                untaken = self._taken(self.partly).keys() - self._taken(left).keys()
                # MLRun has no public way to take a parameter back.
                for name in untaken:
                    context._parameters.pop(name, None)
            with _extra("What the run was made of"):
                made_of = provenance.made_of(steps, self.folder)
                context.set_annotation(MADE_OF, json.dumps(made_of, sort_keys=True))
            if self.tracking.nodes and steps:
                numbers = dict.fromkeys(("rows", "columns", "bytes"), "Int64")
                table = pd.DataFrame(steps, columns=COLUMNS).astype(numbers)
                with _extra("The table of nodes"), manager.lock:
                    # First, for what is saved is sent with all that this process knows of the run.
                    merge_workers(context, db)
                    _save(self.run_id, f"{OWN}nodes", table, "parquet")
        finally:
            failure = self._failure(error) if error is not None else None
            ended = manager.close_run(failure, self.run_id, aborted)
            manager.recorded_error, manager.failure = error, secrets.hide(failure or "")
        if ended:
            print_run(context.uid, context.project)

    def _taken(self, pipeline: Pipeline) -> dict[str, Any]:
        """Give the parameters that a pipeline's nodes take, as the run's record has them."""
        taken = provenance.taken(self.parameters, pipeline) if self.tracking.parameters else {}
        return flatten(provenance.plain(taken))

    def _failure(self, error: BaseException) -> str:
        """Tell which node failed, with what, and where in the code."""
        # A worker process has told it; else Kedro's task knows it, if it ran in this process.
        frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
        tasks = (each.f_locals for each in frames if each.f_code.co_filename == task.__file__)
        nodes = (found.name for each in tasks if isinstance(found := each.get("node"), Node))
        failed = [note["failed"] for note in self.notes if "failed" in note] or [*nodes][:1]
        names = " or ".join(f"'{name}'" for name in failed)
        # The first empty line divides what happened from where.
        what = re.sub(r"\n\s*\n", "\n", f"{type(error).__name__}: {error}".strip())
        if type(error.__cause__).__name__ == "EmptyDataError":  # of pandas
            what += ", which is empty. Give one that has a header and rows."
        return f"{f'Node {names}: ' if names else ''}{what}\n\n{_traceback(error)}"


def _traceback(error: BaseException) -> str:
    """Give an error's traceback, and its cause's, without the way that Kedro goes to a node."""
    whole = traceback.TracebackException.from_exception(error)
    part: traceback.TracebackException | None = whole
    while part:
        own = itertools.dropwhile(lambda frame: _KEDRO in frame.filename, part.stack)
        part.stack = traceback.StackSummary.from_list(list(own) or part.stack)
        part = part.__cause__ or part.__context__
    return "".join(whole.format())


def _save(run_id: str, key: str, data: Any, file_format: str | None = None) -> None:
    is_frame = type(data).__module__.startswith("pandas.") and hasattr(data, "columns")
    # By name, as a catalog does it, for this room knows nothing of the datasets.
    kind = "kedro_mlrun.MLRunDataframeDataset" if is_frame else "kedro_mlrun.MLRunAbstractDataset"
    entry = {"key": key, "save_args": {"format": file_format} if file_format else {}}
    artifact = cast(RunDataset, AbstractDataset.from_config(key, {"type": kind, **entry}))
    artifact.run_id = run_id
    artifact.save(data)


@contextmanager
def _extra(name: str) -> Iterator[None]:
    """Make a warning of what can't be recorded and the pipeline can do without."""
    try:
        yield
    except Exception as error:
        logging.getLogger(__name__).warning(
            "%s isn't recorded: %s. The run goes on; `tracking` in mlrun.yml switches it off.",
            name,
            str(error).rstrip("."),
        )


def record_dataset(run_id: str, name: str, dataset: Any, data: Any, saved: bool) -> None:
    """Record the data of a catalog entry that isn't MLRun's: its file here, or else the object."""
    key = re.sub(r"[^-A-Za-z0-9_.]+", "-", name.partition("@")[0]).strip("-_.")
    context = MLRunContextManager().current_of(run_id)
    known = context.artifact_uris if context else {}
    # What is loaded several times is recorded once.
    if run_dataset(dataset) or (key in known and not saved):
        return
    with _extra(f"'{name}'"):
        if file := provenance.file_of(dataset):
            _save(run_id, key, file.read_bytes(), file.suffix.removeprefix(".") or "bin")
        elif what := provenance.stand_in(data):
            raise TypeError(f"it is {what}, and not the data itself")
        else:
            _save(run_id, key, data)


class _PassedOn(MemoryDataset):
    """Data in memory; Kedro releases each name of transcoded data by itself, and this has them."""

    def _release(self) -> None:
        """Keep the data, until the catalog goes with all that it has."""


def leave_unrecorded(pipeline: Pipeline, catalog: CatalogProtocol, saved: Iterable[str]) -> None:
    """Pass on in memory what the nodes of a run that isn't recorded save in MLRun, and say so."""
    logging.getLogger(__name__).warning(
        "This run isn't recorded, as `tracking` in mlrun.yml says, and the next ones can't load "
        "what it saves in MLRun: %s. To record it, change `enabled` or `skip_pipelines` there.",
        ", ".join(sorted(saved)) or "nothing",
    )
    kind = SharedMemoryDataset if isinstance(catalog, SharedMemoryDataCatalog) else _PassedOn
    memory = {name.partition("@")[0]: kind() for name in saved}
    logger = logging.getLogger("kedro.io.data_catalog")
    logger.disabled = True  # it warns of each dataset that is replaced
    for name in pipeline.datasets():
        if (stem := name.partition("@")[0]) in memory:
            catalog[name] = memory[stem]
    logger.disabled = False
