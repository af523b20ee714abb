"""The command that makes a recorded run once more."""

from functools import partial
from typing import Any

from click import argument
from rich.console import Group, RenderableType
from rich.text import Text

from ..jobs import reproduce as of_jobs
from ..project import current_project
from ..records.records import Records
from ..records.summaries import Record
from . import tables
from .base import Answer, command

ADVICE = (
    "What has no reason may come of random numbers without a seed, times, the order of sets or "
    "threads, or data that no catalog entry names. Make that the same each time in the node."
)


@command("reproduce", "kedro mlrun reproduce last")
@argument("which", metavar="RUN")
def reproduce(records: Records, which: str) -> Answer:
    """Make a run once more, and compare what comes out.

    It is made of its commit, parameters and data, if these are still the same, in a folder that is
    deleted afterwards; your files and records stay as they are. Results are compared by value,
    artifacts and files by hash. The exit code is 0 if all are equal, or differ for a reason with
    which nothing is wrong: a duration, rounding, other versions of packages.
    """
    run = records.run(which)
    told = of_jobs.reproduce(records, run, current_project())
    unexplained = any(not each["reason"] for each in told["differences"])
    return Answer(told, partial(_view, told), exit_code=int(unexplained))


def _view(told: Record, width: int) -> RenderableType:
    number = {kind: told["equal"].get(kind, 0) for kind in ("result", "artifact", "file")}
    equal = ", ".join(f"{n} {kind}{'s' * (n != 1)}" for kind, n in number.items())
    made = f"made again of commit {told['commit'][:8]}"
    parts: list[Any] = [f"Run {told['run'][:8]}, {made}: {equal} are equal."]
    if told["packages"]:
        parts.append(f"Other packages here: {', '.join(told['packages'])}")
    rows = [_row(each) for each in told["differences"]]
    if rows:
        parts += ["", tables.table(rows, width)]
    if not all(each["reason"] for each in told["differences"]):
        parts += ["", ADVICE]
    return Group(*(Text(part) if isinstance(part, str) else part for part in parts))


def _row(each: Record) -> Record:
    values = [each["recorded"], each["now"]]
    if each["kind"] != "result":
        values = [str(value or "missing")[:8] for value in values]
    share = each["relative"]
    return {
        "what": each["kind"],
        "name": each["name"],
        "recorded": str(values[0]),
        "now": str(values[1]),
        "by": f"{share:.1%}" if share is not None else None,
        "why": each["reason"] or "?",
    }
