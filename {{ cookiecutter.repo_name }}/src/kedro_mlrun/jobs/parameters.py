"""What a job is told: which part of the project to run, and with which parameters."""

import json
import re
from collections.abc import Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Self

import click
import yaml
from mergedeep import merge  # type: ignore[import-untyped]
from pydantic import BaseModel, BeforeValidator, ValidationError
from pydantic_core import PydanticCustomError

from ..store.fields import flatten
from ..text import nearest

GIVEN = "kedro-given-parameters"
"""The annotation of a job's run with the names of the parameters that it was given."""

# A parameter that no file gives a value may still be asked for, by catalog.yml for example.
_ASKED_FOR = re.compile(r"\$\{runtime_params:\s*([\w.]+)")

# How like a name is to one beside it that was meant, of 1: `max_dept`, but `max_iter` isn't.
MISSPELT = 0.8


class JobError(click.ClickException, ValueError):
    """A job is told something that can't be done."""

    exit_code = 2


def _items(value: Any) -> Any:
    if isinstance(value, list | tuple | Mapping):
        return value
    return [item.strip() for item in str(value or "").split(",") if item.strip()]


def _versions(value: Any) -> Any:
    if isinstance(value, Mapping):
        return value
    pairs = [item.partition(":") for item in _items(value)]
    if not all(name and version for name, _, version in pairs):
        raise PydanticCustomError("form", "Write DATASET:VERSION, with commas between several")
    return {name: version for name, _, version in pairs}


Text = Annotated[str | None, BeforeValidator(lambda value: None if value == "" else value)]
Names = Annotated[list[str], BeforeValidator(_items)]


class JobParameters(BaseModel, frozen=True, coerce_numbers_to_str=True):
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
    def of(cls, parameters: Mapping[str, Any]) -> Self:
        """Tell a run's parameters apart; lists may be text with commas between the items."""
        names = cls.model_fields.keys() - {"runtime_params"}
        own = {name: value for name, value in parameters.items() if name in names}
        rest = {name: value for name, value in parameters.items() if name not in names}
        try:
            return cls(**own, runtime_params=rest)
        except ValidationError as error:
            wrong = error.errors()[0]
            raise JobError(
                f"Parameter '{wrong['loc'][0]}' is {wrong['input']!r}: {wrong['msg']}. "
                "Give it another value."
            ) from None

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
    def filters(self) -> dict[str, Any]:
        """Which nodes of its pipelines run, as Kedro takes it."""
        some = {"tags": self.tags, "node_names": self.nodes}
        return some | {"from_nodes": self.from_nodes, "to_nodes": self.to_nodes}


def given(context: Any) -> dict[str, Any]:
    """Give the parameters that a job was given, though MLRun's retry hands it all recorded ones."""
    parameters = context.parameters
    names = context.annotations.get(GIVEN)
    if names is None:
        context.set_annotation(GIVEN, json.dumps(sorted(parameters)))
        return parameters
    return {name: parameters[name] for name in json.loads(names) if name in parameters}


def check_names(nested: Mapping[str, Any], loader: Any) -> None:
    """Refuse a value for a parameter that no file of the project's configuration has."""
    declared, asked_for, source = dict[str, Any](), set[str](), Path(loader.conf_source)
    files = dict[str, str]()
    for folder in (source / loader.base_env, source / (loader.env or loader.default_run_env)):
        for path in sorted(folder.rglob("*.*")):
            if path.suffix not in {".yml", ".yaml", ".json"}:
                continue
            text, name = path.read_text(encoding="utf-8"), path.relative_to(folder).as_posix()
            asked_for.update(_ASKED_FOR.findall(text))
            if any(fnmatchcase(name, pattern) for pattern in loader.config_patterns["parameters"]):
                # Not resolved, for that may take the values that are to be checked.
                merge(declared, values := yaml.safe_load(text) or {})
                files |= dict.fromkeys(flatten(values), f"{folder.name}/{name}") | files
    known = flatten(declared) | dict.fromkeys(asked_for)
    # Into what is empty in the files, or comes from elsewhere, anything may go.
    free = (n for n, value in known.items() if value == {} or str(value).startswith("${"))
    anything = tuple(f"{name}." for name in free)
    for name in flatten(nested):
        if name.startswith(anything) or any(f"{other}.".startswith(f"{name}.") for other in known):
            continue
        # The innermost dict of the files that it would be in, and what is there.
        inside, within = name, list[str]()
        while inside and not within:
            inside = inside.rpartition(".")[0]
            within = [other for other in known if other.startswith(f"{inside}.")]
        own, *beside = (other.removeprefix(f"{inside}.") for other in (name, *within))
        # Into a dict of values alone, such as a model's arguments, more may go, if not misspelt.
        are_values = beside and not any("." in other for other in beside)
        if are_values and not get_close_matches(own.partition(".")[0], beside, cutoff=MISSPELT):
            continue
        # One in another place is nearer than one with a like name.
        alike = [other for other in known if other.endswith(f".{name.rpartition('.')[2]}")]
        hint = f"Did you mean '{alike[0]}'? " if alike else nearest(name, known)
        near = (files[other] for other in within if other in files)
        raise JobError(
            f"The project has no parameter '{name}'. {hint}To add it, give it a value in "
            f"{source.name}/{next(near, f'{loader.base_env}/parameters.yml')}."
        )
