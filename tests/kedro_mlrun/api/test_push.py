"""Runs of the embedded store, copied to an MLRun API."""

import json
import uuid
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from socket import gethostname
from typing import Any

import click
import mlrun
import pandas as pd
import pytest
from helpers import Store
from sklearn.linear_model import LinearRegression
from stub_api import StubAPI, stub_api

from kedro_mlrun import datasets
from kedro_mlrun.api import push as push_module
from kedro_mlrun.api.keeping import KeepingRunDB, kept_run, unsent
from kedro_mlrun.records import records as records_module
from kedro_mlrun.runs.open_runs import abort_lost_runs
from kedro_mlrun.store import fields

FRAME = pd.DataFrame({"x": [1, 2, 3], "kind": pd.Categorical(["a", "b", "a"])})


@pytest.fixture
def kept(embedded: Store) -> Any:
    """The records of an empty embedded store."""
    assert embedded.manager.project
    return records_module.Records(mlrun.get_run_db(), embedded.project)


@pytest.fixture
def api(embedded: Store) -> Iterator[StubAPI]:
    """A stand-in for an API, which knows the project."""
    with stub_api() as api:
        api.projects[embedded.project] = {"metadata": {"name": embedded.project}, "spec": {}}
        yield api


def train(store: Store, scale: float = 1.0, **save_args: Any) -> str:
    """A run that saves a frame as CSV and as Parquet, and a model; give its id."""
    context = store.manager.open_run("training", labels={"pipeline": "training"})
    datasets.MLRunDataframeDataset("table", save_args={"format": "csv"}).save(FRAME)
    datasets.MLRunDataframeDataset("frame").save(FRAME)
    model = LinearRegression().fit([[0], [1]], [0, scale])
    datasets.MLRunModel("model", save_args=save_args).save(model)
    context.log_results({"scale": scale})
    store.manager.close_run()
    mlrun.get_run_db().store_log(context.uid, store.project, b"trained")
    return str(context.uid)


def evaluate(store: Store, training: str) -> str:
    """A run that has used the model of another one; give its id."""
    model = mlrun.get_run_db().read_run(training, store.project)["status"]["artifact_uris"]["model"]
    context = store.manager.open_run("evaluation")
    context.inputs["model"] = mlrun.utils.remove_tag_from_artifact_uri(model)
    store.manager.close_run()
    return str(context.uid)


def sweep(store: Store) -> str:
    """A hyperparameter run whose second iteration is the best one; give its id."""

    def handler(context: Any, p: int) -> None:
        context.log_result("p", p)
        context.log_artifact("made", body=f"{p}", db_key="made")

    function = mlrun.new_function("sweep", kind="local", project=store.project)
    options = mlrun.model.HyperParamOptions(selector="max.p")
    run = function.run(
        handler=handler, hyperparams={"p": [1, 2]}, hyper_param_options=options, local=True
    )
    return str(run.metadata.uid)


def push(kept: Any, url: str, *which: str, folder: Path | None = None) -> list[dict[str, Any]]:
    """Send runs to an API that keeps artifacts in a folder."""
    before = mlrun.mlconf.dbpath, mlrun.mlconf.artifact_path
    mlrun.mlconf.dbpath = url
    mlrun.mlconf.artifact_path = str(folder or mlrun.mlconf.artifact_path)
    try:
        return list(push_module.push(kept, which))
    finally:
        mlrun.mlconf.dbpath, mlrun.mlconf.artifact_path = before


def said(outcomes: list[dict[str, Any]]) -> list[tuple[str, str, int]]:
    return [(run["name"], run["state"], run["artifacts"]) for run in outcomes]


def uid_of(uri: str) -> str:
    return uri.rpartition("^")[2]


def test_a_run_is_there_once_and_whole(embedded, kept, api, tmp_path):
    """With its files where the API keeps them, and its own times; again, nothing is sent."""
    uid = train(embedded, tag="best")
    here, there = tmp_path / "artifacts" / uid, tmp_path / "team"
    (outcome,) = push(kept, api.url, folder=there)
    assert (outcome["uid"], outcome["state"], outcome["artifacts"]) == (uid, "sent", 3)
    files = {path.relative_to(here) for path in here.rglob("*") if path.is_file()}
    assert {f.relative_to(there / uid) for f in there.rglob("*") if f.is_file()} == files
    assert outcome["bytes"] == sum(f.stat().st_size for f in there.rglob("*") if f.is_file())
    assert str(tmp_path / "artifacts") not in json.dumps([*api.artifacts.values(), api.runs])

    run, kept_run = api.runs[uid], kept.run(uid)
    assert api.logs == {uid: b"trained"}
    for field in ("start_time", "end_time", "state", "results"):
        assert run["status"][field] == kept_run["status"][field]
    named = {key: uid_of(uri) for key, uri in run["status"]["artifact_uris"].items()}
    assert {api.artifacts[uid]["spec"]["db_key"]: uid for uid in named.values()} == named
    assert api.tags["model", "best"] == api.tags["model", "latest"] == named["model"]

    # A recorded run doesn't change, and bears no mark.
    assert kept.run(uid) == kept_run
    sent = len(api.requests)
    assert push(kept, api.url, folder=there) == []
    assert said(push(kept, api.url, uid, folder=there)) == [("training", "known", 0)]
    assert {method for method, *_ in api.requests[sent:]} == {"GET"}
    # Another API has it not.
    with stub_api() as other:
        other.projects.update(api.projects)
        outcomes = push(kept, other.url, folder=there)
        assert said(outcomes) == [("training", "sent", 3)]
        # The files are where they belong.
        assert outcomes[0]["bytes"] == 0
    assert push(kept, api.url, folder=there) == []


def test_a_folder_of_this_machine_is_named(embedded, kept, api):
    """Law 9: once, for nothing but records reaches the API; not where files go to a URL."""
    runs = train(embedded), train(embedded)
    first, second = push(kept, api.url)
    assert first["bytes"] == second["bytes"] == 0
    (warning,) = first["warnings"]
    assert f"{mlrun.mlconf.artifact_path} is a folder of this machine" in warning
    assert second["warnings"] == []
    with stub_api() as other:
        other.projects.update(api.projects)
        outcome, _ = push(kept, other.url, *runs, folder="memory://team")
        assert outcome["bytes"] and outcome["warnings"] == []


def test_an_interruption_at_any_moment_is_made_good(embedded, kept, api, tmp_path):
    """What arrived isn't sent again, and nothing is there twice."""
    uid = train(embedded)
    train(embedded, scale=2)
    newer = {"kind": "model", "spec": {"db_key": "model"}}
    newer["metadata"] = {"tree": "t", "created": "2099-01-01"}
    newest = api.artifact("PUT", "model", {}, newer)["metadata"]["uid"]
    for attempt in range(100):
        # Never enough for a whole run.
        api.takes = 1 + attempt % 3
        try:
            push(kept, api.url, folder=tmp_path / "team")
        except mlrun.errors.MLRunUnauthorizedError:
            continue
        break
    keys = [path.rpartition("/")[2] for method, path, _ in api.requests if "artifacts/" in path]
    assert sorted(keys) == sorted(2 * ["frame", "model", "table"])
    assert attempt > 4
    assert api.tags["model", "latest"] == newest
    assert set(map(uid_of, api.runs[uid]["status"]["artifact_uris"].values())) < set(api.artifacts)


def test_the_newest_stays_the_latest_and_tags_stay_where_they_are(embedded, kept, api):
    """An older run that comes later takes nothing away."""
    older = train(embedded, tag="production")
    newer = train(embedded, scale=2, tag="candidate")
    push(kept, api.url, newer)
    model = api.tags["model", "latest"]
    api.tags["model", "production"] = model
    (outcome,) = push(kept, api.url)
    assert outcome["uid"] == older
    assert {api.tags[key, "latest"] == uid for (key, _), uid in api.tags.items()} == {True}
    assert api.tags["model", "candidate"] == api.tags["model", "production"] == model
    _, warning = outcome["warnings"]
    assert f"'model' has the tag 'production' at {api.url} on the version of run {newer}" in warning


@pytest.mark.parametrize("first", ["training", "evaluation"])
def test_lineage_survives(embedded, kept, api, first):
    """Inputs name the artifacts as the API does, whichever run was sent before."""
    runs = {"training": train(embedded)}
    runs["evaluation"] = evaluate(embedded, runs["training"])
    push(kept, api.url, runs[first])
    push(kept, api.url)
    (model,) = (uid for uid, body in api.artifacts.items() if body["spec"]["db_key"] == "model")
    assert uid_of(api.runs[runs["evaluation"]]["spec"]["inputs"]["model"]) == model


def test_the_api_is_asked_what_it_has(embedded, kept, api, tmp_path):
    """Whoever sent it, or took it away; what began there and didn't end is sent again."""
    uid, other = train(embedded), train(embedded, scale=2)
    push(kept, api.url, folder=tmp_path / "team")
    api.runs[other]["status"]["state"] = "running"
    assert said(push(kept, api.url, folder=tmp_path / "team")) == [("training", "sent", 0)]
    del api.runs[uid]
    assert said(push(kept, api.url, folder=tmp_path / "team")) == [("training", "sent", 0)]
    gone = next(uid for uid, item in api.artifacts.items() if item["spec"]["db_key"] == "frame")
    del api.artifacts[gone]
    outcomes = push(kept, api.url, uid, other, folder=tmp_path / "team")
    assert sorted(said(outcomes)) == [("training", "known", 0), ("training", "sent", 1)]


def test_a_gateway_without_an_api_stops_all(embedded, kept, api, monkeypatch):
    """It says nothing of the run, which isn't refused."""
    train(embedded)
    monkeypatch.setattr(api, "artifact", lambda *_: HTTPStatus.BAD_GATEWAY)
    # MLRun's client waits between its tries.
    monkeypatch.setattr("time.sleep", lambda _: None)
    with pytest.raises(mlrun.errors.MLRunHTTPError, match="Bad Gateway"):
        push(kept, api.url)


def test_two_versions_of_a_key_in_one_run_are_two_there(embedded, kept, api, tmp_path):
    """Also with the same bytes, and after an interruption between them."""
    embedded.manager.open_run("twice")
    for number in (1, 2, 1):
        datasets.MLRunAbstractDataset("told").save({"number": number})
    embedded.manager.close_run()
    here = len(kept.artifacts("told", limit=None))
    api.takes = 1
    with pytest.raises(mlrun.errors.MLRunUnauthorizedError):
        push(kept, api.url, folder=tmp_path / "team")
    api.takes = 100
    (outcome,) = push(kept, api.url, folder=tmp_path / "team")
    assert (outcome["state"], outcome["artifacts"]) == ("sent", here - 1)
    assert len(api.artifacts) == here


def test_a_run_that_an_api_has_missed(embedded, kept, tmp_path):
    """Law 4: nobody calls it aborted; its label says where to send it, and then goes."""
    with stub_api() as api:
        api.projects[embedded.project] = {"metadata": {"name": embedded.project}, "spec": {}}
        client = KeepingRunDB(lambda: embedded.dbpath, api.url)
        client.connect()
        uid, item = "5f" * 16, {"kind": "artifact", "metadata": {}, "spec": {"db_key": "told"}}
        item["spec"]["producer"] = {"kind": "run", "uri": f"{embedded.project}/{uid}"}
        item["metadata"] |= {"key": "told", "tree": uid, "hash": "1f", "project": embedded.project}
        item["metadata"]["created"] = "2026-01-01T00:00:00+00:00"
        run = {"metadata": {"name": "lost", "uid": uid, "project": embedded.project}, "spec": {}}
        run["status"] = {"state": "running", "start_time": "2026-01-01T00:00:00+00:00"}
        client.store_run(run, uid, embedded.project)
        answer = client.store_artifact("told", item, project=embedded.project, tree=uid)
        uri = f"store://artifacts/{embedded.project}/told#0@{uid}^{answer['metadata']['uid']}"
        run["status"] |= {"state": "completed", "artifact_uris": {"told": uri}}
        assert unsent(client) is None
        api.is_away = True
        client.store_run(run, uid, embedded.project)
        assert unsent(client).url == embedded.dbpath
        api.is_away = False

        # Back again, it has the run as going on, of a process that is gone by now.
        api.runs[uid]["metadata"]["labels"] = {"host": gethostname(), "process": "4000000000-1"}
        abort_lost_runs(KeepingRunDB(lambda: embedded.dbpath, api.url), embedded.project)
        status = api.runs[uid]["status"]
        assert (status["state"], status.get("error")) == ("completed", None)
        assert f"in {embedded.dbpath}. To send it: kedro mlrun push" in status["status_text"]

        lost = kept.run(uid)
        assert lost["metadata"]["labels"] == {"unsent-to": api.url}
        assert not lost["metadata"].get("annotations")
        (here,) = kept.artifacts_of(lost)
        assert uid_of(lost["status"]["artifact_uris"]["told"]) == here["metadata"]["uid"]
        # No API is named: the label does.
        assert said(push(kept, embedded.dbpath)) == [("lost", "sent", 0)]
        assert list(api.artifacts) == [answer["metadata"]["uid"]]
        arrived = api.runs[uid]
        assert arrived["status"]["state"] == "completed"
        assert uid_of(arrived["status"]["artifact_uris"]["told"]) in api.artifacts
        for record in (arrived, kept.run(uid)):
            assert "unsent-to" not in record["metadata"]["labels"]
        with pytest.raises(click.UsageError):
            push(kept, embedded.dbpath)
        # What was sent is not kept for the API any longer.
        client = KeepingRunDB(lambda: embedded.dbpath, api.url)
        assert kept_run(client, uid, embedded.project) is None


def test_what_cannot_be_sent_is_named_and_the_others_go(embedded, kept, api):
    """A run whose file is gone, and one that goes on; nothing points at nothing."""
    broken = train(embedded)
    file = Path(kept.artifact(f"frame@{broken}")["spec"]["target_path"])
    file.unlink()
    whole = train(embedded)
    running = embedded.manager.open_run("long").uid
    refused, sent, left = push(kept, api.url)
    assert (refused["state"], sent["state"], left["state"]) == ("refused", "sent", "running")
    assert f"artifact 'frame' is gone: {file}" in refused["reason"]
    assert running in left["reason"]
    assert set(api.runs) == {whole} and len(api.artifacts) == 3


def test_iterations_go_along(embedded, kept, api):
    """A hyperparameter run with those that it is made of."""

    uid = sweep(embedded)
    push(kept, api.url, uid)
    assert {uid, f"{uid}-1", f"{uid}-2"} == set(api.runs)
    artifacts = [body for body in api.artifacts.values() if body["spec"]["db_key"] == "made"]
    assert sorted(body["metadata"].get("iter") or 0 for body in artifacts) == [0, 1, 2]
    (link,) = (body for body in artifacts if body["kind"] == "link")
    assert link["spec"]["link_iteration"] == 2


def test_no_api_is_named(embedded, kept):
    """In one sentence that says what to set."""
    uid = train(embedded)
    for which in ((), (uid,)):
        with pytest.raises(click.UsageError, match="MLRUN_DBPATH=https://") as error:
            list(push_module.push(kept, which))
        assert error.value.exit_code == 2


def test_with_an_api(embedded, kept, tmp_path, api_url):
    """What was pushed is loaded from it, is there once, and the newest is the latest."""
    url, project = api_url, f"test-{uuid.uuid4().hex[:12]}"
    mlrun.mlconf.active_project = project
    kept = records_module.Records(kept.db, project)
    embedded.project = project
    older = train(embedded)
    used = evaluate(embedded, older)
    newer = train(embedded, scale=2)
    swept = sweep(embedded)
    team = tmp_path / "team"
    mlrun.mlconf.dbpath = url
    try:
        assert embedded.manager.project
        assert len(push(kept, url, newer, folder=team)) == 1
        assert [run["uid"] for run in push(kept, url, folder=team)] == [older, used, swept]
        for name in (older, newer):
            assert said(push(kept, url, name, folder=team)) == [("training", "known", 0)]
        there = records_module.Records(mlrun.get_run_db(), project)
        # No file of the embedded store is needed.
        (tmp_path / "artifacts").rename(tmp_path / "gone")
        for uid, scale in ((older, 1), (newer, 2)):
            args: dict[str, Any] = {"load_args": {"uid": uid}}
            for key in ("table", "frame"):
                frame = datasets.MLRunDataframeDataset(key, **args).load()
                pd.testing.assert_frame_equal(frame, FRAME)
            assert datasets.MLRunModel("model", **args).load().coef_[0] == pytest.approx(scale)
            assert len(there.artifacts_of(there.run(uid))) == 3
            for field in ("start_time", "end_time"):
                times = [moment_of(records.run(uid), field) for records in (there, kept)]
                assert times[0] == times[1]
        assert datasets.MLRunModel("model").load().coef_[0] == pytest.approx(2)
        (uri,) = there.run(used)["spec"]["inputs"].values()
        assert fields.producer(there.artifact(uri)) == older
        assert len(there.runs(limit=None)) == 4
        best = mlrun.get_run_db().read_artifact("made", iter=0, project=project, tree=swept)
        assert best["metadata"]["iter"] == 2
        assert mlrun.get_run_db().get_log(older, project)[1] == b"trained"
    finally:
        mlrun.mlconf.dbpath = embedded.dbpath


def moment_of(run: dict[str, Any], field: str) -> Any:
    return fields.moment(run["status"][field])
