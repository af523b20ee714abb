"""What the commands have in common: how they are made, find the records, and answer."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any

import click
from kedro.framework.cli.utils import ENV_HELP

from ..text import kedro_command

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..records.records import Records

INTERRUPTED = 130
"""The exit code of what Ctrl-C ends."""

# The spaces at the end of a line, before the codes that end its style.
_PADDING = re.compile(r" +((?:\x1b\[[0-9;]*m)*)$")


def command(name: str, example: str) -> Callable[[Callable[..., None]], click.Command]:
    """Make a function with `env` and `as_json` a command, with the options that all of them have.

    It becomes one of `kedro mlrun` by its line in `cli.COMMANDS`.
    """

    def decorate(function: Callable[..., None]) -> click.Command:
        made = click.command(name, epilog=f"Example: {example}")(function)
        made.params += [
            click.Option(["--env", "-e"], help=ENV_HELP),
            click.Option(["--json", "as_json"], is_flag=True, help="Print JSON."),
        ]
        return made

    return decorate


@contextmanager
def one_sentence(then: str = "") -> Iterator[None]:
    """Show what goes wrong in the store, or on the way to it, without a traceback."""
    try:
        yield
    except click.ClickException:
        raise
    except Exception as exc:
        if not isinstance(exc, OSError) and not type(exc).__module__.startswith("mlrun."):
            raise
        text = str(exc) or type(exc).__name__
        raise click.ClickException(f"{text}{then}") from exc


@contextmanager
def opened(env: str | None) -> Iterator[Records]:
    """Give the project's records; what goes wrong becomes one sentence."""
    if env:
        # As Kedro's own commands do it that have no session.
        os.environ["KEDRO_ENV"] = env
    # MLRun and Kedro log to stdout, where nothing belongs but the answer.
    with one_sentence(), redirect_stdout(sys.stderr):
        from rich.console import Console

        from ..records.records import Records
        from ..runs.manager import MLRunContextManager

        manager = MLRunContextManager()
        status = Console(stderr=True).status("")

        def tell(what: str, number: int) -> None:
            status.update(f"Looking through {what}: {number:,}")
            status.start()

        try:
            yield Records(manager.db, manager.project.metadata.name, tell)
        finally:
            status.stop()


def leave_or_abort(uid: str, project: str) -> None:
    """Ask after Ctrl-C whether to abort the job that was followed; unasked, it goes on."""
    from ..jobs.submit import abort

    click.echo(err=True)
    if sys.stdin.isatty() and click.confirm(f"Abort run {uid[:8]} as well?", err=True):
        with one_sentence(f". Run {uid} wasn't aborted. {how_to_follow(uid)}"):
            abort(uid, project, "It was aborted by Ctrl-C.")
        click.echo(f"Aborted run {uid}.", err=True)
    else:
        click.echo(f"Run {uid} goes on. {how_to_follow(uid)}", err=True)


def how_to_follow(uid: str) -> str:
    """Say with which command to see a job's log."""
    return f"To follow it: {kedro_command()} mlrun logs {uid[:8]} --follow"


def answer(
    as_json: bool, data: Any, table: Callable[[int], RenderableType], whole: bool = False
) -> None:
    """Print data for a program, or the table for a terminal's width; cut to it, if not `whole`."""
    if as_json:
        print_json(data)
        return
    from rich.console import Console

    from .tables import NO_LIMIT

    console = Console(highlight=False)
    if whole or not console.is_terminal:
        # The terminal itself folds such lines, so that ids and paths can be copied.
        console = Console(width=NO_LIMIT, highlight=False)
    with console.capture() as capture:
        console.print(table(console.width), soft_wrap=True)
    for line in capture.get().splitlines():
        click.echo(_PADDING.sub(r"\1", line))


def print_json(data: Any) -> None:
    """Print data for a program; NaN and infinity as text, as the datasets record them."""
    from pydantic_core import to_json

    click.echo(to_json(data, indent=2, inf_nan_mode="strings", fallback=str).decode())
