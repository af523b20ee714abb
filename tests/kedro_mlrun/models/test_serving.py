"""Models that are served: every door gives the model's own answer, whatever changes meanwhile."""

import asyncio
import csv
import gzip
import http.client
import io
import json
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import PROJECT, Store, new_store, project_module
from pandas._libs import parsers
from pandas.testing import assert_frame_equal
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from xgboost import XGBRegressor

from kedro_mlrun import MLRunModel, web
from kedro_mlrun.models import protocol
from kedro_mlrun.models import server as module
from kedro_mlrun.models.following import Followed
from kedro_mlrun.models.prediction import ModelSource, Predictor
from kedro_mlrun.models.requests import RequestLog
from kedro_mlrun.models.schema import RequestError, Rows, Schema
from kedro_mlrun.models.versions import holder
from kedro_mlrun.records.records import Records

TOKEN = "a-token"


class Served:
    """A server in this process, on a port of its own, and its client."""

    def __init__(self, app: module.App) -> None:
        self.app, self.opened = app, web.bound("127.0.0.1", 0, False)
        self.port = self.opened.getsockname()[1]
        self.local = threading.local()

    def ask(
        self, path: str, body: Any = None, kind: str = "application/json", **headers: str
    ) -> tuple[int, Any, Any]:
        """Send a request by the thread's own connection: status, body, headers."""
        connection = getattr(self.local, "connection", None)
        if connection is None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port)
            self.local.connection = connection
        method = "GET" if body is None else "POST"
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        given = {"Content-Type": kind} if kind and body is not None else {}
        connection.request(method, path, content, {**given, **headers})
        response = connection.getresponse()
        text = response.read()
        is_json = response.headers["Content-Type"] == "application/json"
        return response.status, json.loads(text) if is_json else text.decode(), response.headers

    def predict(self, rows: Any, path: str = "/predict") -> Any:
        """Send rows that are answered."""
        status, told, _ = self.ask(path, rows)
        assert status == 200, told
        return told


@contextmanager
def serving(followed: Any, **options: Any) -> Iterator[Served]:
    """Serve in this process."""
    served = Served(module.App(followed, **options))
    server = web.make_server(served.app)
    sockets = [served.opened]
    thread = threading.Thread(target=server.run, args=(sockets,), daemon=True)
    thread.start()
    # Or else its thread and the client's wait 5 ms for each other.
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    try:
        yield served
    finally:
        sys.setswitchinterval(before)
        server.should_exit = True
        thread.join(5)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def training_set() -> pd.DataFrame:
    data = pd.read_csv(PROJECT / "data" / "01_raw" / "measurements.csv")
    return data.astype({"diagnosis": "category"})


@pytest.fixture(scope="module")
def features(training_set: pd.DataFrame) -> pd.DataFrame:
    """10,000 rows like those that the models were trained on."""
    rows = training_set.drop(columns="diagnosis").sample(10_000, replace=True, random_state=1)
    noise = np.random.default_rng(2).uniform(0.8, 1.2, rows.shape)
    return (rows * noise).reset_index(drop=True)


def train(training_set: pd.DataFrame, estimator: str, **arguments: Any) -> Any:
    """Train as the project does."""
    parameters = project_module("pipelines.parameters")
    model = parameters.EstimatorParameters(estimator=estimator, arguments=arguments)
    options = parameters.SplitParameters(target="diagnosis")
    return project_module("pipelines.training.nodes").train_model(training_set, options, model)


@pytest.fixture(scope="module")
def saved(
    tmp_path_factory: pytest.TempPathFactory, training_set: pd.DataFrame
) -> Iterator[Callable[..., str]]:
    """A store with `forest` and `boosted`; gives what saves another model, and its uid."""
    folder = tmp_path_factory.mktemp("store")
    for store in new_store(f"sqlite:///{folder}/mlrun.db", folder):
        store.folder = folder

        def save(
            key: str,
            model: Any,
            tag: str = "champion",
            data: Any = training_set,
            store: Store = store,
        ) -> str:
            arguments = {"training_set": data, "label_column": "diagnosis", "tag": tag}
            MLRunModel(key, save_args=arguments).save(model)
            store.new_process()
            record = store.manager.store.read_artifact(key, project=store.project, tag=tag)
            return str(record["metadata"]["uid"])

        save.store = store  # type: ignore[attr-defined]
        forest = "sklearn.ensemble.RandomForestClassifier"
        save("forest", train(training_set, forest, n_estimators=30, random_state=1))
        save("boosted", train(training_set, "xgboost.XGBClassifier", n_estimators=20, n_jobs=1))
        yield save


@pytest.fixture
def store(saved: Any) -> Store:
    return saved.store


@pytest.fixture(scope="module")
def boosted(saved: Any) -> Iterator[Served]:
    with serving(Followed(ModelSource("boosted", "champion"))) as served:
        yield served


def test_all_doors_answer_as_the_model_does(
    saved: Any, boosted: Served, features: pd.DataFrame
) -> None:
    """Bit by bit, on 10,000 rows: over HTTP as rows, tensors and CSV, at once and one by one."""
    model = MLRunModel("boosted", load_args={"tag": "champion"}).load()
    odds, names = model.predict_proba(features), model.predict(features).tolist()
    matrix = features.to_numpy()
    served = boosted.app.followed.predictor
    assert served._quick

    def same(told: Any, rows: slice = slice(None)) -> bool:
        return told["outputs"] == names[rows] and np.array_equal(
            np.array(told["probabilities"], odds.dtype), odds[rows]
        )

    path = "/v2/models/boosted/infer"
    assert same(boosted.predict({"inputs": matrix.tolist()}, path))
    assert same(boosted.predict(features.iloc[:2000].to_dict("records")), slice(2000))
    text = features.iloc[:2000, ::-1].to_csv(index=False).encode()
    assert same(boosted.ask("/predict", text, "text/csv")[1], slice(2000))
    tensor = {"shape": [*matrix.shape], "datatype": "FP64", "data": matrix.ravel().tolist()}
    told = boosted.predict({"id": "7", "inputs": [{"name": "x", **tensor}]}, path)
    assert (told["id"], told["outputs"][0]["data"]) == ("7", names)
    assert told["outputs"][1]["datatype"] == "FP32" and told["outputs"][1]["shape"] == [10_000, 2]
    assert np.array_equal(np.array(told["outputs"][1]["data"], odds.dtype), odds.ravel())
    tensors = [
        {"name": name, "shape": [2, 1], "datatype": "FP64", "data": [[a], [b]]}
        for name, (a, b) in features.iloc[:2].items()
    ]
    assert boosted.predict({"inputs": tensors}, path)["outputs"][0]["data"] == names[:2]
    for number in range(100):
        one = slice(number, number + 1)
        assert same(boosted.predict([features.iloc[number].to_dict()]), one)
    with ThreadPoolExecutor(16) as threads:
        # Many at once are answered together.
        parts = [slice(n, n + 3) for n in range(0, 900, 3)]
        every = [*threads.map(lambda part: boosted.predict(matrix[part].tolist()), parts)]
    assert all(map(same, every, parts))


@pytest.mark.parametrize("engine", ["router", "flow"])
def test_mlruns_own_server(saved: Any, features: pd.DataFrame, engine: str) -> None:
    """MLRun's mock server has the class as it has any, in a router and in an asynchronous flow."""
    import mlrun

    place = {"class_name": "kedro_mlrun.models.serving.MLRunModelServer"}
    place["model_path"] = f"store://models/{saved.store.project}/forest:champion"
    function = mlrun.new_function("serving", kind="serving", image="mlrun/mlrun")
    if engine == "router":
        function.add_model("forest", **place)
    else:
        router = function.set_topology("flow", engine="async").to("*", name="router")
        router.add_route("forest", **place)
        router.respond()
    server = function.to_mock_server()
    model, rows = MLRunModel("forest").load(), features.iloc[:200]
    path, odds = "/v2/models/forest/infer", model.predict_proba(rows)
    for body in (rows.to_numpy().tolist(), rows.to_dict("records")):
        told = server.test(path, {"inputs": body, "id": "7"})
        assert told["outputs"] == model.predict(rows).tolist() and told["id"] == "7"
        assert np.array_equal(told["probabilities"], odds)
        assert len(told["model_version"]) == 40
    told = server.test(path, {"inputs": [{"mean_area": 1.0}]}, silent=True)
    assert told.status_code == 400 if engine == "router" else True
    if engine == "router":
        described = server.test("/v2/models/forest", method="GET")
        assert described["outputs"][0]["labels"] == {"0": "benign", "1": "malignant"}
    else:
        server.wait_for_completion()


def test_nuclios_entry(saved: Any, features: pd.DataFrame, monkeypatch: Any) -> None:
    """What MLRun sets as a nuclio function's handler finds the class and answers."""
    import mlrun
    import nuclio_sdk
    from mlrun.serving import serving_wrapper

    function = mlrun.new_function("serving", kind="serving", image="mlrun/mlrun")
    path = f"store://models/{saved.store.project}/boosted:champion"
    class_name = "kedro_mlrun.models.serving.MLRunModelServer"
    function.add_model("boosted", model_path=path, class_name=class_name)
    monkeypatch.setenv("SERVING_SPEC_ENV", function._get_serving_spec())
    monkeypatch.setattr("kedro_mlrun.models.serving.follow", lambda *_: None)
    # Which only an API has.
    asked = "mlrun.serving.routers.get_model_endpoints_creation_task_status"
    monkeypatch.setattr(asked, lambda _: (None, None, None))
    context = nuclio_sdk.Context(logger=nuclio_sdk.Logger(logging.INFO))
    serving_wrapper.init_context(context)
    body = json.dumps({"inputs": features.iloc[:2].to_numpy().tolist()})
    trigger = nuclio_sdk.event.TriggerInfo("http", "")
    headers = {"Content-Type": "application/json"}
    event = nuclio_sdk.Event(
        body=body,
        path="/v2/models/boosted/infer",
        method="POST",
        headers=headers,
        trigger=trigger,
        content_type="application/json",
    )
    told = json.loads(asyncio.run(serving_wrapper.handler(context, event)).body)
    expected = MLRunModel("boosted").load().predict(features.iloc[:2])
    assert told["outputs"] == expected.tolist()


ROW = [1.0] * 30
TENSOR = {"name": "x", "shape": [1, 30], "datatype": "FP64", "data": ROW}
MALFORMED: list[tuple[Any, ...]] = [
    (400, b""),
    (400, b"{"),
    (400, b"[1, 2"),
    (400, b"\xff\xfe"),
    (400, b"[" * 100_000),
    (400, b"null"),
    (400, b"1"),
    (400, b'"text"'),
    (400, b"[]"),
    (400, b"{}"),
    (400, b"[1]"),
    (400, b'["a"]'),
    (400, b"[null]"),
    (400, b"[[]]"),
    (400, b"[{}]"),
    (400, [[1.0] * 29]),
    (400, [[1.0] * 31]),
    (400, [ROW, [1.0] * 29]),
    (400, [ROW, {"mean_area": 1.0}]),
    (400, [["a"] * 30]),
    (400, [["1.0"] + ROW[1:]]),
    (400, [[True] + ROW[1:]]),
    (400, [[[1.0]] + ROW[1:]]),
    (400, [[{"x": 1}] + ROW[1:]]),
    (400, [{"mean_area": 1.0}]),
    (400, b"[[" + b"Infinity," * 29 + b"1]]"),
    (400, b"[[" + b"-Infinity," * 29 + b"1]]"),
    (400, b"[[" + b"1e999," * 29 + b"1]]"),
    (400, b"[[1" + b"0" * 400 + b"," + b"1," * 28 + b"1]]"),
    (400, {"inputs": None}),
    (400, {"inputs": {}}),
    (400, {"inputs": "rows"}),
    (400, {"inputs": []}),
    (400, {"instances": [ROW]}),
    (400, {"inputs": [{**TENSOR, "shape": [1, 29]}]}),
    (400, {"inputs": [{**TENSOR, "shape": [30]}]}),
    (400, {"inputs": [{**TENSOR, "shape": [1, 1, 30]}]}),
    (400, {"inputs": [{**TENSOR, "shape": "1x30"}]}),
    (400, {"inputs": [{**TENSOR, "shape": [-1, -30]}]}),
    (400, {"inputs": [{**TENSOR, "datatype": "FLOAT"}]}),
    (400, {"inputs": [{**TENSOR, "datatype": ["FP64"]}]}),
    (400, {"inputs": [{**TENSOR, "shape": [1] * 70}]}),
    (400, {"inputs": [{**TENSOR, "shape": [10**4000, 10**4000]}]}),
    (400, {"inputs": [{**TENSOR, "name": "x" * 1000, "shape": [2, 15]}]}),
    (400, {"inputs": [{**TENSOR, "datatype": "INT8", "data": [1000] * 30}]}),
    (400, {"inputs": [{**TENSOR, "data": ["a"] * 30}]}),
    (400, {"inputs": [{**TENSOR, "data": None}]}),
    (400, {"inputs": [TENSOR, TENSOR]}),
    (400, {"inputs": [{**TENSOR, "name": None}]}),
    (400, {"inputs": [{"name": "mean_area", "shape": [1], "datatype": "FP64", "data": [1.0]}]}),
    (400, b"", "text/csv"),
    (400, b"mean_area\n", "text/csv"),
    (400, b"mean_area,mean_area\n1,2\n", "text/csv"),
    (400, b'"mean_area\n1', "text/csv"),
    (400, b"mean_area\n\xff\n", "text/csv"),
    (400, b"mean_area,mean_radius\n1\n", "text/csv"),
    (400, b"mean_area\n1_0\n", "text/csv"),
    (415, b"{}", "text/plain"),
    (415, b"{}", "application/x-www-form-urlencoded"),
    (415, b"{}", ""),
    (413, b" " * 11_000_000),
    (404, [ROW], "application/json", "/v2/models/other/infer"),
    (404, [ROW], "application/json", "/v2/models/boosted/versions/1/infer"),
    (404, [ROW], "application/json", "/v2/models/boosted/explain"),
    (404, [ROW], "application/json", "/nothing"),
    (404, None, "", "/v2/models/other"),
    (405, None, "", "/predict"),
    (405, [ROW], "application/json", "/metadata"),
]


@pytest.mark.parametrize("request_", MALFORMED, ids=range(len(MALFORMED)))
def test_what_cannot_be_answered_is_refused(boosted: Served, request_: tuple[Any, ...]) -> None:
    """With the right status and one sentence or two, never a traceback."""
    status, body, *rest = request_
    kind, path = (*rest, *("application/json", "/predict")[len(rest) :])
    found, told, _ = boosted.ask(path, body, kind)
    assert (found, [*told]) == (status, ["error"])
    assert "\n" not in told["error"] and "Traceback" not in told["error"]
    assert len(told["error"]) < 300 and told["error"].endswith(".")


def test_missing_values_and_other_columns(boosted: Served, features: pd.DataFrame) -> None:
    """null, NaN and an empty field are missing; columns that the model doesn't take are named."""
    rows = features.iloc[:3].copy()
    rows.iloc[0, 0] = rows.iloc[1, 4] = np.nan
    model = MLRunModel("boosted").load()
    odds = model.predict_proba(rows)
    nulls = rows.astype(object).where(rows.notna(), None).to_dict("records")
    for body in (nulls, rows.to_dict("records"), rows.to_numpy().tolist()):
        assert np.array_equal(np.float32(boosted.predict(body)["probabilities"]), odds)
    content = rows.assign(id="x").to_csv(index=False).encode()
    told = boosted.ask("/predict", content, "text/csv")[1]
    assert told["ignored_columns"] == ["id"]
    assert np.array_equal(np.float32(told["probabilities"]), odds)
    assert boosted.predict([{**nulls[0], "id": "x"}])["ignored_columns"] == ["id"]


KINDS = [
    {"name": "count", "value_type": "int"},
    {"name": "is_new", "value_type": "bool"},
    {"name": "colour", "value_type": "str"},
    {"name": "day", "value_type": "datetime"},
]


def test_kinds_of_columns() -> None:
    """Each has the type that pandas reads it with; another kind of value is refused."""
    schema = Schema({"inputs": KINDS})
    rows = schema.rows([[3.0, True, "red", "2024-12-31T08:00"], [2**60 + 1, None, None, None]])
    frame = rows.frame
    assert frame["count"].tolist() == [3, 2**60 + 1]
    assert [*map(str, frame.dtypes)] == ["int64", "object", "object", "datetime64[ns]"]
    assert rows.matrix is None
    text = "day,colour,is_new,count\n2024-12-31T08:00,red,true,3\n,,,1152921504606846977\n"
    pd.testing.assert_frame_equal(schema.csv(text.encode()).frame, frame)
    for wrong in (
        [1.5, True, "red", None],
        [1, 1, "red", None],
        [1, "yes", "red", None],
        [1, True, 5, None],
        [1, True, "red", "tomorrow"],
        [1, True, "red", 20241231],
        [2**63, True, "red", None],
        ["1", True, "red", None],
    ):
        with pytest.raises(ValueError, match=r"^(Column '|A number)"):
            schema.rows([wrong])


def test_a_version_is_looked_up_once(saved: Any, store: Store) -> None:
    """Law 7: it is loaded by the very record that tells which version has the tag."""
    db, source, read = store.manager.store, ModelSource("boosted", "champion"), list[str]()
    db.connection.set_trace_callback(read.append)
    records = Records(db, store.project)
    for look in (source.version, source.load, lambda: holder(records, "boosted")):
        read.clear()
        assert look()
        assert len([query for query in read if "FROM artifacts" in query]) == 1
    db.connection.set_trace_callback(None)


def test_what_is_no_date_is_refused_at_all_doors(saved: Any, training_set: pd.DataFrame) -> None:
    """In the same sentence, though its record calls a column of dates in a CSV one of text."""
    dated = training_set[["mean_area", "diagnosis"]].assign(day="2024-12-31")
    saved("dated", train(dated, "sklearn.tree.DecisionTreeClassifier"), data=dated)
    served = ModelSource("dated", "champion").load()
    text = b"mean_area,day\n1.5,2024-12-31\n1.5,\n1.5,soon\n"
    with pytest.raises(RequestError) as refused:
        served.answer(served.schema.csv(text))
    rows = pd.read_csv(io.BytesIO(text))
    with pytest.raises(ValueError, match="has 'soon' in row 2") as odd:
        project_module("pipelines.inference.nodes").predict_rows(served.model, rows)
    assert str(refused.value) == f"The model doesn't take these rows: {odd.value}"
    assert len(served.answer(served.schema.csv(text.removesuffix(b"1.5,soon\n"))).outputs) == 2


def test_the_quick_way_is_the_models_own_or_not_taken(
    saved: Any, training_set: pd.DataFrame, features: pd.DataFrame
) -> None:
    """scikit-learn's forests and XGBoost are asked directly; others as they are."""
    data, target = training_set.drop(columns="diagnosis"), training_set["diagnosis"]
    number = training_set.assign(diagnosis=target.cat.codes.astype(float))
    forest = RandomForestClassifier(5, random_state=1, n_jobs=2).fit(data, target)
    codes = RandomForestClassifier(5, random_state=1).fit(data, target.cat.codes)
    value = RandomForestRegressor(5, random_state=1).fit(data, number["diagnosis"])
    boosted = XGBRegressor(n_estimators=5).fit(data, number["diagnosis"])
    line = make_pipeline(StandardScaler(), LogisticRegression()).fit(data, target)
    for model, frame, is_quick in (
        (forest, training_set, True),
        (codes, training_set, True),
        (value, number, True),
        (boosted, number, True),
        (line, training_set, False),
    ):
        saved("any", model, "x", frame)
        found = ModelSource("any", "x").load()
        rows = found.schema.rows(features.iloc[:50].to_numpy().tolist())
        answer, own = found.answer(rows), model.predict(features.iloc[:50])
        assert bool(found._quick) is is_quick
        if model is codes:
            # Its classes have names, whatever it has learnt.
            own = np.array(["benign", "malignant"])[own]
        assert answer.outputs == own.tolist()
        if hasattr(model, "predict_proba"):
            odds = model.predict_proba(features.iloc[:50])
            assert np.array_equal(answer.probabilities, odds)


def test_only_what_gives_the_same_is_asked_together(saved: Any, features: pd.DataFrame) -> None:
    """A model that looks across rows answers each request by itself."""
    predictor = ModelSource("forest", "champion").load()
    assert predictor.together
    record = predictor_record("forest", saved.store)
    across = Predictor(AcrossRows(predictor.model), record)
    assert not across.together

    async def ask(followed: Any) -> tuple[list[int], list[Any]]:
        sizes, own = list[int](), followed.predictor.answer
        followed.predictor.answer = lambda rows: sizes.append(len(rows)) or own(rows)
        batches = module.Batches(followed, 100)
        parts = [
            predictor.schema.rows(features.iloc[n : n + 2].to_numpy().tolist()) for n in range(9)
        ]
        answers = await asyncio.gather(*map(batches.add, parts))
        batches.close()
        return sizes, [answer.outputs for answer in answers]

    expected = [predictor.model.predict(features.iloc[n : n + 2]).tolist() for n in range(9)]
    assert asyncio.run(ask(Fixed(predictor))) == ([18], expected)
    assert asyncio.run(ask(Fixed(across)))[0] == [2] * 9


class AcrossRows:
    """A model whose answer to a row depends on the others."""

    def __init__(self, model: Any) -> None:
        self.model, self.classes_ = model, model.classes_

    def predict(self, rows: pd.DataFrame) -> Any:
        return self.model.predict(rows)[::-1] if len(rows) > 1 else self.model.predict(rows)

    def predict_proba(self, rows: pd.DataFrame) -> Any:
        return self.model.predict_proba(rows) / len(rows)


class Fixed:
    """What is served, and stays."""

    def __init__(self, predictor: Any, name: str = "forest") -> None:
        self.predictor, self.source, self.swaps = predictor, ModelSource(name, "champion"), 0


def predictor_record(key: str, store: Store, tag: str = "champion") -> Any:
    return store.manager.store.read_artifact(key, project=store.project, tag=tag)


def move(store: Store, key: str, uid: str, tag: str = "champion") -> None:
    records = Records(store.manager.store, store.project)
    records.tag(records.artifact(f"{key}^{uid}"), tag)


def test_promotion_under_load(
    saved: Any, store: Store, training_set: pd.DataFrame, features: pd.DataFrame
) -> None:
    """No request fails, and each answer is that of the version that it names."""
    forest = "sklearn.ensemble.RandomForestClassifier"
    uids = [
        saved("moving", train(training_set, forest, n_estimators=5, random_state=n), "champion")
        for n in range(2)
    ]
    body = json.dumps(features.iloc[:1].to_numpy().tolist()).encode()
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    content = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    odds = {}
    for uid in uids:
        model = MLRunModel("moving", load_args={"uid": uid}).load()
        odds[uid] = model.predict_proba(features.iloc[:1]).tolist()
    followed, ended, seen = (
        Followed(ModelSource("moving", "champion")),
        threading.Event(),
        list[str](),
    )
    versions: list[str] = []
    with serving(followed) as served, ThreadPoolExecutor(4) as threads:

        def ask(_: int) -> None:
            """Send 50 requests, and don't wait for the answers in between."""
            with socket.create_connection(("127.0.0.1", served.port)) as opened:
                opened.sendall(content * 50)
                answers = opened.makefile("rb")
                for _ in range(50):
                    status, *headers = iter(answers.readline, b"\r\n")
                    assert b" 200 " in status
                    [length] = [each for each in headers if each.startswith(b"content-length:")]
                    told = json.loads(answers.read(int(length.split()[1])))
                    assert told["probabilities"] == odds[told["model_version"]]
                    versions.append(told["model_version"])

        def promote() -> None:
            while not ended.wait(0.02):
                if len(versions) < 1000 * len(seen):
                    continue
                move(store, "moving", uids[len(seen) % 2])
                followed.look()
                seen.append(followed.predictor.version)

        promoting = threading.Thread(target=promote)
        promoting.start()
        assert len([*threads.map(ask, range(200))]) == 200
        ended.set()
        promoting.join()
        assert len(versions) == 10_000 and {*versions} == {*uids} and followed.swaps > 3
        ask(0)
        assert versions[-1] == seen[-1]
        assert served.ask("/ready")[2]["Model-Version"] == seen[-1]
        assert 'requests_total{status="200"} 10051' in served.ask("/metrics")[1]


def test_what_cannot_be_loaded_is_not_swapped_in(
    saved: Any, store: Store, training_set: pd.DataFrame, caplog: pytest.LogCaptureFixture
) -> None:
    """Tampered, of other columns, deleted, or the store away: it goes on, and says so once."""
    first = saved("kept", DecisionTreeClassifier(max_depth=3).fit(*split(training_set)))
    followed = Followed(ModelSource("kept", "champion"))

    def looked(times: int = 3) -> list[str]:
        caplog.clear()
        for _ in range(times):
            followed.look()
        return [record.getMessage() for record in caplog.records]

    assert looked() == []
    second = saved("kept", DecisionTreeClassifier(max_depth=2).fit(*split(training_set)))
    spec = predictor_record("kept", store)["spec"]
    file = Path(spec["target_path"], spec["model_file"])
    content = file.read_bytes()
    file.write_bytes(content + b"\0")
    [told] = looked()
    assert "has the hash" in told and followed.predictor.version == first
    file.write_bytes(content)
    move(store, "kept", first)
    assert looked() == []
    move(store, "kept", second)
    assert ["from now on" in told for told in looked()] == [True]
    assert followed.predictor.version == second
    fewer = training_set.drop(columns="mean_area")
    saved("kept", DecisionTreeClassifier(max_depth=3).fit(*split(fewer)), data=fewer)
    [told] = looked()
    assert "it takes other columns" in told and followed.predictor.version == second
    store.manager.store.del_artifact("kept", project=store.project)
    [told] = looked()
    assert "was deleted" in told
    path = store.folder / "mlrun.db"
    path.rename(path.with_suffix(".away"))
    [told] = looked()
    assert "is not there" in told and not path.exists()
    path.with_suffix(".away").rename(path)
    assert followed.predictor.version == second


def split(training_set: pd.DataFrame) -> tuple[Any, Any]:
    return training_set.drop(columns="diagnosis"), training_set["diagnosis"]


def test_requests_are_recorded(
    saved: Any, training_set: pd.DataFrame, features: pd.DataFrame, tmp_path: Path
) -> None:
    """By hour, without private columns, with what the shadow would have answered."""
    forest = "sklearn.ensemble.RandomForestClassifier"
    saved("forest", train(training_set, forest, n_estimators=5, random_state=9), "challenger")
    shadow = Followed(ModelSource("forest", "challenger"))
    followed = Followed(ModelSource("forest", "champion"))
    log = RequestLog(str(tmp_path), "forest", ["mean_area"], shadow)
    rows = features.iloc[:20]
    with serving(followed, log=log) as served:
        told = [
            served.predict({"id": n, "inputs": rows.iloc[n : n + 2].to_numpy().tolist()})
            for n in range(0, 20, 2)
        ]
    log.close(10)
    files = [*tmp_path.glob("requests/forest/????-??-??/??/*.parquet")]
    assert files and log.dropped == 0
    found = pd.read_parquet(tmp_path / "requests").sort_values("request.time", kind="stable")
    assert "mean_area" not in found and len(found) == 20
    kept = rows.drop(columns="mean_area")
    assert np.array_equal(found[kept.columns].to_numpy(), kept.to_numpy())
    assert found["answer.prediction"].tolist() == [
        name for each in told for name in each["outputs"]
    ]
    assert found["request.id"].tolist() == [str(n - n % 2) for n in range(20)]
    odds = shadow.predictor.model.predict_proba(rows)
    assert np.array_equal(found["shadow.probability.benign"], odds[:, 0])
    assert {*found["shadow.version"]} == {shadow.predictor.version}


def test_a_store_that_takes_no_records_slows_no_answer(
    boosted: Served, features: pd.DataFrame, tmp_path: Path
) -> None:
    """They are dropped and counted, and it is said once."""
    (tmp_path / "requests").write_text("in the way")
    log = RequestLog(str(tmp_path), "boosted")
    log.seconds = 0.01
    body = features.iloc[:2].to_numpy().tolist()
    with serving(boosted.app.followed, log=log) as served:
        for _ in range(5):
            served.predict(body)
        log.close(10)
        assert log.dropped == 10
        assert "log_dropped_rows_total 10\n" in served.ask("/metrics")[1]


class Slow:
    """A model that answers when it is let."""

    together, seconds, name, version = False, 1.0, "forest", "1"

    def __init__(self, schema: Schema) -> None:
        self.schema, self.go, self.begun = schema, threading.Event(), threading.Event()

    def answer(self, rows: Rows) -> Any:
        from kedro_mlrun.models.prediction import Answer

        self.begun.set()
        assert self.go.wait(10)
        return Answer(["benign"] * len(rows))


def test_a_full_queue(boosted: Served, features: pd.DataFrame) -> None:
    """What comes when too many wait is told to come again; the others are answered."""
    slow = Slow(boosted.app.followed.predictor.schema)
    body = features.iloc[:1].to_numpy().tolist()
    with serving(Fixed(slow), waiting=2) as served, ThreadPoolExecutor(3) as threads:
        first = threads.submit(served.ask, "/predict", body)
        assert slow.begun.wait(10)
        others = [threads.submit(served.ask, "/predict", body) for _ in range(2)]
        while served.app.batches.length < 2:
            time.sleep(0.01)
        status, told, headers = served.ask("/predict", body)
        assert (status, headers["Retry-After"]) == (429, "1") and "again later" in told["error"]
        # Others than predictions are answered all the while.
        assert served.ask("/health")[0] == 200
        slow.go.set()
        assert [each.result()[0] for each in (first, *others)] == [200] * 3


def test_requests_that_wait_to_be_recorded_are_bounded(
    boosted: Served, features: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In bytes, too, for a row may have long texts; what is too much is dropped and counted."""
    body = features.iloc[:2].to_numpy().tolist()
    monkeypatch.setattr("kedro_mlrun.models.requests.LARGEST", 2.5 * len(json.dumps(body)))
    slow = Slow(boosted.app.followed.predictor.schema)
    log = RequestLog(str(tmp_path), "boosted", shadow=Fixed(slow))
    log.seconds = 0.01
    with serving(boosted.app.followed, log=log) as served:
        served.predict(body)
        assert slow.begun.wait(10)
        for _ in range(3):
            served.predict(body)
        assert "log_dropped_rows_total 4\n" in served.ask("/metrics")[1]
        slow.go.set()
        log.close(10)
    assert len(pd.read_parquet(tmp_path / "requests")) == 4


def test_a_request_that_never_ends_is_ended(
    boosted: Served, features: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its head or in its body; an answer that takes long is waited for."""
    monkeypatch.setattr(web, "SECONDS", 0.05)
    slow = Slow(boosted.app.followed.predictor.schema)
    head, post = b"GET /ready HTTP/1.1\r\nHost: x\r\n", b"POST /predict HTTP/1.1\r\nHost: x\r\n"
    parts = (b"", head, post + b"Content-Length: 9\r\n\r\n[")
    with serving(Fixed(slow)) as served, ThreadPoolExecutor(1) as thread:
        answer = thread.submit(served.predict, features.iloc[:1].to_numpy().tolist())
        assert slow.begun.wait(10)
        for before, part in product((b"", head + b"\r\n"), parts):
            with socket.create_connection(("127.0.0.1", served.port), 10) as opened:
                opened.sendall(before)
                told = b"" if before else b"}"
                while b"}" not in told:
                    told += opened.recv(1000) or b"closed }"
                assert b"closed" not in told
                # Before any byte of a second one, uvicorn has a limit itself.
                opened.sendall(part or before[:1])
                assert opened.recv(1000) == b""
        slow.go.set()
        assert answer.result()["outputs"] == ["benign"]


def test_one_request_at_fault_fails_alone(boosted: Served, features: pd.DataFrame) -> None:
    """Also if it was asked together with others; a fault of the model is told without its text."""

    class Choosy(Slow):
        together, seconds = True, 0.0

        def answer(self, rows: Rows) -> Any:
            if rows.matrix[:, 0].max() > 1e6:
                raise KeyError("secret")
            return super().answer(rows)

    choosy = Choosy(boosted.app.followed.predictor.schema)
    choosy.go.set()

    async def ask() -> list[Any]:
        batches = module.Batches(Fixed(choosy), 100)
        rows = features.iloc[:3].to_numpy().copy()
        rows[1, 0] = 1e7
        parts = [choosy.schema.rows([row]) for row in rows.tolist()]
        return await asyncio.gather(*map(batches.add, parts), return_exceptions=True)

    one, other, last = asyncio.run(ask())
    assert (one.outputs, last.outputs) == (["benign"], ["benign"])
    assert isinstance(other, KeyError)
    with serving(Fixed(choosy)) as served:
        status, told, _ = served.ask("/predict", [[1e7] + [1.0] * 29])
        assert status == 500 and "KeyError" in told["error"] and "secret" not in told["error"]


def test_token(boosted: Served, features: pd.DataFrame) -> None:
    """Without it nothing is told but that the server is alive and ready."""
    body = features.iloc[:1].to_numpy().tolist()
    with serving(boosted.app.followed, token=TOKEN) as served:
        for headers in ({}, {"Authorization": "Bearer"}, {"Authorization": "Bearer a-tokem"}):
            assert served.ask("/predict", body, **headers)[0] == 401
            assert served.ask("/metadata", **headers)[0] == 401
        assert served.ask("/health")[0] == served.ask("/v2/health/ready")[0] == 200
        for scheme in ("Bearer", "bearer", "BEARER "):
            assert served.ask("/predict", body, Authorization=f"{scheme} {TOKEN}")[0] == 200
        assert served.ask("/predict", body, Authorization=f"Basic {TOKEN}")[0] == 401


def test_what_the_server_tells_of_itself(boosted: Served) -> None:
    """For MLRun's clients, those of the Open Inference Protocol, Prometheus, and a person."""
    version = boosted.app.followed.predictor.version
    assert boosted.ask("/v2/models")[1] == {"models": ["boosted"]}
    for path in ("/health", "/ready", "/v2/health/live", "/v2/health/ready", "/v2"):
        assert boosted.ask(path)[0] == 200
    told = boosted.ask("/v2/models/boosted")[1]
    assert told == boosted.ask("/metadata")[1] and told["versions"] == [version]
    assert told["inputs"][0] == {
        "name": "mean_radius",
        "value_type": "float",
        "datatype": "FP64",
        "shape": [-1],
    }
    described = boosted.ask("/openapi.json")[1]
    given = described["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    for path, methods in described["paths"].items():
        for method in methods:
            body = given["example"] if method == "post" else None
            assert boosted.ask(path, body)[0] == 200, path
    page = boosted.ask("/")[1]
    assert "mean_radius" in page and "src=" not in page and "http" not in page.split("<h2>")[0]
    path = f"/v2/models/boosted/versions/{version}/infer"
    assert boosted.predict(given["example"], path)["model_version"] == version


def test_what_http_has_beside_get_and_post(boosted: Served) -> None:
    """HEAD is GET without the body, 405 says what is allowed, and a packed body is named."""
    found, told, _ = boosted.ask("/predict", gzip.compress(b"[]"), **{"Content-Encoding": "gzip"})
    assert found == 415 and "Content-Encoding" in told["error"]
    assert boosted.ask("/predict")[2]["Allow"] == "POST"
    connection = http.client.HTTPConnection("127.0.0.1", boosted.port)
    for method, path, status in (("HEAD", "/ready", 200), ("HEAD", "/predict", 405)):
        connection.request(method, path)
        response = connection.getresponse()
        assert (response.status, response.read()) == (status, b"")
    connection.request("DELETE", "/metadata")
    assert connection.getresponse().headers["Allow"] == "GET, HEAD"


def test_csv_means_what_it_means_to_pandas() -> None:
    """A file that a pipeline predicts has the same missing values in a request."""
    words = [*parsers.STR_NA_VALUES, "text"]
    content = "a,b,c\n" + "".join(f'"{word}","{word}","{word}"\n' for word in words[:-1])
    content += "text,1.5,true\n"
    kinds = {"a": "str", "b": "float", "c": "bool"}
    schema = Schema({"inputs": [{"name": n, "value_type": kind} for n, kind in kinds.items()]})
    rows = schema.csv(content.encode()).frame
    assert_frame_equal(rows.isna(), pd.read_csv(io.StringIO(content)).isna())
    assert rows.iloc[-1].tolist() == ["text", 1.5, True]


def test_the_example_suits_columns_of_no_recorded_type() -> None:
    """Which are numbers, as a rule: a model that was saved without its training set has such."""
    inputs = [{"name": "x"}, {"name": "text", "value_type": "str"}]
    assert Schema({"inputs": inputs}).example == [0.5, "text"]


def test_metadata_has_the_types_of_answers() -> None:
    """As the tensors of the answers have them."""
    for kind, classes, datatype in (
        ("int", [1, 2], "INT64"),
        ("int", ["1", "2"], "BYTES"),
        ("bool", [False, True], "BOOL"),
        ("str", ["no", "yes"], "BYTES"),
        ("float", [], "FP64"),
    ):
        schema = Schema({"outputs": [{"name": "y", "value_type": kind}]})
        predictor = SimpleNamespace(schema=schema, classes=classes, name="m", version="v")
        assert protocol.metadata(predictor)["outputs"][0]["datatype"] == datatype


def test_csv_with_quotes() -> None:
    schema = Schema({"inputs": [{"name": "a, b", "value_type": "str"}]})
    text = io.StringIO()
    csv.writer(text).writerows([["a, b"], ['x "y"\nz']])
    assert schema.csv(text.getvalue().encode()).frame["a, b"].tolist() == ['x "y"\nz']
