"""MLRunResult."""

import math
import re
import sys
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from helpers import Store
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kedro.io import DatasetError, Version

Dataset = import_module("kedro_mlrun.datasets").MLRunResult

NESTED = {
    "train": {"accuracy": 0.9, "n": 10},
    "val": {"accuracy": 0.85, "by class": {}},
    "ok": True,
}


def same(left: Any, right: Any) -> bool:
    if isinstance(left, dict) and isinstance(right, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float) and math.isnan(left):
        return isinstance(right, float) and math.isnan(right)
    return type(left) is type(right) and left == right


@pytest.mark.parametrize(
    "data",
    [
        0.95,
        3,
        "good",
        True,
        [1, 2.5],
        NESTED,
        {},
        math.nan,
        -math.inf,
        {"a": [math.inf, {"b": math.nan}]},
    ],
    ids=repr,
)
@pytest.mark.parametrize("flatten", [False, True])
def test_results_come_back(store: Store, data: Any, flatten: bool) -> None:
    """Law 1, in the same run and in a later process; NaN and infinity survive."""
    Dataset(key="metrics", flatten=flatten).save(data)
    assert same(Dataset(key="metrics", flatten=flatten).load(), data)
    store.new_process()
    assert same(Dataset(key="metrics", flatten=flatten).load(), data)


VALUES = st.recursive(
    st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text("ab.", max_size=3), VALUES, max_size=3))
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_nested_result_comes_back_or_is_refused(embedded: Store, data: Any) -> None:
    """Law 1: never changed in silence, not even where names with dots meet."""
    dataset = Dataset(key="metrics", flatten=True)
    try:
        dataset.save(data)
    except DatasetError as error:
        # Two of them meet in one name, or a text is one that stands for a number.
        assert re.search("would both be the result|stands for the number", str(error))
    else:
        assert same(dataset.load(), data)


def test_numpy_scalars_are_numbers(store: Store) -> None:
    """What scikit-learn returns is a number to MLRun."""
    data = {"a": np.float32(0.5), "b": np.int64(3), "c": np.bool_(True)}
    Dataset(key="metrics", flatten=True).save(data)
    assert same(Dataset(key="metrics", flatten=True).load(), {"a": 0.5, "b": 3, "c": True})


def test_flattened_names(store: Store) -> None:
    """Each value is a result of its own, named by its path, and is loaded by that name, too."""
    Dataset(key="metrics", flatten=True).save({"train": {"accuracy": 0.9}, "loss": 0.1})
    run = store.manager.current
    assert run.results == {"train.accuracy": 0.9, "loss": 0.1}
    assert Dataset(key="train.accuracy").load() == 0.9
    store.new_process()
    assert Dataset(key="loss").load() == 0.1


def test_one_round_trip(embedded: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law 6: a dict of a hundred metrics is one call."""
    run = embedded.manager.open_run("training")
    calls = []
    transaction = run._rundb.transaction

    def counted() -> Any:
        calls.append("a transaction")
        return transaction()

    monkeypatch.setattr(run._rundb, "transaction", counted)
    Dataset(key="metrics", flatten=True).save({f"m{number}": number for number in range(100)})
    assert len(calls) == 1


def test_versions_are_runs(store: Store) -> None:
    """Results of any earlier run can be loaded; by default those of the newest that has them."""
    uids = []
    for number in range(2):
        uids.append(store.manager.open_run("training").uid)
        Dataset(key="metrics", flatten=True).save({"a": {"b": number}})
        store.new_process()
    store.manager.open_run("other")
    assert Dataset(key="metrics", flatten=True).load() == {"a": {"b": 1}}
    for number, uid in enumerate(uids):
        expected = {"a": {"b": number}}
        assert Dataset(key="metrics", flatten=True, load_args={"uid": uid}).load() == expected
        assert Dataset(key="metrics", flatten=True, version=Version(uid, None)).load() == expected


def test_results_that_mlrun_logged(store: Store) -> None:
    """What a handler logged with MLRun's own `log_result` loads too."""
    store.manager.open_run("train-main").log_result("accuracy", 0.9)
    assert Dataset(key="accuracy").load() == 0.9
    store.new_process()
    assert Dataset(key="accuracy").load() == 0.9


def test_two_datasets_keep_apart(store: Store) -> None:
    """Law 1: a dataset never overwrites the results of another one; law 4: whichever is first."""
    first, second = Dataset(key="metrics", flatten=True), Dataset(key="eval_metrics", flatten=True)
    first.save({"accuracy": 0.9, "loss": 0.1})
    second.save({"accuracy": 0.8})
    expected = {"metrics.accuracy": 0.9, "loss": 0.1, "eval_metrics.accuracy": 0.8}
    assert store.manager.current.results == expected
    (recorded,) = store.manager.run_db.list_runs(project=store.project)
    assert recorded["status"]["results"] == expected
    first.save({"accuracy": 0.7})
    store.new_process()
    assert first.load() == {"accuracy": 0.7}
    assert second.load() == {"accuracy": 0.8}


def test_a_save_does_not_look_at_all_results(embedded: Store) -> None:
    """Law 7: it takes as much work in a run with many results as in one with few."""

    def work(number: int) -> int:
        calls = 0

        def count(*_: Any) -> None:
            nonlocal calls
            calls += 1

        dataset = Dataset(f"m{number}", flatten=True)
        sys.setprofile(count)
        try:
            dataset.save({f"r{number}": {"n": number}})
        finally:
            sys.setprofile(None)
        return calls

    embedded.manager.open_run("training")
    counts = [work(number) for number in range(202)][2:]
    # The record is written whole only now and then.
    assert sum(counts[100:]) <= 1.1 * sum(counts[:100])
    assert len(embedded.manager.current.results) == 202


def test_others_may_add_to_a_run(embedded: Store) -> None:
    """Law 1: what a worker process has saved keeps its name apart from what is saved later."""
    Dataset(key="a.metrics", flatten=True).save({"b": {"x": 1}})
    context = embedded.manager.current
    for number in range(2):
        context.set_annotation(f"kedro-mlrun.result.worker{number}", f'[["y{number}", ["y"]]]')
        context.log_result(f"y{number}", number)
    Dataset(key="metrics", flatten=True).save({"y": 3})
    assert Dataset(key="metrics", flatten=True).load() == {"y": 3}
    expected = {"a.b.x": 1, "worker0.y": 0, "worker1.y": 1, "metrics.y": 3}
    assert embedded.manager.current.results == expected


KEYS = ["m", "n", "m.n", "m.m", "n.m"]


@given(st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from([*range(7)])), max_size=6))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_names_do_not_depend_on_the_order(embedded: Store, saves: list[tuple[str, int]]) -> None:
    """Law 4: what is saved one by one has the names that it has when a run is read anew."""
    values: list[Any] = [1, {"m": 2}, {"n": {"m": 3}}, {"m": 4, "n": 5}, {}, {"m.n": 6}, {"x": 7}]
    embedded.new_process()
    context, saved = embedded.manager.open_run("training"), dict[str, Any]()
    for key, number in saves:
        try:
            Dataset(key, flatten=True).save(values[number])
        except DatasetError as error:
            assert "two values would both be" in str(error)
        else:
            saved.pop(key, None)
            saved[key] = values[number]
    for key, value in saved.items():
        assert same(Dataset(key, flatten=True).load(), value)
    recorded = context.annotations
    for key in reversed(saved):
        context._annotations.pop(f"kedro-mlrun.result.{key}")
    for key in reversed(saved):
        Dataset(key, flatten=True).save(saved[key])
    assert context.annotations == recorded


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")], ids=str)
def test_results_of_namespaces_have_their_names(embedded: Store, order: tuple[str, str]) -> None:
    """Law 4: a result has the same name whichever namespace is saved first."""
    for namespace in order:
        Dataset(key=f"{namespace}.metrics", flatten=True).save({"by": namespace})
    assert embedded.manager.current.results == {"a.by": "a", "b.by": "b"}
    assert Dataset(key="a.metrics", flatten=True).load() == {"by": "a"}


def test_results_by_tree(store: Store) -> None:
    """The tree of a run that is in no workflow is its id, as it is for its artifacts."""
    uid = store.manager.open_run("training").uid
    Dataset(key="accuracy").save(0.9)
    store.new_process()
    store.manager.open_run("training")
    Dataset(key="accuracy").save(0.8)
    assert Dataset(key="accuracy", load_args={"tree": uid}).load() == 0.9


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({1: 0.5}, "has keys that are no text.*name results by text"),
        ({"a": (1, 2)}, "metrics.a is a tuple"),
        (np.zeros(2), "is a ndarray"),
        ({"a": 2**64}, "more than 64 bits"),
        ({"a": "NaN"}, "stands for the number"),
        ({"a": {"b": 1}, "a.b": 2}, "would both be the result 'a.b'"),
    ],
    ids=str,
)
def test_what_would_change_is_refused(embedded: Store, data: Any, reason: str) -> None:
    """What MLRun would give back otherwise is refused, with the place and the reason."""
    with pytest.raises(DatasetError, match=reason):
        Dataset(key="metrics", flatten=True).save(data)
    assert not embedded.manager.context.results


def test_missing_results_are_named(store: Store) -> None:
    """Never a silent None: key, project, store and what to do."""
    with pytest.raises(DatasetError) as error:
        Dataset(key="nothing").load()
    for part in ("'nothing'", store.project, store.dbpath, "Run the pipeline that saves it"):
        assert part in str(error.value)
    assert not Dataset(key="nothing").exists()
    Dataset(key="nothing").save(1)
    assert Dataset(key="nothing").exists()


def test_unknown_arguments_are_named() -> None:
    """A misspelt argument is an error that names it."""
    with pytest.raises(DatasetError, match="'comit'"):
        Dataset(key="metrics", save_args={"comit": True})
    with pytest.raises(DatasetError, match="'tag'"):
        Dataset(key="metrics", load_args={"tag": "x"})
