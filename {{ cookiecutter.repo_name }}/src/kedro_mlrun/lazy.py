"""Modules that are imported when something of them is first used (law 7), as MLRun is."""

import os
import shutil
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import mlrun


class Lazy:
    """A module that is imported when something of it is first used."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self._name), name)


if not TYPE_CHECKING:
    mlrun = Lazy("mlrun")

# Else GitPython, which MLRun imports, makes an error of it, and containers often have no git.
if not shutil.which("git"):
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")

__all__ = ["Lazy", "ipython", "mlrun", "mlrun_loaded"]


def mlrun_loaded() -> Any:
    """Give MLRun if it is imported, to its end; another thread may be about to do that."""
    module = sys.modules.get("mlrun")
    # As Python's own import system tells it; there is no public way.
    return None if getattr(getattr(module, "__spec__", None), "_initializing", False) else module


def ipython() -> Any:
    """Give the notebook or shell that this process is, or None."""
    return getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
