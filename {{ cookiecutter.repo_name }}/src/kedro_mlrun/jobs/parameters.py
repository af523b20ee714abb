"""What a job is told: which part of the project to run, and with which parameters."""

from __future__ import annotations

import difflib
import glob
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

GIVEN = "kedro-given-parameters"
"""The annotation of a job's run with the names of the parameters that it was given."""

# A parameter that no file gives a value may still be asked for, by catalog.yml for example.
_ASKED_FOR = re.compile(r"\$\{runtime_params:\s*([\w.]+)")
# How Kedro tells of what Pydantic has found.
_NOT_VALID = re.compile(
    r"Parameter '([^']+)': Failed[^\n]*\n(\S+)\n\s+(.+?)\[type=\w+, input_value=(.*?), input_type=",
    re.DOTALL,
)
_CONFIG_FILES = {".yml", ".yaml", ".json"}


class JobError(click.ClickException, ValueError):
    """A job is told something that can't be done.

    Being one of click's, it reaches the user of `kedro` as one line and not as a traceback.
    """

    exit_code = 2


@dataclass(frozen=True)
class JobParameters:
    """The parameters of an MLRun job, told apart: those of the run, and Kedro's own.

    Args:
        pipeline: names of Kedro pipelines; none for the default one.
        env: Kedro's environment.
        tags: only nodes with one of these tags.
        nodes: only these nodes.
        from_nodes: only these nodes, and what comes after them.
        to_nodes: only these nodes, and what comes before them.
        runner: a class of `kedro.runner`, or the path of one's own.
        load_versions: which version of a dataset is loaded.
        chain_id: what ties the run to others.
        runtime_params: values for Kedro's parameters, by their names, with dots for nested ones.

    Example:
        >>> job = JobParameters.of({"pipeline": "training", "split.seed": 7})
        >>> job.pipeline, job.runtime_params
        (['training'], {'split.seed': 7})
    """

    pipeline: list[str] = field(default_factory=list)
    env: str | None = None
    tags: list[str] = field(default_factory=list)
    nodes: list[str] = field(default_factory=list)
    from_nodes: list[str] = field(default_factory=list)
    to_nodes: list[str] = field(default_factory=list)
    runner: str | None = None
    load_versions: dict[str, str] = field(default_factory=dict)
    chain_id: str | None = None
    runtime_params: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> JobParameters:
        """Tell a job's parameters apart.

        Args:
            parameters: the MLRun run's parameters. Lists may be text with commas, and
                `load_versions` text such as `model:3f2a,leaderboard:production`.

        Returns:
            The same, in the types that Kedro takes.

        Raises:
            JobError: a value has a type that can't be used.
        """
        lists = ("pipeline", "tags", "nodes", "from_nodes", "to_nodes")
        texts = ("env", "runner", "chain_id")
        # Empty ones say nothing; of Kedro's parameters that may be the value.
        told = {
            name: value
            for name, value in parameters.items()
            if value not in (None, "") or name not in (*lists, *texts, "load_versions")
        }
        values: dict[str, Any] = {"load_versions": _versions(told.pop("load_versions", {}))}
        values |= {name: _list(name, told.pop(name)) for name in lists if name in told}
        values |= {name: _text(name, told.pop(name)) for name in texts if name in told}
        return cls(**values, runtime_params=told)

    def to_dict(self) -> dict[str, Any]:
        """Give the parameters as an MLRun run has them, without those that say nothing.

        Returns:
            What `of` takes.

        Example:
            >>> JobParameters(pipeline=["training"], runtime_params={"split.seed": 7}).to_dict()
            {'pipeline': 'training', 'split.seed': 7}
        """
        told = {name: value for name, value in vars(self).items() if value}
        told.update(told.pop("runtime_params", {}))
        if len(self.pipeline) == 1:
            told["pipeline"] = self.pipeline[0]
        return told

    @property
    def nested(self) -> dict[str, Any]:
        """The values for Kedro's parameters as Kedro takes them: dicts instead of dots."""
        result: dict[str, Any] = {}
        for name, value in self.runtime_params.items():
            merge(result, _nest(name.split("."), value))
        return result

    @property
    def title(self) -> str:
        """The name of the run: that of its pipelines."""
        return "-".join(name.strip("_") for name in self.pipeline) or "default"


def dotted(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Give nested parameters the names that a job has them by.

    Args:
        params: Kedro's parameters, as `kedro run --params` reads them.
        prefix: what the names begin with.

    Returns:
        The values by their names, with dots for nested ones.

    Example:
        >>> dotted({"split": {"seed": 7}, "name": "x"})
        {'split.seed': 7, 'name': 'x'}
    """
    flat: dict[str, Any] = {}
    for name, value in params.items():
        nested = isinstance(value, Mapping) and value
        flat |= dotted(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value}
    return flat


def reason(error: Exception) -> str:
    """Say in a sentence what Kedro says of parameters, pipelines or nodes that can't be used.

    Args:
        error: Kedro's error.

    Returns:
        Its message; of values that don't validate, the parameter, the value, and what it has to be.

    Example:
        >>> reason(ValueError("Pipeline does not contain nodes named ['a']."))
        "Pipeline does not contain nodes named ['a']."
    """
    text = str(error)
    values = [
        f"Parameter '{found[1]}.{found[2]}' is {found[4]}: {found[3].strip()}."
        for found in _NOT_VALID.finditer(text)
    ]
    return " ".join(values or text.split())


def given(context: Any) -> dict[str, Any]:
    """Give the parameters that a job was given, also when MLRun runs it again.

    Then its run has all parameters that were recorded of the first try.

    Args:
        context: the job's MLRun context.

    Returns:
        The parameters' values by their names.
    """
    parameters = context.parameters
    names = context.annotations.get(GIVEN)
    if names is None:
        context.set_annotation(GIVEN, json.dumps(sorted(parameters)))
        return parameters
    return {name: parameters[name] for name in json.loads(names) if name in parameters}


def check_names(runtime_params: Mapping[str, Any], loader: Any) -> None:
    """Make sure that the project has each parameter that a value is given for.

    Args:
        runtime_params: values by the parameters' names, with dots for nested ones.
        loader: Kedro's configuration loader, for the environment of the job.

    Raises:
        JobError: a parameter is in no file of the project; the message has the nearest name.
    """
    from omegaconf import OmegaConf

    declared: dict[str, Any] = {}
    asked_for: set[str] = set()
    for folder in _folders(loader):
        for pattern in loader.config_patterns["parameters"]:
            # Not Path.glob, for which `**` is folders only.
            for name in sorted(glob.iglob(pattern, root_dir=folder, recursive=True)):
                path = folder / name
                if path.suffix in _CONFIG_FILES:
                    # Not resolved, for that may take the values that are to be checked.
                    found = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
                    merge(declared, found if isinstance(found, dict) else {})
        for path in folder.rglob("*"):
            if path.suffix in _CONFIG_FILES:
                asked_for |= set(_ASKED_FOR.findall(path.read_text(encoding="utf-8")))
    for name in _leaves("", runtime_params):
        if name not in asked_for and not _is_declared(name.split("."), declared):
            raise JobError(_unknown(name, [*_leaves("", declared), *asked_for], loader))


def _folders(loader: Any) -> list[Path]:
    source = Path(loader.conf_source)
    return [source / loader.base_env, source / (loader.env or loader.default_run_env)]


def _unknown(name: str, known: list[str], loader: Any) -> str:
    last = name.rpartition(".")[2]
    alike = [other for other in known if other.rpartition(".")[2] == last]
    nearest = difflib.get_close_matches(name, alike or known, n=1, cutoff=0.0 if alike else 0.5)
    hint = f"Did you mean '{nearest[0]}'? " if nearest else ""
    return (
        f"The project has no parameter '{name}'. {hint}To add it, give it a value in "
        f"{Path(loader.conf_source).name}/{loader.base_env}/parameters.yml."
    )


def _is_declared(parts: Sequence[str], declared: Any) -> bool:
    if not parts:
        return True
    if isinstance(declared, Mapping):
        # Into what is empty in the files anything may go.
        first, *rest = parts
        return not declared or (first in declared and _is_declared(rest, declared[first]))
    return isinstance(declared, str) and declared.startswith("${")


def _leaves(prefix: str, value: Any) -> Iterator[str]:
    if isinstance(value, Mapping) and (value or not prefix):
        for name, item in value.items():
            yield from _leaves(f"{prefix}.{name}" if prefix else str(name), item)
    else:
        yield prefix


def _nest(parts: Sequence[str], value: Any) -> dict[str, Any]:
    return {parts[0]: _nest(parts[1:], value) if len(parts) > 1 else value}


def merge(into: dict[str, Any], other: Mapping[Any, Any]) -> None:
    """Put values over others, dict into dict.

    Args:
        into: what they go into.
        other: the values; a dict among them is copied.

    Example:
        >>> spec = {"limits": {"cpu": 1}}
        >>> merge(spec, {"limits": {"memory": "8Gi"}})
        >>> spec
        {'limits': {'cpu': 1, 'memory': '8Gi'}}
    """
    for name, value in other.items():
        if isinstance(value, Mapping) and isinstance(into.get(name), dict):
            merge(into[name], value)
        else:
            into[str(name)] = _copied(value)


def _copied(value: Any) -> Any:
    # So that merging into it changes nobody's own.
    return {name: _copied(value[name]) for name in value} if isinstance(value, dict) else value


def _text(name: str, value: Any) -> str:
    if isinstance(value, list | tuple | Mapping):
        raise JobError(f"Parameter '{name}' is {value!r}, and one text is needed. Give one name.")
    return str(value)


def _list(name: str, value: Any) -> list[str]:
    if isinstance(value, Mapping):
        raise JobError(f"Parameter '{name}' is {value!r}. Give names, with commas between them.")
    items = value if isinstance(value, list | tuple) else str(value).split(",")
    return [str(item).strip() for item in items if str(item).strip()]


def _versions(value: Any) -> dict[str, str]:
    if isinstance(value, Mapping):
        return {str(name): str(version) for name, version in value.items()}
    versions = {}
    for item in _list("load_versions", value):
        name, separator, version = item.partition(":")
        if not (name and separator and version):
            raise JobError(
                f"Parameter 'load_versions' has '{item}'. Write DATASET:VERSION, with commas "
                "between several."
            )
        versions[name] = version
    return versions
