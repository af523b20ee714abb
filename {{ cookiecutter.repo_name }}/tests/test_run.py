"""The project as a whole, with its own configuration and data."""

from kedro.framework.session import KedroSession

from tests import PROJECT


def test_the_pipelines_run_and_are_recorded():
    """What `kedro run` does, but in a temporary store (see conftest.py)."""
    with KedroSession.create(PROJECT) as session:
        session.run()

    from kedro_mlrun import MLRunContextManager

    (run,) = MLRunContextManager().project.list_runs(name="~").to_objects()
    assert run.state() == "completed"
