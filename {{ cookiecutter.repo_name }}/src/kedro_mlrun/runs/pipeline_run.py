"""One run of a pipeline, from its catalog's creation to its end."""

from __future__ import annotations

import itertools
import logging
import os
import re
import sys
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kedro
from kedro.io import AbstractDataset, DatasetError

from ..project import TrackingConfig
from ..secrets import known as secrets
from ..store.fields import OWN
from ..store.files import run_folder
from . import graph
from . import provenance as record
from .dataset import run_dataset
from .manager import MLRunContextManager
from .report import print_run

if TYPE_CHECKING:
    import mlrun
    from kedro.pipeline import Pipeline

_KEDRO = f"{Path(kedro.__file__).parent}{os.sep}"
COLUMNS = ("node", "action", "dataset", "seconds", "rows", "columns", "bytes")


class PipelineRun:
    """What is recorded of one run of a pipeline, beside what its nodes save.

    Args:
        run_id: the id that Kedro gave the run.
        tracking: what of it is to be recorded.
        parameters: Kedro's parameters.
        catalog: the catalog's configuration.
    """

    def __init__(
        self,
        run_id: str,
        tracking: TrackingConfig,
        parameters: Mapping[str, Any],
        catalog: Mapping[str, Any],
    ) -> None:
        self.run_id = run_id
        self.tracking = tracking
        self.notes: list[dict[str, Any]] = []
        self.thread = threading.current_thread()
        self._parameters = parameters
        self._catalog = catalog
        self._pipeline: Pipeline | None = None

    @property
    def is_open(self) -> bool:
        """Whether this process has the run open; in a worker process its parent has."""
        return MLRunContextManager().has_open(self.run_id)

    def begin(self, pipeline: Pipeline, run_params: Mapping[str, Any]) -> None:
        """Open the run, and record what is known of it.

        Args:
            pipeline: the pipeline, or the part of it that runs.
            run_params: what Kedro was asked to run.
        """
        self._pipeline = pipeline
        names = run_params.get("pipeline_names") or ["__default__"]
        title = "-".join(name.strip("_") for name in names)
        tracking = self.tracking
        parameters = record.parameters(
            self._parameters if tracking.parameters else {},
            run_params,
            secrets.command_line(sys.argv),
        )
        short = record.shortened(parameters, f"{OWN}parameters")
        MLRunContextManager().open_run(
            title, self.run_id, record.labels(run_params, run_params["project_path"]), short
        )
        try:
            self._record_setup(pipeline, title, parameters, short != parameters)
        except Exception as error:
            # Kedro tells of no error that comes before the first node.
            self.end(error)
            raise

    def _record_setup(
        self, pipeline: Pipeline, title: str, parameters: dict[str, Any], shortened: bool
    ) -> None:
        tracking = self.tracking
        texts: dict[str, str] = {}
        if tracking.parameters or shortened:
            texts["parameters.yaml"] = record.config_yaml(
                self._parameters if tracking.parameters else parameters
            )
        if tracking.catalog:
            texts["catalog.yaml"] = record.config_yaml(self._catalog)
        if tracking.pipeline:
            texts["pipeline.html"] = graph.graph_html(pipeline, title)
        with MLRunContextManager().recording(self.run_id) as context:
            for name, text in texts.items():
                _log_text(context, name, text)

    def end(self, error: BaseException | None = None, aborted: str = "") -> None:
        """Record how the run went, end it, and show it.

        Args:
            error: what made it fail; None where nothing did.
            aborted: why it was ended from outside, where it was.
        """
        manager = MLRunContextManager()
        context = manager.current_of(self.run_id)
        try:
            self.notes += manager.merge_workers(self.run_id)
            steps = [note for note in self.notes if "action" in note]
            if self.tracking.nodes and steps:
                with manager.recording(self.run_id) as context:
                    _log_table(context, steps)
        finally:
            failure = self._failure(error) if error is not None else None
            ended = manager.close_run(failure, self.run_id, aborted)
            manager.recorded_error, manager.failure = error, secrets.hide(failure or "")
        if context is not None and ended:
            print_run(context.uid, context.project)

    def _failure(self, error: BaseException) -> str:
        """Tell which node failed, with what, and where in the code."""
        failed = [note["failed"] for note in self.notes if "failed" in note] or self._unfinished()
        nodes = " or ".join(f"'{name}'" for name in failed)
        # The first empty line divides what happened from where.
        what = re.sub(r"\n\s*\n", "\n", f"{type(error).__name__}: {error}".strip())
        first = f"Node {nodes}: {what}" if nodes else what
        return f"{first}\n\n{_traceback(error)}"

    def _unfinished(self) -> list[str]:
        """Name the nodes that had begun: what can't be loaded or saved is no node's own error."""
        done = {(note.get("node"), note.get("action"), note.get("dataset")) for note in self.notes}
        begun = {note.get("begun") for note in self.notes}
        return [
            node.name
            for node in (self._pipeline.nodes if self._pipeline else [])
            if node.name in begun
            and not done.issuperset(
                {(node.name, "run", None), *((node.name, "save", name) for name in node.outputs)}
            )
        ]


def _traceback(error: BaseException) -> str:
    """Give an error's traceback without the way that Kedro goes to a node, which is ever the same.

    What an error came from has one of its own.
    """
    told = traceback.TracebackException.from_exception(error)
    waiting: list[traceback.TracebackException | None] = [told]
    while waiting:
        one = waiting.pop()
        if one is None:
            continue
        waiting += [one.__cause__, one.__context__]
        ways = list(itertools.dropwhile(lambda frame: _KEDRO in frame.filename, one.stack))
        if ways:
            one.stack = traceback.StackSummary.from_list(ways)
    return "".join(told.format())


def record_dataset(run_id: str, name: str, dataset: Any, data: Any, saved: bool) -> None:
    """Record the data of a catalog entry that isn't MLRun's as an artifact.

    Args:
        run_id: the id that Kedro gave the run.
        name: the entry's name.
        dataset: the entry's dataset. Where it has a file on this machine, that is the artifact.
        data: what was loaded from it or saved to it.
        saved: whether it was saved; what is loaded several times is recorded once.
    """
    key = re.sub(r"[^-A-Za-z0-9_.]+", "-", name.partition("@")[0]).strip("-_.")
    context = MLRunContextManager().current_of(run_id)
    known = context.artifact_uris if context else {}
    if run_dataset(dataset) or (key in known and not saved):
        return
    file = record.file_of(dataset)
    kind, save_args = "MLRunAbstractDataset", {}
    if file:
        data, save_args = file.read_bytes(), {"format": file.suffix.removeprefix(".") or "bin"}
    elif type(data).__module__.startswith("pandas.") and hasattr(data, "columns"):
        kind = "MLRunDataframeDataset"
    # By name, as a catalog does it, for this package knows nothing of the datasets.
    artifact = AbstractDataset.from_config(
        name, {"type": f"kedro_mlrun.{kind}", "key": key, "save_args": save_args}
    )
    artifact.run_id = run_id  # type: ignore[attr-defined]
    try:
        artifact.save(data)
    except DatasetError as error:
        # The pipeline itself can do without.
        logging.getLogger(__name__).warning("%s", error)


def _log_text(context: mlrun.MLClientCtx, name: str, text: str) -> None:
    stem, _, suffix = name.partition(".")
    context.log_artifact(OWN + stem, body=text, format=suffix, **_arguments(context, stem))


def _log_table(context: mlrun.MLClientCtx, steps: list[dict[str, Any]]) -> None:
    import pandas as pd

    numbers = dict.fromkeys(("rows", "columns", "bytes"), "Int64")
    table = pd.DataFrame(steps, columns=list(COLUMNS)).astype(numbers)
    context.log_dataset(f"{OWN}nodes", df=table, format="parquet", **_arguments(context, "nodes"))


def _arguments(context: mlrun.MLClientCtx, name: str) -> dict[str, str]:
    folder = run_folder(context.artifact_path, context.uid)
    return {"db_key": OWN + name, "artifact_path": folder}
