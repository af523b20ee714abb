"""The trials of a search: which are next, and what MLRun records of each and of all."""

import copy
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from itertools import accumulate, islice
from statistics import median
from typing import TYPE_CHECKING, Any

from ..lazy import mlrun
from ..runs.dataset import run_dataset
from ..runs.manager import MLRunContextManager
from ..runs.open_runs import Context, iteration_of, mlruns_own
from ..runs.provenance import plain, shortened
from ..secrets.known import hide, hide_in
from ..store.fields import IMPORTANCE, TRIAL, flatten
from ..store.rows import Record, now
from ..text import shown
from .config import SearchConfig
from .space import Params, filled

if TYPE_CHECKING:
    import pandas as pd

Steps = dict[int, float]  # the metric after each step of a trial, or what it must not be worse than
Asked = tuple[int, Params, Steps]  # a trial's number, and what it is to be
STEPS = f"{TRIAL}.steps"  # an annotation of an iteration
STARTUP = 5  # trials that have to end before one is pruned, as of Optuna's MedianPruner
EVERY, SHARE = 2, 0.05  # seconds until the table is written anew, and the share of time for that
ASKED = 5  # times that Optuna is asked for what was not tried yet


@dataclass(frozen=True)
class Trial:
    """One combination of parameters, and what came of it."""

    number: int
    params: Params
    value: float | None = None  # of the metric; None where it failed or was pruned
    results: Record = field(default_factory=dict)
    error: str = ""
    started: str = ""
    steps: Steps = field(default_factory=dict)
    pruned: str = ""  # where, and why
    kept: dict[str, Any] = field(default_factory=dict, repr=False)  # data for catalog entries

    @property
    def state(self) -> str:
        """The state of its iteration."""
        return "aborted" if self.pruned else "error" if self.value is None else "completed"


class Study:
    """Optuna's study of a search, in memory: what was recorded is enough to make it again."""

    def __init__(self, config: SearchConfig, done: Sequence[Trial] = ()) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        kind = "TPESampler" if config.sampler == "tpe" else "RandomSampler"
        # With the seed alone, one that goes on would ask for the first ones again.
        sampler = getattr(optuna.samplers, kind)(seed=config.seed + len(done))
        self._optuna = optuna.create_study(direction=config.direction, sampler=sampler)
        self._state = optuna.trial.TrialState
        self._config, self._asked = config, dict[int, Any]()
        self._tried = set[frozenset[Any]]()
        grid = islice(config.points(), config.trials) if config.sampler == "grid" else ()
        self._grid = [*grid]
        self.best: Trial | None = None
        self.since_best, self.known = 0, {trial.number for trial in done}
        self._ended, self.pruned = list[Steps](), 0
        for trial in done:
            self._ask(trial.number, trial.params)
            self.tell(trial)

    def ask(self, number: int) -> Params | None:
        """Give what a trial is to be, which none was before; None where there is no more."""
        if self._config.sampler == "grid":
            return self._ask(number, self._grid[number - 1]) if number <= len(self._grid) else None
        for _ in range(ASKED):
            before, params = len(self._tried), self._ask(number)
            if len(self._tried) > before:
                return params
            self._optuna.tell(self._asked.pop(number), state=self._state.FAIL)
        # Optuna keeps to what is best, also where little is left beside it.
        points = self._config.points()
        try:
            left = next((p for p in points if frozenset(p.items()) not in self._tried), None)
        except ValueError:  # of a range without steps, which has always more
            return self._ask(number)
        return self._ask(number, left) if left else None

    def go_on_with(self, number: int, params: Params) -> None:
        """Take a trial that was asked for earlier, and whose end is to be told."""
        self.known.add(number)
        self._ask(number, params)

    def _ask(self, number: int, known: Params | None = None) -> Params:
        if known is not None:
            self._optuna.enqueue_trial(known)
        trial = self._asked[number] = self._optuna.ask()
        for name, space in self._config.space.items():
            filled(space, name, lambda name, each: each.suggest(trial, name))
        self._tried.add(frozenset(trial.params.items()))
        return dict(trial.params)

    def tell(self, trial: Trial) -> bool:
        """Learn what came of a trial, and tell whether it is the best so far."""
        states = {"aborted": self._state.PRUNED, "error": self._state.FAIL}
        asked = self._asked.pop(trial.number)
        for step, value in trial.steps.items():
            asked.report(value, step)
        self._optuna.tell(asked, trial.value, states.get(trial.state, self._state.COMPLETE))
        self.pruned += trial.state == "aborted"
        self._ended += [trial.steps] if trial.value is not None else []
        is_best = self._config.is_better(trial.value, self.best.value if self.best else None)
        self.best, self.since_best = (trial, 0) if is_best else (self.best, self.since_best + 1)
        return is_best

    def limits(self) -> Steps:
        """Give what the next trial must not be worse than, by step: the median of those that ended.

        The rule is that of Optuna's MedianPruner, without the last step, when all is done.
        """
        if len(self._ended) < STARTUP:
            return {}
        last = max(max(steps, default=0) for steps in self._ended)
        return {
            step: median(steps[step] for steps in self._ended if step in steps)
            for step in sorted({step for steps in self._ended for step in steps} - {last})
        }

    def importance(self) -> dict[str, float]:
        """Tell how much each parameter that all trials have counts for the metric, of 1."""
        from optuna.importance import get_param_importances

        values = {each.value for each in self._optuna.get_trials(states=[self._state.COMPLETE])}
        return get_param_importances(self._optuna) if len(values) > 1 else {}


class Recorder:
    """What is recorded of a search in its MLRun run: its trials are the run's iterations."""

    def __init__(self, context: Context, config: SearchConfig, catalog: Any = None) -> None:
        self._context, self._config, self._catalog = context, config, catalog
        self._store, self._of_run = MLRunContextManager().store, (context._uid, context.project)
        self._write_again = time.monotonic() + EVERY

    def trials(self) -> list[Trial]:
        """Give the trials that are recorded, in order."""
        uid, project = self._of_run
        trials = []
        for run in self._store.list_runs(project=project, uid=uid, iter=True):
            metadata, status = run["metadata"], run["status"]
            annotations = metadata.get("annotations") or {}
            # Of one that still runs, a search that was killed has some artifacts.
            if (text := annotations.get(TRIAL)) and status.get("state") != "running":
                results, error = status.get("results") or {}, status.get("error") or ""
                pruned = status.get("status_text") or ""
                value = None if error or pruned else results.get(self._config.metric)
                steps = {int(n): v for n, v in json.loads(annotations.get(STEPS) or "{}").items()}
                number, params = int(metadata["iteration"]), json.loads(text)
                trials.append(Trial(number, params, value, results, error, "", steps, pruned))
        return sorted(trials, key=lambda trial: trial.number)

    def add(self, trial: Trial, is_best: bool) -> None:
        """Record a trial, and whether it is the best so far."""
        record: Record = copy.deepcopy(self._context.to_dict())
        annotations = {TRIAL: json.dumps(trial.params)}
        annotations |= {STEPS: json.dumps(trial.steps)} if trial.steps else {}
        record["metadata"] |= {"iteration": trial.number, "annotations": annotations}
        parameters = recorded_parameters(self._config.values(trial.params))
        record["spec"] |= {"parameters": parameters, "inputs": {}, "outputs": []}
        status = {"state": trial.state, "results": trial.results, "artifact_uris": {}}
        status |= {"start_time": trial.started, "last_update": now()}
        status |= {"error": hide(trial.error)} if trial.error else {}
        record["status"] = status | ({"status_text": trial.pruned} if trial.pruned else {})
        if trial.kept:
            record["status"]["artifact_uris"] = self._keep(trial, copy.deepcopy(record))
        # Not by a child context of MLRun's, which would draw the charts again for each.
        self._store.store_run(record, *self._of_run, iter=trial.number)
        if is_best:
            self._say_best(trial)
        if (start := time.monotonic()) > self._write_again:
            self._write_table()
            # Of very many trials less often, for each time it has all of them.
            self._write_again = start + max(EVERY, (time.monotonic() - start) / SHARE)

    def _keep(self, trial: Trial, record: Record) -> Record:
        """Record what a trial has made as artifacts of its iteration, and give their URIs."""
        record["status"]["state"] = "running"
        iteration = iteration_of(self._context, record)
        for name, data in trial.kept.items():
            dataset: Any = copy.copy(run_dataset(self._catalog[name]))
            # A tag names one of all trials: the best.
            dataset._save_args = {k: v for k, v in dataset._save_args.items() if k != "tag"}
            given = {name: trial.kept.get(name, self._catalog[name]) for name in dataset.uses}
            dataset.see({name: each.load() for name, each in given.items()})
            with MLRunContextManager().logging_to(iteration, dataset.run_id):
                dataset.save(data.load())
        return dict(iteration.artifact_uris)

    def _say_best(self, best: Trial) -> None:
        self._context.log_results({"best_iteration": best.number, **best.results}, commit=True)

    def sum_up(self, study: Study) -> None:
        """Record the table of all trials as MLRun does, the best one, and what counts."""
        if not self._write_table():
            return
        if study.best:
            # A search that goes on may have been killed before it could say so.
            self._say_best(study.best)
        self._context.set_annotation(IMPORTANCE, json.dumps(study.importance()))
        self._context.commit()

    def _write_table(self) -> bool:
        """Record the table of the trials so far, if there are any."""
        table = self._table()
        if table.empty:
            return False
        # Not all trials have all parameters, and JSON has no NaN.
        rows = table.astype(object).where(table.notna(), None).to_numpy().tolist()
        uid, project = self._of_run
        # Not by MLRun's context, which takes seconds to import, and may be stopped by Ctrl-C.
        self._store.update_run({"status.iterations": [[*table.columns], *rows]}, uid, project)
        return True

    def draw(self, study: Study) -> None:
        """Record the charts: that which MLRun makes of a sweep, the history, and what counts.

        Only the first has Plotly in its file, of 5 MB.
        """
        context: Any = mlruns_own(self._context)
        table = self._table()
        try:
            mlrun.runtimes.utils.log_iter_artifacts(context, table, [*table.columns])
            for key, figure in self._plots(study).items():
                file = BytesIO()
                figure.savefig(file, format="png")
                context.log_artifact(key, body=file.getvalue(), format="png")
        except Exception as error:
            why = str(error).rstrip(".")
            log = logging.getLogger(__name__)
            log.warning("Some charts aren't recorded: %s. The search goes on.", why)

    def _plots(self, study: Study) -> dict[str, Any]:
        # Not by pyplot, which may want a screen.
        from matplotlib.figure import Figure

        done = {trial.number: trial.value for trial in self.trials() if trial.value is not None}
        best_of = max if self._config.direction == "maximize" else min
        best = [*accumulate(done.values(), best_of)]
        plots = {"optimization_history": Figure(layout="constrained")}
        axes = plots["optimization_history"].subplots()
        axes.plot([*done], [*done.values()], "o", label="trial")
        axes.step([*done], best, where="post", label="best so far")
        axes.set(xlabel="trial", ylabel=self._config.metric)
        axes.legend()
        if importance := study.importance():
            plots["param_importances"] = Figure(layout="constrained")
            axes = plots["param_importances"].subplots()
            axes.barh([*importance][::-1], [*importance.values()][::-1])
            axes.set(xlabel=f"importance for {self._config.metric}")
        return plots

    def _table(self) -> "pd.DataFrame":
        import pandas as pd

        return pd.json_normalize(
            [
                {
                    "param": recorded_parameters(self._config.values(trial.params)),
                    "output": trial.results,
                    "state": trial.state,
                    "iter": trial.number,
                }
                for trial in self.trials()
            ]
        )


def why_pruned(config: SearchConfig, steps: Steps, limits: Steps) -> str:
    """Tell why a trial ends at its last step so far; "" where it goes on."""
    step, best_of = max(steps), max if config.direction == "maximize" else min
    best = best_of(steps.values())
    limit = limits.get(step)
    if limit is None or not config.is_better(limit, best):
        return ""
    what = f"{config.metric} was {shown(best)} at best"
    return f"Pruned at step {step}: {what}, and the median of other trials is {shown(limit)}."


def recorded_parameters(values: Record) -> Record:
    """Give values of parameters as they are recorded: by names with dots, without secrets."""
    return shortened(flatten(hide_in(plain(values))))
