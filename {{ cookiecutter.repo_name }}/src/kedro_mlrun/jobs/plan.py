"""A job, made whole before it is checked and sent: what runs, with which function and source."""

import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

from kedro.io import CatalogProtocol, MemoryDataset
from kedro.io.core import get_protocol_and_path
from kedro.io.shared_memory_dataset import SharedMemoryDataset
from kedro.pipeline import Pipeline
from kedro.pipeline.pipeline import CircularDependencyError, OutputNotUniqueError

from ..lazy import mlrun
from ..project import MLRunConfig, TrackingConfig, config_loader, current_project
from ..runs.chain import chain_id
from ..runs.dataset import innermost, run_dataset
from ..runs.manager import MLRunContextManager
from ..runs.provenance import DEFAULT, git_labels, ran
from ..secrets import known as secrets
from ..store.fields import run_name
from ..text import nearest
from . import image
from .function import load_function, on_cluster, on_volume
from .parameters import JobError, JobParameters, check_names
from .source import Archive, git_source, pack

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

    @cached_property
    def catalog(self) -> CatalogProtocol:
        """The catalog; Kedro makes a new one each time that it is asked."""
        return self.context.catalog

    @cached_property
    def archive(self) -> Archive | None:
        """The source as an archive, where that is what jobs get."""
        if self.source != "archive":
            return None
        loader = self.context.config_loader
        envs = sorted({loader.base_env, self.context.env or loader.default_run_env})
        return pack(self.folder, MLRunContextManager().jobs.largest_file, envs)

    @cached_property
    def tracking(self) -> TrackingConfig:
        """What of the jobs' runs is recorded."""
        return MLRunConfig.load(self.context.config_loader, self.folder).tracking

    def dataset(self, name: str) -> Any:
        """Give a dataset of the catalog, where it has no entry one in memory."""
        return self.catalog.get(name, fallback_to_runtime_pattern=True)

    def place(self, name: str, function: Any = None) -> str:
        """Tell where a dataset is that other machines don't find: a path, or `memory`; else empty.

        The volumes of a `function` they have, too.
        """
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
        is_mounted = function and on_volume(function, path)
        return path if protocol in {"file", "local"} and not is_mounted else ""

    def is_sent(self, path: str | Path) -> bool:
        """Tell whether the archive has a file, or files of a folder such as that of versions."""
        files = self.archive.files if self.archive else ()
        return any((self.folder / file).is_relative_to(path) for file in files)


@dataclass
class Plan:
    """A job that can be started: what is sent, and where to, and which data may go with it."""

    project: Project
    pipeline: Pipeline
    parameters: JobParameters
    function: "mlrun.runtimes.KubejobRuntime"
    task: "mlrun.run.RunTemplate"
    allow_lost: Collection[str] = ()

    def may_lose(self, name: str) -> bool:
        """Tell whether it doesn't matter that data go with the job."""
        return any(fnmatchcase(stem(name), pattern) for pattern in self.allow_lost)

    def to_dict(self) -> dict[str, Any]:
        """Show what would be sent: `store`, `function`, `task`, and the `source`'s archive."""
        shown = {
            "store": MLRunContextManager().location,
            "function": self.function.to_dict(),
            "task": self.task.to_dict(),
        }
        if archive := self.project.archive:
            shown["source"] = {"digest": archive.digest, "size": len(archive.content)}
            shown["source"] |= {"files": archive.files, "left_out": archive.left_out}
        return shown


@contextmanager
def project_for(parameters: JobParameters, source: str | None) -> Iterator[Project]:
    """Find the project for jobs with this environment and these values of Kedro's parameters.

    What is examined in the `with` block needs no secret that only the jobs will have.
    """
    # It is made here where the store has none of its name.
    _ = MLRunContextManager().project
    with secrets.given_later(source is not None and on_cluster()):
        folder, env = current_project(), parameters.env
        check_names(parameters.nested, config_loader(folder, env))
        from kedro.framework.session import KedroSession
        from kedro.validation.exceptions import ParameterValidationError

        session = KedroSession.create(
            folder, env=env, runtime_params=parameters.nested, save_on_close=False
        )
        context = session.load_context()
        try:
            # Reading them validates them.
            _ = context.params
        except (ValueError, ParameterValidationError) as error:
            why = " ".join(str(error).split()).rstrip(".")
            raise JobError(f"{why}. Give another value, as a parameter or in conf.") from None
        yield Project(folder, source, context)


def make_plan(
    project: Project,
    parameters: JobParameters,
    inputs: Mapping[str, str] | None = None,
    name: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    allow_lost: Collection[str] = (),
) -> Plan:
    """Make a job of the project, which `checks.check` has to look at before it is started."""
    from kedro.framework.project import pipelines

    chain = {"chain_id": parameters.chain_id or chain_id() or None}
    parameters = parameters.model_copy(update=chain)
    pipeline = together(pipelines, parameters.pipeline or [DEFAULT], **parameters.filters)
    function = load_function(project.folder, overrides)
    source, workdir = project.source, function.spec.workdir
    if source and source != "image" and on_cluster():
        function.spec.image = image.usable(function, project.folder)
    if source == "image":
        function.spec.build.load_source_on_run = None
        function.spec.workdir = f"{image.CODE_FOLDER}/{workdir}"
    elif source == "git":
        source, subfolder = git_source(project.folder)
        workdir = "/".join(part for part in (subfolder, workdir) if part)
    if source not in {None, "archive", "image"}:
        function.with_source_archive(source, workdir=workdir)
    title = "-".join(part.strip("_") for part in ran(parameters.pipeline, pipeline))
    task = mlrun.new_task(
        name=run_name(name or title),
        project=function.metadata.project,
        params=parameters.to_dict(),
        inputs=_inputs(project, pipeline, inputs or {}),
        handler=function.spec.default_handler,
    )
    task.metadata.uid = uuid.uuid4().hex
    # Where the job runs there is no repository.
    task.metadata.labels.update(git_labels(project.folder))
    return Plan(project, pipeline, parameters, function, task, allow_lost)


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
