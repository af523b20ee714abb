"""Tests of the project, on real stores in temporary folders; no server is needed."""

from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

from kedro.framework.startup import ProjectMetadata, bootstrap_project

PROJECT = Path(__file__).parents[1]


@cache
def metadata() -> ProjectMetadata:
    """Give what pyproject.toml says of the project, among it the package's name."""
    return bootstrap_project(PROJECT)


def project_module(name: str) -> ModuleType:
    """Import a module of the project, whatever the project's package is called."""
    return import_module(f"{metadata().package_name}.{name}")
