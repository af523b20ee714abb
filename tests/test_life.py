"""`make life`, with fewer rows, trials and requests."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

import pytest
from conftest import PYTHON
from forkserver import fork_server
from test_project import FEWER_TREES


@pytest.fixture
def life(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    import life

    for name, value in {"ROWS": 600, "TRIALS": 2, "REQUESTS": 50}.items():
        monkeypatch.setattr(life, name, value)
    yield life
    del sys.modules["life"]


def test_a_model_lives(life: ModuleType, tmp_path: Path, settings: Mapping[str, str]) -> None:
    """Each step does what it is for, from a search to a rollback."""
    lived = life.Life(tmp_path, fork_server(PYTHON).environment / "bin" / "kedro", settings)
    lived.step("make rows", lambda: life.configure(lived.path))
    parameters = lived.path / "conf" / "base" / "parameters_training.yml"
    parameters.write_text(parameters.read_text().replace(*FEWER_TREES))
    life.live(lived)
    told = {what: came for what, came, _ in lived.rows}
    assert told["search"].startswith("2 trials")
    assert "is model:champion now" in told["promote the best"]
    assert told["monitor new rows"].startswith("no drift")
    assert told["monitor shifted rows"] == "drift; worst feature monthly_bill"
    assert "50 answers by" in told["serve 50 requests, with a shadow"]
    assert "instead of run" in told["promote the challenger under load"]
    assert "instead of run" in told["roll back"]
    assert told["compare with the shadow"].endswith(f"of {lived.answered} requests")
    assert told["history"] == "5 entries, 1 of them a refusal"
