"""Kedro runs as MLRun runs: datasets for the catalog, hooks for the settings, `kedro mlrun …`.

The names below are imported when they are used, so that `import kedro_mlrun` is quick. Importing it
also lets `MLRUN_DBPATH=sqlite:///PATH` choose the embedded store, everywhere in MLRun.
"""

from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

import wrapt

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


@wrapt.when_imported("mlrun.datastore.filestore")
def _write_utf8(filestore: ModuleType) -> None:
    def put(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
        key, data, *others = args
        return wrapped(key, data.encode() if isinstance(data, str) else data, *others, **kwargs)

    # MLRun writes text in the encoding of the locale, which need not have the characters.
    wrapt.wrap_function_wrapper(filestore, "FileStore.put", put)


@wrapt.when_imported("mlrun.db.factory")
def _register_run_db(factory: ModuleType) -> None:
    from dependency_injector import providers

    # When it is needed, for it imports MLRun.
    run_db = wrapt.lazy_import(f"{__name__}.run_db", "run_db", interface=Callable)
    # The way in that MLRun's own server uses for its database. MLRun has no public one.
    factory.RunDBFactory()._rundb_container.run_db.override(providers.Factory(run_db))


@wrapt.when_imported("mlrun.artifacts.base")
def _keep_runs_apart(base: ModuleType) -> None:
    # MLRun's own place for what a run logs has the run's name and no id, so the next run of that
    # name would overwrite it: a sweep's summary, for example. MLRun has no public way to say so.
    @wrapt.patch_function_wrapper(base, "generate_target_path")
    def in_own_folder(generate: Any, _of: Any, given: Any, _named: Any) -> str:
        from .runs.open_runs import own_place

        item, path, producer = given
        return str(generate(item, own_place(path, producer), producer))
