"""The search as a runner of Kedro: one Kedro run, and so one MLRun run, of many trials."""

import copy
import json
import logging
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from kedro.framework import project
from kedro.io import CatalogProtocol, MemoryDataset
from kedro.pipeline import Node, Pipeline
from kedro.runner import SequentialRunner, Task
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from ..datasets.result import MLRunResult
from ..project import config_loader, current_project
from ..runs.dataset import run_dataset
from ..runs.log import note
from ..runs.manager import MLRunContextManager
from ..runs.open_runs import take_back
from ..store.fields import BEFORE, PATHS, SEARCH, moment
from ..text import plain_refusal, shown, took, visible
from .config import SearchConfig, SearchError
from .metric import no_metric
from .resume import file_hashes
from .space import Params
from .trials import Asked, Recorder, Steps, Study, Trial, recorded_parameters
from .work import YIELD, Prepared, Values, Work, is_generator, stem

LOG = logging.getLogger(__name__)
GIVE_UP = 3  # trials that fail before one that doesn't
SAME = 3  # trials of the same value that make one wonder


@dataclass
class Search:
    """What a search was asked for, and what came of it.

    Args:
        config: what is searched for.
        parameters: the project's parameters as its files have them.
        asked: what is recorded, so that the search can go on: JSON's types.
        jobs: how many trials run at once, each in a process of its own.
        distributed: whether each is an MLRun job of its own.
        uid: the run's id.
        best: the best trial.
        trials: how many there are.
    """

    config: SearchConfig
    parameters: Mapping[str, Any]
    asked: dict[str, Any]
    jobs: int = 1
    distributed: bool = False
    uid: str = ""
    best: Trial | None = None
    trials: int = 0

    @classmethod
    def again(cls, text: str, **changes: Any) -> "Search":
        """Make a search of what is recorded of one, in this project."""
        asked = json.loads(text)
        loader = config_loader(current_project(), asked["env"], asked["params"])
        config = SearchConfig(**{**asked["config"], **changes})
        # Which a job is told, beside what is recorded.
        told = {name: asked[name] for name in ("jobs", "distributed") if name in asked}
        asked["config"] = config.model_dump()
        return cls(config, loader["parameters"], asked, **told)

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

    The trials run in memory. The best one's data are then saved as those of a run with its
    parameters, and the nodes that aren't on the way to the metric run with them.
    """

    def __init__(self, search: Search | None = None) -> None:
        super().__init__()
        self._search = search

    def _run(
        self,
        pipeline: Pipeline,
        catalog: CatalogProtocol,
        hook_manager: Any = None,
        run_id: str | None = None,
    ) -> None:
        context: Any = MLRunContextManager().current_of()
        if context is None:
            raise SearchError(
                "A search has to be recorded, and `tracking` in mlrun.yml says that this one "
                "isn't. Change `enabled` or `skip_pipelines` there."
            )

        # A job has been told by its record, and so has one that goes on with an earlier one.
        search = self._search = self._search or Search.again(context.annotations[SEARCH])
        take_back(context, json.loads(context.annotations.get(BEFORE) or "{}"))

        def run(node: Node) -> None:
            Task(node, catalog, is_async=False, hook_manager=hook_manager, run_id=run_id).execute()

        recorder = Recorder(context, search.config, catalog)
        search.uid = context._uid
        # So that it can go on if it is killed.
        noted = {"files": file_hashes(pipeline, catalog), **search.asked}
        context.set_annotation(SEARCH, json.dumps(noted))
        context.commit()
        work = search.work(pipeline, catalog)
        study = Study(search.config, recorder.trials())
        trials = _Trials(work, catalog, context, run)
        earlier: Iterable[Trial] = ()
        if search.distributed:
            from .distributed import TrialJobs

            jobs = TrialJobs(context, search)
            trials.run_at_once, earlier = jobs.run, jobs.taken_over(study)
        try:
            self._try_all(search, trials, study, recorder, earlier)
        finally:
            # Also where it is stopped, for what was found by then.
            search.best, search.trials = study.best, len(recorder.trials())
            recorder.sum_up(study)
        if study.best is None:
            raise SearchError(f"No trial succeeded. The last one failed: {_short(trials.error)}")
        recorder.draw(study)
        made = trials.made_by(study.best)
        values = search.config.values(study.best.params)
        for name, value in work.with_values(values).items():
            catalog[name].save(value)
        # MLRun has no public way to change the parameters that a run began with.
        known = context._parameters
        for other in [*known]:
            if any(f"{other}.".startswith(f"{name}.") for name in values):
                del known[other]
        known.update(recorded_parameters(values))
        for node in pipeline.nodes:
            if node not in trials.ran_once:
                is_made = node.outputs and made.keys() >= {*map(stem, node.outputs)}
                run(_giving(node, made) if is_made else node)

    def _try_all(
        self,
        search: Search,
        trials: "_Trials",
        study: Study,
        recorder: Recorder,
        earlier: Iterable[Trial],
    ) -> None:
        config, known = search.config, study.known
        end = time.monotonic() + (config.seconds or float("inf"))

        def asked() -> Iterator[Asked]:
            for number in range(1, config.trials + 1):
                enough = config.early_stop and study.since_best >= config.early_stop
                hopeless = study.best is None and study.since_best >= GIVE_UP
                if enough or hopeless or time.monotonic() > end:
                    return
                if number in known:
                    continue
                if (params := study.ask(number)) is None:
                    if config.sampler != "grid":  # of which the plan tells
                        told = (
                            "All combinations are tried, so the search ends after %d of %d trials."
                        )
                        LOG.warning(told, number - 1, config.trials)
                    return
                yield number, params, study.limits()

        values = []
        with _progress(config, study) as tell:
            for trial in chain(earlier, trials.run_all(asked(), search.jobs)):
                is_best = study.tell(trial)
                recorder.add(trial, is_best)
                tell(trial, is_best)
                values += [] if trial.value is None else [trial.value]
                if len(values) == SAME and len({*values}) == 1:
                    LOG.warning(
                        "%d trials have the same %s, so it may be one that the parameters don't "
                        "reach. Stop the search, and name another with --metric, unless it is "
                        "meant so.",
                        *(SAME, config.metric),
                    )


class _Trials:
    """Runs trials, and before the first one what all of them need."""

    def __init__(self, work: Work, catalog: CatalogProtocol, context: Any, run: Any) -> None:
        self._work, self._catalog, self._context, self._run = work, catalog, context, run
        self.ran_once = set[Node]()
        self.error = ""
        # What runs trials at once, if not processes.
        self.run_at_once: Callable[..., Iterator[Trial]] | None = None
        self._prepared: Prepared | None = None
        self._made = dict[int, Values]()  # by the best trial so far of this process

    def run_all(self, asked: Iterator[Asked], jobs: int) -> Iterator[Trial]:
        """Run trials as they are asked for, `jobs` at once as soon as one has succeeded."""
        best: float | None = None
        for number, params, limits in asked:
            trial, made = self._run_one(number, params, limits)
            self.error = trial.error
            if self._work.config.is_better(trial.value, best):
                best, self._made = trial.value, {number: made}
            yield trial
            if self._prepared and (jobs > 1 or self.run_at_once):
                from .pool import run_side_by_side

                yield from (self.run_at_once or run_side_by_side)(self._prepared, asked, jobs)

    def made_by(self, trial: Trial) -> Values:
        """Give what the best trial has made; one of another process is run once more."""
        if trial.number not in self._made:
            told = f"Trial {trial.number}, the best, is run again: another process has run it."
            note(__name__, told)
            again, self._made[trial.number] = self._run_one(trial.number, trial.params)
            if again.error:
                raise SearchError(
                    f"Trial {trial.number}, the best, failed when it was run again: {again.error}. "
                    "Give its nodes a seed, so that they do the same each time."
                )
        return self._made[trial.number]

    def _run_one(
        self, number: int, params: Params, limits: Steps | None = None
    ) -> tuple[Trial, Values]:
        if self._prepared:
            return self._prepared.run(number, params, limits)
        known = list[str]()
        # Which entry has the metric among its results, they only tell when they are there.
        for entry in self._work.entries:
            self._work.check_yields(entry)
            prepared = Prepared(self._work, entry, self._prepare(entry))
            trial, made = prepared.run(number, params, limits)
            if trial.results and self._work.config.metric not in trial.results:
                known += trial.results
                continue
            if not trial.error:
                if self._work.config.prune and not trial.pruned and len(trial.steps) < 2:  # noqa: PLR2004
                    raise SearchError(f"`prune` is true, and a trial has one step only. {YIELD}")
                self._prepared = prepared
            return trial, made
        raise no_metric(self._work.config.metric, known)

    def _prepare(self, entry: str) -> Values:
        """Run what all trials need, unless this very run has done so before it was killed."""
        for node in self._work.once(entry).nodes:
            if node not in self.ran_once:
                if not all(map(self._is_saved, node.outputs)):
                    self._run(node)
                self.ran_once.add(node)
        free = self._work.each_time(entry).inputs() - {*self._work.taken}
        return {stem(name): MemoryDataset(self._catalog.load(name)) for name in sorted(free)}

    def _is_saved(self, name: str) -> bool:
        dataset = run_dataset(self._catalog.get(name))
        if isinstance(dataset, MLRunResult):
            return PATHS + dataset.key in self._context.annotations
        return dataset is not None and dataset.key in self._context.artifact_uris


def _giving(node: Node, made: Values) -> Node:
    """Copy a node, so that it gives what that of the best trial has given."""
    given = copy.copy(node)

    def run(_: Any) -> dict[str, Any]:
        values = [made[stem(name)].load() for name in node.outputs]
        # Of what is yielded, Kedro saves each part.
        parts = [iter([each]) for each in values] if is_generator(node) else values
        return dict(zip(node.outputs, parts, strict=True))

    # Not by its function, which gives a dict where the node names its outputs by one.
    vars(given)["run"] = run
    return given


def _short(error: str) -> str:
    """Give what made a trial fail in a line: that of a library may have a stack trace."""
    return textwrap.shorten(visible(plain_refusal(error)), 300)


@contextmanager
def _progress(config: SearchConfig, study: Study) -> Iterator[Any]:
    """Show how far a search is: in a terminal by a bar, else and in the run's log in lines."""
    console = Console(stderr=True, highlight=False, markup=False)
    best = TextColumn("{task.description}")
    bar = Progress(MofNCompleteColumn(), BarColumn(), best, console=console, transient=True)
    bar.disable = not console.is_terminal

    def told() -> str:
        pruned = f", {study.pruned} pruned" if study.pruned else ""
        return f"best {config.metric} {shown(study.best.value)}{pruned}" if study.best else ""

    with bar:
        task = bar.add_task(told(), total=config.trials, completed=len(study.known))

        def tell(trial: Trial, is_best: bool) -> None:
            bar.update(task, advance=1, description=told())
            what = f"{config.metric} {shown(trial.value)}{', the best so far' * is_best}"
            what = f"failed: {_short(trial.error)}" if trial.error else trial.pruned or what
            start = moment(trial.started)
            seconds = f" ({took((datetime.now(UTC) - start).total_seconds())})" if start else ""
            line = f"Trial {trial.number} of {config.trials}{seconds}: {what}"
            note(__name__, line)
            if trial.error or bar.disable:
                console.print(line)

        yield tell
