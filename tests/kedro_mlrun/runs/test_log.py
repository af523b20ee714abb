"""A run's log: what was logged while it went on."""

import json
import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import mlrun
import pytest
from helpers import PROJECT, Store, project_module
from kedro.framework.session import KedroSession
from kedro.pipeline import node, pipeline
from kedro.runner import ParallelRunner, SequentialRunner, ThreadRunner

from kedro_mlrun.runs import log as run_log
from kedro_mlrun.runs.workers import VARIABLE

LOG = logging.getLogger("iris.train")
BARRIER = threading.Barrier(2, timeout=60)
Run = Callable[..., None]


def say(number: int) -> None:
    LOG.warning("epoch %s, token=%s", number, "s3cr3t-value")
    LOG.debug("too much")
    quiet = logging.getLogger("iris.quiet")
    quiet.propagate = False
    quiet.warning("for nobody")


def meet(number: int) -> None:
    BARRIER.wait()
    LOG.warning("%s is here", number)
    BARRIER.wait()


def fail(number: int) -> None:
    LOG.warning("before")
    raise ValueError(f"no luck with {number}")


def say_much(number: int) -> None:
    for step in range(number):
        LOG.warning("step %03d", step)


def wait_for(name: str) -> None:
    """Wait for a file, here or in a worker process."""
    give_up = time.monotonic() + 60
    while not Path(os.environ["HERE"], name).exists():
        assert time.monotonic() < give_up, name
        time.sleep(0.05)


def take_turns(first: int) -> None:
    for turn in range(first, 6, 2):
        wait_for(f"turn {turn}")
        LOG.warning("turn %s", turn)
        Path(os.environ["HERE"], f"turn {turn + 1}").touch()


def even(number: int) -> None:
    take_turns(0)


def odd(number: int) -> None:
    take_turns(1)
    wait_for("read")
    LOG.warning("last words, token=s3cr3t-value")
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Give a function that runs a pipeline of one node, which is one of those above or given."""
    (tmp_path / "conf" / "base").mkdir(parents=True)
    (tmp_path / "conf" / "local").mkdir()
    (tmp_path / "conf" / "base" / "parameters.yml").write_text("number: 1")
    (tmp_path / "conf" / "base" / "catalog.yml").write_text("{}")
    (tmp_path / "conf" / "base" / "mlrun.yml").write_text("project: never-used")
    registered = {"both": pipeline([node(meet, "params:number", None, name=n) for n in "ab"])}
    registered["turns"] = pipeline([node(each, "params:number", None) for each in (even, odd)])
    registry = project_module("pipeline_registry")
    monkeypatch.setattr(registry, "register_pipelines", lambda: registered)

    def run(function: Callable[[int], None] | str, number: int = 1, **options: Any) -> None:
        name = function if isinstance(function, str) else function.__name__
        if callable(function):
            registered[name] = pipeline([node(function, "params:number", None, name=name)])
        folder, given = str(tmp_path / "conf"), {"number": number}
        with KedroSession.create(PROJECT, conf_source=folder, runtime_params=given) as session:
            session.run(pipeline_names=[name], **options)  # type: ignore[call-arg]

    return run


FULL = "CREATE TRIGGER full BEFORE INSERT ON logs BEGIN SELECT RAISE(ABORT, 'disk is full'); END"


def logs(store: Store, name: str) -> list[str]:
    """Give the logs of a pipeline's runs, oldest first."""
    db = mlrun.get_run_db()
    found = db.list_runs(project=store.project, name=name, labels=[f"pipeline={name}"])
    uids = [run["metadata"]["uid"] for run in reversed(found)]
    return [db.get_log(uid, store.project)[1].decode() for uid in uids]


def test_a_run_keeps_what_was_logged(store: Store, run: Run) -> None:
    """Law 8; and of two runs one after the other, each its own, and nothing after the last."""
    handlers = [*logging.getLogger().handlers]
    run(say)
    run(say, 2)
    assert logging.getLogger().handlers == handlers
    for number, log in enumerate(logs(store, "say"), 1):
        time_and_level = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d WARNING"
        assert re.search(rf"(?m)^{time_and_level} iris.train: epoch {number}, token=\*+$", log)
        assert log.count("epoch") == log.count("Completed node: say") == 1
        assert not re.search("too much|for nobody|s3cr3t", log)


def test_a_run_that_failed_has_its_traceback(embedded: Store, run: Run) -> None:
    handlers = [*logging.getLogger().handlers]
    with pytest.raises(ValueError, match="no luck"):
        run(fail, 7)
    assert logging.getLogger().handlers == handlers
    (log,) = logs(embedded, "fail")
    before, _, after = log.partition("Node 'fail': ValueError: no luck with 7")
    assert "WARNING iris.train: before" in before
    assert "Traceback" in after and "in fail" in after


def test_a_run_within_a_run_is_in_both_logs(embedded: Store, run: Run) -> None:
    def outer(number: int) -> None:
        LOG.warning("begins")
        run(say, number)
        LOG.warning("ends")

    run(outer)
    (outside,), (inside,) = logs(embedded, "outer"), logs(embedded, "say")
    assert re.search("begins(?s:.*)epoch 1(?s:.*)ends", outside)
    assert "epoch 1" in inside and not re.search("begins|ends", inside)


@pytest.mark.parametrize("runner", [SequentialRunner, ThreadRunner])
def test_runs_of_two_threads_have_their_own_logs(embedded: Store, run: Run, runner: Any) -> None:
    """Also if their nodes run in threads of a pool."""
    threads = [
        threading.Thread(target=run, args=(meet, number), kwargs={"runner": runner()})
        for number in (1, 2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    said = [re.findall(r"(\d) is here", log) for log in logs(embedded, "meet")]
    assert sorted(said) == [["1"], ["2"]]


def test_the_threads_of_a_run_log_to_it(embedded: Store, run: Run) -> None:
    run("both", runner=ThreadRunner())
    (log,) = logs(embedded, "both")
    assert log.count("1 is here") == 2


def test_workers_are_heard_at_once_and_in_order(
    embedded: Store, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While their nodes go on; and what one has logged that is killed isn't lost."""
    monkeypatch.setenv("HERE", str(tmp_path))
    (tmp_path / "turn 0").touch()

    def read() -> None:
        wait_for("turn 6")
        for *_, folder in json.loads(os.environ[VARIABLE]).values():
            Path(folder, "1.log").write_text('[1, "cut by a full di[1, ""]\n[1, "whole"]\n')
        while "turn 5" not in "".join(logs(embedded, "turns")):
            time.sleep(0.05)
        (tmp_path / "read").touch()

    threading.Thread(target=read, daemon=True).start()
    with pytest.raises(BrokenProcessPool):
        run("turns", runner=ParallelRunner(max_workers=2))
    (log,) = logs(embedded, "turns")
    assert re.findall(r"turn (\d)|last words, token=(\S+)", log) == [
        *((str(turn), "") for turn in range(6)),
        ("", "*****"),
    ]
    assert "whole" in log and "cut by" not in log


def test_a_job_has_what_it_prints_alone(embedded: Store, run: Run) -> None:
    """MLRun keeps that; each line of it is there once."""

    def handler(context: mlrun.MLClientCtx) -> None:
        embedded.manager.adopt(context)
        sys.stdout.write("begins\n")
        run(say)

    assert embedded.manager.project
    done = mlrun.new_function("job").run(handler=handler, project=embedded.project)
    log = mlrun.get_run_db().get_log(done.metadata.uid, embedded.project)[1].decode()
    assert "begins" in log and "WARNING iris.train" not in log


def test_a_long_log_has_its_beginning_and_its_end(
    embedded: Store, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_log, "PART", 1000)
    run(say_much, 100)
    (log,) = logs(embedded, "say_much")
    before, left_out, after = re.split(r"\[(\d+) messages are left out of this long log\]\n", log)
    first, last = (re.findall(r"step (\d+)", part) for part in (before, after))
    assert first[0] == "000" and last[-1] == "099"
    assert len(first) + int(left_out) + len(last) == 100
    assert len(before) <= 1000 < len(log) < 2200


def test_a_log_that_cannot_be_written_is_said_once(
    embedded: Store, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """Law 10; and what can be written later on is there."""
    db = mlrun.get_run_db()

    def lose(number: int) -> None:
        db.connection.execute(FULL)
        LOG.warning("early")
        give_up = time.monotonic() + 60
        while "can't be written" not in caplog.text and time.monotonic() < give_up:
            time.sleep(0.05)
        if number:
            db.connection.execute("DROP TRIGGER full")

    run(lose, 0)
    told = [r.getMessage() for r in caplog.records if "can't be written" in r.getMessage()]
    assert told == ["The run's log can't be written: disk is full. The run goes on."]
    db.connection.execute("DROP TRIGGER full")
    caplog.clear()
    run(lose, 1)
    lost, kept = logs(embedded, "lose")
    assert lost == "" and "early" in kept
