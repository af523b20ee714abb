"""How the fields of records are read."""

import copy
from datetime import datetime
from typing import Any

import mlrun
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


@pytest.mark.parametrize(
    "uri",
    [
        *("forest", "iris/forest", "iris/forest#3:good@f1c0^9e5a", "forest@f1c0", "forest:a.b-c"),
        *("store://models/iris/forest#0@f1c0^9e5a", "store://iris/forest", "store://models/forest"),
        *("store://llm-prompts/iris/ask:latest", "store://irises/forest", "store://artifacts/a/b/"),
        *("~for", "", "a b", "forest^", ":good"),
    ],
)
def test_artifacts_are_named_as_mlrun_has_it(uri: str) -> None:
    """Law 6: a URI, or a part of one, means the same without MLRun."""
    text = mlrun.datastore.parse_store_uri(uri)[1] or uri
    names = ("project", "key", "iter", "tag", "tree", "uid")
    parts = zip(names, mlrun.utils.parse_artifact_uri(text, ""), strict=True)
    told = {name: str(part) for name, part in parts if part}
    named = fields.artifact_named(uri)
    assert {**named, "iter": named.get("iter", "0")} == {"iter": "0", **told}


@pytest.mark.parametrize("kind", ["artifact", "model", "dataset", "plot", "llm-prompt", "document"])
@pytest.mark.parametrize("more", [{}, {"iter": 0, "tree": "f1c0", "tag": "good"}, {"uid": "9e5a"}])
def test_an_artifact_has_the_uri_that_mlrun_gives_it(kind: str, more: dict[str, Any]) -> None:
    """Law 6: without its tag, which may move on."""
    metadata = {"key": "forest", "project": "iris", **more}
    record = {"kind": kind, "metadata": metadata, "spec": {"db_key": "forest"}}
    theirs = mlrun.artifacts.dict_to_artifact(copy.deepcopy(record)).uri
    assert fields.artifact_uri(record) == mlrun.utils.remove_tag_from_artifact_uri(theirs)


def test_an_artifact_has_the_run_that_made_it() -> None:
    made = {"spec": {"producer": {"kind": "run", "uri": "iris/f1c0-3"}}, "metadata": {"iter": 3}}
    assert fields.producer(made) == "f1c0"
    assert fields.producer({"spec": {"producer": {"kind": "project", "uri": "iris"}}}) == ""


def test_a_time_without_a_zone_is_utc() -> None:
    assert fields.moment("2026-11-21 10:00:00") == datetime.fromisoformat("2026-11-21T10:00:00Z")
    assert fields.moment("2026-11-21T10:00:00+09:00") == fields.moment("2026-11-21 01:00:00")
    assert fields.moment(None) is None
