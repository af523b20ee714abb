"""The second day at the command line: many runs, told apart, chosen, compared and deleted."""

import json
import os
import pty
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
import mlrun
import pytest
from click.testing import CliRunner, Result
from helpers import Store, new_store

from kedro_mlrun.commands import cli as commands

SHARED = {"forest.model.arguments.depth": 4, "note": "the same"}


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """Undo what a command changes in the environment."""
    with patch.dict(os.environ):
        yield


def make(store: Store, seed: int, auc: float | None = None, error: str = "", **more: Any) -> str:
    """Make a run of both pipelines with a seed and a score."""
    labels = {"pipeline": "training,evaluation", **more.pop("labels", {})}
    context = store.manager.open_run("training-evaluation", labels=labels)
    if auc is not None:
        scores = {"test.xgboost.roc_auc": auc, "test.forest.roc_auc": auc / 2, "best": "xgboost"}
        context.log_results(scores)
    for key in more.pop("models", ()):
        context.log_model(key, body=b"weights", model_file="m.bin", db_key=key)
    store.manager.close_run(ValueError(error) if error else None)
    parameters = {**SHARED, "split.seed": seed, "kedro.command": f"kedro run {seed}", **more}
    updates = {"spec.parameters": parameters}
    mlrun.get_run_db().update_run(updates, context.uid, store.project)
    return str(context.uid)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, list[str]]:
    """Record ten runs, and give the store's file, the project and the runs' ids."""
    folder = tmp_path_factory.mktemp("ten")
    scores = [0.9, 0.7, 0.95, float("nan"), 0.8, 0.6, 0.92, 0.91]
    for store in new_store(f"sqlite:///{folder}/mlrun.db", folder):
        uids = [make(store, seed, auc) for seed, auc in enumerate(scores)]
        uids += [make(store, seed, error="boom") for seed in (8, 9)]
        mlrun.get_run_db().connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return folder / "mlrun.db", store.project, uids


@pytest.fixture
def ten(recorded: tuple[Path, str, list[str]], embedded: Store, tmp_path: Path) -> list[str]:
    """Ten runs, oldest first; those with the seeds 8 and 9 failed."""
    file, embedded.project, uids = recorded
    shutil.copy(file, tmp_path)
    mlrun.mlconf.active_project = embedded.project
    return [*uids]


def kedro_mlrun(*arguments: str, **options: Any) -> Result:
    return CliRunner().invoke(commands.cli, ["mlrun", *arguments], **options)


def printed(*arguments: str) -> list[list[str]]:
    """Give the words of each line that a command prints."""
    done = kedro_mlrun(*arguments)
    assert (done.exit_code, done.stderr) == (0, ""), done.output
    return [line.split() for line in click.unstyle(done.stdout).splitlines()]


def uids(*arguments: str) -> list[str]:
    done = kedro_mlrun("runs", *arguments, "--json")
    assert done.exit_code == 0, done.output
    return [run["uid"] for run in json.loads(done.stdout)]


def on_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(columns))


# ---- runs


@pytest.mark.parametrize("columns", [80, 110, 160])
def test_ten_runs_are_told_apart(
    ten: list[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    """Law 4: by the parameters that differ and the results, as many as fit the terminal."""
    on_terminal(monkeypatch, columns)
    lines = printed("runs")
    head, *rows = [line for line in lines if line]
    assert head[:6] == ["id", "name", "state", "started", "took", "seed"]
    assert [row[0] for row in rows[:10]] == [uid[:8] for uid in reversed(ten)]
    assert {row[1] for row in rows[:10]} == {"training+evaluation"}
    wide = click.unstyle(kedro_mlrun("runs").stdout).splitlines()
    assert max(map(len, wide)) <= columns
    # What doesn't fit is said; what doesn't differ, and Kedro's own, isn't there.
    assert ("don't fit" in wide[-1]) == (columns == 80)
    assert ("xgboost.roc_auc" in head) == (columns > 80)
    assert not {"note", "depth", "command"} & {*head}
    # Date and time, and seconds, are two words each.
    assert [row[7] for row in rows[2:10]] == list("76543210")


def test_a_chain_takes_no_room_from_what_differs(
    ten: list[str], embedded: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law 4: its id is shortened as others are, and comes where there is room left."""
    uid = make(embedded, 11, 0.5, labels={"workflow": "0123456789abcdef" * 2})
    on_terminal(monkeypatch, 80)
    head, row, *_ = printed("runs")
    assert head == ["id", "name", "state", "started", "took", "seed", "best"]
    assert [*row[:2], *row[-2:]] == [uid[:8], "training+evaluation", "11", "xgboost"]
    on_terminal(monkeypatch, 160)
    head, row, *_ = printed("runs")
    assert (head[-2:], row[-1]) == (["chain", "error"], "01234567")


def test_columns_are_chosen_and_kept(ten: list[str], tmp_path: Path) -> None:
    """Law 11: beside the store; `auto` forgets them, and a list in JSON has everything."""
    chosen = printed("runs", "--columns", "test.xgboost.roc_auc, split.seed,state")
    assert chosen[0] == ["id", "name", "state", "results.test.xgboost.roc_auc", "params.split.seed"]
    assert printed("runs") == chosen
    assert {path.name for path in tmp_path.iterdir()} >= {"columns", "mlrun.db"}
    assert len(uids()) == 10
    done = kedro_mlrun("runs", "--columns", "split.sed")
    assert (done.exit_code, "Did you mean 'params.split.seed'?" in done.stderr) == (2, True)
    assert printed("runs") == chosen
    assert len(printed("runs", "--columns", "auto")[0]) > len(chosen[0])
    assert len(printed("runs")[0]) > len(chosen[0])


def test_columns_can_not_be_kept(ten: list[str], tmp_path: Path) -> None:
    """Law 10: runs are listed all the same."""
    (tmp_path / "columns").mkdir()
    assert printed("runs", "--columns", "state")[0] == ["id", "name", "state"]
    assert printed("runs")


@pytest.mark.parametrize(
    ("where", "seeds"),
    [
        ("params.split.seed = 7", [7]),
        ("parameters.split.seed = 7", [7]),
        ("split.seed >= 8", [9, 8]),
        ("results.test.xgboost.roc_auc > 0.9 and split.seed != 2", [7, 6]),
        ("test.xgboost.roc_auc<=.7 AND state=completed", [5, 1]),
        ("state != completed", [9, 8]),
        ("best = 'xgboost' and note = \"the same\" and split.seed < 2", [1, 0]),
        ("note > 5", []),
        ("best >= x and split.seed = 3", [3]),
        ("labels.pipeline = training,evaluation and split.seed = 0", [0]),
        ("name = training+evaluation and split.seed = '4'", [4]),
        ("'split.seed' = 7 and \"test.xgboost.roc_auc\" > 0.9", [7]),
    ],
)
def test_runs_are_chosen_by_a_condition(ten: list[str], where: str, seeds: list[int]) -> None:
    """Law 4: numbers are compared as numbers; a run that lacks the field isn't chosen."""
    assert uids("--where", where) == [ten[seed] for seed in seeds]


def test_several_conditions_and_limits(ten: list[str]) -> None:
    """Law 4: all of them hold, beside the other filters; the limit counts what is chosen."""
    seeds = ("--where", "split.seed < 9", "--where", "split.seed > 0")
    assert uids(*seeds, "--limit", "2") == [ten[8], ten[7]]
    assert uids(*seeds, "--state", "error") == [ten[8]]
    assert uids("--where", "split.seed = 99") == []
    none = "no such run. To list all: kedro mlrun runs"
    assert none in kedro_mlrun("runs", "--where", "split.seed = 99").stderr


@pytest.mark.parametrize(
    ("where", "hint"),
    [
        ("split.sed = 7", "Did you mean 'params.split.seed'?"),
        *((wrong, "is no condition") for wrong in ("", "seed", "seed = ", "seed = 1 or x = 2")),
        *(
            (wrong, "is no condition")
            for wrong in ("a = 1 and", "a =! b", "a = 'x", "__import__('os')")
        ),
    ],
)
def test_a_condition_that_can_not_be(ten: list[str], where: str, hint: str) -> None:
    """Law 9: a mistake isn't an empty list."""
    done = kedro_mlrun("runs", "--where", where)
    assert (done.exit_code, done.stdout, hint in done.stderr) == (2, "", True), done.stderr


def test_runs_are_sorted_by_a_field(ten: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Law 4: the largest first; NaN and what lacks the field last. The field is shown."""
    order = [ten[seed] for seed in (2, 6, 7, 0, 4, 1, 5)]
    found = uids("--sort", "results.test.xgboost.roc_auc")
    assert (found[:7], {*found[7:]}) == (order, {ten[3], ten[8], ten[9]})
    found = uids("--sort", "test.xgboost.roc_auc", "--ascending", "--limit", "7")
    assert found == order[::-1]
    assert kedro_mlrun("runs", "--sort", "roc").exit_code == 2
    on_terminal(monkeypatch, 90)
    head = printed("runs", "--sort", "test.xgboost.roc_auc")[0]
    assert head[5:] == ["xgboost.roc_auc", "seed"]


def test_true_is_no_number(embedded: Store) -> None:
    """Law 4: nor is a text one."""
    on = make(embedded, 1, flag=True)
    one = make(embedded, 1, flag=1)
    text = make(embedded, 1, flag="1")
    assert uids("--where", "flag = true") == [on]
    assert uids("--where", "flag = 1") == [text, one]
    assert uids("--where", "flag > 0") == [one]


def test_runs_are_named_from_the_last_one(ten: list[str]) -> None:
    """Law 4: `last~1` is the run before, `last:NAME` the last of a pipeline."""
    for which, uid in {
        "last": ten[9],
        "last~0": ten[9],
        "last~1": ten[8],
        "last:training": ten[9],
        "last:evaluation~2": ten[7],
        "last:training+evaluation~3": ten[6],
        "training+evaluation~4": ten[5],
        "training-evaluation": ten[9],
        ten[3][:8]: ten[3],
    }.items():
        assert json.loads(kedro_mlrun("show", which, "--json").stdout)["uid"] == uid, which
    for which in ("last~10", "last~", "last:trainin", "last~-1", f"{ten[3]}~1"):
        assert kedro_mlrun("show", which).exit_code == 2, which


def test_artifacts_of_the_run_before_are_named_alike(embedded: Store) -> None:
    """Law 1: by each command that takes a run or an artifact of one."""
    first, second = (make(embedded, seed, models=["model"]) for seed in (1, 2))
    for before, uid in (("last~1", first), ("last:training", second)):
        found = json.loads(kedro_mlrun("artifacts", "--run", before, "--json").stdout)
        assert [item["run"] for item in found] == [uid]
        for arguments in (["lineage", before], ["lineage", f"model@{before}"]):
            assert uid[:8] in kedro_mlrun(*arguments).stdout, arguments
        tagged = kedro_mlrun("tag", f"model@{before}", "chosen", "--json").stdout
        assert json.loads(tagged)["run"] == uid


# ---- compare


def test_runs_are_compared_by_what_differs(ten: list[str]) -> None:
    """Law 4: and with --all by everything."""
    compared = json.loads(kedro_mlrun("compare", ten[0], ten[1], "--json").stdout)
    assert [row["name"] for row in compared["parameters"]] == ["split.seed"]
    everything = json.loads(kedro_mlrun("compare", ten[0], ten[1], "--all", "--json").stdout)
    assert {row["name"] for row in everything["parameters"]} >= {*SHARED, "split.seed"}
    assert ["note", "the", "same", "the", "same"] in printed("compare", ten[0], ten[1], "--all")


def test_runs_to_compare_are_chosen(ten: list[str]) -> None:
    """Law 4: the newest, those for which something holds, and those that are named, once each."""

    def of(*arguments: str) -> list[str]:
        found = json.loads(kedro_mlrun("compare", *arguments, "--json").stdout)
        return [run["uid"] for run in found["runs"]]

    assert of("--last", "3") == ten[:6:-1]
    assert of("--where", "split.seed < 3") == [ten[2], ten[1], ten[0]]
    assert of("--where", "split.seed < 3", "--last", "2") == [ten[2], ten[1]]
    assert of(ten[0], "--last", "2") == [ten[0], ten[9], ten[8]]
    assert of(ten[9], "--last", "2") == [ten[9], ten[8]]


def test_a_run_is_not_compared_with_itself(ten: list[str]) -> None:
    """Law 4: nothing differs then, which says nothing of two runs."""
    for arguments in (["last", ten[9]], ["training+evaluation", "last"]):
        done = kedro_mlrun("compare", *arguments)
        assert (done.exit_code, done.stdout) == (2, "")
        already = f"'{arguments[1]}' is run {ten[9][:8]}, which is named already. Name two runs"
        assert already in done.stderr
    done = kedro_mlrun("compare", "last", ten[9], ten[0])
    assert (done.exit_code, "which is named already" in done.stderr) == (0, True)
    for arguments in ([], ["last"], ["--where", "split.seed = 1"], ["--where", "split.seed = 77"]):
        done = kedro_mlrun("compare", *arguments)
        assert (done.exit_code, "two runs or more" in done.stderr) == (2, True)


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
def test_a_comparison_fits_the_terminal(
    ten: list[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    """Law 4: side by side, as many runs at a time as fit; nothing is left out."""
    on_terminal(monkeypatch, columns)
    for last in ("2", "10"):
        lines = click.unstyle(kedro_mlrun("compare", "--last", last, "--all").stdout).splitlines()
        assert max(map(len, lines)) <= columns
        text = "\n".join(lines)
        for shown in ("seed", "depth", "note", "the same", "xgboost.roc_auc", "forest.roc_auc"):
            assert shown in text or last == "2", shown
        assert "0.9500" in text or last == "2"


# ---- delete


def test_many_runs_are_deleted(ten: list[str]) -> None:
    """Law 9: all are listed before it asks, and nothing is deleted without a yes."""
    done = kedro_mlrun("delete", ten[0], ten[1], input="n\n")
    assert (done.exit_code, len(uids())) == (1, 10)
    assert ten[0] in done.stderr and ten[1] in done.stderr and "these 2 runs" in done.stderr
    done = kedro_mlrun("delete", ten[0], ten[1], ten[0], input="y\n")
    assert (done.exit_code, uids("--limit", "20")) == (0, ten[:1:-1])
    done = kedro_mlrun("delete", "--state", "error", "--where", "split.seed = 9", "-y", "--json")
    assert [run["uid"] for run in json.loads(done.stdout)] == [ten[9]]
    assert kedro_mlrun("delete", "--where", "split.seed < 8", "-y").exit_code == 0
    assert uids() == [ten[8]]
    one = json.loads(kedro_mlrun("delete", ten[8], "-y", "--json").stdout)
    assert one == {"uid": ten[8], "deleted": [], "kept": []}


def test_what_to_delete_is_said_once(ten: list[str]) -> None:
    """Law 9: no runs at all, or both named and chosen, is a mistake; and so is what goes on."""
    for arguments in ([], [ten[0], "--state", "error"], ["--where", "split.sed = 1"]):
        assert kedro_mlrun("delete", *arguments, "-y").exit_code == 2
    assert kedro_mlrun("delete", ten[0], "nobody", "-y").exit_code == 2
    done = kedro_mlrun("delete", "--where", "split.seed = 77", "-y")
    assert (done.exit_code, "no such run" in done.stderr) == (0, True)
    assert len(uids()) == 10


def test_a_run_that_goes_on_keeps_all_from_being_deleted(embedded: Store) -> None:
    """Law 9: where it is named, before anything is deleted; a condition leaves it out."""
    ended = make(embedded, 1)
    running = embedded.manager.open_run("training").uid
    done = kedro_mlrun("delete", ended, running, "-y")
    assert (done.exit_code, f"{running} is running" in done.stderr) == (1, True)
    assert {*uids()} == {ended, running}
    assert kedro_mlrun("delete", "--where", "started > '2000'", "-y").exit_code == 0
    assert uids() == [running]


def test_a_deletion_that_fails_says_what_is_gone(ten: list[str], tmp_path: Path) -> None:
    """Law 9: the runs before the one that could not be deleted, and then why not."""
    log = tmp_path / "logs" / mlrun.mlconf.active_project / f"{ten[1]}.log"
    log.mkdir(parents=True)
    done = kedro_mlrun("delete", ten[0], ten[1], ten[2], "-y")
    assert (done.exit_code, done.stdout) == (1, "")
    assert f"Deleted run 'training+evaluation' {ten[0]}." in done.stderr
    assert done.stderr.count("Deleted") == 1 and log.name in done.stderr
    assert ten[2] in uids()


def test_artifacts_of_deleted_runs_warn_of_other_runs_only(embedded: Store) -> None:
    """Law 9: a run that goes with them is no reason to warn."""
    first = make(embedded, 1, models=["model"])
    db = mlrun.get_run_db()
    uri = db.read_run(first, embedded.project)["status"]["artifact_uris"]["model"]
    users = [make(embedded, seed) for seed in (6, 2, 3, 4, 5)]
    for uid in users:
        db.update_run({"spec.inputs": {"model": uri}}, uid, embedded.project)
    asked = kedro_mlrun("delete", first, *users[1:], "--artifacts", input="n\n").stderr
    assert f"is an input of run 'training+evaluation' {users[0]}." in asked
    assert "with 1 artifacts (model)" in asked
    everything = kedro_mlrun("delete", first, *users, "--artifacts", input="n\n").stderr
    assert "is an input of" not in everything


# ---- models and open


def test_models_come_with_their_metrics_and_tags(store: Store) -> None:
    """Law 4: results that name the model, of the run that made it and those that used it."""
    trained = make(store, 1, models=["xgboost.model", "forest_model"])
    db = mlrun.get_run_db()
    saved = db.read_run(trained, store.project)["status"]["artifact_uris"]
    evaluated = make(store, 1, 0.9)
    inputs = {"xgboost.model": saved["xgboost.model"], "forest_model": saved["forest_model"]}
    db.update_run({"spec.inputs": inputs}, evaluated, store.project)
    other = make(store, 2, 0.5, models=["model"])
    found = {item["key"]: item for item in json.loads(kedro_mlrun("models", "--json").stdout)}
    assert found["xgboost.model"]["metrics"] == {"test.xgboost.roc_auc": 0.9}
    assert found["forest_model"]["metrics"] == {"test.forest.roc_auc": 0.45}
    assert found["model"]["run"] == other
    assert found["model"]["metrics"]["best"] == "xgboost"
    kedro_mlrun("tag", "forest_model", "mine")
    head, *rows = printed("models", "--key", "forest_model")
    assert "test.roc_auc" in head and "0.4500" in rows[0] and "mine" in " ".join(rows[0])


def test_an_artifact_opens_on_a_terminal(
    embedded: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law 9: by the desktop's opener; to a pipe, and as JSON, the path is printed alone."""
    make(embedded, 1, models=["model"])
    opener, opened = tmp_path / "bin" / "xdg-open", tmp_path / "opened"
    opener.parent.mkdir()
    opener.write_text(f'#!/bin/sh\nprintf %s "$1" > {opened}.part && mv {opened}.part {opened}\n')
    opener.chmod(0o755)
    monkeypatch.setenv("PATH", f"{opener.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("DISPLAY", ":0")
    path = kedro_mlrun("open", "model").stdout.strip()
    assert Path(path).read_bytes() == b"weights" and not opened.exists()
    assert path in in_terminal("open", "model", "--json") and not opened.exists()
    monkeypatch.delenv("DISPLAY")
    assert path in in_terminal("open", "model") and not opened.exists()
    monkeypatch.setenv("DISPLAY", ":0")
    assert path in in_terminal("open", "model")
    assert wait_for(opened) == path
    opened.unlink()
    assert kedro_mlrun("open", "model", "--view").exit_code == 0
    assert wait_for(opened) == path


def in_terminal(*arguments: str) -> str:
    """Run a command in a forked process whose output is a terminal, and give what it prints."""
    process, terminal = pty.fork()
    if not process:
        # The end of a shell would end what it has opened; this one ends at once.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            sys.stdout = sys.__stdout__ = os.fdopen(1, "w")
            sys.stderr = sys.__stderr__ = os.fdopen(2, "w")
            commands.cli(["mlrun", *arguments], standalone_mode=False)
        finally:
            sys.stdout.flush()
            os._exit(0)
    text = b""
    try:
        while part := os.read(terminal, 4096):
            text += part
    except OSError:  # the process has ended
        pass
    os.waitpid(process, 0)
    os.close(terminal)
    return "".join(text.decode().split("\r\n"))


def wait_for(file: Path) -> str:
    """Give what a process that goes on by itself writes to a file."""
    import time

    for _ in range(200):
        if file.exists():
            return file.read_text()
        time.sleep(0.02)
    raise AssertionError(f"{file} wasn't written")
