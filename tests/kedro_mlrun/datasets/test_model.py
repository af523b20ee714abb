"""MLRunModel."""

from importlib import import_module
from pathlib import Path
from typing import Any

import joblib
import mlrun
import numpy as np
import pytest
import xgboost
from helpers import Store
from kedro.io import DatasetError
from sklearn.base import ClassifierMixin
from sklearn.linear_model import LogisticRegression

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
@pytest.mark.parametrize(
    "model",
    [
        forest(),
        xgboost.XGBRegressor(n_estimators=2).fit(X, X[:, 0]),
        xgboost.train({"max_depth": 2}, xgboost.DMatrix(X, Y), 3),
    ],
    ids=lambda model: type(model).__name__,
)
def test_xgboost_models_come_back(embedded: Store, model: Any, model_format: str) -> None:
    """Each comes back as what it was: a classifier, a regressor, a booster."""
    dataset = Dataset(key="model", framework="xgboost", model_format=model_format)
    dataset.save(model)
    loaded = dataset.load()
    assert type(loaded) is type(model)
    data = xgboost.DMatrix(X) if isinstance(model, xgboost.Booster) else X
    np.testing.assert_array_equal(loaded.predict(data), model.predict(data))


def test_mlrun_knows_the_model(store: Store) -> None:
    """Framework, algorithm, labels and MLRun's own arguments are recorded; MLRun can read it."""
    arguments = {"labels": ["production", "v1.0"], "metrics": {"accuracy": 0.9}}
    Dataset(key="xgb_regressor", framework="xgboost", save_args=arguments).save(forest())
    (model,) = store.manager.project.list_models()
    assert model.spec.framework == "xgboost"
    assert model.spec.algorithm == "XGBClassifier"
    assert model.spec.metrics == {"accuracy": 0.9}
    assert {"production", "v1.0", "framework"} < set(model.labels)
    file, _, _ = mlrun.artifacts.get_model(model.uri)
    assert isinstance(joblib.load(file), xgboost.XGBClassifier)


def test_models_that_mlrun_logged(store: Store) -> None:
    """What a handler logged with MLRun's own `log_model` loads too."""
    folder = Path(store.manager._folder) / "models"
    folder.mkdir()
    joblib.dump(LogisticRegression().fit(X, Y), folder / "model.pkl")
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
    with pytest.raises(DatasetError, match="doesn't keep `missing`"):
        Dataset(key="model", model_format="ubj").save(xgboost.XGBClassifier(missing=-1.0).fit(X, Y))
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

    with monkeypatch.context() as patch:
        patch.setattr(embedded.manager.context._rundb, "update_run", update_run)
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
