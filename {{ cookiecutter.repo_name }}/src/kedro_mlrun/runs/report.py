"""What a person sees of a run when it has ended."""

from __future__ import annotations

import math
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from ..api import client as api
from ..store.fields import OWN, artifact_file
from .manager import MLRunContextManager


def print_run(uid: str, project: str) -> None:
    """Print a run: its name, id, state, results and artifacts, and where to look next.

    Args:
        uid: the run's id.
        project: its MLRun project.
    """
    import mlrun

    client = mlrun.get_run_db()
    run = client.read_run(uid, project)
    status = run["status"]
    files = [
        (record["spec"]["db_key"], shown_path(artifact_file(record)))
        for record in status.get("artifacts") or []
        if not record["spec"]["db_key"].startswith(OWN)
    ]
    parts: list[Any] = [
        Text(f"\nMLRun run '{run['metadata']['name']}'"),
        pairs(("id", uid), ("state", status["state"])),
    ]
    if status.get("error"):
        # What happened; where in the code comes after an empty line.
        parts += [Text("\nError"), Text(indented(status["error"].partition("\n\n")[0]))]
    if status.get("results"):
        parts += [Text("\nResults"), pairs(*status["results"].items())]
    if files:
        parts += [Text("\nArtifacts"), pairs(*files)]
    environment = (run["metadata"].get("labels") or {}).get("environment", "local")
    option = "" if environment == "local" else f" --env {environment}"
    kept = api.unsent(client)
    if kept:
        where = f"{client.base_url} stopped answering. The run is kept in {kept.url}."
        hint = f"To send it later: {kedro_command()} mlrun push {uid[:8]}{option}"
    else:
        where = f"Recorded in {MLRunContextManager().location}."
        hint = f"To look further: {kedro_command()} mlrun show {uid[:8]}{option}"
    parts += [Text(f"\n{where}"), Text(hint)]
    # Never cut or folded to the terminal's width: a path is there to be copied.
    Console(soft_wrap=True, width=1000).print(Group(*parts))


def kedro_command() -> str:
    """Give Kedro's command as it works without an activated environment.

    Returns:
        `kedro`, or the path of the one beside this Python.
    """
    own = Path(sys.executable).with_name("kedro").as_posix()
    return "kedro" if shutil.which("kedro") == own else shlex.quote(shown_path(own))


def pairs(*rows: tuple[str, Any]) -> Table:
    """Show names and values, one pair in a line.

    Args:
        *rows: the pairs.

    Returns:
        A table without heads.
    """
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for name, value in rows:
        # As Text, for Rich would take brackets for its markup.
        table.add_row(Text(f"  {name}"), value if isinstance(value, Text) else Text(shown(value)))
    return table


def indented(text: str) -> str:
    """Indent a text as values are.

    Args:
        text: one or more lines.

    Returns:
        The lines, indented by two.

    Example:
        >>> indented("no luck")
        '  no luck'
    """
    return "\n".join(f"  {line}" for line in text.strip().splitlines())


def shown(value: Any) -> str:
    """Write a value for a person.

    Args:
        value: a parameter's or a result's.

    Returns:
        At most four digits after the point; a dash for None.

    Example:
        >>> shown(0.97202797), shown(None), shown(1e-9)
        ('0.9720', '—', '1e-09')
    """
    if value is None:
        return "—"
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e6 else f"{value:.4g}"  # noqa: PLR2004
    return str(value)


def shown_path(path: str) -> str:
    """Write a path as it is used from the working folder.

    Args:
        path: a path or URL.

    Returns:
        The path; without the working folder where it is in it.
    """
    return path.removeprefix(f"{Path.cwd().as_posix()}/") or "(in its record)"
