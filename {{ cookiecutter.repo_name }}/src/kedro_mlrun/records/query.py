"""Which runs are chosen, and in what order, by their fields, such as `params.split.seed`."""

import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain, islice
from math import isnan
from operator import eq, ge, gt, le, lt, ne
from typing import Any, NamedTuple

from ..store.fields import NOT_FINITE, moment
from ..store.values import (
    COLUMNS,
    ERROR,
    LONGEST,
    SHORTENED,
    WORDS,
    Matching,
    comparing,
    containing,
    equal,
    headline,
    is_text,
    timed,
)
from ..text import nearest
from .records import RecordNotFoundError, Records
from .summaries import ABOUT, Record, fields_of, summary, uid_of

_OPERATORS = {"=": eq, "!=": ne, "<": lt, "<=": le, ">": gt, ">=": ge}
_COMPARED = (
    r"""("[^"]+"|'[^']+'|[^\s=!<>"']+)\s*(==?|!=|<=|>=|<|>)\s*("[^"]*"|'[^']*'|[^\s"'=<>]+)"""
)
_CONDITION = re.compile(rf"\s*{_COMPARED}(?:\s+and\s+(?=\S)|\s*$)", re.IGNORECASE)
_SEARCHED = re.compile(rf"""{_COMPARED}(?=\s|$)|"([^"]+)"|(\S+)""")
_OTHERS = {"or", "not", "in", "&&", "||", "~"}  # of other languages; words without a condition
_PREFIXES = ("", "params.", "results.", "labels.")
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_DAY = re.compile(r"(\bstarted\s*[=<>!]+\s*\d{4}-\d\d-\d\d) (?=\d)")
_NUMBER = re.compile(r"(\btook\s*[=<>!]+\s*[\d.]+) (?=(?:s|m|min|h|d)\b)")


class Condition(NamedTuple):
    """A field of a run, a comparison, and what to compare with, which in quotes is no number.

    `time` is that of a condition on when a run began.
    """

    field: str
    comparison: str
    text: str
    number: float | None
    time: datetime | None

    def holds(self, fields: Mapping[str, Any]) -> bool:
        """Compare as numbers where both are, else as texts; what a run lacks never holds."""
        name, compare = full_name(self.field, fields), _OPERATORS[self.comparison]
        value, is_equal = fields.get(name), self.comparison in {"=", "!="}
        text, number = self.text, self.number
        if self.time and (start := moment(value)):
            if not is_equal:
                return bool(compare(start, self.time))
            shown = start.astimezone().isoformat(" ")
            is_it = start == self.time or shown.startswith(text.replace("T", " "))
            return bool(compare(is_it, True))
        if name == "took" and is_equal and value is not None:
            shown = round(value, 1) if value < _UNITS["m"] else round(value)
            return bool(compare(number in {value, shown}, True))
        if isinstance(value, int | float) and not isinstance(value, bool) and number is not None:
            return bool(compare(value, number))
        if isinstance(value, bool):
            value, text = str(value).lower(), text.lower()
        if is_equal and name in SHORTENED and str(value).startswith(text):
            text = str(value)
        # A text is neither less nor more than a number.
        fits = is_equal or (isinstance(value, str) and number is None)
        return value is not None and fits and bool(compare(str(value), text))

    def matching(self) -> list[Matching]:
        """Give what the store may know of it."""
        if self.comparison == "=" and self.field in COLUMNS and is_text(self.text):
            return [equal(self.field, self.text)]
        if self.field in {"started", "took"} and self.comparison not in {"=", "!="}:
            return [timed(self.comparison, self.time or self.number or 0)]
        number = _number(self.text) if self.comparison == "=" else self.number
        return [comparing(names, *self[1:3], number) for names in _indexed(self.field)]


class Word(NamedTuple):
    """What is in a run's name, id, state or error, or in a short text of its parameters or so."""

    text: str

    def holds(self, fields: Mapping[str, Any]) -> bool:
        """Look for it, whatever its case."""
        texts = ((name, value) for name, value in fields.items() if isinstance(value, str))
        short = (text for name, text in texts if len(text) <= LONGEST or name == ERROR)
        return any(self.text.lower() in text.lower() for text in short)

    def matching(self) -> list[Matching]:
        """Give what the store may know of it."""
        return [containing(self.text)] if is_text(self.text) else []


def searched(text: str) -> list[Condition | Word]:
    """Read what a person looks for: conditions, and words or "quoted words", all of which hold."""
    found, text = list[Condition | Word](), _joined(text)
    for *compared, quoted, word in _SEARCHED.findall(text):
        if compared[1]:
            found.append(_condition(*compared))
        elif quoted:
            found.append(Word(quoted))
        elif {*word} & {*"=<>"} or (word.lower() in _OTHERS and {*text} & {*"=<>(&|~"}):
            conditions([text])  # which says what one is
        elif word.lower() != "and":
            found.append(Word(word))
    return found


def _joined(text: str) -> str:
    """Take the space out of what is one value: a time, a duration with its unit."""
    return _NUMBER.sub(r"\1", _DAY.sub(r"\1T", text))


def _condition(field: str, comparison: str, value: str) -> Condition:
    field, plain = (text.strip("\"'") for text in (field, value))
    comparison, number = "=" if comparison == "==" else comparison, _number(value)
    time = _time(plain) if field == "started" else None
    if field == "took" and (parts := re.fullmatch(r"([\d.]*\d) ?([a-z]+)", plain)):
        number, unit = _number(parts[1]), _UNITS.get(parts[2])
        number = None if number is None or unit is None else number * unit
    elif field == "took" and re.fullmatch(r"\d+(:\d\d){1,2}", plain):
        number = sum(int(part) * 60**n for n, part in enumerate(reversed(plain.split(":"))))
    elif re.fullmatch(r"\d*,\d+|[\d.,]+%", value):
        raise RecordNotFoundError(f"'{value}' is no number. Write 0.5, or a text in quotes.")
    if field == "took" and (number is None or isnan(number)):
        raise RecordNotFoundError(f"'{plain}' is no duration. Write seconds, or 5m or 1:30:00.")
    return Condition(field, comparison, plain, number, time)


def _time(text: str) -> datetime:
    """Read a time of this machine's zone, or with a zone of its own; of a year, its first day."""
    try:
        if not re.match(r"\d{4}(-|$)", text):
            raise ValueError
        is_whole = not re.fullmatch(r"\d{4}(-\d\d)?", text)
        return datetime.fromisoformat(text if is_whole else f"{text}-01-01"[:10]).astimezone()
    except (ValueError, OverflowError):
        raise RecordNotFoundError(
            f"'{text}' is no time. Write one such as 2026-11-27 or 2026-11-27 13:30."
        ) from None


def conditions(texts: Iterable[str]) -> list[Condition]:
    """Read `FIELD OPERATOR VALUE`, several with `and`; all of them have to hold."""
    found = []
    for text in map(_joined, texts):
        end = 0
        while end < len(text) or not text:
            if not (part := _CONDITION.match(text, end)):
                raise RecordNotFoundError(
                    f"'{text}' is no condition. Write a field, one of {' '.join(_OPERATORS)} and a "
                    'value, such as "params.split.seed = 7 and results.auc >= 0.9".'
                )
            found.append(_condition(*part.groups()))
            end = part.end()
    return found


def full_name(name: str, known: Collection[str]) -> str:
    """Give a field's name with `params.`, `results.` or `labels.`, which may be left out."""
    names = _full_names(name)
    return next((each for each in names if each in known), names[0])


def _full_names(name: str) -> list[str]:
    name = re.sub("^parameters[.]", "params.", name)
    return [prefix + name for prefix in _PREFIXES]


def _indexed(name: str) -> list[list[str]]:
    return [_full_names(name)] if name not in ABOUT and is_text(name) else []


def value_of(fields: Mapping[str, Any], name: str) -> Any:
    """Give a field by its name; None where a run lacks it."""
    return fields.get(full_name(name, fields))


def check_fields(names: Iterable[str], known: Collection[str]) -> None:
    """Refuse a field that isn't among those of any run, unless there are no runs."""
    for name in names if known else ():
        if full_name(name, known) not in known:
            raise RecordNotFoundError(
                f"No run has a field '{name}'. {nearest(name, known)}There are id, name, state, "
                "started, took, params.NAME, results.NAME and labels.NAME."
            )


def select(
    records: Records,
    where: Iterable[str] = (),
    sort: str = "",
    ascending: bool = False,
    limit: int | None = 20,
    search: str = "",
    skip: int = 0,
    **filters: Any,
) -> list[Record]:
    """List the runs for which all conditions hold, newest or, by a field, largest first.

    `search` is what a person looks for: words, too. So many of the runs are skipped.
    """
    wanted, fields = [*conditions(where), *searched(search)], dict[str, Record]()
    matching = [found for each in wanted for found in each.matching()]

    def holds(run: Record) -> bool:
        own = fields[uid_of(run)] = fields_of(summary(run))
        return all(each.holds({**own, ERROR: headline(run)}) for each in wanted)

    if records.sorts_by(sort):
        filters["sort"], sort = f"{sort} ascending" if ascending else sort, ""
    if not (wanted or sort):
        return records.runs(limit, skip=skip, **filters)
    if sort:
        # Where each of them counts, the first needn't be read.
        unread = 0 if wanted or filters.get("pipeline") else skip
        stop, skip = limit and limit + skip, skip - unread
        runs = _in_order(records, sort, ascending, matching, filters, fields, unread, stop)
    else:
        runs = records.each_run(limit and limit + skip, matching=matching, **filters)
    chosen = list(islice(filter(holds, runs) if wanted else runs, skip, limit and limit + skip))
    if not chosen or sort:
        names = [each.field for each in wanted if isinstance(each, Condition)]
        names += [sort] if sort else []
        # Most often the first has them, and the others needn't be looked at.
        told = chain(fields.values(), (fields_of(summary(run)) for run in chosen))
        while names and (own := next(told, None)):
            names = [name for name in names if full_name(name, own) not in own]
        known = records.run_fields().union(*fields.values()) if names else set()
        check_fields(names, known | {*ABOUT} if known else known)
    return chosen


def _in_order(
    records: Records,
    sort: str,
    ascending: bool,
    matching: Sequence[Matching],
    filters: Record,
    fields: dict[str, Record],
    start: int,
    stop: int | None,
) -> Iterator[Record]:
    """Give runs by a field, those that lack it last, from the start to about the stop.

    The fields of those that had to be looked at are noted.
    """

    def ordered(ranks: Mapping[Any, tuple[Any, ...]]) -> list[Any]:
        first = sorted(filter(ranks.get, ranks), key=ranks.__getitem__, reverse=not ascending)
        return [*first, *(place for place, rank in ranks.items() if not rank)]

    def rank(run: Record) -> tuple[Any, ...]:
        own = fields[uid_of(run)] = fields_of(summary(run))
        return _rank(value_of(own, sort))

    stop = min(stop or sys.maxsize, sys.maxsize)
    for names in _indexed(sort):
        while known := records.values(names, not ascending, stop, **filters, matching=matching):
            ranks = {uid: () if value == b"" else _rank(value) for uid, value in known.items()}
            unsure = [uid for uid, value in known.items() if value in (None, *WORDS)]
            ranks |= dict.fromkeys(unsure, ())
            ranks |= {uid_of(run): rank(run) for run in records.runs_of(unsure)}
            yield from records.runs_of(ordered(ranks)[start:stop], **filters)
            if len(known) < stop:
                return
            # Some of these weren't meant.
            start, stop = stop, 8 * stop
        if known is not None:
            return
    every = [*records.each_run(None, matching=matching, **filters)]
    yield from (every[place] for place in ordered(dict(enumerate(map(rank, every))))[start:])


def _number(text: str) -> float | None:
    try:
        is_whole = re.fullmatch(r"[-+]?\d+", text) and abs(int(text)) < 2**63
        return int(text) if is_whole else float(text)
    except ValueError:
        return None


def _rank(value: Any) -> tuple[Any, ...]:
    if value in NOT_FINITE:
        value = float(value)
    if isinstance(value, int | float):
        return () if isnan(value) else (1, value)
    return () if value is None else (0, str(value))
