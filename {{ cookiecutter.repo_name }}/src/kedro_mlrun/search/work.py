"""What a trial runs: the nodes that the searched parameters reach, on the way to the metric."""

import copy
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kedro.io import CatalogProtocol, MemoryDataset
from kedro.io.core import is_parameter
from kedro.pipeline import Pipeline
from kedro.validation import ParameterValidator

from ..datasets.result import MLRunResult
from ..runs.dataset import innermost
from ..text import nearest
from .config import SearchConfig, SearchError
from .space import Params
from .trials import Trial

Values = dict[str, Any]  # MemoryDatasets, which copy what they have as Kedro does


class Work:
    """The part of a pipeline that each trial runs, in memory.

    Attributes:
        reached: the nodes that the searched parameters reach, also after the metric.
        entries: catalog entries that may have the metric among their results, likeliest first.
    """

    def __init__(
        self,
        config: SearchConfig,
        pipeline: Pipeline,
        judges: Pipeline,
        parameters: Mapping[str, Any],
        catalog: CatalogProtocol,
    ) -> None:
        self.config, self.parameters = config, parameters
        self._validator = ParameterValidator({"search": pipeline})
        names = [name for name in sorted(pipeline.inputs()) if is_parameter(name)]
        taken = {name: self._searched(name) for name in names}
        for name in config.parameters:
            if not any(name in searched for searched in taken.values()):
                known = [name.removeprefix("params:") for name in names]
                raise SearchError(
                    f"No node of pipeline '{config.pipeline}' takes the parameter '{name}'. "
                    f"{nearest(name, known)}Name one that it takes, or another pipeline."
                )
        self.inputs = [name for name in names if taken[name]]
        self.reached = pipeline.from_inputs(*self.inputs)
        # What judges the best has no say in which it is.
        self._chooses = pipeline - judges
        self.entries = self._results(catalog)

    def _searched(self, name: str) -> set[str]:
        """Give the searched parameters that are in what a node takes by this name."""
        own = name.removeprefix("params:")
        return {
            searched
            for searched in self.config.parameters
            if own == "parameters"
            or f"{own}.".startswith(f"{searched}.")
            # Of what a node takes as a whole, a part.
            or f"{searched}.".startswith(f"{own}.")
        }

    def _results(self, catalog: CatalogProtocol) -> dict[str, MLRunResult]:
        made = (self.reached & self._chooses).all_outputs()
        entries = {name: innermost(catalog.get(name)) for name in sorted(made)}
        found = {name: each for name, each in entries.items() if isinstance(each, MLRunResult)}
        words = set(self.config.metric.replace("_", ".").split("."))

        def likeness(name: str) -> int:
            return len(words & {*name.replace("_", ".").split(".")})

        if not found:
            raise SearchError(
                f"No result of pipeline '{self.config.pipeline}' depends on "
                f"{', '.join(self.config.parameters)}. Save the metric as an MLRunResult in a "
                f"pipeline that `evaluate` doesn't name."
            )
        return {name: found[name] for name in sorted(found, key=likeness, reverse=True)}

    def nodes(self, entry: str) -> Pipeline:
        """Give what each trial runs to make an entry."""
        return self._chooses.to_outputs(entry) & self.reached

    def before(self, entry: str) -> Pipeline:
        """Give what is run once, before the trials that make an entry."""
        return self._chooses.to_outputs(entry) - self.reached

    def loads(self, entry: str) -> list[str]:
        """Give what each trial loads that is the same for all."""
        return sorted(self.nodes(entry).inputs() - {*self.inputs})

    def parameters_of(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Give what nodes take as parameters with these values, checked as Kedro does."""
        whole = copy.deepcopy(dict(self.parameters))
        for name, value in values.items():
            *path, last = name.split(".")
            inner = whole
            for key in path:
                inner = inner.setdefault(key, {})
            inner[last] = value
        valid = self._validator.validate_raw_params(whole)
        return {
            name: valid if name == "parameters" else _part(valid, name.removeprefix("params:"))
            for name in self.inputs
        }

    def run(self, entry: str, have: Values, values: Mapping[str, Any]) -> Values:
        """Run a trial to an entry, and give what its nodes have made."""
        taken = self.parameters_of(values)
        made: Values = {}
        log = logging.getLogger("kedro.pipeline.node")
        level = log.level
        # It tells of each node.
        log.setLevel(max(level, logging.WARNING))
        try:
            for node in self.nodes(entry).nodes:
                inputs = {
                    name: taken[name] if name in taken else (made | have)[stem(name)].load()
                    for name in node.inputs
                }
                for name, data in node.run(inputs).items():
                    made[stem(name)] = MemoryDataset(data)
        finally:
            log.setLevel(level)
        return made

    def results(self, entry: str, made: Values) -> dict[str, Any]:
        """Give the results that an entry would record, by their names."""
        return self.entries[entry].named(made[stem(entry)].load())


class NoMetricError(Exception):
    """The metric isn't among the results that an entry has."""

    def __init__(self, results: Iterable[str]) -> None:
        super().__init__(*results)
        self.results = [*results]


@dataclass(frozen=True)
class Prepared:
    """Trials that can be run: what they do, to which entry, and what they load."""

    work: Work
    entry: str
    have: Values

    def run(self, number: int, params: Params) -> tuple[Trial, Values]:
        """Run a trial, and give what its nodes have made; one whose nodes fail is one, too."""
        started, metric = datetime.now(UTC).isoformat(), self.work.config.metric
        try:
            values = self.work.config.values(params)
            made = self.work.run(self.entry, self.have, values)
            results = self.work.results(self.entry, made)
            if metric not in results:
                raise NoMetricError(results)
            value = results[metric]
            if type(value) not in {int, float}:  # NaN and infinity are text by now
                raise ValueError(f"the metric '{metric}' is {value!r}, and no number")
        except NoMetricError:
            raise
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            return Trial(number, params, error=what, started=started), {}
        return Trial(number, params, float(value), results, started=started), made


def stem(name: str) -> str:
    """Give the name of data without what transcoding adds."""
    # What follows an @ is Kedro's transcoding: the same data by another name.
    return name.partition("@")[0]


def _part(parameters: Any, name: str) -> Any:
    """Give a part of parameters, which may be dicts or objects of the project's classes."""
    if name in parameters:
        return parameters[name]
    for key in name.split("."):
        parameters = (
            parameters[key] if isinstance(parameters, Mapping) else getattr(parameters, key)
        )
    return parameters
