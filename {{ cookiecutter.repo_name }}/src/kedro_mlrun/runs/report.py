"""What a person sees of a run when it has ended."""

from textwrap import indent
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from ..lazy import mlrun
from ..store.fields import OWN, artifact_file
from ..text import kedro_command, shown, shown_path
from .manager import MLRunContextManager


def print_run(uid: str, project: str) -> None:
    """Print a run: its name, id, state, results and artifacts, and where to look next."""
    from ..api.keeping import unsent

    client = mlrun.get_run_db()
    run = client.read_run(uid, project)
    status, environment = run["status"], (run["metadata"].get("labels") or {}).get("environment")
    parts: list[Any] = [
        Text(f"\nMLRun run '{run['metadata']['name']}'"),
        pairs(("id", uid), ("state", status["state"])),
    ]
    if status.get("error"):
        # What happened; where in the code comes after an empty line.
        parts += [Text("\nError"), Text(indent(status["error"].partition("\n\n")[0], "  "))]
    if status.get("results"):
        parts += [Text("\nResults"), pairs(*status["results"].items())]
    files = {item["spec"]["db_key"]: artifact_file(item) for item in status.get("artifacts") or []}
    files = {key: shown_path(path) for key, path in files.items() if not key.startswith(OWN)}
    if files:
        parts += [Text("\nArtifacts"), pairs(*files.items())]
    option = "" if environment in {None, "local"} else f" --env {environment}"
    if kept := unsent(client):
        where = f"{client.base_url} stopped answering. The run is kept in {kept.url}."
        hint = f"To send it later: {kedro_command()} mlrun push {uid[:8]}{option}"
    else:
        where = f"Recorded in {MLRunContextManager().location}."
        hint = f"To look further: {kedro_command()} mlrun show {uid[:8]}{option}"
    parts += [Text(f"\n{where}"), Text(hint)]
    # Never cut or folded to the terminal's width: a path is there to be copied.
    Console(soft_wrap=True, width=1000).print(Group(*parts))


def pairs(*rows: tuple[str, Any]) -> Table:
    """Show names and values, one pair in a line."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for name, value in rows:
        # As Text, for Rich would take brackets for its markup.
        table.add_row(Text(f"  {name}"), value if isinstance(value, Text) else Text(shown(value)))
    return table
