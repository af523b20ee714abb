"""The project's own commands: `kedro mlrun …`, and `kedro run` with a chain id."""

from __future__ import annotations

import traceback
from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.cli.utils import CONTEXT_SETTINGS

from ..jobs.parameters import reason
from ..runs.manager import MLRunContextManager, in_chain
from . import jobs, records, update, workflow
from .base import mlrun_group

__all__ = ["cli", "jobs", "records", "run", "update", "workflow"]


@click.group(context_settings=CONTEXT_SETTINGS, name=__package__)
def cli() -> None:
    """Commands of this project."""


def _run(chain_id: str | None, verbose: bool, **options: Any) -> Any:
    """Run the pipeline."""
    try:
        with in_chain(chain_id):
            # The function behind Kedro's own command.
            return kedro_run.callback(**options)  # type: ignore[misc]
    except Exception as exc:
        recorded = MLRunContextManager().recorded_error is exc
        if not (recorded or verbose) and _is_of_kedro(exc):
            raise click.UsageError(reason(exc)) from None
        if verbose or not recorded:
            raise
        # What the exception says stands above, in the table of the run.
        raise click.ClickException(
            f"The run failed with {type(exc).__name__}. The command above shows its traceback."
        ) from None


def _is_of_kedro(error: BaseException) -> bool:
    """Tell whether Kedro refuses what the command says: a pipeline, a node, a parameter."""
    from kedro.validation.exceptions import ParameterValidationError

    if isinstance(error, ParameterValidationError):
        return True
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    last = str(frames[-1].f_globals.get("__name__"))
    return isinstance(error, ValueError) and last.startswith(
        ("kedro.framework.", "kedro.pipeline.")
    )


run = click.Command(
    "run",
    callback=_run,
    params=[
        *kedro_run.params,
        click.Option(
            ["--chain-id"],
            help="Tie this run to others with the same id: it takes their artifacts, "
            "also where newer ones exist. MLRUN_CHAIN_ID does the same.",
        ),
        click.Option(
            ["--verbose", "-v"], is_flag=True, help="See the stack trace of a run that fails."
        ),
    ],
    help=kedro_run.help,
    epilog="Example: kedro run --pipelines=training --params=split.seed=7 --chain-id=monday",
    context_settings=CONTEXT_SETTINGS,
)
cli.add_command(run)
cli.add_command(mlrun_group)
