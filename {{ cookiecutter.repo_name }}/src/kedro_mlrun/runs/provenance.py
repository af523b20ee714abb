"""What is recorded of a Kedro run in MLRun: parameters, labels, configuration and sizes."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence, Set
from datetime import date, time
from enum import Enum
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..secrets.known import REDACTED, hide, hide_in, redacted
from ..store.process import process_label

LARGEST_VALUE = 64 * 1024
"""Bytes of JSON that a parameter may have in a run; a larger one is in the artifact only."""

LARGEST_PARAMETERS = 1024 * 1024
"""Bytes of JSON that all parameters of a run may have together."""

LONGEST_LABEL = 255
"""Characters that MLRun's database keeps of a label."""

OPTIONS = {
    "pipeline": "pipeline_names",
    "nodes": "node_names",
    "tags": "tags",
    "environment": "env",
    "runner": "runner",
    "load_versions": "load_versions",
    "from_nodes": "from_nodes",
    "to_nodes": "to_nodes",
    "from_inputs": "from_inputs",
    "to_outputs": "to_outputs",
    "namespaces": "namespaces",
    "only_missing_outputs": "only_missing_outputs",
    "params": "runtime_params",
}
"""The run's own options as MLRun parameters `kedro.<name>`, and where Kedro's hooks have them."""

# Never left out; not even the largest that they may be are too large together.
_OWN = frozenset(f"kedro.{name}" for name in [*OPTIONS, "command"])
_LARGEST_INTEGER = 2**63
_GIT_SECONDS = 2.0
_NOTE = 1024  # bytes that are enough to say what was left out
# Their shape, or even their length, is computed when one asks for it.
_LAZY = {"dask", "dask_expr", "ibis", "modin", "pyspark"}


def parameters(params: Any, run_params: Mapping[str, Any], command: str = "") -> dict[str, Any]:
    """Give the parameters of a run: Kedro's, flattened with dots, and the run's own options.

    Args:
        params: Kedro's parameters, typed ones among them.
        run_params: what Kedro's hooks are told of the run.
        command: how the run was started, see `secrets.command_line`.

    Returns:
        The values by name, without secrets. What JSON doesn't have is text. Options that weren't
        given are left out. Where one of Kedro's parameters is named like an option, the parameter's
        name has `params:` before it.

    Example:
        >>> parameters({"split": {"seed": 42, "columns": []}}, {"pipeline_names": ["training"]})
        {'split.seed': 42, 'split.columns': [], 'kedro.pipeline': 'training'}
    """
    options: dict[str, Any] = {}
    for name, key in OPTIONS.items():
        value = run_params.get(key)
        if key == "pipeline_names":
            value = ",".join(value or ["__default__"])
        elif key == "runner":
            value = runner_name(value)
        if value:
            options[name] = plain(value)
    if command:
        options["command"] = command
    own = {f"kedro.{name}": value for name, value in options.items()}
    flat = {
        f"params:{name}" if name in own else name: value
        for name, value in flatten(redacted(plain(params))).items()
    }
    return dict(hide_in({**flat, **redacted(own)}))


def runner_name(runner: Any) -> str:
    """Give a runner's class name, whatever Kedro tells of it.

    Args:
        runner: a name, the text of a runner object, or None.

    Returns:
        The name; empty where there is none.

    Example:
        >>> runner_name("<kedro.runner.thread_runner.ThreadRunner object at 0x7f>")
        'ThreadRunner'
    """
    if not runner or runner == "None":
        return ""
    found = re.match(r"<?(?:\w+\.)*(\w+)(?: object at .*)?>?$", str(runner))
    return found[1] if found else str(runner)


def plain(value: Any) -> Any:
    """Give a value as JSON and YAML have it.

    Args:
        value: any value; Pydantic models and dataclasses are taken for dicts.

    Returns:
        Dicts with text keys, lists, text, numbers, booleans and None. Numbers that JSON or MLRun's
        API don't have are text: NaN, infinity, and integers over 64 bits.

    Example:
        >>> plain({1: (Path("a"), float("nan"), date(2026, 1, 2))})
        {'1': ['a', 'NaN', '2026-01-02']}
    """
    if isinstance(value, Enum):
        return plain(value.value)
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value) if -_LARGEST_INTEGER <= value < _LARGEST_INTEGER else str(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else json.dumps(float(value))
    return _plain_object(value)


def _plain_object(value: Any) -> Any:
    if hasattr(value, "get_secret_value"):
        return REDACTED
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    if dataclasses.is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    elif hasattr(type(value), "model_fields"):
        value = {name: getattr(value, name) for name in type(value).model_fields}
    if isinstance(value, Mapping):
        return _numbered((str(plain(key)), plain(item)) for key, item in value.items())
    if isinstance(value, list | tuple | Set):
        items = [plain(item) for item in value]
        return sorted(items, key=json.dumps) if isinstance(value, Set) else items
    if isinstance(value, date | time):
        return value.isoformat()
    # NumPy's numbers and arrays have it.
    return plain(value.tolist()) if hasattr(value, "tolist") else str(value)


def flatten(values: Mapping[str, Any]) -> dict[str, Any]:
    """Give nested dicts as one, with dots in the names.

    Args:
        values: dicts in each other.

    Returns:
        Each value that is no dict, and each empty dict. Where keys that have dots themselves make
        two names the same, the later ones get a number: none is lost.

    Example:
        >>> flatten({"a": {"b": 1, "c": {}}, "a.b": 2})
        {'a.b': 1, 'a.c': {}, 'a.b (2)': 2}
    """

    def leaves(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
        if isinstance(value, Mapping) and value:
            for key, item in value.items():
                yield from leaves(f"{prefix}.{key}", item)
        else:
            yield prefix, value

    return _numbered(leaf for key, item in values.items() for leaf in leaves(str(key), item))


def _numbered(items: Iterator[tuple[str, Any]]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for name, value in items:
        number, free = 1, name
        while free in named:
            number += 1
            free = f"{name} ({number})"
        named[free] = value
    return named


def shortened(values: Mapping[str, Any], artifact: str = "parameters") -> dict[str, Any]:
    """Keep what is large out of a run's record, which is read whole with each list of runs.

    Args:
        values: a run's parameters by their flattened names.
        artifact: the key of the artifact that has them all.

    Returns:
        The same names and values, but a text that names the artifact for each value over
        `LARGEST_VALUE`, and for whole groups of values (all of `model.vocabulary`) until the rest
        has at most `LARGEST_PARAMETERS`. Where there are no groups to take, the last values go.

    Example:
        >>> shortened({"depth": 3, "text": "x" * 100_000})["text"]
        "98 KiB: see the artifact 'parameters'"
    """
    whole = f"see the artifact '{artifact}'"
    short, sizes = dict(values), {}
    for name, value in values.items():
        size = _json_size(value)
        if size > LARGEST_VALUE:
            short[name] = f"{_kib(size)}: {whole}"
            size = _json_size(short[name])
        sizes[name] = size + _json_size(name) + 4
    while (excess := sum(sizes.values()) - LARGEST_PARAMETERS) > 0:
        group = _group(sizes, excess)
        if group:
            names = [name for name in sizes if name.startswith(f"{group}.") and name not in _OWN]
            rest, note = group, f"{len(names)} values, "
        else:
            names = _last(sizes, excess)
            rest, note = "kedro.parameters", f"{len(names)} of {len(sizes)} values are left out, "
        note += f"{_kib(sum(sizes[name] for name in names))}: {whole}"
        for name in names:
            del short[name], sizes[name]
        while rest in short:  # a key with dots of its own
            rest += " (rest)"
        short[rest], sizes[rest] = note, _json_size(note) + _json_size(rest) + 4
    return short


def _json_size(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode(errors="replace"))


def _kib(size: int) -> str:
    return f"{math.ceil(size / 1024)} KiB"


def _group(sizes: Mapping[str, int], excess: int) -> str:
    """Find the smallest group of names that is large enough; or else the largest; or none."""
    groups: dict[str, list[int]] = {}
    for name, size in sizes.items():
        parts = name.split(".")
        if name in _OWN:
            continue
        for depth in range(1, len(parts)):
            group = groups.setdefault(".".join(parts[:depth]), [0, 0])
            group[0] += size
            group[1] += 1
    totals = {name: total for name, (total, count) in groups.items() if count > 1}
    enough = [name for name, total in totals.items() if total > excess + _NOTE]
    if enough:
        return min(enough, key=lambda name: (totals[name], -len(name)))
    largest = max(totals, key=lambda name: (totals[name], len(name)), default="")
    # Thousands of small groups are not taken one by one.
    return largest if totals.get(largest, 0) > excess / 20 else ""


def _last(sizes: Mapping[str, int], excess: int) -> list[str]:
    names = []
    for name in reversed([name for name in sizes if name not in _OWN]):
        if excess <= -_NOTE:
            break
        names.append(name)
        excess -= sizes[name]
    return names


def labels(run_params: Mapping[str, Any], project_path: str | Path) -> dict[str, str]:
    """Give the labels that a run is found by.

    Args:
        run_params: what Kedro's hooks are told of the run.
        project_path: the folder of the Kedro project.

    Returns:
        `pipeline`, `environment`, `session`, `kedro-version`, `mlrun-version`, `process`, and in
        a Git repository `git-commit` and `git-dirty` (untracked files count). A value that MLRun's
        database can't keep is cut, and says which parameter has it whole.
    """
    from kedro.framework.project import settings

    environment = run_params.get("env") or settings.CONFIG_LOADER_ARGS.get("default_run_env")
    values = {
        "pipeline": ",".join(run_params.get("pipeline_names") or ["__default__"]),
        "environment": environment or "",
        "session": run_params.get("run_id") or run_params.get("session_id") or "",
        "kedro-version": version("kedro"),
        "mlrun-version": version("mlrun"),
        "process": process_label(),
        **git_labels(project_path),
    }
    return {name: _label(name, hide(str(value))) for name, value in values.items() if value}


def _label(name: str, value: str) -> str:
    if len(value) <= LONGEST_LABEL:
        return value
    note = f"… (whole: parameter kedro.{name})" if name in OPTIONS else "…"
    return value[: LONGEST_LABEL - len(note)] + note


def git_labels(folder: str | Path) -> dict[str, str]:
    """Give the commit that a folder is at, and whether something differs from it.

    Args:
        folder: a folder, in a Git repository or not.

    Returns:
        `git-commit` and `git-dirty`; neither without Git, a repository or a commit, or where Git
        doesn't answer in two seconds; then the commit alone may be there.
    """
    commit = _git(folder, "rev-parse", "--verify", "--quiet", "HEAD")
    if not commit:
        return {}
    changes = _git(folder, "status", "--porcelain")
    dirty = {} if changes is None else {"git-dirty": str(bool(changes)).lower()}
    return {"git-commit": commit.strip(), **dirty}


def _git(folder: str | Path, *arguments: str) -> str | None:
    program = shutil.which("git")
    if not program:
        return None
    # Those that a Git hook sets name another repository.
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    # Looking at a repository writes nothing to it, and starts no program that it names.
    env |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(  # noqa: S603
            [program, "-c", "core.fsmonitor=false", "-C", str(folder), *arguments],
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_GIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return None if done.returncode else done.stdout


def config_yaml(values: Mapping[str, Any]) -> str:
    """Write parameters or a catalog as YAML, for a person to read.

    Args:
        values: the configuration; typed parameters are taken for dicts, other objects for text.

    Returns:
        The YAML without secrets. What is at the top is sorted, so that two runs can be compared.

    Example:
        >>> print(config_yaml({"split": {"seed": 42}, "db": {"password": "hunter2"}}), end="")
        db:
          password: '*****'
        split:
          seed: 42
    """
    import yaml

    class Dumper(yaml.SafeDumper):  # type: ignore[misc]
        def ignore_aliases(self, data: Any) -> bool:
            return True

        def increase_indent(self, flow: bool = False, indentless: bool = False) -> Any:
            return super().increase_indent(flow, False)

    def represent_text(dumper: Any, text: str) -> Any:
        style = "|" if "\n" in text else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    Dumper.add_representer(str, represent_text)
    shown = hide_in(redacted(plain(values)))
    return str(
        yaml.dump(
            dict(sorted(shown.items())),
            Dumper=Dumper,
            sort_keys=False,
            allow_unicode=True,
            default_flow_style=False,
            width=100,
        )
    )


def size_of(dataset: Any, data: Any) -> dict[str, int]:
    """Give the size of what was loaded or saved, as far as that costs nothing.

    Args:
        dataset: the Kedro dataset; None where there is none.
        data: the data.

    Returns:
        `rows` and `columns` of frames and arrays, `rows` of lists, dicts and sets, and `bytes` of
        the dataset's file on this machine; each only where there is one. Nothing is computed for
        it: a Spark frame has columns only.

    Example:
        >>> size_of(None, ["a", "b"])
        {'rows': 2}
    """
    return {**_shape(data), **_file_size(dataset)}


def _shape(data: Any) -> dict[str, int]:
    lazy = type(data).__module__.partition(".")[0] in _LAZY
    try:
        shape = () if lazy else getattr(data, "shape", ())
        if isinstance(shape, Sequence) and shape and all(isinstance(size, int) for size in shape):
            names = ("rows", "columns") if len(shape) <= len(("rows", "columns")) else ("rows",)
            return {name: int(size) for name, size in zip(names, shape, strict=False)}
        if lazy:
            return {"columns": len(data.columns)}
        if isinstance(data, Sequence | Mapping | Set) and not isinstance(data, str | bytes):
            return {"rows": len(data)}
    except Exception:
        # Somebody else's class; that it has no size is no reason to fail a run.
        return {}
    return {}


def file_of(dataset: Any) -> Path | None:
    """Give the file of a dataset on this machine.

    Args:
        dataset: a Kedro dataset.

    Returns:
        The file that it would load now; None where it has none, or none here.

    Example:
        >>> file_of(None) is None
        True
    """
    # Kedro has no public way to a dataset's file; these are what its own documentation has
    # datasets name them, and what kedro-viz reads.
    path = getattr(dataset, "_filepath", None)
    if path is None or getattr(dataset, "_protocol", "file") not in {"file", "local"}:
        return None
    try:
        if getattr(dataset, "_version", None):
            path = dataset._get_load_path()
        return Path(str(path)) if Path(str(path)).is_file() else None
    except Exception:
        # Somebody else's class; that its file isn't found is no reason to fail a run.
        return None


def _file_size(dataset: Any) -> dict[str, int]:
    file = file_of(dataset)
    return {"bytes": file.stat().st_size} if file else {}
