"""MLRun, imported when something of it is first used (law 7), and IPython, where it is in use."""

import os
import shutil
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import mlrun
else:
    from wrapt import lazy_import

    mlrun = lazy_import("mlrun")

# Else GitPython, which MLRun imports, makes an error of it, and containers often have no git.
if not shutil.which("git"):
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")

__all__ = ["ipython", "mlrun"]


def ipython() -> Any:
    """Give the notebook or shell that this process is, or None."""
    return getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
