"""What a person sees of runs and artifacts that were recorded."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from textwrap import indent, shorten
from typing import Any

from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from ..records.summaries import Record
from ..runs.report import pairs
from ..store.fields import artifact_uid, moment
from ..text import shown, shown_path
from .base import NO_LIMIT

# How much of an id is shown, and from how many columns on all of it is.
SHORT, WIDE = 8, 120
# What stays in one line where the terminal is too narrow for the others.
RIGID = ("id", "run", "state", "started", "created", "took", "size", "kind", "framework")
STATES = {"completed": "green", "running": "blue", "error": "red", "aborted": "yellow"}
MINUTE = 60
# What is told of a run, and where its summary has it.
ABOUT = {"id": "uid", "name": "name", "state": "state", "started": "start_time", "took": "seconds"}


def table(
    rows: Sequence[Mapping[str, Any]],
    width: int = NO_LIMIT,
    fields: Mapping[str, str] | None = None,
) -> Table:
    """Show the fields of rows below their heads; a column without any value is left out."""
    fields = fields or {name: name for name in rows[0]}
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    columns = {head: [cell(head, row[fields[head]], width) for row in rows] for head in fields}
    columns = {head: cells for head, cells in columns.items() if any(cells)}
    for head in columns:
        justify: Any = "right" if head in {"took", "size"} else "left"
        made.add_column(head, justify=justify, no_wrap=head in RIGID, overflow="fold")
    for cells in zip(*columns.values(), strict=True):
        made.add_row(*cells)
    return made


def cell(head: str, value: Any, width: int = NO_LIMIT) -> Text:
    """Write a value as a column with this head shows it; nothing where that doesn't fit."""
    wide = width >= WIDE
    if value is None or (head in {"error", "size"} and not wide):
        return Text()
    match head:
        case "state":
            return Text(value, style=STATES.get(value, ""), no_wrap=True)
        case "error":
            line = shorten(value.strip().partition("\n")[0], WIDE, placeholder="…")
            return Text(line, style="red", no_wrap=True, overflow="ellipsis")
        case "id" | "run":
            value = value if wide else value[:SHORT]
        case "started" | "created" | "next":
            time = moment(value)
            seconds = "" if head == "created" and not wide else ":%S"
            # In this machine's zone.
            value = time.astimezone().strftime(f"%Y-%m-%d %H:%M{seconds}") if time else ""
        case "took":
            value = f"{value:.1f} s" if value < MINUTE else timedelta(seconds=round(value))
        case "size":
            value = decimal(value)
        case "path":
            value = shown_path(value) if width == NO_LIMIT else ""
    if isinstance(value, Text):
        return value
    # As Text, for Rich would take brackets for its markup.
    return Text(", ".join(value) if isinstance(value, list) else str(value))


def runs_table(runs: Sequence[Record], width: int) -> Table:
    """Show runs, one in a line; with whole ids and errors where they fit."""
    rows = [{**run, "chain": run["labels"].get("workflow")} for run in runs]
    return table(rows, width, {**ABOUT, "chain": "chain", "error": "error"})


def run_view(run: Record, artifacts: Sequence[Record]) -> Group:
    """Show all of one run, with the files of what it saved."""
    names = {artifact_uid(uri): key for key, uri in run["artifacts"].items()}
    # What the store has no record of any more is named all the same.
    files = dict.fromkeys(run["artifacts"], "(deleted)")
    # Of a sweep's artifacts the run names those of its best iteration: they have the last word.
    for item in sorted(artifacts, key=lambda item: artifact_uid(item["uri"]) in names):
        files[names.get(artifact_uid(item["uri"]), item["key"])] = shown_path(item["path"])
    parts: list[Any] = [Text(f"Run '{run['name']}'", style="bold")]
    about = [(head, cell(head, run[name])) for head, name in ABOUT.items() if head != "name"]
    parts += [pairs(*((head, text) for head, text in about if text))]
    for title in ("labels", "parameters", "inputs", "results", "artifacts"):
        values = files if title == "artifacts" else run[title]
        if values:
            parts += [Text(f"\n{title.capitalize()}", style="bold"), pairs(*values.items())]
    if run["error"]:
        parts += [Text("\nError", style="bold red"), Text(indent(run["error"].strip(), "  "))]
    return Group(*parts)


def comparison(compared: Record, width: int) -> RenderableType:
    """Show what differs between runs side by side or, where that is too wide, line by line."""
    heads = [run["uid"][:SHORT] for run in compared["runs"]]
    parts: list[RenderableType] = [runs_table(compared["runs"], width)]
    for title in ("parameters", "results"):
        rows: list[dict[str, Any]] = [{"name": row["name"]} for row in compared[title]]
        for made, row in zip(rows, compared[title], strict=True):
            for head, value, more in zip(heads, row["values"], row["differences"], strict=True):
                difference = f" {'+' * (more > 0)}{shown(more)}" if more else ""
                made[head] = Text.assemble(shown(value), (difference, "cyan"))
        if width < (2 + len(heads)) * 2 * SHORT:
            rows = [
                {"name": row["name"], "run": run, "value": row[run]}
                for row in rows
                for run in heads
            ]
        parts += [Text(f"\n{title.capitalize()}" if rows else f"\nNo {title} differ.", "bold")]
        parts += [table(rows)] if rows else []
    return Group(*parts)


def artifacts_table(artifacts: Sequence[Record], width: int) -> Table:
    """Show versions of artifacts; with ids and sizes where they fit, with paths where all fits."""
    models = all(item["kind"] == "model" for item in artifacts)
    what = "framework" if models else "kind"
    names = ("key", what, "tags", "run", "created", "size", "path")
    return table(artifacts, width, {name: name for name in names})


def lineage_tree(title: RenderableType, node: Record) -> Tree:
    """Show where something came from, or what came of it."""
    tree = Tree(title, guide_style="dim")
    tree.children += [lineage_tree(node_text(each), each) for each in node["follows"]]
    if node["unshown"]:
        tree.add(Text(f"… and {node['unshown']} earlier runs", style="dim"))
    if node["cut"]:
        tree.add(Text("… (more with --depth)", style="dim"))
    return tree


def node_text(node: Record) -> Text:
    """Name a run or an artifact in one line."""
    is_run = node["type"] == "run"
    text = Text("run " if is_run else "", style="dim", overflow="fold")
    text.append(node["name"], style="not dim bold")
    if not node["uid"]:
        return text.append(" (deleted)" if is_run else " (not in this project's records)")
    if is_run:
        text.append(f" {node['uid'][:SHORT]} ", style="not dim")
        text.append_text(cell("state", node["state"])).append(" ")
        text.append_text(cell("started", node["start_time"]))
    else:
        text.append(f" {node['kind']} {node['uid'][:SHORT]}", style="not dim")
    return text.append(" (see above)") if node["repeated"] else text
