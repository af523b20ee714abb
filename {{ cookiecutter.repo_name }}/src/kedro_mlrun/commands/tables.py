"""What a person sees of runs and artifacts that were recorded."""

from collections.abc import Iterable, Mapping, Sequence
from textwrap import indent, shorten
from typing import Any

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from ..records.query import full_name, value_of
from ..records.summaries import ABOUT, Record, differing, fields_of, short_metric
from ..runs.report import pairs, results_view
from ..store.fields import OWN_ID, artifact_uid, moment, run_title
from ..text import shown, shown_path, took
from .base import NO_LIMIT

# How much of an id is shown, and from how many columns on all of it is.
SHORT, WIDE = 8, 120
# What stays in one line where the terminal is too narrow for the others.
RIGID = ("id", "run", "state", "started", "created", "took", "size", "kind", "framework")
STATES = {"completed": "green", "running": "blue", "error": "red", "aborted": "yellow"}
GAP = 2  # characters between columns

Columns = dict[str, list[Text]]


def table(
    rows: Sequence[Record], width: int = NO_LIMIT, fields: Mapping[str, str] | None = None
) -> Table:
    """Show the fields of rows below their heads; a column without any value is left out."""
    return _grid(_columns(rows, width, fields or {name: name for name in rows[0]}))


def _columns(rows: Sequence[Record], width: int, fields: Mapping[str, str]) -> Columns:
    columns = {head: [cell(head, row[fields[head]], width) for row in rows] for head in fields}
    return {head: cells for head, cells in columns.items() if any(cells)}


def _fitting(columns: Columns, width: int, beside: Columns) -> Columns:
    """Give the columns for which there is room beside others, first come, first served."""
    sizes = {
        head: GAP + max(map(cell_len, (head, *map(str, cells))))
        for head, cells in (beside | columns).items()
    }
    room, found = width + GAP - sum(map(sizes.__getitem__, beside)), Columns()
    for head, cells in columns.items():
        if sizes[head] <= room:
            found[head], room = cells, room - sizes[head]
    return found


def _short(names: Sequence[str], taken: Iterable[str], width: int) -> dict[str, str]:
    """Name columns, on a terminal by as few last parts of their names as tell them apart."""
    found = {}
    for name in names:
        parts = name.split(".")
        ends = [".".join(parts[start:]) for start in range(len(parts) - 1, 0, -1)]
        alike = [f".{other}" for other in (*names, *taken) if other != name]
        free = (end for end in ends if not any(each.endswith(f".{end}") for each in alike))
        found[name] = name if width == NO_LIMIT else next(free, name)
    return found


def _grid(columns: Columns) -> Table:
    made = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for head in columns:
        justify: Any = "right" if head in {"took", "size"} else "left"
        made.add_column(head, justify=justify, no_wrap=head in RIGID, overflow="fold")
    for cells in zip(*columns.values(), strict=True):
        made.add_row(*cells)
    return made


def cell(head: str, value: Any, width: int = NO_LIMIT) -> Text:
    """Write a value as a column with this head shows it; nothing where that doesn't fit."""
    wide = width >= WIDE
    if isinstance(value, Text):
        return value
    if value is None or (head in {"error", "size"} and not wide):
        return Text()
    match head:
        case "state":
            return Text(value, style=STATES.get(value, ""), no_wrap=True)
        case "error":
            line = shorten(value.strip().partition("\n")[0], WIDE, placeholder="…")
            return Text(line, style="red", no_wrap=True, overflow="ellipsis")
        case "id" | "run":
            value = value if width == NO_LIMIT else value[:SHORT]
        case "chain" if OWN_ID.fullmatch(value) and width != NO_LIMIT:
            value = value[:SHORT]
        case "started" | "created" | "next":
            time = moment(value)
            # In this machine's zone.
            form = "%Y-%m-%d %H:%M:%S" if wide or head == "next" else "%m-%d %H:%M"
            value = time.astimezone().strftime(form) if time else ""
        case "took":
            value = took(value)
        case "size":
            value = decimal(value)
        case "path":
            value = shown_path(value) if width == NO_LIMIT else ""
    # As Text, for Rich would take brackets for its markup.
    return Text(", ".join(value) if isinstance(value, list) else str(value))


def runs_table(
    runs: Sequence[Record],
    width: int,
    columns: Sequence[str] | None = None,
    first: Sequence[str] = (),
) -> RenderableType:
    """Show runs, one in a line, with these fields or, as far as they fit, with what differs."""
    told = [fields_of(run) for run in runs]
    rows = [{**run, "name": run_title(run), "chain": run["labels"].get("workflow")} for run in runs]
    about = {**ABOUT, "chain": "chain", "error": "error"}
    if columns:
        about = {name: ABOUT[name] for name in ("id", "name", *columns) if name in ABOUT}
    shown_about = _columns(rows, width, about)
    known = {name for each in told for name in each}
    wanted = [*first, *differing(told)] if columns is None else columns
    names = [*dict.fromkeys(full_name(name, known) for name in wanted if name not in about)]
    heads = _short(names, about, width)
    more = {heads[name]: [value_text(value_of(each, name)) for each in told] for name in names}
    if columns is not None:
        return _grid(shown_about | more)
    error = {"error": shown_about.pop("error")} if "error" in shown_about else {}
    # What differs goes before it.
    more |= {"chain": shown_about.pop("chain")} if "chain" in shown_about else {}
    # Of errors, which are cut, the beginning is enough.
    fits = _fitting(more, width - WIDE // 4 if error else width, shown_about)
    parts: list[RenderableType] = [_grid(shown_about | fits | error)]
    if left := len(more) - len(fits):
        parts += [Text(f"\n{left} more columns don't fit. To choose some: --columns", "dim")]
    return Group(*parts)


def value_text(value: Any) -> Text:
    """Show a parameter or a result; nothing where there is none."""
    return Text("" if value is None else shown(value))


def run_view(run: Record, artifacts: Sequence[Record]) -> Group:
    """Show all of one run, with the files of what it saved."""
    names = {artifact_uid(uri): key for key, uri in run["artifacts"].items()}
    # What the store has no record of any more is named all the same.
    files = dict.fromkeys(run["artifacts"], "(deleted)")
    # Of a sweep's artifacts the run names those of its best iteration: they have the last word.
    for item in sorted(artifacts, key=lambda item: artifact_uid(item["uri"]) in names):
        # By the key that `kedro mlrun open` takes, which of a sweep's chart isn't the run's own.
        files.pop(names.get(artifact_uid(item["uri"]), ""), None)
        files[item["key"]] = shown_path(item["path"])
    parts: list[Any] = [Text(f"Run '{run_title(run)}'", style="bold")]
    about = [(head, cell(head, run[name])) for head, name in ABOUT.items() if head != "name"]
    parts += [pairs(*((head, text) for head, text in about if text))]
    for title in ("labels", "parameters", "inputs", "results", "artifacts"):
        values = files if title == "artifacts" else run[title]
        if values:
            view = results_view(values) if title == "results" else pairs(*values.items())
            parts += [Text(f"\n{title.capitalize()}", style="bold"), view]
    if searched := run.get("search"):
        parts += _search_parts(searched)
    if run["error"]:
        parts += [Text("\nError", style="bold red"), Text(indent(run["error"].strip(), "  "))]
    return Group(*parts)


def _search_parts(searched: Record) -> list[Any]:
    states = ", ".join(f"{n} {how}" for how in ("failed", "pruned") if (n := searched[how]))
    trials = f"{searched['trials']}{f', of which {states}' if states else ''}"
    about = {searched["direction"]: searched["metric"], "trials": trials}
    history = {f"trial {each['trial']}": each["value"] for each in searched["history"]}
    titles = {"Search": about, "Best parameters": searched["parameters"]}
    titles |= {"Importance": searched["importance"], "History of the best": history}
    parts = ((Text(f"\n{title}", "bold"), pairs(*of.items())) for title, of in titles.items() if of)
    return [part for both in parts for part in both]


def comparison(compared: Record, width: int) -> RenderableType:
    """Show what differs between runs side by side, as many runs at a time as fit."""
    heads = [run["uid"][:SHORT] for run in compared["runs"]]
    parts: list[RenderableType] = [runs_table(compared["runs"], width, [*ABOUT])]
    for title in ("parameters", "results", "labels"):
        rows = compared[title]
        parts += [Text(f"\n{title.capitalize()}" if rows else f"\nNo {title} differ.", "bold")]
        names = {"name": [Text(row["name"]) for row in rows]}
        cells = ([_compared(row, number) for number in range(len(heads))] for row in rows)
        rest = dict(zip(heads, map(list, zip(*cells, strict=True)), strict=False))
        while rest:
            # What is wider than a terminal is folded.
            fits = _fitting(rest, width, names) or dict([next(iter(rest.items()))])
            rest = {head: column for head, column in rest.items() if head not in fits}
            parts += [_grid(names | fits), Text()] if rest else [_grid(names | fits)]
    return Group(*parts)


def _compared(row: Record, number: int) -> Text:
    value, difference = row["values"][number], row["differences"][number]
    style = "bold green" if value is not None and value == row["best"] else ""
    text = f" {'+' * (difference > 0)}{shown(difference)}" if difference else ""
    return Text.assemble((shown(value), style), (text, "cyan"))


def artifacts_table(artifacts: Sequence[Record], width: int) -> Table:
    """Show versions of artifacts; with metrics and sizes where they fit, paths where all does."""
    models = all(item["kind"] == "model" for item in artifacts)
    what = "framework" if models else "kind"
    names = ("key", what, "tags", "run", "created", "size", "path")
    found = _columns(artifacts, width, {name: name for name in names})
    # Without what names this very model, so that a metric of several is one column.
    metrics = [
        {short_metric(name, item["key"]): value for name, value in item.get("metrics", {}).items()}
        for item in artifacts
    ]
    every = dict.fromkeys(name for each in metrics for name in each)
    more = {name: [value_text(each.get(name)) for each in metrics] for name in every}
    return _grid(found | _fitting(more, width, found))


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
