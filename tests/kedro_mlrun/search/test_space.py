"""What search.yml may say, and what Optuna makes of it."""

from statistics import mean
from typing import Any

import pytest

from kedro_mlrun.search.config import SearchConfig, SearchError
from kedro_mlrun.search.space import Choice, Range, space_of
from kedro_mlrun.search.trials import Study, Trial

FOREST = {
    "estimator": "sklearn.ensemble.RandomForestClassifier",
    "arguments": {"depth": "int(2, 9)"},
}
LINEAR = {
    "estimator": "sklearn.linear_model.Ridge",
    "arguments": {"alpha": "log(0.01, 100)", "solver": "svd"},
}


class Loader:
    """Kedro's configuration loader, of which a search.yml is asked."""

    conf_source = "conf"

    def __init__(self, found: dict[str, Any]) -> None:
        self.found = found

    def __getitem__(self, name: str) -> Any:
        return {"search": self.found}[name]


def config(**found: Any) -> SearchConfig:
    return SearchConfig.load(Loader({"metric": "score", **found}), {}, {})


def run(study: Study, config: SearchConfig, surface: Any, first: int = 1) -> list[Trial]:
    found = []
    for number in range(first, config.trials + 1):
        if (params := study.ask(number)) is None:
            break
        found.append(Trial(number, params, surface(config.values(params))))
        study.tell(found[-1])
    return found


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("int(2, 12)", Range(2, 12)),
        ("int(2,12, 5)", Range(2, 12, 5)),
        ("float(0, 1)", Range(0.0, 1.0)),
        ("log(1e-3, 10)", Range(0.001, 10.0, log=True)),
        ("choice(gini, entropy)", Choice({"gini": "gini", "entropy": "entropy"})),
        ("choice(null, 1e-3, 3, true)", Choice({None: None, 0.001: 0.001, 3: 3, True: True})),
        ("choice(2024-01-31, x)", Choice({"2024-01-31": "2024-01-31", "x": "x"})),
        ("squared_error", "squared_error"),
    ],
)
def test_what_is_written_is_what_is_searched(text: str, read: Any) -> None:
    assert space_of(text) == read
    assert type(getattr(space_of(text), "low", 0)) is type(getattr(read, "low", 0))


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"parameters": {"x": "int(2)"}}, "x: 'int(2)' can't be read"),
        ({"parameters": {"x": "int(0.5, 2)"}}, "can't be read (invalid literal for int()"),
        (
            {"parameters": {"x": "float(3, 1)"}},
            "done (x: 'float(3, 1)' needs a low and a higher number",
        ),
        ({"parameters": {"x": "log(0, 1)"}}, "those of log more than 0"),
        ({"parameters": {"x": "float(0, 1, 2)"}}, "needs a step that fits between"),
        ({"parameters": {"x": "uniform(0, 1)"}}, "'uniform(0, 1)' is no range: write int(2, 12)"),
        ({"parameters": {"x": "choice(1)"}}, "a choice needs two values or more"),
        ({"parameters": {"x": 7}}, "x: 7 has no range; set it in parameters instead"),
        ({"parameters": {"x": "float(0, 1)"}, "sampler": "grid"}, "x: a grid needs steps"),
        ({"parameters": {}}, "parameters: Dictionary should have at least 1 item"),
        ({}, "(parameters: Field required). The keys"),
        ({"parameters": {"x": "int(1, 2)"}, "trails": 3}, "Did you mean 'trials'?"),
        ({"parameters": {"x": "int(1, 2)"}, "trials": 0}, "trials: Input should be greater"),
        ({"parameters": {"x": "int(1, 2)"}, "direction": "up"}, "direction: Input should be"),
    ],
)
def test_what_cant_be_searched_is_said_with_name_and_value(found: Any, said: str) -> None:
    with pytest.raises(SearchError) as error:
        config(**found)
    assert said in str(error.value)


def test_an_estimator_comes_with_its_own_arguments() -> None:
    """A choice replaces the parameter as a whole: the arguments of one never reach another."""
    both = config(parameters={"model": {"choice": [FOREST, LINEAR]}}, sampler="random", trials=30)
    seen = set()
    for trial in run(Study(both), both, lambda values: 0.0):
        (model,) = both.values(trial.params).values()
        seen.add((model["estimator"], *model["arguments"]))
    assert seen == {
        ("sklearn.ensemble.RandomForestClassifier", "depth"),
        ("sklearn.linear_model.Ridge", "alpha", "solver"),
    }


def test_a_grid_has_each_combination_once() -> None:
    kinds = {"choice": [{"kind": "a", "n": "int(1, 3)"}, {"kind": "b"}]}
    all_of = config(parameters={"kind": kinds, "x": "float(0, 1, 0.5)"}, sampler="grid", trials=99)
    tried = run(Study(all_of), all_of, lambda values: 0.0)
    assert len(tried) == (3 + 1) * 3 == len([*all_of.points()])
    assert len({tuple(sorted(trial.params.items())) for trial in tried}) == len(tried)


def test_of_a_grid_only_what_is_tried_is_made() -> None:
    """However many points it has."""
    space = {"x": f"int(1, {10**12})", "y": f"int(1, {10**12})"}
    huge = config(parameters=space, sampler="grid", trials=2)
    tried = [trial.params for trial in run(Study(huge), huge, lambda values: 0.0)]
    assert tried == [{"x": 1, "y": 1}, {"x": 1, "y": 2}]


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid"])
def test_a_study_that_goes_on_asks_for_nothing_again(sampler: str) -> None:
    """Also where its seed is the same, and less was done than a sampler begins with."""
    space = {"x": "float(0, 1)" if sampler != "grid" else "float(0, 1, 0.05)"}
    wanted = config(parameters=space, sampler=sampler, trials=16)
    done = run(Study(wanted), wanted.model_copy(update={"trials": 8}), lambda values: values["x"])
    more = run(Study(wanted, done), wanted, lambda values: values["x"], first=9)
    assert len({trial.params["x"] for trial in done + more}) == 16


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid"])
@pytest.mark.filterwarnings("error")
def test_no_combination_is_tried_twice(sampler: str) -> None:
    """A small space is tried whole, also by a study that goes on, and then there is no more."""
    space = {"x": "float(0.1, 0.75, 0.1)", "kind": {"choice": [{"n": "int(1, 2)"}, "other"]}}
    small = config(parameters=space, sampler=sampler, trials=99)
    done = run(Study(small), small.model_copy(update={"trials": 15}), lambda values: values["x"])
    more = run(Study(small, done), small, lambda values: values["x"], first=16)
    assert len(done + more) == len({str(sorted(each.params.items())) for each in done + more}) == 21


def test_tpe_finds_more_than_random_search() -> None:
    """On a made surface, of 40 trials, over 20 seeds."""

    def surface(values: dict[str, Any]) -> float:
        far = (values["x"] - 0.2) ** 2 + (values["y"] - 0.7) ** 2
        return -far - (0.3 if values["kind"] == "bad" else 0)

    space = {"x": "float(0, 1)", "y": "float(0, 1)", "kind": "choice(good, bad)"}
    best: dict[str, list[float]] = {"tpe": [], "random": []}
    for sampler, values in best.items():
        for seed in range(20):
            wanted = config(parameters=space, sampler=sampler, trials=40, seed=seed)
            study = Study(wanted)
            run(study, wanted, surface)
            assert study.best
            values.append(study.best.value or 0)
    assert mean(best["tpe"]) > mean(best["random"])
    assert sum(map(float.__gt__, best["tpe"], best["random"])) >= 13  # chance: one time in eight
