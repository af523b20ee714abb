"""Where a run is recorded: an MLRun API, or the embedded store on this machine.

Importing this package lets `MLRUN_DBPATH=sqlite:///PATH` choose the embedded store, everywhere in
MLRun. That takes effect when MLRun's database factory is imported, so that nothing here imports
MLRun before something is recorded or read: `kedro --help` stays quick.
"""

from types import ModuleType
from typing import Any

import wrapt

from .config import MLRunConfig
from .context import MLRunContextManager

__all__ = ["MLRunConfig", "MLRunContextManager"]


@wrapt.when_imported("mlrun.db.factory")
def _register_embedded_store(factory: ModuleType) -> None:
    from dependency_injector import providers

    def run_db(url: str, *args: Any, **kwargs: Any) -> Any:
        from . import api
        from .local_db import LocalRunDB, is_local_url

        if is_local_url(url):
            return LocalRunDB(url, *args, **kwargs)
        return api.run_db(lambda: MLRunContextManager().embedded_store, url, *args, **kwargs)

    # The way in that MLRun's own server uses for its database. MLRun has no public one.
    factory.RunDBFactory()._rundb_container.run_db.override(providers.Factory(run_db))
