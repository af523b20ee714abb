"""function.yaml as an MLRun function."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import click
import yaml
from mergedeep import merge  # type: ignore[import-untyped]
from pydantic import BaseModel, BeforeValidator, Field, TypeAdapter, ValidationError

from ..lazy import mlrun, mlrun_loaded
from ..text import nearest
from .parameters import JobError

FILE = "function.yaml"
Function: TypeAlias = "mlrun.runtimes.KubejobRuntime"
# MLRun makes others such names, or refuses them.
PLAIN_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class _Named(BaseModel):
    name: str
    value: str | None = None  # of a variable
    mountPath: str | None = None


class _Build(BaseModel):
    requirements: list[str] | None = None
    commands: list[str] | None = None


_Part = Literal["requests", "limits"]
_Resource = Annotated[str, Field(pattern="^(cpu|memory|ephemeral-storage|hugepages-.+|.+/.+)$")]
_QUANTITY = r"^(\d+\.?\d*|\.\d+)([numkMGTPE]|[KMGTPE]i|[eE][-+]?\d+)?$"
_Quantity = Annotated[str, BeforeValidator(str), Field(pattern=_QUANTITY)]
# What MLRun takes in `spec` of function.yaml for certain: what the starter's has; with examples.
FIELDS: dict[str, tuple[Any, str]] = {
    "image": (str, "mlrun/mlrun"),
    "default_handler": (str, "kedro_mlrun.jobs.handler.run"),
    "workdir": (str, "src"),
    "service_account": (str, "name"),
    "image_pull_secret": (str, "registry"),
    "build": (_Build, "{requirements: [lightgbm]}"),
    "resources": (dict[_Part, dict[_Resource, _Quantity]], "{limits: {memory: 8Gi}}"),
    "node_selector": (dict[str, str], '{gpu: "true"}'),
    "tolerations": (list[dict[str, Any]], "[{key: gpu, operator: Exists}]"),
    "volumes": (list[_Named], "[{name: data, emptyDir: {}}]"),
    "volume_mounts": (list[_Named], "[{name: data, mountPath: /data}]"),
    "env": (list[_Named], '[{name: THREADS, value: "1"}]'),
}
_METADATA = {"name": (str, "kedro"), "tag": (str, "v2"), "labels": (dict[str, Any], "{team: a}")}


class SubmitError(click.ClickException):
    """A job can't be started."""


def on_cluster() -> bool:
    """Tell whether the run database is an MLRun API, whose jobs run on its cluster."""
    # An API is reached by MLRun alone, so that without it there is none.
    loaded = mlrun_loaded()
    return loaded is not None and str(loaded.mlconf.dbpath).startswith("http")


def load_function(folder: Path) -> Function:
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
    parts = struct if isinstance(struct, dict) else {}
    are_dicts = all(isinstance(parts.get(part) or {}, dict) for part in ("metadata", "spec"))
    if parts.get("kind") != "job" or not are_dicts:
        raise JobError(f"{file} is not an MLRun function of kind 'job'. {fix}")
    struct["metadata"] = {"name": "kedro", **(struct.get("metadata") or {})}
    named = {name: struct["metadata"].get(name) for name in _METADATA}
    check_spec(named, f"`metadata` of {FILE}", _METADATA)
    spec = struct["spec"] = struct.get("spec") or {}
    check_spec(spec, f"`spec` of {FILE}")
    merge(spec, overrides or {})
    return struct


def check_spec(spec: Mapping[str, Any], where: str, fields: Any = FIELDS) -> None:
    """Refuse fields that MLRun doesn't know of a job, and values that Kubernetes doesn't take."""
    for name, value in spec.items():
        if name in fields:
            kind, example = fields[name]
            try:
                TypeAdapter(kind | None).validate_python(value)
            except ValidationError as error:
                wrong = error.errors()[0]
                path = ".".join(map(str, (name, *wrong["loc"]))).removesuffix(".[key]")
                # A variable's may be a secret.
                what = "what it is now" if name == "env" else repr(wrong["input"])
                raise JobError(
                    f"'{path}' in {where} can't be {what}. Write it like {name}: {example}"
                ) from None
        elif name not in (known := mlrun.runtimes.KubejobRuntime().spec._dict_fields):
            hint = nearest(str(name), known) or f"It knows {', '.join(known)}."
            raise JobError(
                f"'{name}' in {where} is not a field that MLRun knows of a job. {hint.strip()}"
            )


def is_plain(function: Mapping[str, Any]) -> bool:
    """Tell whether a function that was read is one for certain that MLRun takes as it is."""
    name = PLAIN_NAME.fullmatch(str(function["metadata"].get("name")))
    return function["spec"].keys() <= FIELDS.keys() and name is not None


def on_volume(mounts: Iterable[Mapping[str, Any]] | None, path: str) -> bool:
    """Tell whether a path is on one of a function's volumes; files there outlive a job."""
    folders = (mount.get("mountPath") for mount in mounts or ())
    return any(folder and Path(path).is_relative_to(folder) for folder in folders)
