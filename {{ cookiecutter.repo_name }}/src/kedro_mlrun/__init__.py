"""Kedro runs as MLRun runs: datasets for the catalog, hooks for the settings, `kedro mlrun …`.

The names below are imported when they are used, so that `import kedro_mlrun` is quick. Importing it
also lets `MLRUN_DBPATH=sqlite:///PATH` choose the embedded store, everywhere in MLRun.
"""

import sys
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .datasets import (
        MLRunAbstractDataset,
        MLRunArtifactDataset,
        MLRunDataframeDataset,
        MLRunMetricHistory,
        MLRunModel,
        MLRunResult,
    )
    from .hooks import MLRunHooks
    from .runs.manager import MLRunContextManager

__version__ = "0.2.0"

__all__ = [
    "MLRunAbstractDataset",
    "MLRunArtifactDataset",
    "MLRunContextManager",
    "MLRunDataframeDataset",
    "MLRunHooks",
    "MLRunMetricHistory",
    "MLRunModel",
    "MLRunResult",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    rooms = {"MLRunHooks": "hooks", "MLRunContextManager": "runs.manager"}
    return getattr(import_module(f"{__name__}.{rooms.get(name, 'datasets')}"), name)


def __dir__() -> list[str]:
    return __all__


class _BeforeMLRun(MetaPathFinder):
    def find_spec(self, name: str, *_: Any) -> ModuleSpec | None:
        """Patch MLRun when it is imported, by whomever; nothing is imported for that before."""
        if name != "mlrun":
            return None
        sys.meta_path.remove(self)
        import_module(f"{__name__}.patches")
        # From the finder that the patches have put before this one.
        return find_spec(name)


if "mlrun" in sys.modules:
    import_module(f"{__name__}.patches")
else:
    sys.meta_path.insert(0, _BeforeMLRun())
