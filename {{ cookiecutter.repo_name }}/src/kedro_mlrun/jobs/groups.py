"""Which jobs Kedro's pipelines become, in which order, and what data jobs find and leave."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from kedro.io.core import is_parameter
from kedro.pipeline import Node, Pipeline

from ..runs.dataset import run_dataset
from ..runs.provenance import DEFAULT
from .function import on_cluster
from .parameters import JobError
from .plan import MEMORY, Plan, stem, together, top_namespace

GroupBy = Literal["pipeline", "namespace", "tag"]
Parts = Mapping[str, Pipeline]
"""What jobs run, by their names."""

_KEPT = (
    "Give each of these in conf/base/catalog.yml the type kedro_mlrun.MLRunDataframeDataset "
    "(MLRunModel for a model, MLRunArtifactDataset with its present type as `dataset` for others), "
    "or a remote path such as s3://bucket/data.csv."
)
_RECORDED = "Or have the files recorded: name them under `tracking.datasets` in mlrun.yml."
_TRACKED = (
    "Have the run recorded: see `enabled` and `skip_pipelines` under `tracking` in mlrun.yml."
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

    Without names, by pipeline those that make up `__default__`, or else all others, and by
    namespace or tag the nodes of `__default__`. A node without a namespace, or without a tag,
    becomes a job of its own.
    """
    by_pipeline = group_by == "pipeline"
    registered = [name for name in pipelines if name != DEFAULT and by_pipeline]
    default = {*pipelines[DEFAULT].nodes} if DEFAULT in pipelines else set[Node]()
    of_default = [name for name in registered if {*pipelines[name].nodes} <= default]
    named = list(dict.fromkeys(names)) or of_default or registered or [DEFAULT]
    whole = together(pipelines, named)
    own = {name: {*pipelines[name].nodes} for name in named}
    groups_of: dict[GroupBy, Callable[[Node], list[str]]] = {
        "pipeline": lambda node: [name for name in named if node in own[name]],
        "namespace": lambda node: [top_namespace(node)],
        "tag": lambda node: sorted(node.tags) or [node.name],
    }
    nodes: dict[str, list[str]] = {name: [] for name in named if by_pipeline}
    for node in whole.nodes:
        name, *others = groups_of[group_by](node)
        nodes.setdefault(name, []).append(node.name)
        if others:
            raise JobError(
                f"Node '{node.name}' is both in '{name}' and in '{others[0]}', and would run "
                "twice. Name only one pipeline that has it, or leave it only one tag."
            )
    for name, found in nodes.items():
        if not found:
            raise JobError(f"Pipeline '{name}' has no nodes. Name others.")
    parts = {name: whole.only_nodes(*nodes[name]) for name in nodes}
    needs: dict[str, dict[str, str]] = {name: {} for name in parts}
    for data in crossing(parts):
        for user in data["to"]:
            needs[user].setdefault(data["from"], data["dataset"])
    try:
        order = [*TopologicalSorter(needs).static_order()]
    except CycleError as error:
        # Each of the cycle is needed by the next.
        made = [f"`{needs[user][maker]}` of '{maker}'" for maker, user in pairwise(error.args[1])]
        raise JobError(
            f"The groups need each other's data, so that none can run first: {', '.join(made)}. "
            "Put the nodes that lie between them into one group, or into groups of their own."
        ) from None
    groups = []
    for name in order:
        told = {"pipeline": [name]} if by_pipeline else {"pipeline": named, "nodes": nodes[name]}
        after = tuple(other for other in order if other in needs[name])
        groups.append(Group(name, parts[name], told, after))
    return groups


def crossing(parts: Parts) -> list[dict[str, Any]]:
    """Give each `dataset` that goes `from` one job `to` others."""
    maker_of = {stem(name): job for job, part in parts.items() for name in part.all_outputs()}
    takers: dict[str, list[str]] = {}
    for user, part in parts.items():
        for dataset in sorted({stem(name) for name in part.inputs()} & maker_of.keys()):
            takers.setdefault(dataset, []).append(user)
    return [{"dataset": name, "from": maker_of[name], "to": takers[name]} for name in takers]


def check_inputs(plan: Plan) -> None:
    """Refuse a job that would not find its data."""
    given, problems = {stem(name) for name in plan.task["spec"]["inputs"]}, []
    for name in sorted(plan.pipeline.inputs()):
        place = plan.project.place(name, plan.mounts)
        if is_parameter(name) or stem(name) in given:
            continue
        if place == MEMORY and not plan.project.catalog[name].exists():
            problems.append(f"`{name}` is made by no node that runs, and the catalog has no data.")
        elif place not in {"", MEMORY} and not plan.project.is_sent(place):
            problems.append(f"`{name}` is a file of this machine that isn't sent: {place}.")
    if problems:
        raise JobError("\n".join(["The job would not find its data.", *problems, _SENT]))


def check_outputs(plan: Plan, others: Parts) -> None:
    """Refuse a job with which data would be lost that nobody has said may be.

    These are its files, unless they are recorded, what isn't recorded of MLRun's entries, and what
    is in its memory and `others`, or the project's pipelines, need afterwards.
    """
    from kedro.framework.project import pipelines

    problems, project, tracking = dict[str, str](), plan.project, plan.project.tracking
    own, is_sent = {*plan.pipeline.nodes}, project.source is not None
    # What is wholly in it needs nothing of it afterwards.
    later = {**pipelines, **others} if is_sent else others
    later = {name: part for name, part in later.items() if not {*part.nodes} <= own}
    is_recorded = tracking.records(plan.parameters.pipeline or [DEFAULT])
    for name in sorted(plan.pipeline.all_outputs()):
        users = [user for user, part in later.items() if stem(name) in map(stem, part.inputs())]
        kept = tracking.datasets if is_recorded and not users else []
        if plan.may_lose(name) or any(fnmatchcase(name, pattern) for pattern in kept):
            continue
        place = project.place(name, plan.mounts)
        then = f" for {', '.join(users)}" if users else ""
        # Outside of the project, a job of this machine writes to the very same place.
        goes = is_sent and (on_cluster() or Path(place).is_relative_to(project.folder))
        what = ""
        if place == MEMORY and users:
            what = "is in the job's memory"
        elif place not in {"", MEMORY} and goes:
            what = f"is a file of the job's own machine: {place}"
        elif not is_recorded and (is_sent or users) and run_dataset(project.dataset(name)):
            what = "stays in memory, because the run isn't recorded"
        if what:
            problems[stem(name)] = f"`{name}`{then} {what}."
    if problems:
        told = [f"What job '{plan.task['metadata']['name']}' makes would be lost with it."]
        told += [*problems.values(), *((_KEPT, _RECORDED) if is_recorded else (_TRACKED,))]
        lost = "To submit it all the same: --allow-lost " + " --allow-lost ".join(problems)
        raise JobError("\n".join([*told, lost]))
