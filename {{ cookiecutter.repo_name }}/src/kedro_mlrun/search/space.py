"""What a parameter may be: ranges and choices, which may have others inside."""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import yaml

from ..store.fields import leaves

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

FORMS = "int(2, 12), float(0, 1), log(0.001, 10) or choice(gini, entropy)"
_FORM = re.compile(r"\s*(int|float|log|choice)\s*\((.*)\)\s*", re.DOTALL)
_CALLED = re.compile(r"\s*\w+\s*\(.*\)\s*", re.DOTALL)
_ENDS = 2  # of a range; a third number is its step

Params = dict[str, Any]  # what a trial was given, by the names of ranges and choices


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, in steps or, with `log`, evenly by their size."""

    low: float
    high: float
    step: float | None = None
    log: bool = False

    def distribution(self) -> "BaseDistribution":
        """Give it as Optuna has it."""
        from optuna.distributions import FloatDistribution, IntDistribution

        if isinstance(self.low, int):
            return IntDistribution(self.low, int(self.high), step=int(self.step or 1))
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)

    def suggest(self, trial: "Trial", name: str) -> Any:
        """Let Optuna choose one for a trial."""
        if isinstance(self.low, int):
            return trial.suggest_int(name, self.low, int(self.high), step=int(self.step or 1))
        return trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log)

    def points(self) -> list[Any]:
        """Give all of its numbers, which one has that has steps."""
        step = self.step or (1 if isinstance(self.low, int) else None)
        if step is None:
            raise ValueError("a grid needs steps: float(0, 1, 0.25), or a choice")
        count = math.floor((self.high - self.low) / step + 1e-9) + 1
        return [self.low + number * step for number in range(count)]


@dataclass(frozen=True)
class Choice:
    """One of several values, each by the label that tells it from the others."""

    options: Mapping[Any, Any]

    def distribution(self) -> "BaseDistribution":
        """Give it as Optuna has it."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.points())

    def suggest(self, trial: "Trial", name: str) -> Any:
        """Let Optuna choose one for a trial."""
        return trial.suggest_categorical(name, self.points())

    def points(self) -> list[Any]:
        """Give the labels."""
        return list(self.options)


def space_of(value: Any) -> Any:
    """Read a range, a choice, or a value that has some inside."""
    if isinstance(value, str) and (found := _FORM.fullmatch(value)):
        return _read(found[1], found[2])
    if isinstance(value, str) and _CALLED.fullmatch(value):
        raise ValueError(f"'{value}' is no range: write {FORMS}")
    if isinstance(value, Mapping) and value.keys() == {"choice"}:
        return _choice(value["choice"])
    if isinstance(value, Mapping):
        return {str(name): space_of(inner) for name, inner in value.items()}
    return [*map(space_of, value)] if isinstance(value, list) else value


def _read(kind: str, inner: str) -> Any:
    try:
        values = yaml.safe_load(f"[{inner}]")
    except yaml.YAMLError:
        raise ValueError(f"'{kind}({inner})' can't be read: write {FORMS}") from None
    if kind == "choice":
        return _choice(values)
    try:
        number: Any = int if kind == "int" else float
        # YAML takes 1e-3 for a text, and `int` would cut 2.5.
        low, high, *step = (number(str(value)) for value in values)
    except ValueError:
        raise ValueError(f"'{kind}({inner})' needs two numbers: write {FORMS}") from None
    if len(step) > (kind != "log") or not low < high or (kind == "log" and low <= 0):
        positive = ", more than 0" if kind == "log" else ""
        raise ValueError(f"'{kind}({inner})' needs a low{positive} and a higher number")
    if step and not 0 < step[0] <= high - low:
        raise ValueError(f"'{kind}({inner})' needs a step of more than 0 that fits between")
    return Range(low, high, *step or [None], log=kind == "log")


def _choice(values: Any) -> Choice:
    if not isinstance(values, list) or len(values) < 2:  # noqa: PLR2004
        raise ValueError("a choice needs a list of two values or more")
    options = dict[Any, Any]()
    for number, value in enumerate(values, 1):
        label = value
        if isinstance(value, str):
            with suppress(ValueError):
                label = value = float(value) if re.search(r"\d", value) else value  # noqa: PLW2901
        elif isinstance(value, Mapping | list):
            # The first text inside, which of an estimator is its class.
            inside = leaves(value if isinstance(value, Mapping) else dict(enumerate(value)))
            texts = (str(leaf) for _, leaf in inside if isinstance(leaf, str))
            label = next(texts, str(number)).rpartition(".")[2]
        # True is 1 for a dict.
        if label in options:
            label = f"{label} ({number})"
        options[label] = space_of(value)
    return Choice(options)


def filled(space: Any, name: str, ask: Callable[[str, Range | Choice], Any]) -> Any:
    """Give one value of a space: what `ask` says for each range and choice that comes to it."""
    if isinstance(space, Range):
        return ask(name, space)
    if isinstance(space, Choice):
        label = ask(name, space)
        option = space.options[label]
        inside = isinstance(option, Mapping | list | Range | Choice)
        # Two options may have a range of the same name.
        return filled(option, f"{name}[{label}]", ask) if inside else option
    if isinstance(space, Mapping):
        return {key: filled(each, f"{name}.{key}", ask) for key, each in space.items()}
    if isinstance(space, list):
        return [filled(each, f"{name}.{number}", ask) for number, each in enumerate(space)]
    return space


def grid(space: Any, name: str) -> Iterator[Params]:
    """Give all that a trial can be given of a space."""
    if isinstance(space, Range):
        yield from ({name: point} for point in space.points())
    elif isinstance(space, Choice):
        for label, option in space.options.items():
            yield from ({name: label, **inside} for inside in grid(option, f"{name}[{label}]"))
    elif isinstance(space, Mapping | list):
        parts = space.items() if isinstance(space, Mapping) else enumerate(space)
        for several in product(*(list(grid(each, f"{name}.{key}")) for key, each in parts)):
            yield {key: value for each in several for key, value in each.items()}
    else:
        yield {}
