"""`kedro mlrun serve`, as a process of its own, and how it ends."""

import http.client
import json
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import KEDRO, Folder
from helpers import own_port

from kedro_mlrun.commands.serve import PORT
from kedro_mlrun.web import bound

# As the training pipeline does it; the node asks whether mlrun was imported.
SAVE = """
import pandas as pd
from breast_cancer.pipelines.parameters import EstimatorParameters, SplitParameters
from breast_cancer.pipelines.training.nodes import train_model
from kedro_mlrun import MLRunModel
data = pd.read_csv("data/01_raw/measurements.csv")
estimator = {"estimator": "xgboost.XGBClassifier", "arguments": {"n_estimators": 5, "n_jobs": 1}}
model = train_model(data, SplitParameters(target="diagnosis"), EstimatorParameters(**estimator))
saving = {"training_set": data, "label_column": "diagnosis", "tag": "champion"}
MLRunModel("model", save_args=saving).save(model)
"""
PIPELINE = """
import sys

from kedro.pipeline import Node, Pipeline


def rename(rows):
    return rows.rename(columns=str.lower)


def predict(model, rows, scale):
    told = {"prediction": model.predict(rows), "odds": model.predict_proba(rows)[:, 1] * scale}
    return rows[[]].assign(**told, has_mlrun="mlrun" in sys.modules)


def create_pipeline():
    data = ["champion", "renamed", "params:scale"]
    return Pipeline([Node(rename, "new_rows", "renamed"), Node(predict, data, "answers")])
"""
MOCK = """
import json, sys
import mlrun
from kedro_mlrun.models.serving import MLRunPipelineServer
function = mlrun.new_function("serving", kind="serving", image="mlrun/mlrun")
name = f"{MLRunPipelineServer.__module__}.{MLRunPipelineServer.__name__}"
function.add_model("answering", model_path="", class_name=name, pipeline="answering")
body = {"inputs": json.loads(sys.argv[1])}
told = function.to_mock_server().test("/v2/models/answering/infer", body)
print(json.dumps(told["outputs"]))
"""
CATALOG = """
new_rows: {type: pandas.CSVDataset, filepath: rows.csv}
champion: {type: kedro_mlrun.MLRunModel, key: model, load_args: {tag: champion}}
answers: {type: kedro_mlrun.MLRunDataframeDataset}
"""


@pytest.fixture(scope="module")
def project(
    tmp_path_factory: pytest.TempPathFactory, starter: Folder, default_project: Path
) -> Folder:
    """A project with a champion, and a pipeline that asks it."""
    folder = shutil.copytree(default_project, tmp_path_factory.mktemp("serve") / "project")
    pipelines = folder / "src" / "breast_cancer" / "pipelines"
    (pipelines / "answering").mkdir()
    (pipelines / "answering" / "__init__.py").write_text(PIPELINE)
    (folder / "conf" / "base" / "catalog_serve.yml").write_text(CATALOG)
    (folder / "conf" / "base" / "parameters_serve.yml").write_text("scale: 100\n")
    project = starter.at(folder)
    project.run("python", "-c", SAVE, PYTHONPATH="src")
    return project


class Server:
    """A server that was started with --json."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        assert process.stdout
        # Kedro may log before.
        lines = iter(process.stdout.readline, "")
        found = next((line for line in lines if line.startswith('{"url"')), None)
        assert found, process.communicate(timeout=20)[1]
        self.told = json.loads(found)
        self.port = int(self.told["url"].rpartition(":")[2])

    def ask(self, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        method = "GET" if body is None else "POST"
        content = None if body is None else json.dumps(body)
        connection.request(method, path, content, {"Content-Type": "application/json", **headers})
        response = connection.getresponse()
        return response.status, json.loads(response.read())

    def is_there(self) -> bool:
        with socket.socket() as connection:
            return connection.connect_ex(("127.0.0.1", self.port)) == 0

    def end(self, number: int) -> tuple[int, str]:
        """End it by a signal; its exit code, and what it said after its address."""
        self.process.send_signal(number)
        said, error = self.process.communicate(timeout=20)
        return self.process.returncode, said + error


@contextmanager
def serving(project: Folder, *words: str, **variables: str) -> Iterator[Server]:
    streams: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = project.start("mlrun", "serve", *words, "--json", variables=variables, **streams)
    try:
        yield Server(process)
    finally:
        process.kill()
        process.wait()


def rows(project: Folder) -> pd.DataFrame:
    data = pd.read_csv(project.path / "data" / "01_raw" / "measurements.csv")
    return data.drop(columns="diagnosis").head(50)


def test_a_model_and_a_pipeline_answer_as_a_run_does(project: Folder) -> None:
    """The pipeline's nodes answer rows as `kedro run` has them; MLRun isn't imported for it."""
    data = rows(project)
    data.rename(columns=str.upper).to_csv(project.path / "rows.csv", index=False)
    project.run(KEDRO, "run", "--pipelines=answering")
    found = project.run(KEDRO, "mlrun", "open", "answers").stdout.strip()
    expected = pd.read_parquet(found)
    with serving(project, "--pipeline=answering") as of_pipeline:
        body = data.rename(columns=str.upper).to_dict("records")
        status, told = of_pipeline.ask("/v2/models/answering/infer", {"inputs": body})
        assert status == 200 and told["outputs"] == expected.to_dict("records")
        assert not expected["has_mlrun"].any()
        lines = project.run("python", "-c", MOCK, json.dumps(body), PYTHONPATH="src").stdout
        in_mlrun = [{**row, "has_mlrun": True} for row in told["outputs"]]
        assert json.loads(lines.splitlines()[-1]) == in_mlrun
        # Of one node's fault the other requests know nothing.
        status, told = of_pipeline.ask("/predict", [{"MEAN_AREA": 1.0}])
        assert status == 400 and told["error"].startswith("The model doesn't take these rows: ")
        code, said = of_pipeline.end(signal.SIGTERM)
        assert (code, "Traceback" in said) == (0, False)
        # Requests that go well leave the log alone.
        assert "Running node" not in said
    with serving(project, "model", "--port=0") as of_model:
        status, told = of_model.ask("/predict", data.to_dict("records"))
        assert told["outputs"] == expected["prediction"].tolist()
        odds = pd.DataFrame(told["probabilities"])[1].astype("float32")
        assert (odds * 100 == expected["odds"]).all()
        assert told["model_version"] == of_model.told["version"]
        code, error = of_model.end(signal.SIGINT)
        assert (code, error) == (0, "")


def test_how_it_ends_and_begins_again(project: Folder) -> None:
    """After kill -9 the next one has the port; a port in use is told, or the next one taken."""
    # A server of another test may take the next free one while none has it.
    port = f"--port={own_port()}"
    with serving(project, "model", port) as first:
        with bound("127.0.0.1", first.port, next_free=True) as other:
            assert other.getsockname()[1] > first.port
        with serving(project, "model") as second:
            assert PORT <= second.port != first.port
            assert second.ask("/ready") == first.ask("/ready") == (200, {"ready": True})
        told = refused(project, "model", port)
        assert told.startswith(f"Error: Port {first.port} of 127.0.0.1 can't be used: ")
        assert first.end(signal.SIGKILL)[0] == -9
        # The process that is forked ends a moment after the one that asked for it.
        while first.is_there():
            time.sleep(0.02)
    with serving(project, "model", port, "--host=0.0.0.0", KEDRO_MLRUN_TOKEN="a") as again:
        assert "0.0.0.0" not in again.told["url"]  # which nobody can ask
        assert again.ask("/metadata")[0] == 401
        assert again.ask("/metadata", Authorization="Bearer a")[0] == 200


def refused(project: Folder, *words: str) -> str:
    """What is said where nothing is served: one line, and the exit code is 1 or 2."""
    done = project.run(KEDRO, "mlrun", "serve", *words, ok=False)
    assert done.returncode in {1, 2} and "Traceback" not in done.stderr + done.stdout
    return [line for line in done.stderr.splitlines() if line.startswith("Error")][0]


def test_what_is_not_served(project: Folder) -> None:
    """Each is refused before a port is opened."""
    assert "Set a token" in refused(project, "model", "--host=0.0.0.0")
    assert "Name one thing" in refused(project)
    assert "no pipeline 'answerin'. Did you mean 'answering'?" in refused(project, "-p", "answerin")
    assert "no artifact 'modle:champion'" in refused(project, "modle")
    assert "no artifact 'model:best'" in refused(project, "model:best")
    path = Path(project.run(KEDRO, "mlrun", "open", "model").stdout.strip())
    content = path.read_bytes()
    path.write_bytes(content + b"\0")
    try:
        assert "has the hash" in refused(project, "model")
    finally:
        path.write_bytes(content)
    assert "needs an MLRun API" in refused(project, "model", "--deploy")
