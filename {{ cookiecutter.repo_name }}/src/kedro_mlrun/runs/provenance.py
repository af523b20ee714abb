"""What is recorded of a Kedro run in MLRun: parameters, graph, labels, sizes and origins."""

import hashlib
import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from functools import cache, partial
from importlib.metadata import version
from inspect import isroutine
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

from kedro.io.core import is_parameter
from kedro.pipeline import Pipeline
from pydantic_core import to_jsonable_python

from .. import __version__
from ..secrets.known import hide, hide_in
from ..store.fields import flatten
from .dataset import innermost, run_dataset

LARGEST_VALUE = 64 * 1024  # bytes of JSON in a run's record, which is read with each list of runs
DEFAULT = "__default__"  # Kedro's name of the pipeline that runs where none is named
LONGEST_NAME = 63  # characters of a run's name, in MLRun
LONGEST_LABEL = 255  # characters, in MLRun's database
_SAME = "tags runner load_versions from_nodes to_nodes from_inputs to_outputs namespaces".split()
OPTIONS = {"pipeline": "pipeline_names", "nodes": "node_names", "environment": "env"}
OPTIONS |= {name: name for name in [*_SAME, "only_missing_outputs"]} | {"params": "runtime_params"}
"""The run's own options as MLRun parameters `kedro.<name>`, and where Kedro's hooks have them."""

_GIT_SECONDS = 2.0
_OF_GIT_HOOKS = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR"}
# Their shape, or even their length, is computed when one asks for it.
_LAZY = {"dask", "dask_expr", "ibis", "modin", "pyspark"}


def taken(feed: Mapping[str, Any], pipeline: Pipeline) -> dict[str, Any]:
    """Give the parameters that the nodes of a pipeline take, by names with dots."""
    names = {name for name in pipeline.inputs() if is_parameter(name)}
    if "parameters" in names:
        return dict(feed["parameters"])
    return {name.removeprefix("params:"): feed[name] for name in sorted(names & feed.keys())}


def parameters(params: Any, run_params: Mapping[str, Any], command: str = "") -> dict[str, Any]:
    """Give the parameters of a run without secrets: Kedro's, with dots, and its own options."""
    given = {name: run_params.get(key) for name, key in OPTIONS.items()}
    given["pipeline"] = ",".join(given["pipeline"] or [DEFAULT])
    # A name, or what the text of an object begins with: `<kedro.runner.SequentialRunner object at`.
    runner = str(given["runner"] or "").partition(" object at ")[0].rpartition(".")[2]
    # "None" where none is given, and Kedro takes this one.
    given |= {"runner": "SequentialRunner" if runner == "None" else runner, "command": command}
    own = {f"kedro.{name}": plain(value) for name, value in given.items() if value}
    return dict(hide_in({**flatten(hide_in(plain(params))), **own}))


def in_order(names: Sequence[str], pipeline: Pipeline) -> list[str]:
    """Order pipelines as they run, for Kedro's command gives several in a random order."""
    from kedro.framework.project import pipelines

    place = {node: index for index, node in enumerate(pipeline.nodes)}

    def begins(name: str) -> tuple[int, str]:
        nodes = pipelines[name].nodes
        return min((place[node] for node in nodes if node in place), default=len(place)), name

    return sorted(names, key=begins) if len(names) > 1 else [*names]


def ran(names: Sequence[str] | None, pipeline: Pipeline) -> list[str]:
    """Name the pipelines that run: for `__default__`, the registered ones that make it up.

    `__default__` stays where they don't have all of its nodes, or too long a name together.
    """
    from kedro.framework.project import pipelines

    if names and [*names] != [DEFAULT]:
        return [*names]
    nodes, own = pipeline.nodes, {*pipelines.get(DEFAULT, pipeline).nodes}
    parts = {name: {*part.nodes} for name, part in pipelines.items() if name != DEFAULT}
    found, rest = dict[str, int](), {*nodes}
    # The smaller ones first, for some may be registered together by another name, too.
    for name in sorted(parts, key=lambda name: len(parts[name])):
        if parts[name] <= own and (new := parts[name] & rest):
            found[name] = min(map(nodes.index, new))
            rest -= new
    parted = [name for name in found if not any(parts[name] < parts[other] for other in found)]
    parted.sort(key=found.__getitem__)
    return [DEFAULT] if rest or len("-".join(parted)) > LONGEST_NAME else parted or [DEFAULT]


def plain(value: Any) -> Any:
    """Give a value as JSON has it; NaN, infinity and integers over 64 bits become text."""
    jsonable = to_jsonable_python(value, fallback=_of_unknown_type, bytes_mode="base64")
    return json.loads(json.dumps(jsonable), parse_int=_integer, parse_constant=str)


def _integer(digits: str) -> int | str:
    return int(digits) if -(2**63) <= int(digits) < 2**63 else digits


def _of_unknown_type(value: Any) -> Any:
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, Mapping):
        return dict(value)
    # NumPy's numbers and arrays have it.
    return plain(value.tolist()) if hasattr(value, "tolist") else str(value)


def shortened(values: Mapping[str, Any], artifact: str = "parameters") -> dict[str, Any]:
    """Leave what is large among a run's parameters to an artifact that has them all."""
    short = dict(values)
    for name, value in values.items():
        size = len(json.dumps(value, ensure_ascii=False).encode(errors="replace"))
        if size > LARGEST_VALUE:
            short[name] = f"{math.ceil(size / 1024)} KiB: see the artifact '{artifact}'"
    return short


def config_yaml(values: Mapping[str, Any], folder: str | Path = "") -> str:
    """Write parameters or a catalog as YAML, without secrets, sorted so that runs compare.

    Paths in a folder, the project's own, are those from there.
    """
    import yaml

    class Dumper(yaml.SafeDumper):  # type: ignore[misc]
        def represent_scalar(self, tag: str, value: str, style: str | None = None) -> Any:
            return super().represent_scalar(tag, value, "|" if "\n" in value else style)

    ordered = dict(sorted(hide_in(_from(f"{folder}/", values)).items()))
    return str(yaml.dump(ordered, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=100))


def _from(folder: str, value: Any) -> Any:
    """Copy what YAML has as it is, also keys and numbers that JSON lacks; paths from a folder."""
    if isinstance(value, dict):
        return {name: _from(folder, each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_from(folder, each) for each in value]
    if type(value) is str and len(folder) > 1:
        return value.removeprefix(folder)
    return value if type(value) in {str, bool, int, float} else plain(value)


def graph(pipeline: Pipeline) -> dict[str, Any]:
    """Give the nodes of a pipeline, in an order in which they can run, and what connects them."""
    nodes = [
        {
            "name": node.name,
            "function": _of_unknown_type(node.func),
            "namespace": node.namespace or "",
            "tags": sorted(node.tags),
            "inputs": list(node.inputs),
            "outputs": list(node.outputs),
        }
        for node in pipeline.nodes
    ]
    # What follows an @ is Kedro's transcoding: the same data by another name.
    edges = [
        {"node": node["name"], "dataset": name, "direction": direction}
        for node in nodes
        for direction in ("input", "output")
        for name in dict.fromkeys(name.partition("@")[0] for name in node[f"{direction}s"])
    ]
    return {
        "nodes": nodes,
        "datasets": list(dict.fromkeys(edge["dataset"] for edge in edges)),
        "edges": edges,
        "namespaces": sorted({node["namespace"] for node in nodes} - {""}),
        "tags": sorted({tag for node in nodes for tag in node["tags"]}),
    }


def labels(run_params: Mapping[str, Any], project_path: str | Path) -> dict[str, str]:
    """Give the labels that a run is found by; a value that MLRun's database can't keep is cut."""
    from kedro.framework.project import settings

    environment = run_params.get("env") or settings.CONFIG_LOADER_ARGS.get("default_run_env")
    values = {
        "pipeline": ",".join(run_params.get("pipeline_names") or [DEFAULT]),
        "environment": environment or "",
        "session": run_params.get("run_id") or run_params.get("session_id") or "",
        "kedro-version": version("kedro"),
        "mlrun-version": version("mlrun"),
        "kedro_mlrun": __version__,
        **git_labels(project_path),
    }
    shown = {name: hide(str(value)) for name, value in values.items() if value}
    cut = LONGEST_LABEL - 1
    return {name: f"{text[:cut]}…" if text[cut + 1 :] else text for name, text in shown.items()}


def git_labels(folder: str | Path) -> dict[str, str]:
    """Give `git-commit` and `git-dirty` (untracked files count), as far as Git answers at once."""
    with suppress(OSError, subprocess.SubprocessError):
        head = git(folder, "rev-parse", "--verify", "--quiet", "HEAD", seconds=_GIT_SECONDS)
        changes = git(folder, "status", "--porcelain", seconds=_GIT_SECONDS)
        if head.stdout and not changes.returncode:
            dirty = str(bool(changes.stdout)).lower()
            return {"git-commit": head.stdout.strip(), "git-dirty": dirty}
    return {}


def git(
    folder: str | Path, *arguments: str, seconds: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run git in a folder; it asks nothing, and a look at a repository writes nothing to it."""
    # The variables that a Git hook sets name another repository.
    env = {name: value for name, value in os.environ.items() if name not in _OF_GIT_HOOKS}
    env |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    env.setdefault("GIT_SSH_COMMAND", "ssh -o BatchMode=yes")
    return subprocess.run(  # noqa: S603
        # Nor does it start a program that the repository names.
        ["git", "-c", "core.fsmonitor=false", *arguments],  # noqa: S607
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        timeout=seconds,
        check=False,
    )


def size_of(dataset: Any, data: Any) -> dict[str, int]:
    """Give rows and columns of data, and the bytes of its file here, where that costs nothing."""
    file, sizes = file_of(dataset), dict[str, int]()
    with suppress(Exception):  # of somebody else's class, which has no size then
        if type(data).__module__.partition(".")[0] in _LAZY:
            sizes = {"columns": len(data.columns)}
        elif shape := getattr(data, "shape", ()):
            names = ("rows", "columns") if len(shape) <= 2 else ("rows",)  # noqa: PLR2004
            sizes = {name: int(size) for name, size in zip(names, shape, strict=False)}
        elif isinstance(data, Sequence | Mapping | Set) and not isinstance(data, str | bytes):
            sizes = {"rows": len(data)}
    return sizes | ({"bytes": file.stat().st_size} if file else {})


def stand_in(data: Any) -> str:
    """Name what only leads to data, as the load functions of partitions do; "" for data."""
    if isinstance(data, Mapping | list | tuple | Set):
        items = data.values() if isinstance(data, Mapping) else data
        # The first few tell what the others are, of which there may be millions.
        return next(filter(None, map(stand_in, islice(items, 3))), "")
    kind = type(data)
    is_lazy = kind.__module__.partition(".")[0] in _LAZY or kind.__name__ == "LazyFrame"
    leads = is_lazy or isroutine(data) or isinstance(data, partial | Iterator)
    return f"a {kind.__module__}.{kind.__qualname__}" if leads else ""


def file_of(dataset: Any) -> Path | None:
    """Give the file on this machine that a dataset would load now, or None."""
    # Kedro has no public way to a dataset's file; these are what its own documentation has
    # datasets name them, and what kedro-viz reads.
    path = getattr(dataset, "_filepath", None)
    if path is None or getattr(dataset, "_protocol", "file") not in {"file", "local"}:
        return None
    with suppress(Exception):  # of somebody else's class, which is no reason to fail a run
        if getattr(dataset, "_version", None):
            path = dataset._get_load_path()
        if Path(str(path)).is_file():
            return Path(str(path))
    return None


def origin_of(dataset: Any) -> Any:
    """Tell where data are: a `RunDataset`'s origin, or a path and, of a file here, its SHA-1."""
    if found := run_dataset(dataset):
        return found.origin
    inner = innermost(dataset)
    with suppress(Exception):  # of somebody else's class, and of a file that is gone
        if file := file_of(inner):
            return [file.as_posix(), file_hash(file)]
        path = getattr(inner, "_filepath", getattr(inner, "_path", None))
        if getattr(inner, "_protocol", "file") in {"file", "local"} and path is not None:
            return [str(path), ""]
        # Not in a folder of this machine.
        kind = f"{getattr(inner, '_protocol', type(inner).__name__)}://{path or ''}"
        return None if inner._EPHEMERAL else [kind, ""]
    return None


def file_hash(file: Path) -> str:
    """Give the SHA-1 of a file, which isn't read again as long as it doesn't change."""
    stat = file.stat()
    return _hash(file, stat.st_size, stat.st_mtime_ns)


@cache
def _hash(file: Path, _size: int, _time: int) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha1").hexdigest()


def made_of(steps: Iterable[Mapping[str, Any]], folder: str | Path) -> dict[str, Any]:
    """Tell what a run has loaded and from where, the files that it has saved, and its packages.

    Paths in the project's folder are those from there. Packages are those that are imported.
    """
    found: dict[str, dict[str, Any]] = {"load": {}, "save": {}}
    for step in steps:
        if origin := step.get("origin"):
            name, origin = step["dataset"].partition("@")[0], _from(f"{folder}/", origin)
            found[step["action"]][name] = hide_in(origin)  # a URL may hold a password
    loaded = {name: found["load"][name] for name in found["load"].keys() - found["save"].keys()}
    modules = [(n, m) for n, m in [*sys.modules.items()] if type(m) is ModuleType and "." not in n]
    versions = {name: vars(module).get("__version__") for name, module in modules}
    versions["python"] = platform.python_version()
    told = versions.keys() - sys.stdlib_module_names
    packages = {name: versions[name] for name in told if isinstance(versions[name], str)}
    return {"loaded": loaded, "saved": found["save"], "packages": packages}
