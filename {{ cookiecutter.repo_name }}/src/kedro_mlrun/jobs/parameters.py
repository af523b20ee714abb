"""What a job is told: which part of the project to run, and with which parameters."""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import click
from mergedeep import merge  # type: ignore[import-untyped]
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, ValidationInfo

from ..text import nearest

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
    """A job is told something that can't be done."""

    exit_code = 2


def _text(value: Any, info: ValidationInfo) -> str | None:
    if isinstance(value, list | tuple | Mapping):
        raise JobError(f"Parameter '{info.field_name}' is {value!r}. Give it one name.")
    return str(value) if value not in (None, "") else None


def _names(value: Any, info: ValidationInfo) -> list[str]:
    if isinstance(value, Mapping):
        raise JobError(f"Parameter '{info.field_name}' is {value!r}. Give names, with commas.")
    items = value if isinstance(value, list | tuple) else str(value or "").split(",")
    return [str(item).strip() for item in items if str(item).strip()]


def _versions(value: Any, info: ValidationInfo) -> dict[str, str]:
    if isinstance(value, Mapping):
        return {str(name): str(version) for name, version in value.items()}
    versions = {}
    for item in _names(value, info):
        name, _, version = item.partition(":")
        if not (name and version):
            raise JobError(
                f"Parameter 'load_versions' has '{item}'. Write DATASET:VERSION, with commas "
                "between several."
            )
        versions[name] = version
    return versions


Text = Annotated[str | None, BeforeValidator(_text)]
Names = Annotated[list[str], BeforeValidator(_names)]


class JobParameters(BaseModel):
    """The parameters of an MLRun job, told apart: those of the run, and Kedro's own.

    Args:
        pipeline: names of Kedro pipelines; none for the default one.
        env: Kedro's environment.
        tags: only nodes with one of these tags.
        nodes: only these nodes.
        from_nodes: only these nodes, and what comes after them.
        to_nodes: only these nodes, and what comes before them.
        runner: a class of `kedro.runner`, or the import path of one of your own.
        load_versions: which version of a dataset is loaded.
        chain_id: what ties the run to others.
        runtime_params: values for Kedro's parameters, by their names, with dots for nested ones.
    """

    model_config = ConfigDict(frozen=True)

    pipeline: Names = []
    env: Text = None
    tags: Names = []
    nodes: Names = []
    from_nodes: Names = []
    to_nodes: Names = []
    runner: Text = None
    load_versions: Annotated[dict[str, str], BeforeValidator(_versions)] = {}
    chain_id: Text = None
    runtime_params: dict[str, Any] = {}

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> JobParameters:
        """Tell a run's parameters apart; lists may be text with commas between the items."""
        names = cls.model_fields.keys() - {"runtime_params"}
        own = {name: value for name, value in parameters.items() if name in names}
        rest = {name: value for name, value in parameters.items() if name not in names}
        try:
            return cls(**own, runtime_params=rest)
        except ValidationError as error:
            # Of the validators above, whose message is for a person.
            raise error.errors()[0]["ctx"]["error"] from None

    def to_dict(self) -> dict[str, Any]:
        """Give the parameters as an MLRun run has them, without those that aren't set."""
        told = {name: value for name, value in self if value and name != "runtime_params"}
        if len(self.pipeline) == 1:
            told["pipeline"] = self.pipeline[0]
        return {**told, **self.runtime_params}

    @property
    def nested(self) -> dict[str, Any]:
        """The values for Kedro's parameters as Kedro takes them: dicts instead of dots."""
        result: dict[str, Any] = {}
        for name, value in self.runtime_params.items():
            for part in reversed(name.split(".")):
                value = {part: value}  # noqa: PLW2901
            merge(result, value)
        return result

    @property
    def title(self) -> str:
        """The name of the run: that of its pipelines."""
        return "-".join(name.strip("_") for name in self.pipeline) or "default"


def dotted(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Give nested parameters by names with dots, as a job has them."""
    flat: dict[str, Any] = {}
    for name, value in params.items():
        nested = isinstance(value, Mapping) and value
        flat |= dotted(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value}
    return flat


def reason(error: Exception) -> str:
    """Say in a sentence what Kedro says of parameters, pipelines or nodes that can't be used."""
    text = str(error)
    values = [
        f"Parameter '{found[1]}.{found[2]}' is {found[4]}: {found[3].strip()}."
        for found in _NOT_VALID.finditer(text)
    ]
    return " ".join(values or text.split())


def given(context: Any) -> dict[str, Any]:
    """Give the parameters that a job was given, though MLRun's retry hands it all recorded ones."""
    parameters = context.parameters
    names = context.annotations.get(GIVEN)
    if names is None:
        context.set_annotation(GIVEN, json.dumps(sorted(parameters)))
        return parameters
    return {name: parameters[name] for name in json.loads(names) if name in parameters}


def check_names(runtime_params: Mapping[str, Any], loader: Any) -> None:
    """Refuse a value for a parameter that no file of the project's configuration has."""
    from omegaconf import OmegaConf

    declared: dict[str, Any] = {}
    asked_for: set[str] = set()
    source = Path(loader.conf_source)
    for env in (loader.base_env, loader.env or loader.default_run_env):
        for pattern in loader.config_patterns["parameters"]:
            # Not Path.glob, for which `**` is folders only.
            for name in sorted(glob.iglob(pattern, root_dir=source / env, recursive=True)):
                if Path(name).suffix in _CONFIG_FILES:
                    # Not resolved, for that may take the values that are to be checked.
                    config = OmegaConf.load(source / env / name)
                    found = OmegaConf.to_container(config, resolve=False)
                    merge(declared, found if isinstance(found, dict) else {})
        for path in (source / env).rglob("*"):
            if path.suffix in _CONFIG_FILES:
                asked_for |= set(_ASKED_FOR.findall(path.read_text(encoding="utf-8")))
    known = dotted(declared) | dict.fromkeys(asked_for)
    for name in dotted(runtime_params):
        if any(_covers(other, value, name) for other, value in known.items()):
            continue
        # One in another place is nearer than one with a like name.
        alike = [other for other in known if other.endswith(f".{name.rpartition('.')[2]}")]
        hint = f"Did you mean '{alike[0]}'? " if alike else nearest(name, known)
        raise JobError(
            f"The project has no parameter '{name}'. {hint}To add it, give it a value in "
            f"{source.name}/{loader.base_env}/parameters.yml."
        )


def _covers(known: str, value: Any, name: str) -> bool:
    if name.startswith(f"{known}."):
        # Into what is empty in the files, or comes from elsewhere, anything may go.
        return value == {} or str(value).startswith("${")
    return known == name or known.startswith(f"{name}.")
