"""function.yaml as an MLRun function."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click
import yaml
from mergedeep import merge  # type: ignore[import-untyped]

from ..lazy import mlrun, mlrun_loaded
from ..text import nearest
from .parameters import JobError

FILE = "function.yaml"
# What MLRun takes in `spec` of function.yaml for certain: what the starter's has.
FIELDS: dict[str, Any] = {
    **dict.fromkeys(["image", "default_handler", "workdir", "service_account"], str),
    **dict.fromkeys(["build", "resources", "node_selector", "image_pull_secret"], dict),
    **dict.fromkeys(["tolerations", "volumes", "volume_mounts", "env"], list),
}
# MLRun makes others such names, or refuses them.
PLAIN_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class SubmitError(click.ClickException):
    """A job can't be started."""


def on_cluster() -> bool:
    """Tell whether the run database is an MLRun API, whose jobs run on its cluster."""
    # An API is reached by MLRun alone, so that without it there is none.
    loaded = mlrun_loaded()
    return loaded is not None and str(loaded.mlconf.dbpath).startswith("http")


def load_function(folder: Path) -> "mlrun.runtimes.KubejobRuntime":
    """Make MLRun's function of what `read_function` reads."""
    function = mlrun.new_function(runtime=read_function(folder))
    function.metadata.project = mlrun.mlconf.active_project
    return function


def read_function(folder: Path, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Read the project's function, which overrides of its `spec` go over, dict into dict."""
    file, fix = folder / FILE, "To write a new one: kedro mlrun init."
    try:
        struct = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise JobError(f"{file} can't be read ({' '.join(str(error).split())}). {fix}") from None
    if not isinstance(struct, dict) or struct.get("kind") != "job":
        raise JobError(f"{file} is not an MLRun function of kind 'job'. {fix}")
    struct["metadata"] = {"name": "kedro", **(struct.get("metadata") or {})}
    spec = struct["spec"] = struct.get("spec") or {}
    overrides = overrides or {}
    for name in sorted({**spec, **overrides}.keys() - FIELDS.keys()):
        if name not in (known := mlrun.runtimes.KubejobRuntime().spec._dict_fields):
            where = "`overrides` of mlrun.yml" if name in overrides else "`spec` of function.yaml"
            hint = nearest(name, known) or f"It knows {', '.join(known)}."
            raise JobError(
                f"'{name}' in {where} is not a field that MLRun knows of a job. {hint.strip()}"
            )
    merge(spec, overrides)
    return struct


def is_plain(function: Mapping[str, Any]) -> bool:
    """Tell whether a function that was read is one for certain that MLRun takes as it is."""
    spec, name = function["spec"], function["metadata"].get("name")
    fields = ((FIELDS.get(name, ()), value) for name, value in spec.items())
    is_known = all(value is None or isinstance(value, kind) for kind, value in fields)
    return is_known and PLAIN_NAME.fullmatch(str(name)) is not None


def on_volume(mounts: Iterable[Mapping[str, Any]] | None, path: str) -> bool:
    """Tell whether a path is on one of a function's volumes; files there outlive a job."""
    folders = (mount.get("mountPath") for mount in mounts or ())
    return any(folder and Path(path).is_relative_to(folder) for folder in folders)
