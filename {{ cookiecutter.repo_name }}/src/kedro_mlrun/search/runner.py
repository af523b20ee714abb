"""The search as a runner of Kedro: one Kedro run, and so one MLRun run, of many trials."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from kedro.framework import project
from kedro.io import CatalogProtocol, MemoryDataset
from kedro.pipeline import Node, Pipeline
from kedro.runner import SequentialRunner, Task
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..datasets.result import PATHS, MLRunResult
from ..runs.dataset import run_dataset
from ..runs.manager import MLRunContextManager
from ..runs.provenance import plain
from ..secrets.known import hide_in
from ..store.fields import flatten
from ..text import nearest, shown
from .config import SearchConfig, SearchError
from .trials import Recorder, Study, Trial, now
from .work import Values, Work, stem

GIVE_UP = 3  # trials that fail before one that doesn't


@dataclass
class Search:
    """What a search was asked for, and what came of it.

    Args:
        config: what is searched for.
        parameters: the project's parameters as its files have them.
        asked: what is recorded, so that the search can go on: JSON's types.
        uid: the run's id.
        best: the best trial.
        trials: how many there are.
    """

    config: SearchConfig
    parameters: Mapping[str, Any]
    asked: dict[str, Any] = field(default_factory=dict)
    uid: str = ""
    best: Trial | None = None
    trials: int = 0

    @property
    def pipelines(self) -> list[str]:
        """The names of the pipelines to run."""
        return [name for name in (self.config.pipeline, self.config.evaluate) if name]

    def work(self, pipeline: Pipeline, catalog: CatalogProtocol) -> Work:
        """Find out what a trial is to run."""
        judges = project.pipelines[self.config.evaluate] if self.config.evaluate else Pipeline([])
        return Work(self.config, pipeline, judges, self.parameters, catalog)


class SearchRunner(SequentialRunner):
    """Runs the part of a pipeline that the parameters reach many times, and all else once.

    The trials run in memory. Their best one's data are then saved as those of a run with its
    parameters, and the nodes that aren't on the way to the metric run with them.
    """

    def __init__(self, search: Search) -> None:
        super().__init__()
        self._search = search

    def _run(
        self,
        pipeline: Pipeline,
        catalog: CatalogProtocol,
        hook_manager: Any = None,
        run_id: str | None = None,
    ) -> None:
        search, context = self._search, MLRunContextManager().current_of()
        if context is None:
            raise SearchError(
                "A search has to be recorded, and `tracking` in mlrun.yml says that this pipeline "
                "isn't. Change `enabled` or `skip_pipelines` there."
            )

        def run(node: Node) -> None:
            task = Task(node, catalog, is_async=False, hook_manager=hook_manager, run_id=run_id)
            task.execute()

        search.uid, recorder = context._uid, Recorder(context, search.config)
        done = recorder.trials()
        recorder.begin(search.asked)
        work = search.work(pipeline, catalog)
        trials = _Trials(work, catalog, context, run)
        study = Study(search.config, done)
        try:
            self._try_all(trials, study, recorder, {trial.number for trial in done})
        finally:
            # Also where it is stopped, for what was found by then.
            search.best, search.trials = study.best, len(recorder.trials())
            recorder.end(study)
        if study.best is None:
            raise SearchError(f"All {search.trials} trials failed. `kedro mlrun show` tells why.")
        values = search.config.values(study.best.params)
        made = trials.made_by(study.best)
        for name, value in work.parameters_of(values).items():
            catalog.get(name).save(value)
        _note_parameters(context, values)
        for node in pipeline.nodes:
            if node not in trials.ran_once:
                is_made = node.outputs and made.keys() >= {*map(stem, node.outputs)}
                run(_with_outputs(node, made) if is_made else node)

    def _try_all(
        self, trials: "_Trials", study: Study, recorder: Recorder, done: set[int]
    ) -> None:
        config = self._search.config
        end = time.monotonic() + (config.seconds or float("inf"))
        with _progress(config, len(done), study.best) as tell:
            for number in range(1, config.trials + 1):
                if number in done:
                    continue
                enough = config.early_stop and study.since_best >= config.early_stop
                if enough or time.monotonic() > end or (params := study.ask(number)) is None:
                    return
                trial = trials.run(number, params)
                is_best = study.tell(trial)
                recorder.add(trial, is_best)
                tell(trial, is_best)
                if study.best is None and study.since_best >= GIVE_UP:
                    return


class _Trials:
    """Runs trials, and before the first one what all of them need."""

    def __init__(self, work: Work, catalog: CatalogProtocol, context: Any, run: Any) -> None:
        self._work, self._catalog, self._context, self._run = work, catalog, context, run
        self.ran_once = set[Node]()
        self._have: Values = {}
        self._entry = ""
        self._best: tuple[Trial | None, Values] = None, {}

    def run(self, number: int, params: dict[str, Any]) -> Trial:
        """Run a trial; one whose nodes fail is one, too."""
        started, values = now(), self._work.config.values(params)
        try:
            made, results = self._find(values) if not self._entry else self._make(values)
            value = self._work.metric(results)
        except SearchError:
            raise
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            return Trial(number, params, error=what, started=started)
        trial = Trial(number, params, value, results, started=started)
        best, _ = self._best
        if best is None or self._work.config.is_better(value, best.value):
            self._best = trial, made
        return trial

    def made_by(self, trial: Trial) -> Values:
        """Give what the best trial has made; one of an earlier process is run once more."""
        best, made = self._best
        if best and best.number == trial.number:
            return made
        values = self._work.config.values(trial.params)
        made, _ = self._find(values) if not self._entry else self._make(values)
        return made

    def _make(self, values: Mapping[str, Any]) -> tuple[Values, dict[str, Any]]:
        made = self._work.run(self._entry, self._have, values)
        return made, self._work.results(self._entry, made)

    def _find(self, values: Mapping[str, Any]) -> tuple[Values, dict[str, Any]]:
        """Run a trial to each entry until one has the metric among its results."""
        metric, known = self._work.config.metric, list[str]()
        for entry in self._work.entries:
            self._prepare(entry)
            made = self._work.run(entry, self._have, values)
            results = self._work.results(entry, made)
            if metric in results:
                self._entry = entry
                return made, results
            known += results
        raise SearchError(
            f"No result that depends on the searched parameters is called '{metric}'. "
            f"{nearest(metric, known)}There are {', '.join(sorted(known))}."
        )

    def _prepare(self, entry: str) -> None:
        """Run what all trials need, unless this very run has done so before it was killed."""
        for node in self._work.before(entry).nodes:
            if node not in self.ran_once:
                if not all(map(self._is_saved, node.outputs)):
                    self._run(node)
                self.ran_once.add(node)
        for name in self._work.loads(entry):
            self._have[stem(name)] = MemoryDataset(self._catalog.load(name))

    def _is_saved(self, name: str) -> bool:
        dataset = run_dataset(self._catalog.get(name))
        if isinstance(dataset, MLRunResult):
            return PATHS + dataset.key in self._context.annotations
        return dataset is not None and dataset.key in self._context.artifact_uris


def _with_outputs(node: Node, made: Values) -> Node:
    """Make a node that gives what the node of the best trial has given."""
    outputs = [made[stem(name)].load() for name in node.outputs]
    given = outputs[0] if len(outputs) == 1 else tuple(outputs)
    names = node.outputs[0] if len(outputs) == 1 else node.outputs
    return Node(lambda *_: given, node.inputs, names, name=node.name, tags=node.tags)


def _note_parameters(context: Any, values: Mapping[str, Any]) -> None:
    """Let the run have the best trial's parameters in place of those that it began with."""
    # MLRun has no public way to change parameters.
    known = context._parameters
    for name, value in values.items():
        for other in [other for other in known if f"{other}.".startswith(f"{name}.")]:
            del known[other]
        known.update(flatten(hide_in(plain({name: value}))))


@contextmanager
def _progress(config: SearchConfig, done: int, best: Trial | None) -> Iterator[Any]:
    """Show how far a search is, and the best so far: in a terminal as a bar, else in lines."""
    console = Console(stderr=True)
    columns = (TextColumn("Trial"), MofNCompleteColumn(), BarColumn(), TextColumn("{task.fields[best]}"))
    bar = Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal)
    with bar:
        task = bar.add_task("", total=config.trials, completed=done, best=_named(config, best))

        def tell(trial: Trial, is_best: bool) -> None:
            bar.advance(task)
            if is_best:
                bar.update(task, best=_named(config, trial))
            if trial.error or (is_best and not console.is_terminal):
                what = f"failed: {trial.error}" if trial.error else _named(config, trial)
                console.print(
                    f"Trial {trial.number} of {config.trials}: {what}", markup=False, highlight=False
                )

        yield tell


def _named(config: SearchConfig, best: Trial | None) -> str:
    return f"best {config.metric} {shown(best.value)}" if best else ""
