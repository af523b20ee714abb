"""What the commands have in common: how they are made, find the records, and answer."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

import click
from kedro.framework.cli.utils import ENV_HELP
from rich.console import Console, RenderableType

from ..text import kedro_command

if TYPE_CHECKING:
    from ..records.records import Records

INTERRUPTED = 130
"""The exit code of what Ctrl-C ends."""

NO_LIMIT = 100_000
"""The columns of what is no terminal: nothing is cut or folded there."""

# The spaces at the end of a line, before the codes that end its style.
_PADDING = re.compile(r" +((?:\x1b\[[0-9;]*m)*)$")


@dataclass(frozen=True)
class Answer:
    """What a command prints: `data` with --json, and else a text, or what a terminal's width shows.

    A table is cut to the width, if it isn't to be `whole`. A person gets the `note` on stderr.
    """

    data: Any
    shown: str | Callable[[int], RenderableType] = ""
    note: str = ""
    whole: bool = False
    error: str = ""
    exit_code: int = 0

    def print(self, as_json: bool) -> None:
        """Print it, the error last, and exit."""
        if as_json:
            from pydantic_core import to_json

            # NaN and infinity as text, as the datasets record them.
            text = to_json(self.data, indent=2, inf_nan_mode="strings", fallback=str).decode()
        else:
            text = self.shown if isinstance(self.shown, str) else self._table(self.shown)
            if self.note:
                click.echo(self.note, err=True)
        if text:
            click.echo(text)
        if self.error:
            raise click.ClickException(self.error)
        sys.exit(self.exit_code)

    def _table(self, table: Callable[[int], RenderableType]) -> str:
        console = Console(highlight=False)
        if self.whole or not console.is_terminal:
            # The terminal itself folds such lines, so that ids and paths can be copied.
            console = Console(width=NO_LIMIT, highlight=False)
        with console.capture() as capture:
            console.print(table(console.width), soft_wrap=True)
        return "\n".join(_PADDING.sub(r"\1", line) for line in capture.get().splitlines())


def command(name: str, example: str, opens: bool = True) -> Callable[..., click.Command]:
    """Make a command of a function that takes the project's records and gives an `Answer`.

    Or it gives a function that prints by itself, and gives the exit code. With `opens=False` it
    takes no records. The command is one of `kedro mlrun` by its line in `cli.COMMANDS`.
    """

    def decorate(function: Callable[..., Any]) -> click.Command:
        @wraps(function)
        def run(env: str | None, as_json: bool, **options: Any) -> None:
            if env:
                # As Kedro's own commands do it that have no session.
                os.environ["KEDRO_ENV"] = env
            if opens:
                with _opened() as records:
                    told = function(records, **options)
            else:
                told = function(**options)
            if isinstance(told, Answer):
                told.print(as_json)
            sys.exit(told())

        made = click.command(name, epilog=f"Example: {example}")(run)
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
        raise click.ClickException(f"{str(exc) or type(exc).__name__}{then}") from exc


@contextmanager
def _opened() -> Iterator[Records]:
    # MLRun and Kedro log to stdout, where nothing belongs but the answer.
    with one_sentence(), redirect_stdout(sys.stderr):
        from ..records.records import Records
        from ..runs.manager import MLRunContextManager

        manager = MLRunContextManager()
        yield Records(manager.db, manager.project.metadata.name)


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
