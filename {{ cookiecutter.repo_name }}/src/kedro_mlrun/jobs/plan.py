"""A job, made whole before it is checked and sent: what runs, with which function and source."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..project import config_loader, current_project
from ..runs.chain import chain_id
from ..runs.manager import MLRunContextManager
from ..runs.provenance import git_labels
from ..secrets import known as secrets
from ..store.fields import run_name
from . import image
from .function import load_function, on_cluster
from .groups import DEFAULT, left_behind, together
from .parameters import JobError, JobParameters, check_names, reason
from .source import Archive, git_source, pack

if TYPE_CHECKING:
    import mlrun
    from kedro.framework.context import KedroContext
    from kedro.io import CatalogProtocol
    from kedro.pipeline import Pipeline


@dataclass
class Project:
    """The Kedro project that jobs run, found once for all of them.

    `source` tells where they have it from: `archive`, `git`, `image`, or the path or URL where an
    archive was put; None for jobs in this process, which use what is here.
    """

    folder: Path
    source: str | None
    context: KedroContext

    @cached_property
    def catalog(self) -> CatalogProtocol:
        """The catalog; Kedro makes a new one each time that it is asked."""
        return self.context.catalog

    @cached_property
    def archive(self) -> Archive | None:
        """The source as an archive, where that is what jobs get."""
        if self.source != "archive":
            return None
        loader: Any = self.context.config_loader
        envs = sorted({loader.base_env, self.context.env or loader.default_run_env})
        return pack(self.folder, MLRunContextManager().jobs.largest_file, envs)


@dataclass
class Plan:
    """A job that can be started: what is sent, and where to."""

    project: Project
    pipeline: Pipeline
    parameters: JobParameters
    function: mlrun.runtimes.KubejobRuntime
    task: mlrun.run.RunTemplate

    def to_dict(self) -> dict[str, Any]:
        """Show what would be sent: `store`, `function`, `task`, and the `source`'s archive."""
        shown = {
            "store": MLRunContextManager().location,
            "function": self.function.to_dict(),
            "task": self.task.to_dict(),
        }
        if archive := self.project.archive:
            shown["source"] = {
                "digest": archive.digest,
                "size": len(archive.content),
                "files": archive.files,
                "left_out": archive.left_out,
            }
        return shown


@contextmanager
def project_for(parameters: JobParameters, source: str | None) -> Iterator[Project]:
    """Find the project for jobs with this environment and these values of Kedro's parameters.

    What is examined in the `with` block needs no secret that only the jobs will have.
    """
    MLRunContextManager().connect()
    with secrets.given_later(source is not None and on_cluster()):
        folder, env = current_project(), parameters.env
        check_names(parameters.runtime_params, config_loader(folder, env))
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
            raise JobError(reason(error)) from None
        yield Project(folder, source, context)


def make_plan(
    project: Project,
    parameters: JobParameters,
    inputs: Mapping[str, str] | None = None,
    name: str | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Plan:
    """Make a job of the project, which `checks.check` has to look at before it is started."""
    chain = parameters.chain_id or chain_id() or None
    parameters = parameters.model_copy(update={"chain_id": chain})
    pipeline = _pipeline(parameters)
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
    import mlrun

    task = mlrun.new_task(
        name=run_name(name or parameters.title),
        project=function.metadata.project,
        params=parameters.to_dict(),
        inputs=_inputs(project, pipeline, inputs or {}),
        handler=function.spec.default_handler,
    )
    task.metadata.uid = uuid.uuid4().hex
    # Where the job runs there is no repository.
    task.metadata.labels.update(git_labels(project.folder))
    return Plan(project, pipeline, parameters, function, task)


def _pipeline(parameters: JobParameters) -> Pipeline:
    from kedro.framework.project import pipelines

    try:
        return together(pipelines, parameters.pipeline or [DEFAULT]).filter(
            tags=parameters.tags,
            node_names=parameters.nodes,
            from_nodes=parameters.from_nodes,
            to_nodes=parameters.to_nodes,
        )
    except JobError:
        raise
    except ValueError as error:
        raise JobError(reason(error)) from None


def _inputs(project: Project, pipeline: Pipeline, inputs: Mapping[str, str]) -> dict[str, str]:
    """Give the inputs as the job finds them: on the same machine it is in another folder."""
    if project.archive is None or on_cluster():
        return dict(inputs)
    from kedro.framework.project import pipelines

    made = {name for each in pipelines.values() for name in each.all_outputs()}
    other = {name.partition("@")[0] for name in {*made, *inputs}}
    # Raw data that git ignores, as in Kedro's own projects, is read where it lies.
    raw = {
        name: path.as_posix()
        for name, path in left_behind(
            pipeline, project.catalog, project.archive.files, project.folder
        ).items()
        if name.partition("@")[0] not in other
        and path.is_file()
        and path.is_relative_to(project.folder)
    }
    moved = {
        name: given if "://" in given else (project.folder / given).as_posix()
        for name, given in inputs.items()
    }
    return raw | moved
