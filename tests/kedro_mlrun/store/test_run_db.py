"""What a run database must do, through MLRun's own SDK, on the embedded store and on an MLRun API.

A test with `data` runs on both. One with `local` runs on the embedded store alone, and says why:
the API to test with may be older than the client, and without a cluster.
"""

import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import mlrun
import pandas as pd
import pytest
from mlrun.errors import (
    MLRunBadRequestError,
    MLRunConflictError,
    MLRunHTTPError,
    MLRunInvalidArgumentError,
    MLRunNotFoundError,
)

NOW = datetime.now(UTC)
SCORES = {1: 0.1, 2: 0.9, 3: 0.5}
# MLRun's client has two classes for one status, 400: what it refuses itself, and what its API does.
REFUSED = (MLRunInvalidArgumentError, MLRunBadRequestError)


class Database(SimpleNamespace):
    """An MLRun project of a store, with what the tests write to it."""

    db: Any
    project: str

    def run(self, name: str = "train", days_ago: float = 0, **fields: Any) -> str:
        """Store a run that started so many days ago, and give its uid."""
        uid = fields.pop("uid", None) or uuid.uuid4().hex
        iteration = fields.pop("iteration", 0)
        start = str(NOW - timedelta(days=days_ago))
        run = {
            "metadata": {
                "name": name,
                "uid": uid,
                "iteration": iteration,
                "project": self.project,
                "labels": fields.pop("labels", {}),
            },
            "status": {"state": "completed", "start_time": start, "last_update": start, **fields},
        }
        self.db.store_run(run, uid, self.project, iter=iteration)
        return uid

    def runs(self, **filters: Any) -> list[str]:
        """List the names of runs."""
        found = self.db.list_runs(project=self.project, **filters)
        return [run["metadata"]["name"] for run in found]

    def artifact(self, key: str = "model", tree: str = "", **options: Any) -> dict[str, Any]:
        """Store an artifact's record, and give what the store then has of it."""
        tree = tree or uuid.uuid4().hex
        iteration, tag = options.pop("iteration", None), options.pop("tag", None)
        record = {
            "kind": options.pop("kind", "artifact"),
            "metadata": {
                "key": key,
                "project": self.project,
                "tree": tree,
                "labels": options.pop("labels", {}),
            },
            "spec": {"db_key": key, "target_path": f"/{tree}/{iteration}/{key}", **options},
            "status": {},
        }
        if iteration is not None:
            record["metadata"]["iter"] = iteration
        self.db.store_artifact(key, record, iteration, tag, self.project, tree)
        return self.db.read_artifact(key, tag, iteration or None, self.project, tree)

    def link(self, key: str, tree: str, iteration: int) -> None:
        """Name the best iteration, as MLRun does at the end of a hyperparameter run."""
        link = {
            "kind": "link",
            "metadata": {"key": key, "project": self.project, "tree": tree, "iter": 0},
            "spec": {"db_key": key, "link_iteration": iteration, "link_tree": tree},
            "status": {},
        }
        self.db.store_artifact(key, link, 0, None, self.project, tree)

    def read(self, key: str = "model", **which: Any) -> str:
        """Read an artifact's tree."""
        return self.db.read_artifact(key, project=self.project, **which)["metadata"]["tree"]

    def artifacts(self, **filters: Any) -> list[str]:
        """List the database keys of artifacts."""
        found = self.db.list_artifacts(project=self.project, **filters)
        return sorted(artifact["spec"]["db_key"] for artifact in found)

    def trees(self, **filters: Any) -> set[str]:
        """List the trees of artifacts."""
        found = self.db.list_artifacts(project=self.project, **filters)
        return {artifact["metadata"]["tree"] for artifact in found}


@pytest.fixture
def data(store: SimpleNamespace) -> Database:
    """Give an empty project on each kind of store."""
    assert store.manager.project
    return Database(db=mlrun.get_run_db(), project=store.project)


@pytest.fixture
def local(embedded: SimpleNamespace) -> Database:
    """Give an empty project on the embedded store, for what MLRun APIs do not all do."""
    assert embedded.manager.project
    return Database(db=mlrun.get_run_db(), project=embedded.project)


# ---- projects


def test_a_project_is_created_once(data):
    """A second project of a name is refused, and the first stays as it is."""
    name = f"{data.project}-more"
    created = data.db.create_project(mlrun.new_project(name, save=False, description="first"))
    assert created.metadata.name == name
    with pytest.raises(MLRunConflictError, match=name):
        data.db.create_project(mlrun.new_project(name, save=False, description="second"))
    assert data.db.get_project(name).spec.description == "first"


def test_a_stored_project_replaces_the_one_before(data):
    """`store_project` creates a project or replaces it whole."""
    name = f"{data.project}-more"
    for description in ("first", "second"):
        data.db.store_project(name, mlrun.new_project(name, save=False, description=description))
        assert data.db.get_project(name).spec.description == description


def test_a_missing_project_is_not_found(data):
    """What isn't there is an error, never None."""
    with pytest.raises(MLRunNotFoundError, match="nowhere"):
        data.db.get_project("nowhere")


def test_projects_are_listed_by_name(data):
    """A project is listed with its name."""
    name = f"{data.project}-more"
    data.db.create_project(mlrun.new_project(name, save=False))
    assert {name, data.project} <= set(data.db.list_projects())


def test_a_store_without_its_project_makes_it(local):
    """A laptop has nobody who creates projects first; an MLRun API answers that there is none."""
    local.project = "made-by-a-run"
    local.run()
    assert "made-by-a-run" in local.db.list_projects()


# ---- runs


def test_a_run_comes_back_as_it_was_stored(data):
    """A stored run is read whole, with any text, number and nesting in it."""
    results = {"accuracy": 0.5, "name": "naïve ✓ 'quoted'", "nested": {"a.b": [1, None, True]}}
    uid = data.run(results=results, labels={"owner": "me"})
    run = data.db.read_run(uid, data.project)
    assert run["status"]["results"] == results
    assert run["metadata"]["labels"] == {"owner": "me"}
    assert run["metadata"]["uid"] == uid
    assert run["status"]["state"] == "completed"


def test_a_run_is_replaced_whole(data):
    """Storing a run again leaves nothing of what was there, labels included."""
    uid = data.run(labels={"old": "1"}, results={"old": 1})
    data.run(uid=uid, labels={"new": "1"}, results={"new": 1})
    assert data.db.read_run(uid, data.project)["status"]["results"] == {"new": 1}
    assert data.runs(labels="old") == []
    assert data.runs(labels="new") == ["train"]


def test_an_update_changes_only_the_named_fields(data):
    """`update_run` takes dotted names, and leaves the rest."""
    uid = data.run(state="running", results={"a": 1}, labels={"team": "red"})
    updates = {"status.state": "error", "status.error": "boom"}
    data.db.update_run(updates, uid, data.project)
    status = data.db.read_run(uid, data.project)["status"]
    assert (status["state"], status["error"], status["results"]) == ("error", "boom", {"a": 1})
    assert data.runs(labels="team=red") == ["train"]


def test_updated_labels_are_found(local):
    """A run is found by the labels that it has now; the API of 1.8 keeps finding the old ones."""
    uid = local.run(labels={"old": "1"})
    local.db.update_run({"metadata.labels": {"new": "1"}}, uid, local.project)
    assert local.runs(labels="new=1") == ["train"]
    assert local.runs(labels="old") == []


def test_a_missing_run_is_not_found(data):
    """Reading and updating what isn't there are errors, never None."""
    data.run(uid="known")
    with pytest.raises(MLRunNotFoundError, match="unknown"):
        data.db.read_run("unknown", data.project)
    with pytest.raises(MLRunNotFoundError, match="unknown"):
        data.db.update_run({"status.state": "error"}, "unknown", data.project)
    with pytest.raises(MLRunNotFoundError):
        data.db.read_run("known", data.project, iter=1)
    with pytest.raises(MLRunNotFoundError):
        data.db.read_run("known", "another-project")


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"name": "train"}, ["train"]),
        ({"name": "~RAI"}, ["train_2", "train"]),
        ({"name": "~n_2"}, ["train_2"]),
        ({"name": "~t_a"}, []),
        ({"name": "~%"}, []),
        ({"uid": "u1"}, ["train"]),
        ({"uid": ["u1", "u3"]}, ["train", "eval"]),
        ({"labels": "team"}, ["train_2", "train"]),
        ({"labels": "team=red"}, ["train"]),
        ({"labels": ["team=red", "stage=dev"]}, ["train"]),
        ({"labels": ["team=red", "stage=prod"]}, []),
        ({"labels": {"team": "blue"}}, ["train_2"]),
        ({"labels": {"stage": None}}, ["train"]),
        ({"labels": "team=~RE"}, ["train"]),
        ({"labels": "~TEA=red"}, ["train"]),
        ({"name": "train", "labels": "team=blue"}, []),
        ({"start_time_from": NOW - timedelta(days=2.5)}, ["train_2", "train"]),
        ({"start_time_to": NOW - timedelta(days=1.5)}, ["train", "eval"]),
        (
            {
                "start_time_from": NOW - timedelta(days=2.5),
                "start_time_to": NOW - timedelta(days=1.5),
            },
            ["train"],
        ),
        ({"last_update_time_from": NOW + timedelta(hours=1)}, []),
        ({"last_update_time_to": NOW - timedelta(hours=1)}, []),
        ({"last_update_time_from": NOW - timedelta(hours=1)}, ["train_2", "train", "eval"]),
    ],
)
def test_runs_are_filtered(data, filters, expected):
    """A filter keeps the runs that match all of it, and the newest start comes first."""
    data.run("eval", days_ago=3, uid="u3")
    data.run("train_2", days_ago=1, uid="u2", labels={"team": "blue"})
    data.run("train", days_ago=2, uid="u1", labels={"team": "red", "stage": "dev"})
    assert data.runs(**filters) == expected


def test_runs_are_filtered_by_state_and_end(local):
    """As in MLRun 1.12; the API of 1.8 ignores these filters."""
    local.run("running", state="running")
    local.run("failed", days_ago=1, state="error", end_time=str(NOW - timedelta(days=1)))
    local.run("done", days_ago=3, end_time=str(NOW - timedelta(days=2)))
    assert local.runs(states=["error", "completed"]) == ["failed", "done"]
    assert local.runs(states=["running"]) == ["running"]
    assert local.runs(states=["aborted"]) == []
    assert local.runs(end_time_from=NOW - timedelta(days=1.5)) == ["failed"]
    assert local.runs(end_time_to=NOW - timedelta(days=1.5)) == ["done"]


@pytest.fixture
def in_tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give the machine another time zone."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("in_tokyo")
def test_times_with_any_zone_are_the_same_moment(local):
    """A filter compares moments, and not their texts; one without a zone is UTC, as in MLRun."""
    local.run("east", start_time="2026-05-01T12:00:00+09:00")
    local.run("utc", start_time="2026-05-01T04:00:00")
    local.run("west", start_time="2026-05-01 00:00:00.5-05:00")
    assert local.runs(start_time_from="2026-05-01T03:30:00+00:00") == ["west", "utc"]
    assert local.runs(start_time_to=datetime(2026, 5, 1, 3, 30)) == ["east"]


def test_a_clock_that_is_set_back_leaves_the_newest_run_first(local):
    """Law 4: what began last is last, also where the runs before it seem to begin in two days."""
    begun = {}
    for uid, days in (("aa", 1.9), ("bb", 2), ("cc", 0), ("dd", 0)):
        begun[uid] = str(datetime.now(UTC) + timedelta(days=days))
        run = {"metadata": {"name": "train"}, "status": {"state": "running"}}
        run["status"]["start_time"] = begun[uid]
        local.db.store_run(run, uid, "iris")
    local.db.update_run({"status.state": "completed"}, "cc", "iris")
    listed = local.db.list_runs(project="iris", states=["running", "completed"])
    assert [run["metadata"]["uid"] for run in listed] == ["dd", "cc", "bb", "aa"]
    # The record itself has the time that the clock has told.
    assert {run["metadata"]["uid"]: run["status"]["start_time"] for run in listed} == begun
    # So do filters.
    soon = datetime.now(UTC) + timedelta(hours=1)
    for end, uids in {"from": ["bb", "aa"], "to": ["dd", "cc"]}.items():
        listed = local.db.list_runs(project="iris", **{f"start_time_{end}": soon})
        assert [run["metadata"]["uid"] for run in listed] == uids


def test_iterations_are_listed_on_request(data):
    """A run stands for its iterations, unless `iter` asks for them."""
    uid = data.run("sweep")
    data.run("sweep", uid=uid, iteration=1, results={"loss": 1})
    data.run("sweep", uid=uid, iteration=2, results={"loss": 2})
    assert data.runs(name="sweep") == ["sweep"]
    found = data.db.list_runs(uid=uid, project=data.project, iter=True)
    assert sorted(run["metadata"]["iteration"] for run in found) == [0, 1, 2]
    assert data.db.read_run(uid, data.project, iter=2)["status"]["results"] == {"loss": 2}


def test_without_a_filter_come_the_latest_of_each_name_within_a_week(data):
    """MLRun's default: one run for each name, and nothing that started over a week ago."""
    data.run("old", days_ago=8)
    data.run("train", days_ago=2, uid="first")
    data.run("train", days_ago=1, uid="second")
    data.run("eval", days_ago=3, uid="third")
    found = data.db.list_runs(project=data.project)
    assert sorted(run["metadata"]["uid"] for run in found) == ["second", "third"]


def test_runs_come_page_by_page(data):
    """Pages follow each other by their token, which is None after the last."""
    for number in range(5):
        data.run(f"train{number}", days_ago=5 - number)
    pages: list[list[str]] = []
    token = None
    while token or not pages:
        found, token = data.db.paginated_list_runs(
            project=data.project, name="~train", page_size=2, page_token=token
        )
        pages.append([run["metadata"]["name"] for run in found])
    assert pages == [["train4", "train3"], ["train2", "train1"], ["train0"]]


def test_a_page_is_found_by_its_number(data):
    """A page can be had without those before it, and by a token as well."""
    for number in range(5):
        data.run(f"train{number}", days_ago=5 - number)

    def page(**options: Any) -> tuple[list[str], str | None]:
        found, token = data.db.paginated_list_runs(project=data.project, **options)
        return [run["metadata"]["name"] for run in found], token

    names, token = page(name="~train", page=2, page_size=2)
    assert names == ["train2", "train1"]
    assert page(page_token=token)[0] == ["train0"]
    assert page(page_token=token, page=1)[0] == ["train4", "train3"]


def test_a_full_last_page_has_no_successor(local):
    """As in MLRun 1.12; the API of 1.8 gives a token that leads to an empty page."""
    local.run()
    assert local.db.paginated_list_runs(project=local.project, name="train", page_size=1)[1] is None


def test_runs_are_deleted(data):
    """A deleted run goes with its iterations and its log; to delete it again is no error."""
    uid, other = data.run("train"), data.run("eval")
    data.run("train", uid=uid, iteration=1)
    data.db.store_log(uid, data.project, b"text")
    data.db.del_run(uid, data.project)
    data.db.del_run(uid, data.project)
    with pytest.raises(MLRunNotFoundError):
        data.db.read_run(uid, data.project)
    assert data.db.list_runs(uid=uid, project=data.project, iter=True) == []
    with pytest.raises(MLRunNotFoundError):
        data.db.get_log(uid, data.project)
    assert data.db.read_run(other, data.project)


def test_runs_become_a_data_frame(data):
    """`project.list_runs().to_df()` shows the results."""
    data.run("train", results={"accuracy": 0.5}, labels={"owner": "me"})
    frame = mlrun.get_or_create_project(data.project, save=False).list_runs().to_df()
    assert frame["results"].tolist() == [{"accuracy": 0.5}]
    assert frame["name"].tolist() == ["train"]


# ---- logs


def test_a_log_is_appended_to_and_read_in_parts(data):
    """Offsets and sizes count bytes, also within a character."""
    uid = data.run(state="running")
    data.db.store_log(uid, data.project, "naïve\n".encode())
    data.db.store_log(uid, data.project, b"second\n", append=True)
    log = "naïve\nsecond\n".encode()
    assert data.db.get_log(uid, data.project) == ("running", log)
    assert data.db.get_log(uid, data.project, offset=3)[1] == log[3:]
    assert data.db.get_log(uid, data.project, offset=3, size=4)[1] == log[3:7]
    assert data.db.get_log(uid, data.project, offset=len(log))[1] == b""


def test_a_log_is_replaced_without_append(data):
    """A log that isn't appended to is written anew."""
    uid = data.run()
    data.db.store_log(uid, data.project, b"first")
    data.db.store_log(uid, data.project, b"second")
    assert data.db.get_log(uid, data.project)[1] == b"second"


def test_a_log_is_printed(data, capsys, monkeypatch):
    """`watch_log` of a run that ended prints its log and returns."""
    monkeypatch.setitem(mlrun.mlconf.httpdb.logs._cfg, "pull_logs_default_interval", 0)
    uid = data.run()
    data.db.store_log(uid, data.project, b"epoch 1\n")
    assert data.db.watch_log(uid, data.project) == ("completed", 8)
    assert "epoch 1\n" in capsys.readouterr().out


# ---- artifacts


def test_an_artifact_comes_back_as_it_was_stored(data):
    """A stored record is read with all that was in it."""
    record = data.artifact("model", kind="model", labels={"a": "b"}, metrics={"f1": 0.5})
    assert record["spec"]["metrics"] == {"f1": 0.5}
    assert record["metadata"]["labels"] == {"a": "b"}
    assert record["metadata"]["project"] == data.project
    assert record["kind"] == "model"
    assert record["metadata"]["uid"]


def test_the_latest_is_what_was_stored_last(data):
    """`latest` is the newest version, and earlier ones stay under their tree, uid and tag."""
    first = data.artifact(tree="t1", tag="v1")
    data.artifact(tree="t2", tag="v2")
    assert data.read() == data.read(tag="latest") == data.read(tag="v2") == "t2"
    assert data.read(tag="v1") == "t1"
    assert data.read(tag="v1", tree="t1") == "t1"
    assert data.read(tag="v1", uid=first["metadata"]["uid"]) == "t1"
    data.artifact(tree="t1", tag="v1")
    assert data.read() == "t2"
    data.artifact(tree="t1")
    assert data.read() == "t1"


def test_an_earlier_version_is_read_by_tree_or_uid_alone(local):
    """As in MLRun 1.12; the API of 1.8 takes `latest` for granted with both."""
    first = local.artifact(tree="t1")
    local.artifact(tree="t2")
    assert local.read(tree="t1") == "t1"
    assert local.read(uid=first["metadata"]["uid"]) == "t1"


def test_a_tag_names_one_version(data):
    """A tag moves to the version that was stored with it last."""
    data.artifact(tree="t1", tag="prod")
    data.artifact(tree="t2", tag="prod")
    assert data.read(tag="prod") == "t2"
    assert data.trees(tag="prod") == {"t2"}


@pytest.mark.parametrize(
    "which", [{"tag": "v9"}, {"tree": "t9"}, {"uid": "u9"}, {"iter": 9}, {"key": "other"}]
)
def test_a_missing_artifact_is_not_found(data, which):
    """What isn't there is an error that names the key, never None."""
    data.artifact("model", tree="t1", tag="v1")
    which = {"key": "model", **which}
    with pytest.raises(MLRunNotFoundError, match=which["key"]):
        data.read(**which)


def test_iteration_0_is_the_best_one(data):
    """Of a run's iterations, the best stands for the run once MLRun has named it."""
    for iteration in (1, 2, 3):
        data.artifact(tree="t1", iteration=iteration)
    data.link("model", "t1", 2)
    record = data.db.read_artifact("model", iter=0, project=data.project, tree="t1")
    assert record["metadata"]["iter"] == 2
    record = data.db.read_artifact("model", iter=3, project=data.project, tree="t1")
    assert record["metadata"]["iter"] == 3
    best = data.db.list_artifacts("model", data.project, best_iteration=True)
    assert [record["metadata"]["iter"] for record in best] == [2]
    third = data.db.list_artifacts("model", data.project, iter=3)
    assert [record["metadata"]["iter"] for record in third] == [3]
    assert len(data.db.list_artifacts("model", data.project, tag="latest")) == 3


def test_a_runs_own_artifact_comes_before_its_iterations(data):
    """Iteration 0 is what the run itself logged, where it did."""
    data.artifact(tree="t1", iteration=0)
    data.artifact(tree="t1", iteration=1)
    data.link("model", "t1", 1)
    record = data.db.read_artifact("model", iter=0, project=data.project, tree="t1")
    assert not record["metadata"]["iter"]


def test_the_best_iteration_must_exist(data):
    """A link to an iteration without the artifact is refused."""
    data.artifact(tree="t1", iteration=1)
    with pytest.raises(MLRunNotFoundError, match="model"):
        data.link("model", "t1", 7)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, ["model", "plot", "table"]),
        ({"name": "model"}, ["model"]),
        ({"name": "~OD"}, ["model"]),
        ({"tag": "v1"}, ["model"]),
        ({"tag": "latest"}, ["model", "plot", "table"]),
        ({"labels": "team"}, ["model", "table"]),
        ({"labels": ["team=red"]}, ["model"]),
        ({"labels": {"team": "blue"}}, ["table"]),
        ({"labels": "team=~RE"}, ["model"]),
        ({"kind": "model"}, ["model"]),
        ({"tree": "t1"}, ["model"]),
        ({"name": "model", "kind": "dataset"}, []),
        ({"iter": 5}, []),
    ],
)
def test_artifacts_are_filtered(data, filters, expected):
    """A filter keeps the artifacts that match all of it."""
    data.artifact("model", tree="t1", tag="v1", kind="model", labels={"team": "red"})
    data.artifact("table", tree="t2", kind="dataset", labels={"team": "blue"})
    data.artifact("plot", tree="t3", kind="plot")
    assert sorted(set(data.artifacts(**filters))) == expected


def test_all_versions_are_listed_by_the_star(data):
    """`*` is any tag; a version comes once for each tag that it has."""
    data.artifact(tree="t1", tag="v1")
    data.artifact(tree="t2", tag="v2")
    found = data.db.list_artifacts("model", data.project, tag="*")
    listed = sorted((item["metadata"]["tree"], item["metadata"]["tag"]) for item in found)
    assert listed == [("t1", "v1"), ("t2", "latest"), ("t2", "v2")]
    assert data.trees(name="model", tag="latest") == {"t2"}


def test_tags_move(data):
    """Tags move between the versions of a key, without a change to the versions."""
    first = data.artifact(tree="t1", tag="v1")
    second = data.artifact(tree="t2", tag="v2")
    data.db.tag_artifacts([first], data.project, "prod")
    assert data.read(tag="prod") == data.read(tag="v1") == "t1"
    data.db.tag_artifacts(second, data.project, "prod")
    assert data.read(tag="prod") == "t2"
    assert data.trees(tag="prod") == {"t2"}
    assert data.read() == "t2"


@pytest.mark.parametrize("tag", ["a b", "x/y", "*"])
def test_a_malformed_tag_is_refused(data, tag):
    """A tag that could not be part of a store:// URL is not taken."""
    record = data.artifact(tree="t1")
    with pytest.raises(REFUSED):
        data.artifact(tree="t2", tag=tag)
    with pytest.raises(MLRunHTTPError):
        data.db.tag_artifacts(record, data.project, tag)
    assert data.read() == "t1"


@pytest.mark.parametrize("key", ["", "a/b", "a b"])
def test_a_malformed_key_is_refused(local, key):
    """A key that could not be part of a store:// URL is not taken."""
    with pytest.raises(MLRunInvalidArgumentError):
        local.artifact(key)
    assert local.artifacts() == []


def test_an_artifact_is_deleted_by_what_names_it(data):
    """A tag deletes one version; a key alone all of them."""
    data.artifact(tree="t1", tag="v1")
    data.artifact(tree="t2", tag="v2")
    data.artifact("table", tree="t2")
    data.db.del_artifact("model", tag="v1", project=data.project)
    assert data.trees(name="model") == {"t2"}
    data.db.del_artifact("model", project=data.project)
    assert set(data.artifacts()) == {"table"}
    data.db.del_artifact("model", project=data.project)


@pytest.mark.parametrize("which", ["tree", "uid", "iter"])
def test_an_artifact_is_deleted_by_tree_uid_or_iteration(local, which):
    """As in MLRun 1.12; the API of 1.8 takes `latest` for granted with the first two."""
    record = local.artifact(tree="t1", iteration=1)
    local.artifact(tree="t2", iteration=2)
    value = record["metadata"][which]
    local.db.del_artifact("model", project=local.project, **{which: value})
    assert local.trees() == {"t2"}


def test_artifacts_come_page_by_page(local):
    """Pages follow each other by their token; the API of 1.8 gives all at once."""
    for number in range(5):
        local.artifact(f"table{number}")
    pages: list[list[str]] = []
    token = None
    while token or not pages:
        found, token = local.db.paginated_list_artifacts(
            project=local.project, tag="latest", page_size=2, page_token=token
        )
        pages.append([record["metadata"]["key"] for record in found])
    assert pages == [["table4", "table3"], ["table2", "table1"], ["table0"]]


# ---- functions


def function_(name: str, kind: str = "job", image: str = "mlrun/mlrun") -> dict[str, Any]:
    """Give a function, as MLRun stores it."""
    return {"kind": kind, "metadata": {"name": name}, "spec": {"image": image}}


def test_a_function_is_read_by_tag_and_hash(data):
    """A versioned function stays under its hash, and under its tag until another takes it."""
    store = data.db.store_function
    first = store(function_("train", image="a"), "train", data.project, tag="v1", versioned=True)
    second = store(function_("train", image="b"), "train", data.project, versioned=True)

    def image(**which: Any) -> str:
        return data.db.get_function("train", data.project, **which)["spec"]["image"]

    assert image() == image(tag="latest") == "b"
    assert image(tag="v1") == "a"
    assert image(hash_key=first) == "a"
    assert image(hash_key=second) == "b"
    for which in ({"tag": "v9"}, {"hash_key": "0" * 40}):
        with pytest.raises(MLRunNotFoundError):
            image(**which)


# ---- MLRun's SDK on top


def work(context: mlrun.MLClientCtx, number: int = 1) -> None:
    """Do what a handler does: results and artifacts."""
    context.log_result("accuracy", SCORES.get(number, 0.0))
    context.log_artifact("note", body=f"number {number}".encode(), format="txt")
    context.log_dataset("table", df=pd.DataFrame({"number": [number]}), format="parquet")


def run_handler(data: Database, folder: Any, **options: Any) -> mlrun.RunObject:
    """Run `work` as an MLRun function on this machine."""
    function = mlrun.new_function("work", project=data.project, kind="job", image="mlrun/mlrun")
    return function.run(handler=work, local=True, output_path=str(folder), **options)


def test_a_handler_is_run_and_recorded(data, tmp_path):
    """`function.run(handler)` leaves a completed run whose outputs MLRun's SDK gives back."""
    run = run_handler(data, tmp_path, params={"number": 2})
    stored = data.db.read_run(run.metadata.uid, data.project)
    assert stored["status"]["state"] == "completed"
    assert stored["status"]["results"] == {"accuracy": 0.9}
    assert stored["spec"]["parameters"]["number"] == 2
    logged = {item["spec"]["db_key"] for item in stored["status"]["artifacts"]}
    assert logged == set(data.artifacts())
    assert mlrun.get_dataitem(run.outputs["table"]).as_df()["number"].tolist() == [2]
    assert mlrun.get_dataitem(run.outputs["note"]).get() == b"number 2"


def test_a_hyperparameter_run_names_its_best_iteration(data, tmp_path):
    """The selector's choice becomes the run's results, and its artifacts those of the run."""
    run = run_handler(
        data,
        tmp_path,
        hyperparams={"number": [1, 2, 3]},
        hyper_param_options=mlrun.model.HyperParamOptions(selector="max.accuracy"),
    )
    uid = run.metadata.uid
    stored = data.db.read_run(uid, data.project)
    assert stored["status"]["results"] == {"best_iteration": 2, "accuracy": 0.9}
    found = data.db.list_runs(uid=uid, project=data.project, iter=True)
    accuracies = {item["metadata"]["iteration"]: item["status"]["results"] for item in found}
    assert {number: accuracies[number]["accuracy"] for number in SCORES} == SCORES
    key = next(key for key in data.artifacts() if key.endswith("note"))
    best = data.db.read_artifact(key, iter=0, project=data.project, tree=uid)
    assert best["metadata"]["iter"] == 2
    assert mlrun.get_dataitem(run.outputs["note"]).get() == b"number 2"


def test_a_project_gives_its_artifacts_back(data, tmp_path):
    """`get_artifact`, `list_models` and store:// URLs lead to the bytes that were logged."""
    project = mlrun.get_or_create_project(data.project, context=str(tmp_path), save=False)
    options = {"artifact_path": str(tmp_path), "tag": "v1"}
    project.log_model("model", body=b"weights", model_file="m.bin", **options)
    project.log_dataset("table", df=pd.DataFrame({"a": [1, 2]}), format="csv", **options)
    project.log_artifact("note", body=b"text", local_path="note.txt", **options)
    (model,) = {item.uri: item for item in project.list_models(tag="v1")}.values()
    assert model.key == "model"
    assert project.get_artifact("model", tag="v1").uri == model.uri
    assert project.get_artifact("note").to_dataitem().get() == b"text"
    url = f"store://artifacts/{data.project}/table:v1"
    assert mlrun.get_dataitem(url).as_df()["a"].tolist() == [1, 2]
    with pytest.raises(OSError, match="missing not found"):
        mlrun.get_dataitem(f"store://artifacts/{data.project}/missing").get()


def test_a_run_keeps_the_artifacts_that_it_logged(local, tmp_path):
    """A run's artifacts are its own versions, also later on; the API of 1.8 loses them."""
    uid = run_handler(local, tmp_path / "1", params={"number": 1}).metadata.uid
    run_handler(local, tmp_path / "2", params={"number": 2})
    stored = local.db.read_run(uid, local.project)
    assert {item["metadata"]["tree"] for item in stored["status"]["artifacts"]} == {uid}
    assert "artifacts" not in local.db.read_run(uid, local.project, format_="standard")["status"]
