"""What the installed package is to Kedro: the entry points `kedro.hooks` and `kedro.starters`."""

import multiprocessing
import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl


class PluginHooks:
    """Gives a project that has an mlrun.yml its hooks, unless the settings have them."""

    @hook_impl(trylast=True)
    def after_context_created(self, context: KedroContext) -> None:
        """Register the hooks for this session."""
        from ..project import has_config

        manager = context._hook_manager
        if not _among(manager.get_plugins()) and has_config(context.config_loader):
            manager.register(_hooks())
            _hooks().after_context_created(context)


def _among(plugins: Iterable[Any]) -> bool:
    """Tell whether MLRunHooks are there already, be they from another copy of this package."""
    return any(kind.__name__ == "MLRunHooks" for hooks in plugins for kind in type(hooks).__mro__)


@cache
def _hooks() -> Any:
    from ..hooks import MLRunHooks

    # One for all sessions of the process, as settings.HOOKS has it.
    return MLRunHooks()


def starter_folder() -> Path | None:
    """Find the starter: in the wheel, or around the package in a clone; a project has none."""
    package = Path(__file__).parents[1]
    folders = [package / "starter", *package.parents[2:3]]
    return next((folder for folder in folders if (folder / "cookiecutter.json").is_file()), None)


def __getattr__(name: str) -> Any:
    """Give an entry point's object; Kedro asks once a session, and once in each worker process."""
    if name == "hooks":
        from kedro.framework.project import settings

        # ParallelRunner's workers have no context, but the environment tells of their parent's run.
        in_worker = multiprocessing.parent_process() and "KEDRO_MLRUN_RUNS" in os.environ
        return _hooks() if in_worker and not _among(settings.HOOKS) else PluginHooks()
    if name == "starters":
        from kedro.framework.cli.starters import KedroStarterSpec

        folder = starter_folder()
        return [KedroStarterSpec("mlrun", str(folder))] if folder else []
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
