"""The inputs of an MLRun job: other data in place of what catalog entries name."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import click
from kedro.io import CatalogConfigResolver

from ..text import nearest


class InputError(click.ClickException, ValueError):
    """A job's input can't be used.

    Being one of click's, it reaches the user of `kedro` as one line and not as a traceback.
    """

    exit_code = 2


def with_inputs(
    catalog: Mapping[str, Any],
    inputs: Mapping[str, Any],
    datasets: str,
    fetch: Callable[[str], str],
) -> dict[str, Any]:
    """Let catalog entries have their data from a job's inputs; each keeps its type.

    Args:
        catalog: the catalog's configuration.
        inputs: by the names of entries a path, relative to the project's folder, or a URL:
            `https://…`, `s3://…`, `store://…`.
        datasets: how the types of this project's MLRun datasets begin.
        fetch: brings what an input's URL names to this machine, and gives its path.

    Returns:
        The configuration with the entries changed.

    Raises:
        InputError: there is no entry of that name, or it has no file that could be another one, or
            the file isn't there.

    Example:
        >>> catalog = {"{x}_table": {"type": "pandas.CSVDataset", "filepath": "{x}.csv"}}
        >>> with_inputs(catalog, {"a_table": "s3://b/c.csv"}, "my.", lambda name: "c.csv")[
        ...     "a_table"
        ... ]
        {'type': 'pandas.CSVDataset', 'filepath': 'c.csv'}
    """
    changed = dict(catalog)
    for name, source in inputs.items():
        entry = _entry(name, catalog)
        local = "://" not in str(source)
        if local and not Path(source).exists():
            raise InputError(
                f"Input '{name}' is {source}, and there is no such file in {Path.cwd()}. "
                "Give a path from the project's folder, or a URL."
            )
        bring = functools.partial(str, source) if local else functools.partial(fetch, name)
        changed[name] = _with_input(name, entry, datasets, str(source), bring)
    return changed


def _entry(name: str, catalog: Mapping[str, Any]) -> dict[str, Any]:
    if name in catalog:
        return dict(catalog[name])
    # With a pattern of its own for the rest, and without credentials, which the file doesn't need.
    entries = {
        other: {key: value for key, value in entry.items() if key != "credentials"}
        for other, entry in catalog.items()
        if isinstance(entry, dict)
    }
    resolver = CatalogConfigResolver(
        entries, default_runtime_patterns={"{default}": {"type": "MemoryDataset"}}
    )
    if not resolver.is_pattern(name) and resolver.match_dataset_pattern(name):
        return resolver.resolve_pattern(name)
    raise InputError(
        f"Input '{name}' is no entry of the catalog. {nearest(name, catalog)}"
        "Name one of conf/base/catalog.yml."
    )


def _with_input(
    name: str, entry: dict[str, Any], datasets: str, source: str, bring: Callable[[], str]
) -> dict[str, Any]:
    if str(entry.get("type", "")).startswith(datasets):
        return {**entry, "load_args": {"path": source}}
    for argument in ("filepath", "path"):
        if argument in entry:
            # These are of the file that is replaced.
            kept = {
                key: value
                for key, value in entry.items()
                if key not in {"versioned", "credentials", "fs_args"}
            }
            return {**kept, argument: bring()}
    if isinstance(entry.get("dataset"), Mapping):
        inner = _with_input(name, dict(entry["dataset"]), datasets, source, bring)
        return {**entry, "dataset": inner}
    raise InputError(
        f"Input '{name}' can't replace the data of its catalog entry, which is of type "
        f"{entry.get('type')} and has no file. Leave the input out, or change the entry."
    )


def check_used(inputs: Iterable[str], used: set[str], made: set[str]) -> None:
    """Make sure that a run takes each input of its job.

    Args:
        inputs: the names of the inputs.
        used: the datasets that the run's nodes take and none of them makes.
        made: the datasets that its nodes make.

    Raises:
        InputError: a node of the run makes it, or none takes it.

    Example:
        >>> check_used(["cars"], {"cars@pandas"}, set())
    """
    for name in inputs:
        if name in {other.partition("@")[0] for other in made}:
            raise InputError(
                f"Input '{name}' is made by a node of this run. Leave the input out, or the "
                "pipeline that makes it."
            )
        if name.partition("@")[0] not in {other.partition("@")[0] for other in used}:
            raise InputError(
                f"Input '{name}' is taken by no node of this run. {nearest(name, used)}"
                "Leave it out, or run the pipeline that takes it."
            )
