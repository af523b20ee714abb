"""Which datasets of a catalog are MLRun's, and a job's inputs in place of their data."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
from kedro.io import AbstractDataset, CatalogConfigResolver, CatalogProtocol
from kedro.io.core import parse_dataset_definition

from ..text import nearest

# These are of the file that is replaced.
_OF_THE_FILE = {"versioned", "credentials", "fs_args"}
_KEPT = {"metadata", "validator"}
_OF_KEDRO = {"kedro", "kedro_datasets", "kedro_datasets_experimental"}


class RunDataset(AbstractDataset[Any, Any]):
    """A dataset that saves to an MLRun run; the base of all of `kedro_mlrun.datasets`."""

    run_id: str | None = None  # of the pipeline's run that the dataset is in
    key: Any = None
    # In a chain it loads what the chain has saved; False where no run of the chain makes it.
    of_chain = True
    uses: Sequence[str] = ()  # the catalog entries whose data are recorded with what is saved
    sources: Mapping[str, AbstractDataset[Any, Any]] = {}  # these entries of its run
    origin = ""  # of what it has loaded from an earlier run: an artifact's URI, or the run's id

    def see(self, inputs: Mapping[str, Any]) -> None:
        """Learn what the node has loaded that is about to make the data."""


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


def innermost(dataset: Any) -> Any:
    """Give the dataset that another one wraps, as CachedDataset does; without one, itself."""
    # By class: the attribute of that name may be no dataset. What wraps a file is ours itself.
    while not isinstance(dataset, RunDataset):
        inner = getattr(dataset, "_dataset", None)
        if not (isinstance(dataset, AbstractDataset) and isinstance(inner, AbstractDataset)):
            return dataset
        dataset = inner
    return dataset


def run_dataset(dataset: Any) -> RunDataset | None:
    """Give the MLRun dataset that a dataset is, or wraps."""
    found = innermost(dataset)
    return found if isinstance(found, RunDataset) else None


class InputError(click.UsageError, ValueError):
    """A job's input, or an entry's, can't be used. As one of click's it is shown as one line."""


def with_inputs(
    catalog: Mapping[str, Any], inputs: Mapping[str, Any], fetch: Callable[[str], str]
) -> dict[str, Any]:
    """Let catalog entries have their data from a job's inputs; each keeps its type.

    An input is a path, or a URL of what `fetch` brings to this machine when it gets its name.
    """
    changed = dict(catalog)
    for name, source in inputs.items():
        entry = entry_of(name, catalog)
        if "://" not in str(source) and not Path(source).exists():
            raise InputError(
                f"Input '{name}' is {source}, and there is no such file in {Path.cwd()}. "
                "Give a path from the project's folder, or a URL."
            )
        changed[name] = _with_input(name, entry, str(source), fetch)
    return changed


def entry_of(name: str, catalog: Mapping[str, Any]) -> dict[str, Any]:
    """Give the entry that a catalog has for an input, also by a pattern."""
    if name in catalog:
        return dict(catalog[name])
    # The file needs no credentials; what matches no pattern of the catalog needs one of its own.
    entries = {
        other: {key: value for key, value in entry.items() if key != "credentials"}
        for other, entry in catalog.items()
        if isinstance(entry, dict)
    }
    resolver = CatalogConfigResolver(entries, default_runtime_patterns={"{default}": {}})
    if not resolver.is_pattern(name) and resolver.match_dataset_pattern(name):
        return resolver.resolve_pattern(name)
    raise InputError(
        f"Input '{name}' is not an entry of the catalog. {nearest(name, catalog)}"
        "Name one of conf/base/catalog.yml."
    )


def _with_input(
    name: str, entry: dict[str, Any], source: str, fetch: Callable[[str], str]
) -> dict[str, Any]:
    is_run, is_file = is_run_type(str(entry.get("type"))), not source.startswith("store://")
    wrapped = entry.get("dataset")
    if is_run and is_file and isinstance(wrapped, Mapping):
        # A file without a record is for the dataset that knows its format.
        kept: dict[str, Any] = {key: entry[key] for key in _KEPT & entry.keys()}
        return kept | _with_input(name, dict(wrapped), source, fetch)
    if is_run:
        return {**entry, "load_args": {"path": source}}
    for argument in ("filepath", "path"):
        if argument in entry:
            kept = {key: value for key, value in entry.items() if key not in _OF_THE_FILE}
            return {**kept, argument: fetch(name) if "://" in source else source}
    if isinstance(wrapped, Mapping):
        return {**entry, "dataset": _with_input(name, dict(wrapped), source, fetch)}
    raise InputError(
        f"Input '{name}' can't replace the data of its catalog entry, which is of type "
        f"{entry.get('type')} and has no file. Leave the input out, or change the entry."
    )


def check_used(inputs: Iterable[str], used: set[str]) -> None:
    """Make sure that a run needs each input of its job, and that no node of it makes one."""
    # What follows an @ is Kedro's transcoding: the same data by another name.
    stems = {name.partition("@")[0] for name in used}
    for name in inputs:
        if name.partition("@")[0] not in stems:
            raise InputError(
                f"Input '{name}' is no input of this run: no node uses it, or one makes it. "
                f"{nearest(name, used)}Leave it out, or run the pipeline that needs it."
            )


def find_sources(datasets: Mapping[str, RunDataset], catalog: CatalogProtocol) -> None:
    """Give datasets the entries whose data are recorded with what they save, or refuse."""
    for name, dataset in datasets.items():
        dataset.sources = sources = dict[str, AbstractDataset[Any, Any]]()
        for wanted in dataset.uses:
            if not (entry := catalog.get(wanted)):
                raise InputError(
                    f"save_args of '{name}' names '{wanted}', which is not an entry of the "
                    f"catalog. {nearest(wanted, catalog.keys())}Name one whose data the run has."
                )
            sources[wanted] = entry
