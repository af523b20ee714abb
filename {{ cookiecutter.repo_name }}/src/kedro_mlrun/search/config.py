"""`conf/<env>/search.yml`, typed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import click
import yaml
from kedro.config import MissingConfigException
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from ..text import nearest
from .space import Choice, Params, Range, filled, grid, space_of

PATTERNS = ["search*", "search*/**", "**/search*"]


class SearchError(click.ClickException, ValueError):
    """A search can't be done as it is asked for."""

    exit_code = 2


class SearchConfig(BaseModel, extra="forbid", frozen=True):
    """What is searched for, and how: search.yml.

    Args:
        pipeline: the Kedro pipeline that makes the metric.
        metric: a result of it, by the name that `kedro mlrun show` has.
        direction: whether the largest or the smallest is best.
        parameters: what each parameter may be, by its name with dots: `int(low, high)`,
            `float(low, high)`, both with a step or without, `log(low, high)`, `choice(a, b)`, or
            a dict or list with such values inside. `{choice: [...]}` has such dicts to choose from.
        trials: how many combinations are tried.
        seconds: after how long no other one begins.
        sampler: who chooses the next one: `tpe`, which learns from those before, `random`, `grid`.
        early_stop: after how many trials that aren't better than those before it ends.
        evaluate: a pipeline that is run once, at the end, with what the best trial has made.
        seed: of the sampler.
    """

    pipeline: str = "__default__"
    metric: str = Field(min_length=1)
    direction: Literal["maximize", "minimize"] = "maximize"
    parameters: dict[str, Any] = Field(min_length=1)
    trials: int = Field(default=20, ge=1)
    seconds: float | None = Field(default=None, gt=0)
    sampler: Literal["tpe", "random", "grid"] = "tpe"
    early_stop: int | None = Field(default=None, ge=1)
    evaluate: str | None = None
    seed: int = Field(default=42, ge=0, lt=2**31)

    @field_validator("parameters")
    @classmethod
    def _has_ranges(cls, parameters: dict[str, Any]) -> dict[str, Any]:
        for name, value in parameters.items():
            asked = list[str]()
            try:
                filled(space_of(value), name, lambda name, each: _first(name, each, asked))
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
            if not asked:
                raise ValueError(f"{name}: {value!r} has no range; set it in parameters instead")
        return parameters

    @model_validator(mode="after")
    def _has_points(self) -> Self:
        for name, each in self.space.items() if self.sampler == "grid" else ():
            try:
                next(grid(each, name))
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        return self

    @classmethod
    def load(cls, loader: Any, changes: Mapping[str, Any], sets: Mapping[str, str]) -> Self:
        """Read search.yml; what is asked for beside it wins, as do ranges over all in the file."""
        source = Path(loader.conf_source)
        if hasattr(loader, "config_patterns"):
            loader.config_patterns.setdefault("search", PATTERNS)
        try:
            found = dict(loader["search"])
        except (MissingConfigException, KeyError):
            found = {}
        except yaml.YAMLError as error:
            reason = " ".join(str(error).split())
            raise SearchError(f"search.yml in {source} can't be read: {reason}. Fix it.") from error
        found |= {name: value for name, value in changes.items() if value is not None}
        found |= {"parameters": dict(sets)} if sets else {}
        try:
            return cls(**found)
        except ValidationError as error:
            problems = (_told(each, found) for each in error.errors())
            raise SearchError(
                f"The search can't be done: {'; '.join(problems)}. Change search.yml in {source} "
                "or the options."
            ) from None

    @property
    def space(self) -> dict[str, Any]:
        """What each parameter may be."""
        return {name: space_of(value) for name, value in self.parameters.items()}

    def values(self, params: Params) -> dict[str, Any]:
        """Give the values of the parameters, by what a trial was given."""
        return {
            name: filled(each, name, lambda name, _: params[name])
            for name, each in self.space.items()
        }


def _first(name: str, each: Range | Choice, asked: list[str]) -> Any:
    asked.append(name)
    return each.low if isinstance(each, Range) else each.points()[0]


def _told(error: Any, found: Mapping[str, Any]) -> str:
    where = ".".join(map(str, error["loc"]))
    if error["type"] == "missing":
        return f"no {where} is named"
    if error["type"] == "extra_forbidden":
        hint = nearest(where, SearchConfig.model_fields).rstrip()
        return f"there is no '{where}' (the keys are {', '.join(SearchConfig.model_fields)}) {hint}"
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    return f"{where} is {found.get(where)!r}: {error['msg']}"
