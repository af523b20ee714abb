"""What a person sees of runs and artifacts that were recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from ..records.lineage import Node
from ..records.records import Record
from ..runs.report import pairs
from ..store.fields import artifact_uid, moment
from ..text import indented, shown, shown_path

SHORT = 8
"""How many characters of an id are shown where it doesn't fit whole; they are enough to name it."""

WIDE = 120
"""From how many columns on whole ids are shown."""

NO_LIMIT = 100_000
"""The columns of what is no terminal: nothing is cut or folded there."""

FLEXIBLE = ("name", "key", "tags", "chain", "error", "value")
"""Columns that give way where the terminal is too narrow."""

SECONDS = len(":00")

STATES = {"completed": "green", "running": "blue", "error": "red", "aborted": "yellow"}


def runs_table(runs: Sequence[Record], width: int) -> RenderableType:
    """Show runs, one in a line.

    Args:
        runs: their summaries, see `records.summary`.
        width: the terminal's columns.

    Returns:
        A table; with whole ids and errors where they fit.
    """
    wide = width >= WIDE
    chained = any("workflow" in run["labels"] for run in runs)
    failed = wide and any(run["error"] for run in runs)
    columns = ["id", "name", "state", "started", "took"]
    table = _table(*columns, *(["chain"] if chained else []), *(["error"] if failed else []))
    for run in runs:
        cells = [
            Text(run["uid"] if wide else run["uid"][:SHORT]),
            Text(run["name"]),
            _state(run["state"]),
            Text(shown_time(run["start_time"])),
            Text(shown_seconds(run["seconds"])),
        ]
        cells += [Text(run["labels"].get("workflow", ""))] if chained else []
        error = Text(_first_line(run["error"]), style="red", no_wrap=True, overflow="ellipsis")
        cells += [error] if failed else []
        table.add_row(*cells)
    return table


def run_view(run: Record, artifacts: Sequence[Record]) -> RenderableType:
    """Show all of one run.

    Args:
        run: its summary.
        artifacts: the summaries of what it saved, see `records.artifact_summary`.

    Returns:
        Its state and times, labels, parameters, inputs, results, artifacts and error.
    """
    began, took = shown_time(run["start_time"]), shown_seconds(run["seconds"])
    parts: list[RenderableType] = [
        Text(f"Run '{run['name']}'", style="bold"),
        pairs(
            ("id", run["uid"]),
            ("state", _state(run["state"])),
            ("started", began),
            *([("took", took)] if took else []),
        ),
    ]
    paths = {artifact_uid(item["uri"]): shown_path(item["path"]) for item in artifacts}
    uids = {key: artifact_uid(uri) for key, uri in run["artifacts"].items()}
    # Also what the run's record doesn't name, or not yet.
    unnamed = [item for item in artifacts if artifact_uid(item["uri"]) not in uids.values()]
    files = {item["key"]: shown_path(item["path"]) for item in unnamed}
    # Of a sweep's artifacts these are those of its best iteration.
    files |= {key: paths[uid] for key, uid in uids.items() if uid in paths}
    # What the store has no record of any more is named all the same.
    missing = run["artifacts"].keys() - files.keys()
    sections: dict[str, Mapping[str, Any]] = {
        "Labels": run["labels"],
        "Parameters": run["parameters"],
        "Inputs": run["inputs"],
        "Results": run["results"],
        "Artifacts": {**files, **dict.fromkeys(sorted(missing), "(deleted)")},
    }
    for title, values in sections.items():
        if values:
            parts += [Text(f"\n{title}", style="bold"), pairs(*values.items())]
    if run["error"]:
        parts += [Text("\nError", style="bold red"), Text(indented(run["error"]))]
    return Group(*parts)


def comparison(compared: Record, width: int) -> RenderableType:
    """Show in what runs differ.

    Args:
        compared: what `Records.compare` gives.
        width: the terminal's columns.

    Returns:
        The runs, and their parameters and results side by side; each value is followed by its
        difference to the first run's. Where that is too wide, below each other.
    """
    runs = compared["runs"]
    heads = [run["uid"][:SHORT] for run in runs]
    parts: list[RenderableType] = [runs_table(runs, width)]
    for title in ("parameters", "results"):
        rows = compared[title]
        if not rows:
            parts += [Text(f"\nNo {title} differ.")]
            continue
        beside = _table("name", *heads)
        below = _table("name", "run", "value", "difference")
        for row in rows:
            pairs = list(zip(row["values"], row["differences"], strict=True))
            cells = [Text(shown(value)) for value, _ in pairs]
            for cell, (_, difference) in list(zip(cells, pairs, strict=True))[1:]:
                if difference:
                    cell.append(f" {_signed(difference)}", style="cyan")
            beside.add_row(Text(row["name"]), *cells)
            for number, (value, difference) in enumerate(pairs):
                below.add_row(
                    Text("" if number else row["name"]),
                    Text(heads[number]),
                    Text(shown(value)),
                    Text(_signed(difference) if difference else ""),
                )
        fits = _width(beside) <= width
        parts += [Text(f"\n{title.capitalize()}", style="bold"), beside if fits else below]
    return Group(*parts)


def artifacts_table(artifacts: Sequence[Record], width: int) -> RenderableType:
    """Show versions of artifacts, one in a line.

    Args:
        artifacts: their summaries.
        width: the terminal's columns.

    Returns:
        A table; with whole ids and sizes where they fit, and with paths where nothing limits it.
    """
    wide = width >= WIDE
    models = all(item["kind"] == "model" for item in artifacts)
    columns = ["key", "framework" if models else "kind", "tags", "run", "created"]
    columns += ["size"] if wide else []
    table = _table(*columns, *(["path"] if width == NO_LIMIT else []))
    for item in artifacts:
        cells = [
            Text(item["key"]),
            Text(str(item.get("framework") or "") if models else item["kind"]),
            Text(", ".join(item["tags"])),
            Text(item["run"] if wide else item["run"][:SHORT]),
            Text(shown_time(item["created"])[: None if wide else -SECONDS]),
            Text(shown_size(item["size"])),
            Text(shown_path(item["path"])),
        ]
        table.add_row(*cells[: len(table.columns)])
    return table


def schedules_table(schedules: Sequence[Record]) -> RenderableType:
    """Show what runs again and again.

    Args:
        schedules: of each its `name`, `schedule`, the time of its `next` run, and the last `state`.

    Returns:
        A table.
    """
    table = _table("name", "schedule", "next", "last")
    for item in schedules:
        table.add_row(
            item["name"], item["schedule"], shown_time(item["next"]), _state(item["state"])
        )
    return table


def lineage_tree(title: str, node: Node, guide_style: str = "dim") -> Tree:
    """Show where something came from, or what came of it.

    Args:
        title: which of the two, put before the tree.
        node: the tree.
        guide_style: of the lines.

    Returns:
        A tree.
    """
    tree = Tree(Text(title, style="bold"), guide_style=guide_style)
    _grow(tree, node)
    if not tree.children:
        tree.add(Text("nothing that was recorded", style="dim"))
    return tree


def _grow(tree: Tree, node: Node) -> None:
    for following in node.follows:
        _grow(tree.add(node_text(following)), following)
    if node.unshown:
        tree.add(Text(f"… and {node.unshown} earlier runs", style="dim"))
    if node.cut:
        tree.add(Text("… (further with --depth)", style="dim"))


def node_text(node: Node) -> Text:
    """Name a run or an artifact in one line.

    Args:
        node: the run or the artifact.

    Returns:
        What it is, its name and id.
    """
    text = Text("run " if node.is_run else "", style="dim", overflow="fold")
    text.append(node.name, style="not dim bold")
    if node.record is None:
        text.append(" (not in this project's records)" if not node.is_run else " (deleted)")
        return text
    uid = node.record["metadata"]["uid"][:SHORT]
    if node.is_run:
        state = node.record["status"].get("state") or ""
        text.append(f" {uid} ", style="not dim").append_text(_state(state))
        text.append(f" {shown_time(node.record['status'].get('start_time'))}")
    else:
        text.append(f" {node.record['kind']} {uid}", style="not dim")
    if node.repeated:
        text.append(" (see above)")
    return text


# ---- values


def shown_time(value: Any) -> str:
    """Write a time of MLRun's in this machine's zone.

    Args:
        value: the time; None for none.

    Returns:
        Date and time, to the second.
    """
    time = moment(value)
    return f"{time.astimezone():%Y-%m-%d %H:%M:%S}" if time else ""


def shown_seconds(seconds: float | None) -> str:
    """Write a duration.

    Args:
        seconds: how long; None while it goes on.

    Returns:
        Tenths of seconds up to a minute.

    Example:
        >>> shown_seconds(3.26), shown_seconds(75), shown_seconds(90000)
        ('3.3 s', '0:01:15', '1 day, 1:00:00')
    """
    if seconds is None:
        return ""
    minute = 60
    return f"{seconds:.1f} s" if seconds < minute else str(timedelta(seconds=round(seconds)))


def shown_size(size: int | None) -> str:
    """Write a number of bytes.

    Args:
        size: how many; None where that isn't known.

    Returns:
        The number in decimal units.

    Example:
        >>> shown_size(700), shown_size(192_120)
        ('700 B', '192.1 kB')
    """
    from rich.filesize import decimal

    if size is None:
        return ""
    return decimal(size).replace("bytes", "B").replace("byte", "B")


def _signed(difference: float) -> str:
    number = shown(difference)
    return number if number.startswith("-") else f"+{number}"


def _state(state: str) -> Text:
    return Text(state, style=STATES.get(state, ""), no_wrap=True)


def _first_line(text: str | None) -> str:
    line = (text or "").strip().partition("\n")[0]
    return line if len(line) <= WIDE else f"{line[: WIDE - 1]}…"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(
            column,
            justify="right" if column in {"took", "size"} else "left",
            no_wrap=column not in FLEXIBLE,
            overflow="fold",
        )
    return table


def _width(table: Table) -> int:
    from rich.console import Console

    return table.__rich_measure__(console := Console(width=10_000), console.options).maximum
