"""Serving on a cluster: what MLRun is sent."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner
from helpers import Store, new_store
from sklearn.tree import DecisionTreeClassifier
from stub_api import StubAPI, stub_api

from kedro_mlrun import MLRunModel
from kedro_mlrun.commands import cli as commands
from kedro_mlrun.jobs import deploy

FUNCTION = {
    "kind": "job",
    "metadata": {"name": "kedro"},
    "spec": {
        "image": "team/own:1",
        "default_handler": "kedro_mlrun.jobs.handler.run",
        "workdir": "src",
        "resources": {"limits": {"memory": "2Gi"}},
        "node_selector": {"disk": "ssd"},
        "env": [{"name": "DO_NOT_TRACK", "value": "1"}],
    },
}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[StubAPI]:
    """An API with nuclio, which MLRun is connected to, and a model with the tag."""
    with stub_api() as api:

        def deployed(method: str, name: str, _: Any, body: Any) -> Any:
            if method == "POST":
                return {"data": {**body["function"], "status": {"state": "building"}}}
            ready = {"x-mlrun-function-status": "ready", "x-mlrun-name": name}
            return b"", {**ready, "x-mlrun-address": "cluster:30001"}

        api.deployed = deployed  # type: ignore[attr-defined]
        told = {"version": api.version, "status": "ok", "nuclio_version": "1.15.3"}
        api.spec = lambda *_: told  # type: ignore[method-assign]
        api.routes["v1/projects/[^/]+/nuclio/([^/]+)/deploy"] = "deployed"
        api.asked = {}  # type: ignore[attr-defined]
        api.monitored = lambda *told: api.asked.update(told[2]) or {}  # type: ignore[attr-defined]
        api.routes["v1/projects/([^/]+)/model-monitoring/"] = "monitored"
        for _ in new_store(api.url, tmp_path):
            model = DecisionTreeClassifier().fit([[0.0], [1.0]], [0, 1])
            MLRunModel("model").save(model)
            api.tags["model", "champion"] = api.tags["model", "latest"]
            yield api


def command(monkeypatch: Any, *words: str, **spec: Any) -> Any:
    import mlrun

    struct = {**FUNCTION, "spec": {**FUNCTION["spec"], **spec}}  # type: ignore[dict-item]
    function = mlrun.new_function(runtime=struct)
    monkeypatch.setattr(deploy, "load_function", lambda _: function)
    # MLRun waits for 10 s before it asks how far it is.
    monkeypatch.setattr("mlrun.runtimes.nuclio.function.sleep", lambda _: None)
    words = ("serve", *words, "--deploy") if words[0] != "monitor" else words
    return CliRunner().invoke(commands.cli, ["mlrun", *words])


def sent(api: StubAPI) -> Any:
    return next(body for _, path, body in api.requests if path.endswith("/deploy"))["function"]


def test_a_model(api: StubAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function of kind serving, with the class, the model by its tag, and no handler."""
    done = command(monkeypatch, "model")
    assert (done.exit_code, done.stdout) == (
        0,
        "Function serve-model serves it at http://cluster:30001\n",
    )
    function = sent(api)
    assert function["kind"] == "serving" and function["metadata"]["name"] == "serve-model"
    spec = function["spec"]
    assert spec["image"] == "team/own:1" and not spec.get("function_handler")
    assert spec["resources"]["limits"] == {"memory": "2Gi"}
    assert spec["node_selector"] == {"disk": "ssd"}
    env = {variable["name"]: variable["value"] for variable in spec["env"]}
    assert env["PYTHONPATH"] == "/project/src" and env["DO_NOT_TRACK"] == "1"
    route = spec["graph"]["routes"]["model"]
    assert route["class_name"] == "kedro_mlrun.models.serving.MLRunModelServer"
    project = function["metadata"]["project"]
    assert route["class_args"]["model_path"] == f"store://models/{project}/model:champion"
    assert "source" not in spec.get("build", {})


def test_a_pipeline(api: StubAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEDRO_ENV", "")  # which the command sets for the whole process
    done = command(monkeypatch, "--pipeline=inference", "--env=prod", "--json")
    assert json.loads(done.stdout)["function"] == "serve-inference"
    spec = sent(api)["spec"]
    assert {"name": "KEDRO_ENV", "value": "prod"} in spec["env"]
    route = spec["graph"]["routes"]["inference"]
    assert route["class_name"] == "kedro_mlrun.models.serving.MLRunPipelineServer"
    assert route["class_args"]["pipeline"] == "inference"


def test_the_image_that_mlrun_has_built(api: StubAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    """On MLRun's own image, the one that was built on it with this very code."""
    given = list[Any]()
    monkeypatch.setattr(deploy, "usable", lambda *told: given.append(told) or "built:1")
    assert command(monkeypatch, "model", image="mlrun/mlrun:1.12.1").exit_code == 0
    assert sent(api)["spec"]["image"] == "built:1"
    [(_, _, code)] = given
    assert {"function.yaml", "conf/base/mlrun.yml"} <= code.files.keys()


def test_refused(api: StubAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image without the project's code, and a model that isn't there; nothing is sent."""
    done = command(monkeypatch, "model", image="mlrun/mlrun:1.12.1")
    assert done.exit_code == 1 and "has no code of this project" in done.stderr
    assert "Build it with kedro mlrun build --with-code" in done.stderr
    done = command(monkeypatch, "model:best")
    assert done.exit_code == 2 and "no artifact 'model:best'" in done.stderr
    assert not [path for _, path, _ in api.requests if path.endswith("/deploy")]


def test_a_deployed_model_is_monitored(api: StubAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLRun's functions for it are deployed, and the model's own sends them its requests."""
    rows = pd.DataFrame({"x": [0.0, 1.0], "kind": ["a", "b"]})
    model = DecisionTreeClassifier().fit(rows[["x"]], rows["kind"])
    done = command(monkeypatch, "monitor", "model")
    assert done.exit_code == 1 and "has no statistics of its training set" in done.stderr
    MLRunModel("model", save_args={"training_set": rows, "label_column": "kind"}).save(model)
    api.tags["model", "champion"] = api.tags["model", "latest"]
    done = command(monkeypatch, "monitor", "model")
    assert done.exit_code == 1 and "kedro mlrun serve model:champion --deploy" in done.stderr
    assert not api.asked  # type: ignore[attr-defined]

    command(monkeypatch, "model")
    api.functions["serve-model", ""] = sent(api)
    api.requests.clear()
    # In the image that it is deployed in, whatever function.yaml names by now.
    stock = "mlrun/mlrun:1.12.1"
    done = command(monkeypatch, "monitor", "model", "--minutes=20", image=stock)
    assert done.exit_code == 0 and "MLRun monitors model" in done.stdout
    spec = sent(api)["spec"]
    assert spec["track_models"] is True and spec["image"] == "team/own:1"
    assert api.asked["base_period"] == "20"  # type: ignore[attr-defined]


def test_embedded_store(embedded: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    done = command(monkeypatch, "model")
    assert done.exit_code == 1 and "has no cluster to deploy to: it needs an MLRun API" in (
        done.stderr.replace("\n", " ")
    )
    done = command(monkeypatch, "monitor", "model")
    assert done.exit_code == 1 and "kedro run --pipelines=monitoring" in done.stderr
