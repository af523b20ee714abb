"""Pickles that can be read where the project's own classes can't be imported."""

import copyreg
import hashlib
import io
import logging
import pickle
import sys
from pathlib import Path
from threading import RLock
from types import CodeType, FunctionType
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import cloudpickle
from kedro.framework import project

from ..secrets.known import has_secret

# What cloudpickle takes with its code is known to the whole process.
_registry = RLock()


# What each class, or type variable, that goes with its code is called in pickles.
_IDS: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
_SETS = {set, frozenset}
_CONTAINERS = {dict, list, tuple} | _SETS


def dump(data: Any, file: Path) -> None:
    """Pickle an object; the classes and functions of the project have their code with them.

    With the code go the globals and constants that it uses, of all of the project's modules. If a
    known secret is among them, or one that a name of the project or the environment tells, the code
    stays here. A secret that goes by another name isn't noticed.
    """
    with file.open("wb") as stream:
        _Pickler(stream, protocol=pickle.HIGHEST_PROTOCOL).dump(data)


class _Pickler(pickle.Pickler):
    def dump(self, obj: Any) -> None:
        self.made = dict[int, Any]()
        super().dump(_ordered(obj, self.made))

    def reducer_override(self, obj: Any) -> Any:
        if obj is _imported:
            return pickle.loads, (_with_code(obj),)
        if isinstance(obj, type | FunctionType):
            package = str(obj.__module__).partition(".")[0]
            if package == project.PACKAGE_NAME:
                with _registry:
                    code = _code(obj, package)
                if code:
                    return _imported, (obj.__module__, obj.__qualname__, code)
            return NotImplemented
        return _in_order(_with_names(obj), self.made)


class _Set(tuple[Any, ...]):
    """A set, as its type and items, that is written in an order which isn't this process's own."""

    def __reduce__(self) -> Any:
        return self[0], (sorted(self[1], key=repr),)  # a new list, for it may hold this very set


def _ordered(value: Any, made: dict[int, Any]) -> Any:
    """Give data with a `_Set` for each set in them; `made` are those of the same pickle."""
    kind = type(value)
    if kind not in _CONTAINERS or id(value) in made:
        return made.get(id(value), [value])[0]
    if kind in _SETS:
        new: Any = _Set((kind, value))
    elif not _CONTAINERS & {*map(type, value.values() if kind is dict else value)}:
        return value
    elif kind is tuple:
        new = tuple(_ordered(each, made) for each in value)
    else:
        # Before what it holds, for that may hold it; with the data, for then their id stays theirs.
        new = kind()
        made[id(value)] = new, value
        if kind is dict:
            new.update((name, _ordered(each, made)) for name, each in value.items())
        else:
            new.extend(_ordered(each, made) for each in value)
    return made.setdefault(id(value), (new, value))[0]


def _in_order(reduced: Any, made: dict[int, Any]) -> Any:
    """Do the same in what an object is reduced to."""
    if type(reduced) is tuple:
        first, rest = _ordered(reduced[:3], made), (part or () for part in reduced[3:5])
        return *first, *((_ordered(each, made) for each in part) for part in rest), *reduced[5:]
    return reduced  # a name


def _with_names(obj: Any) -> Any:
    """Reduce an object to the same bytes, whichever of its equal names are the same object.

    That depends on the class's other objects, for their dicts share keys.
    """
    reduce: Any = type(obj).__reduce_ex__
    if reduce is not object.__reduce_ex__ or type(obj) in copyreg.dispatch_table:
        return NotImplemented
    made = obj.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
    if not isinstance(made, tuple) or len(made) < 3 or type(made[2]) is not dict:  # noqa: PLR2004
        return made
    state = {sys.intern(n) if type(n) is str else n: value for n, value in made[2].items()}
    return *made[:2], state, *made[3:]


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
        code = _with_code(obj)
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


def _with_code(obj: Any) -> bytes:
    # Each class once in a process, as cloudpickle does: they may be many that refer to each other.
    for each in _CodePickler.dumped(obj, known=False).classes:
        if each not in _IDS:
            code = _CodePickler.dumped((each.__module__, each), known=False).stream.getvalue()
            _IDS[each] = hashlib.sha1(code).hexdigest()  # noqa: S324
    return _CodePickler.dumped(obj, known=True).stream.getvalue()


class _CodePickler(cloudpickle.Pickler):  # type: ignore[misc]
    """cloudpickle's own, but the same code gives the same bytes wherever it lies."""

    @classmethod
    def dumped(cls, obj: Any, known: bool) -> "_CodePickler":
        stream = io.BytesIO()
        pickler = cls(stream)
        pickler.stream, pickler.classes, pickler.known = stream, list[Any](), known
        pickler.made = dict[int, Any]()
        pickler.dump(obj)
        return pickler

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, CodeType):
            obj = obj.replace(co_filename=_place(obj.co_filename))
        reduced = super().reducer_override(obj)
        if reduced is NotImplemented and not isinstance(obj, type | FunctionType):
            reduced = self.dispatch_table.get(type(obj), _with_names)(obj)
        if type(reduced) is not tuple:
            return reduced  # what is imported by its name
        function, args, *rest = reduced
        if isinstance(obj, FunctionType):
            places = {n: _place(args[1][n]) for n in args[1].keys() & {"__file__"}}
            places |= {n: [*map(_place, args[1][n])] for n in args[1].keys() & {"__path__"}}
            args[1].update(places)
        is_variable = isinstance(obj, TypeVar) and function is not getattr
        if is_variable or (isinstance(obj, type) and rest):  # not a built-in type
            # By its id a process knows it again, in other pickles, too. cloudpickle's is random.
            self.classes.append(obj)
            place = len(args) - (1 if is_variable else 2)
            args = *args[:place], _IDS[obj] if self.known else None, *args[place + 1 :]
        return _in_order((function, args, *rest), self.made)


def _place(file: str) -> str:
    """Give the path of a module's file from where Python looks for it, which may be anywhere."""
    path = Path(file)
    found = (path.relative_to(place) for place in sys.path if place and path.is_relative_to(place))
    return min((each.as_posix() for each in found), key=len, default=file)


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
