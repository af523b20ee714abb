"""The project's own pipelines, run as `kedro run` runs them, with the project's own data."""

import shutil
from pathlib import Path
from typing import Any

import click
import mlrun
import numpy as np
import pandas as pd
import pytest
import yaml
from helpers import PROJECT, Store, metadata
from kedro.framework.cli.project import run
from kedro.framework.session import KedroSession
from kedro.io import Version
from kedro.validation import DataValidationError
from mlrun.frameworks.sklearn import SKLearnModelServer

from kedro_mlrun import datasets

OWN = {"kedro.parameters", "kedro.catalog", "kedro.pipeline", "kedro.nodes"}
METRICS = {"accuracy", "precision", "recall", "f1", "roc_auc", "log_loss"}


def kedro_run(store: Store, pipeline: str, **parameters: Any) -> dict[str, Any]:
    """Run a pipeline as in a process of its own, and give MLRun's record of it."""
    few = {"model": {"arguments": {"n_estimators": 20}}}
    parameters = {"random_forest": few, "xgboost": few, **parameters}
    with KedroSession.create(PROJECT, runtime_params=parameters) as session:
        # Kedro's type for a session doesn't know all that a KedroSession takes.
        session.run(pipeline_names=[pipeline])  # type: ignore[call-arg]
    store.new_process()
    name = "training-evaluation" if pipeline == "__default__" else pipeline
    record = mlrun.get_run_db().list_runs(project=store.project, name=name)[0]
    uid = record["metadata"]["uid"]
    return dict(mlrun.get_run_db().read_run(uid, store.project))


def read_params(text: str) -> dict[str, Any]:
    """Read parameters as `kedro run --params` does."""
    (option,) = (option for option in run.params if option.name == "params")
    return dict(option.process_value(click.Context(run), text))


def forest(trees: int) -> dict[str, Any]:
    """Give the parameters of a run with so many trees, and a split of its own."""
    return {
        "random_forest": {"model": {"arguments": {"n_estimators": trees}}},
        "split": {"seed": trees},
    }


def files(record: dict[str, Any]) -> dict[Path, bytes]:
    """Give the bytes of a run's artifacts."""
    folder = Path(record["spec"]["output_path"])
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_first_of_two_runs_stays_as_it_was(embedded: Store) -> None:
    """Law 2: after another run with other parameters, its model and data load by its run id."""
    first = kedro_run(embedded, "__default__", **forest(5))
    recorded = files(first)
    second = kedro_run(embedded, "__default__", **forest(7))

    assert first["status"]["state"] == second["status"]["state"] == "completed"
    assert files(first) == recorded
    for trees, record in {5: first, 7: second}.items():
        of_run = {"load_args": {"uid": record["metadata"]["uid"]}}
        model = datasets.MLRunModel(key="random_forest_model", **of_run).load()
        assert len(model[-1].estimators_[0].estimators_) == trees
        test_set = datasets.MLRunDataframeDataset(key="test_set", **of_run).load()
        metrics = datasets.MLRunResult(key="evaluation_metrics", flatten=True, **of_run).load()
        accuracy = model.score(test_set, test_set["diagnosis"])
        assert metrics["test"]["random_forest"]["accuracy"] == accuracy


def test_what_a_run_records(embedded: Store) -> None:
    """Law 6: models that MLRun serves; sets, leaderboard, plots, six metrics for each."""
    record = kedro_run(embedded, "__default__")
    results = record["status"]["results"]
    best = results["best_model"]
    assert best in {"random_forest", "xgboost"}
    # Law 4: what decided is a result, beside the name, with how sure it is.
    scores = {name: results[f"validation.{name}.roc_auc"] for name in ("random_forest", "xgboost")}
    assert results["best_score.roc_auc"] == scores[best] == max(scores.values())
    assert results["best_score.low"] < scores[best] < results["best_score.high"]
    assert results["best_score.tied_with"] in {"none", *scores} - {best}
    for data in ("train", "validation", "test"):
        for candidate in ("random_forest", "xgboost"):
            prefix = f"{data}.{candidate}."
            named = {name for name in results if name.startswith(prefix)}
            assert named == {prefix + metric for metric in METRICS}
    assert record["status"]["artifact_uris"].keys() == OWN | {
        "training_set",
        "test_set",
        "random_forest_model",
        "xgboost_model",
        "model",
        "xgboost_learning_curve",
        "xgboost_learning_curve.chart",
        "leaderboard",
        "roc_curve",
        "confusion_matrix",
    }
    test_set = datasets.MLRunDataframeDataset(key="test_set").load()
    rows = test_set.drop(columns="diagnosis")
    models = embedded.manager.project.list_models(tag="latest")
    for model in models:
        assert [one.name for one in model.spec.inputs] == [*rows]
        assert [*model.spec.outputs][0].labels == {"0": "benign", "1": "malignant"}
        assert model.spec.feature_stats.keys() == {*rows}
        served = SKLearnModelServer(name="model", model_path=model.uri)
        served.load()
        answers = served.predict({"inputs": rows.to_numpy().tolist()})
        own = datasets.MLRunModel(key=model.spec.db_key).load()
        np.testing.assert_array_equal(answers, own.predict(rows))
    assert {model.spec.framework for model in models} == {"sklearn"}
    best_model = datasets.MLRunModel(key="model").load()
    expected = datasets.MLRunModel(key=f"{best}_model").load().predict_proba(rows)
    np.testing.assert_array_equal(best_model.predict_proba(rows), expected)
    for key in ("roc_curve", "confusion_matrix", "xgboost_learning_curve.chart"):
        assert datasets.MLRunAbstractDataset(key=key).load().startswith(b"\x89PNG")
    curve = datasets.MLRunMetricHistory(key="xgboost_learning_curve").load()
    assert curve["validation"].loc[20] == pytest.approx(
        results["validation.xgboost.log_loss"], rel=1e-5
    )


def test_a_row_that_breaks_the_schema_stops_the_run(embedded: Store, tmp_path: Path) -> None:
    """Before anything is computed; the run has failed, and says why."""
    rows = (PROJECT / "data" / "01_raw" / "measurements.csv").read_text(encoding="utf-8")
    (tmp_path / "bad.csv").write_text(rows.replace("17.99,", "-17.99,", 1), encoding="utf-8")
    environment = tmp_path / "conf" / "bad"
    shutil.copytree(PROJECT / "conf", tmp_path / "conf")
    environment.mkdir()
    entry = {"type": "pandas.CSVDataset", "filepath": str(tmp_path / "bad.csv")}
    entry["validator"] = f"{metadata().package_name}.pipelines.schemas.Measurements"
    (environment / "catalog.yml").write_text(yaml.safe_dump({"measurements": entry}))
    session = KedroSession.create(PROJECT, env="bad", conf_source=str(tmp_path / "conf"))
    with pytest.raises(DataValidationError), session:
        session.run(pipeline_names=["training"])
    (record,) = mlrun.get_run_db().list_runs(project=embedded.project, name="training")
    assert record["status"]["state"] == "error"
    assert "mean_radius: finite_and_at_least_0 — 1 case" in record["status"]["error"]
    assert set(record["status"]["artifact_uris"]) <= OWN


@pytest.mark.parametrize("store", ["api"], indirect=True)
def test_evaluation_by_itself(store: Store) -> None:
    """In a new process it evaluates the models of the newest run that has them, also on an API."""
    kedro_run(store, "training", **forest(5))
    trained = kedro_run(store, "training", **forest(7))
    evaluated = kedro_run(store, "evaluation", **forest(7))
    assert trained["status"]["results"].keys().isdisjoint(evaluated["status"]["results"])
    of_run = {"load_args": {"uid": trained["metadata"]["uid"]}}
    model = datasets.MLRunModel(key="random_forest_model", **of_run).load()
    test_set = datasets.MLRunDataframeDataset(key="test_set", **of_run).load()
    accuracy = model.score(test_set, test_set["diagnosis"])
    assert evaluated["status"]["results"]["test.random_forest.accuracy"] == accuracy


def test_the_champion_predicts_and_is_watched(
    embedded: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law 4: by its tag, also in a chain that has trained a newer model, and with its own data."""
    monkeypatch.setenv("MLRUN_CHAIN_ID", "monday")
    champion, newer = (kedro_run(embedded, "training", **forest(trees)) for trees in (5, 7))
    uris = champion["status"]["artifact_uris"]
    db, project = mlrun.get_run_db(), embedded.project
    model = db.list_artifacts("model", project, tree="monday")
    [made] = [it for it in model if it["metadata"]["uid"] == uris["model"].rpartition("^")[2]]
    db.tag_artifacts([made], project, "champion")

    def untagged(*keys: str) -> dict[str, str]:
        return {key: mlrun.utils.remove_tag_from_artifact_uri(uris[key]) for key in keys}

    predicted = kedro_run(embedded, "inference")
    assert predicted["spec"]["inputs"] == untagged("model")
    watched = kedro_run(embedded, "monitoring", monitoring={"smallest_distance": 0.2})
    assert watched["spec"]["inputs"] == untagged("model", "training_set", "test_set")
    results = watched["status"]["results"]
    assert (results["drift.state"], results["drift.found"]) == ("no drift", False)
    assert results["drift.distance"] < results["drift.threshold"]
    found = datasets.MLRunDataframeDataset(key="predictions").load()
    rows = pd.read_csv(PROJECT / "data" / "01_raw" / "new_measurements.csv")
    expected = datasets.MLRunModel(key="model", load_args={"tag": "champion"}).load()
    np.testing.assert_array_equal(found["prediction"], expected.predict(rows))
    # As `kedro run --load-versions=champion_model:RUN`.
    of_newer = {"champion_model": newer["metadata"]["uid"]}
    with KedroSession.create(PROJECT) as session:
        session.run(pipeline_names=["inference"], load_versions=of_newer)  # type: ignore[call-arg]
    embedded.new_process()
    found = datasets.MLRunDataframeDataset(key="predictions").load()
    other = datasets.MLRunModel(key="model", version=Version(*of_newer.values(), None)).load()
    np.testing.assert_array_equal(found["probability_benign"], other.predict_proba(rows)[:, 0])


def test_the_command_line_swaps_an_estimator(embedded: Store) -> None:
    """Law 9: in its place another one's arguments are refused; `instead` has arguments of its own.

    Law 4: the record names what was trained.
    """
    swap = "random_forest.model.estimator=sklearn.naive_bayes.GaussianNB"
    with pytest.raises(ValueError, match=r"GaussianNB does not accept .*`instead`"):
        kedro_run(embedded, "training", **read_params(swap))
    forest, boosted = "random_forest.model.instead", "xgboost.model.instead"
    options = f"{forest}.estimator=sklearn.ensemble.ExtraTreesClassifier"
    options += (
        f",{forest}.arguments.n_estimators=3,{boosted}.estimator=sklearn.dummy.DummyClassifier"
    )
    record = kedro_run(embedded, "training", **read_params(options))
    assert record["status"]["state"] == "completed"
    assert record["spec"]["parameters"][f"{forest}.arguments.n_estimators"] == 3
    trees = datasets.MLRunModel(key="random_forest_model").load()[-1].estimators_[0]
    assert (type(trees).__name__, trees.n_estimators, trees.random_state) == (
        "ExtraTreesClassifier",
        3,
        None,
    )
    dummy = datasets.MLRunModel(key="xgboost_model").load()[-1].estimators_[0]
    assert type(dummy).__name__ == "DummyClassifier"
    # It learns in no rounds.
    assert datasets.MLRunMetricHistory(key="xgboost_learning_curve").load().empty


def test_a_regression_is_parameters(embedded: Store) -> None:
    """With the shipped catalog: its metrics, plots and schema, and nothing of classes."""
    regressor = {"estimator": "sklearn.linear_model.Ridge"}
    record = kedro_run(
        embedded,
        "__default__",
        split={"target": "mean_area", "task": "regression", "leave_out": ["diagnosis"]},
        choice={"metric": "r2"},
        random_forest={"model": {"instead": regressor}},
        xgboost={"model": {"instead": {"estimator": "sklearn.dummy.DummyRegressor"}}},
    )
    results = record["status"]["results"]
    assert (results["best_model"], results["best_score.tied_with"]) == ("random_forest", "none")
    assert results["test.random_forest.r2"] > 0.9 > results["test.xgboost.r2"]
    artifacts = record["status"]["artifact_uris"].keys()
    assert {"predicted_against_actual", "residuals"} <= artifacts
    assert not {"roc_curve", "confusion_matrix"} & artifacts
    model = embedded.manager.project.get_artifact("random_forest_model")
    assert [one.name for one in model.spec.outputs] == ["mean_area"]
    assert "diagnosis" not in [one.name for one in model.spec.inputs]
