"""MLRun's interface as a store takes it: arguments and pages, and all that needs an MLRun API."""

import json
from collections.abc import Callable
from functools import cache, partialmethod, wraps
from inspect import isfunction, signature
from typing import Any, cast

import mlrun
from mlrun.db import RunDBInterface
from mlrun.db.httpdb import HTTPRunDB
from mlrun.utils import dict_to_json

from .rows import Record, Rows

_signature = cache(signature)  # a store's methods are called often, and Python reads each anew


def active(project: str | None) -> str:
    """Give a project's name, that of the active one where there is none."""
    return cast(str, project or mlrun.mlconf.active_project or "default")


def as_dict(value: Any) -> Record:
    """Copy one of MLRun's objects, or a dict, as a dict of JSON's types alone."""
    to_dict = getattr(value, "to_dict", None) or getattr(value, "dict", None)
    return cast(Record, json.loads(dict_to_json(to_dict() if to_dict else value)))


def as_mlrun(method: Callable[..., Any]) -> Any:
    """Let a method take the arguments of MLRun's client; those that it doesn't have, it refuses."""

    @wraps(getattr(HTTPRunDB, method.__name__.lstrip("_")))
    def call(self: Rows, *args: Any, **kwargs: Any) -> Any:
        return method(self, **_given(self, method, args, kwargs))

    call.__doc__ = method.__doc__
    return call


def _given(self: Rows, method: Callable[..., Any], args: Any, kwargs: Record) -> Record:
    """Give the arguments that aren't MLRun's defaults by their names, and always a project."""
    name = method.__name__.lstrip("_")
    theirs, own = _signature(getattr(HTTPRunDB, name)), _signature(method).parameters
    given = dict(theirs.bind(self, *args, **kwargs).arguments)
    for argument, value in [*given.items()][1:]:
        # How long to wait for an answer is no question here.
        if argument == "timeout" or value in (None, theirs.parameters[argument].default):
            del given[argument]
        # Lists refuse by themselves what isn't one of their filters.
        elif argument not in own and "query" not in own:
            raise self.needs_api(f"'{argument}' of '{name}'")
    if "project" in theirs.parameters:
        given["project"] = active(given.get("project"))
    del given["self"]
    return given


def pages(find: Callable[..., Any]) -> Any:
    """Make a method that gives a page of a list, and the next one's token or None."""

    @wraps(getattr(HTTPRunDB, f"paginated_{find.__name__.lstrip('_')}"))
    def list_page(self: Rows, *args: Any, **kwargs: Any) -> tuple[list[Record], str | None]:
        page, size, token = (kwargs.pop(name, None) for name in ("page", "page_size", "page_token"))
        # The token is the query, for no server keeps it.
        size = size or mlrun.mlconf.httpdb.pagination.default_page_size
        first = [_given(self, find, args, kwargs), 1, size]
        query, following, size = json.loads(token) if token else first
        page = page or following
        # One more than a page holds tells whether there is a next one.
        found = find(self, **query, limit=size + 1, offset=(page - 1) * size)
        if len(found) <= size:
            return found, None
        return type(found)(found[:size]), json.dumps([query, page + 1, size], default=str)

    return list_page


def _refuse(self: Rows, name: str, /, *_args: Any, **_kwargs: Any) -> Any:
    raise self.needs_api(f"'{name}'")


# Every public method of MLRun's clients, refusing; those that are supported override it.
# Made from the installed MLRun's own list, so that a method of a later release refuses as well.
ApiOnly = type(
    "ApiOnly",
    (RunDBInterface,),
    {
        name: partialmethod(_refuse, name)
        for client in (RunDBInterface, HTTPRunDB)
        for name, member in vars(client).items()
        if isfunction(member) and not name.startswith("_")
    },
)
