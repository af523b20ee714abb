"""MLRunHooks: Kedro's runs are MLRun's runs."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlrun
import pytest
from kedro.framework.session import KedroSession
from kedro.pipeline import node, pipeline

from tests import PROJECT, metadata, project_module
from tests.conftest import Store, states

hooks = project_module("tracking.hooks")
report = project_module("tracking.report")

CATALOG = """
named:
  type: PACKAGE.datasets.MLRunResult
keyed:
  type: PACKAGE.datasets.MLRunResult
  key: own-key
"{name}_number":
  type: PACKAGE.datasets.MLRunAbstractDataset
old:
  type: PACKAGE.datasets.MLRunAbstractDataset
  key: saved
  versioned: true
saved:
  type: PACKAGE.datasets.MLRunAbstractDataset
"""


def fail(_: Any) -> None:
    raise ValueError("no luck [/bad]")


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a configuration with a catalog for these tests, and pipelines for it."""
    folder = tmp_path / "conf"
    (folder / "local").mkdir(parents=True)
    (folder / "base").mkdir()
    (folder / "base" / "mlrun.yml").write_text("project: never-used")
    catalog = CATALOG.replace("PACKAGE", str(metadata().package_name))
    (folder / "base" / "catalog.yml").write_text(catalog)
    (folder / "base" / "parameters.yml").write_text("number: 1")
    registered = {
        "good": pipeline(
            [
                node(lambda number: number, "params:number", "named", name="one"),
                node(lambda number: number, "params:number", "keyed", name="two"),
                node(lambda number: number, "params:number", "a_number", name="three"),
                node(lambda number: number, "params:number", "saved", name="four"),
            ]
        ),
        "bad_pipeline": pipeline(
            [node(lambda number: number, "params:number", "saved"), node(fail, "saved", None)]
        ),
        "reader": pipeline([node(lambda number: number, "old", "named")]),
    }
    registry = project_module("pipeline_registry")
    monkeypatch.setattr(registry, "register_pipelines", lambda: registered)
    return folder


def run(conf: Path, name: str, number: int = 1, **options: Any) -> None:
    with KedroSession.create(
        PROJECT, conf_source=str(conf), runtime_params={"number": number}
    ) as session:
        # Kedro's type for a session doesn't know all that a KedroSession takes.
        session.run(pipeline_names=[name], **options)  # type: ignore[call-arg]


def test_a_kedro_run_is_an_mlrun_run(store: Store, conf: Path) -> None:
    """It is named after the pipeline and completed; keys are the catalog's names, patterns' too."""
    run(conf, "good")
    assert states(store) == [("good", "completed")]
    (record,) = mlrun.get_run_db().list_runs(project=store.project, name="good")
    assert record["status"]["results"] == {"named": 1, "own-key": 1}
    assert set(record["status"]["artifact_uris"]) == {"a_number", "saved"}


def test_two_runs_in_one_process(store: Store, conf: Path) -> None:
    """Each is a run of its own with its own end, though the first one fails."""
    with pytest.raises(ValueError, match="no luck"):
        run(conf, "bad_pipeline")
    run(conf, "good")
    assert states(store) == [("bad_pipeline", "error"), ("good", "completed")]
    (record,) = mlrun.get_run_db().list_runs(project=store.project, name="bad_pipeline")
    assert record["status"]["error"] == "no luck [/bad]"
    assert record["status"]["artifact_uris"].keys() == {"saved"}


def test_earlier_versions_by_load_versions(store: Store, conf: Path) -> None:
    """Law 2: `--load-versions=name:VERSION` takes the id of a run."""
    for number in (1, 2):
        run(conf, "good", number)
    first = mlrun.get_run_db().list_runs(project=store.project, name="good")[-1]
    run(conf, "reader", load_versions={"old": first["metadata"]["uid"]})
    run(conf, "reader")
    newest, older = mlrun.get_run_db().list_runs(project=store.project, name="reader")
    assert older["status"]["results"] == {"named": 1}
    assert newest["status"]["results"] == {"named": 2}


def test_only_missing_outputs(embedded: Store, conf: Path) -> None:
    """What an earlier run has saved is not made again."""
    run(conf, "good")
    run(conf, "good", only_missing_outputs=True)
    newest = mlrun.get_run_db().list_runs(project=embedded.project, name="good")[0]
    assert not newest["status"].get("artifact_uris")


def test_the_run_is_shown(embedded: Store, conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At its end a person sees name, id, state, results, artifacts, and where to look next."""
    run(conf, "good")
    (record,) = mlrun.get_run_db().list_runs(project=embedded.project, name="good")
    shown = capsys.readouterr().out
    for part in ("'good'", record["metadata"]["uid"], "completed", "own-key", "a_number.json"):
        assert part in shown


def test_a_failure_is_shown(
    embedded: Store, conf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that failed says so, and why."""
    with pytest.raises(ValueError, match="no luck"):
        run(conf, "bad_pipeline")
    shown = capsys.readouterr().out
    assert "error" in shown
    assert "ValueError" in shown
    assert "no luck [/bad]" in shown


def test_what_it_says_to_look_at_next_works(embedded: Store, conf: Path) -> None:
    """The code that a run's end shows gives the table of runs."""
    run(conf, "good")
    *imports, table = report.LOOK_FURTHER.format(package=metadata().package_name).splitlines()
    names: dict[str, Any] = {}
    exec("\n".join([*imports, f"table = {table}"]), names)
    assert list(names["table"]["name"]) == ["good"]


def test_keys_for_the_catalog() -> None:
    """Only this project's datasets get a key, and only where they have none."""
    kind = f"{hooks.DATASETS}MLRunModel"
    assert hooks.with_key("a", {"type": kind}) == {"type": kind, "key": "a"}
    assert hooks.with_key("{x}.a", {"type": kind})["key"] == "{x}.a"
    assert hooks.with_key("a@pandas", {"type": kind})["key"] == "a"
    assert hooks.with_key("a", {"type": kind, "key": "b"})["key"] == "b"
    assert hooks.with_key("a", {"type": "pandas.CSVDataset"}) == {"type": "pandas.CSVDataset"}
    wrapped = hooks.with_key("a", {"type": "CachedDataset", "dataset": {"type": kind}})
    assert wrapped["dataset"]["key"] == "a"
    assert hooks.with_key("_anchor", ["not a dataset"]) == ["not a dataset"]


def test_a_mistake_in_mlrun_yml_is_one_line(conf: Path) -> None:
    """No traceback for a user's mistake."""
    (conf / "base" / "mlrun.yml").write_text("project: iris\nstore: x")
    done = subprocess.run(
        [sys.executable, "-m", "kedro", "run", "--conf-source", str(conf)],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert "Extra inputs are not permitted" in done.stderr
