"""What the commands have in common: how they are made, find the records, and answer."""

from __future__ import annotations

import json
import math
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any

import click
from kedro.framework.cli.utils import ENV_HELP

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..records.records import Records

INTERRUPTED = 130
"""The exit code of what Ctrl-C ends."""

PADDING = re.compile(r" +((?:\x1b\[[0-9;]*m)*)$")
"""The spaces at the end of a line, before the codes that end its style."""


@click.group("mlrun", epilog="Example: kedro mlrun show last")
def mlrun_group() -> None:
    """Look at recorded runs, models and artifacts; start jobs, and look after them.

    RUN is the id of a run, the unique beginning of one, a name (its newest run), or `last`.
    ARTIFACT is a key (its latest version), KEY:TAG, KEY@RUN, a store:// URI, or a uid.
    """


class NamedWronglyError(click.ClickException):
    """What a person has named isn't there, or isn't one thing alone."""

    exit_code = 2


class _Progress:
    """A bar on a terminal's stderr, from the second second on."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._progress.add_task("Opening the records", total=None)
        self._timer = threading.Timer(1, self._progress.start)

    def __enter__(self) -> _Progress:
        if self._progress.console.is_terminal:
            self._timer.daemon = True
            self._timer.start()
        return self

    def __exit__(self, *_exc_info: Any) -> None:
        self._timer.cancel()
        if self._timer.ident is not None:
            self._timer.join()
            self._progress.stop()

    def __call__(self, what: str, number: int) -> None:
        self._progress.update(self._task, description=f"Looking through {what}: {number:,}")


@contextmanager
def one_sentence(then: str = "") -> Iterator[None]:
    """Let what goes wrong in the store, or on the way to it, be a sentence without a traceback.

    Args:
        then: what to do about it.

    Raises:
        click.ClickException: it went wrong.
    """
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
    """Give the project's records; what goes wrong becomes one sentence.

    Args:
        env: Kedro's environment; None for the default one.

    Yields:
        The records.

    Raises:
        click.ClickException: the records can't be read; with exit code 2 where a person has named
            something that isn't there.
    """
    if env:
        # As Kedro's own commands do it that have no session.
        os.environ["KEDRO_ENV"] = env
    # MLRun and Kedro log to stdout, where nothing belongs but the answer.
    with one_sentence(), redirect_stdout(sys.stderr), _Progress() as progress:
        from ..records.records import RecordNotFoundError, Records
        from ..runs.manager import MLRunContextManager

        try:
            manager = MLRunContextManager()
            project = manager.project.metadata.name
            yield Records(manager.db, project, progress)
        except RecordNotFoundError as exc:
            raise NamedWronglyError(str(exc)) from exc


def leave_or_abort(uid: str, project: str) -> None:
    """Ask, after Ctrl-C, what is to become of a job that was followed.

    Where nobody can be asked, it goes on.

    Args:
        uid: the run's id.
        project: its MLRun project.
    """
    from ..jobs.submit import abort

    click.echo(err=True)
    if sys.stdin.isatty() and click.confirm(
        f"Abort run {uid[:8]}, instead of leaving it running?", err=True
    ):
        with one_sentence(f". Run {uid} wasn't aborted. {how_to_follow(uid)}"):
            abort(uid, project, "It was aborted by Ctrl-C.")
        click.echo(f"Aborted run {uid}.", err=True)
    else:
        click.echo(f"Run {uid} goes on. {how_to_follow(uid)}", err=True)


def how_to_follow(uid: str) -> str:
    """Say how to see what a job says.

    Args:
        uid: the run's id.

    Returns:
        A command.
    """
    from ..text import kedro_command

    return f"To follow it: {kedro_command()} mlrun logs {uid[:8]} --follow"


def answer(
    as_json: bool, data: Any, table: Callable[[int], RenderableType], whole: bool = False
) -> None:
    """Print an answer.

    Args:
        as_json: whether it is for a machine.
        data: what a machine is told.
        table: gives what a person is shown, for the width of a terminal.
        whole: whether nothing of it may be cut to that width.
    """
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
        click.echo(PADDING.sub(r"\1", line))


def print_json(data: Any) -> None:
    """Print data for a machine.

    Args:
        data: dicts, lists and values; what JSON doesn't have becomes text.
    """
    click.echo(json.dumps(_plain(data), indent=2, ensure_ascii=False))


def _plain(value: Any) -> Any:
    """Give what JSON has: NaN and infinity as text, as the datasets record them."""
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def command(name: str, example: str) -> Callable[[Callable[..., None]], click.Command]:
    """Make a function a command of `kedro mlrun`, with the options that all of them have.

    Args:
        name: the command's name.
        example: how it is used.

    Returns:
        A decorator of a function that takes `env` and `as_json` beside its own arguments.
    """
    make = mlrun_group.command(name, epilog=f"Example: {example}")

    def decorate(function: Callable[..., None]) -> click.Command:
        command = make(function)
        command.params += [
            click.Option(["--env", "-e"], help=ENV_HELP),
            click.Option(["--json", "as_json"], is_flag=True, help="Print JSON, for programs."),
        ]
        return command

    return decorate
