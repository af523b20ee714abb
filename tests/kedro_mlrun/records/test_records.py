"""Questions asked of the run database, on the embedded store and on an MLRun API."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlrun
import pytest
from helpers import Store, new_store
from mlrun.errors import MLRunPreconditionFailedError
from store_api import StoreAPI
from stub_api import serving

from kedro_mlrun.records import records as records_module
from kedro_mlrun.records import summaries
from kedro_mlrun.store.fields import artifact_file, own_folder, producer

RecordNotFoundError = records_module.RecordNotFoundError

HOUR_AGO = datetime.now(UTC) - timedelta(hours=1)


def make_run(store: Store, name: str, **fields: Any) -> str:
    """Make a run, with artifacts `saves`, that ends with an `error` or not, and give its id."""
    context = store.manager.open_run(name)
    for key in fields.get("saves", ()):
        context.log_artifact(key, body=f"{key} of {name}", db_key=key, format="txt")
    context.log_results(fields.get("results", {}))
    store.manager.close_run(fields.get("error"))
    db = mlrun.get_run_db()
    record = db.read_run(context.uid, store.project)
    record["metadata"]["labels"] |= {"pipeline": name, **fields.get("labels", {})}
    record["spec"]["parameters"] = fields.get("parameters", {})
    record["spec"]["inputs"] = fields.get("inputs", {})
    record["status"].pop("artifacts", None)
    db.store_run(record, context.uid, store.project)
    return str(context.uid)


def uris(uid: str, store: Store) -> dict[str, str]:
    """Give the URIs of what a run has saved."""
    return dict(mlrun.get_run_db().read_run(uid, store.project)["status"]["artifact_uris"])


@pytest.fixture(params=["at once", "page by page"])
def records(store: Store, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give the records of an empty project, and of the embedded store also as those of an API."""
    assert store.manager.project
    records = records_module.Records(mlrun.get_run_db(), store.project)
    if request.param == "page by page":
        records._store = None
        monkeypatch.setattr(records_module, "_PAGE", 2)
    return records


@pytest.fixture
def made(records: Any, store: Store) -> SimpleNamespace:
    """Two trainings, an evaluation of the first one's model, and a run that failed."""
    first = make_run(store, "training", saves=["model", "data"], parameters={"trees": 10})
    second = make_run(store, "training", saves=["model"], labels={"team": "red"})
    inputs = {"model": uris(first, store)["model"], "raw": "s3://bucket/raw.csv"}
    evaluation = make_run(store, "evaluation", saves=["report"], inputs=inputs)
    failed = make_run(store, "both", labels={"pipeline": "a,__b__"}, error=ValueError("boom"))
    return SimpleNamespace(first=first, second=second, evaluation=evaluation, failed=failed)


def names(found: list[dict[str, Any]]) -> list[str]:
    return [run["metadata"]["name"] for run in found]


# ---- runs


def test_runs_are_listed_newest_first(records, made):
    """Each filter keeps what matches it, and the limit the newest of these."""
    assert names(records.runs()) == ["both", "evaluation", "training", "training"]
    assert names(records.runs(limit=3)) == ["both", "evaluation", "training"]
    assert names(records.runs(pipeline="training", limit=None)) == ["training", "training"]
    assert records.runs(pipeline="train") == records.runs(pipeline="raining") == []
    # With the + that a run's name has.
    for pipeline in ("a", "b", "__b__", "a,__b__", "a+b"):
        assert names(records.runs(pipeline=pipeline)) == ["both"]
    assert names(records.runs(states=["error", "running"])) == ["both"]
    assert names(records.runs(labels=["team=red"])) == ["training"]
    assert len(records.runs(start_time_from=HOUR_AGO)) == 4
    assert records.runs(start_time_from=datetime.now(UTC) + timedelta(hours=1)) == []


class OlderAPI(StoreAPI):
    """Has another name for the filter by states, as MLRun's API before 1.10."""

    def answer_runs(self, method: str, project: str, query: Any, body: Any) -> Any:
        others = {name: value for name, value in query.items() if name != "states"}
        return super().answer_runs(method, project, others, body)


def test_runs_in_a_state_are_listed_by_an_older_api_too(tmp_path: Path) -> None:
    """Law 9: what is asked for by its state may be deleted; others are not among it."""
    with serving(OlderAPI(tmp_path)) as api:
        for store in new_store(api.url, tmp_path):
            assert store.manager.project
            failed = [make_run(store, "bad", error=error) for error in (ValueError("no"), None)][0]
            records = records_module.Records(mlrun.get_run_db(), store.project)
            for limit in (1, None):
                [found] = records.runs(limit, states=["error"])
                assert found["metadata"]["uid"] == failed


def test_a_run_is_found(records, made):
    """By its id, the unique beginning of one, its name, or as the last one."""
    for which, uid in {
        made.first: made.first,
        made.first[:12]: made.first,
        "training": made.second,
        "__training__": made.second,
        "last": made.failed,
    }.items():
        assert records.run(which)["metadata"]["uid"] == uid


@pytest.mark.parametrize("which", ["evaluaton", "", "~train", "no/such", ".."])
def test_a_run_that_is_not_there(records, made, which):
    """The error has the nearest name, and the command that lists what there is."""
    with pytest.raises(
        RecordNotFoundError, match=f"no run '{which}'.* kedro mlrun runs$"
    ) as raised:
        records.run(which)
    assert ("Did you mean 'evaluation'?" in str(raised.value)) == (which == "evaluaton")


def test_an_id_that_is_almost_one(records, made):
    """The beginning that was meant is asked for."""
    wrong = made.failed[:9] + ("0" if made.failed[9] != "0" else "1")
    with pytest.raises(RecordNotFoundError, match=f"Did you mean '{made.failed[:10]}'"):
        records.run(wrong)


def test_a_beginning_of_several_ids(records, store):
    """It is refused, and they are named."""
    for uid in ("abc1", "abc2"):
        run = {"metadata": {"name": "train", "uid": uid}, "status": {"state": "completed"}}
        records.db.store_run(run, uid, store.project)
    with pytest.raises(RecordNotFoundError, match="several ids: abc[12], abc[12]"):
        records.run("abc")


def test_no_runs_yet(records):
    with pytest.raises(RecordNotFoundError, match="no runs yet"):
        records.run("last")


def test_a_summary(records, made):
    """It has what a script needs, whatever the run lacks."""
    found = summaries.summary(records.run(made.evaluation))
    assert (found["name"], found["state"], found["error"]) == ("evaluation", "completed", None)
    assert found["inputs"].keys() == {"model", "raw"}
    assert found["artifacts"].keys() == {"report"}
    assert 0 <= found["seconds"] < 60
    assert "boom" in summaries.summary(records.run(made.failed))["error"]
    empty = summaries.summary({})
    assert empty.keys() == found.keys()
    assert empty["seconds"] is empty["error"] is None


def test_runs_are_compared():
    """What differs is told, of numbers by how much; NaN is equal to itself, True isn't 1.

    Which labels differ from run to run, and what only Kedro calls a parameter, is told with all.
    """
    runs = [
        {"spec": {"parameters": {"trees": 10, "depth": 3, "on": True, "same": [1]}}},
        {"spec": {"parameters": {"trees": 12, "depth": "3", "on": 1, "same": [1]}}},
    ]
    for number, run in enumerate(runs):
        run["status"] = {"results": {"auc": float("nan"), "loss": number}}
        run["metadata"] = {"labels": {"process": number}}
        run["spec"]["parameters"] |= {"kedro.command": number, "of": {"one": number}}
    compared = summaries.compare(runs)
    differences = {row["name"]: row["differences"] for row in compared["parameters"]}
    found = {"trees": [0, 2], "depth": [0, None], "on": [None, None], "of.one": [0, 1]}
    assert differences == found
    assert [(row["name"], row["best"]) for row in compared["results"]] == [("loss", 0)]
    assert compared["labels"] == []
    names = [row["field"] for row in summaries.compare(runs, everything=True)["parameters"]]
    assert {"params.same", "params.kedro.command"} <= {*names}
    # A promotion has other fields, and adds no row.
    labels = {"promotion": "model"}
    promotion = {"metadata": {"labels": labels}, "spec": {"parameters": {"to": "champion"}}}
    beside = summaries.compare([*runs, promotion])
    assert [row["name"] for row in beside["parameters"]] == [*found]
    assert [row["name"] for row in beside["results"]] == ["loss"]


# ---- artifacts


def test_an_artifact_is_found(records, made, store):
    """By its key, tag, run, URI, uid, or the beginning of one."""
    uri = uris(made.first, store)["model"]
    first, second = (
        records.artifacts(key="model", run=records.run(uid))[0] for uid in (made.first, made.second)
    )
    records.tag(first, "v1")
    for which, expected in {
        "model": second,
        "model:latest": second,
        "model:v1": first,
        f"model@{made.first}": first,
        f"model@{made.first[:12]}": first,
        uri: first,
        first["metadata"]["uid"]: first,
        first["metadata"]["uid"][:10]: first,
    }.items():
        assert records.artifact(which)["metadata"]["uid"] == expected["metadata"]["uid"], which
    assert records.artifact("model:v1")["metadata"]["tags"] == ["v1"]
    found = summaries.artifact_summary(records.artifact("model:v1"))
    assert (found["key"], found["run"], found["uri"]) == ("model", made.first, uri)
    assert Path(found["path"]).read_text() == "model of training"
    records.tag(second, "v1")
    assert records.artifact("model:v1")["metadata"]["tags"] == ["latest", "v1"]


@pytest.mark.parametrize(
    ("which", "hint"),
    [
        ("modle", "Did you mean 'model'?"),
        ("model:v9", "kedro mlrun artifacts --key model"),
        ("model@nobody", "kedro mlrun artifacts --key model"),
        ("ffffffff", "kedro mlrun artifacts"),
    ],
)
def test_an_artifact_that_is_not_there(records, made, which, hint):
    with pytest.raises(RecordNotFoundError, match=f"no artifact '{which}'") as raised:
        records.artifact(which)
    assert hint in str(raised.value)


def test_what_a_run_has_not_saved(records, made):
    """Law 9: it is the run that is named, for the key may be right."""
    with pytest.raises(
        RecordNotFoundError, match=rf"Run {made.failed[:8]} saved no model\. .*--run"
    ):
        records.artifact("model@last")


@pytest.mark.parametrize("which", ["", "~mod", "a b", "store://artifacts/another-project/model"])
def test_what_names_no_artifact(records, made, which):
    with pytest.raises(RecordNotFoundError):
        records.artifact(which)


def test_artifacts_are_listed_newest_first(records, made):
    """Each version once, with all of its tags."""
    records.tag(records.artifact("model"), "v1")
    found = records.artifacts()
    keys = [item["spec"]["db_key"] for item in found]
    assert sorted(keys) == ["data", "model", "model", "report"]
    assert {"latest", "v1"} in [{*item["metadata"]["tags"]} for item in found]
    assert len(records.artifacts(key="model")) == 2
    assert len(records.artifacts(tag="latest")) == 3
    assert len(records.artifacts(limit=1)) == 1
    assert records.artifacts(kind="model") == []
    of_run = records.artifacts(run=records.run(made.first))
    assert sorted(item["spec"]["db_key"] for item in of_run) == ["data", "model"]


def test_a_malformed_tag(records, made):
    for tag in ("not a tag", "", "a" * 57):
        with pytest.raises(RecordNotFoundError, match="can't be a tag"):
            records.tag(records.artifact("model"), tag)


# ---- lineage


def upstream(records: Any, *arguments: Any) -> Any:
    return records.lineage(*arguments, back=True)


def downstream(records: Any, *arguments: Any) -> Any:
    return records.lineage(*arguments, back=False)


def shape(node: Any) -> Any:
    """Give a tree as nested lists of names."""
    return [node["name"], *map(shape, node["follows"])]


def test_lineage_goes_both_ways(records, made):
    """From a model to the run that made it and those that used it, and from a run as well."""
    used = records.artifact(f"model@{made.first}")
    assert shape(upstream(records, used, 3)) == ["model", ["training"]]
    on = downstream(records, used, 3)
    assert shape(on) == ["model", ["evaluation", ["report"]]]
    assert on["follows"][0]["uid"] == made.evaluation
    assert shape(downstream(records, records.artifact("model"), 3)) == ["model"]
    back = upstream(records, records.artifact("report"), 3)
    inputs = [["model", ["training"]], ["s3://bucket/raw.csv"]]
    assert shape(back) == ["report", ["evaluation", *inputs]]
    assert back["follows"][0]["uid"] == made.evaluation


def test_lineage_names_runs_as_all_commands_do(records, store):
    """Law 6: by the names of its pipelines."""
    labels = {"pipeline": "training,evaluation"}
    uid = make_run(store, "training-evaluation", saves=["model"], labels=labels)
    assert shape(upstream(records, records.artifact("model"), 1)) == [
        "model",
        ["training+evaluation"],
    ]
    assert records.run("training+evaluation")["metadata"]["uid"] == uid


def test_lineage_ends_somewhere(records, made, store, monkeypatch):
    """Too far, too many, and what was shown already is said and not followed."""
    model = uris(made.first, store)
    for _ in range(2):
        make_run(store, "more", inputs=model)
    monkeypatch.setattr(records_module, "MANY", 1)
    on = downstream(records, records.run(made.first), 1)
    of_model, of_data = on["follows"]
    assert (of_model["unshown"], of_data["unshown"]) == (2, 1)
    assert not of_model["follows"][0]["repeated"]
    assert of_data["follows"][0]["repeated"]
    report = records.artifact("report")
    assert shape(upstream(records, report, 1)) == [
        "report",
        ["evaluation", ["model"], ["s3://bucket/raw.csv"]],
    ]
    assert upstream(records, report, 1)["follows"][0]["follows"][0]["cut"]
    used = records.artifact(f"model@{made.first}")
    assert downstream(records, used, 0)["cut"]


def test_lineage_over_what_was_deleted(records, made):
    """A run that was deleted is named by its id, an artifact by its URI."""
    records.delete(records.run(made.first))
    used = records.artifact(f"model@{made.first}")
    (deleted,) = upstream(records, used, 3)["follows"]
    assert (deleted["name"], deleted["uid"]) == (made.first, None)
    records.db.del_artifact("model", project=records.project, uid=used["metadata"]["uid"])
    back = upstream(records, records.run(made.evaluation), 3)
    assert back["follows"][0]["name"].endswith(used["metadata"]["uid"])


# ---- deleting


def test_a_deleted_run_leaves_its_artifacts(records, made):
    """Unless they are to go as well."""
    records.delete(records.run(made.second))
    with pytest.raises(RecordNotFoundError):
        records.run(made.second)
    found = records.artifact("model")
    assert Path(artifact_file(found)).read_text() == "model of training"


def test_a_run_is_deleted_with_its_artifacts(records, made):
    """Records and bytes; the version before becomes the latest; other runs' files stay."""
    run = records.run(made.second)
    folder = Path(run["spec"]["output_path"])
    (folder / "beside.txt").write_text("not recorded")
    outcome = records.delete(run, artifacts=True)
    assert outcome == {"deleted": ["model"], "kept": []}
    assert not folder.exists()
    assert producer(records.artifact("model")) == made.first
    assert Path(artifact_file(records.artifact("model"))).exists()
    assert len(records.artifacts(key="model")) == 1


def test_files_outside_of_the_runs_folder_stay(embedded, tmp_path):
    """Also where a link in the folder leads there; they are named."""
    records = records_module.Records(mlrun.get_run_db(), embedded.project)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "shared.txt").write_text("shared")
    (outside / "linked.txt").write_text("linked")
    context = embedded.manager.open_run("training")
    folder = Path(context.artifact_path)
    folder.mkdir(parents=True)
    (folder / "link").symlink_to(outside)
    for key, path in {
        "shared": outside / "shared.txt",
        "linked": folder / "link" / "linked.txt",
        "climbing": folder / ".." / ".." / "outside" / "linked.txt",
    }.items():
        context.log_artifact(key, target_path=str(path), upload=False, db_key=key)
    own = context.log_artifact("own", body="own", db_key="own", format="txt")
    embedded.manager.close_run()
    outcome = records.delete(records.run(context.uid), artifacts=True)
    assert outcome["deleted"] == ["climbing", "linked", "own", "shared"]
    assert {item["key"] for item in outcome["kept"]} == {"shared", "linked", "climbing"}
    assert not os.path.exists(own.target_path)
    assert sorted(path.name for path in outside.iterdir()) == ["linked.txt", "shared.txt"]


def test_a_run_that_goes_on_is_not_deleted(embedded):
    """As in MLRun."""
    records = records_module.Records(mlrun.get_run_db(), embedded.project)
    context = embedded.manager.open_run("training")
    with pytest.raises(MLRunPreconditionFailedError, match="running"):
        records.delete(records.run(context.uid))


@pytest.mark.parametrize("run_id", ["data", "", "0" * 31])
def test_no_folder_belongs_to_an_id_that_may_be_any_name(run_id):
    """A run's id that MLRun didn't make may be the name of a folder of many."""
    assert own_folder(f"/{run_id}/train/0/model.pkl", run_id) == ""


def test_no_folder_is_found_by_part_of_its_name():
    uid = "0" * 32
    assert own_folder(f"/data/x{uid}/model.pkl", uid) == ""
    assert own_folder(f"/data/{uid}", uid) == f"/data/{uid}"
