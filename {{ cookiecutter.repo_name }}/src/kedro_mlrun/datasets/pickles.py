"""Pickles that can be read where the project's own classes can't be imported."""

import pickle
import sys
from pathlib import Path
from types import FunctionType
from typing import Any

import cloudpickle
from kedro.framework import project


def dump(data: Any, file: Path) -> None:
    """Pickle an object; the classes and functions of the project have their code with them."""
    package = sys.modules.get(project.PACKAGE_NAME or "")
    if package:
        cloudpickle.register_pickle_by_value(package)
    try:
        with file.open("wb") as stream:
            _Pickler(stream, protocol=pickle.HIGHEST_PROTOCOL).dump(data)
    finally:
        if package:
            cloudpickle.unregister_pickle_by_value(package)


class _Pickler(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        if obj is _imported:
            return pickle.loads, (cloudpickle.dumps(obj),)
        if isinstance(obj, type | FunctionType):
            if obj.__module__.partition(".")[0] == project.PACKAGE_NAME:
                return _imported, (obj.__module__, obj.__qualname__, cloudpickle.dumps(obj))
        return NotImplemented


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


_imported.__module__ = "__main__"  # whose functions cloudpickle takes with their code
