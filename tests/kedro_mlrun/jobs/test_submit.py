"""Submitting a job: what is checked before anything is sent, and what is sent."""

import json
import os
import re
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http import HTTPStatus
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

import mlrun
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner, Result
from helpers import API, API_VARIABLE, PROJECT, new_store
from stub_api import StubAPI, stub_api

from kedro_mlrun import MLRunDataframeDataset
from kedro_mlrun.commands import cli as commands
from kedro_mlrun.jobs import function as functions
from kedro_mlrun.jobs import plan, source
from kedro_mlrun.secrets import known as secrets
from kedro_mlrun.store.process import process_label
from kedro_mlrun.store.store import Store

QUICK = {"random_forest.model.arguments.n_estimators": 5, "xgboost.model.arguments.n_estimators": 5}


PACK = source.pack


@cache
def packed(folder: Path, largest_file: float, envs: tuple[str, ...]) -> Any:
    return PACK(folder, largest_file, envs)


@pytest.fixture(autouse=True)
def packed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pack the project for the first test that needs it; test_source.py is about how."""
    monkeypatch.setattr(source, "pack", lambda *given: packed(*given[:2], tuple(given[2])))


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """Undo what a command changes in the environment, and in MLRun's log."""
    with patch.dict(os.environ):
        yield
    mlrun.utils.logger.set_logger_level("INFO")


@pytest.fixture
def api(tmp_path: Path) -> Iterator[StubAPI]:
    """An API with an artifact path that jobs on its cluster would see."""
    with stub_api() as api:
        for _ in new_store(api.url, tmp_path):
            mlrun.mlconf.artifact_path = "memory://artifacts"
            logs = mlrun.mlconf.httpdb.logs
            seconds, logs.pull_logs_default_interval = logs.pull_logs_default_interval, 0
            yield api
            logs.pull_logs_default_interval = seconds


@pytest.fixture
def image(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have function.yaml name an image that has Kedro."""
    has(monkeypatch, image="team/kedro:1")


def has(monkeypatch: pytest.MonkeyPatch, **spec: Any) -> None:
    """Have function.yaml say something else."""
    read = functions.read_function

    def changed(folder: Path, overrides: Any = None) -> Any:
        return read(folder, {**spec, **(overrides or {})})

    monkeypatch.setattr(plan, "read_function", changed)


def kedro_mlrun(*arguments: str, code: int = 0) -> Result:
    """Run a command of this project."""
    done = CliRunner().invoke(commands.cli, ["mlrun", *arguments])
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    return done


def sent(api: StubAPI, path: str) -> Any:
    """Give what the client has sent there last."""
    return [body for method, to, body in api.requests if to.endswith(path) and method != "GET"][-1]


def test_function_yaml_is_mlruns(embedded):
    """In MLRun's own format: import_function takes it, and its image is that of the lock."""
    own = mlrun.import_function(str(PROJECT / "function.yaml"))
    assert (own.kind, own.metadata.name) == ("job", "kedro")
    handler = "kedro_mlrun.jobs.handler.run"
    assert (own.spec.default_handler, own.spec.workdir) == (handler, "src")
    assert own.spec.build.load_source_on_run
    tag = own.spec.image.rpartition(":")[2]
    assert f"mlrun=={tag}" in (PROJECT / "requirements.lock").read_text().splitlines()
    named = yaml.safe_load((PROJECT / "function.yaml").read_text())["spec"]
    people_change = "image resources node_selector tolerations volumes volume_mounts env build"
    assert {*people_change.split(), "image_pull_secret", "service_account"} <= set(named)
    # What is loaded is in the project that runs are recorded in.
    assert functions.load_function(PROJECT).metadata.project == embedded.project


def test_overrides_go_over_the_function(embedded):
    memory = {"resources": {"limits": {"memory": "8Gi"}}, "node_selector": {"disk": "ssd"}}
    spec = functions.read_function(PROJECT, memory)["spec"]
    assert spec["resources"]["limits"] == {"memory": "8Gi"}
    assert spec["resources"]["requests"]["cpu"] == "1"
    assert spec["node_selector"] == {"disk": "ssd"}


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("resource: {}", "'resource' in HERE is not a field that MLRun knows of a job. Did you"),
        ("env: {A: hunter2}", "'env' in HERE can't be what it is now. Write it like env: [{name: "),
        ("env: [{name: A, value: 1}]", "'env.0.value' in HERE can't be what it is now."),
        ("resources: {limit: {cpu: 1}}", "'resources.limit' in HERE can't be 'limit'. Write it"),
        ("resources: {limits: {memry: 1Gi}}", "'resources.limits.memry' in HERE can't be 'memry'"),
        ("resources: {limits: {memory: 4Gb}}", "can't be '4Gb'. Write it like resources: {limits"),
        ("resources: {limits: }", "'resources.limits' in HERE can't be None"),
        (
            "node_selector: {gpu: true}",
            """can't be True. Write it like node_selector: {gpu: "true"}""",
        ),
        (
            "volume_mounts: [{name: data, mountPath: 1}]",
            "'volume_mounts.0.mountPath' in HERE can't",
        ),
        ("build: {commands: make}", "'build.commands' in HERE can't be 'make'"),
        ("image_pull_secret: {name: registry}", "Write it like image_pull_secret: registry"),
        ("workdir: [src]", "Write it like workdir: src"),
    ],
)
def test_what_kubernetes_would_not_take_is_refused(spec, said):
    with pytest.raises(functions.JobError) as caught:
        functions.check_spec(yaml.safe_load(spec), "HERE")
    assert said in str(caught.value) and "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "spec",
    [
        "resources: {requests: {cpu: 500m, memory: 129e6}, limits: {cpu: 0.5, nvidia.com/gpu: 1}}",
        "env: [{name: TOKEN, valueFrom: {secretKeyRef: {name: db, key: token}}}]",
        "{env: , build: {requirements: }, tolerations: [], affinity: {nodeAffinity: {}}}",
    ],
)
def test_what_kubernetes_takes_is_not_refused(spec):
    functions.check_spec(yaml.safe_load(spec), "HERE")


def test_a_function_is_recorded_as_mlrun_does_it(embedded):
    """Its hash, which a run names it by, is MLRun's own."""
    function = functions.read_function(PROJECT)
    expected = mlrun.utils.fill_function_hash(json.loads(json.dumps(function)))
    url = f"sqlite:///{Path(embedded.manager.store.path).as_posix()}"
    assert Store(url).store_function(function, "kedro", "iris", versioned=True) == expected
    found = mlrun.import_function(f"db://iris/kedro@{expected}")
    assert found.to_dict()["spec"] == mlrun.new_function(runtime=function).to_dict()["spec"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "can't be read"),
        ("kind: [", "can't be read"),
        ("kind: serving", "not an MLRun function of kind 'job'"),
        ("kind: job\nspec: [image]", "not an MLRun function of kind 'job'"),
        ("kind: job\nspec: {imag: a}", "'imag' in `spec` of function.yaml is not a field"),
        ("kind: job\nmetadata: {labels: x}", "can't be 'x'. Write it like labels: {team: a}"),
        ("kind: job\nmetadata: {name: [1]}", "'name' in `metadata` of function.yaml can't be [1]"),
    ],
)
def test_a_function_that_can_not_be_used(embedded, tmp_path, text, reason):
    if text:
        (tmp_path / "function.yaml").write_text(text)
    with pytest.raises(functions.JobError) as caught:
        functions.load_function(tmp_path)
    assert reason in str(caught.value) and "\n" not in str(caught.value)


def test_a_dry_run_sends_nothing(api, image):
    """Row 4: it shows the function, the task, and the source with its size."""
    done = kedro_mlrun("submit", "--dry-run", "-p", "training", "--params", "split.seed=7")
    shown = yaml.safe_load(done.stdout)
    assert shown["function"]["spec"]["image"] == "team/kedro:1"
    assert shown["task"]["spec"]["parameters"] == {"pipeline": "training", "split.seed": 7}
    assert shown["source"]["size"] > 100_000
    assert "conf/base/catalog.yml" in shown["source"]["files"]
    # All that an API is asked, beside for the project, which is made where it is missing.
    assert {path for method, path, _ in api.requests if method != "GET"} == {"v1/projects"}


def test_a_job_is_sent(api, image):
    """Row 4: the source by its content, the function with it, then the task."""
    options = ["-p", "training", "--params", "split.seed=7", "--chain-id", "monday"]
    told = json.loads(kedro_mlrun("submit", "--json", *options).stdout)
    task = sent(api, "submit_job")["task"]
    assert task["metadata"]["uid"] == told["uid"]
    assert task["metadata"]["name"] == "training"
    parameters = {"pipeline": "training", "split.seed": 7, "chain_id": "monday"}
    assert task["spec"]["parameters"] == parameters
    assert task["spec"]["handler"] == "kedro_mlrun.jobs.handler.run"
    name, digest = task["spec"]["function"].rpartition("/")[2].split("@")
    function = api.functions[name, digest]["spec"]
    assert function["workdir"] == "src" and function["build"]["load_source_on_run"]
    source = function["build"]["source"]
    assert source.startswith("memory://artifacts/source/") and source.endswith(".tar.gz")
    assert len(mlrun.get_dataitem(source).get()) > 100_000

    # An unchanged project has the same source; what else can be looked up is there at once.
    kedro_mlrun("submit", *options)
    again = sent(api, "submit_job")["task"]["spec"]["function"]
    assert api.functions[name, again.rpartition("@")[2]]["spec"]["build"]["source"] == source
    assert kedro_mlrun("logs", told["uid"]).stdout == "the job's own words\n"


def test_a_job_is_watched(api, image):
    """Its log, then the run; exit code 1 if it failed."""
    done = kedro_mlrun("submit", "-p", "training", "--watch")
    assert "the job's own words" in done.stdout and "state  completed" in done.stdout
    api.job_state = "error"
    shown = kedro_mlrun("submit", "-p", "training", "--watch", code=1).stdout
    assert "state  error" in shown and "ValueError: the job's own error" in shown


def test_an_api_that_goes_away_while_a_job_is_watched(api, image, monkeypatch):
    """In a sentence that says how to go on."""
    monkeypatch.setattr(api, "log", lambda *_: HTTPStatus.UNAUTHORIZED)
    done = kedro_mlrun("submit", "-p", "training", "--watch", code=1)
    assert "Unauthorized" in done.stderr and "may go on. To follow it: " in done.stderr


def test_schedules_retries_and_notifications(api, image):
    """Row 4: MLRun's own features, as MLRun has them."""
    kedro_mlrun("submit", "-p", "training", "--schedule", "0 2 * * *")
    assert sent(api, "submit_job")["schedule"] == "0 2 * * *"
    listed = json.loads(kedro_mlrun("schedules", "--json").stdout)
    assert [(item["name"], item["schedule"]) for item in listed] == [("training", "0 2 * * *")]
    assert "Did you mean 'training'?" in kedro_mlrun("schedules", "--remove", "trai", code=2).stderr
    kedro_mlrun("schedules", "--remove", "training")
    assert api.schedules == {}

    notify = ["--notify", "slack", "--notify", "webhook:url=https://a/b"]
    kedro_mlrun("submit", "-p", "training", "--retry", "3", *notify)
    spec = sent(api, "submit_job")["task"]["spec"]
    assert spec["retry"]["count"] == 3
    slack, webhook = spec["notifications"]
    assert (slack["kind"], slack["when"]) == ("slack", ["completed", "error", "aborted"])
    # Not among what everybody sees: it may be a secret.
    assert webhook["secret_params"] == {"url": "https://a/b"} and not webhook.get("params")


def test_a_job_is_aborted(api, image):
    """By the API, which knows the jobs of its cluster."""
    api.job_state = "running"
    uid = json.loads(kedro_mlrun("submit", "-p", "training", "--json").stdout)["uid"]
    kedro_mlrun("abort", uid)
    assert api.runs[uid]["status"]["state"] == "aborted"
    assert "has ended: it is aborted" in kedro_mlrun("abort", uid, code=1).stderr


def test_a_run_that_is_not_on_the_cluster_is_aborted_where_it_is(api):
    """Law 9: an API would change its record alone; its process ends, or nothing is changed."""
    names = {
        "name": "long",
        "uid": (uid := uuid.uuid4().hex),
        "project": mlrun.mlconf.active_project,
    }
    with subprocess.Popen(["sleep", "600"]) as other:  # noqa: S607
        here = {"kind": "local", "host": socket.gethostname(), "process": process_label(other.pid)}

        def go_on(**labels: str) -> None:
            run = {"metadata": {**names, "labels": {**here, **labels}}, "spec": {}}
            mlrun.get_run_db().store_run({**run, "status": {"state": "running"}}, uid)

        for labels in ({"host": "elsewhere"}, {"host": ""}, {"process": ""}):
            go_on(**labels)
            done = kedro_mlrun("abort", uid, code=1)
            assert f"Run {uid} " in done.stderr
            assert re.search("Abort it there|End that yourself", done.stderr)
            assert (api.runs[uid]["status"]["state"], other.poll()) == ("running", None)
        go_on()
        assert "Aborted" in kedro_mlrun("abort", uid).stdout
        assert other.wait(10) < 0
    assert api.runs[uid]["status"]["state"] == "aborted"
    assert not [path for _, path, _ in api.requests if path.endswith("/abort")]


def test_what_the_api_refuses_is_heard(api, image):
    """MLRun's launcher would log it, and go on to ask for a run that isn't there."""
    api.refusal = "no room on the cluster"
    for options in ([], ["--schedule", "0 2 * * *"]):
        done = kedro_mlrun("submit", "-p", "training", *options, code=1)
        assert "MLRun didn't take the job" in done.stderr
        assert "no room on the cluster" in done.stderr


def test_what_a_cluster_could_not_run_is_not_sent(api, monkeypatch):
    """An image without Kedro, artifacts on this machine."""
    assert "has no Kedro" in kedro_mlrun("submit", code=1).stderr
    has(monkeypatch, image="team/kedro:1")
    mlrun.mlconf.artifact_path = "/somewhere/here"
    assert "no job on the cluster sees" in kedro_mlrun("submit", code=1).stderr
    mlrun.mlconf.artifact_path = "memory://artifacts"
    done = kedro_mlrun("submit", "-i", "measurements=data/01_raw/none.csv", code=2)
    assert "there is no such file" in done.stderr
    done = kedro_mlrun("submit", "-i", f"measurements={__file__}", code=1)
    assert "on this machine and not in the source" in done.stderr
    done = kedro_mlrun("submit", "--params", f"split.target={'x' * 130_000}", code=1)
    assert "no more than 120,000 reach a job" in done.stderr
    assert not [path for _, path, _ in api.requests if path.endswith("submit_job")]


def test_a_secret_may_be_on_the_cluster_alone(api, image):
    """Nobody can read an MLRun project's secrets here, and nothing that takes them is run here."""
    # An environment of its own, for other tests use the project's files at the same time.
    folder = PROJECT / "conf" / "only-there"
    folder.mkdir()
    (folder / "credentials.yml").write_text("db: {password: '${mlrun.secret:ONLY_THERE}'}\n")
    try:
        kedro_mlrun("submit", "-p", "training", "-e", folder.name)
        kedro_mlrun("workflow", "-e", folder.name)
        done = kedro_mlrun("submit", "-p", "training", "-e", folder.name, "--local", code=1)
        assert "takes the secret 'ONLY_THERE' from MLRun" in done.stderr
    finally:
        shutil.rmtree(folder)
    assert "*****" not in json.dumps(sent(api, "submit_job"))


@pytest.mark.parametrize(
    ("options", "code", "reason"),
    [
        (["-p", "trainin"], 2, "Did you mean 'training'?"),
        (["--params", "split.sed=1"], 2, "Did you mean 'split.seed'?"),
        (["--params", "split.test_size=a"], 2, "test_size Input should be a valid number"),
        (["--params", "split"], 2, "key and a value"),
        (["--params", "env=prod"], 2, "Use the option instead"),
        (["-i", "measurement=a.csv"], 2, "Did you mean 'measurements'?"),
        (["-i", "test_set=data"], 2, "no node uses it, or one makes it"),
        (["-i", "measurements"], 2, "is not NAME=VALUE"),
        (["--nodes", "nope"], 2, "nope"),
        (["--runner", "Nope"], 2, "no runner 'Nope'"),
        (["--runner", "os.abort"], 2, "no subclass of Kedro's AbstractRunner"),
        (["--runner", "pathlib.Path"], 2, "no subclass of Kedro's AbstractRunner"),
        (["--runner", "AbstractRunner"], 2, "no runner 'AbstractRunner' (Can't instantiate"),
        (["--load-versions", "x"], 2, "DATASET:VERSION"),
        (["--load-versions", "test_se:1"], 2, "which no node of this run uses. Did you mean 'test"),
        (["--load-versions", "test_set:1f"], 2, "it has no such version, or its file is gone"),
        (["-p", "evaluation", "-i", "test_set=store://artifacts/p/x"], 2, "which isn't there (Art"),
        (["-p", "evaluation", "--pipelines", "training"], 2, "(-p), not both"),
        (["--env", "nowhere"], 1, "name an environment that is there"),
        (["--local", "--schedule", "0 2 * * *"], 2, "here and now: there are no schedules"),
        (["--watch", "--schedule", "0 2 * * *"], 2, "leave out --watch"),
        (["--schedule", "0 2 * * *"], 1, "Error: The embedded store"),
        (["--notify", "slack", "--dry-run"], 1, "has no notifications: it needs an MLRun API"),
        (["--params", "split.seed={b"], 2, "A value can't be read as YAML (while parsing"),
        (["--params", "split.seed=${b"], 2, "A value can't be read as YAML"),
        (["--notify", "pigeon"], 2, "'pigeon' is not one of"),
        (["--source", "floppy"], 2, "floppy"),
        (["-p", "evaluation", "--source", "git"], 1, "not a git repository"),
    ],
    ids=str,
)
def test_a_bad_value_is_one_sentence(embedded, options, code, reason):
    """Law 9: and nothing has run."""
    done = kedro_mlrun("submit", *options, code=code)
    assert reason in done.stderr
    assert done.stdout == ""
    assert mlrun.get_run_db().list_runs(project=embedded.project) == []


def test_what_is_not_ascii_is_utf_8(embedded):
    """Law 1: where Python takes the terminal for one of ASCII, as with LC_ALL=C."""
    typed = "split.target=Zürich".encode().decode("ascii", "surrogateescape")
    done = kedro_mlrun("submit", "--dry-run", "--json", "--params", typed)
    assert json.loads(done.stdout)["task"]["spec"]["parameters"]["split.target"] == "Zürich"


def test_what_is_to_be_loaded_is_looked_up(embedded):
    """Law 9: a version by the beginning of a run's id or a tag, an artifact by its URI."""
    uid = embedded.manager.open_run("training").uid
    MLRunDataframeDataset("test_set", save_args={"tag": "best"}).save(pd.DataFrame({"x": [1]}))
    embedded.manager.close_run()
    submit = "submit", "--dry-run", "-p", "evaluation"
    for version in (uid, uid[:8], "best"):
        kedro_mlrun(*submit, "--load-versions", f"test_set:{version}")
    uri = f"store://datasets/{embedded.project}/test_set@{uid}"
    kedro_mlrun(*submit, "-i", f"test_set={uri}")
    shutil.rmtree(mlrun.mlconf.artifact_path)
    done = kedro_mlrun(*submit, "--load-versions", "test_set:best", code=2)
    assert "or its file is gone" in done.stderr


def test_an_artifact_that_is_here_alone_is_no_input_of_a_cluster(api, image):
    """Law 9: its record is known to the API, but its file is on this machine."""
    item = {"kind": "artifact", "metadata": {"key": "x", "tree": "t"}, "spec": {"db_key": "x"}}
    for path, code in (("/here/x.csv", 1), ("memory://x.csv", 0)):
        item["spec"]["target_path"] = path
        api.artifact("PUT", "x", {}, json.loads(json.dumps(item)))
        given = f"measurements=store://artifacts/{mlrun.mlconf.active_project}/x"
        done = kedro_mlrun("submit", "--dry-run", "-i", given, code=code)
        assert ("is /here/x.csv, which is on this machine" in done.stderr) == bool(code)


def test_schedules_need_an_api(embedded):
    """Law 9: in the words of the user."""
    message = kedro_mlrun("schedules", code=1).stderr
    assert "has no schedules: it needs an MLRun API" in message


def test_the_code_may_be_in_the_image(api, monkeypatch):
    """Then nothing is sent; but not in MLRun's own image, nor in one that MLRun built on it."""
    with monkeypatch.context() as patched:
        patched.setattr(plan.image, "usable", lambda *_: ".kedro-iris:1")
        done = kedro_mlrun("submit", "--source", "image", code=1)
        assert "isn't one with this project's code" in done.stderr
    has(monkeypatch, image="team/project:1")
    kedro_mlrun("submit", "--source", "image", "-p", "training")
    name, digest = sent(api, "submit_job")["task"]["spec"]["function"].rpartition("/")[2].split("@")
    spec = api.functions[name, digest]["spec"]
    assert (spec["workdir"], spec["image"]) == ("/project/src", "team/project:1")
    assert "build" not in spec


def test_an_input_is_looked_for_in_the_projects_folder(embedded, monkeypatch):
    """There the job looks for it, wherever the command is given."""
    monkeypatch.chdir(PROJECT / "data")
    given = "submit", "--dry-run", "-i"
    kedro_mlrun(*given, "measurements=data/01_raw/measurements.csv")
    kedro_mlrun(*given, "measurements=01_raw/measurements.csv", code=2)


def test_a_secret_in_function_yaml_is_refused(embedded, monkeypatch):
    """Everyone who sees the function could read it; a reference to one is none."""
    reference = {"secretKeyRef": {"name": "db", "key": "token"}}
    has(monkeypatch, env=[{"name": "DB_TOKEN", "valueFrom": reference}])
    kedro_mlrun("submit", "--dry-run")
    has(monkeypatch, env=[{"name": "DB_TOKEN", "value": "x"}])
    assert "variable 'DB_TOKEN'" in kedro_mlrun("submit", "--dry-run", code=2).stderr


@pytest.mark.parametrize("secret", ["hunter2-and-more", 'quo"ted\\pass-9', "schlüssel-für-alles"])
def test_a_known_secret_in_function_yaml_is_refused(embedded, monkeypatch, secret):
    """Whatever its characters are."""
    has(monkeypatch, env=[{"name": "NOTE", "value": f"it is {secret}"}])
    secrets.register({"password": secret})
    done = kedro_mlrun("submit", "--dry-run", code=1)
    assert "holds what is known as a secret" in done.stderr


def test_a_bad_schedule(api, image):
    done = kedro_mlrun("submit", "--schedule", "0 2 * *", code=2)
    assert "'0 2 * *' is not a schedule" in done.stderr


def submitted(api: StubAPI) -> list[Any]:
    """Give the tasks that were sent, in their order."""
    return [body["task"] for _, path, body in api.requests if path.endswith("submit_job")]


def test_a_workflow_is_sent_job_by_job(api, image):
    """Row 4: in the order of the data, with one chain; where one fails, no other is sent."""
    kedro_mlrun("workflow", "--params", "split.seed=7")
    training, evaluation = submitted(api)
    assert (training["metadata"]["name"], evaluation["metadata"]["name"]) == (
        "training",
        "evaluation",
    )
    assert training["spec"]["parameters"] == {"pipeline": "training", "split.seed": 7}
    labels = [task["metadata"]["labels"] for task in (training, evaluation)]
    assert labels[0]["workflow"] == labels[1]["workflow"]
    assert [label["kedro-group"] for label in labels] == ["training", "evaluation"]

    api.job_state = "error"
    done = kedro_mlrun("workflow", code=1)
    assert len(submitted(api)) == 3
    assert "Job 'training' failed. ValueError: the job's own error" in done.stderr
    assert "not started" in done.stdout
    api.job_state = "completed"
    chain = submitted(api)[2]["metadata"]["labels"]["workflow"]
    kedro_mlrun("workflow", "--resume", chain)
    resumed = [task["spec"]["parameters"] for task in submitted(api)[3:]]
    assert resumed == [
        {"pipeline": "training", "chain_id": chain},
        {"pipeline": "evaluation", "chain_id": chain},
    ]


def test_a_workflow_packs_the_source_once(api, image, monkeypatch):
    """Law 7: all of its jobs have the same archive."""
    packs = list[Any]()
    pack = source.pack
    monkeypatch.setattr(source, "pack", lambda *given: packs.append(given) or pack(*given))
    kedro_mlrun("workflow")
    functions = [task["spec"]["function"].rpartition("/")[2] for task in submitted(api)]
    sources = {
        api.functions[*function.split("@")]["spec"]["build"]["source"] for function in functions
    }
    assert (len(functions), len(sources), len(packs)) == (2, 1, 1)


def test_a_workflow_may_be_sent_as_one(api, image):
    """Row 4: with the project's source, to MLRun's workflow runner."""
    started = json.loads(kedro_mlrun("workflow", "training", "--engine=remote", "--json").stdout)
    told = sent(api, "/submit")
    assert told["source"].startswith("memory://artifacts/source/")
    spec = told["spec"]
    assert (spec["handler"], spec["image"], spec["engine"]) == ("pipeline", "team/kedro:1", "local")
    assert spec["path"].endswith("src/kedro_mlrun/jobs/mlrun_workflow.py")
    arguments = {**(spec.get("args") or {}), **(told["arguments"] or {})}
    assert (arguments["names"], arguments["archive"]) == (["training"], told["source"])
    # Which its jobs have as their label, and `--resume` takes.
    assert started["workflow"] == arguments["chain_id"]


def test_a_remote_workflow_has_no_runs_of_an_earlier_one(api, image, monkeypatch):
    """Law 4: they have the same id where a chain is given, and are completed before it begins."""
    monkeypatch.setenv("MLRUN_CHAIN_ID", "monday")
    told = json.loads(kedro_mlrun("workflow", "--json").stdout)
    assert (told["workflow"], told["state"]) == ("monday", "completed")
    remote = json.loads(kedro_mlrun("workflow", "--engine=remote", "--json").stdout)
    assert (remote["workflow"], remote["state"]) == ("monday", "running")
    assert [group["state"] for group in remote["groups"]] == ["created", "created"]


@contextmanager
def environment_with(**files: Any) -> Iterator[str]:
    """Give a Kedro environment with these files, which no test beside has."""
    folder = PROJECT / "conf" / f"only-{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    try:
        for name, content in files.items():
            (folder / f"{name}.yml").write_text(yaml.safe_dump(content))
        yield folder.name
    finally:
        shutil.rmtree(folder)


LOCAL = {"type": "pandas.CSVDataset", "filepath": "data/leaderboard.csv"}


@pytest.mark.parametrize("source", ["archive", "image"])
def test_a_file_that_only_the_job_would_have_is_named_before(api, image, source):
    """Law 9: such a job completes, and the file is nowhere; also where no archive is sent."""
    submit = "submit", "-p", "training", "--dry-run", "--source", source
    with environment_with(catalog={"leaderboard": LOCAL}) as env:
        done = kedro_mlrun(*submit, "-e", env, code=2)
        assert f"`leaderboard` is a file of the job's own machine: {PROJECT}/data" in done.stderr
        assert "submit it all the same: --allow-lost leaderboard" in done.stderr
        kedro_mlrun(*submit, "-e", env, "--allow-lost", "leader*")
        kedro_mlrun("submit", "-p", "training", "--local", "--dry-run", "-e", env)
        done = kedro_mlrun("workflow", "--dry-run", "-e", env, code=2)
        assert "--allow-lost leaderboard" in done.stderr
        kedro_mlrun("workflow", "--dry-run", "-e", env, "--allow-lost", "leaderboard")


def test_a_file_that_is_recorded_or_stays_here_is_not_lost(embedded, tmp_path):
    """Law 9: what `tracking.datasets` names is an artifact; a run that isn't recorded has none."""
    submit = "submit", "-p", "training", "--dry-run", "-e"
    elsewhere = {**LOCAL, "filepath": f"{tmp_path}/leaderboard.csv"}
    with environment_with(catalog={"leaderboard": elsewhere}) as env:
        kedro_mlrun(*submit, env)
    tracking = {"datasets": ["leader*"]}
    for skipped, code in (([], 0), (["training"], 2)):
        settings = {"project": "p", "tracking": {**tracking, "skip_pipelines": skipped}}
        with environment_with(catalog={"leaderboard": LOCAL}, mlrun=settings) as env:
            kedro_mlrun(*submit, env, code=code)


@pytest.mark.parametrize("tracking", [{"enabled": False}, {"skip_pipelines": ["train*"]}])
def test_what_a_run_that_is_not_recorded_makes_is_named_before(embedded, tracking):
    """Law 9: MLRun's entries stay in memory there, and go with the job."""
    submit = "submit", "-p", "training", "--dry-run", "-e"
    with environment_with(mlrun={"project": "p", "tracking": tracking}) as env:
        done = kedro_mlrun(*submit, env, code=2)
        assert "`leaderboard` stays in memory, because the run isn't recorded." in done.stderr
        assert "Have the run recorded" in done.stderr and "s3://" not in done.stderr
        kedro_mlrun(*submit, env, "--allow-lost", "*")


@pytest.mark.skipif(not API, reason=f"{API_VARIABLE} names no MLRun API")
def test_on_a_real_api(monkeypatch, tmp_path):
    """Row 4: the job's results and artifacts are in its MLRun run, and are found from here."""
    project = f"test-{uuid.uuid4().hex[:12]}"
    volume = {"volumes": [{"name": "a", "hostPath": {"path": str(tmp_path)}}]}
    mounts = [{"name": "a", "mountPath": str(tmp_path)}]
    has(monkeypatch, image="team/kedro:1", volume_mounts=mounts, **volume)
    for store in new_store(str(API), tmp_path):
        mlrun.mlconf.active_project = project
        params = ",".join(f"{name}={value}" for name, value in QUICK.items())
        told = kedro_mlrun("submit", "-p", "training", "--params", params, "--json").stdout
        uid = json.loads(told)["uid"]
        deadline = time.monotonic() + 120
        while (state := _state(uid, project)) in {"pending", "running", "created", ""}:
            assert time.monotonic() < deadline, state
            time.sleep(1)
        run = mlrun.get_run_db().read_run(uid, project)
        assert state == "completed", run["status"]
        assert run["status"]["results"]["train.xgboost.accuracy"] > 0.5
        model = import_module("kedro_mlrun.datasets").MLRunModel(key="random_forest_model").load()
        trees = {value for name, value in model.get_params().items() if "n_estimators" in name}
        assert trees == {5}
        assert store.manager.project.metadata.name == project


def _state(uid: str, project: str) -> str:
    return str(mlrun.get_run_db().read_run(uid, project)["status"].get("state", ""))
