"""Scalar results, such as metrics, as results of an MLRun run."""

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, count
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import numpy as np
from kedro.io import DatasetError, Version

from ..runs.manager import MLRunContextManager
from ..store.context import RunContext
from ..store.errors import is_not_found, not_found
from ..store.fields import LONG_AGO, NOT_FINITE, PATHS, leaves
from ..store.store import Store
from .abstract import MLRunAbstractDataset
from .versions import whole_id

PAGE = 50  # runs that are looked at in one go
LONGEST_INTEGER = 2**63 - 1


class MLRunResult(MLRunAbstractDataset):
    """A number, a text, or a list or dict of them, as results of the run.

    Results belong to a run and have no versions of their own: loading gives those of the run that
    is going on, and otherwise those of the newest run that has them, in a chain of that chain,
    unless no pipeline of the chain makes them.

    Args:
        key: the result's name. With `flatten` the names are those of the dict's values, and the key
            only tells this dataset's results from others'.
        flatten: keep each value of a nested dict as a result of its own, named by its path:
            `{"train": {"accuracy": 0.9}}` is the result `train.accuracy`, and with the key
            `a_namespace.metrics` it is `a_namespace.train.accuracy`. Loading gives back the nested
            dict.
        load_args: which run's: `uid` (the run's), `tree` (the workflow's id), `iter` and `project`.
        save_args: further arguments of MLRun's `log_results`: `commit`.
        version: as for `MLRunAbstractDataset`, but never a tag.
        metadata: anything, for other tools.

    Example:
        ```yaml
        training_metrics:
          type: kedro_mlrun.MLRunResult
          flatten: true
        ```

        ```python
        dataset = MLRunResult(key="metrics", flatten=True)
        dataset.save({"accuracy": 0.95, "loss": 0.05})
        assert dataset.load() == {"accuracy": 0.95, "loss": 0.05}
        ```
    """

    KIND = ""
    LOAD_ARGS = ("uid", "tree", "iter", "project")

    def __init__(
        self,
        key: str | None = None,
        flatten: bool = False,
        load_args: dict[str, Any] | None = None,
        save_args: dict[str, Any] | None = None,
        version: Version | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(key, load_args, save_args, version, metadata)
        self._flatten = flatten
        self._check_names(self._save_args, ["commit"], "save_args")

    @contextmanager
    def _written(self, context: Any, data: Any) -> Iterator[Callable[[], Any]]:
        value = _plain(data, self.key)
        yield lambda: self._log(context, value)

    def named(self, data: Any) -> dict[str, Any]:
        """Give the results that `data` are, by the names that they have if no other has them."""
        found = self._leaves(_plain(data, self.key))
        names = _short_names(self.key, [path for path, _ in found])
        return dict(zip(names, (leaf for _, leaf in found), strict=True))

    @property
    def known_name(self) -> str | None:
        """The result's name; None where it depends on the data."""
        return None if self._flatten else self.key

    def _leaves(self, value: Any) -> list[tuple[list[Any], Any]]:
        flat = self._flatten and isinstance(value, dict)
        return [*leaves(value)] if flat else [([], value)]

    def _log(self, context: Any, value: Any) -> None:
        found = self._leaves(value)
        entries, results, moved = _Entries.of(context), context._results, dict[str, Any]()
        for key, before, places in entries.add(self.key, [path for path, _ in found]):
            if key != self.key:
                for (name, _), (new, _) in zip(before, places, strict=True):
                    if new != name and name in results:
                        moved[new] = results.pop(name)
            context.set_annotation(PATHS + key, json.dumps(places))
        results.update(moved)
        entries.read = len(_annotations(context))
        own = zip(entries.places[self.key], found, strict=True)
        # One call for all, and right away: a job's own context would wait for the end of the run.
        context.log_results(
            {name: leaf for (name, _), (_, leaf) in own}, **{"commit": True, **self._save_args}
        )

    def _find(self) -> Any:
        """Find the value itself, for results have no record of their own."""
        for run in self._runs():
            results = run["status"].get("results") or {}
            text = (run["metadata"].get("annotations") or {}).get(PATHS + self.key)
            if text or self.key in results:
                current = MLRunContextManager().current_of(self.run_id)
                uid = run["metadata"]["uid"]
                self.origin = "" if current and current._uid == uid else uid
                # What was logged without this dataset has no annotation.
                return _nested(json.loads(text) if text else [[self.key, []]], results)
        where = f" in chain {chain}" if (chain := self._chain()) else ""
        raise not_found(f"no run{where} has such a result")

    def _read(self, artifact: Any) -> Any:
        return artifact

    def _runs(self) -> Iterator[dict[str, Any]]:
        """Give the runs to look at, in the order to look at them."""
        args, manager = self._load_args, MLRunContextManager()
        db = manager.store
        project = args.get("project") or manager.project_name
        uid, iteration = args.get("uid") or self._load_version, args.get("iter")
        current = manager.current_of(self.run_id)
        if current and not args and not uid:
            yield current.to_dict()
        tree = args.get("tree") or self._chain()
        uid = whole_id(uid, project) if uid else ""
        one = [db.read_run(uid, project, iter=iteration or 0)] if uid else None
        for run in one or _newest_runs(db, project, tree, iteration is not None):
            if iteration in {None, run["metadata"].get("iteration")}:
                yield run
                if best := (run["status"].get("results") or {}).get("best_iteration"):
                    # MLRun gives a sweep its best iteration's results, but not their annotations.
                    yield db.read_run(run["metadata"]["uid"], project, iter=best)


class _Entries:
    """What a run's annotations say of its results, which are read once and not at each save."""

    of_contexts: ClassVar[WeakKeyDictionary[Any, "_Entries"]] = WeakKeyDictionary()

    def __init__(self, annotations: Mapping[str, str]) -> None:
        self.read = len(annotations)
        # The results of each entry, each with its name and its path in the nested dict.
        self.places: dict[str, list[Any]] = {}
        self.holders: dict[str, str] = {}  # of each result's name, the entry
        self.wanted: dict[str, set[str]] = {}  # of each name, the entries that have it in common
        for key, text in annotations.items():
            if key.startswith(PATHS):
                self._set(key.removeprefix(PATHS), json.loads(text))
        for key, places in self.places.items():
            for name in _short_names(key, [path for _, path in places]):
                self.wanted.setdefault(name, set()).add(key)

    @classmethod
    def of(cls, context: Any) -> "_Entries":
        """Give those of a context's run; read again, if others have added to it."""
        found = cls.of_contexts.get(context)
        if found is None or found.read != len(_annotations(context)):
            found = cls.of_contexts[context] = cls(_annotations(context))
        return found

    def _set(self, key: str, places: list[Any]) -> None:
        self.places[key] = places
        self.holders.update((name, key) for name, _ in places)

    def add(self, key: str, paths: list[list[str]]) -> list[tuple[str, list[Any], list[Any]]]:
        """Add an entry by its paths; give what it changes, itself too: before, and from now on.

        Where two entries have a name, both get another one, whichever was saved first.
        """
        earlier = _short_names(key, [path for _, path in self.places.get(key, [])])
        names = {*_short_names(key, paths)} ^ {*earlier}
        wanted = {name: self.wanted.get(name, set()) ^ {key} for name in names}
        others = {other for entries in wanted.values() for other in entries} - {key}
        of_entries = {other: [path for _, path in self.places[other]] for other in sorted(others)}
        of_entries[key] = paths
        changed = {}
        for entry, own in of_entries.items():
            short = _short_names(entry, own)
            shared = [len(wanted.get(name, self.wanted.get(name, ()))) > 1 for name in short]
            changed[entry] = [
                [f"{entry}.{name}" if path and is_shared else name, path]
                for name, is_shared, path in zip(short, shared, own, strict=True)
            ]
        for name, number in Counter(name for new in changed.values() for name, _ in new).items():
            if number > 1 or self.holders.get(name, key) not in changed:
                raise DatasetError(f"two values would both be the result '{name}'; rename one")
        before = {entry: self.places.get(entry, []) for entry in changed}
        for name, _ in chain.from_iterable(before.values()):
            del self.holders[name]
        for entry, new in changed.items():
            self._set(entry, new)
        self.wanted |= wanted
        return [(entry, before[entry], new) for entry, new in changed.items()]


def _annotations(context: Any) -> Mapping[str, str]:
    # MLRun's property copies all of them at each look.
    of_mlrun = not isinstance(context, RunContext)
    found: Mapping[str, str] = context._annotations if of_mlrun else context.annotations
    return found


def _short_names(key: str, paths: list[list[str]]) -> list[str]:
    """Give the names of an entry's results if no other entry had them."""
    namespace, inner = key.rpartition(".")[0], map(".".join, paths)
    return [f"{namespace}.{name}" if namespace and name else name or key for name in inner]


def _newest_runs(db: Any, project: str, tree: str, iterations: bool) -> Iterator[dict[str, Any]]:
    if tree:
        # The tree of a run that is in no workflow is the run's own id.
        try:
            yield db.read_run(tree, project)
        except Exception as error:
            if not is_not_found(error):
                raise
    label = f"workflow={tree}" if tree else None
    page: dict[str, Any] = {"project": project, "labels": label, "iter": iterations}
    if isinstance(db, Store):
        for offset in count(0, PAGE):
            found = db.find_runs(**page, limit=PAGE, offset=offset)
            yield from found
            if len(found) < PAGE:
                return
    page |= {"start_time_from": LONG_AGO, "page_size": PAGE}
    while page:
        runs, token = db.paginated_list_runs(**page)
        yield from runs
        page = {"page_token": token} if token else {}


def _plain(value: Any, where: str) -> Any:
    """Turn NumPy's numbers into Python's, and refuse what would not come back as it is."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, dict) and all(type(key) is str for key in value):
        return {key: _plain(item, f"{where}.{key}") for key, item in value.items()}
    if type(value) is list:
        return [_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if type(value) is float and not math.isfinite(value):
        return json.dumps(value)
    if isinstance(value, dict):
        problem = f"has keys that are no text: {list(value)}; name results by text"
    elif type(value) is str and value in NOT_FINITE:
        problem = f"is the text '{value}', which stands for the number; rename it"
    elif type(value) is int and abs(value) > LONGEST_INTEGER:
        problem = "has more than 64 bits; save it as text or as a float"
    elif value is None or type(value) in {str, int, float, bool}:
        return value
    else:
        problem = (
            f"is a {type(value).__name__}, and a result is a number, a text, a list or a dict of "
            "them; convert it, or use MLRunAbstractDataset"
        )
    raise DatasetError(f"{where} {problem}")


def _nested(named_paths: list[list[Any]], results: dict[str, Any]) -> Any:
    value: Any = {}
    for name, path in named_paths:
        inner = value
        for key in path[:-1]:
            inner = inner.setdefault(key, {})
        if path:
            inner[path[-1]] = results[name]
        else:
            value = results[name]
    # A text that stands for a number becomes one: JSON as Python reads it has such numbers.
    return json.loads(re.sub(r'"(NaN|-?Infinity)"(?!:)', r"\1", json.dumps(value)))
