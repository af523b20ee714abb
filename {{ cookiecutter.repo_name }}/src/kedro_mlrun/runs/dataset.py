"""Which datasets are MLRun's: those of one class, whatever an entry of the catalog calls it."""

from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from typing import Any

from kedro.io import AbstractDataset
from kedro.io.core import parse_dataset_definition

_OF_KEDRO = {"kedro", "kedro_datasets", "kedro_datasets_experimental"}


class RunDataset(AbstractDataset[Any, Any]):
    """A dataset that saves to an MLRun run; the base of all of `kedro_mlrun.datasets`."""

    run_id: str | None = None  # of the pipeline's run that the dataset is in


@cache
def is_run_type(name: str) -> bool:
    """Tell whether the `type` of a catalog entry is an MLRun dataset."""
    module = name.rpartition(".")[0]
    # Kedro's own are known by name: most are slow to import, and a run needs few of them.
    if not module or name.partition(".")[0] in _OF_KEDRO:
        return False
    with suppress(ImportError, ValueError):
        if find_spec(f"kedro_datasets.{module}"):
            return False
    try:
        return issubclass(parse_dataset_definition({"type": name})[0], RunDataset)
    except Exception:
        # Kedro says why, when the entry is used.
        return False


def run_dataset(dataset: Any) -> RunDataset | None:
    """Give the MLRun dataset that a dataset is, or wraps, as CachedDataset does."""
    while dataset is not None and not isinstance(dataset, RunDataset):
        dataset = getattr(dataset, "_dataset", None)
    return dataset
