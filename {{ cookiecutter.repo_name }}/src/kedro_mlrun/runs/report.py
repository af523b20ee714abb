"""What a person sees of a run when it has ended."""

from collections import Counter
from collections.abc import Mapping
from textwrap import indent
from typing import Any

import click
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from ..store.fields import OWN, artifact_file, run_title
from ..store.store import Store
from ..text import kedro_command, rendered, shown, shown_path
from .manager import MLRunContextManager


def print_run(uid: str, project: str) -> None:
    """Print a run: its name, id, state, results and artifacts, and where to look next."""
    client = MLRunContextManager().store
    run = client.read_run(uid, project)
    status, environment = run["status"], (run["metadata"].get("labels") or {}).get("environment")
    parts: list[Any] = [
        Text(f"\nMLRun run '{run_title(run['metadata'])}'"),
        pairs(("id", uid), ("state", status["state"])),
    ]
    if status.get("error"):
        # What happened; where in the code comes after an empty line.
        parts += [Text("\nError"), Text(indent(status["error"].partition("\n\n")[0], "  "))]
    if status.get("results"):
        parts += [Text("\nResults"), results_view(status["results"])]
    is_store = isinstance(client, Store)
    items = client.artifacts_of(run) if is_store else status.get("artifacts") or []
    files = {item["spec"]["db_key"]: artifact_file(item) for item in items}
    files = {key: shown_path(path) for key, path in files.items() if not key.startswith(OWN)}
    if files:
        parts += [Text("\nArtifacts"), pairs(*files.items())]
    option = "" if environment in {None, "local"} else f" --env {environment}"
    if kept := None if is_store else _kept(client):
        where = f"{client.base_url} stopped answering. The run is kept in {kept.url}."
        hint = f"To send it later: {kedro_command()} mlrun push {uid[:8]}{option}"
    else:
        where = f"Recorded in {MLRunContextManager().location}."
        hint = f"To look further: {kedro_command()} mlrun show {uid[:8]}{option}"
        hint += f"\nIn a browser: {kedro_command()} mlrun ui{option}"
    parts += [Text(f"\n{where}"), Text(hint)]
    # Never cut or folded to the terminal's width: a path is there to be copied.
    click.echo(rendered(Console(width=1000), Group(*parts)))


def _kept(client: Any) -> Any:
    from ..api.keeping import unsent

    return unsent(client)


def results_view(results: Mapping[str, Any]) -> Group:
    """Show results; numbers whose names end alike side by side, in a line for each beginning."""
    ends: dict[str, tuple[str, ...]] = {}
    for name, value in results.items():
        beginning, _, end = name.rpartition(".")
        if beginning and isinstance(value, int | float):
            ends[beginning] = (*ends.get(beginning, ()), end)
    parts, others = [], dict(results)
    for heads, count in Counter(ends.values()).items():
        # Where two lines or more save some, and most terminals have room.
        if count > 1 and len(heads) in range(2, 9):
            alike = [name for name in ends if ends[name] == heads]
            rows = [(name, *(others.pop(f"{name}.{end}") for end in heads)) for name in alike]
            parts.append(pairs(("", *heads), *rows))
    return Group(*parts, *([pairs(*others.items())] if others else []))


def pairs(*rows: tuple[Any, ...]) -> Table:
    """Show names and values, one pair in a line, or several values of a name."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for name, *values in rows:
        # As Text, for Rich would take brackets for its markup.
        texts = [value if isinstance(value, Text) else Text(shown(value)) for value in values]
        table.add_row(Text(f"  {name}"), *texts)
    return table
