"""How Kedro's pipelines fall into several jobs, and what of their data crosses from job to job."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import click
from kedro.io import CatalogProtocol, MemoryDataset
from kedro.io.core import get_protocol_and_path, is_parameter
from kedro.io.shared_memory_dataset import SharedMemoryDataset
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from kedro.pipeline.pipeline import CircularDependencyError, OutputNotUniqueError

GroupBy = Literal["pipeline", "namespace", "tag"]

DEFAULT = "__default__"
"""Kedro's name of the pipeline that runs where none is named."""

DATASETS = "kedro_mlrun."
LOCAL = {"file", "local"}
"""The protocols of files on a machine."""


class GroupsError(click.ClickException):
    """The pipelines can't become jobs as they are; the message says why, and what to do."""


class UnknownPipelineError(GroupsError):
    """A name is no pipeline's."""

    exit_code = 2


@dataclass(frozen=True)
class Group:
    """What one job of a workflow runs.

    Args:
        name: the name of the pipeline, the namespace or the tag that it is made from; of a node
            that has none of them, its own.
        pipelines: the names of the registered pipelines that the job runs.
        nodes: the names of its nodes, in the order of their data.
        part: whether these are only a part of the pipelines, which the job has to name then.
        inputs: the datasets that it needs and doesn't make, without parameters.
        outputs: the datasets that it makes.
        after: the names of the groups that make one of its inputs.
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
    """Tell which jobs pipelines become.

    Args:
        pipelines: the registered pipelines by name.
        names: those that become jobs. Without any, by pipeline all but `__default__`, and by
            namespace or tag the nodes of `__default__`.
        group_by: what makes a job: each pipeline; each namespace of the first level; or each tag.
            A node without a namespace, or without a tag, becomes a job of its own.

    Returns:
        The groups in the order of their data; where that leaves a choice, as they were named.

    Raises:
        UnknownPipelineError: a name is no pipeline's.
        GroupsError: there is nothing to run; a node would be in several groups, or a dataset made
            by several; or groups need each other's data.

    Example:
        >>> from kedro.pipeline import node
        >>> pipelines = {
        ...     "report": Pipeline([node(repr, "model", "text")]),
        ...     "training": Pipeline([node(len, "table", "model")]),
        ... }
        >>> [(group.name, group.after) for group in grouped(pipelines)]
        [('training', ()), ('report', ('training',))]
    """
    for name in names:
        if name not in pipelines:
            raise UnknownPipelineError(_unknown(name, pipelines))
    if group_by == "pipeline":
        named = list(dict.fromkeys(names)) or [name for name in pipelines if name != DEFAULT]
        parts = {name: pipelines[name] for name in named}
    else:
        named = list(dict.fromkeys(names)) or [name for name in (DEFAULT,) if name in pipelines]
        whole = _together(pipelines, named)
        parts = dict(_by_namespace(whole) if group_by == "namespace" else _by_tag(whole))
    empty = [name for name, part in parts.items() if not part.nodes]
    if empty or not parts:
        which = f"Pipeline '{empty[0]}' has" if empty else "The pipelines to run have"
        raise GroupsError(f"{which} no nodes, so there is no job to run. Name others.")
    groups = [
        Group(
            name,
            (name,) if group_by == "pipeline" else tuple(named),
            tuple(node.name for node in part.nodes),
            group_by != "pipeline",
            frozenset(_data(part.inputs())),
            frozenset(_data(part.all_outputs())),
        )
        for name, part in parts.items()
    ]
    _check_once(groups, parts)
    return _ordered(groups)


def _unknown(name: str, pipelines: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(name, pipelines, 1)
    hint = f"The nearest: {nearest[0]}." if nearest else f"There are {', '.join(pipelines)}."
    return f"There is no pipeline '{name}'. {hint}"


def _together(pipelines: Mapping[str, Pipeline], names: Sequence[str]) -> Pipeline:
    try:
        return sum((pipelines[name] for name in names), Pipeline([]))
    except (OutputNotUniqueError, CircularDependencyError, ValueError) as exc:
        raise GroupsError(
            f"Pipelines {' and '.join(names)} can't run together ({exc}). Name only one of them."
        ) from exc


def _by_namespace(pipeline: Pipeline) -> Iterator[tuple[str, Pipeline]]:
    """Group nodes as Kedro's own deployment does."""
    for group in pipeline.group_nodes_by("namespace"):
        yield group.name, pipeline.only_nodes(*group.nodes)


def _by_tag(pipeline: Pipeline) -> Iterator[tuple[str, Pipeline]]:
    nodes: dict[str, list[str]] = {}
    for node in pipeline.nodes:
        if len(node.tags) > 1:
            raise GroupsError(
                f"Node '{node.name}' has the tags {', '.join(sorted(node.tags))}, and can be in "
                "one job only. Leave it one of them, or group by pipeline or namespace."
            )
        # One without is a group of its own, as Kedro groups nodes without a namespace.
        nodes.setdefault(next(iter(node.tags), node.name), []).append(node.name)
    for tag, names in nodes.items():
        yield tag, pipeline.only_nodes(*names)


def _check_once(groups: Sequence[Group], parts: Mapping[str, Pipeline]) -> None:
    """See to it that each node is in one group, and each dataset made by one."""
    node_of: dict[Node, str] = {}
    maker_of: dict[str, str] = {}
    for group in groups:
        for node in parts[group.name].nodes:
            other = node_of.setdefault(node, group.name)
            if other != group.name:
                raise GroupsError(
                    f"Node '{node.name}' is both in '{other}' and in '{group.name}', and would run "
                    "twice. Name only one of them."
                )
        for dataset in sorted(map(_stem, group.outputs)):
            other = maker_of.setdefault(dataset, group.name)
            if other != group.name:
                raise GroupsError(
                    f"'{other}' and '{group.name}' both make `{dataset}`. Name only one of them, "
                    "or give what one of them makes another name."
                )


def _ordered(groups: Sequence[Group]) -> list[Group]:
    """Put groups in the order of their data."""
    maker_of = {_stem(dataset): group.name for group in groups for dataset in group.outputs}
    needs = {
        group.name: {
            maker_of[_stem(dataset)]: _stem(dataset)
            for dataset in sorted(group.inputs)
            if maker_of.get(_stem(dataset), group.name) != group.name
        }
        for group in groups
    }
    waiting = {group.name: group for group in groups}
    ordered: list[Group] = []
    while waiting:
        ready = [name for name in waiting if not waiting.keys() & needs[name].keys()]
        if not ready:
            raise GroupsError(_cycle({name: needs[name] for name in waiting}))
        group = waiting.pop(ready[0])
        after = tuple(other.name for other in ordered if other.name in needs[group.name])
        ordered.append(replace(group, after=after))
    return ordered


def _cycle(needs: Mapping[str, Mapping[str, str]]) -> str:
    """Say which groups wait for each other, and for what."""
    path = [next(iter(needs))]
    while path[-1] not in path[:-1]:
        path.append(next(name for name in needs[path[-1]] if name in needs))
    path = path[path.index(path[-1]) :]
    links = ", ".join(
        f"'{name}' needs `{needs[name][maker]}` of '{maker}'"
        for name, maker in zip(path, path[1:], strict=False)
    )
    return (
        f"The groups need each other's data, so that none can run first: {links}. "
        "Put the nodes that lie between them into one group, or into groups of their own."
    )


# ---- what crosses from one job to another


def crossing(groups: Sequence[Group]) -> dict[str, tuple[str, list[str]]]:
    """Tell which data goes from one job to another.

    Args:
        groups: the groups in their order.

    Returns:
        By dataset, the group that makes it and those that need it.
    """
    maker_of = {_stem(dataset): group.name for group in groups for dataset in group.outputs}
    found: dict[str, tuple[str, list[str]]] = {}
    for group in groups:
        for dataset in sorted({_stem(name) for name in group.inputs}):
            maker = maker_of.get(dataset, group.name)
            if maker != group.name:
                found.setdefault(dataset, (maker, []))[1].append(group.name)
    return found


def with_later(
    name: str, pipeline: Pipeline, pipelines: Mapping[str, Pipeline]
) -> tuple[Group, ...]:
    """Give a job by itself, and what may need its data in later ones.

    Args:
        name: the job's name.
        pipeline: what it runs.
        pipelines: the registered pipelines by name.

    Returns:
        The job, and each registered pipeline that isn't wholly in it.
    """
    later = (
        Group(other, (other,), (), inputs=frozenset(_data(found.inputs())))
        for other, found in pipelines.items()
        if not {*found.nodes} <= {*pipeline.nodes}
    )
    return Group(name, (), (), outputs=frozenset(pipeline.all_outputs())), *later


def crossing_problems(
    groups: Sequence[Group], catalog: CatalogProtocol, mounts: Sequence[str] = ()
) -> list[str]:
    """Tell which data would be lost with the job that makes it.

    Args:
        groups: the groups in their order.
        catalog: the catalog of the jobs.
        mounts: the folders of volumes that each job has, see `mounted`.

    Returns:
        A message for each dataset that a later job needs and can't get, with what to do.
    """
    problems = []
    for dataset, (maker, users) in crossing(groups).items():
        names = sorted(
            name
            for group in groups
            for name in group.inputs | group.outputs
            if _stem(name) == dataset
        )
        for name in names:
            lost = _lost(name, catalog, mounts)
            if lost:
                needed = ", ".join(f"'{user}'" for user in users)
                problems.append(
                    f"`{dataset}`, made by '{maker}' and needed by {needed}, {lost[0]}: give it "
                    f"{lost[1]} in conf/base/catalog.yml."
                )
                break
    return problems


def check_crossing(
    groups: Sequence[Group], catalog: CatalogProtocol, mounts: Sequence[str] = ()
) -> None:
    """Refuse groups between which data would be lost.

    Args:
        groups: the groups in their order.
        catalog: the catalog of the jobs.
        mounts: the folders of volumes that each job has, see `mounted`.

    Raises:
        GroupsError: a dataset that a later job needs doesn't outlive the one that makes it.
    """
    problems = crossing_problems(groups, catalog, mounts)
    if problems:
        raise GroupsError("\n".join(["Data would be lost between the jobs.", *problems]))


def mounted(function: Any) -> list[str]:
    """Give the folders of the volumes that a function's jobs have.

    Args:
        function: an MLRun function.

    Returns:
        Their paths in the pod; files there are no job's own.
    """
    mounts = (
        mount if isinstance(mount, dict) else mount.to_dict()
        for mount in function.spec.volume_mounts or []
    )
    return [path for mount in mounts if (path := mount.get("mountPath") or mount.get("mount_path"))]


def missing_inputs(
    pipeline: Pipeline,
    catalog: CatalogProtocol,
    packed_files: Collection[str] | None,
    project_path: Path,
    given: Collection[str] = (),
    mounts: Sequence[str] = (),
) -> list[str]:
    """Tell which of a pipeline's inputs a job wouldn't find.

    Args:
        pipeline: what the job runs.
        catalog: the catalog of the job.
        packed_files: the files that are sent with the source, relative to the project's folder,
            with slashes; None where the job has the project's files from elsewhere.
        project_path: the project's folder.
        given: the datasets that the job gets from elsewhere: as its inputs, or from earlier jobs.
        mounts: the folders of volumes that the job has, see `mounted`.

    Returns:
        A message for each input that is no dataset of the catalog, or a file on this machine that
        isn't sent, with what to do.
    """
    problems = []
    stems = {_stem(name) for name in given}
    for name in sorted(_data(pipeline.inputs())):
        if _stem(name) in stems:
            continue
        dataset = _unwrapped(catalog.get(name, fallback_to_runtime_pattern=True))
        if isinstance(dataset, MemoryDataset | SharedMemoryDataset):
            problems.append(
                f"`{name}` is made by no node that runs, and isn't in the catalog: add it to "
                "conf/base/catalog.yml, or give the job an input of that name."
            )
            continue
        path = _local_path(dataset, mounts)
        if path is None:
            continue
        shown = _shown(path, project_path)
        outside = Path(shown).is_absolute()
        # A folder of files, such as that of a PartitionedDataset or of a dataset's versions.
        sent = (
            not outside
            if packed_files is None
            else any(file == shown or file.startswith(f"{shown}/") for file in packed_files)
        )
        if not sent:
            why = "outside of the project" if outside else "and isn't sent with the source"
            problems.append(
                f"`{name}` is a file of this machine {why}: {shown}. Give the job an input of "
                f"that name, such as s3://bucket/{path.name}, or put that path into "
                "conf/base/catalog.yml"
                + ("." if outside else ", or see to it that git tracks the file.")
            )
    return problems


def _data(names: Iterable[str]) -> set[str]:
    return {name for name in names if not is_parameter(name)}


def _stem(name: str) -> str:
    """Give the name of data; what follows an @ is Kedro's transcoding of the same data."""
    return name.partition("@")[0]


def _unwrapped(dataset: Any) -> Any:
    """Give the dataset that another one wraps, as CachedDataset does."""
    while not hasattr(dataset, "run_id") and getattr(dataset, "_dataset", None) is not None:
        dataset = dataset._dataset
    return dataset


def _lost(name: str, catalog: CatalogProtocol, mounts: Sequence[str]) -> tuple[str, str] | None:
    """Say why a dataset doesn't outlive the job that makes it, and what does; None if it does."""
    dataset = _unwrapped(catalog.get(name, fallback_to_runtime_pattern=True))
    if isinstance(dataset, MemoryDataset | SharedMemoryDataset):
        entry = (
            f"an entry of type {DATASETS}MLRunDataframeDataset (MLRunModel for a model, "
            "MLRunArtifactDataset for others)"
        )
        return "is only in the memory of the job that makes it", entry
    path = _local_path(dataset, mounts)
    if path is None:
        return None
    entry = f"the type {DATASETS}MLRunArtifactDataset"
    if type(dataset).__module__.startswith("kedro_datasets."):
        kind = ".".join(type(dataset).__module__.split(".")[1:2] + [type(dataset).__name__])
        entry += f" with `dataset: {kind}`"
    remote = f"or a remote path such as s3://bucket/{path.name},"
    return f"is a file of the machine that the job runs on ({path})", f"{entry}, {remote}"


def _local_path(dataset: Any, mounts: Sequence[str]) -> Path | None:
    """Give a dataset's file or folder, where that is a machine's own."""
    if hasattr(dataset, "run_id"):
        # MLRun's; this room knows none of its classes.
        return None
    # What the entry names, for a dataset keeps it under a name of its own.
    arguments = getattr(dataset, "_init_args", None) or {}
    named = next((arguments[key] for key in ("filepath", "path") if arguments.get(key)), None)
    if named is None:
        return None
    protocol, path = get_protocol_and_path(str(named))
    mount = any(Path(path).is_relative_to(folder) for folder in mounts)
    return None if protocol not in LOCAL or mount else Path(path)


def _shown(path: Path, project_path: Path) -> str:
    """Give a path as one within the project, where it is."""
    inside = path.is_relative_to(project_path)
    return (path.relative_to(project_path) if inside else path).as_posix()
