"""`conf/<env>/search.yml`, typed."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self

import click
import yaml
from kedro.config import MissingConfigException
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, Field, ValidationError, model_validator

from ..text import nearest
from .space import Params, filled, grid, space_of


class SearchError(click.ClickException, ValueError):
    """A search can't be done as it is asked for."""

    exit_code = 2


class SearchConfig(BaseModel, extra="forbid", frozen=True):
    """What is searched for, and how: search.yml.

    Args:
        pipeline: the Kedro pipeline that makes the metric.
        metric: a result of it, by the name that `kedro mlrun show` has.
        direction: whether the largest or the smallest is best.
        parameters: what each parameter may be, by its name with dots: `int(low, high)` and
            `float(low, high)`, with a step as a third number, `log(low, high)`, `choice(a, b)`, or
            a dict with such values inside. `{choice: [...]}` chooses one of several such dicts.
        trials: how many combinations are tried.
        seconds: after how long no other one begins.
        sampler: what chooses the next one: `tpe` learns from those before; `random`; `grid`.
        early_stop: after how many trials that are no better than those before it ends.
        prune: whether a trial ends early that is worse than the median of those before: after a
            cross-validation fold, some boosting rounds, or whatever a node of it yields after.
        keep: whether the models, frames and other artifacts of the best trial only are recorded, or
            of all. Then each trial runs all that depends on the parameters.
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
    prune: bool = False
    keep: Literal["best", "all"] = "best"
    evaluate: str | None = None
    seed: int = Field(default=42, ge=0, lt=2**31)

    @model_validator(mode="after")
    def _has_ranges(self) -> Self:
        for name, value in self.parameters.items():
            try:
                space = space_of(value)
                # Without a grid, what has no steps will do.
                points = grid(space, name) if self.sampler == "grid" else iter([{name: None}])
                if space == value or not next(points):
                    raise ValueError(f"{value!r} has no range; set it in parameters instead")
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        return self

    @classmethod
    def load(cls, loader: Any, changes: Mapping[str, Any], sets: Mapping[str, str]) -> Self:
        """Read search.yml; what is asked for beside it wins, as do ranges over all in the file."""
        source = Path(loader.conf_source)
        if hasattr(loader, "config_patterns"):  # which a project's own need not have
            loader.config_patterns.setdefault("search", ["search*", "search*/**", "**/search*"])
        try:
            found = dict(loader["search"])
        except (MissingConfigException, KeyError):
            found = {}
        except (yaml.YAMLError, OmegaConfBaseException) as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise SearchError(f"search.yml in {source} can't be read: {reason}. Fix it.") from error
        found |= changes
        found |= {"parameters": dict(sets)} if sets else {}
        try:
            return cls(**found)
        except ValidationError as error:
            unknown = (at["loc"][0] for at in error.errors() if at["type"] == "extra_forbidden")
            hints = (nearest(str(name), cls.model_fields) for name in unknown)
            problems = [*map(_said, error.errors())]
            raise SearchError(
                f"The search in {source} can't be done ({'; '.join(problems)}). {next(hints, '')}"
                f"The keys of search.yml are {', '.join(cls.model_fields)}."
            ) from None

    @property
    def space(self) -> dict[str, Any]:
        """What each parameter may be."""
        return {name: space_of(value) for name, value in self.parameters.items()}

    def is_better(self, value: float | None, than: float | None) -> bool:
        """Tell whether a value of the metric is better than another; any is better than none."""
        if value is None or than is None:
            return value is not None
        return value > than if self.direction == "maximize" else value < than

    def values(self, params: Params) -> dict[str, Any]:
        """Give the values of the parameters, by what a trial was given."""
        return {
            name: filled(each, name, lambda name, _: params[name])
            for name, each in self.space.items()
        }

    def points(self) -> Iterator[Params]:
        """Give all that the trials of a grid can be."""
        return grid(self.space, "")


def _said(error: Any) -> str:
    """Tell of a key what its value may be, and which one it is."""
    if error["type"] == "value_error":  # of ours, which has all of it
        return str(error["ctx"]["error"])
    tells = error["type"] in {"missing", "extra_forbidden"}
    value = "" if tells else f", and it is {error['input']!r}"
    return f"{'.'.join(map(str, error['loc']))}: {error['msg']}{value}"
