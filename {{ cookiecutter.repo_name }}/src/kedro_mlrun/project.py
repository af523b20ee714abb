"""Where the Kedro project is, its configuration loader, and `conf/<env>/mlrun.yml` typed."""

import logging
import os
import warnings
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Self

import click
import dotenv
import yaml
from kedro.config import MissingConfigException
from kedro.utils import find_kedro_project
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, Field, ValidationError, model_validator

from .secrets.known import mlrun_secret, register

# What MLRun itself puts into MLRUN_DBPATH when it is asked for a store and was told of none.
NOT_TOLD = "./"
_PATTERNS = {"example", "sample", "template", "dist"}

warnings.filterwarnings("ignore", r"register_new_resolver\(\) is deprecated")  # by Kedro 1.7
# Kedro says which logging configuration it takes when a script imports it, and advises what helps
# nobody whose runs are recorded: --async, or to repeat the command.
_TALKATIVE = "sequential_runner", "thread_runner", "parallel_runner"
for _name in ("framework.project", *(f"runner.{runner}" for runner in _TALKATIVE)):
    logging.getLogger(f"kedro.{_name}").addFilter(
        lambda record: not str(record.msg).startswith(("Using ", "No nodes ran. "))
    )


class MLRunConfigError(click.ClickException, ValueError):
    """mlrun.yml can't be used: one line for the user of Kedro, with the key and the reason."""


class TrackingConfig(BaseModel, extra="forbid", frozen=True):
    """What of a run is recorded: `tracking` in mlrun.yml.

    Args:
        enabled: False records no run. What the nodes save in MLRun then stays in memory.
        skip_pipelines: names or patterns (`report_*`) of pipelines whose runs are not recorded.
        datasets: names or patterns of other catalog entries whose data becomes an artifact, too.
        parameters: Kedro's parameters, as the run's parameters and as an artifact.
        nodes: a table of how long each node took, and the size of what it loaded and saved.
        pipeline: the pipeline's graph.
        catalog: the catalog that the run had.
        not_secret: names or patterns of what is called like a secret, and isn't one.
    """

    enabled: bool = True
    skip_pipelines: list[str] = []
    datasets: list[str] = []
    parameters: bool = True
    nodes: bool = True
    pipeline: bool = True
    catalog: bool = True
    not_secret: list[str] = []

    def records(self, pipelines: list[str]) -> bool:
        """Tell whether a run of these pipelines is recorded: not if each is one to skip."""
        return self.enabled and not all(
            any(fnmatchcase(name, pattern) for pattern in self.skip_pipelines) for name in pipelines
        )


class JobsConfig(BaseModel, extra="forbid", frozen=True):
    """How the project's jobs are started: `jobs` in mlrun.yml.

    Args:
        at_once: how many jobs run at the same time on the embedded store; the others wait.
        largest_file: megabytes (of 1,000,000 bytes) that a file of the source may have.
        overrides: what a job that runs a pipeline, or a workflow's namespace or tag, has otherwise
            than function.yaml, by that name: a part of its `spec`.
    """

    at_once: int = Field(default=2, ge=1)
    largest_file: float = Field(default=50, gt=0)
    overrides: dict[str, dict[str, Any]] = {}


class GateConfig(BaseModel, extra="forbid", frozen=True):
    """What a model's metric has to be, so that it is promoted: a gate of `models` in mlrun.yml.

    The metric is a scorer of scikit-learn, for which higher is better: `neg_log_loss`, `roc_auc`.

    Args:
        at_least: the lowest value that is allowed.
        at_most: the highest value that is allowed.
        worse_by: by how much it may be worse than the model that it replaces.
    """

    at_least: float | None = None
    at_most: float | None = None
    worse_by: float | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _has_a_limit(self) -> Self:
        if self.at_least is self.at_most is self.worse_by is None:
            raise ValueError("Without at_least, at_most or worse_by it lets every model pass")
        return self


class ModelsConfig(BaseModel, extra="forbid", frozen=True):
    """What becomes of models after training: `models` in mlrun.yml.

    Args:
        gates: what a model is promoted for, by the name of a scikit-learn scorer.
        test_set: the artifact that the gates judge models on, of the run that trained the model.
        training_set: the artifact with the rows that a model was trained on, of the same run. They
            are left out of the test set.
        promote_if_better: whether a run that trains a model makes it the champion, if the gates let
            it. If it trains several, those whose key has a champion already.
        log_requests: whether a server records the requests and its answers.
        private: columns that are left out of recorded requests.
    """

    gates: dict[str, GateConfig] = {}
    test_set: str = Field(default="test_set", min_length=1)
    training_set: str = Field(default="training_set", min_length=1)
    promote_if_better: bool = False
    log_requests: bool = False
    private: list[str] = []


class MLRunConfig(BaseModel, extra="forbid", frozen=True):
    """Where runs are recorded. MLRun's own environment variables win over each of these.

    Args:
        project: the MLRun project, an RFC 1123 label. `MLRUN_ACTIVE_PROJECT` wins over it.
        dbpath: the run database: `http(s)://…` for an MLRun API, `sqlite:///PATH` for an embedded
            store, relative to the project's folder. `MLRUN_DBPATH` wins over it.
        artifact_path: where artifacts are kept: a folder, relative to the project's, or a URL.
            `MLRUN_ARTIFACT_PATH` and what an MLRun API gives its clients win over it.
        tracking: what of a run is recorded.
        jobs: how jobs are started.
        models: what becomes of models after training.
    """

    project: str = Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
    dbpath: str = Field(default="sqlite:///.mlrun/mlrun.db", pattern=r"^(sqlite:///.|https?://.)")
    artifact_path: str = Field(default=".mlrun/artifacts", min_length=1)
    tracking: TrackingConfig = TrackingConfig()
    jobs: JobsConfig = JobsConfig()
    models: ModelsConfig = ModelsConfig()

    @classmethod
    def load(cls, loader: Any, project_path: Path) -> "MLRunConfig":
        """Read mlrun.yml with Kedro's configuration loader, and make its paths absolute."""
        folder = Path(loader.conf_source)
        try:
            config = cls.model_validate(_read(loader))
        except (MissingConfigException, KeyError) as exc:
            raise MLRunConfigError(
                f"No mlrun.yml found in {folder}: {exc}. Put one there (`project: my-project`), or "
                "name an environment that is there."
            ) from exc
        except ValidationError as exc:
            # Without the values, which may hold a password.
            problems = [
                f"{'.'.join(map(str, at['loc']))}: {at['msg'].removeprefix('Value error, ')}"
                for at in exc.errors()
            ]
            raise MLRunConfigError(
                f"mlrun.yml in {folder} can't be used ({'; '.join(problems)}). "
                f"The keys are {', '.join(cls.model_fields)}."
            ) from exc
        dbpath, artifacts = config.dbpath, config.artifact_path
        if dbpath.startswith("sqlite:///"):
            dbpath = f"sqlite:///{(project_path / dbpath.removeprefix('sqlite:///')).as_posix()}"
        if "://" not in artifacts:
            artifacts = (project_path / artifacts).as_posix()
            if set(artifacts) & set("#?"):  # MLRun takes each path for a URL
                raise MLRunConfigError(
                    f"MLRun can't keep artifacts in {artifacts}, because of its # or ?. "
                    "Move the project, or name another artifact_path in mlrun.yml."
                )
        return config.model_copy(update={"dbpath": dbpath, "artifact_path": artifacts})


def project_folder() -> Path | None:
    """Find the Kedro project that the working folder is in, or else this package."""
    # A job's working folder is inside of the project, too: MLRun makes it the source's workdir.
    here = Path(__file__)
    own = None if "site-packages" in here.parts else find_kedro_project(here)
    return find_kedro_project(Path.cwd()) or own


def current_project() -> Path:
    """Give the folder that `project_folder` finds; an error where there is none."""
    if folder := project_folder():
        return folder
    raise click.UsageError(
        f"{Path.cwd()} is in no Kedro project. Run this in the project's folder."
    )


def config_loader(folder: Path, env: str | None = None, params: Any = None) -> Any:
    """Make the project's own configuration loader, as Kedro makes it for a session."""
    from kedro.framework import project
    from kedro.framework.startup import bootstrap_project

    # Not again, for then Kedro imports all pipelines again.
    if project.PACKAGE_NAME is None:
        bootstrap_project(folder)
    arguments, env = project.settings.CONFIG_LOADER_ARGS, env or os.environ.get("KEDRO_ENV")
    source, default_env = folder / project.settings.CONF_SOURCE, arguments.get("default_run_env")
    if default_env and not env and source.is_dir():
        # Git keeps no empty folder, and without this one Kedro doesn't start.
        (source / default_env).mkdir(exist_ok=True)
    make = project.settings.CONFIG_LOADER_CLASS
    return prepared(make(str(source), env=env, runtime_params=params, **arguments))


def prepared(loader: Any) -> Any:
    """Let Kedro's configuration loader find mlrun.yml, and read secrets from MLRun."""
    if hasattr(loader, "config_patterns"):  # which a project's own need not have
        loader.config_patterns.setdefault("mlrun", ["mlrun*", "mlrun*/**", "**/mlrun*"])
    OmegaConf.register_new_resolver("mlrun.secret", mlrun_secret, replace=True)
    return loader


def register_env_files(folder: Path) -> None:
    """Remember the secrets that a project's `.env` files have, by their names."""
    for file in filter(Path.is_file, folder.glob(".env*")):
        # What is committed as a pattern for others has placeholders: words of any text.
        if _PATTERNS.isdisjoint(file.name.split(".")):
            with suppress(OSError, UnicodeDecodeError):
                register(dotenv.dotenv_values(file, interpolate=False))


def _read(loader: Any) -> Any:
    try:
        return loader["mlrun"]
    except (AttributeError, OSError, yaml.YAMLError, OmegaConfBaseException) as exc:
        reason = " ".join(str(exc).split()).rstrip(".")
        if isinstance(exc, AttributeError) or "loaded object type" in reason:
            reason = "it has to have words for keys, as in `project: my-project`"
        raise MLRunConfigError(
            f"mlrun.yml in {loader.conf_source} can't be read: {reason}. Fix conf/base/mlrun.yml, "
            "or another environment's."
        ) from exc


def has_config(loader: Any) -> bool:
    """Tell whether a session's project has an mlrun.yml, which is then read for good."""
    try:
        loader["mlrun"] = _read(prepared(loader))
    except (MissingConfigException, KeyError):
        return False
    return bool(loader["mlrun"])


def find_config() -> tuple[MLRunConfig | None, Path]:
    """Find configuration and folder for code without a Kedro session; outside of a project None."""
    folder = project_folder()
    config = MLRunConfig.load(config_loader(folder), folder) if folder else None
    return config, folder or Path.cwd()


def mlrun_setting(name: str) -> str:
    """Find out, without importing MLRun, what the environment tells it: MLRUN_DBPATH, …."""
    told = os.environ.get(name, "")
    return told if told not in {"", NOT_TOLD} else mlrun_env_file().get(name, "")


def mlrun_env_file() -> dict[str, str]:
    """Read the file that MLRun puts into the environment when it is imported."""
    if os.environ.get("MLRUN_IGNORE_ENV_FILE"):
        return {}
    default = os.environ.get("MLRUN_DEFAULT_ENV_FILE", "~/.mlrun.env")
    file = Path(os.environ.get("MLRUN_ENV_FILE", default)).expanduser()
    return {name: value for name, value in dotenv.dotenv_values(file).items() if value is not None}
