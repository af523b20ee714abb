"""What a person sees of a run when it has ended."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from .context import MLRunContextManager

if TYPE_CHECKING:
    import mlrun

LOOK_FURTHER = """\
from {package}.datasets import MLRunContextManager
MLRunContextManager().project.list_runs(name="~").to_df()
"""


def print_run(context: mlrun.MLClientCtx, error: BaseException | None = None) -> None:
    """Print a run: its name, id, state, results and artifacts, and where to look next.

    Args:
        context: the run's context.
        error: what made it fail.
    """
    import mlrun

    artifacts = [mlrun.datastore.get_store_resource(uri) for uri in context.artifact_uris.values()]
    files = [(artifact.spec.db_key, artifact_file(artifact)) for artifact in artifacts]
    parts: list[Any] = [
        Text(f"\nMLRun run '{context.name}'"),
        _table(("id", context.uid), ("state", context.state)),
    ]
    if error:
        parts += [Text("\nError"), _table((type(error).__name__, str(error)))]
    if context.results:
        parts += [Text("\nResults"), _table(*context.results.items())]
    if files:
        parts += [Text("\nArtifacts"), _table(*files)]
    package = __package__.partition(".")[0]
    python = f"{'PYTHONPATH=src ' if Path('src', package).is_dir() else ''}{_short(sys.executable)}"
    parts += [
        Text(f"\nRecorded in {MLRunContextManager().location}."),
        Text(f"To look further, in a notebook or in `{python}`:"),
        *(Text(f"  {line}") for line in LOOK_FURTHER.format(package=package).splitlines()),
    ]
    # Never cut or folded to the terminal's width: a path is there to be copied.
    Console(soft_wrap=True, width=1000).print(Group(*parts))


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
