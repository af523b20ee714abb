"""Starting a search, or going on with one, in this process."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click
from kedro.framework import project
from kedro.framework.session import KedroSession
from kedro.pipeline import Pipeline

from ..jobs.parameters import check_names
from ..project import config_loader, current_project
from ..records.summaries import Record, uid_of
from ..runs.manager import MLRunContextManager
from ..secrets.known import hide_in
from ..store.rows import TERMINAL_STATES
from ..text import nearest
from .config import SearchConfig, SearchError
from .runner import Search, SearchRunner
from .trials import SEARCH, points

NAME = "search"  # of the run


class Start:
    """A search that can be started.

    Args:
        changes: what is asked for in place of what search.yml has.
        sets: ranges of parameters, in place of all of its `parameters`.
        params: values of Kedro's parameters.
        env: Kedro's environment.
        run: the record of a search to go on with, as it was asked for then.
        jobs: how many trials run at once.
    """

    def __init__(
        self,
        changes: Mapping[str, Any],
        sets: Mapping[str, str],
        params: dict[str, Any],
        env: str | None,
        run: Record | None = None,
        jobs: int = 1,
    ) -> None:
        asked = _asked(run) if run else {}
        self._env, self._params = asked.get("env", env), asked.get("params", params)
        self._run, self._folder = run, current_project()
        loader = config_loader(self._folder, self._env, self._params)
        if asked:
            found = {name: value for name, value in changes.items() if value is not None}
            config = SearchConfig(**{**asked["config"], **found})
        else:
            config = SearchConfig.load(loader, changes, sets)
        check_names({**dict.fromkeys(config.parameters)}, loader)
        told = {"config": config.model_dump(), "env": self._env, "params": hide_in(self._params)}
        self.search = Search(config, loader["parameters"], told, jobs)

    def plan(self) -> Record:
        """Tell what would be run, how often; what can't be done is refused."""
        search, config = self.search, self.search.config
        with self._session() as session:
            project.pipelines.set_requested(search.pipelines)
            try:
                pipeline = sum((project.pipelines[name] for name in search.pipelines), Pipeline([]))
            except KeyError as error:
                project.pipelines.set_requested(None)
                raise SearchError(
                    f"There is no pipeline {error}. {nearest(error.args[0], project.pipelines)}"
                    "Change `pipeline` or `evaluate` in search.yml."
                ) from None
            work = search.work(pipeline, session.load_context().catalog)
        entry = next(iter(work.entries))
        names = {"once": work.before(entry), "each trial": work.nodes(entry)}
        after = pipeline - names["once"] - names["each trial"]
        size = len(points(config)) if config.sampler == "grid" else None
        return {
            **config.model_dump(exclude={"trials"}),
            "trials": min(config.trials, size or config.trials),
            "nodes": {
                when: [node.name for node in part.nodes]
                for when, part in {**names, "best trial": after}.items()
            },
        }

    def go(self) -> Search:
        """Run it to its end."""
        manager = MLRunContextManager()
        manager.resumes = self._run
        with _named(NAME), self._session() as session:
            try:
                runner = SearchRunner(self.search)
                session.run(pipeline_names=self.search.pipelines, runner=runner)
            except Exception as error:
                if isinstance(error, click.ClickException) or manager.recorded_error is not error:
                    raise
                raise SearchError(
                    f"The search failed with {type(error).__name__}: {error}. To see where: "
                    "kedro mlrun show last"
                ) from error
            finally:
                manager.resumes = None
        return self.search

    def _session(self) -> KedroSession:
        return KedroSession.create(
            self._folder, env=self._env, runtime_params=self._params, save_on_close=False
        )


def _asked(run: Record) -> Record:
    """Give what a search was asked for that has to go on."""
    uid, state = uid_of(run)[:8], run["status"].get("state")
    text = (run["metadata"].get("annotations") or {}).get(SEARCH)
    if not text:
        raise SearchError(f"Run {uid} is no search. To list what there is: kedro mlrun runs")
    if state == "completed" or state not in TERMINAL_STATES:
        what = "has completed" if state == "completed" else f"is {state}"
        raise SearchError(
            f"Search {uid} {what}, so it can't go on. To begin another, leave --resume out."
        )
    return dict(json.loads(text))


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Name the run that is opened, unless MLRun was told otherwise."""
    before = os.environ.get("MLRUN_CONTEXT_NAME")
    os.environ["MLRUN_CONTEXT_NAME"] = before or name
    try:
        yield
    finally:
        if before is None:
            del os.environ["MLRUN_CONTEXT_NAME"]
