"""What a person sees of a run when it has ended."""

from __future__ import annotations

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


def print_run(context: mlrun.MLClientCtx) -> None:
    """Print a run: its name, id, state, results and artifacts, and where to look next.

    Args:
        context: the run's context.
    """
    import mlrun

    artifacts = [mlrun.datastore.get_store_resource(uri) for uri in context.artifact_uris.values()]
    files = [(artifact.spec.db_key, artifact_file(artifact)) for artifact in artifacts]
    parts: list[Any] = [
        Text(f"\nMLRun run '{context.name}'"),
        _table(("id", context.uid), ("state", context.state)),
    ]
    if context.results:
        parts += [Text("\nResults"), _table(*context.results.items())]
    if files:
        parts += [Text("\nArtifacts"), _table(*files)]
    package = __package__.partition(".")[0]
    parts += [
        Text(
            f"\nRecorded in {MLRunContextManager().location}. To look further: `kedro ipython`, then"
        ),
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
    path = artifact.target_path + (model_file or "")
    working_folder = f"{Path.cwd().as_posix()}/"
    return path.removeprefix(working_folder)


def _table(*rows: tuple[str, Any]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2))
    for name, value in rows:
        shown = f"{value:.4f}" if isinstance(value, float) else str(value)
        table.add_row(f"  {name}", shown)
    return table
