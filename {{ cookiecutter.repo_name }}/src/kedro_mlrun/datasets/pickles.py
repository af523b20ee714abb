"""Pickles that can be read where the project's own classes can't be imported."""

import logging
import pickle
import sys
from pathlib import Path
from threading import RLock
from types import FunctionType
from typing import Any

import cloudpickle
from kedro.framework import project

from ..secrets.known import has_secret

# What cloudpickle takes with its code is known to the whole process.
_registry = RLock()


def dump(data: Any, file: Path) -> None:
    """Pickle an object; the classes and functions of the project have their code with them.

    With the code go the globals and constants that it uses, of all of the project's modules. If a
    known secret is among them, or one that a name of the project or the environment tells, the code
    stays here. A secret that goes by another name isn't noticed.
    """
    with file.open("wb") as stream:
        _Pickler(stream, protocol=pickle.HIGHEST_PROTOCOL).dump(data)


class _Pickler(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        if obj is _imported:
            return pickle.loads, (cloudpickle.dumps(obj),)
        if isinstance(obj, type | FunctionType):
            package = str(obj.__module__).partition(".")[0]
            if package == project.PACKAGE_NAME:
                with _registry:
                    code = _code(obj, package)
                if code:
                    return _imported, (obj.__module__, obj.__qualname__, code)
        return NotImplemented


def _code(obj: Any, package: str) -> bytes | None:
    """Give the code of a class or function, with the globals that it needs; None if it can't go."""
    modules = [m for name, m in [*sys.modules.items()] if f"{name}.".startswith(f"{package}.")]
    names = [vars(module) for module in modules]
    classes = [found for each in names for found in each.values() if isinstance(found, type)]
    # The user may have registered it, too.
    ours = {package} - cloudpickle.list_registry_pickle_by_value()
    for name in ours:
        cloudpickle.register_pickle_by_value(sys.modules[name])
    try:
        pickle.dumps(obj)  # which refuses what would come back by its name as something else
        code: bytes = cloudpickle.dumps(obj)
        if has_secret(code, *names, *map(vars, classes)):
            raise pickle.PicklingError("there is a secret in it")
    except Exception as error:
        message = "The code of %s isn't kept with the model, which is read with the project: %s"
        logging.getLogger(__name__).info(message, obj, error)
        return None
    finally:
        for name in ours:
            cloudpickle.unregister_pickle_by_value(sys.modules[name])
    return code


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
