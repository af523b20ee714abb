"""MLRun, imported when something of it is first used (law 7)."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import mlrun
else:
    from wrapt import lazy_import

    mlrun = lazy_import("mlrun")

__all__ = ["mlrun"]
