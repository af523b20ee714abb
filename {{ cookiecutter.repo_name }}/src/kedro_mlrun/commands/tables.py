"""What a person sees of runs and artifacts that were recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from ..records.summaries import Record
from ..runs.report import pairs
from ..store.fields import artifact_uid, moment
from ..text import indented, shown, shown_path
from .base import NO_LIMIT

# Shown of an id where it doesn't fit whole: enough to name it by.
SHORT = 8
# From how many columns on whole ids are shown.
WIDE = 120
# What gives way where the terminal is too narrow.
FLEXIBLE = ("name", "key", "tags", "chain", "error", "value")

STATES = {"completed": "green", "running": "blue", "error": "red", "aborted": "yellow"}


def table(rows: Sequence[Mapping[str, str | Text]]) -> Table:
    """Show rows whose keys are the heads; a column without any value is left out."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    heads = [head for head in rows[0] if any(row[head] for row in rows)]
    for head in heads:
        justify: Any = "right" if head in {"took", "size"} else "left"
        made.add_column(head, justify=justify, no_wrap=head not in FLEXIBLE, overflow="fold")
    for row in rows:
        # As Text, for Rich would take brackets for its markup.
        cells = (row[head] for head in heads)
        made.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells))
    return made


def runs_table(runs: Sequence[Record], width: int) -> Table:
    """Show runs, one in a line; with whole ids and errors where they fit."""
    wide = width >= WIDE
    rows = [
        {
            "id": run["uid"] if wide else run["uid"][:SHORT],
            "name": run["name"],
            "state": shown_state(run["state"]),
            "started": shown_time(run["start_time"]),
            "took": shown_seconds(run["seconds"]),
            "chain": run["labels"].get("workflow", ""),
            "error": _first_line(run["error"]) if wide else "",
        }
        for run in runs
    ]
    return table(rows)


def _first_line(text: str | None) -> Text:
    line = Text((text or "").strip().partition("\n")[0], style="red", no_wrap=True)
    line.truncate(WIDE, overflow="ellipsis")
    line.overflow = "ellipsis"
    return line


def run_view(run: Record, artifacts: Sequence[Record]) -> RenderableType:
    """Show all of one run, with the files of what it saved."""
    times = {"started": shown_time(run["start_time"]), "took": shown_seconds(run["seconds"])}
    about = {"id": run["uid"], "state": shown_state(run["state"])}
    about |= {name: time for name, time in times.items() if time}
    paths = {artifact_uid(item["uri"]): shown_path(item["path"]) for item in artifacts}
    uids = {key: artifact_uid(uri) for key, uri in run["artifacts"].items()}
    # Also what the run's record doesn't name, or not yet.
    unnamed = [item for item in artifacts if artifact_uid(item["uri"]) not in uids.values()]
    files = {item["key"]: shown_path(item["path"]) for item in unnamed}
    # Of a sweep's artifacts these are those of its best iteration.
    files |= {key: paths[uid] for key, uid in uids.items() if uid in paths}
    # What the store has no record of any more is named all the same.
    missing = sorted(run["artifacts"].keys() - files.keys())
    sections = {name.capitalize(): run[name] for name in ("labels", "parameters", "inputs")}
    sections |= {
        "Results": run["results"],
        "Artifacts": files | dict.fromkeys(missing, "(deleted)"),
    }
    parts: list[Any] = [Text(f"Run '{run['name']}'", style="bold"), pairs(*about.items())]
    for title, values in sections.items():
        if values:
            parts += [Text(f"\n{title}", style="bold"), pairs(*values.items())]
    if run["error"]:
        parts += [Text("\nError", style="bold red"), Text(indented(run["error"]))]
    return Group(*parts)


def comparison(compared: Record, width: int) -> RenderableType:
    """Show what differs between runs side by side or, where that is too wide, below each other.

    Each number is followed by its difference to the first run's.
    """
    heads = [run["uid"][:SHORT] for run in compared["runs"]]
    parts: list[RenderableType] = [runs_table(compared["runs"], width)]
    for title in ("parameters", "results"):
        below = [
            {"name": row["name"], "run": head, "value": shown(value), "difference": _signed(more)}
            for row in compared[title]
            for head, value, more in zip(heads, row["values"], row["differences"], strict=True)
        ]
        if not below:
            parts += [Text(f"\nNo {title} differ.")]
            continue
        beside: dict[str, dict[str, Any]] = {row["name"]: {"name": row["name"]} for row in below}
        for row in below:
            cell = Text.assemble(row["value"], (f" {row['difference']}".rstrip(), "cyan"))
            beside[row["name"]][row["run"]] = cell
        wide = table([*beside.values()])
        fits = wide.__rich_measure__(console := Console(), console.options).maximum <= width
        parts += [Text(f"\n{title.capitalize()}", style="bold"), wide if fits else table(below)]
    return Group(*parts)


def artifacts_table(artifacts: Sequence[Record], width: int) -> Table:
    """Show versions of artifacts; with ids and sizes where they fit, with paths where all fits."""
    wide = width >= WIDE
    models = all(item["kind"] == "model" for item in artifacts)
    rows = [
        {
            "key": item["key"],
            **({"framework": item["framework"] or ""} if models else {"kind": item["kind"]}),
            "tags": ", ".join(item["tags"]),
            "run": item["run"] if wide else item["run"][:SHORT],
            "created": shown_time(item["created"])[: None if wide else -len(":00")],
            "size": shown_size(item["size"]) if wide else "",
            "path": shown_path(item["path"]) if width == NO_LIMIT else "",
        }
        for item in artifacts
    ]
    return table(rows)


def lineage_tree(title: str, node: Record) -> Tree:
    """Show where something came from, or what came of it."""
    tree = Tree(Text(title, style="bold"), guide_style="dim")
    _grow(tree, node)
    if not tree.children:
        tree.add(Text("nothing that was recorded", style="dim"))
    return tree


def _grow(tree: Tree, node: Record) -> None:
    for following in node["follows"]:
        _grow(tree.add(node_text(following)), following)
    if node["unshown"]:
        tree.add(Text(f"… and {node['unshown']} earlier runs", style="dim"))
    if node["cut"]:
        tree.add(Text("… (more with --depth)", style="dim"))


def node_text(node: Record) -> Text:
    """Name a run or an artifact in one line."""
    is_run = node["type"] == "run"
    text = Text("run " if is_run else "", style="dim", overflow="fold")
    text.append(node["name"], style="not dim bold")
    if not node["uid"]:
        return text.append(" (deleted)" if is_run else " (not in this project's records)")
    if is_run:
        text.append(f" {node['uid'][:SHORT]} ", style="not dim")
        text.append_text(shown_state(node["state"])).append(f" {shown_time(node['start_time'])}")
    else:
        text.append(f" {node['kind']} {node['uid'][:SHORT]}", style="not dim")
    return text.append(" (see above)") if node["repeated"] else text


def shown_state(state: str) -> Text:
    """Write a state in its colour."""
    return Text(state, style=STATES.get(state, ""), no_wrap=True)


def shown_time(value: Any) -> str:
    """Write a time of MLRun's in this machine's zone, to the second."""
    time = moment(value)
    return f"{time.astimezone():%Y-%m-%d %H:%M:%S}" if time else ""


def shown_seconds(seconds: float | None) -> str:
    """Write how long something took, in tenths of seconds up to a minute."""
    if seconds is None:
        return ""
    minute = 60
    return f"{seconds:.1f} s" if seconds < minute else str(timedelta(seconds=round(seconds)))


def shown_size(size: int | None) -> str:
    """Write a number of bytes in decimal units."""
    from rich.filesize import decimal

    return "" if size is None else decimal(size).replace("bytes", "B").replace("byte", "B")


def _signed(difference: float | None) -> str:
    if not difference:
        return ""
    return f"+{shown(difference)}" if difference > 0 else shown(difference)
