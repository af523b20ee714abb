"""Text that was recorded by others reaches no terminal as a command, and no page as HTML."""

import ast
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import mlrun
import pytest
from click.testing import CliRunner, Result
from helpers import PROJECT, Store
from markupsafe import escape

from kedro_mlrun.commands import cli as commands
from kedro_mlrun.jobs.submit import wait_for
from kedro_mlrun.runs.report import print_run
from kedro_mlrun.text import visible

# A title set by OSC, colours by CSI, both also by one character of C1; a bell, a text turned round.
HOSTILE = "\x1b]0;owned\x07\x1b[31mred\x9b2J\x9d8;;\x7f\u202eback\x08"
OBEYED = {*HOSTILE} - {*map(chr, range(32, 127))}
SCRIPT = "<script>alert('x')</script>"


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """Undo what a command changes in the environment."""
    with patch.dict(os.environ):
        yield


@pytest.fixture
def hostile(embedded: Store) -> str:
    """A run that has such text wherever text can be."""
    context = embedded.manager.open_run("training")
    context.log_results({f"auc{HOSTILE}": HOSTILE, "loss": 0.1})
    context.log_artifact("chart", body="<p>", db_key="chart", format="html")
    embedded.manager.close_run(ValueError(f"{HOSTILE} in an error"))
    db = mlrun.get_run_db()
    labels = {"workflow": HOSTILE, "pipeline": HOSTILE}
    updates = {"metadata.labels": labels, "spec.inputs": {"raw": HOSTILE}, "metadata.name": HOSTILE}
    db.update_run(updates, context.uid, embedded.project)
    parameters = {HOSTILE: SCRIPT, "price": HOSTILE}
    db.update_run({"spec.parameters": parameters}, context.uid, embedded.project)
    db.store_log(context.uid, embedded.project, f"{HOSTILE}\r\n50 %\r100 %".encode())
    return str(context.uid)


def kedro_mlrun(*arguments: str, **options: Any) -> Result:
    return CliRunner().invoke(commands.cli, ["mlrun", *arguments], **options)


@pytest.mark.parametrize("terminal", [False, True])
def test_nothing_recorded_is_obeyed_by_a_terminal(
    hostile: str, embedded: Store, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    """Law 4: what was recorded is shown as it is: parameters, names, errors, logs, a question."""
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    other = embedded.manager.open_run("evaluation").uid
    embedded.manager.close_run()
    for arguments in (
        *(["runs"], ["show", hostile], ["compare", hostile, other], ["lineage", hostile]),
        *(["logs", hostile], ["delete", hostile], ["abort", hostile], ["show", HOSTILE]),
        *(["runs", "--json"], ["show", hostile, "--json"], ["logs", hostile, "--json"]),
    ):
        done = kedro_mlrun(*arguments, input="n\n")
        printed = done.stdout + done.stderr
        # Rich's own colours are the only escapes, and only on a terminal.
        plain = printed.replace("\x1b[", "") if terminal and "--json" not in arguments else printed
        assert not OBEYED & {*plain}, arguments
        if arguments[0] in {"show", "logs", "compare"}:
            assert "]0;owned" in plain and "\\u009b" in plain
        assert "\x1b]" not in printed and "\x1b[31mred" not in printed
    assert json.loads(kedro_mlrun("show", hostile, "--json").stdout)["parameters"]["price"] == (
        HOSTILE
    )
    assert "100 %" in kedro_mlrun("logs", hostile).stdout.splitlines()


def test_the_table_of_a_run_and_a_followed_log_show_such_text(
    hostile: str, embedded: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """Law 4: what `kedro run` and `--follow` print is no exception."""
    assert not wait_for(hostile, embedded.project)
    print_run(hostile, embedded.project)
    printed = capsys.readouterr().out
    assert not OBEYED & {*printed}
    assert printed.count("]0;owned") >= 3


def test_a_page_of_compared_runs_has_no_html_of_others(
    hostile: str, embedded: Store, tmp_path: Path
) -> None:
    """Law 4: a parameter is shown as the text that it is, and doesn't run as a script."""
    other = embedded.manager.open_run("evaluation")
    other.log_results({"loss": 0.2, SCRIPT: SCRIPT})
    embedded.manager.close_run()
    db = mlrun.get_run_db()
    updates = {
        "spec.parameters": {SCRIPT: SCRIPT, "price": "other"},
        "metadata.labels": {"a": SCRIPT},
    }
    db.update_run(updates, other.uid, embedded.project)
    file = tmp_path / "compared.html"
    assert kedro_mlrun("compare", hostile, other.uid, "--html", str(file)).exit_code == 0
    page = file.read_text()
    assert "alert(" in page
    assert SCRIPT not in page and "<script>alert" not in page
    assert escape(SCRIPT) in page


def test_ordinary_text_stays_as_it_is() -> None:
    """Law 4: in any language, with tabs and lines."""
    for text in ("Zürich\t日本\n", "a\u200db", "", "100 %\r\n", "👩‍🔬"):
        assert visible(text) == text.replace("\r\n", "\n")
    assert visible("a\udc80") == "a\\udc80"
    assert json.loads(f'"{visible(HOSTILE)}"') == HOSTILE


def test_commands_print_in_one_way() -> None:
    """Law 4: no command prints text but by `tell`, or as an answer."""
    folder = PROJECT / "src" / "kedro_mlrun" / "commands"
    for file in folder.glob("*.py"):
        tree = ast.parse(file.read_text())
        calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
        names = {getattr(each, "attr", getattr(each, "id", "")) for each in calls}
        found = names & {"echo", "secho", "style", "print"}
        # The version, before there is anything to tell of.
        allowed = {"base.py": {"echo", "style", "print"}, "cli.py": {"echo"}}
        assert found <= allowed.get(file.name, set()), file
