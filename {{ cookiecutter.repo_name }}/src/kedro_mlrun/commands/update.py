"""The command that brings a project to a newer starter."""

from __future__ import annotations

import sys

import click


@click.command("update", epilog="Example: kedro mlrun update --check")
@click.option(
    "--to",
    default="",
    metavar="VERSION|PATH",
    help="A version of the starter, or a clone of it; by default the newest version.",
)
@click.option("--check", is_flag=True, help="Only tell whether there is a newer version.")
def update(to: str, check: bool) -> None:
    """Bring the project to a newer starter.

    src/kedro_mlrun is replaced. In all other files your edits are kept: the changes of the starter
    are merged into them. Commit your work first. With --check, exit code 1 says that there is a
    newer version.
    """
    from ..project import current_project
    from ..setup.update import update as merge

    done = merge(current_project(), to, check)
    if not done.is_newer:
        click.echo(f"kedro_mlrun {done.before} is the newest version.")
        return
    if check:
        click.echo(f"There is kedro_mlrun {done.after}; this project has {done.before}.")
        click.echo("To update: make update")
        sys.exit(1)
    click.echo(f"Updated from {done.before} to {done.after}: {len(done.files)} files changed.")
    if done.patch:
        click.echo(
            f"Your changes of src/kedro_mlrun were replaced. {done.patch} has them, to look at or "
            f"to apply again: git apply {done.patch}"
        )
    for name in done.conflicts:
        click.echo(f"Conflict in {name}: decide between your lines and those of the starter.")
    click.echo("See what has changed with `git diff`, then run: make install check test")
    sys.exit(1 if done.conflicts else 0)
