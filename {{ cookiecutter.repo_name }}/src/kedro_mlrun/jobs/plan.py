"""A job, made whole before it is checked and sent: what runs, with which function and source."""

import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from kedro.io import CatalogProtocol, DataCatalog, MemoryDataset
from kedro.io.core import get_protocol_and_path
from kedro.io.shared_memory_dataset import SharedMemoryDataset
from kedro.pipeline import Node, Pipeline
from kedro.pipeline.pipeline import CircularDependencyError, OutputNotUniqueError
from mergedeep import merge  # type: ignore[import-untyped]

from ..lazy import mlrun
from ..project import MLRunConfig, TrackingConfig, config_loader, current_project
from ..runs.chain import chain_id
from ..runs.dataset import innermost, is_run_type, run_dataset
from ..runs.manager import MLRunContextManager
from ..runs.provenance import DEFAULT, git_labels, ran
from ..secrets import known as secrets
from ..store.fields import flatten, run_name
from ..text import nearest, plain_refusal
from . import image
from .function import check_spec, on_cluster, on_volume, read_function
from .parameters import JobError, JobParameters, check_names
from .source import Archive, git_source, pack_for

MEMORY = "memory"  # the place of a dataset that no other process finds


@dataclass
class Project:
    """The Kedro project that jobs run, found once for all of them.

    `source` tells where they have it from: `archive`, `git`, `image`, or the path or URL where an
    archive was put; None for jobs in this process, which use what is here.
    """

    folder: Path
    source: str | None
    context: Any
    name: str = ""  # of the MLRun project

    @cached_property
    def catalog(self) -> CatalogProtocol:
        """The catalog; Kedro makes a new one each time that it is asked."""
        return self.context.catalog

    @cached_property
    def archive(self) -> Archive | None:
        """The source as an archive, where that is what jobs get."""
        if self.source != "archive":
            return None
        return pack_for(self.context.env, self.folder, self.context.config_loader)

    @cached_property
    def tracking(self) -> TrackingConfig:
        """What of the jobs' runs is recorded."""
        return MLRunConfig.load(self.context.config_loader, self.folder).tracking

    def dataset(self, name: str) -> Any:
        """Give a dataset of the catalog, where it has no entry one in memory."""
        return self.catalog.get(name, fallback_to_runtime_pattern=True)

    def place(self, name: str, mounts: Any = None) -> str:
        """Tell where a dataset is that other machines don't find: a path, or `memory`; else empty.

        The volumes that a function mounts they have, too.
        """
        catalog = self.catalog
        # First by what its entry says: what it wraps may be slow to import (law 7).
        if isinstance(catalog, DataCatalog) and is_run_type(str(catalog.get_type(name))):
            return ""
        dataset = self.dataset(name)
        if run_dataset(dataset):
            return ""
        # Without what is wrapped around it, as by CachedDataset.
        dataset = innermost(dataset)
        if isinstance(dataset, MemoryDataset | SharedMemoryDataset):
            return MEMORY
        # What the entry names, for a dataset keeps it under a name of its own.
        arguments = getattr(dataset, "_init_args", None) or {}
        keys = ("filepath", "filename", "path")
        named = next(filter(None, map(arguments.get, keys)), "nowhere://")
        protocol, path = get_protocol_and_path(str(named))
        return path if protocol in {"file", "local"} and not on_volume(mounts, path) else ""

    def is_sent(self, path: str | Path) -> bool:
        """Tell whether the archive has a file, or files of a folder such as that of versions."""
        files = self.archive.files if self.archive else ()
        return any((self.folder / file).is_relative_to(path) for file in files)


@dataclass
class Plan:
    """A job that can be started: what is sent, and where to, and which data may go with it.

    `function` and `task` are MLRun's, as its `to_dict` gives them.
    """

    project: Project
    pipeline: Pipeline
    parameters: JobParameters
    function: dict[str, Any]
    task: dict[str, Any]
    allow_lost: Collection[str] = ()

    @property
    def uid(self) -> str:
        """The id of the run that the job is going to be."""
        return str(self.task["metadata"]["uid"])

    @property
    def mounts(self) -> Any:
        """What the job's function mounts."""
        return self.function["spec"].get("volume_mounts")

    def give_source(self, source: str) -> None:
        """Let the job have the project's source from a path or URL."""
        build = self.function["spec"]["build"] = self.function["spec"].get("build") or {}
        build.update(source=source, load_source_on_run=True)

    def may_lose(self, name: str) -> bool:
        """Tell whether it doesn't matter that data go with the job."""
        return any(fnmatchcase(stem(name), pattern) for pattern in self.allow_lost)

    def to_dict(self) -> dict[str, Any]:
        """Show what would be sent: `store`, `function`, `task`, and the `source`'s archive."""
        shown: dict[str, Any] = {"store": MLRunContextManager().location}
        shown |= {"function": self.function, "task": self.task}
        if archive := self.project.archive:
            shown["source"] = {"digest": archive.digest, "size": len(archive.content)}
            shown["source"] |= {"files": archive.files, "left_out": archive.left_out}
        return shown


@contextmanager
def project_for(parameters: JobParameters, source: str | None) -> Iterator[Project]:
    """Find the project for jobs with this environment and these values of Kedro's parameters.

    What is examined in the `with` block needs no secret that only the jobs will have.
    """
    # With an API it is made here where there is none of its name.
    _, name = MLRunContextManager().to_read()
    with secrets.given_later(source is not None and on_cluster()):
        folder, env, values = current_project(), parameters.env, parameters.nested
        check_names(values, config_loader(folder, env))
        from kedro.framework.session import KedroSession
        from kedro.validation.exceptions import ParameterValidationError

        session = KedroSession.create(folder, env=env, runtime_params=values, save_on_close=False)
        context = session.load_context()
        try:
            # Reading them validates them.
            _ = context.params
        except (ValueError, ParameterValidationError) as error:
            why = plain_refusal(str(error))
            raise JobError(f"{why}. Give another value, as a parameter or in conf.") from None
        yield Project(folder, source, context, name)


def make_plan(
    project: Project,
    parameters: JobParameters,
    inputs: Mapping[str, str] | None = None,
    name: str | None = None,
    group: str | None = None,
    allow_lost: Collection[str] = (),
) -> Plan:
    """Make a job of the project, which `checks.check` has to look at before it is started.

    One of a workflow's group has what mlrun.yml has for that name, another one what it has for each
    of the pipelines that it runs.
    """
    from kedro.framework.project import pipelines

    chain = parameters.chain_id or chain_id() or None
    parameters = parameters.model_copy(update={"chain_id": chain})
    named = parameters.pipeline or [DEFAULT]
    pipeline = together(pipelines, named, **parameters.filters)
    overrides = _overrides(pipelines, pipeline, [group] if group else named)
    function, source = _function(project, overrides), project.source
    spec = function["spec"]
    if source == "image":
        (spec.get("build") or {}).pop("load_source_on_run", None)
        spec["workdir"] = f"{image.CODE_FOLDER}/{spec.get('workdir') or ''}"
    elif source == "git":
        source, subfolder = git_source(project.folder)
        spec["workdir"] = "/".join(filter(None, (subfolder, spec.get("workdir"))))
    title = "-".join(part.strip("_") for part in ran(parameters.pipeline, pipeline))
    names = {
        "name": run_name(name or group or title),
        "project": project.name,
        "uid": uuid.uuid4().hex,
    }
    task = {
        # Where the job runs there is no repository.
        "metadata": {**names, "labels": git_labels(project.folder), "annotations": {}},
        "spec": {
            "handler": spec.get("default_handler"),
            "parameters": parameters.to_dict(),
            "inputs": _inputs(project, pipeline, inputs or {}),
        },
    }
    plan = Plan(project, pipeline, parameters, function, task, allow_lost)
    if source not in {None, "archive", "image"}:
        plan.give_source(source)
    return plan


def _overrides(
    pipelines: Mapping[str, Pipeline], pipeline: Pipeline, names: Sequence[str]
) -> dict[str, Any]:
    """Give what a job has otherwise than function.yaml, by the names of what it runs."""
    found = MLRunContextManager().jobs.overrides
    nodes = {node for pipeline in pipelines.values() for node in pipeline.nodes}
    known = {*pipelines}.union(*({node.name, top_namespace(node), *node.tags} for node in nodes))
    for name in sorted(found.keys() - known):
        raise JobError(
            f"`jobs.overrides` of mlrun.yml has '{name}', and no pipeline, namespace, tag or node "
            "is called so. Correct it."
        )
    for name, spec in found.items():
        check_spec(spec, f"`jobs.overrides.{name}` of mlrun.yml")
    if DEFAULT in names and DEFAULT not in found:
        own, whole = {*pipeline.nodes}, {*pipelines[DEFAULT].nodes}
        parts = {name: {*pipelines[name].nodes} for name in found if name in pipelines}
        names = [name for name, nodes in parts.items() if nodes <= whole and nodes & own]
    given = dict[str, tuple[str, Any]]()
    for name in names:
        for field, value in flatten(found.get(name, {})).items():
            other, before = given.setdefault(field, (name, value))
            if before != value:
                raise JobError(
                    f"This job runs '{other}' and '{name}', for which `jobs.overrides` of "
                    f"mlrun.yml has not the same {field}: {before!r} and {value!r}. To run them as "
                    f"jobs of their own: kedro mlrun workflow {other} {name}"
                )
    return dict(merge({}, *(found.get(name, {}) for name in names)))


def top_namespace(node: Node) -> str:
    """Give the outermost namespace of a node; that of one without is its name."""
    return node.namespace.split(".")[0] if node.namespace else str(node.name)


def _function(project: Project, overrides: Mapping[str, Any] | None) -> dict[str, Any]:
    """Give the project's function: on a cluster with an image that its jobs can run in."""
    function = read_function(project.folder, overrides)
    function["metadata"]["project"] = project.name
    if not on_cluster():
        return function
    made = mlrun.new_function(runtime=function)
    if project.source not in {None, "image"}:
        made.spec.image = image.usable(made, project.folder)
    return cast(dict[str, Any], made.to_dict())


def stem(name: str) -> str:
    """Give the name of data; what follows an @ is Kedro's transcoding of the same data."""
    return name.partition("@")[0]


def together(pipelines: Mapping[str, Pipeline], names: Collection[str], **only: Any) -> Pipeline:
    """Make one pipeline of those of these names, with the nodes that Kedro's filter takes."""
    for name in names:
        if name not in pipelines:
            raise JobError(
                f"The project has no pipeline '{name}'. {nearest(name, pipelines)}"
                f"It has {', '.join(sorted(pipelines))}."
            )
    try:
        return sum((pipelines[name] for name in names), Pipeline([])).filter(**only)
    except (OutputNotUniqueError, CircularDependencyError, ValueError) as error:
        why = " ".join(str(error).split()).rstrip(".")
        raise JobError(f"{why}. Name other pipelines or nodes.") from None


def _inputs(project: Project, pipeline: Pipeline, inputs: Mapping[str, str]) -> dict[str, str]:
    """Give the inputs as the job finds them: on the same machine it is in another folder."""
    if project.archive is None or on_cluster():
        return dict(inputs)
    from kedro.framework.project import pipelines

    folder = project.folder
    found = {n: p if "://" in p else (folder / p).as_posix() for n, p in inputs.items()}
    made = {name for each in pipelines.values() for name in each.all_outputs()}
    other = {stem(name) for name in {*made, *inputs}}
    for name in pipeline.inputs():
        path = Path(project.place(name))
        # Raw data that git ignores, as in Kedro's own projects, is read where it lies.
        is_raw = path.is_relative_to(folder) and path.is_file() and stem(name) not in other
        if is_raw and not project.is_sent(path):
            found[name] = path.as_posix()
    return found
