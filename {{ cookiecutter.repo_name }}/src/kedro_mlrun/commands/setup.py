"""Commands that bring a project to this package, and to a newer starter."""

import difflib
import glob
import sys
from functools import partial
from os.path import relpath
from pathlib import Path
from typing import Any

import click
from kedro.framework.startup import ProjectMetadata

from ..project import config_loader, current_project
from ..setup import init as setup
from ..setup.update import update as update_project
from .base import tell

say = partial(tell, err=False)


@click.command(epilog="Example: kedro mlrun init --catalog")
@click.option("--catalog", is_flag=True, help="Change the catalog, too, as it is shown.")
@click.option("--vendor", is_flag=True, help="Copy kedro_mlrun into the project's source folder.")
@click.option("--undo", is_flag=True, help="Take out what init has written.")
@click.pass_obj
def init(metadata: ProjectMetadata, catalog: bool, vendor: bool, undo: bool) -> None:
    """Have an existing project's runs recorded: write mlrun.yml and function.yaml.

    What is there stays. Shows which models, metrics and data frames of the catalog can be MLRun's.
    """
    project = metadata.project_path
    if undo:
        if not (project / setup.MEMORY).exists():
            raise click.ClickException(
                f"There is no {setup.MEMORY}, so what init wrote isn't known: only the clone where "
                "init ran has it, until it is undone. Undo it there, or revert the commit that "
                "added mlrun.yml."
            )
        done, left = setup.undo(metadata)
        if left:
            raise click.ClickException(
                f"{', '.join(sorted(left))} was edited since, and is kept. Delete it, or take out "
                "by hand what init wrote there."
            )
        say(f"Took out what init wrote: {len(done)} files are as they were.")
        return
    loader = config_loader(project)
    conf = Path(loader.conf_source, getattr(loader, "base_env", None) or "")
    edits = setup.needed(metadata, conf, vendor)
    changes = _of_catalog(loader, conf, project)
    for file, old, new in changes:
        say(f"{file}:")
        for line in difflib.ndiff((old or "").strip().splitlines(), new.strip().splitlines()):
            if line[0] != "?":
                say(line, fg={"-": "red", "+": "green"}.get(line[0]))
    edits += changes if catalog else []
    setup.write(project, edits)
    package = relpath(metadata.source_dir / setup.PACKAGE.name, project)
    files = [package if edit.file.startswith(package) else edit.file for edit in edits]
    names = ", ".join(dict.fromkeys(files))
    say(f"Wrote {names}." if names else "Nothing to write: the project has all of it.")
    if changes and not catalog:
        say("MLRun can keep the entries shown above: kedro mlrun init --catalog")
    say("Next: kedro run, kedro mlrun show last. To go back: kedro mlrun init --undo")


def _of_catalog(loader: Any, conf: Path, project: Path) -> list[setup.Edit]:
    from kedro.framework.project import pipelines

    patterns = getattr(loader, "config_patterns", {}).get("catalog", ["**/catalog*"])
    found = {name for each in patterns for name in glob.glob(each, root_dir=conf, recursive=True)}
    files = [conf / name for name in sorted(found) if name.endswith((".yml", ".yaml"))]
    try:
        texts = {relpath(file, project): setup.read(file) for file in files}
        return setup.catalog_edits(texts, dict(pipelines))
    except Exception as exc:
        # It is the project's own code that is imported here.
        why = str(exc).rstrip(".")
        say(
            f"The catalog can't be looked at without its pipelines: {why}. Fix that, and try again."
        )
        return []


@click.command(epilog="Example: kedro mlrun update --check")
@click.option("--to", default="", metavar="VERSION|PATH", help="This version, or this clone.")
@click.option("--check", is_flag=True, help="Only tell whether there is a newer version.")
def update(to: str, check: bool) -> None:
    """Bring the project to a newer starter, by default the newest version.

    src/kedro_mlrun is replaced. In all other files your edits are kept: the changes of the starter
    are merged into them. Commit your work first. With --check, exit code 1 says that there is a
    newer version.
    """
    done = update_project(current_project(), to, check)
    if not done.is_newer:
        tell(f"kedro_mlrun {done.before} is the newest version.")
    elif check:
        say(f"There is kedro_mlrun {done.after}; this project has {done.before}.")
        say("To update: make update")
    else:
        say(f"Updated from {done.before} to {done.after}: {len(done.files)} files changed.")
        if done.patch:
            say(
                f"Your changes of src/kedro_mlrun were replaced. {done.patch} has them, to look at "
                f"or to apply again: git apply {done.patch}"
            )
        for name in done.conflicts:
            say(f"Conflict in {name}: decide between your lines and those of the starter.")
        say("See what has changed with `git diff`, then run: make install check test")
    sys.exit(done.is_newer and (check or bool(done.conflicts)))
