"""Which jobs Kedro's pipelines become, in which order, and what data jobs find and leave."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import click
from kedro.io import CatalogProtocol, MemoryDataset
from kedro.io.core import get_protocol_and_path, is_parameter
from kedro.io.shared_memory_dataset import SharedMemoryDataset
from kedro.pipeline import Pipeline
from kedro.pipeline.pipeline import CircularDependencyError, OutputNotUniqueError

from ..runs.dataset import run_dataset
from ..text import nearest
from .parameters import JobError

GroupBy = Literal["pipeline", "namespace", "tag"]

DEFAULT = "__default__"
"""Kedro's name of the pipeline that runs where none is named."""


class GroupsError(click.ClickException):
    """The pipelines can't become jobs as they are."""


@dataclass(frozen=True)
class Group:
    """What one job of a workflow runs: `pipelines`, or of these only `nodes` if it is a `part`.

    `inputs` and `outputs` are datasets without parameters; the groups `after` which it runs make
    some of the inputs.
    """

    name: str
    pipelines: tuple[str, ...]
    nodes: tuple[str, ...]
    part: bool = False
    inputs: frozenset[str] = frozenset()
    outputs: frozenset[str] = frozenset()
    after: tuple[str, ...] = ()


def grouped(
    pipelines: Mapping[str, Pipeline], names: Sequence[str] = (), group_by: GroupBy = "pipeline"
) -> list[Group]:
    """Give the jobs that pipelines become, in the order of their data.

    Without names, by pipeline all but `__default__`, and by namespace or tag the nodes of
    `__default__`. A node without a namespace, or without a tag, becomes a job of its own.
    """
    by_pipeline = group_by == "pipeline"
    chosen = [name for name in pipelines if (name == DEFAULT) is not by_pipeline]
    named = list(dict.fromkeys(names)) or chosen
    whole = together(pipelines, named)
    if by_pipeline:
        nodes = {name: [node.name for node in pipelines[name].nodes] for name in named}
    elif group_by == "namespace":
        nodes = {group.name: group.nodes for group in whole.group_nodes_by("namespace")}
    else:
        nodes = _by_tag(whole)
    empty = [name for name in nodes if not nodes[name]]
    if empty or not nodes:
        which = f"Pipeline '{empty[0]}' has" if empty else "The pipelines to run have"
        raise GroupsError(f"{which} no nodes, so there is no job to run. Name others.")
    for node in whole.nodes:
        first, *others = [name for name in nodes if node.name in nodes[name]]
        if others:
            raise GroupsError(
                f"Node '{node.name}' is both in '{first}' and in '{others[0]}', and would run "
                "twice. Name only one of them."
            )
    groups = {}
    for name in nodes:
        part = whole.only_nodes(*nodes[name])
        groups[name] = Group(
            name,
            (name,) if by_pipeline else tuple(named),
            tuple(nodes[name]),
            not by_pipeline,
            frozenset(_data(part.inputs())),
            frozenset(_data(part.all_outputs())),
        )
    return _ordered(groups)


def together(pipelines: Mapping[str, Pipeline], names: Sequence[str]) -> Pipeline:
    """Make one pipeline of those of these names."""
    for name in names:
        if name not in pipelines:
            raise JobError(
                f"The project has no pipeline '{name}'. {nearest(name, pipelines)}"
                f"It has {', '.join(sorted(pipelines))}."
            )
    try:
        return sum((pipelines[name] for name in names), Pipeline([]))
    except (OutputNotUniqueError, CircularDependencyError, ValueError) as exc:
        raise GroupsError(
            f"Pipelines {' and '.join(names)} can't run together ({exc}). Name only one of them."
        ) from exc


def _by_tag(pipeline: Pipeline) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for node in pipeline.nodes:
        if len(node.tags) > 1:
            raise GroupsError(
                f"Node '{node.name}' has the tags {', '.join(sorted(node.tags))}, and can be in "
                "one job only. Leave it one of them, or group by pipeline or namespace."
            )
        # One without is a group of its own, as Kedro groups nodes without a namespace.
        groups.setdefault(next(iter(node.tags), node.name), []).append(node.name)
    return groups


def _ordered(groups: Mapping[str, Group]) -> list[Group]:
    """Put groups in the order of their data; where that leaves a choice, as they were named."""
    needs: dict[str, dict[str, str]] = {name: {} for name in groups}
    for dataset, (maker, users) in sorted(crossing([*groups.values()]).items()):
        for user in users:
            needs[user].setdefault(maker, dataset)
    try:
        order = [*TopologicalSorter(needs).static_order()]
    except CycleError as error:
        # Each of the cycle is needed by the next.
        links = ", ".join(
            f"'{name}' needs `{needs[name][maker]}` of '{maker}'"
            for name, maker in pairwise(reversed(error.args[1]))
        )
        raise GroupsError(
            f"The groups need each other's data, so that none can run first: {links}. "
            "Put the nodes that lie between them into one group, or into groups of their own."
        ) from None
    return [
        replace(groups[name], after=tuple(other for other in order if other in needs[name]))
        for name in order
    ]


def crossing(groups: Sequence[Group]) -> dict[str, tuple[str, list[str]]]:
    """Give the datasets that go from one job to another, each with its maker and its users."""
    maker_of = {_stem(dataset): group.name for group in groups for dataset in group.outputs}
    found: dict[str, tuple[str, list[str]]] = {}
    for group in groups:
        for dataset in sorted({_stem(name) for name in group.inputs} & maker_of.keys()):
            if (maker := maker_of[dataset]) != group.name:
                found.setdefault(dataset, (maker, []))[1].append(group.name)
    return found


def _data(names: Iterable[str]) -> set[str]:
    return {name for name in names if not is_parameter(name)}


def _stem(name: str) -> str:
    """Give the name of data; what follows an @ is Kedro's transcoding of the same data."""
    return name.partition("@")[0]


# ---- what a job finds, and what is lost with it


def with_later(name: str, pipeline: Pipeline, pipelines: Mapping[str, Pipeline]) -> list[Group]:
    """Give a job by itself, and each registered pipeline that isn't wholly in it."""
    return [Group(name, (), (), outputs=frozenset(pipeline.all_outputs()))] + [
        Group(other, (other,), (), inputs=frozenset(_data(found.inputs())))
        for other, found in pipelines.items()
        if not {*found.nodes} <= {*pipeline.nodes}
    ]


def check_crossing(
    groups: Sequence[Group], catalog: CatalogProtocol, mounts: Sequence[str] = ()
) -> None:
    """Refuse groups between which data would be lost; `mounts` are volumes that all jobs have."""
    problems = []
    names = sorted({name for group in groups for name in group.inputs | group.outputs})
    for dataset, (maker, users) in crossing(groups).items():
        alike = (name for name in names if _stem(name) == dataset)
        if lost := next(filter(None, (_lost(name, catalog, mounts) for name in alike)), ""):
            needed = ", ".join(f"'{user}'" for user in users)
            problems.append(f"`{dataset}`, made by '{maker}' and needed by {needed}, {lost}")
    if problems:
        raise GroupsError("\n".join(["Data would be lost between the jobs.", *problems]))


def _lost(name: str, catalog: CatalogProtocol, mounts: Sequence[str]) -> str:
    """Say why a dataset doesn't outlive the job that makes it, and what to do; empty if it does."""
    dataset = _dataset(name, catalog)
    if isinstance(dataset, MemoryDataset | SharedMemoryDataset):
        return (
            "is only in the memory of the job that makes it: give it an entry of type "
            "kedro_mlrun.MLRunDataframeDataset (MLRunModel for a model, MLRunArtifactDataset for "
            "others) in conf/base/catalog.yml."
        )
    path = _local_path(dataset, mounts)
    if path is None:
        return ""
    module = type(dataset).__module__.split(".")
    kind = f"{module[1]}.{type(dataset).__name__}" if module[0] == "kedro_datasets" else ""
    return (
        f"is a file of the machine that the job runs on ({path}): give it the type "
        f"kedro_mlrun.MLRunArtifactDataset{f' with `dataset: {kind}`' if kind else ''}, or a "
        f"remote path such as s3://bucket/{path.name}, in conf/base/catalog.yml."
    )


def missing_inputs(
    pipeline: Pipeline,
    catalog: CatalogProtocol,
    packed: Collection[str],
    folder: Path,
    given: Collection[str] = (),
    mounts: Sequence[str] = (),
) -> list[str]:
    """Tell which inputs, but those given, a job with these files of the folder wouldn't find."""
    problems = []
    left = left_behind(pipeline, catalog, packed, folder, mounts)
    for name in sorted(_data(pipeline.inputs())):
        if _stem(name) in map(_stem, given):
            continue
        if isinstance(_dataset(name, catalog), MemoryDataset | SharedMemoryDataset):
            problems.append(
                f"`{name}` is made by no node that runs, and isn't in the catalog: add it to "
                "conf/base/catalog.yml, or give the job an input of that name."
            )
        elif path := left.get(name):
            inside = path.is_relative_to(folder)
            why = "and isn't sent with the source" if inside else "outside of the project"
            problems.append(
                f"`{name}` is a file of this machine {why}: "
                f"{(path.relative_to(folder) if inside else path).as_posix()}. Give the job an "
                f"input of that name, such as s3://bucket/{path.name}, or put that path into "
                f"conf/base/catalog.yml{', or have git track the file.' if inside else '.'}"
            )
    return problems


def left_behind(
    pipeline: Pipeline,
    catalog: CatalogProtocol,
    packed: Collection[str],
    folder: Path,
    mounts: Sequence[str] = (),
) -> dict[str, Path]:
    """Give the files of this machine that a pipeline takes, without those that an archive has."""
    paths = {
        name: _local_path(_dataset(name, catalog), mounts) for name in _data(pipeline.inputs())
    }
    # It may be a folder of files, such as a PartitionedDataset's or that of versions.
    return {
        name: path
        for name, path in paths.items()
        if path and not any((folder / file).is_relative_to(path) for file in packed)
    }


def _dataset(name: str, catalog: CatalogProtocol) -> Any:
    """Give a dataset, without what is wrapped around it, as by CachedDataset."""
    dataset: Any = catalog.get(name, fallback_to_runtime_pattern=True)
    while not run_dataset(dataset) and getattr(dataset, "_dataset", None) is not None:
        dataset = dataset._dataset
    return dataset


def _local_path(dataset: Any, mounts: Sequence[str]) -> Path | None:
    """Give the file or folder of a dataset that isn't MLRun's, where that is a machine's own."""
    # What the entry names, for a dataset keeps it under a name of its own.
    arguments = getattr(dataset, "_init_args", None) or {}
    named = arguments.get("filepath") or arguments.get("path")
    if not named or run_dataset(dataset):
        return None
    protocol, path = get_protocol_and_path(str(named))
    mount = any(Path(path).is_relative_to(folder) for folder in mounts)
    return None if protocol not in {"file", "local"} or mount else Path(path)
