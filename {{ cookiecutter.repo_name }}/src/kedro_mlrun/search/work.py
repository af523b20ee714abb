"""What a trial runs: the nodes that the searched parameters reach, on the way to the metric."""

import copy
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
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

Values = dict[str, MemoryDataset]  # which copy what they have as Kedro does


class Work:
    """The parts of a pipeline, by what the searched parameters reach.

    Args:
        config: what is searched for.
        pipeline: all that runs.
        judges: the part of it that judges the best, and has no say in which that is.
        parameters: the project's parameters, as its files have them.
        catalog: the catalog.

    Attributes:
        taken: what nodes take as parameters with searched ones inside.
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
        self.config, self._parameters = config, parameters
        self._validator = ParameterValidator({"search": pipeline})
        names = [name for name in sorted(pipeline.inputs()) if is_parameter(name)]
        self.taken = [name for name in names if any(_has(name, each) for each in config.parameters)]
        for searched in config.parameters:
            if not any(_has(name, searched) for name in names):
                known = [name.removeprefix("params:") for name in names]
                raise SearchError(
                    f"No node of pipeline '{config.pipeline}' takes the parameter '{searched}'. "
                    f"{nearest(searched, known)}Name one that it takes, or another pipeline."
                )
        self._chooses = pipeline - judges
        self._reached = pipeline.from_inputs(*self.taken)
        outputs = sorted((self._reached & self._chooses).all_outputs())
        datasets = {name: innermost(catalog.get(name)) for name in outputs}
        results = {name: each for name, each in datasets.items() if isinstance(each, MLRunResult)}
        words = _words(config.metric)
        likeliest = sorted(results, key=lambda name: len(words & _words(name)), reverse=True)
        self.entries = {name: results[name] for name in likeliest}
        if not results:
            raise SearchError(
                f"No result of pipeline '{config.pipeline}' depends on "
                f"{', '.join(config.parameters)}. Save the metric as an MLRunResult, in another "
                "pipeline than the one that `evaluate` names."
            )

    def each_time(self, entry: str) -> Pipeline:
        """Give what each trial runs to make an entry."""
        return self._chooses.to_outputs(entry) & self._reached

    def once(self, entry: str) -> Pipeline:
        """Give what is run once, before the trials that make an entry."""
        return self._chooses.to_outputs(entry) - self._reached

    def with_values(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Give what nodes take as parameters with these values, checked as Kedro does."""
        whole = copy.deepcopy(dict(self._parameters))
        for name, value in values.items():
            *path, last = name.split(".")
            inner = whole
            for key in path:
                inner = inner.setdefault(key, {})
            inner[last] = value
        valid = self._validator.validate_raw_params(whole)
        return {name: _part(valid, name) for name in self.taken}


class NoMetricError(Exception):
    """The metric isn't among the results that an entry has."""

    def __init__(self, results: Iterable[str]) -> None:
        super().__init__(*results)
        self.results = [*results]


@dataclass
class Prepared:
    """Trials that can be run: to which entry, and what their nodes load that is always the same."""

    work: Work
    entry: str
    have: Values

    def run(self, number: int, params: Params) -> tuple[Trial, Values]:
        """Run a trial, and give what its nodes have made; one whose nodes fail is one, too."""
        started, metric = datetime.now(UTC).isoformat(), self.work.config.metric
        try:
            with _quiet():
                made = self._make(self.work.config.values(params))
            results = self.work.entries[self.entry].named(made[stem(self.entry)].load())
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

    def _make(self, values: Mapping[str, Any]) -> Values:
        taken = self.work.with_values(values)
        have, made = dict(self.have), Values()
        for node in self.work.each_time(self.entry).nodes:
            inputs = {n: taken[n] if n in taken else have[stem(n)].load() for n in node.inputs}
            for name, data in node.run(inputs).items():
                made[stem(name)] = have[stem(name)] = MemoryDataset(data)
        return made


@contextmanager
def _quiet() -> Iterator[None]:
    """Let Kedro not tell of each node of each trial."""
    log = logging.getLogger("kedro.pipeline.node")
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(level)


def stem(name: str) -> str:
    """Give the name of data without what transcoding adds: the same data by another name."""
    return name.partition("@")[0]


def _words(name: str) -> set[str]:
    return {*name.replace("_", ".").split(".")}


def _has(taken: str, searched: str) -> bool:
    """Tell whether what a node takes has a searched parameter inside, or is inside of one."""
    own = f"{taken.removeprefix('params:')}."
    return taken == "parameters" or own.startswith(f"{searched}.") or f"{searched}.".startswith(own)


def _part(parameters: Any, taken: str) -> Any:
    """Give what a node takes of parameters: dicts, or objects of the project's classes."""
    name = taken.removeprefix("params:")
    if taken == "parameters" or name in parameters:
        return parameters if taken == "parameters" else parameters[name]
    for key in name.split("."):
        is_dict = isinstance(parameters, Mapping)
        parameters = parameters[key] if is_dict else getattr(parameters, key)
    return parameters
