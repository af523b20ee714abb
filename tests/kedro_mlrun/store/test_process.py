"""A process that opened a run, recognised when it is gone."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from helpers import PROJECT

from kedro_mlrun.store import process


@pytest.fixture
def child():
    """Give a process that waits, and end it."""
    started = subprocess.Popen(["sleep", "60"])
    yield started
    started.kill()
    started.wait()


def label_of(child: subprocess.Popen, shift: int = 0) -> str:
    return f"{child.pid}-{round(time.time()) + shift}"


def test_this_process_is_alive() -> None:
    label = process.process_label()
    assert label.partition("-")[0] == str(os.getpid())
    assert process.is_alive(label)
    assert process.process_label() == label


def test_a_killed_process_is_not_alive_before_its_parent_knows(child: subprocess.Popen) -> None:
    label = label_of(child)
    assert process.is_alive(label)
    child.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not process.is_alive(label)
    child.wait()
    assert not process.is_alive(label)


@pytest.mark.parametrize(
    ("shift", "alive"), [(-50, True), (50, True), (-3600, False), (3600, False)]
)
def test_another_process_with_the_number_is_not_taken_for_it(
    child: subprocess.Popen, shift: int, alive: bool
) -> None:
    assert process.is_alive(label_of(child, shift)) is alive


@pytest.mark.skipif(not psutil.LINUX, reason="only Linux counts from its boot")
@pytest.mark.parametrize("days", [-2, 2])
def test_a_clock_that_is_set_declares_nobody_dead(
    child: subprocess.Popen, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    """Law 4: whether a process is there is no question of the time of day."""
    label = process.process_label(child.pid)
    # All times that Linux tells of processes are computed from this one.
    shifted = psutil.boot_time() + days * 86400
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: shifted)
    assert process.is_alive(label)
    assert process.process_label(child.pid) == label
    assert not process.is_alive(f"{label}0"), "another one with its number"
    child.kill()
    child.wait()
    assert not process.is_alive(label)


@pytest.mark.parametrize("label", ["", "x", "0-5", "12", "-1-5", "5-x"])
def test_who_is_not_known_to_be_dead_is_not_declared_so(label: str) -> None:
    assert process.is_alive(label)


def test_a_number_that_no_process_can_have() -> None:
    assert not process.is_alive("9999999999-1700000000")


def test_somebody_elses_process_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system may tell that it is there, and nothing else."""

    def refuse(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert process.is_alive("4194305-5")


def test_a_forked_process_has_a_label_of_its_own() -> None:
    code = (
        f"import os, sys; sys.path.append({str(PROJECT / 'src')!r}); "
        "from kedro_mlrun.store.process import process_label as label; mine = label(); "
        "pid = os.fork(); "
        "sys.exit(label() == mine) if not pid else "
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
