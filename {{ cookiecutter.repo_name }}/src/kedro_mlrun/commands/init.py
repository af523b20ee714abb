"""`kedro mlrun init`: an existing project's runs are recorded from now on, or no longer."""

from __future__ import annotations

import difflib
import glob
from os.path import relpath
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from kedro.framework.startup import ProjectMetadata

    from ..setup.init import Edit


@click.command(epilog="Example: kedro mlrun init --catalog")
@click.option("--catalog", is_flag=True, help="Change the catalog, too, as it is shown.")
@click.option("--vendor", is_flag=True, help="Copy kedro_mlrun into the project's source folder.")
@click.option("--undo", is_flag=True, help="Take out what init has written.")
@click.pass_obj
def init(metadata: ProjectMetadata, catalog: bool, vendor: bool, undo: bool) -> None:
    """Have an existing project's runs recorded: write mlrun.yml and function.yaml.

    What is there stays. Shows which models, metrics and data frames of the catalog can be MLRun's.
    """
    from ..project import config_loader
    from ..setup import init as setup

    project = metadata.project_path
    if undo:
        done, left = setup.undo(metadata)
        if left:
            raise click.ClickException(
                f"{', '.join(sorted(left))} was edited since, and is kept. Delete it, or take out "
                "by hand what init wrote there."
            )
        click.echo(f"Took out what init wrote: {len(done)} files are as they were.")
        return
    loader = config_loader(project)
    conf = Path(loader.conf_source, getattr(loader, "base_env", None) or "")
    edits = setup.needed(metadata, conf, vendor)
    changes = _of_catalog(loader, conf, project)
    for file, old, new in changes:
        click.echo(f"{file}:")
        for line in difflib.ndiff((old or "").strip().splitlines(), new.strip().splitlines()):
            if line[0] != "?":
                click.secho(line, fg={"-": "red", "+": "green"}.get(line[0]))
    edits += changes if catalog else []
    setup.write(project, edits)
    package = relpath(metadata.source_dir / setup.PACKAGE.name, project)
    files = [package if edit.file.startswith(package) else edit.file for edit in edits]
    names = ", ".join(dict.fromkeys(files))
    click.echo(f"Wrote {names}." if names else "Nothing to write: the project has all of it.")
    if changes and not catalog:
        click.echo("MLRun can keep the entries shown above: kedro mlrun init --catalog")
    click.echo("Next: kedro run, kedro mlrun show last. To go back: kedro mlrun init --undo")


def _of_catalog(loader: Any, conf: Path, project: Path) -> list[Edit]:
    from kedro.framework.project import pipelines

    from ..setup.catalog import edits
    from ..setup.init import read

    patterns = getattr(loader, "config_patterns", {}).get("catalog", ["**/catalog*"])
    found = {name for each in patterns for name in glob.glob(each, root_dir=conf, recursive=True)}
    files = [conf / name for name in sorted(found) if name.endswith((".yml", ".yaml"))]
    try:
        return edits({relpath(file, project): read(file) for file in files}, dict(pipelines))
    except Exception as exc:
        # It is the project's own code that is imported here.
        click.echo(f"The catalog can't be looked at without its pipelines: {exc}", err=True)
        return []
