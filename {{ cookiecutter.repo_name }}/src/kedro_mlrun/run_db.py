"""MLRun's run database for a URL: the embedded store, or the client of an MLRun API."""

from typing import Any

from .api.keeping import KeepingRunDB
from .jobs import background
from .runs.manager import MLRunContextManager
from .store.db import LocalRunDB


def run_db(url: str, *args: Any, **kwargs: Any) -> Any:
    """Make the run database that `MLRUN_DBPATH` names."""
    if url.startswith(f"{LocalRunDB.kind}:"):
        return LocalRunDB(url, *args, jobs=background, **kwargs)
    return KeepingRunDB(lambda: MLRunContextManager().embedded_store, url, *args, **kwargs)
