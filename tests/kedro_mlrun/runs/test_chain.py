"""What ties separate runs together."""

import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from kedro.framework.project import pipelines
from kedro.pipeline import Pipeline, node

from kedro_mlrun.runs.chain import made_in_chain


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two pipelines, of which Kedro finds those that a run names, as `find_pipelines` does."""

    def register() -> dict[str, Pipeline]:
        parts = {
            name: Pipeline([node(lambda: 1, None, f"{name}_data", name=name)])
            for name in ("a", "b")
        }
        wanted = pipelines._requested_pipelines or parts
        return {name: parts[name] for name in parts if name in wanted}

    before = pipelines._pipelines_module
    monkeypatch.setitem(sys.modules, "two", SimpleNamespace(register_pipelines=register))
    pipelines.configure("two")
    yield
    pipelines.configure(before)


def test_what_another_pipeline_has_made_is_of_the_chain(registry, monkeypatch):
    """Law 4: though Kedro has found only the pipeline that this run names."""
    monkeypatch.setenv("MLRUN_CHAIN_ID", "monday")
    run = {"metadata": {"uid": "1"}, "spec": {"parameters": {"kedro.pipeline": "a"}}}
    found = [run]
    db = SimpleNamespace(list_runs=lambda **_: found)
    manager = SimpleNamespace(project_name="p", store=db)
    manager.current_of = manager.abort_lost_runs = lambda: None
    pipelines.set_requested(["b"])
    assert made_in_chain(manager) == (True, {"a_data"})
    found.clear()
    assert made_in_chain(manager) == (False, {"a_data", "b_data"})
    assert {*pipelines} == {"b"}
