"""What is changed in MLRun, as soon as it is imported, where it has no public way to be told."""

import logging
import re
import sys
from copy import copy
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
    made = factory.RunDBFactory()
    made._rundb_container.run_db.override(providers.Factory(run_db))
    said = [made._run_db] if isinstance(made._run_db, factory.mlrun.db.nopdb.NopDB) else []

    def is_new(record: logging.LogRecord) -> bool:
        # With each call MLRun says twice that there is no database. A job's handler finds one.
        if not (is_second := str(record.msg).startswith("MLRUN_DBPATH is misconfigured")):
            return not str(record.msg).startswith("Could not detect path to API server")
        said.append(is_second)
        return len(said) == 1

    logging.getLogger("mlrun").addFilter(is_new)


@wrapt.when_imported("mlrun.artifacts.base")
def _keep_runs_apart(base: ModuleType) -> None:
    # MLRun's own place for what a run logs has the run's name and no id, so the next run of that
    # name would overwrite it: a sweep's summary, for example. MLRun has no public way to say so.
    @wrapt.patch_function_wrapper(base, "generate_target_path")
    def in_own_folder(generate: Any, _of: Any, given: Any, _named: Any) -> str:
        from .runs.open_runs import own_place

        item, path, producer = given
        return str(generate(item, own_place(path, producer), producer))


@wrapt.when_imported("mlrun.runtimes.generators")
def _sweep_as_asked(generators: ModuleType) -> None:
    @wrapt.patch_function_wrapper(generators, "ListGenerator.__init__")
    def of_own_types(init: Any, _of: Any, given: Any, named: Any) -> None:
        table, *others = given
        # Of a row of integers and others pandas makes floats, and no estimator takes 2.0 trees.
        init(table.astype(object), *others, **named)

    @wrapt.patch_function_wrapper(generators, "TaskGenerator.eval_stop_condition")
    def with_dots(evaluate: Any, generator: Any, given: Any, _named: Any) -> bool:
        # MLRun takes it for Python, where a result's name with dots is none.
        names = {name: re.sub(r"\W", "_", name) for name in sorted(given[0], key=len, reverse=True)}
        told = generator.options
        generator.options, plain = copy(told), str(told.stop_condition or "")
        for name, other in names.items():
            plain = re.sub(rf"(?<![\w.]){re.escape(name)}(?![\w.])", other, plain)
        generator.options.stop_condition = plain
        try:
            return bool(evaluate({names[name]: value for name, value in given[0].items()}))
        except NameError as error:
            # An iteration that failed has no results. The sweep would never end.
            what = "The stop condition '%s' isn't met: %s. The sweep goes on."
            logging.getLogger(__name__).warning(what, told.stop_condition, error)
            return False
        finally:
            generator.options = told


@wrapt.when_imported("mlrun.launcher.local")
def _end_what_fails(local: ModuleType) -> None:
    @wrapt.patch_function_wrapper(local, "ClientLocalLauncher._execute")
    def ended(execute: Any, _of: Any, given: Any, named: Any) -> Any:
        try:
            return execute(*given, **named)
        except Exception as error:
            # MLRun would leave the run as it is, as if it went on: that of `parallel_runs` for
            # example, where Dask isn't installed.
            runtime, run = (named.get(name) for name in ("runtime", "run"))
            is_recorded = type(error).__name__ == "RunError"  # of the function itself
            if runtime and run and run.metadata.uid and not is_recorded:
                runtime._update_run_state(task=run, err=f"{type(error).__name__}: {error}")
            raise


@wrapt.when_imported("mlrun.runtimes.utils")
def _sum_up(utils: ModuleType) -> None:
    @wrapt.patch_function_wrapper(utils, "results_to_iter")
    def shown(end: Any, _of: Any, given: Any, named: Any) -> Any:
        results, run, context = given
        if not run or not str(run.spec.handler).startswith(f"{__package__}."):
            return end(*given, **named)
        from .jobs.sweeps import note_selector, print_sweep

        if selector := run.spec.hyper_param_options.selector:
            note_selector(context, selector)
        summed_up = end(*given, **named)
        print_sweep(context.to_dict(), results)
        return summed_up

    @wrapt.patch_function_wrapper(utils, "gen_pcp_plot")
    def as_text(draw: Any, _of: Any, given: Any, named: Any) -> Any:
        table, *others = given
        # A parameter that is a list can't be drawn, and then nothing would be.
        drawn = table.map(lambda value: str(value) if isinstance(value, list | dict) else value)
        return draw(drawn, *others, **named)


@wrapt.when_imported("mlrun")
def _share_open_runs(_mlrun: ModuleType) -> None:
    # A node that imports MLRun may ask it for its context, and that is the run's own.
    if manager := sys.modules.get(f"{__package__}.runs.manager"):
        manager.MLRunContextManager().share_runs()
