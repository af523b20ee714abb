"""function.yaml as an MLRun function."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import yaml
from mergedeep import merge  # type: ignore[import-untyped]

from ..lazy import mlrun
from ..text import nearest
from .parameters import JobError

FILE = "function.yaml"


class SubmitError(click.ClickException):
    """A job can't be started."""


def on_cluster() -> bool:
    """Tell whether the run database is an MLRun API, whose jobs run on its cluster."""
    return str(mlrun.mlconf.dbpath).startswith("http")


def load_function(
    folder: Path, overrides: Mapping[str, Any] | None = None
) -> "mlrun.runtimes.KubejobRuntime":
    """Read the project's function, which overrides of its `spec` go over, dict into dict."""
    file, fix = folder / FILE, "To write a new one: kedro mlrun init."
    try:
        struct = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise JobError(f"{file} can't be read ({' '.join(str(error).split())}). {fix}") from None
    if not isinstance(struct, dict) or struct.get("kind") != "job":
        raise JobError(f"{file} is not an MLRun function of kind 'job'. {fix}")
    known = mlrun.runtimes.KubejobRuntime().spec._dict_fields
    spec = struct.setdefault("spec", {})
    overrides = overrides or {}
    for name in [*spec, *overrides]:
        if name not in known:
            where = "`overrides` of mlrun.yml" if name in overrides else "`spec` of function.yaml"
            hint = nearest(name, known) or f"It knows {', '.join(known)}."
            raise JobError(
                f"'{name}' in {where} is not a field that MLRun knows of a job. {hint.strip()}"
            )
    merge(spec, overrides)
    function = mlrun.new_function(runtime=struct)
    function.metadata.project = mlrun.mlconf.active_project
    return function


def on_volume(function: "mlrun.runtimes.KubejobRuntime", path: str) -> bool:
    """Tell whether a path is on a volume that a function's jobs have; files there outlive a job."""
    mounts = (mount.get("mountPath") for mount in function.spec.volume_mounts or [])
    return any(mount and Path(path).is_relative_to(mount) for mount in mounts)
