"""Scalar results, such as metrics, as results of an MLRun run."""

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain, count
from typing import Any

import numpy as np
from kedro.io import DatasetError, Version

from ..runs.manager import MLRunContextManager
from ..store.errors import is_not_found, not_found
from ..store.fields import LONG_AGO, leaves
from ..store.store import Store
from .abstract import MLRunAbstractDataset, whole_id

# How annotations begin that tell where each flattened result stood in the nested dict.
PATHS = "kedro-mlrun.result."
# JSON has no such numbers, and MLRun's API gives null for them. The texts are json.dumps's.
NOT_FINITE = ("NaN", "Infinity", "-Infinity")
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

    def _log(self, context: Any, value: Any) -> None:
        flat = self._flatten and isinstance(value, dict)
        found = [*leaves(value)] if flat else [([], value)]
        entries = {
            key.removeprefix(PATHS): json.loads(text)
            for key, text in context.annotations.items()
            if key.startswith(PATHS)
        }
        entries[self.key] = [["", path] for path, _ in found]
        named = _names({key: [path for _, path in places] for key, places in entries.items()})
        results, moved = context._results, dict[str, Any]()
        for key, places in entries.items():
            for (before, _), name in zip(places, named[key], strict=True):
                if before not in {"", name} and before in results:
                    moved[name] = results.pop(before)
            text = json.dumps([[n, path] for n, (_, path) in zip(named[key], places, strict=True)])
            context.set_annotation(PATHS + key, text)
        results.update(moved)
        # One call for all, and right away: a job's own context would wait for the end of the run.
        own = {name: leaf for name, (_, leaf) in zip(named[self.key], found, strict=True)}
        context.log_results(own, **{"commit": True, **self._save_args})

    def _find(self) -> Any:
        """Find the value itself, for results have no record of their own."""
        for run in self._runs():
            results = run["status"].get("results") or {}
            text = (run["metadata"].get("annotations") or {}).get(PATHS + self.key)
            if text or self.key in results:
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


def _names(paths: dict[str, list[list[str]]]) -> dict[str, list[str]]:
    """Give the results' names of all entries, by each entry's paths in its nested dict.

    Where two entries have a name, both get another one, whichever was saved first.
    """
    named: dict[str, list[str]] = {}
    for key, own in paths.items():
        namespace, inner = key.rpartition(".")[0], [*map(".".join, own)]
        named[key] = [
            f"{namespace}.{name}" if namespace and name else name or key for name in inner
        ]
    of_entries = Counter(name for names in named.values() for name in set(names))
    for key, names in named.items():
        named[key] = [
            f"{key}.{name}" if path and of_entries[name] > 1 else name
            for name, path in zip(names, paths[key], strict=True)
        ]
    for name, number in Counter(chain.from_iterable(named.values())).items():
        if number > 1:
            raise DatasetError(f"two values would both be the result '{name}'; rename one")
    return named


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
