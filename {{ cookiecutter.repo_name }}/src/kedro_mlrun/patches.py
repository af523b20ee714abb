"""What is changed in MLRun, as soon as it is imported, where it has no public way to be told."""

import sys
from types import ModuleType
from typing import Any

import wrapt


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

    def run_db(*args: Any, **kwargs: Any) -> Any:
        # When it is needed, for MLRun isn't imported to its end yet.
        from .run_db import run_db

        return run_db(*args, **kwargs)

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


@wrapt.when_imported("mlrun")
def _share_open_runs(_mlrun: ModuleType) -> None:
    # A node that imports MLRun may ask it for its context, and that is the run's own.
    if manager := sys.modules.get(f"{__package__}.runs.manager"):
        manager.MLRunContextManager().share_runs()
