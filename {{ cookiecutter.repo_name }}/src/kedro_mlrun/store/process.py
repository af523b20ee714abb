"""Whether the process that opened a run is still there."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
from functools import cache
from pathlib import Path

TOLERANCE = 60
"""Seconds by which a process may seem to have started earlier or later: clocks are set."""


def process_label() -> str:
    """Name this process so that it can't be mistaken for a later one with its number.

    Returns:
        `<pid>-<start>`, the start in seconds since 1970.

    Example:
        >>> is_alive(process_label())
        True
    """
    pid = os.getpid()
    return f"{pid}-{_own_start(pid)}"


@cache
def _own_start(pid: int) -> int:
    # By number, because a forked process would inherit its parent's. Where the start can't be
    # found, `is_alive` doesn't compare it.
    return round(_start(pid) or time.time())


def is_alive(label: str) -> bool:
    """Tell whether a process of this machine is still running.

    Args:
        label: what `process_label` gave in that process.

    Returns:
        False if it surely isn't: there is none of that number, or one that started at another
        time, or one that was killed and whose parent hasn't noticed. True otherwise, also for a
        label that isn't one: who isn't known to be dead isn't declared so.
    """
    parts = re.fullmatch(r"([1-9]\d{0,9})-(\d+)", label)
    # On Windows, signal 0 is Ctrl-C.
    if not parts or os.name != "posix":
        return True
    pid = int(parts[1])
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        # Somebody else's; but it is there.
        pass
    started = _start(pid)
    return started is None or abs(started - int(parts[2])) <= TOLERANCE


def _start(pid: int) -> float | None:
    """Give a process's start in seconds since 1970; minus infinity if it is only a corpse."""
    try:
        return _start_by_proc(pid)
    except (OSError, ValueError, IndexError, StopIteration):
        return _start_by_ps(pid)


def _start_by_proc(pid: int) -> float:
    """Read it from Linux's /proc, see proc(5)."""
    # The second field is the program's name in parentheses, which may itself hold any of these.
    state, *fields = (
        Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    )
    if state in {"Z", "X"}:
        return float("-inf")
    boot = next(
        int(line.split()[1])
        for line in Path("/proc/stat").read_text().splitlines()
        if line.startswith("btime ")
    )
    return boot + int(fields[18]) / os.sysconf("SC_CLK_TCK")


def _start_by_ps(pid: int) -> float | None:
    """Ask POSIX's ps, for macOS and the BSDs."""
    try:
        shown = subprocess.run(  # noqa: S603
            ["ps", "-o", "stat=,etime=", "-p", str(pid)],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    if shown.lstrip().startswith("Z"):
        return float("-inf")
    # A process that has just begun may have a negative time, which is no time for this.
    parts = re.fullmatch(r"\s*\S+\s+(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+)\s*", shown)
    if not parts:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in parts.groups())
    return time.time() - (((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def killed(process: str) -> str:
    """Say why a run is aborted whose process on this host is gone.

    Args:
        process: the run's label of it.

    Returns:
        One sentence.
    """
    return f"Its process {process.partition('-')[0]} on {socket.gethostname()} was killed."
