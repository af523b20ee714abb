"""What is recorded of a search's trials, and at what price."""

import pytest
from helpers import Store

from kedro_mlrun.records.records import Records
from kedro_mlrun.records.summaries import trials_of
from kedro_mlrun.search import trials
from kedro_mlrun.search.config import SearchConfig
from kedro_mlrun.search.trials import Recorder, Study, Trial
from kedro_mlrun.store.store import Store as LightStore


def test_a_late_trial_costs_what_an_early_one_did(embedded: Store) -> None:
    """Recording one writes it, and its run where it is the best; it reads no other."""
    config = SearchConfig(metric="score", parameters={"x": "float(0, 1)"}, trials=40)
    context = embedded.manager.open_run("search")
    store = embedded.manager.store
    assert isinstance(store, LightStore)
    recorder, study, costs = Recorder(context, config), Study(config), list[tuple[bool, int]]()
    statements = list[str]()
    store.connection.set_trace_callback(statements.append)
    for number in range(1, config.trials + 1):
        params = study.ask(number)
        assert params is not None
        # Better and worse ones in turn.
        value = float(number * (-1) ** number)
        trial = Trial(number, params, value, {"score": value}, started="2026-01-01")
        statements.clear()
        recorder.add(trial, is_best := study.tell(trial))
        costs.append((is_best, len(statements)))
    store.connection.set_trace_callback(None)
    # One that is best, and one that isn't.
    assert (costs[1], costs[2]) == (costs[37], costs[38])
    assert [trial.params for trial in recorder.trials()] == [
        trial.params for trial in Study(config, recorder.trials())._optuna.trials
    ]


def test_a_search_that_goes_on_has_its_trials(
    embedded: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From time to time; what the run is committed with later takes none of them away."""
    monkeypatch.setattr(trials, "EVERY", 0)
    monkeypatch.setattr(trials, "SHARE", float("inf"))
    config = SearchConfig(metric="score", parameters={"x": "float(0, 1)"}, trials=3)
    context, records = (
        embedded.manager.open_run("search"),
        Records(embedded.manager.db, embedded.project),
    )
    recorder, study = Recorder(context, config), Study(config)
    for number in (1, 2, 3):
        params = study.ask(number)
        assert params is not None
        value = float(number)
        trial = Trial(number, params, value, {"score": value}, started="2026-01-01")
        recorder.add(trial, study.tell(trial))
        context.log_results({"other": number}, commit=True)
        run = records.run("last")
        found = [each["output.score"] for each in trials_of(run)]
        assert (found, run["status"]["state"]) == ([1.0, 2.0, 3.0][:number], "running")
