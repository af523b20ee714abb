"""How values of records are written in a page."""

import math
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from ..store.fields import moment
from ..text import shown

MINUTE, SHORT, LONG = 60, 8, 200


def time(value: Any) -> str:
    """Write a time in this machine's zone."""
    try:
        found = moment(value)
    except ValueError:
        return str(value)
    return found.astimezone().strftime("%Y-%m-%d %H:%M:%S") if found else ""


def took(seconds: float | None) -> str:
    """Write how long something took."""
    if seconds is None:
        return ""
    return f"{seconds:.1f} s" if seconds < MINUTE else str(timedelta(seconds=round(seconds)))


def short(value: Any) -> str:
    """Write a value as a cell has room for it."""
    text = "" if value is None else shown(value)
    return f"{text[:LONG]}…" if len(text) > LONG else text


def size(number: Any) -> str:
    """Write a number of bytes."""
    if not isinstance(number, int | float):
        return ""
    for unit in ("bytes", "kB", "MB"):
        if number < 1000:  # noqa: PLR2004
            return f"{number:.4g} {unit}"
        number /= 1000
    return f"{number:.4g} GB"


def is_number(value: Any) -> bool:
    """Tell whether a value is a number that can be compared and drawn."""
    is_one = isinstance(value, int | float) and not isinstance(value, bool)
    return is_one and math.isfinite(value)


def as_json(value: Any) -> Any:
    """Copy an answer as what JSON has: no NaN or infinity, no key that is no text."""
    if isinstance(value, Mapping):
        return {str(name): as_json(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [*map(as_json, value)]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, int | float):
        return value
    # A text may have halves of characters, which UTF-8 has not.
    return str(value).encode(errors="replace").decode()


FILTERS: dict[str, Any] = {
    "time": time,
    "took": took,
    "short": short,
    "size": size,
    "short_id": lambda uid: str(uid)[:SHORT],
    "is_number": is_number,
}
