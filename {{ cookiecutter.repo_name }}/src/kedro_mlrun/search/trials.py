"""The trials of a search: which are next, and what MLRun records of each and of all."""

import copy
import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ..lazy import mlrun
from ..runs.manager import MLRunContextManager
from ..runs.open_runs import Context, mlruns_own
from ..runs.provenance import plain, shortened
from ..secrets.known import hide, hide_in
from ..store.fields import flatten
from .config import SearchConfig
from .space import Params, filled, grid

SEARCH = "kedro.search"
"""The annotation of a search's run with what it was asked for."""

IMPORTANCE = "kedro.importance"
"""The annotation of a search's run with how much each parameter counts for the metric."""

TRIAL = "kedro.trial"
"""The annotation of an iteration with what its ranges and choices were."""

Record = dict[str, Any]


@dataclass(frozen=True)
class Trial:
    """One combination of parameters, and what came of it."""

    number: int
    params: Params
    value: float | None = None  # None where it failed
    results: Record = field(default_factory=dict)
    error: str = ""
    started: str = ""

    def is_better(self, other: "Trial | None", direction: str) -> bool:
        """Tell whether its metric is better than another trial's, or the first."""
        if self.value is None or other is None or other.value is None:
            return self.value is not None
        return self.value > other.value if direction == "maximize" else self.value < other.value

    @property
    def state(self) -> str:
        """The state of its iteration."""
        return "completed" if self.value is not None else "error"


def now() -> str:
    """Write the present time as MLRun does."""
    return datetime.now(UTC).isoformat()


class Study:
    """Optuna's study of a search, in memory: what was recorded is enough to make it again."""

    def __init__(self, config: SearchConfig, done: Sequence[Trial] = ()) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        # With the seed alone, one that goes on would ask for the first ones again.
        samplers: Any = {
            "tpe": optuna.samplers.TPESampler,
            "random": optuna.samplers.RandomSampler,
            "grid": optuna.samplers.RandomSampler,
        }
        sampler = samplers[config.sampler](seed=config.seed + len(done))
        self._study = optuna.create_study(direction=config.direction, sampler=sampler)
        self._config, self._asked = config, dict[int, Any]()
        self._grid = points(config) if config.sampler == "grid" else None
        self.best: Trial | None = None
        self.since_best = 0
        for trial in done:
            self._add(trial)

    def ask(self, number: int) -> Params | None:
        """Give what a trial is to be; None where the grid has no more."""
        if self._grid is not None:
            return self._grid[number - 1] if number <= len(self._grid) else None
        trial = self._asked[number] = self._study.ask()
        for name, space in self._config.space.items():
            filled(space, name, lambda name, each: each.suggest(trial, name))
        return dict(trial.params)

    def tell(self, trial: Trial) -> bool:
        """Learn what came of a trial, and tell whether it is the best so far."""
        from optuna.trial import TrialState

        if asked := self._asked.pop(trial.number, None):
            failed = None if trial.value is not None else TrialState.FAIL
            self._study.tell(asked, trial.value, state=failed)
            return self._note(trial)
        return self._add(trial)

    def _add(self, trial: Trial) -> bool:
        from optuna.trial import TrialState, create_trial

        distributions = dict[str, Any]()

        def known(name: str, each: Any) -> Any:
            distributions[name] = each.distribution()
            return trial.params[name]

        for name, space in self._config.space.items():
            filled(space, name, known)
        state = TrialState.FAIL if trial.value is None else TrialState.COMPLETE
        self._study.add_trial(
            create_trial(
                state=state, value=trial.value, params=trial.params, distributions=distributions
            )
        )
        return self._note(trial)

    def _note(self, trial: Trial) -> bool:
        is_best = trial.is_better(self.best, self._config.direction)
        self.best, self.since_best = (trial, 0) if is_best else (self.best, self.since_best + 1)
        return is_best

    def importance(self) -> dict[str, float]:
        """Tell how much each parameter that all trials have counts for the metric, of 1."""
        from optuna.importance import get_param_importances

        values = {trial.value for trial in self._study.trials if trial.value is not None}
        return get_param_importances(self._study) if len(values) > 1 else {}

    def plots(self) -> dict[str, Any]:
        """Draw the history and what counts, as Plotly's figures."""
        from optuna import visualization

        plots = {"optimization_history": visualization.plot_optimization_history(self._study)}
        if self.importance():
            plots["param_importances"] = visualization.plot_param_importances(self._study)
        return plots


def points(config: SearchConfig) -> list[Params]:
    """Give all that the trials of a grid are."""
    found: list[Params] = [{}]
    for name, space in config.space.items():
        found = [{**before, **each} for before in found for each in grid(space, name)]
    return found


class Recorder:
    """What is recorded of a search in its MLRun run: its trials are the run's iterations."""

    def __init__(self, context: Context, config: SearchConfig) -> None:
        self._context, self._config = context, config
        self._store = MLRunContextManager().store

    def begin(self, asked: Record) -> None:
        """Note what is asked for, so that the search can go on if it is killed."""
        self._context.set_annotation(SEARCH, json.dumps(asked))
        self._context.commit()

    def values(self, params: Params) -> Record:
        """Give a trial's parameters as they are recorded: by names with dots, no secrets."""
        flat = flatten(hide_in(plain(self._config.values(params))))
        return shortened(flat, "parameters")

    def add(self, trial: Trial, is_best: bool) -> None:
        """Record a trial, and that it is the best so far."""
        record: Record = copy.deepcopy(self._context.to_dict())
        metadata, spec = record["metadata"], record["spec"]
        metadata |= {"iteration": trial.number, "annotations": {TRIAL: json.dumps(trial.params)}}
        spec |= {"parameters": self.values(trial.params), "inputs": {}, "outputs": []}
        for name in ("hyperparams", "hyper_param_options"):
            spec.pop(name, None)
        record["status"] = {"state": trial.state, "results": trial.results, "artifact_uris": {}}
        record["status"] |= {"start_time": trial.started, "last_update": now()}
        record["status"] |= {"error": hide(trial.error)} if trial.error else {}
        # Not by a context of MLRun's, which would draw the charts again for each.
        of_run = self._context._uid, self._context.project
        self._store.store_run(record, *of_run, iter=trial.number)
        if is_best:
            self._context.log_results(
                {"best_iteration": trial.number, **trial.results}, commit=True
            )

    def trials(self) -> list[Trial]:
        """Give what is recorded, in order."""
        return recorded(self._store, self._context._uid, self._context.project, self._config)

    def end(self, study: Study) -> None:
        """Record the table of all trials, the best one, and the charts, as MLRun does."""
        import pandas as pd

        trials = self.trials()
        if not trials:
            return
        rows = [
            {"param": self.values(trial.params), "output": trial.results, **about}
            for trial in trials
            for about in [{"state": trial.state, "iter": trial.number}]
        ]
        table = pd.json_normalize(rows)
        header = [*table.columns]
        # Not all trials have all parameters, and JSON has no NaN.
        whole = table.astype(object).where(table.notna(), None).to_numpy().tolist()
        context, best = mlruns_own(self._context), study.best
        task = {"status": {"results": best.results}} if best else None
        context.log_iteration_results(best.number if best else 0, [header, *whole], task)
        self._context.set_annotation(IMPORTANCE, json.dumps(study.importance()))
        context.commit()
        try:
            mlrun.runtimes.utils.log_iter_artifacts(context, table, header)
            for key, figure in study.plots().items():
                context.log_artifact(mlrun.artifacts.PlotlyArtifact(key=key, figure=figure))
        except Exception as error:
            logging.getLogger(__name__).warning(
                "Not all charts of the search are recorded: %s. The search goes on.",
                str(error).rstrip("."),
            )


def recorded(store: Any, uid: str, project: str, config: SearchConfig) -> list[Trial]:
    """Give the trials that are recorded of a search, in order."""
    found: Iterable[Record] = store.list_runs(project=project, uid=uid, iter=True)
    trials = []
    for run in found:
        metadata, status = run["metadata"], run["status"]
        if text := (metadata.get("annotations") or {}).get(TRIAL):
            results = status.get("results") or {}
            value = results.get(config.metric) if status.get("state") == "completed" else None
            of = int(metadata["iteration"]), json.loads(text)
            trials.append(Trial(*of, value, results, status.get("error") or ""))
    return sorted(trials, key=lambda trial: trial.number)
