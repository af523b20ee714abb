"""The project as a whole, with its own configuration and data."""

import pytest
from kedro.framework.session import KedroSession

from tests import PROJECT


def kedro_run(*pipelines):
    """Do what `kedro run` does, but in a temporary store (see conftest.py)."""
    few = {"model": {"arguments": {"n_estimators": 10}}}
    values = {"random_forest": few, "xgboost": few}
    with KedroSession.create(PROJECT, runtime_params=values) as session:
        session.run(pipeline_names=pipelines or None)


def test_the_pipelines_run_and_are_recorded():
    """Training and evaluation; and with a model that is promoted, inference and monitoring."""
    from kedro_mlrun import MLRunContextManager

    with pytest.raises(Exception, match=r"kedro mlrun promote model"):
        kedro_run("inference")
    kedro_run()
    manager = MLRunContextManager()
    store, name = manager.store, manager.project_name
    store.tag_artifacts([store.read_artifact("model", project=name)], name, "champion")
    kedro_run("inference")
    kedro_run("monitoring")
    states = [run.state() for run in manager.project.list_runs(name="~").to_objects()]
    assert sorted(states) == ["completed"] * 3 + ["error"]
