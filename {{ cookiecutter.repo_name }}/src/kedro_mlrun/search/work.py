"""What a trial runs: the nodes that the searched parameters reach, on the way to the metric."""

import copy
import logging
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from inspect import isgeneratorfunction
from typing import Any, cast

from kedro.io import CatalogProtocol, MemoryDataset
from kedro.io.core import is_parameter
from kedro.pipeline import Node, Pipeline
from kedro.validation import ParameterValidator

from ..datasets.result import MLRunResult
from ..runs.dataset import RunDataset, innermost
from ..runs.log import of_thread
from ..store.rows import now
from ..text import nearest
from .config import SearchConfig, SearchError
from .space import Params
from .trials import Steps, Trial, why_pruned

Values = dict[str, MemoryDataset]  # which copy what they have as Kedro does
YIELD = (
    "Let one yield what it has made after each fold or some boosting rounds (`validate` of the "
    "template does with `split.validation: 5`), or set `prune: false`."
)


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
        self.config, self.parameters = config, parameters
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
        reached = self._reached & self._chooses
        if config.prune and not any(map(is_generator, reached.nodes)):
            raise SearchError(f"`prune` is true, and no node of a trial yields anything. {YIELD}")
        outputs = sorted(reached.all_outputs())
        datasets = {name: innermost(catalog.get(name)) for name in outputs}
        # What gets each part of a generator's output, and not the last one in place of the others.
        kinds = RunDataset | MemoryDataset | None
        self._adding = {name for name, each in datasets.items() if not isinstance(each, kinds)}
        results = {name: each for name, each in datasets.items() if isinstance(each, MLRunResult)}
        of_runs = {name for name, each in datasets.items() if isinstance(each, RunDataset)}
        self.kept = of_runs - {*results} if config.keep == "all" else set[str]()
        words = _words(config.metric)
        likeliest = sorted(results, key=lambda name: len(words & _words(name)), reverse=True)
        self.entries = {name: results[name] for name in likeliest}
        if not results:
            raise SearchError(
                f"No result of pipeline '{config.pipeline}' depends on "
                f"{', '.join(config.parameters)}. Save the metric as an MLRunResult, in another "
                "pipeline than the one that `evaluate` names."
            )

    def judged(self, entry: str) -> Pipeline:
        """Give what each trial runs to make an entry."""
        return self._chooses.to_outputs(entry) & self._reached

    def each_time(self, entry: str) -> Pipeline:
        """Give what each trial runs: to make an entry, and all else whose data are kept."""
        return self._needed(entry) & self._reached

    def _needed(self, entry: str) -> Pipeline:
        if self.config.keep == "best":
            return self._chooses.to_outputs(entry)
        names = [node.name for node in (self._chooses & self._reached).nodes]
        return self._chooses.to_nodes(*names)

    def check_yields(self, entry: str) -> None:
        """Refuse nodes that yield to what a trial, in memory, has not."""
        for node in filter(is_generator, self.each_time(entry).nodes):
            if names := self._adding & {*node.outputs}:
                raise SearchError(
                    f"Node '{node.name}' yields parts of '{min(names)}', and a trial, which runs "
                    "in memory, would have the last one only. Let it return all at once, or leave "
                    "the entry out of the catalog and yield all that there is so far."
                )

    def once(self, entry: str) -> Pipeline:
        """Give what is run once, before the trials that make an entry."""
        return self._needed(entry) - self._reached

    def with_values(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Give what nodes take as parameters with these values, checked as Kedro does."""
        whole = copy.deepcopy(dict(self.parameters))
        for name, value in values.items():
            *path, last = name.split(".")
            inner = whole
            for key in path:
                inner = inner.setdefault(key, {})
            inner[last] = value
        valid = self._validator.validate_raw_params(whole)
        return {name: _part(valid, name) for name in self.taken}


@dataclass
class Prepared:
    """Trials that can be run: to which entry, and what their nodes load that is always the same."""

    work: Work
    entry: str
    have: Values

    def content(self) -> bytes:
        """Give it as what is sent to the jobs of trials."""
        import cloudpickle

        try:
            return cast(bytes, cloudpickle.dumps(self))
        except Exception as error:
            raise SearchError(
                f"What the trials need can't be sent to their jobs ({error}). Save it in the "
                "catalog as what can be pickled, or search without --distributed."
            ) from None

    def run(self, number: int, params: Params, limits: Steps | None = None) -> tuple[Trial, Values]:
        """Run a trial, and give what its nodes have made; one whose nodes fail is one, too.

        One that by a step is worse than the limit there is, by all of its steps, ends then.
        """
        started, config = now(), self.work.config
        steps, pruned, made, value = Steps(), "", Values(), None
        results = dict[str, Any]()
        try:
            with _logging_as(f"Trial {number}: "):
                for step, made in enumerate(self._make(config.values(params)), 1):
                    results = self.work.entries[self.entry].named(made[stem(self.entry)].load())
                    found: Any = results.get(config.metric)
                    # NaN and infinity are text by now.
                    value = float(found) if type(found) in {int, float} else None
                    if config.prune and value is not None:
                        steps[step] = value
                        if pruned := why_pruned(config, steps, limits or {}):
                            break
            if value is None:
                known = {name: f"{each!r}, and no number" for name, each in results.items()}
                what = known.get(config.metric, "no result of this trial")
                raise ValueError(f"the metric '{config.metric}' is {what}")
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            return Trial(number, params, None, results, what, started), {}
        ended = None if pruned else value
        kept = {name: made[stem(name)] for name in sorted(self.work.kept) if stem(name) in made}
        trial = Trial(number, params, ended, results, "", started, steps, pruned)
        return (trial if pruned else replace(trial, kept=kept)), made

    def _make(self, values: Mapping[str, Any]) -> Iterator[Values]:
        """Run a trial's nodes, and give what they have made: once, or after each step."""
        taken = self.work.with_values(values)
        have, made = dict(self.have), Values()

        def parts(node: Node) -> Iterator[bool]:
            inputs = {n: taken[n] if n in taken else have[stem(n)].load() for n in node.inputs}
            outputs = node.run(inputs)
            whole = outputs.values()
            for part in zip(*whole, strict=False) if is_generator(node) else [whole]:
                for name, data in zip(outputs, part, strict=True):
                    made[stem(name)] = have[stem(name)] = MemoryDataset(data)
                yield True

        def run(nodes: Iterable[Node]) -> None:
            for node in nodes:
                # As Kedro does it: the last part is what there is.
                deque(parts(node), maxlen=0)

        before, stepping, following, rest = self._parts
        run(before)
        generators = [parts(node) for node in stepping]
        # All at once, and one that has no more stays as it is.
        while any([next(each, False) for each in generators]):
            run(following)
            yield made
        if not generators:
            yield made
        run(rest)

    @cached_property
    def _parts(self) -> tuple[list[Node], list[Node], list[Node], list[Node]]:
        """What runs before the nodes that make the steps, these, what follows, and all the rest."""
        nodes = self.work.judged(self.entry)
        rest = (self.work.each_time(self.entry) - nodes).nodes
        names = [node.name for node in nodes.nodes if self.work.config.prune and is_generator(node)]
        if not names:
            return nodes.nodes, [], [], rest
        # Of generators that need each other, the first ones do.
        stepping, *following = nodes.from_nodes(*names).grouped_nodes
        before = nodes - nodes.from_nodes(*names)
        return before.nodes, stepping, [node for group in following for node in group], rest


@contextmanager
def _logging_as(part: str) -> Iterator[None]:
    """Let Kedro not tell of each node of each trial, and nodes with the trial that they are of."""
    log = logging.getLogger("kedro.pipeline.node")
    level, runs = log.level, of_thread()
    log.setLevel(logging.WARNING)
    for each in runs:
        each.part = part
    try:
        yield
    finally:
        log.setLevel(level)
        for each in runs:
            each.part = ""


def is_generator(node: Node) -> bool:
    """Tell whether Kedro saves what a node yields, again and again."""
    return isgeneratorfunction(node.func)


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
