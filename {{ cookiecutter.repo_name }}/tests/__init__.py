"""Tests of the project. They make their own data, and need no server."""

from importlib import import_module
from pathlib import Path
from types import ModuleType

from kedro.framework.startup import bootstrap_project

PROJECT = Path(__file__).parents[1]
PACKAGE = bootstrap_project(PROJECT).package_name


def project_module(name: str) -> ModuleType:
    """Import a module of the project's package."""
    return import_module(f"{PACKAGE}.{name}")
