"""The command that makes a recorded run once more."""

import signal
import sys
from functools import partial

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
    which nothing is wrong, a duration or rounding; 1 if more differs; 2 if the run can't be made
    once more. Packages of other versions are named.
    """
    # What is left to do then is to delete the folder.
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda number, _: sys.exit(128 + number))
    run = records.run(which)
    told = of_jobs.reproduce(records, run, current_project())
    unexplained = any(not each["reason"] for each in told["differences"])
    return Answer(told, partial(_view, told), exit_code=int(unexplained))


def _view(told: Record, width: int) -> RenderableType:
    number = told["equal"].items()
    equal = ", ".join(f"{n} {kind}{'s' * (n != 1)} equal" for kind, n in number) or "nothing equal"
    made = f"made again of commit {told['commit'][:8]}"
    parts: list[RenderableType] = [Text(f"Run {told['run'][:8]}, {made}: {equal}.")]
    if told["packages"]:
        parts.append(Text(f"Other packages here: {', '.join(told['packages'])}"))
    if told["unchecked"]:
        parts.append(Text(f"Not checked, for no hash is recorded: {', '.join(told['unchecked'])}"))
    if rows := [*map(_row, told["differences"])]:
        parts += ["", tables.table(rows, width)]
    if not all(each["reason"] for each in told["differences"]):
        parts += ["", Text(ADVICE)]
    return Group(*parts)


def _row(each: Record) -> Record:
    is_hash, share = each["kind"] != "result", each["relative"]
    values = (each[name] for name in ("recorded", "now"))
    then, now = (str(value or "missing")[:8] if is_hash else str(value) for value in values)
    row = {"what": each["kind"], "name": each["name"], "recorded": then, "now": now}
    relative = None if share is None else f"{share:.2g}"
    return {**row, "relative": relative, "why": each["reason"] or "?"}
