"""MLRunModel."""

import logging
import os
import pickle
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle
import joblib
import mlrun
import numpy as np
import pandas as pd
import pytest
import xgboost
from helpers import Store, metadata
from kedro.io import DatasetError
from mlrun.frameworks.auto_mlrun import AutoMLRun
from mlrun.frameworks.sklearn import SKLearnModelServer
from mlrun.frameworks.xgboost import XGBoostModelServer
from sklearn.base import ClassifierMixin
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from kedro_mlrun.datasets import MLRunDataframeDataset
from kedro_mlrun.secrets import known
from kedro_mlrun.store.context import RunContext

Dataset = import_module("kedro_mlrun.datasets").MLRunModel

X = np.arange(20.0).reshape(10, 2)
Y = np.arange(10) > 4


def forest() -> Any:
    return xgboost.XGBClassifier(n_estimators=3, max_depth=2).fit(X, Y)


@pytest.mark.parametrize("model_format", ["pkl", "joblib", ".PKL"])
def test_scikit_learn_models_come_back(store: Store, model_format: str) -> None:
    """Law 1, in a later process as well."""
    dataset = Dataset(key="model", model_format=model_format)
    model = LogisticRegression(C=2.0).fit(X, Y)
    dataset.save(model)
    store.new_process()
    loaded = dataset.load()
    assert loaded.get_params() == model.get_params()
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))


@pytest.mark.parametrize("model_format", ["pkl", "json", "ubj"])
def test_xgboost_models_come_back(embedded: Store, model_format: str) -> None:
    """Law 1: each comes back as what it was: a classifier, a regressor, a booster."""
    dataset = Dataset(key="model", framework="xgboost", model_format=model_format)
    regressor = xgboost.XGBRegressor(n_estimators=2).fit(X, X[:, 0])
    booster = xgboost.train({"max_depth": 2}, xgboost.DMatrix(X, Y), 3)
    for model in (forest(), regressor, booster):
        dataset.save(model)
        loaded = dataset.load()
        assert type(loaded) is type(model)
        data = xgboost.DMatrix(X) if isinstance(model, xgboost.Booster) else X
        np.testing.assert_array_equal(loaded.predict(data), model.predict(data))


def same_answers(loaded: Any, model: Any) -> bool:
    """Compare parameters, and what a fitted model has learnt."""
    learnt = [name for name in dir(model) if name[-1] == "_" != name[0] and hasattr(model, name)]
    for name in learnt:
        np.testing.assert_equal(getattr(loaded, name), getattr(model, name))
    assert {"classes_", "feature_importances_", "n_features_in_", "evals_result_"} <= {*learnt}
    return repr(loaded.get_params()) == repr(model.get_params())


@pytest.mark.parametrize(
    "arguments",
    [
        {"importance_type": "weight"},
        {"missing": -1.0, "base_score": 0.25, "a_parameter_of_xgboost_itself": 3},
    ],
    ids=lambda arguments: [*arguments][0],
)
def test_a_model_answers_the_same_afterwards(embedded: Store, arguments: dict[str, Any]) -> None:
    """Law 1: XGBoost's own formats hold few of the arguments; parameters and answers are kept."""
    arguments = {"n_estimators": 3, "max_depth": 2, **arguments}
    values = np.where(X > 15, -1.0, X)
    model = xgboost.XGBClassifier(**arguments)
    model.fit(values, Y, eval_set=[(values, Y)], verbose=False)
    before = model.get_booster().attributes()
    for model_format in ("json", "ubj"):
        Dataset(key="model", model_format=model_format).save(model)
        assert model.get_booster().attributes() == before
        loaded = Dataset(key="model").load()
        assert same_answers(loaded, model)
        np.testing.assert_array_equal(loaded.predict_proba(values), model.predict_proba(values))


class Scored(xgboost.XGBClassifier):
    """A classifier of the user's own."""

    def predict_proba(self, data: Any) -> Any:
        return super().predict_proba(data) ** 2


class Growing(Scored):
    """It answers otherwise each time that it is loaded."""

    @property
    def age_(self) -> int:
        return id(self)


def own_objective(truth: Any, predicted: Any) -> Any:
    return predicted - truth, np.ones_like(truth)


@pytest.mark.parametrize(
    ("model", "lost"),
    [
        (xgboost.XGBClassifier(n_estimators=1, objective=own_objective), "objective"),
        (
            xgboost.XGBRegressor(n_estimators=1, callbacks=[xgboost.callback.TrainingCallback()]),
            "callbacks",
        ),
        (Growing(n_estimators=1), "age_"),
        (xgboost.XGBRegressor(n_estimators=1, feature_weights=np.ones(2)), "feature_weights"),
        (xgboost.XGBRegressor(n_estimators=1, learning_rate=np.float32(0.5)), "learning_rate"),
        (xgboost.XGBRegressor(monotone_constraints=(1, 0)), "monotone_constraints"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_format_would_lose_is_refused(embedded: Store, model: Any, lost: str) -> None:
    """Law 1: whatever a model answers otherwise when it is loaded is named, and not recorded."""
    model.fit(X, Y)
    for model_format in ("json", "ubj"):
        with pytest.raises(DatasetError, match=f"'{model_format}' doesn't keep {lost} of this"):
            Dataset(key="model", model_format=model_format).save(model)
    assert embedded.manager.project.list_models() == []


def test_xgboosts_formats_are_for_classes_and_not_for_names(embedded: Store) -> None:
    """Law 1: a subclass of XGBoost's comes back; nothing else that a record names is called."""
    model = Scored(n_estimators=2).fit(X, Y)
    Dataset(key="model", model_format="ubj").save(model)
    loaded = Dataset(key="model").load()
    assert type(loaded) is Scored
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    main = type("Main", (Scored,), {"__module__": "__main__"})
    with pytest.raises(DatasetError, match="can't import __main__.Main; move the class"):
        Dataset(key="model", model_format="ubj").save(main(n_estimators=2).fit(X, Y))
    artifact = embedded.manager.project.get_artifact("model")
    artifact.metadata.labels["python-type"] = "os.getcwd"
    artifact.spec.db_key = "other"
    embedded.manager.db.store_artifact("other", artifact.to_dict(), project=embedded.project)
    with pytest.raises(DatasetError, match="getcwd> is no model of XGBoost's"):
        Dataset(key="other").load()


@pytest.mark.parametrize(
    ("framework", "server", "model"),
    [
        ("sklearn", SKLearnModelServer, LogisticRegression().fit(X, Y)),
        ("sklearn", SKLearnModelServer, make_pipeline(StandardScaler(), Ridge()).fit(X, Y)),
        ("xgboost", XGBoostModelServer, forest()),
    ],
    ids=["linear", "pipeline", "xgboost"],
)
def test_mlruns_own_servers_read_a_model(
    store: Store, framework: str, server: Any, model: Any
) -> None:
    """Law 6: a model that is kept as `pkl` is a plain pickle, also to `AutoMLRun`."""
    Dataset(key="model", framework=framework).save(model)
    store.new_process()
    uri = store.manager.project.get_artifact("model").uri
    assert predicted(server, uri) == model.predict(X).tolist()
    loaded = AutoMLRun.load_model(uri).model
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    file, _, _ = mlrun.artifacts.get_model(uri)
    assert type(pickle.loads(Path(file).read_bytes())) is type(model)


def predicted(server: Any, uri: str) -> Any:
    """Serve a model, as MLRun does, and give what it answers."""
    function = mlrun.new_function("serving", kind="serving")
    function.set_topology("router")
    name = f"{server.__module__}.{server.__qualname__}"
    function.add_model("model", model_path=uri, class_name=name)
    mock = function.to_mock_server()
    return mock.test("/v2/models/model/infer", {"inputs": X.tolist()})["outputs"]


PROJECTS_OWN = """
from sklearn.base import BaseEstimator

LIMIT = 4

def above(rows):
    return [row[0] > LIMIT for row in rows]

class Threshold(BaseEstimator):
    def fit(self, rows, classes):
        self.fitted_ = True
        return self

    def predict(self, rows):
        import numpy
        return numpy.array(above(rows))
"""


def test_a_class_of_the_project_is_read_where_the_project_is_not(
    embedded: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Law 6: its code is with it; law 1: where the project is, it is the project's own class."""
    # As in a shell in the project's folder, which is named in the code.
    monkeypatch.setenv("PWD", str(tmp_path))
    monkeypatch.setenv("OLDPWD", str(tmp_path))
    module = ModuleType(f"{metadata().package_name}.thresholds")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(PROJECTS_OWN, tmp_path / "src" / "thresholds.py", "exec"), vars(module))
    model = make_pipeline(StandardScaler(with_mean=False, with_std=False), module.Threshold())
    Dataset(key="model").save(model.fit(X, Y))
    assert type(Dataset(key="model").load()[-1]) is module.Threshold
    file, _, _ = mlrun.artifacts.get_model(embedded.manager.project.get_artifact("model").uri)
    code = f"model = __import__('cloudpickle').load(open({file!r}, 'rb'))\n"
    code += "print(*model.predict([[3, 0], [5, 0]]))"
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=env, cwd="/", capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("False True\n", "")


OTHERS = """
import functools, os, threading

LOCK, SERVICE_TOKEN, ADDRESS = threading.Lock(), "hunter", os.environ["A_TOKEN"]
PLACE = "s3cr3t-place-4711"

class Locked:
    def predict(self, rows):
        with LOCK:
            return rows

class Named:
    def predict(self, rows):
        return SERVICE_TOKEN

class Within:
    api_key = str(object())

class Remote:
    def predict(self, rows):
        return (lambda: ADDRESS)()

class Innocent:
    def predict(self, rows):
        return PLACE

def plus(function):
    @functools.wraps(function)
    def wrapper(rows):
        return function(rows) + 1
    return wrapper

@plus
def same(rows):
    return rows
"""


def test_only_code_without_secrets_is_with_a_model(
    embedded: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law 8: no global with a secret in it; law 10: where code can't go, it is a plain pickle."""
    package, module = (ModuleType(f"{metadata().package_name}{end}") for end in ("", ".others"))
    for each in (package, module):
        monkeypatch.setitem(sys.modules, each.__name__, each)
    monkeypatch.setenv("A_TOKEN", "s3cr3t-value-9812")
    monkeypatch.setattr(known, "_known", known._Known())
    exec(OTHERS, vars(module))
    cloudpickle.register_pickle_by_value(package)
    try:
        known.register({"password": "s3cr3t-place-4711"})
        for name in ("Locked", "Named", "Within", "Remote", "Innocent"):
            Dataset(key=name).save(model := vars(module)[name]())
            assert type(Dataset(key=name).load()) is type(model)
            artifact = embedded.manager.project.get_artifact(name)
            content = (Path(artifact.target_path) / artifact.model_file).read_bytes()
            assert content == pickle.dumps(model, protocol=pickle.HIGHEST_PROTOCOL)
        # Elsewhere the environment's are no secrets but by the user's own word.
        assert known.hide("s3cr3t-value-9812") == "s3cr3t-value-9812"
        # What a name doesn't find would come back as what it finds.
        with pytest.raises(DatasetError, match="not the same object"):
            Dataset(key="model").save(module.same.__wrapped__)
        assert package.__name__ in cloudpickle.list_registry_pickle_by_value()
    finally:
        cloudpickle.unregister_pickle_by_value(package)


SOURCE = """
from collections import defaultdict
from typing import Generic, TypeVar

T = TypeVar("T")
KNOWN = CONSTANT
GROUPS = {"all": [(KNOWN, frozenset(KNOWN))], "others": defaultdict(list, known=[KNOWN])}

class Base:
    kinds = CONSTANT

class Model(Base, Generic[T]):
    def __init__(self):
        self.seen, self.tree = set(KNOWN), {"rows": [[set(KNOWN)]]}
        self.tree["rows"][0] += [self.tree, self.seen]

    def predict(self, rows):
        known = GROUPS["all"][0][0] & self.kinds & self.seen
        return [row in CONSTANT and row in known for row in rows]
"""


def test_the_same_code_gives_the_same_bytes(
    embedded: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Wherever it lies, and in whatever order this process has sets; other code gives others."""
    name, hashes = f"{metadata().package_name}.others", []
    for number, constant in enumerate(("{0, 8}", "{8, 0}", "{0, 9}")):
        file = tmp_path / str(number) / "others.py"
        with monkeypatch.context() as patch:
            patch.syspath_prepend(file.parent)
            patch.setitem(sys.modules, name, module := ModuleType(name))
            module.__file__ = str(file)
            exec(compile(SOURCE.replace("CONSTANT", constant), file, "exec"), vars(module))
            Dataset(key="model").save(module.Model())
        hashes.append(embedded.manager.project.get_artifact("model").metadata.hash)
        model = Dataset(key="model").load()
        assert (type(model).__mro__[1].__name__, model.predict([8])) == ("Base", [number < 2])
        # What was one object is one again.
        first, itself, seen = model.tree["rows"][0]
        assert (type(first), itself is model.tree, seen is model.seen) == (set, True, True)
        groups = model.predict.__globals__["GROUPS"]
        assert groups["all"][0][0] is groups["others"]["known"][0]
        assert [*map(type, groups["all"][0])] == [set, frozenset]
    assert hashes[0] == hashes[1] != hashes[2]


def test_many_classes_that_refer_to_each_other_go_with_a_model(
    embedded: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is looked at once: else so many would nest too deep for Python, and take minutes."""
    name, count = f"{metadata().package_name}.many", 60
    code = "class C{}:\n    def next(self):\n        return C{}()\n"
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, name, module := ModuleType(name))
        exec("".join(code.format(n, (n + 1) % count) for n in range(count)), vars(module))
        Dataset(key="model").save(
            [each() for each in vars(module).copy().values() if type(each) is type]
        )
    models = Dataset(key="model").load()
    assert len(models) == count and type(models[1]).__name__ == "C1"
    assert type(models[0].next()) is type(models[1])


def test_equal_names_are_written_once(embedded: Store) -> None:
    """Else the bytes would depend on threads, for where a model was loaded, they may be several."""
    models = [LogisticRegression(), Ridge()]
    for model in models:
        vars(model).update({"".join(["name_", "of_both_"]): 1})
    Dataset(key="model").save(make_pipeline(*models))
    artifact = embedded.manager.project.get_artifact("model")
    content = (Path(artifact.target_path) / artifact.model_file).read_bytes()
    assert content.count(b"name_of_both_") == 1


@pytest.mark.parametrize("model_format", ["pkl", "joblib", "ubj"])
def test_models_of_earlier_versions_are_read(embedded: Store, model_format: str) -> None:
    """Law 1: `pkl` was joblib's format, and XGBoost's own had no notes."""
    model = forest() if model_format == "ubj" else LogisticRegression().fit(X, Y)
    Dataset(key="model", model_format=model_format).save(model)
    artifact = embedded.manager.project.get_artifact("model")
    file = Path(artifact.target_path) / artifact.model_file
    if model_format == "joblib":
        assert b"joblib.numpy_pickle" in file.read_bytes()
    model.save_model(file) if model_format == "ubj" else joblib.dump(model, file)
    artifact.metadata.hash = mlrun.utils.helpers.calculate_local_file_hash(str(file))
    artifact.spec.db_key = "earlier"
    embedded.manager.db.store_artifact("earlier", artifact.to_dict(), project=embedded.project)
    loaded = Dataset(key="earlier").load()
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))


FRAME = pd.DataFrame(
    X, columns=["length", "width"], index=[f"row {number}" for number in range(10)]
)
FRAME["kind"] = pd.Categorical(np.where(Y, "wide", "long"))


def recorded(store: Store, key: str = "model") -> dict[str, Any]:
    """Give inputs, outputs and statistics of a model, as they stand in its record."""
    spec = mlrun.get_run_db().read_artifact(key, project=store.project)["spec"]
    return {name: spec.get(name) for name in ("inputs", "outputs", "feature_stats")}


@pytest.mark.parametrize("label", [{}, {"label_column": "kind"}], ids=["by itself", "named"])
def test_a_record_has_features_of_the_training_set(store: Store, label: dict[str, str]) -> None:
    """Law 6: MLRun's own inputs, outputs and statistics; a class is named, though it is a code."""
    MLRunDataframeDataset(key="rows").save(FRAME)
    model = LogisticRegression().fit(FRAME[["length", "width"]], FRAME["kind"].cat.codes)
    Dataset(key="model", save_args={"training_set": "rows", **label}).save(model)
    found = recorded(store)
    names = ("length", "width")
    assert found["inputs"] == [{"name": name, "value_type": "float"} for name in names]
    labels = {"0": "long", "1": "wide"}
    assert found["outputs"] == [{"name": "kind", "value_type": "str", "labels": labels}]
    assert found["feature_stats"]["width"]["mean"] == 10
    assert sum(found["feature_stats"]["length"]["hist"][0]) == 10
    # The specification beside the model's file says the same, for who has the folder only.
    folder = store.manager.project.get_artifact("model").target_path
    _, beside, _ = mlrun.artifacts.get_model(folder)
    assert beside.to_dict()["spec"]["outputs"] == found["outputs"]


@pytest.mark.parametrize("arguments", [{"label_column": 0}, {"label_column": 2}, {}], ids=str)
def test_columns_without_names_are_described(
    embedded: Store, caplog: pytest.LogCaptureFixture, arguments: dict[str, Any]
) -> None:
    """Law 6: a column's name may be a number, also 0, and then its text is the feature's name."""
    label = arguments.get("label_column", 2)
    frame = pd.DataFrame(X).rename(columns={0: 1, 1: 2} if label == 0 else {})
    frame.insert(label, label, Y.astype(int))
    model = LogisticRegression().fit(X, Y)
    if not arguments:
        arguments = {"label_column": [2]}
    Dataset(key="model", save_args={"training_set": frame, **arguments}).save(model)
    assert not caplog.records
    (output,) = recorded(embedded)["outputs"]
    assert output["name"] == str(label)
    assert len(recorded(embedded)["inputs"]) == 2


def test_classes_are_named_as_they_were_learnt(embedded: Store) -> None:
    """Law 4: text as it is, and a number that is a category itself is no code of one."""
    numbers = pd.Categorical(np.where(Y, 0, 1), categories=[1, 0])
    for key, kind in {"text": FRAME["kind"].astype(str), "number": numbers}.items():
        frame = FRAME.assign(kind=kind)
        model = LogisticRegression().fit(frame[["width"]], frame["kind"].to_numpy())
        Dataset(key=key, save_args={"training_set": frame, "label_column": "kind"}).save(model)
    (text,), (number,) = (recorded(embedded, key)["outputs"] for key in ("text", "number"))
    assert text["labels"] == {"0": "long", "1": "wide"}
    assert number["labels"] == {"0": "0", "1": "1"}
    assert [one["name"] for one in recorded(embedded, "text")["inputs"]] == ["width"]


def test_a_record_has_features_of_the_model(embedded: Store) -> None:
    """Law 6: without a training set the fitted model tells them; what it isn't told stays out."""
    Dataset(key="text").save(LogisticRegression().fit(FRAME[["width"]], FRAME["kind"].astype(str)))
    labels = {"0": "long", "1": "wide"}
    output = {"name": "label", "value_type": "str", "labels": labels}
    expected = {"inputs": [{"name": "width"}], "outputs": [output]}
    assert recorded(embedded, "text") == {**expected, "feature_stats": None}
    Dataset(key="numbers", save_args={"label_column": "y"}).save(forest())
    assert [one["name"] for one in recorded(embedded, "numbers")["outputs"]] == ["y"]
    Dataset(key="line").save(Ridge().fit(X, X[:, 0]))
    assert recorded(embedded, "line") == {"inputs": None, "outputs": None, "feature_stats": None}


@pytest.mark.parametrize(
    ("training_set", "label", "said"),
    [
        ("nothing", None, "'nothing' can't be loaded"),
        (FRAME, None, "another number of features; set label_column"),
        (FRAME, "knid", "'knid'"),
    ],
    ids=["missing", "which is it", "misspelt"],
)
def test_a_model_without_features_is_recorded(
    embedded: Store, caplog: pytest.LogCaptureFixture, training_set: Any, label: Any, said: str
) -> None:
    """Law 10: they are extras, and nobody trains again for want of them."""
    Dataset(key="model", save_args={"training_set": training_set, "label_column": label}).save(
        LogisticRegression().fit(X, Y)
    )
    assert isinstance(Dataset(key="model").load(), LogisticRegression)
    (message,) = [each.message for each in caplog.records if each.levelno == logging.WARNING]
    assert message.startswith("'model' is recorded without inputs and outputs of its training set")
    assert said in message
    # What the model knows by itself is there.
    (output,) = recorded(embedded)["outputs"]
    assert output["labels"] == {"0": "False", "1": "True"}


@pytest.mark.parametrize("path", ["model.pkl", "https://example.com/model.pkl"])
def test_a_file_without_a_record_is_refused_at_once(embedded: Store, path: str) -> None:
    """Law 9: when the dataset is made, and not when a node needs it; a store:// URI can be read."""
    with pytest.raises(DatasetError, match=f"'model' has the path {path}, a file without a record"):
        Dataset(key="model", load_args={"path": path})
    Dataset(key="saved").save(forest())
    uri = embedded.manager.project.get_artifact("saved").uri
    assert isinstance(Dataset(key="model", load_args={"path": uri}).load(), ClassifierMixin)


def test_mlrun_knows_the_model(store: Store) -> None:
    """Framework, algorithm, labels and MLRun's own arguments are recorded; MLRun can read it.

    Law 4: the framework is the model's, and the catalog's where its class tells none.
    """
    Dataset(key="other", framework="weights").save({"weights": [1]})
    (model,) = store.manager.project.list_models()
    assert model.spec.framework == "weights"
    arguments = {"labels": ["production", "v1.0"], "metrics": {"accuracy": 0.9}}
    Dataset(key="classifier", framework="sklearn", save_args=arguments).save(Scored().fit(X, Y))
    (model,) = store.manager.project.list_models("classifier")
    assert model.spec.framework == "xgboost"
    assert model.spec.algorithm == "Scored"
    assert model.spec.metrics == {"accuracy": 0.9}
    assert {"production", "v1.0", "framework"} < set(model.labels)
    file, _, _ = mlrun.artifacts.get_model(model.uri)
    assert isinstance(joblib.load(file), xgboost.XGBClassifier)


@pytest.mark.parametrize("compress", [0, 3])
def test_models_that_mlrun_logged(store: Store, compress: int) -> None:
    """What a handler logged with MLRun's own `log_model` loads too."""
    folder = Path(store.manager._folder) / "models"
    folder.mkdir()
    joblib.dump(LogisticRegression().fit(X, Y), folder / "model.pkl", compress)
    context = store.manager.open_run("train-main")
    context.log_model("model", model_dir=str(folder), model_file="model.pkl")
    store.new_process()
    assert isinstance(Dataset(key="train-main_model").load(), ClassifierMixin)


def test_changed_models_are_not_read(embedded: Store) -> None:
    """Law 9: a model whose bytes are not those that were recorded is refused, unread."""
    Dataset(key="model").save(forest())
    artifact = embedded.manager.project.get_artifact("model")
    file = Path(artifact.target_path) / artifact.model_file

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path(file.parent / "evil").touch, ())

    joblib.dump(Evil(), file)
    with pytest.raises(DatasetError, match="so it isn't read"):
        Dataset(key="model").load()
    assert not (file.parent / "evil").exists()


def test_a_model_without_hash_is_not_read(embedded: Store) -> None:
    """Law 9: no hash, no trust."""
    Dataset(key="model").save(forest())
    artifact = embedded.manager.project.get_artifact("model")
    artifact.metadata.hash = None
    artifact.db_key = "copy"
    mlrun.get_run_db().store_artifact("copy", artifact.to_dict(), project=embedded.project)
    with pytest.raises(DatasetError, match="and not None"):
        Dataset(key="copy").load()


def test_what_is_not_a_model(embedded: Store) -> None:
    """A wrong format, a wrong type, an artifact of another kind are named."""
    with pytest.raises(DatasetError, match="model_format of .* takes no 'onnx'. Use joblib, json"):
        Dataset(key="model", model_format="onnx")
    with pytest.raises(DatasetError, match="XGBoost's own, and this is a sklearn"):
        Dataset(key="model", model_format="ubj").save(LogisticRegression())
    with pytest.raises(DatasetError, match="Can't pickle"):
        Dataset(key="model").save(lambda: 0)
    with pytest.raises(DatasetError, match="XGBoost's own, and this is a xgboost.core.DMatrix"):
        Dataset(key="model", model_format="ubj").save(xgboost.DMatrix(X, Y))
    import_module("kedro_mlrun.datasets").MLRunAbstractDataset(key="text").save("text")
    with pytest.raises(DatasetError, match="kind 'artifact' and not a model"):
        Dataset(key="text").load()
    with pytest.raises(DatasetError, match="'lable'"):
        Dataset(key="model", save_args={"lable": 1}).save(forest())


def test_a_save_that_fails_leaves_nothing(embedded: Store) -> None:
    """No record, and no file."""
    with pytest.raises(DatasetError, match="'model' can't be saved"):
        Dataset(key="model", save_args={"extra_data": {"plot": "missing.png"}}).save(forest())
    folder = Path(embedded.manager.context.artifact_path)
    assert [path for path in folder.rglob("*") if path.is_file()] == []
    assert embedded.manager.project.list_models() == []


def test_a_save_that_fails_spares_other_artifacts(embedded: Store) -> None:
    """Law 2, though the key that can't be saved is the name of another artifact's file."""
    Dataset(key="forest").save(forest())
    with pytest.raises(DatasetError, match="'model' can't be saved"):
        Dataset(key="model", save_args={"tag": "not a tag!"}).save(forest())
    assert isinstance(Dataset(key="forest").load(), ClassifierMixin)


def test_what_is_recorded_keeps_its_bytes(embedded: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law 3: where only the run's update fails, the artifact's record has bytes to point at."""

    def update_run(*args: Any, **kwargs: Any) -> None:
        raise OSError("disk full")

    embedded.manager.open_run("training")
    with monkeypatch.context() as patch:
        patch.setattr(RunContext, "update_run", update_run)
        with pytest.raises(DatasetError, match="disk full"):
            Dataset(key="model").save(forest())
    embedded.new_process()
    assert isinstance(Dataset(key="model").load(), ClassifierMixin)


def test_paths_are_short(embedded: Store) -> None:
    """The run's folder, the key, a folder for each save, and the model's file."""
    Dataset(key="model").save(forest())
    artifact = embedded.manager.project.get_artifact("model")
    path = Path(artifact.target_path).relative_to(embedded.manager.context.artifact_path)
    assert (path.parent, len(path.name)) == (Path("model"), 8)
    files = {file.name for file in Path(artifact.target_path).iterdir()}
    assert files == {"model.pkl", "model_spec.yaml"}
