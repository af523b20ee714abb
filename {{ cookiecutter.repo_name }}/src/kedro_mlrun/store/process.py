"""Whether the process that opened a run is still there."""

import os
import re
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from .fields import PROCESS

TOLERANCE = 60  # seconds by which a start may seem to differ, where the clock tells it
GOING_ON = ["running", "pending"]


def process_label(pid: int | None = None) -> str:
    """Name a process, by default this one, as `<pid>-<start>`, for its number is used again."""
    process = psutil.Process(pid)
    return f"{process.pid}-{_ticks(process.pid) or round(process.create_time())}"


def _ticks(pid: int) -> str:
    """Give the start of a process as Linux counts it from its boot, `b12345`; "" elsewhere."""
    # What psutil gives is computed from the clock, and changes when somebody sets that.
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return f"b{stat.rpartition(')')[2].split()[19]}"


def is_alive(label: str) -> bool:
    """Tell whether a process of this machine is running; what isn't known to be dead is alive."""
    parts = re.fullmatch(r"([1-9]\d{0,9})-(b?\d+)", label)
    if not parts or os.name != "posix":
        return True
    pid, start = int(parts[1]), parts[2]
    try:
        with suppress(PermissionError):
            os.kill(pid, 0)
        process = psutil.Process(pid)
        is_zombie = process.status() == psutil.STATUS_ZOMBIE
        if start.startswith("b"):
            return not is_zombie and start == (_ticks(pid) or start)
        # Of an earlier version, or another system.
        return not is_zombie and abs(process.create_time() - int(start)) <= TOLERANCE
    except (ProcessLookupError, OverflowError):
        return False
    except psutil.Error:
        # It is there, but some machines show nobody more of the processes of others.
        return True


def lost(run: Mapping[str, Any]) -> str:
    """Say what is known of a run of this host whose process is gone; "" where that isn't so."""
    labels, state = run["metadata"].get("labels") or {}, run["status"].get("state")
    process, host = str(labels.get(PROCESS) or ""), socket.gethostname()
    if state not in GOING_ON or labels.get("host") != host or is_alive(process):
        return ""
    # Whether it was killed, or could not write on a full disk, nobody knows.
    return f"Its process {process.partition('-')[0]} on {host} ended without recording its end."
