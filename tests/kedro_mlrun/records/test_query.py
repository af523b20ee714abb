"""Runs that are chosen and sorted by their fields, with the store's index and without one."""

import sqlite3
import time
from contextlib import closing, suppress
from datetime import datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kedro_mlrun.records.query import Word, conditions, searched, select
from kedro_mlrun.records.records import RecordNotFoundError, Records
from kedro_mlrun.records.summaries import fields_of, summary, uid_of
from kedro_mlrun.store import rows
from kedro_mlrun.store.db import LocalRunDB
from kedro_mlrun.store.rescue import rescue

LONG, ODD = "long " * 50, "odd \ud800"
NUMBERS = [0, 1, 7, -3, 2**53 + 1, 10**18 + 1, 2**70, 0.1, 7.0, -0.0, 1e300]
NUMBERS += [float(text) for text in ("nan", "inf", "-inf")]
TEXTS = ["", "7", "7.0", "nan", "true", "TRUE", "True", "a", "B", "it's", "größer", "\0", LONG, ODD]
VALUES: list[Any] = [*NUMBERS, *TEXTS, True, False, None, [], [7], {}]
OPERATORS = ["=", "!=", "<", "<=", ">", ">="]

FEW_VALUES = st.sampled_from([0, 1, 2, 3, 0.5, float("nan"), True, False, "true", "b", None, ODD])
SECTION = st.dictionaries(st.sampled_from(["x", "x", "y", "id", ODD]), FEW_VALUES, max_size=2)
RUNS = st.fixed_dictionaries(
    {
        "parameters": SECTION,
        "results": SECTION,
        "later": st.just({}) | SECTION,
        "state": st.sampled_from(["completed", "completed", "error", "running"]),
        "commit": st.sampled_from(["c0ffee", "c0de", "123", "C0F", 12]),
    }
)
FIELDS = st.sampled_from(["x", "x", "results.x", "parameters.x", "y", "id", "params.id", ODD])
SEARCHES = [
    "",
    "boom",
    '"boom 1"',
    '": \\"é"',
    "traceback",
    "c0ff",
    "git-commit = c0f",
    "commit != c",
]
SEARCHES += ["git-commit = 12", "labels.git-commit <= c0f", "workflow = night", "id = iris-1"]
SEARCHES += ["took < 1h", "took >= 0.5", "started > 2020", "started <= 2020-01-01 10:00"]
SEARCHES += ["name = train", "name = 0", "state = error and x = 1", "state = err"]
CONDITIONS = st.builds(
    "{} {} {}".format, st.sampled_from("xy"), st.sampled_from(OPERATORS), st.sampled_from("0123b")
)


def store_runs(db: LocalRunDB, project: str, runs: list[dict[str, Any]]) -> None:
    for number, run in enumerate(runs):
        uid = f"{project}-{number}"
        body = {
            "metadata": {"name": "train", "labels": {"pipeline": f"{number % 2}"}},
            "spec": {"parameters": run["parameters"]},
            "status": {"state": run["state"], "results": run["results"]},
        }
        if run["state"] == "error":
            body["status"]["error"] = f'Boom {number}: "É\\n"\n\nTraceback of x = 2'
        body["metadata"]["labels"] |= {
            "git-commit": run.get("commit", "c0ffee"),
            "workflow": "nightly",
        }
        db.write_run(body, uid, project, 0)
        if run["later"]:
            db.add_to_run({"status": {"results": run["later"]}}, uid, project, 0)


def chosen(records: Records, **question: Any) -> list[str] | None:
    """Give the ids of the runs that are chosen, or None for a field that no run has."""
    try:
        return [uid_of(run) for run in select(records, **question)]
    except RecordNotFoundError:
        return None


def fresh(db: LocalRunDB, runs: list[dict[str, Any]]) -> None:
    """Let a store have these runs and no others, and a few in another project."""
    with db.transaction():
        db.connection.execute("DELETE FROM runs")
        store_runs(db, "other", runs[:2])
        store_runs(db, "iris", runs)


def both(db: LocalRunDB) -> list[Records]:
    """Give records that use the index, and those that look at each run, as on an MLRun API."""
    made = [Records(db, "iris"), Records(db, "iris")]
    made[1]._store = None
    return made


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> LocalRunDB:
    return LocalRunDB(f"sqlite:///{tmp_path_factory.mktemp('store')}/mlrun.db").connect()


def test_the_index_knows_values_of_every_kind(tmp_path: Path) -> None:
    """Law 4: a condition on any of them holds for the same runs as without an index."""
    db = LocalRunDB(f"sqlite:///{tmp_path}/mlrun.db").connect()
    with db.transaction():
        for number, value in enumerate(VALUES):
            run = {"spec": {"parameters": {"x": value}}, "status": {"state": "completed"}}
            db.write_run(run, f"u{number}", "iris", 0)
    records = Records(db, "iris")
    fields = {uid_of(run): fields_of(summary(run)) for run in records.runs(None)}
    for operator, value, quote in product(OPERATORS, [*NUMBERS, *TEXTS, True], ["", '"']):
        text = f"x {operator} {quote}{value}{quote}"
        # Without quotes, not every text can be compared with.
        with suppress(RecordNotFoundError):
            (condition,) = conditions([text])
            expected = [uid for uid, own in fields.items() if condition.holds(own)]
            assert chosen(records, where=[text], limit=None) == expected, text


def test_the_index_knows_what_comes_first(db: LocalRunDB) -> None:
    """Law 4: of values of every kind, of several fields of a name, and of runs that go on."""
    nan = float("nan")
    runs = [
        {"parameters": {"x": value}, "results": {}, "later": {}, "state": "completed"}
        for value in (1, True, 2, "b", nan, None, 0.5, 2, False, -1, "true", "NaN", "Infinity")
    ]
    runs += [{**runs[0], "state": "error"}, {**runs[2], "state": "running"}]
    # Beside a parameter, a result is another field.
    runs += [{**runs[0], "later": {"x": 9, "id": 9}}, {**runs[2], "results": {"x": -9, "id": -9}}]
    runs += [{**run, "parameters": {}, "results": {"x": 3}} for run in runs[-4:]]
    fresh(db, runs)
    sorts, limits = ["x", "results.x", "id"], [1, 2, 5, 9, 12, 14, 16]
    questions = product(sorts, [True, False], limits, [[], ["x != 2"]])
    for (sort, ascending, limit, where), pipeline in product(questions, ["", "1"]):
        question = {"sort": sort, "ascending": ascending, "limit": limit, "where": where}
        answers = [chosen(records, **question, pipeline=pipeline) for records in both(db)]
        assert answers[0] == answers[1] is not None, question


def test_a_field_is_known_that_only_a_run_that_is_not_shown_has(db: LocalRunDB) -> None:
    """Where there is no index, too: a value that is no number comes last."""
    run = {"parameters": {}, "results": {}, "later": {}, "state": "completed"}
    fresh(db, [run, {**run, "results": {"x": float("nan")}}, run])
    question = {"where": [], "sort": "x", "ascending": False, "limit": 1}
    found, expected = (chosen(records, **question) for records in both(db))
    assert found == expected == ["iris-2"]


@settings(max_examples=60, deadline=None)
@given(
    runs=st.lists(RUNS, min_size=1, max_size=9),
    where=st.lists(CONDITIONS, max_size=2),
    sort=st.just("") | FIELDS,
    ascending=st.booleans(),
    limit=st.sampled_from([1, 2, 4, None]),
    skip=st.sampled_from([0, 0, 1, 3]),
    states=st.sampled_from([[], ["completed"]]),
    few=st.sampled_from([0, 1, 1_000]),
    search=st.sampled_from(SEARCHES),
)
def test_the_index_changes_no_answer(
    db: LocalRunDB, runs: list[dict[str, Any]], few: int, states: list[str], **question: Any
) -> None:
    """Law 4: the same runs are chosen, in the same order, as without an index."""
    fresh(db, runs)
    with patch.object(rows, "FEW", few):
        found, expected = (chosen(records, **question, states=states) for records in both(db))
    # The index knows also what fields the runs in other states have.
    assert found == expected or (states and "None" in {str(found), str(expected)})


def index(path: Path) -> list[Any]:
    query = (
        "SELECT uid, coalesce(value_names.name, run_values.name), value FROM run_values "
        "JOIN runs ON runs.id = owner LEFT JOIN value_names ON value_names.id = run_values.name "
        "ORDER BY 1, 2"
    )
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def test_an_earlier_store_and_a_rescued_one_have_the_index(tmp_path: Path) -> None:
    """Law 12: that of a store that always had it."""
    db = LocalRunDB(f"sqlite:///{tmp_path}/mlrun.db").connect()
    run = {"later": {}, "state": "completed"}
    runs = [{**run, "parameters": {"x": value, ODD: 1}, "results": {"a": {}}} for value in VALUES]
    with db.transaction():
        store_runs(db, "iris", [*runs, {**runs[0], "state": "running"}])
    known = index(db.path)
    assert len(known) == 6 * len(runs) + 1
    assert index(rescue(db.path)) == known
    for change in ("DROP TABLE run_values", "DROP TABLE value_names", "PRAGMA user_version = 5"):
        db.connection.execute(change)
    db.close()
    assert index(db.connect().path) == known


def test_what_is_known_of_a_run_goes_with_it(tmp_path: Path) -> None:
    """Law 2: a field that only deleted runs had is none, and the others' stay."""
    db = LocalRunDB(f"sqlite:///{tmp_path}/mlrun.db").connect()
    records = Records(db, "iris")
    run = {"results": {"a": 1}, "later": {}, "state": "completed"}
    with db.transaction():
        store_runs(db, "iris", [{**run, "parameters": {name: 1}} for name in "xy"])
    db.del_run("iris-0", "iris")
    assert chosen(records, where=["x = 1"]) is None
    assert chosen(records, where=["a = 2"]) == []
    assert chosen(records, where=["a = 1", "y = 1"]) == ["iris-1"]


def test_a_filter_finds_what_pages_and_terminals_show(tmp_path: Path) -> None:
    """The beginning of an id or a commit, and a word of an error, without its traceback."""
    db = LocalRunDB(f"sqlite:///{tmp_path}/mlrun.db").connect()
    run = {"parameters": {"x": 1}, "results": {}, "later": {}, "state": "completed"}
    with db.transaction():
        store_runs(db, "iris", [run, {**run, "state": "error", "commit": "1234567"}] * 2)
    for records in both(db):
        for search, found in {
            "git-commit = c0ff": [2, 0],
            "git-commit = 12": [3, 1],
            "git-commit != 12": [2, 0],
            "id = iris-2": [2],
            "workflow = night": [],
            "BOOM": [3, 1],
            '"boom 3"': [3],
            "é": [3, 1],
            "traceback": [],
            "name = train and state = error": [3, 1],
        }.items():
            assert chosen(records, search=search) == [f"iris-{n}" for n in found], search
    assert both(db)[0].run_fields() >= {"params.x", "labels.git-commit"}
    assert "" not in both(db)[0].run_fields()


def test_a_damaged_text_does_not_keep_others_from_being_found(tmp_path: Path) -> None:
    """Bytes that are no UTF-8, as a disk may make them."""
    db = LocalRunDB(f"sqlite:///{tmp_path}/mlrun.db").connect()
    run = {"parameters": {"x": "größer"}, "results": {}, "later": {}, "state": "completed"}
    with db.transaction():
        store_runs(db, "iris", [run, {**run, "parameters": {"x": "b"}}])
        damaged = "UPDATE run_values SET value = CAST(x'FF62' AS TEXT) WHERE value = 'b'"
        assert db.connection.execute(damaged).rowcount == 1
    assert chosen(Records(db, "iris"), search="GRÖSSER") == []
    assert chosen(Records(db, "iris"), search="GRÖß") == ["iris-0"]


def test_what_is_no_number_comes_last(tmp_path: Path) -> None:
    """Also the other way round: a loss of NaN is not the smallest, and Infinity is a number."""
    db = LocalRunDB(f"sqlite:///{tmp_path}/mlrun.db").connect()
    run = {"parameters": {}, "later": {}, "state": "completed"}
    losses = ["NaN", 1.5, "Infinity", 0.5, "-Infinity", "text"]
    with db.transaction():
        store_runs(db, "iris", [{**run, "results": {"loss": value}} for value in losses])
    for records in both(db):
        for ascending, order in (True, [5, 4, 3, 1, 2, 0]), (False, [2, 1, 3, 4, 5, 0]):
            found = chosen(records, sort="loss", ascending=ascending)
            assert found == [f"iris-{n}" for n in order]


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/New_York"])
def test_times_are_those_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    """They are written as tables show them, or with a zone; of durations, also with a unit."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    db = LocalRunDB(f"sqlite:///{tmp_path}/mlrun.db").connect()
    for minute in range(3):
        start, end = (
            datetime(2026, 11, 27, 13, minute, second).astimezone() for second in (30, 30 + minute)
        )
        end += timedelta(milliseconds=minute)
        times = {"start_time": start.isoformat(), "end_time": end.isoformat()}
        run = {"status": {"state": "completed", **times}}
        db.write_run(run, f"iris-{minute}", "iris", 0)
    elsewhere = datetime(2026, 11, 27, 13, 1, 30).astimezone(ZoneInfo("Asia/Tokyo")).isoformat()
    for records in both(db):
        for search, found in {
            "started > '2026-11-27 13:01:00'": [2, 1],
            "started > 2026-11-27 13:01:30": [2],
            "started >= 2026-11-27T13:01:30": [2, 1],
            f"started <= {elsewhere}": [1, 0],
            f"started = {elsewhere}": [1],
            "started = 2026-11-27 13:01": [1],
            "started != 2026-11-27T13:01": [2, 0],
            "started > 2026-11": [2, 1, 0],
            "started < 2026": [],
            "started > 2025": [2, 1, 0],
            "took >= 1": [2, 1],
            "took < 2s": [1, 0],
            "took > 0.03m": [2],
            "took>0.03 m name = x": [],
            "took > 0.03 m started > 2026": [2],
            "took = '1.0 s'": [1],
            "took < 0:00:02": [1, 0],
            "started = 2026-11-27 13": [2, 1, 0],
            "took > 1 and started > 2025": [2, 1],
            "took != 1": [2, 0],
            f"started > {elsewhere.replace('T', ' ')}": [2],
        }.items():
            assert chosen(records, search=search) == [f"iris-{n}" for n in found], search
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x = 1 or y = 2", "is no condition"),
        ("not x = 1", "is no condition"),
        ("x in (1, 2)", "is no condition"),
        ("x && y", "is no condition"),
        ("x = 1 || y", "is no condition"),
        ("name ~ train", "is no condition"),
        ("auc > 0,5", "'0,5' is no number"),
        ("auc > 50%", "'50%' is no number"),
        ("started > yesterday", "'yesterday' is no time"),
        ("took > long", "'long' is no duration"),
        ("took > 3x", "'3x' is no duration"),
        ("took > 1.2.3s", "'1.2.3s' is no duration"),
        ("started = 20261127", "'20261127' is no time"),
    ],
)
def test_what_a_filter_cannot_say_is_refused(text: str, why: str) -> None:
    """Law 9: else `or` would be a word that no run has, and the list be empty."""
    with pytest.raises(RecordNotFoundError, match=why):
        searched(text)


def test_words_may_be_of_any_kind() -> None:
    """What would be refused beside a condition is a word without one; space doesn't count."""
    assert searched("~/data hello!" + " " * 100_000) == [Word("~/data"), Word("hello!")]
    assert searched("this or that") == [Word("this"), Word("or"), Word("that")]
