"""The same model served by us, by MLflow and by LitServe, and what asks them in turn."""

import json
import os
import pickle
import random
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from measure import Line

LOAD = Path(__file__).with_name("load.py")
SECONDS = 2.0  # for which one server is asked at a time
MANY = 100  # rows
# Models that take the table's columns as they are, as MLflow's own examples have them.
TRAIN = """
import pickle, sys
import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from xgboost import XGBClassifier
from kedro_mlrun import MLRunModel
data = pd.read_csv("data/01_raw/measurements.csv")
features, target = data.drop(columns="diagnosis"), (data["diagnosis"] == "malignant").astype(int)
models = {
    "forest": RandomForestClassifier(200, random_state=1),
    "xgboost": XGBClassifier(n_estimators=100, max_depth=4, n_jobs=1, random_state=1),
}
for name, model in models.items():
    model.fit(features, target)
    saving = {"training_set": features, "tag": "champion"}
    MLRunModel(name, save_args=saving).save(model)
    with open(f"{name}.pkl", "wb") as file:
        pickle.dump(model, file)
"""
SAVE = """
import pickle, sys
import mlflow
for name in ("forest", "xgboost"):
    with open(f"{name}.pkl", "rb") as file:
        model, form = pickle.load(file), "cloudpickle"
    mlflow.sklearn.save_model(model, f"mlflow-{name}", serialization_format=form)
"""
# LitServe, as its own example has it.
LITSERVE = """
import pickle, sys
import litserve, numpy
class API(litserve.LitAPI):
    def setup(self, device):
        with open(sys.argv[1], "rb") as file:
            self.model = pickle.load(file)
    def decode_request(self, request):
        return numpy.array(request["inputs"])
    def predict(self, rows):
        return self.model.predict_proba(rows)
    def encode_response(self, output):
        return {"outputs": output.tolist()}
if __name__ == "__main__":
    server = litserve.LitServer(API(), accelerator="cpu")
    server.run(port=int(sys.argv[2]), generate_client_file=False, log_level="error")
"""
WORKS = {"1 connection": (1, 1), "32 connections": (32, 1), f"{MANY} rows": (1, MANY)}


@contextmanager
def started(
    command: list[Any], folder: Path, url: str, asked: str = "/health", **variables: str
) -> Iterator[str]:
    """Start a server, and wait until it answers."""
    words, env = [*map(str, command)], {**os.environ, **variables}
    with (folder / "server.log").open("wb") as log:
        # LitServe's own processes don't end with it.
        to: Any = {"stdout": log, "stderr": subprocess.STDOUT, "start_new_session": True}
        process = subprocess.Popen(words, cwd=folder, env=env, **to)  # noqa: S603
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(url + asked, timeout=5).close()  # noqa: S310
                break
            except OSError:
                if process.poll() is not None:
                    raise RuntimeError((folder / "server.log").read_text()[-2000:]) from None
                time.sleep(0.2)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def free_port() -> int:
    """Find a port that nobody has, and that no system gives others before the server has it."""
    while True:
        with socket.socket() as found, suppress(OSError):
            found.bind(("127.0.0.1", random.randrange(10_000, 30_000)))  # noqa: S311
            return int(found.getsockname()[1])


def measured(url: str, file: Path, connections: int) -> dict[str, float]:
    """Ask a server for a while."""
    command = [sys.executable, LOAD, url, file, connections, SECONDS]
    text = subprocess.check_output([*map(str, command)], text=True)  # noqa: S603
    return dict(json.loads(text))


def compare(folder: Path, commands: Path, peers: Path, repeat: int) -> list[Line]:
    """Serve each model by all, and ask them in turn."""
    subprocess.run([commands / "python", "-c", TRAIN], cwd=folder, check=True)  # noqa: S603
    subprocess.run([peers / "python", "-c", SAVE], cwd=folder, check=True)  # noqa: S603
    lines = []
    for name in ("forest", "xgboost"):
        with (folder / f"{name}.pkl").open("rb") as model:
            columns = [*map(str, pickle.load(model).feature_names_in_)]  # noqa: S301
        lines += _lines(folder, commands, peers, repeat, name, columns)
    return lines


def _lines(
    folder: Path, commands: Path, peers: Path, repeat: int, name: str, columns: list[str]
) -> list[Line]:
    ports, rows = [free_port() for _ in range(3)], _rows(folder, columns)
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    ours = [commands / "kedro", "mlrun", "serve", name, "--port", ports[0]]
    theirs = [peers / "mlflow", "models", "serve", "-m", f"mlflow-{name}", "-p", ports[1]]
    (folder / "lit.py").write_text(LITSERVE)
    lit = [peers / "python", "lit.py", f"{name}.pkl", ports[2]]
    path, lines = f"{peers}{os.pathsep}{os.environ['PATH']}", []
    with ExitStack() as stack:
        stack.enter_context(started(ours, folder, urls[0]))
        peer = started([*theirs, "--env-manager", "local"], folder, urls[1], PATH=path)
        stack.enter_context(peer)
        stack.enter_context(started(lit, folder, urls[2], PATH=path))
        for work, (connections, count) in WORKS.items():
            bodies = [folder / f"ours-{count}.json", folder / f"theirs-{count}.json"]
            bodies[0].write_text(json.dumps({"inputs": rows[:count]}))
            split = {"columns": columns, "data": rows[:count]}
            bodies[1].write_text(json.dumps({"dataframe_split": split}))
            places = [f"{urls[0]}/predict", f"{urls[1]}/invocations", f"{urls[2]}/predict"]
            bodies.append(bodies[0])
            rounds = [
                [measured(*each, connections) for each in zip(places, bodies, strict=True)]
                for _ in range(repeat + 1)
            ][1:]
            found = [
                {key: statistics.median(each[n][key] for each in rounds) for key in rounds[0][n]}
                for n in range(3)
            ]
            told = [f"{each['requests']:.0f}/s, p99 {each['p99']:.1f} ms" for each in found]
            lines.append(Line(*told[:2], found[0]["requests"] / found[1]["requests"]))
            if count == 1:
                lines.append(Line(*told[:2], found[0]["p99"] / found[1]["p99"]))
            if work == "1 connection":
                lines.append(Line(told[0], "–", found[0]["p99"]))
            lines.append(Line(told[0], told[2], found[0]["requests"] / found[2]["requests"]))
    return lines


def _rows(folder: Path, columns: list[str]) -> list[list[float]]:
    lines = (folder / "data" / "01_raw" / "measurements.csv").read_text().splitlines()
    names = lines[0].split(",")
    at = [names.index(column) for column in columns]
    return [[float(line.split(",")[n]) for n in at] for line in lines[1 : MANY + 1]]
