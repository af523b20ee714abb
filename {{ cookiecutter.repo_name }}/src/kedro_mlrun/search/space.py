"""What a parameter may be: ranges and choices, which may have others inside."""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import yaml

from ..store.fields import leaves

if TYPE_CHECKING:
    from optuna.trial import Trial

FORMS = "int(2, 12), float(0, 1), log(0.001, 10) or choice(gini, entropy)"
_FORM = re.compile(r"\s*(\w+)\s*\((.*)\)\s*", re.DOTALL)
_EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")  # which YAML takes for a text

Params = dict[str, Any]  # what a trial was given, by the names of ranges and choices


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, in steps or, with `log`, evenly by their size."""

    low: Any
    high: Any
    step: Any = None
    log: bool = False

    def suggest(self, trial: "Trial", name: str) -> Any:
        """Let Optuna choose a number."""
        if isinstance(self.low, int):
            return trial.suggest_int(name, self.low, self.high, step=self.step or 1)
        return trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log)

    def points(self) -> Iterator[Any]:
        """Give all of its numbers, of which one without steps has no end."""
        step = self.step or (1 if isinstance(self.low, int) else math.inf)
        if step == math.inf:
            raise ValueError("a grid needs steps, as in float(0, 1, 0.25), or a choice")
        count = math.floor((self.high - self.low) / step + 1e-9) + 1
        # The sum of floats may be a little more than the last one.
        yield from (min(self.low + number * step, self.high) for number in range(count))


@dataclass(frozen=True)
class Choice:
    """One of several values, each by the label that tells it from the others."""

    options: Mapping[Any, Any]

    def suggest(self, trial: "Trial", name: str) -> Any:
        """Let Optuna choose a label."""
        return trial.suggest_categorical(name, self.points())

    def points(self) -> list[Any]:
        """Give all of its labels."""
        return list(self.options)


def space_of(value: Any) -> Any:
    """Read a range, a choice, or a dict that has some inside; anything else is a value itself."""
    if isinstance(value, str) and (found := _FORM.fullmatch(value)):
        return _read(*found.groups())
    if isinstance(value, Mapping) and value.keys() == {"choice"}:
        return _choice(value["choice"])
    if isinstance(value, Mapping):
        return {str(name): space_of(inner) for name, inner in value.items()}
    return value


def _read(kind: str, inner: str) -> Any:
    written = f"'{kind}({inner})'"
    if kind not in {"int", "float", "log", "choice"}:
        raise ValueError(f"{written} is no range: write {FORMS}")
    try:
        values = yaml.safe_load(f"[{inner}]")
        if kind == "choice":
            values = [str(v) if isinstance(v, date) else v for v in values]  # as --params has them
            return _choice([float(v) if _EXPONENT.fullmatch(str(v)) else v for v in values])
        # As texts, for `int` would cut 2.5.
        low, high, *step = ((int if kind == "int" else float)(str(value)) for value in values)
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{written} can't be read ({error}): write {FORMS}") from None
    if not low < high or (kind == "log" and (low <= 0 or step)):
        raise ValueError(f"{written} needs a low and a higher number, and those of log more than 0")
    if step and not 0 < step[0] <= high - low:
        raise ValueError(f"{written} needs a step that fits between")
    if step:  # to where the steps lead, or else Optuna says so each time
        first, last, by = (Decimal(str(value)) for value in (low, high, *step))
        high = type(high)(last - (last - first) % by)
    return Range(low, high, step[0] if step else None, kind == "log")


def _choice(values: Any) -> Choice:
    if not isinstance(values, list) or len(values) < 2:  # noqa: PLR2004
        raise ValueError("a choice needs two values or more")
    options = dict[Any, Any]()
    for number, value in enumerate(values, 1):
        label = value
        if isinstance(value, Mapping | list):
            # The first text inside, which of an estimator is its class.
            inside = leaves(value) if isinstance(value, Mapping) else []
            texts = (leaf for _, leaf in inside if isinstance(leaf, str))
            label = next(texts, str(number)).rpartition(".")[2]
        # True is 1 for a dict.
        options[f"{label} ({number})" if label in options else label] = space_of(value)
    return Choice(options)


def filled(space: Any, name: str, ask: Callable[[str, Range | Choice], Any]) -> Any:
    """Give one value of a space: what `ask` says for each range and choice that comes to it."""
    if isinstance(space, Range):
        return ask(name, space)
    if isinstance(space, Choice):
        label = ask(name, space)
        # With the label, for two options may have a range of the same name.
        return filled(space.options[label], f"{name}[{label}]", ask)
    if isinstance(space, Mapping):
        return {key: filled(each, f"{name}.{key}", ask) for key, each in space.items()}
    return space


def grid(space: Any, name: str) -> Iterator[Params]:
    """Give all that a trial can be given of a space."""
    if isinstance(space, Range):
        yield from ({name: point} for point in space.points())
    elif isinstance(space, Choice):
        for label, option in space.options.items():
            yield from ({name: label, **inside} for inside in grid(option, f"{name}[{label}]"))
    elif isinstance(space, Mapping) and space:
        (key, first), *others = space.items()
        for some in grid(first, f"{name}.{key}" if name else key):
            yield from ({**some, **more} for more in grid(dict(others), name))
    else:
        yield {}
