"""function.yaml as an MLRun function."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..runs.manager import MLRunContextManager
from .parameters import merge

if TYPE_CHECKING:
    import mlrun

FILE = "function.yaml"


class FunctionError(click.ClickException, ValueError):
    """function.yaml, or what mlrun.yml overrides of it, can't be used."""

    exit_code = 2


def on_cluster() -> bool:
    """Tell whether the run database is an MLRun API, whose jobs run in its cluster.

    Returns:
        False for the embedded store, whose jobs run here.
    """
    import mlrun

    return str(mlrun.mlconf.dbpath).startswith("http")


def load_function(
    folder: Path, overrides: Mapping[str, Any] | None = None
) -> mlrun.runtimes.KubejobRuntime:
    """Read the project's MLRun function.

    Args:
        folder: the project's folder.
        overrides: a part of the function's `spec`, in MLRun's names; it goes over what the file
            has, dict into dict.

    Returns:
        MLRun's function, in the MLRun project that runs are recorded in.

    Raises:
        FunctionError: the file is missing, is no function of kind job, or a name in it or in the
            overrides is none that MLRun knows.

    Example:
        ```python
        function = load_function(Path(), {"resources": {"limits": {"memory": "8Gi"}}})
        function.run(params={"pipeline": "training"}, watch=True)
        ```
    """
    import yaml

    file = folder / FILE
    try:
        struct = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise FunctionError(
            f"{file} can't be read ({' '.join(str(error).split())}). It is MLRun's function file; "
            "a new project of this starter has one."
        ) from None
    if not isinstance(struct, dict) or struct.get("kind") != "job":
        raise FunctionError(
            f"{file} is no MLRun function of kind 'job'. Write `kind: job` in it, as a new project "
            "of this starter has it."
        )
    project = MLRunContextManager().project.metadata.name
    import mlrun

    known = mlrun.runtimes.KubejobRuntime().spec._dict_fields
    _check("spec", struct.setdefault("spec", {}), known, file.name)
    _check("overrides", overrides or {}, known, "mlrun.yml")
    merge(struct["spec"], overrides or {})
    function = mlrun.new_function(runtime=struct)
    function.metadata.project = project
    return function


def _check(section: str, spec: Mapping[str, Any], known: list[str], file: str) -> None:
    for name in spec:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean '{nearest[0]}'?" if nearest else f"It knows {', '.join(known)}."
            raise FunctionError(
                f"'{name}' in `{section}` of {file} is nothing that MLRun knows of a job. {hint}"
            )
