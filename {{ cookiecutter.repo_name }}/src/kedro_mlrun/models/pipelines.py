"""A whole Kedro pipeline that answers rows: its nodes as functions, its models loaded once."""

import logging
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from kedro.framework import project
from kedro.framework.session import KedroSession
from kedro.io.core import is_parameter
from kedro.pipeline import Pipeline

from ..datasets.model import MLRunModel
from ..project import config_loader, current_project
from ..runs.dataset import RunDataset, innermost
from ..store.rows import Record
from ..text import nearest
from .prediction import Answer, present_store, refusal
from .schema import Rows, Schema
from .versions import ModelError, load_model


class PipelinePredictor:
    """A pipeline with what it needs beside the rows.

    Args:
        source: where the pipeline is from.
        loaded: the data of its other inputs.
        version: which versions of its models these are.
        spec: what is recorded of its model.
    """

    together = False  # for its nodes may look across rows
    seconds = math.inf
    classes: Sequence[Any] = ()

    def __init__(
        self, source: "PipelineSource", loaded: Record, version: str, spec: Record
    ) -> None:
        self.name, self.version, self._source, self._loaded = source.name, version, source, loaded
        self.schema = Schema(spec, is_strict=False)

    def answer(self, rows: Rows) -> Answer:
        """Run the nodes with these rows."""
        source, data = self._source, {**self._loaded, self._source.rows: rows.frame}
        # Each time, for a node may change what it gets.
        data |= {name: source.catalog.load(name) for name in source.parameters}
        try:
            for node in source.pipeline.nodes:
                data |= node.run({name: data[name] for name in node.inputs})
        except (ValueError, KeyError, TypeError) as error:
            raise refusal(error) from error
        found = data[source.output]
        if hasattr(found, "to_dict"):
            found = found.to_dict("records") if getattr(found, "ndim", 0) > 1 else found.tolist()
        outputs = found.tolist() if isinstance(found, np.ndarray) else found
        outputs = outputs if isinstance(outputs, list) else [outputs]
        return Answer(outputs, version=self.version, output=source.output)


class PipelineSource:
    """A pipeline of this project, with the versions that its models have now.

    Args:
        name: the pipeline's name.
        env: Kedro's environment.

    Attributes:
        rows: the input whose data are a request's rows.
        output: the output that is the answer.
    """

    tag = ""

    def __init__(self, name: str, env: str | None = None) -> None:
        self.name = name
        folder = current_project()
        _ = config_loader(folder, env)  # which also tells Kedro which project this is
        # It tells of each node at each run, and here that is at each request.
        logging.getLogger("kedro.pipeline.node").setLevel(logging.WARNING)
        session: Any = KedroSession.create(folder, env=env, save_on_close=False)
        with session:
            self.catalog = session.load_context().catalog
        self.pipeline = _pipeline(name)
        inputs = sorted(self.pipeline.inputs())
        self.parameters = [each for each in inputs if is_parameter(each)]
        datasets = {each: innermost(self.catalog.get(each)) for each in inputs}
        self._models = {n: each for n, each in datasets.items() if isinstance(each, MLRunModel)}
        free = [each for each in inputs if each not in {*self.parameters, *self._models}]
        unrecorded = [each for each in free if not isinstance(datasets[each], RunDataset)]
        others = free if len(free) == 1 else unrecorded
        if len(others) != 1:
            raise ModelError(
                f"Pipeline '{name}' must have one input whose rows a request can bring, beside "
                f"models, artifacts and parameters. It has: {', '.join(others) or 'none'}."
            )
        [self.rows] = others
        self._others = [each for each in free if each != self.rows]
        if len(outputs := sorted(self.pipeline.outputs())) != 1:
            raise ModelError(
                f"Pipeline '{name}' must have one output, the answer. It has: {', '.join(outputs)}."
            )
        [self.output] = outputs

    def version(self) -> str:
        """Find out which versions its models have."""
        return self._version(self._records())

    def _records(self) -> list[Any]:
        present_store()
        return [model._find() for model in self._models.values()]

    def _version(self, records: list[Any]) -> str:
        return "+".join(str(record["metadata"]["uid"]) for record in records) or self.name

    def load(self) -> PipelinePredictor:
        """Load and verify its models, and what else it needs."""
        records = self._records()
        loaded = dict(zip(self._models, map(load_model, records), strict=True))
        loaded |= {name: self.catalog.load(name) for name in self._others}
        spec = {} if len(records) != 1 else records[0]["spec"]
        return PipelinePredictor(self, loaded, self._version(records), spec)


def _pipeline(name: str) -> Pipeline:
    project.pipelines.set_requested([name])
    try:
        return project.pipelines[name]
    except (KeyError, ImportError) as error:
        if isinstance(error, ImportError) and error.__cause__:
            raise  # of a module that is there
        project.pipelines.set_requested(None)
        hint = nearest(name, project.pipelines)
        raise ModelError(
            f"There is no pipeline '{name}'. {hint}To list all pipelines: kedro registry list"
        ) from None
