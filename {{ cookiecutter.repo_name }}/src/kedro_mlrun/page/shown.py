"""How values of records are written in a page."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from markupsafe import Markup, escape
from rich.filesize import decimal

from ..store.fields import moment
from ..text import shown, took

SHORT, LONG = 8, 200


def time(value: Any) -> str:
    """Write a time in this machine's zone."""
    try:
        found = moment(value)
    except ValueError:
        return str(value)
    return found.astimezone().strftime("%Y-%m-%d %H:%M:%S") if found else ""


def short(value: Any) -> str:
    """Write a value as a cell has room for it."""
    text = "" if value is None else shown(value)
    return f"{text[:LONG]}…" if len(text) > LONG else text


def apart(values: Sequence[Any]) -> list[str]:
    """Write all of each value; numbers have as many digits as tell them apart."""
    texts, number = [shown(v) or '""' for v in values], len({*map(repr, values)})
    for form in (*(f"{{:.{digits}g}}" for digits in range(5, 17)), "{!r}"):
        if len({*texts}) < number:
            texts = [form.format(v) if type(v) is float else shown(v) or '""' for v in values]
    return texts


def raw(value: Any) -> Markup:
    """Write a form's value as it is, and not `visible`: what a browser would obey by its number."""
    text = re.sub("[^ -~]", lambda found: f"&#{ord(found[0])};", escape(value))
    return Markup(text)  # noqa: S704 - it is escaped


def heads(names: Iterable[str]) -> dict[str, str]:
    """Give names without their `params.` or so, where what is left tells them apart."""
    ends = {name: name.partition(".")[2] or name for name in names}
    number = Counter(ends.values())
    return {name: end if number[end] == 1 else name for name, end in ends.items()}


def as_json(value: Any) -> Any:
    """Copy an answer as what JSON has: other values as texts, NaN and infinity as nothing."""
    return json.loads(json.dumps(value, default=str), parse_constant=lambda _: None)


FILTERS: dict[str, Any] = {
    "raw": raw,
    "time": time,
    "took": took,
    "short": short,
    "since": lambda value: moment(value).timestamp(),  # type: ignore[union-attr]
    "told": lambda value: apart([value])[0],
    "size": lambda number: decimal(number) if isinstance(number, int) else "",
    "short_id": lambda uid: str(uid)[:SHORT],
}
