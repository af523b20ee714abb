"""The commands, in this process: what they print, and what a user's mistake is answered with."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import click
import mlrun
import pytest
from click.testing import CliRunner, Result
from helpers import PROJECT, Store, metadata
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.startup import bootstrap_project
from kedro.validation.exceptions import ParameterValidationError

from kedro_mlrun import MLRunResult, __version__
from kedro_mlrun.commands import cli as commands
from kedro_mlrun.commands.records import STATES
from kedro_mlrun.setup import manifest

SUMMARY = {
    *("uid", "name", "state", "start_time", "parameters", "results", "labels"),
    *("artifacts", "inputs", "error"),
}
ALL = """
    abort artifacts build compare delete doctor history init lineage logs models monitor open
    promote push reproduce rollback runs schedules search serve show submit tag ui update workflow
""".split()
NOT_OF_RECORDS = {"init", "update"}


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """Undo what a command changes in the environment."""
    with patch.dict(os.environ):
        yield


def kedro_mlrun(*arguments: str, **options: Any) -> Result:
    """Run a command."""
    return CliRunner().invoke(commands.cli, ["mlrun", *arguments], **options)


def lines(*arguments: str) -> list[list[str]]:
    """Run a command, and give the words of each line that it prints."""
    done = kedro_mlrun(*arguments)
    assert (done.exit_code, done.stderr) == (0, ""), done.output
    return [line.split() for line in done.stdout.splitlines()]


def data(*arguments: str) -> Any:
    """Run a command with `--json`, and give what a strict parser reads in its output."""
    done = kedro_mlrun(*arguments, "--json")
    assert (done.exit_code, done.stderr) == (0, ""), done.output
    return json.loads(done.stdout, parse_constant=pytest.fail)


@pytest.fixture
def made(store: Store) -> SimpleNamespace:
    """A training, an evaluation of its model, and a run that failed."""
    db = mlrun.get_run_db()
    manager = store.manager
    training = manager.open_run("training")
    training.log_results({"auc": 0.91, "loss": float("nan")})
    training.log_model("model", body=b"weights", model_file="m.bin", db_key="model")
    training.log_artifact("kedro.catalog", body="{}", db_key="kedro.catalog", format="yaml")
    training.log_artifact("chart", body="<p>", db_key="chart", format="html")
    manager.close_run()
    evaluation = manager.open_run("evaluation")
    evaluation.log_results({"auc": 0.93})
    manager.close_run()
    failed = manager.open_run("training")
    manager.close_run(ValueError("[bold]boom\nTraceback: …"))
    uri = training.artifact_uris["model"]
    db.update_run({"spec.inputs": {"model": uri}}, evaluation.uid, store.project)
    for context, trees in ((training, 10), (evaluation, 20)):
        updates = {"spec.parameters": {"trees": trees, "list": [1, 2]}}
        db.update_run(updates, context.uid, store.project)
    return SimpleNamespace(
        training=training.uid, evaluation=evaluation.uid, failed=failed.uid, model=uri
    )


# ---- what they print


def test_runs(made, store):
    """Newest first, with whole ids where no terminal cuts them."""
    head, *rows = lines("runs")
    assert head[:5] == ["id", "name", "state", "started", "took"]
    assert head[5:] == ["params.trees", "params.list", "results.auc", "results.loss", "error"]
    assert [row[0] for row in rows] == [made.failed, made.evaluation, made.training]
    assert rows[0][-1] == "[bold]boom"
    found = data("runs")
    assert [run["uid"] for run in found] == [made.failed, made.evaluation, made.training]
    assert all(run.keys() >= SUMMARY for run in found)
    assert found[2]["results"]["loss"] in {"NaN", None}
    assert [run["state"] for run in data("runs", "--state", "error", "--since", "1h")] == ["error"]
    assert len(data("runs", "--limit", "2")) == 2
    assert data("runs", "--label", "owner=nobody") == data("runs", "--pipeline", "x") == []
    assert data("runs", "--since", "2200-01-01") == []
    assert "has no such run" in kedro_mlrun("runs", "--pipeline", "x").stderr


def test_runs_on_a_terminal(made, monkeypatch):
    """No line is wider than the terminal, and ids are long enough to name a run."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    for columns in (80, 120):
        monkeypatch.setenv("COLUMNS", str(columns))
        for arguments in (["runs"], ["artifacts"], ["models"], ["compare", "evaluation", "last"]):
            printed = click.unstyle(kedro_mlrun(*arguments).stdout)
            assert printed
            assert max(map(len, printed.splitlines())) <= columns, printed
        assert made.model in kedro_mlrun("show", "evaluation").stdout
        shown = click.unstyle(kedro_mlrun("runs").stdout).splitlines()[1].split()[0]
        assert shown == made.failed[:8]


def test_show(made):
    found = data("show", made.failed[:10])
    assert found.keys() >= SUMMARY
    assert (found["uid"], found["state"]) == (made.failed, "error")
    assert found["error"].startswith("[bold]boom")
    shown = kedro_mlrun("show", "evaluation").stdout
    for text in ("Run 'evaluation'", made.evaluation, "trees  20", "auc  0.93", made.model):
        assert text in shown, shown
    shown = kedro_mlrun("show", "last").stdout
    assert "Error\n  [bold]boom\n  Traceback: …" in shown


def test_compare(made):
    """Numbers come with their difference to the first run's; what only Kedro notes needs --all."""
    printed = lines("compare", made.training, made.evaluation)
    assert ["trees", "10", "20", "+10"] in printed
    assert ["auc", "0.9100", "0.9300", "+0.0200"] in printed
    assert "list" not in {words[0] for words in printed if words}
    compared = data("compare", made.training, made.evaluation, made.failed)
    trees = next(row for row in compared["parameters"] if row["name"] == "trees")
    assert (trees["values"], trees["differences"]) == ([10, 20, None], [0, 10, None])
    assert kedro_mlrun("compare", "last").exit_code == 2


def test_compare_as_html(made, tmp_path):
    """The page's own comparison of exactly these runs, and why one failed."""
    file = tmp_path / "compared.html"
    assert lines("compare", made.failed, made.training, "--html", str(file)) == [[str(file)]]
    text = file.read_text()
    assert "<h1>2 runs</h1>" in text and "boom" in text and len(text) < 60_000
    assert made.training[:8] in text and made.evaluation[:8] not in text


def test_artifacts_and_models(made):
    """Keys, tags, producing run and path of each version."""
    head, *rows = lines("artifacts")
    assert {row[0] for row in rows} == {"model", "chart"}
    assert {row[head.index("run")] for row in rows} == {made.training}
    (model,) = data("models")
    assert (model["key"], model["run"], model["tags"]) == ("model", made.training, ["latest"])
    assert [item["key"] for item in data("artifacts", "--key", "chart")] == ["chart"]
    assert len(data("artifacts")) == 2
    assert len(data("artifacts", "--run", made.training)) == 3
    assert len(data("artifacts", "--key", "kedro.catalog")) == 1
    assert data("artifacts", "--run", made.evaluation) == data("models", "--tag", "v1") == []
    assert (
        "no such artifact. To list all: kedro mlrun artifacts"
        in kedro_mlrun("models", "--tag", "v1").stderr
    )


def test_open(made, monkeypatch):
    """The path alone, so that other commands can take it."""
    path = kedro_mlrun("open", "model").stdout.strip()
    assert Path(path).read_bytes() == b"weights"
    assert data("open", made.model)["path"] == path
    for outcome in (0, 1):
        monkeypatch.setattr(click, "launch", {path: outcome}.__getitem__)
        done = kedro_mlrun("open", "model", "--view")
        assert (done.exit_code, "No viewer" in done.stderr) == (outcome, bool(outcome))
    Path(path).unlink()
    done = kedro_mlrun("open", "model")
    assert (done.exit_code, done.stdout, "does not exist" in done.stderr) == (1, "", True)
    assert "make it again with kedro run" in done.stderr


def test_lineage(made):
    """Both directions, of an artifact and of a run."""
    printed = kedro_mlrun("lineage", "model").stdout
    assert printed.index("came from") < printed.index("run training") < printed.index("used by")
    assert printed.index("used by") < printed.index("run evaluation")
    found = data("lineage", "model")
    assert [run["uid"] for run in found["upstream"]] == [made.training]
    assert [run["uid"] for run in found["downstream"]] == [made.evaluation]
    found = data("lineage", "evaluation")
    assert [item["name"] for item in found["upstream"]] == ["model"]
    assert data("lineage", "last")["uid"] == made.failed


def test_tag(made):
    printed = kedro_mlrun("tag", "model", "v1").stdout
    assert "latest, v1" in printed
    assert data("tag", f"model@{made.training}", "v2")["tags"] == ["latest", "v1", "v2"]
    done = kedro_mlrun("tag", "model", "not a tag")
    assert (done.exit_code, "'not a tag' can't be a tag" in done.stderr) == (2, True)
    assert kedro_mlrun("tag", "model", "").exit_code == 2
    # What else names a version: `--load-versions=model:RUN` would load the one that is tagged so.
    for name in ("latest", "last", made.evaluation):
        done = kedro_mlrun("tag", "model", name)
        assert (done.exit_code, f"'{name}' is " in done.stderr) == (2, True)


def test_delete(made):
    """It asks; artifacts that other runs have used are named; files go only with --artifacts."""
    path = Path(data("open", "model")["path"])
    done = kedro_mlrun("delete", made.training, "--artifacts", input="n\n")
    assert done.exit_code == 1
    assert f"is an input of run 'evaluation' {made.evaluation}" in done.stderr
    assert "with 3 artifacts" in done.stderr
    assert path.exists()
    assert kedro_mlrun("delete", made.failed, input="y\n").exit_code == 0
    assert kedro_mlrun("show", made.failed).exit_code == 2
    deleted = json.loads(
        kedro_mlrun("delete", made.training, "--artifacts", "--yes", "--json").stdout
    )
    assert deleted["deleted"] == ["chart", "kedro.catalog", "model"]
    assert not path.exists()
    assert data("artifacts") == []


def test_what_a_deletion_keeps_is_said(made):
    """Law 9: the last sentence names the artifacts whose files stay."""
    with patch("kedro_mlrun.records.records.delete_data", side_effect=OSError("It is read-only.")):
        done = kedro_mlrun("delete", made.training, "--artifacts", "--yes")
    assert "Warning: It is read-only." in done.stderr
    assert done.stdout.rstrip().endswith(
        " The files of model, kedro.catalog, chart stay, with what is beside them."
    )


# ---- mistakes


@pytest.mark.parametrize(
    "arguments",
    [
        *(["show", "trainng"], ["compare", "last", "trainng"], ["delete", "trainng"]),
        *(["lineage", "modle"], ["open", "modle"], ["tag", "modle:v1", "v2"]),
        ["artifacts", "--run", "trainng"],
    ],
)
def test_what_is_not_there(made, arguments):
    """One sentence, the nearest, exit code 2, and nothing on stdout."""
    done = kedro_mlrun(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert (
        "training" in done.stderr
        or "Did you mean 'model'?" in done.stderr
        or "model:v1" in (done.stderr)
    )


def test_options_that_can_not_be(embedded):
    for arguments in (["runs", "--since", "soon"], ["runs", "--state", "x"], ["runs", "-n", "0"]):
        assert kedro_mlrun(*arguments).exit_code == 2


def test_an_empty_project(embedded):
    assert "kedro run" in kedro_mlrun("runs").stderr
    assert data("runs") == data("artifacts") == []
    done = kedro_mlrun("show", "last")
    assert (done.exit_code, "no runs yet. To make one: kedro run" in done.stderr) == (2, True)


def test_a_store_that_can_not_be_used(embedded, tmp_path, monkeypatch):
    """One sentence, no traceback."""
    (tmp_path / "mlrun.db").write_text("not a database" * 100)
    done = kedro_mlrun("runs")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "can't be used as an embedded store" in done.stderr


def test_the_environment_chooses_the_settings(embedded, monkeypatch):
    """As with Kedro's own commands."""
    kedro_mlrun("runs", "--env", "staging")
    assert os.environ["KEDRO_ENV"] == "staging"


# ---- help and kedro run


@pytest.mark.parametrize("name", ALL)
def test_each_command_explains_itself(name):
    """With an example, which is this command's."""
    command = commands.mlrun_group.get_command(click.Context(commands.mlrun_group), name)
    assert command.help
    assert command.epilog.startswith(f"Example: kedro mlrun {name}")
    if name not in NOT_OF_RECORDS:
        assert {"--json", "--env"} <= {flag for option in command.params for flag in option.opts}


def test_all_commands_are_known():
    assert commands.mlrun_group.list_commands(click.Context(commands.mlrun_group)) == ALL
    assert commands.mlrun_group.epilog.startswith("Example: kedro mlrun ")
    assert commands.run.epilog.startswith("Example: kedro run ")


def test_states_are_mlruns():
    from mlrun.common.runtimes.constants import RunStates

    assert {*STATES} <= {*RunStates.all()}


def invoke_run(monkeypatch: pytest.MonkeyPatch, error: Exception | None, *arguments: str) -> Result:
    """Run `kedro run` where Kedro's own function is another one."""

    def callback(**options: Any) -> None:
        assert options.keys() == {option.name for option in kedro_run.params}
        click.echo(str(os.environ.get("MLRUN_CHAIN_ID")))
        if error:
            raise error

    monkeypatch.setattr(kedro_run, "callback", callback)
    return CliRunner().invoke(commands.cli, ["run", *arguments])


def test_kedro_run_takes_a_chain_id(monkeypatch):
    """For this run alone, and everything that Kedro's own command takes."""
    assert invoke_run(monkeypatch, None, "--pipelines", "training").stdout == "None\n"
    for before in ("x0", None):
        if before is None:
            monkeypatch.delenv("MLRUN_CHAIN_ID")
        else:
            monkeypatch.setenv("MLRUN_CHAIN_ID", before)
        done = invoke_run(monkeypatch, None, "--chain-id", "x1", "-e", "local")
        assert done.stdout == "x1\n"
        assert os.environ.get("MLRUN_CHAIN_ID", "") == (before or "")


def test_a_recorded_error_is_one_line(embedded, monkeypatch):
    """The record has the traceback. With --verbose, or where nothing was recorded, it is raised."""
    error = ValueError("boom")
    monkeypatch.setattr(embedded.manager, "recorded_error", error, raising=False)
    done = invoke_run(monkeypatch, error)
    assert done.exit_code == 1
    assert len(done.stderr.splitlines()) == 1
    assert "shows its traceback" in done.stderr
    assert invoke_run(monkeypatch, error, "--verbose").exception is error
    other = ValueError("boom")
    assert invoke_run(monkeypatch, other).exception is other


@pytest.mark.parametrize("changed", [[], ["hooks.py"], ["hooks.py", "store/db.py"]])
def test_the_version(monkeypatch, changed):
    """With the files that somebody has changed, all of them."""
    monkeypatch.setattr(manifest, "changed_files", lambda: changed)
    state = f"changed: {', '.join(changed)}" if changed else "unchanged"
    assert kedro_mlrun("--version").stdout == f"kedro_mlrun {__version__}, {state}\n"


@pytest.mark.parametrize("error", [ValueError("boom"), ParameterValidationError("p", ["no"])])
def test_without_mlrun_yml_a_run_is_kedros_own(monkeypatch, tmp_path, error):
    """Its errors are Kedro's to show, and the chain is of no use to anybody."""
    (tmp_path / "conf" / "base").mkdir(parents=True)
    (tmp_path / "src").mkdir()
    (tmp_path / "pyproject.toml").write_text(
        '[tool.kedro]\npackage_name = "x"\nproject_name = "x"\nkedro_init_version = "1.7.0"\n'
    )
    monkeypatch.chdir(tmp_path)
    assert invoke_run(monkeypatch, None).exit_code == 0
    assert invoke_run(monkeypatch, error).exception is error
    # The next test's project is the usual one.
    bootstrap_project(PROJECT)


def test_kedro_finds_the_commands():
    """`python -m` and the package's own command take `run` from here; they are a plugin."""
    from kedro.framework.cli.utils import find_run_command

    package = metadata().package_name
    assert find_run_command(package) is commands.run


def test_logs_are_apart_from_json(embedded: Store, python: Callable[[str], str]) -> None:
    """A program reads the answer, also where a plugin logs after the command."""
    MLRunResult("score").save(1)
    embedded.new_process()
    code = """
import logging, sys
from kedro.framework.cli.cli import main
sys.argv = ["kedro", "mlrun", "runs", "--json"]
try:
    main()
except SystemExit:
    logging.getLogger("kedro").warning("a plugin has the last word")
"""
    said = python(f"import os\nos.chdir({str(PROJECT)!r})\n{code}")
    assert len(json.loads(said)) == 1
