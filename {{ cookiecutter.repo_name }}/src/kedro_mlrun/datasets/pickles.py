"""Pickles that can be read where the project's own classes can't be imported."""

import pickle
import sys
from pathlib import Path
from types import FunctionType
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
from kedro.framework import project


def dump(data: Any, file: Path) -> None:
    """Pickle an object; the classes and functions of the project have their code with them."""
    with file.open("wb") as stream:
        _Pickler(stream, protocol=pickle.HIGHEST_PROTOCOL).dump(data)


class _Pickler(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        if obj is _imported:
            return pickle.loads, (_with_code(obj),)
        package = (getattr(obj, "__module__", None) or "").partition(".")[0]
        if not isinstance(obj, type | FunctionType) or package != project.PACKAGE_NAME:
            return NotImplemented
        return _imported, (obj.__module__, obj.__qualname__, _with_code(obj))


def _with_code(obj: Any) -> bytes:
    """Pickle a class or a function with its code, and what of its package it uses."""
    module = sys.modules[obj.__module__]
    package = module if obj is _imported else sys.modules[obj.__module__.partition(".")[0]]
    cloudpickle.register_pickle_by_value(package)
    try:
        return bytes(cloudpickle.dumps(obj))
    finally:
        cloudpickle.unregister_pickle_by_value(package)


def _imported(module: str, name: str, code: bytes) -> Any:
    """Import a class, so that what is loaded is one of the project's, or make it of its code."""
    # Here, for where this is called there is no module of it.
    from importlib import import_module
    from operator import attrgetter
    from pickle import loads

    try:
        return attrgetter(name)(import_module(module))
    except (ImportError, AttributeError):
        return loads(code)  # noqa: S301
