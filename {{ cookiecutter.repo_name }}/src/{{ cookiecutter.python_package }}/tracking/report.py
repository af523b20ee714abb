"""What a person sees of a run when it has ended."""

from __future__ import annotations

import shutil
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from . import api
from .context import MLRunContextManager

if TYPE_CHECKING:
    import mlrun

OWN = "kedro."
"""Beginning of the keys of what is recorded beside what the nodes save."""


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
    artifacts = map(mlrun.artifacts.dict_to_artifact, status.get("artifacts") or [])
    files = [
        (artifact.spec.db_key, artifact_file(artifact))
        for artifact in artifacts
        if not artifact.spec.db_key.startswith(OWN)
    ]
    parts: list[Any] = [
        Text(f"\nMLRun run '{run['metadata']['name']}'"),
        _table(("id", uid), ("state", status["state"])),
    ]
    if status.get("error"):
        # What happened; where in the code comes after an empty line.
        what = status["error"].partition("\n\n")[0]
        parts += [Text("\nError"), Text(textwrap.indent(what, "  "))]
    if status.get("results"):
        parts += [Text("\nResults"), _table(*status["results"].items())]
    if files:
        parts += [Text("\nArtifacts"), _table(*files)]
    kept = api.unsent(client)
    if kept:
        where = f"{client.base_url} stopped answering. The run is kept in {kept.url}."
        hint = f"To send it later: {_kedro()} mlrun push {uid[:8]}"
    else:
        where = f"Recorded in {MLRunContextManager().location}."
        hint = f"To look further: {_kedro()} mlrun show {uid[:8]}"
    parts += [Text(f"\n{where}"), Text(hint)]
    # Never cut or folded to the terminal's width: a path is there to be copied.
    Console(soft_wrap=True, width=1000).print(Group(*parts))


def _kedro() -> str:
    """Give the command as it works without an activated environment."""
    own = Path(sys.executable).with_name("kedro").as_posix()
    return "kedro" if shutil.which("kedro") == own else _short(own)


def artifact_file(artifact: mlrun.artifacts.Artifact) -> str:
    """Give the file or folder that an artifact's bytes are in.

    Args:
        artifact: the artifact's record.

    Returns:
        Its path, from the working folder where it is in it, or its URL; for a model that of the
        model's own file.
    """
    model_file = getattr(artifact.spec, "model_file", None)
    return _short(artifact.target_path + (model_file or ""))


def _short(path: str) -> str:
    return path.removeprefix(f"{Path.cwd().as_posix()}/")


def _table(*rows: tuple[str, Any]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2))
    for name, value in rows:
        shown = f"{value:.4f}" if isinstance(value, float) else str(value)
        # As Text, for Rich would take brackets for its markup.
        table.add_row(Text(f"  {name}"), Text(shown))
    return table
