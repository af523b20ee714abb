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

    if undo:
        done, left = setup.undo(metadata)
        if left:
            raise click.ClickException(
                f"{', '.join(sorted(left))} was edited since, and is kept. Delete it, or take out "
                "by hand what init wrote there."
            )
        click.echo(f"Took out what init wrote: {len(done)} files are as they were.")
        return
    loader = config_loader(metadata.project_path)
    conf = Path(loader.conf_source, getattr(loader, "base_env", None) or "")
    edits = setup.needed(metadata, conf, vendor)
    changes, others = _of_catalog(loader, conf)
    for file, old, new in changes:
        click.echo(f"{relpath(file)}:")
        for line in difflib.ndiff((old or "").strip().splitlines(), new.strip().splitlines()):
            if line[0] != "?":
                click.secho(line, fg={"-": "red", "+": "green"}.get(line[0]))
    edits += changes if catalog else []
    setup.write(metadata.project_path, edits)
    package = metadata.source_dir / setup.PACKAGE.name
    files = [package if package in edit.file.parents else edit.file for edit in edits]
    names = ", ".join(dict.fromkeys(map(relpath, files)))
    click.echo(f"Wrote {names}." if names else "Nothing to write: the project has all of it.")
    if changes and not catalog:
        click.echo("MLRun can keep the entries shown above: kedro mlrun init --catalog")
    if others:
        click.echo(
            f"To record {', '.join(others)} as artifacts, too, name them in `tracking.datasets` of "
            f"{relpath(conf / 'mlrun.yml')}."
        )
    click.echo("Next: kedro run, kedro mlrun show last. To go back: kedro mlrun init --undo")


def _of_catalog(loader: Any, conf: Path) -> tuple[list[Edit], list[str]]:
    from kedro.framework.project import pipelines

    from ..setup.catalog import edits

    patterns = getattr(loader, "config_patterns", {}).get("catalog", ["**/catalog*"])
    found = {name for each in patterns for name in glob.glob(each, root_dir=conf, recursive=True)}
    try:
        return edits([conf / name for name in sorted(found) if ".y" in name[-5:]], dict(pipelines))
    except Exception as exc:
        # It is the project's own code that is imported here.
        click.echo(f"The catalog can't be looked at without its pipelines: {exc}", err=True)
        return [], []
