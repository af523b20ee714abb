"""Which jobs Kedro's pipelines become, in which order, and what data jobs find and leave."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Literal

from kedro.io.core import is_parameter
from kedro.pipeline import Pipeline

from .function import mounted
from .parameters import JobError
from .plan import DEFAULT, MEMORY, Plan, Project, stem, together

GroupBy = Literal["pipeline", "namespace", "tag"]
Parts = Mapping[str, Pipeline]
"""What jobs run, by their names."""

_KEPT = (
    "Give each of these in conf/base/catalog.yml the type kedro_mlrun.MLRunDataframeDataset "
    "(MLRunModel for a model, MLRunArtifactDataset with its present type as `dataset` for others), "
    "or a remote path such as s3://bucket/data.csv."
)
_SENT = (
    "Give the job inputs of these names, or name in conf/base/catalog.yml what it can read, such "
    "as s3://bucket/data.csv, or have git track the files."
)


@dataclass(frozen=True)
class Group:
    """What one job of a workflow runs, what its parameters say of that, and `after` which it is."""

    name: str
    part: Pipeline
    told: dict[str, list[str]]
    after: tuple[str, ...]


def grouped(
    pipelines: Parts, names: Sequence[str] = (), group_by: GroupBy = "pipeline"
) -> list[Group]:
    """Give the jobs that pipelines become, in the order of their data, else as they are named.

    Without names, by pipeline all but `__default__`, and by namespace or tag the nodes of
    `__default__`. A node without a namespace, or without a tag, becomes a job of its own.
    """
    by_pipeline = group_by == "pipeline"
    others = [name for name in pipelines if name != DEFAULT and by_pipeline]
    named = list(dict.fromkeys(names)) or others or [DEFAULT]
    whole = together(pipelines, named)
    for name in named:
        if not pipelines[name].nodes:
            raise JobError(f"Pipeline '{name}' has no nodes. Name others.")
    if by_pipeline:
        members = [(name, node.name) for name in named for node in pipelines[name].nodes]
    elif group_by == "namespace":
        found = whole.group_nodes_by("namespace")
        members = [(group.name, node) for group in found for node in group.nodes]
    else:
        members = [
            (tag, node.name) for node in whole.nodes for tag in sorted(node.tags) or [node.name]
        ]
    nodes: dict[str, list[str]] = {}
    group_of: dict[str, str] = {}
    for name, node in members:
        if (other := group_of.setdefault(node, name)) != name:
            raise JobError(
                f"Node '{node}' is both in '{other}' and in '{name}', and would run twice. Name "
                "only one pipeline that has it, or leave it only one tag."
            )
        nodes.setdefault(name, []).append(node)
    parts = {name: whole.only_nodes(*nodes[name]) for name in nodes}
    needs: dict[str, dict[str, str]] = {name: {} for name in parts}
    for dataset, (maker, users) in crossing(parts, parts).items():
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
        raise JobError(
            f"The groups need each other's data, so that none can run first: {links}. "
            "Put the nodes that lie between them into one group, or into groups of their own."
        ) from None
    return [
        Group(
            name,
            parts[name],
            {"pipeline": [name]} if by_pipeline else {"pipeline": named, "nodes": nodes[name]},
            tuple(other for other in order if other in needs[name]),
        )
        for name in order
    ]


def crossing(makers: Parts, users: Parts) -> dict[str, tuple[str, list[str]]]:
    """Give the datasets that go from one job to another, each with its maker and its users."""
    maker_of = {stem(name): job for job, part in makers.items() for name in part.all_outputs()}
    found: dict[str, tuple[str, list[str]]] = {}
    for user, part in users.items():
        for dataset in sorted({stem(name) for name in part.inputs()} & maker_of.keys()):
            found.setdefault(dataset, (maker_of[dataset], []))[1].append(user)
    return found


def check_crossing(
    project: Project, makers: Parts, users: Parts, mounts: Collection[str] = ()
) -> None:
    """Refuse jobs between which data would be lost; `mounts` are volumes that all jobs have."""
    names = sorted(
        {name for part in [*makers.values(), *users.values()] for name in part.datasets()}
    )
    problems = []
    for dataset, (maker, takers) in crossing(makers, users).items():
        alike = (name for name in names if stem(name) == dataset)
        place = next(filter(None, (project.place(name, mounts) for name in alike)), "")
        where = "in the memory" if place == MEMORY else f"on the machine ({place})"
        if place:
            needed = " and ".join(f"'{taker}'" for taker in takers)
            problems.append(f"`{dataset}`, which {needed} needs, is only {where} of '{maker}'.")
    if problems:
        raise JobError("\n".join(["Data would be lost between the jobs.", *problems, _KEPT]))


def check_inputs(plan: Plan) -> None:
    """Refuse a job that would not find its data."""
    given, problems = {stem(name) for name in plan.task.spec.inputs or {}}, []
    for name in sorted(plan.pipeline.inputs()):
        place = plan.project.place(name, mounted(plan.function))
        if is_parameter(name) or stem(name) in given:
            continue
        if place == MEMORY:
            problems.append(f"`{name}` is made by no node that runs, and isn't in the catalog.")
        elif place and not plan.project.is_sent(place):
            problems.append(f"`{name}` is a file of this machine that isn't sent: {place}.")
    if problems:
        raise JobError("\n".join(["The job would not find its data.", *problems, _SENT]))


def check_later(plan: Plan) -> None:
    """Refuse a job by itself that leaves nothing to pipelines that take what it makes."""
    from kedro.framework.project import pipelines

    own = {*plan.pipeline.nodes}
    # What is wholly in it needs nothing of it afterwards.
    later = {name: part for name, part in pipelines.items() if not {*part.nodes} <= own}
    job = {plan.parameters.title: plan.pipeline}
    check_crossing(plan.project, job, later, mounted(plan.function))
