"""Where the Kedro project is, its configuration loader, and `conf/<env>/mlrun.yml` typed."""

import fnmatch
import logging
import os
import warnings
from pathlib import Path
from typing import Any

import click
from kedro.config import MissingConfigException
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .secrets.known import mlrun_secret

# Kedro 1.7 calls what OmegaConf 2.4 deprecates; nobody who reads the warning can mend that.
warnings.filterwarnings("ignore", message=r"register_new_resolver\(\) is deprecated")

CONFIG_PATTERN = ["mlrun*", "mlrun*/**", "**/mlrun*"]
"""The files that Kedro's configuration loader gives as `mlrun`."""


class MLRunConfigError(click.ClickException, ValueError):
    """What mlrun.yml holds can't be used; the message says which key and why.

    Being one of click's, it reaches the user of `kedro` as one line and not as a traceback.
    """


class TrackingConfig(BaseModel):
    """What of a run is recorded: `tracking` in mlrun.yml.

    Args:
        enabled: False records no run. What the nodes save in MLRun then stays in memory.
        skip_pipelines: names of pipelines, or patterns such as `report_*`, whose runs are not
            recorded, as if `enabled` were False for them.
        datasets: names or patterns of other catalog entries whose data becomes an artifact, too.
        parameters: Kedro's parameters, as the run's parameters and as an artifact.
        nodes: a table of how long each node took, and the size of what it loaded and saved.
        pipeline: a picture of the pipeline's graph.
        catalog: the catalog that the run had.

    Example:
        >>> TrackingConfig(skip_pipelines=["report_*"]).records(["report_weekly"])
        False
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = True
    skip_pipelines: list[str] = []
    datasets: list[str] = []
    parameters: bool = True
    nodes: bool = True
    pipeline: bool = True
    catalog: bool = True

    def records(self, pipelines: list[str]) -> bool:
        """Tell whether a run of pipelines is recorded.

        Args:
            pipelines: the names of the pipelines that run together.

        Returns:
            False if tracking is off, or each of them is one to skip.
        """
        return self.enabled and not all(_matches(name, self.skip_pipelines) for name in pipelines)

    def records_dataset(self, name: str) -> bool:
        """Tell whether a catalog entry's data becomes an artifact, too.

        Args:
            name: the entry's name.

        Returns:
            True if `datasets` names it.
        """
        return _matches(name, self.datasets)


class JobsConfig(BaseModel):
    """How the project's jobs are started: `jobs` in mlrun.yml.

    Args:
        at_once: on the embedded store, how many submitted jobs run at the same time; the others
            wait as pending.
        largest_file: megabytes (of 1,000,000 bytes) that a file may have to be sent with the
            project's source.
        overrides: by the name of a pipeline, namespace or tag, what the jobs of a workflow that are
            made from it have otherwise than function.yaml: a part of its `spec`, in MLRun's names.

    Example:
        >>> JobsConfig(overrides={"training": {"image": "team/gpu:1"}}).at_once
        2
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    at_once: int = Field(default=2, ge=1)
    largest_file: float = Field(default=50, gt=0)
    overrides: dict[str, dict[str, Any]] = {}


def _matches(name: str, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


class MLRunConfig(BaseModel):
    """Where runs are recorded. MLRun's own environment variables win over each of these.

    Args:
        project: the MLRun project, an RFC 1123 label of at most 63 characters.
            `MLRUN_ACTIVE_PROJECT` wins over it.
        dbpath: the run database: `http(s)://…` for an MLRun API, `sqlite:///PATH` for an embedded
            store, relative to the project's folder. `MLRUN_DBPATH` wins over it.
        artifact_path: where artifacts are kept: a folder, relative to the project's folder, or a
            URL such as `s3://bucket/path`. Each run has a folder of its own below it.
            `MLRUN_ARTIFACT_PATH` wins over it, and so does what an MLRun API gives its clients.
        tracking: what of a run is recorded.
        jobs: how jobs are started.

    Example:
        >>> MLRunConfig(project="iris").dbpath
        'sqlite:///.mlrun/mlrun.db'
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    project: str = Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
    dbpath: str = Field(default="sqlite:///.mlrun/mlrun.db", pattern=r"^(sqlite:///.|https?://.)")
    artifact_path: str = Field(default=".mlrun/artifacts", min_length=1)
    tracking: TrackingConfig = TrackingConfig()
    jobs: JobsConfig = JobsConfig()

    def resolved(self, project_path: Path) -> "MLRunConfig":
        """Make relative paths absolute.

        Args:
            project_path: the folder of the Kedro project.

        Returns:
            The same configuration, good from every working folder.

        Raises:
            MLRunConfigError: MLRun could not keep artifacts in the folder.

        Example:
            >>> MLRunConfig(project="iris").resolved(Path("/iris")).artifact_path
            '/iris/.mlrun/artifacts'
        """
        changes = {}
        if self.dbpath.startswith("sqlite:///"):
            path = project_path / self.dbpath.removeprefix("sqlite:///")
            changes["dbpath"] = f"sqlite:///{path.as_posix()}"
        if "://" not in self.artifact_path:
            folder = (project_path / self.artifact_path).as_posix()
            if set(folder) & set("#?"):
                # MLRun takes each path for a URL, and what follows these for no part of it.
                raise MLRunConfigError(
                    f"MLRun can't keep artifacts in {folder}, because of its # or ?. "
                    "Move the project, or name another artifact_path in mlrun.yml."
                )
            changes["artifact_path"] = folder
        return self.model_copy(update=changes)

    @classmethod
    def load(cls, config_loader: Any, project_path: Path) -> "MLRunConfig":
        """Read and validate mlrun.yml.

        Args:
            config_loader: Kedro's configuration loader.
            project_path: the folder of the Kedro project.

        Returns:
            The configuration with absolute paths.

        Raises:
            MLRunConfigError: the file is missing, has an unknown key or an unusable value.
        """
        try:
            values = config_loader["mlrun"]
        except (MissingConfigException, KeyError) as exc:
            folder, env = Path(config_loader.conf_source), config_loader.env
            if env and folder.is_dir() and not (folder / env).is_dir():
                raise MLRunConfigError(
                    f"There is no environment '{env}' in {folder}. "
                    "Name one that has a folder there, or make it."
                ) from exc
            raise MLRunConfigError(
                f"No mlrun.yml found in {folder}. "
                "Put one there that names at least the MLRun project: `project: my-project`."
            ) from exc
        try:
            return cls(**values).resolved(project_path)
        except ValidationError as exc:
            # Without the values, which may hold a password.
            problems = "; ".join(
                f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in exc.errors()
            )
            raise MLRunConfigError(
                f"mlrun.yml in {config_loader.conf_source} can't be used ({problems}). "
                f"The keys are {', '.join(cls.model_fields)}."
            ) from exc


def project_folder() -> Path | None:
    """Find the folder of the Kedro project.

    Returns:
        The one that the working folder is in, or else the one that this package lies in; None where
        there is neither.
    """
    from kedro.utils import find_kedro_project

    # A job's working folder is inside of the project, too: MLRun makes it the source's workdir.
    here = Path(__file__)
    own = None if "site-packages" in here.parts else find_kedro_project(here)
    return find_kedro_project(Path.cwd()) or own


def _is_warning(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING


def config_loader(folder: Path, env: str | None = None) -> Any:
    """Make the project's own configuration loader, as Kedro makes it for a session.

    Args:
        folder: the folder of the Kedro project.
        env: Kedro's environment; by default that of `KEDRO_ENV`, or the project's default one.

    Returns:
        Kedro's configuration loader, which has `mlrun` as well.
    """
    # When it is imported by a script, it prints which logging configuration it takes.
    logger = logging.getLogger("kedro.framework.project")
    logger.addFilter(_is_warning)
    from kedro.framework.project import settings

    logger.removeFilter(_is_warning)
    from kedro.framework.startup import bootstrap_project

    bootstrap_project(folder)
    arguments = dict(settings.CONFIG_LOADER_ARGS)
    source = folder / settings.CONF_SOURCE
    if arguments.get("default_run_env") and source.is_dir():
        # Git keeps no empty folder, and without this one Kedro doesn't start.
        (source / arguments["default_run_env"]).mkdir(exist_ok=True)
    env = env or os.environ.get("KEDRO_ENV")
    return prepared(settings.CONFIG_LOADER_CLASS(conf_source=str(source), env=env, **arguments))


def prepared(loader: Any) -> Any:
    """Let a configuration loader find mlrun.yml, and read secrets from MLRun.

    Args:
        loader: Kedro's configuration loader, changed in place.

    Returns:
        The same loader.
    """
    from omegaconf import OmegaConf

    if hasattr(loader, "config_patterns"):
        loader.config_patterns.setdefault("mlrun", CONFIG_PATTERN)
    OmegaConf.register_new_resolver("mlrun.secret", mlrun_secret, replace=True)
    return loader


def find_config() -> tuple[MLRunConfig | None, Path]:
    """Find the configuration for code that runs without a Kedro session.

    Returns:
        The project's configuration, for the environment that `KEDRO_ENV` names, and its folder;
        outside of a project None and the working folder.

    Raises:
        MLRunConfigError: the project's mlrun.yml can't be used.
    """
    folder = project_folder()
    if folder is None:
        return None, Path.cwd()
    return MLRunConfig.load(config_loader(folder), folder), folder


def mlrun_dbpath() -> str:
    """Find out, without importing MLRun, which run database it is told to use.

    Returns:
        `MLRUN_DBPATH` as the environment has it, or MLRun's environment file (`MLRUN_ENV_FILE`, by
        default `~/.mlrun.env`); empty where neither tells.
    """
    import dotenv

    if os.environ.get("MLRUN_DBPATH") or os.environ.get("MLRUN_IGNORE_ENV_FILE"):
        return os.environ.get("MLRUN_DBPATH", "")
    default = os.environ.get("MLRUN_DEFAULT_ENV_FILE", "~/.mlrun.env")
    file = Path(os.environ.get("MLRUN_ENV_FILE", default)).expanduser()
    return (file.is_file() and dotenv.dotenv_values(file).get("MLRUN_DBPATH")) or ""
