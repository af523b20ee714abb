"""Words for a person: what several rooms write in messages and tables."""

import difflib
import math
import shlex
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def nearest(name: str, known: Iterable[str]) -> str:
    """Ask whether another name was meant: a question with a space after it, or nothing."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"Did you mean '{found[0]}'? " if found else ""


def shown(value: Any) -> str:
    """Write a parameter or a result: at most four digits after the point, a dash for None."""
    if value is None:
        return "—"
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e6 else f"{value:.4g}"  # noqa: PLR2004
    return str(value)


def shown_path(path: str) -> str:
    """Write a path or URL as it is used from the working folder."""
    return path.removeprefix(f"{Path.cwd().as_posix()}/") or "(in its record)"


def kedro_command() -> str:
    """Give Kedro's command as it works without an activated environment."""
    own = Path(sys.executable).with_name("kedro").as_posix()
    return "kedro" if shutil.which("kedro") == own else shlex.quote(shown_path(own))
