"""What the commands have in common: how they are made, find the records, and answer."""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from kedro.framework.cli.utils import ENV_HELP
from rich.console import Console
from rich.logging import RichHandler

from ..text import rendered, show_all, visible

if TYPE_CHECKING:
    from ..records.records import Records

# The columns of what is no terminal: nothing is cut or folded there.
NO_LIMIT = 100_000


class Answer(NamedTuple):
    """What a command prints: `data` with --json, else a text, or what Rich shows at a width."""

    data: Any
    shown: Any = ""
    note: str = ""
    error: str = ""
    exit_code: int = 0

    def print(self, as_json: bool) -> None:
        """Print it, the error last, and exit."""
        show_all(sys.stdout)
        if as_json:
            from pydantic_core import to_json

            # NaN and infinity as text, as the datasets record them.
            text = to_json(self.data, indent=2, inf_nan_mode="strings", fallback=str).decode()
            tell(text, err=False)
        else:
            tell(self.note)
            if isinstance(self.shown, str):
                tell(self.shown, err=False)
            else:
                click.echo(self._rendered())
        if self.error:
            raise click.ClickException(self.error)
        sys.exit(self.exit_code)

    def _rendered(self) -> str:
        console, fits = Console(highlight=False), callable(self.shown)
        if not fits or not console.is_terminal:
            # The terminal itself folds such lines, so that ids and paths can be copied.
            console.width = NO_LIMIT
        return rendered(console, self.shown(console.width) if fits else self.shown)


def tell(text: str, err: bool = True, nl: bool = True, file: Any = None, **style: Any) -> None:
    """Print what is `visible` of a text, if there is any: the one way for all but Rich's tables."""
    if text:
        click.echo(click.style(visible(text), **style), file, nl, err and not file)


def to_read() -> "Records":
    """Open the records, those of an embedded store without MLRun."""
    from ..records.records import Records
    from ..runs.manager import MLRunContextManager

    return Records(*MLRunContextManager().to_read())


def named_value(item: str, form: str) -> tuple[str, str]:
    """Read NAME=VALUE; the `form` says how it is written."""
    name, _, value = map(str.strip, item.partition("="))
    if not (name and value):
        raise click.BadParameter(f"'{item}' is not {form}.")
    return name, value


def command(name: str, example: str, asks: bool = True) -> Callable[..., click.Command]:
    """Make a command of a function of the records, or of one that asks none.

    It gives an `Answer`, or a function that prints by itself and gives the exit code.
    """

    def decorate(function: Callable[..., Any]) -> click.Command:
        @wraps(function)
        def run(env: str | None, as_json: bool, **options: Any) -> None:
            if env:
                # As Kedro's own commands do it that have no session.
                os.environ["KEDRO_ENV"] = env
            # MLRun and Kedro log to stdout, where nothing belongs but the answer. To where plugins
            # log after the command, too, no program looks for JSON.
            for handler in logging.getLogger().handlers if as_json else ():
                if isinstance(handler, RichHandler):
                    handler.console = Console(stderr=True)
            with one_sentence(), redirect_stdout(sys.stderr if asks else sys.stdout):
                told = function(to_read(), **options) if asks else function(**options)
            if isinstance(told, Answer):
                told.print(as_json)
            with one_sentence():
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
    except Exception as exc:
        if not isinstance(exc, OSError) and not type(exc).__module__.startswith("mlrun."):
            raise
        raise click.ClickException(f"{str(exc) or type(exc).__name__}{then}") from exc
