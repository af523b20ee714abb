"""How the fields of records are read."""

from datetime import datetime

import pytest

from kedro_mlrun.store import fields


@pytest.mark.parametrize(
    ("name", "expected"),
    [("__default__", "default"), ("data science", "data-science"), ("__", "kedro-mlrun-ctx")],
)
def test_a_run_has_a_name_that_mlrun_takes(name: str, expected: str) -> None:
    assert fields.run_name(name) == expected


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"target_path": "/data/forest/", "model_file": "model.pkl"}, "/data/forest/model.pkl"),
        ({"target_path": "s3://bucket/a.csv"}, "s3://bucket/a.csv"),
        ({"target_path": None}, ""),
    ],
)
def test_an_artifact_has_a_file(spec: dict[str, str], expected: str) -> None:
    assert fields.artifact_file({"spec": spec}) == expected


def test_a_uri_has_the_uid_of_the_artifact() -> None:
    assert fields.artifact_uid("store://models/iris/forest#0@f1c0^9e5a") == "9e5a"
    assert fields.artifact_uid("s3://bucket/a^b") == fields.artifact_uid(None) == ""


def test_an_artifact_has_the_run_that_made_it() -> None:
    made = {"spec": {"producer": {"kind": "run", "uri": "iris/f1c0-3"}}, "metadata": {"iter": 3}}
    assert fields.producer(made) == "f1c0"
    assert fields.producer({"spec": {"producer": {"kind": "project", "uri": "iris"}}}) == ""


def test_a_time_without_a_zone_is_utc() -> None:
    assert fields.moment("2026-11-21 10:00:00") == datetime.fromisoformat("2026-11-21T10:00:00Z")
    assert fields.moment("2026-11-21T10:00:00+09:00") == fields.moment("2026-11-21 01:00:00")
    assert fields.moment(None) is None
