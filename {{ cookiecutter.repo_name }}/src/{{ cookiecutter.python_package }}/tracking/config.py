"""`conf/<env>/mlrun.yml` as a typed object."""

import os
import warnings
from pathlib import Path
from typing import Any

import click
from kedro.config import MissingConfigException, OmegaConfigLoader
from pydantic import BaseModel, ConfigDict, Field, ValidationError

# Kedro 1.7 calls what OmegaConf 2.4 deprecates; nobody who reads the warning can mend that.
warnings.filterwarnings("ignore", message=r"register_new_resolver\(\) is deprecated")

CONFIG_PATTERNS = {"mlrun": ["mlrun*", "mlrun*/**", "**/mlrun*"]}
"""For `CONFIG_LOADER_ARGS` in settings.py: the files that Kedro's loader gives as `mlrun`."""


class MLRunConfigError(click.ClickException, ValueError):
    """What mlrun.yml holds can't be used; the message says which key and why.

    Being one of click's, it reaches the user of `kedro` as one line and not as a traceback.
    """


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

    Example:
        >>> MLRunConfig(project="iris").dbpath
        'sqlite:///.mlrun/mlrun.db'
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    project: str = Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
    dbpath: str = Field(default="sqlite:///.mlrun/mlrun.db", pattern=r"^(sqlite:///.|https?://.)")
    artifact_path: str = Field(default=".mlrun/artifacts", min_length=1)

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
            raise MLRunConfigError(
                f"No mlrun.yml found in {config_loader.conf_source}. "
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


def find_config(start: Path) -> tuple[MLRunConfig | None, Path]:
    """Find the configuration for code that runs without a Kedro session.

    Args:
        start: the folder to start from.

    Returns:
        The configuration of the Kedro project that holds the folder, for the environment that
        `KEDRO_ENV` names, and the project's folder; outside of one None and the folder itself.

    Raises:
        MLRunConfigError: the project's mlrun.yml can't be used.
    """
    from kedro.utils import find_kedro_project

    project_path = find_kedro_project(start)
    if not project_path:
        return None, start
    loader = OmegaConfigLoader(
        conf_source=str(project_path / "conf"),
        env=os.environ.get("KEDRO_ENV"),
        base_env="base",
        default_run_env="local",
        config_patterns=CONFIG_PATTERNS,
    )
    return MLRunConfig.load(loader, project_path), project_path
