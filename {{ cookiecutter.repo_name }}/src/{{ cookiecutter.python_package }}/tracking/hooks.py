"""Kedro hooks: when a run opens, what it records, how it ends."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.config import MissingConfigException
from kedro.framework.hooks import hook_impl

from .config import MLRunConfig
from .context import MLRunContextManager
from .report import print_run

if TYPE_CHECKING:
    from kedro.framework.context import KedroContext

DATASETS = f"{__package__.rpartition('.')[0]}.datasets."


class MLRunHooks:
    """Makes each run of a Kedro pipeline a run in MLRun, named after the pipeline.

    Example:
        In settings.py:

        ```python
        HOOKS = (MLRunHooks(),)
        ```
    """

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Take over mlrun.yml, and give each MLRun dataset its catalog name as key.

        Args:
            context: Kedro's context of the session.

        Raises:
            MLRunConfigError: mlrun.yml can't be used.
        """
        loader = context.config_loader
        folder = Path(context.project_path)
        MLRunContextManager().configure(MLRunConfig.load(loader, folder), folder)
        try:
            catalog = loader["catalog"]
        except MissingConfigException:
            return
        # A dataset isn't told its name, and an entry made from a pattern has it only then. So the
        # name goes where Kedro reads the catalog from; in a pattern's, Kedro fills in the braces.
        loader["catalog"] = {name: with_key(name, entry) for name, entry in catalog.items()}

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any]) -> None:
        """Open the run.

        Args:
            run_params: what Kedro was asked to run.
        """
        names = run_params.get("pipeline_names") or ["__default__"]
        MLRunContextManager().open_run("-".join(name.strip("_") for name in names))

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Complete the run, and show it."""
        self._end_run(None)

    @hook_impl
    def on_pipeline_error(self, error: Exception) -> None:
        """End the run as failed, and show it.

        Args:
            error: what failed.
        """
        self._end_run(error)

    @staticmethod
    def _end_run(error: Exception | None) -> None:
        manager = MLRunContextManager()
        context = manager.context
        manager.close_run(error)
        print_run(context, error)


def with_key(name: str, entry: Any) -> Any:
    """Give a catalog entry of one of this project's datasets its name as key.

    Args:
        name: the entry's name, or its pattern.
        entry: the entry as the catalog file has it.

    Returns:
        The entry; with `key` where it is an MLRun dataset that has none.

    Example:
        >>> with_key("model@json", {"type": DATASETS + "MLRunModel"})["key"]
        'model'
    """
    if isinstance(entry, dict) and "dataset" in entry:
        # One that wraps another, such as Kedro's CachedDataset.
        return {**entry, "dataset": with_key(name, entry["dataset"])}
    if not isinstance(entry, dict) or not str(entry.get("type", "")).startswith(DATASETS):
        return entry
    # What follows an @ is Kedro's transcoding: the same data by another name.
    return {**entry, "key": entry.get("key") or name.partition("@")[0]}
