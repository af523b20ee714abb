"""The commands that Kedro finds: `kedro run`, and `kedro mlrun …`, imported when it is used."""

import traceback
from contextlib import nullcontext, suppress
from typing import Any

import click
from kedro.framework.cli.utils import CONTEXT_SETTINGS, LazyGroup

from ..setup.manifest import version
from ..text import plain_refusal, visible

COMMANDS = {
    "jobs": "abort build doctor logs schedules submit workflow",
    "models": "history promote rollback",
    "records": "artifacts compare delete lineage models open push runs show tag",
    "reproduce": "reproduce",
    "search": "search",
    "serve": "monitor serve",
    "setup": "init update",
    "ui": "ui",
}
"""The commands of `kedro mlrun`: functions of the same names, by their module beside this one."""


class _RunCommand(click.Command):
    """Kedro's own `run`, with options more."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        from kedro.framework.cli.project import run as kedro_run

        return [*kedro_run.params, *super().get_params(ctx)]


class _Group(LazyGroup):
    """Commands whose errors are `visible`: they may tell what was recorded."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # Where Python takes the terminal for one of ASCII, what isn't comes as surrogates.
        utf8 = (arg.encode(errors="surrogateescape").decode(errors="replace") for arg in args)
        return super().parse_args(ctx, [*utf8])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            vars(error).update(message=visible(error.message))
            raise


# Without a help text, for Kedro would put it into its own.
cli = click.Group("kedro_mlrun", context_settings=CONTEXT_SETTINGS)


def _show_version(context: click.Context, _option: Any, wanted: bool) -> None:
    if wanted:
        click.echo(version())
        context.exit()


@cli.group(
    "mlrun",
    cls=_Group,
    lazy_subcommands={
        name: f"{__package__}.{module}.{name}"
        for module, names in COMMANDS.items()
        for name in names.split()
    },
    epilog="Example: kedro mlrun show last",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version of kedro_mlrun, and which of its files were changed.",
)
def mlrun_group() -> None:
    """Look at recorded runs, models and artifacts, and run jobs.

    RUN is a run's id or the beginning of one, its name (the newest one counts), `last`, `last~1`
    (the one before), or `last:PIPELINE`. The last one is no promotion.

    ARTIFACT is a key (the latest version counts), KEY:TAG, KEY@RUN, a store:// URI, or a uid.
    """


@cli.command(
    "run",
    cls=_RunCommand,
    epilog="Example: kedro run --pipelines=training --params=split.seed=7 --chain-id=monday",
)
@click.option(
    "--chain-id",
    help="Tie this run to others: runs with the same id load each other's artifacts, "
    "even if newer versions exist. Same as MLRUN_CHAIN_ID.",
)
@click.option("--verbose", "-v", is_flag=True, help="Show the traceback if the run fails.")
def run(chain_id: str | None, verbose: bool, **options: Any) -> Any:
    """Run the pipeline."""
    from kedro.framework.cli.project import run as kedro_run

    from ..runs.chain import in_chain

    try:
        with in_chain(chain_id) if chain_id else nullcontext():
            # The function behind Kedro's own command.
            return kedro_run.callback(**options)  # type: ignore[misc]
    except Exception as exc:
        if verbose or not _is_recorded(options["env"]):
            raise
        from ..runs.manager import MLRunContextManager

        if MLRunContextManager().recorded_error is exc:
            # What the exception says stands above, in the table of the run.
            raise click.ClickException(
                f"The run failed with {type(exc).__name__}. The command above shows its traceback."
            ) from None
        from kedro.validation.exceptions import ParameterValidationError

        *_, (frame, _) = traceback.walk_tb(exc.__traceback__)
        raised_in = str(frame.f_globals.get("__name__"))
        by_kedro = raised_in.startswith(("kedro.framework.", "kedro.pipeline."))
        if isinstance(exc, ImportError) and by_kedro and not exc.__cause__:
            # Kedro looks for a module of a pipeline's name.
            hint = "To list all pipelines: kedro registry list"
            raise click.UsageError(visible(f"{exc} {hint}")) from None
        if isinstance(exc, ParameterValidationError) or (isinstance(exc, ValueError) and by_kedro):
            raise click.UsageError(visible(plain_refusal(str(exc)))) from None
        raise


def _is_recorded(env: str | None) -> bool:
    """Tell whether there is an mlrun.yml here; where not, `kedro run` is Kedro's own."""
    from ..project import config_loader, current_project, has_config

    # Kedro itself may not be able to read the configuration.
    with suppress(Exception):
        return has_config(config_loader(current_project(), env))
    return False
