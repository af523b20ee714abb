"""Starting a search, or going on with one, in this process."""

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import islice
from typing import Any

import click
from kedro.framework import project
from kedro.framework.session import KedroSession
from kedro.pipeline import Pipeline
from mergedeep import merge  # type: ignore[import-untyped]

from ..jobs.background import abort_jobs_of, release
from ..jobs.checks import check
from ..jobs.parameters import GIVEN, JobParameters, check_names
from ..jobs.plan import Plan, make_plan, project_for
from ..jobs.submit import submit
from ..project import config_loader, current_project
from ..records.summaries import Record, uid_of
from ..runs.manager import MLRunContextManager
from ..secrets.known import hide_in
from ..store.context import ADDED
from ..store.fields import BEFORE, SEARCH, flatten, section
from ..text import nearest
from .config import SearchConfig, SearchError
from .metric import check_metric
from .resume import check_unchanged, versions_then
from .runner import Search, SearchRunner
from .work import Prepared

NAME = "search"  # of a search's run
_CONTEXT_NAME = "MLRUN_CONTEXT_NAME"


class Start:
    """A search that can be started.

    Args:
        changes: what is asked for in place of what search.yml has.
        sets: ranges of parameters, in place of all that it has.
        params: values of Kedro's parameters.
        env: Kedro's environment.
        jobs: how many trials run at once.
        distributed: whether each trial is a job of its own.
        run: the record of a search to go on with, as it was asked for then.
    """

    def __init__(
        self,
        changes: Mapping[str, Any],
        sets: Mapping[str, str],
        params: dict[str, Any],
        env: str | None,
        jobs: int = 1,
        run: Record | None = None,
        distributed: bool = False,
    ) -> None:
        if not find_spec("optuna"):
            raise SearchError(
                "A search needs Optuna, which isn't installed. To install it: "
                "pip install 'optuna>=4,<6'"
            )
        self._run, self._versions = run, dict[str, str]()
        if run:
            # Also where a job that was to go on with it never began.
            before = json.loads(section(run, "metadata", "annotations").get(BEFORE, "{}"))
            run = self._run = dict(merge({}, before, run))
            if also := sorted(changes.keys() - {"trials", "seconds"}):
                options = ", ".join(f"--{name}" for name in also)
                raise SearchError(
                    f"A search goes on as it was begun: leave out {options}, or --resume."
                )
            self.search = Search.again(_asked(run), **changes)
        else:
            if hide_in(params) != params:
                raise SearchError(
                    "--params has a secret, and what a search is given is recorded, so that it "
                    "can go on. Put it into credentials."
                )
            loader = config_loader(current_project(), env, params)
            config = SearchConfig.load(loader, changes, sets)
            check_names(dict.fromkeys(config.parameters), loader)
            asked = {"config": config.model_dump(), "env": env, "params": params}
            self.search = Search(config, loader["parameters"], asked)
        self.search.jobs, self.search.distributed = jobs, distributed

    def plan(self) -> Record:
        """Tell what would be run, how often; what can't be done is refused."""
        search, config = self.search, self.search.config
        project.pipelines.set_requested(search.pipelines)
        try:
            pipeline = sum((project.pipelines[name] for name in search.pipelines), Pipeline([]))
        except KeyError as error:
            project.pipelines.set_requested(None)
            hint = nearest(str(error.args[0]), project.pipelines)
            raise SearchError(
                f"There is no pipeline {error}. {hint}Change `pipeline` or `evaluate`."
            ) from None
        with self._session() as session:
            catalog = session.load_context().catalog
            work = search.work(pipeline, catalog)
            check_metric(config, work.entries)
            # One whose job never began has tried nothing.
            if self._run and "files" in search.asked:
                check_unchanged(self._run, pipeline, catalog)
                self._versions = versions_then(self._run, pipeline, catalog)
        entry = next(iter(work.entries))
        parts = {"once": work.once(entry), "for each trial": work.each_time(entry)}
        parts["with the best"] = pipeline - parts["once"] - parts["for each trial"]
        count = config.trials
        if config.sampler == "grid":
            points = len([*islice(config.points(), count + 1)])
            if points > count:
                logging.getLogger(__name__).warning(
                    "`trials` is %d, and the grid has more points: only the first are tried. "
                    "Raise `trials`, or choose the sampler `random`.",
                    count,
                )
            count = min(count, points)
        nodes = {when: [node.name for node in part.nodes] for when, part in parts.items()}
        if search.distributed:
            self._check_sendable(Prepared(work, entry, {}))
        told = {"trials": count, "nodes": nodes, "at_once": search.jobs}
        return config.model_dump() | told

    def go(self) -> Search:
        """Run it to its end."""
        manager = MLRunContextManager()
        self._release()
        manager.resumes = self._run
        with _named(NAME), self._session() as session:
            try:
                runner = SearchRunner(self.search)
                names, versions = self.search.pipelines, self._versions
                session.run(pipeline_names=names, runner=runner, load_versions=versions)
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

    def job(self) -> Plan:
        """Make it an MLRun job; what can't be done there is refused."""
        search, asked = self.search, self.search.asked
        job = JobParameters(
            pipeline=search.pipelines,
            env=asked["env"],
            runner=f"{SearchRunner.__module__}.{SearchRunner.__name__}",
            runtime_params=flatten(asked["params"]),
            load_versions=self._versions,
        )
        with project_for(job, "archive") as sent:
            plan = make_plan(sent, job, name=NAME)
            metadata = plan.task["metadata"]
            told = {"jobs": search.jobs, "distributed": search.distributed}
            metadata["annotations"][SEARCH] = json.dumps(asked | told)
            if run := self._run:
                metadata |= {"uid": uid_of(run), "name": run["metadata"]["name"]}
                metadata["annotations"][BEFORE] = json.dumps(_kept(run))
            return check(plan)

    def submit(self, plan: Plan) -> str:
        """Send what `job` has made, and give the id of its run."""
        self._release()
        submit(plan)
        return plan.uid

    def _release(self) -> None:
        """End what is left of the search that goes on, but the jobs that are taken over."""
        if run := self._run:
            release(run)
            if not self.search.distributed:
                store, of = MLRunContextManager().store, run["metadata"]["project"]
                abort_jobs_of(store, uid_of(run), of, "Its search goes on without it.")

    def _check_sendable(self, prepared: Prepared) -> None:
        """Refuse what can't be sent to the jobs of trials, or must not be."""
        if self.search.config.keep == "all":
            raise SearchError(
                "With --distributed, what a trial makes stays in its job, and `keep` is 'all'. "
                "Set `keep: best`, or search without --distributed."
            )
        parameters = self.search.parameters
        if hide_in(parameters) != parameters:
            raise SearchError(
                "A parameter is called like a secret, and what trials need is kept as an artifact. "
                "Put it into credentials, or search without --distributed."
            )
        _ = prepared.content()

    def _session(self) -> Any:
        asked = self.search.asked
        return KedroSession.create(
            current_project(), env=asked["env"], runtime_params=asked["params"], save_on_close=False
        )


def _asked(run: Record) -> str:
    uid, state = uid_of(run)[:8], run["status"].get("state")
    text = (run["metadata"].get("annotations") or {}).get(SEARCH)
    if not text:
        raise SearchError(f"Run {uid} is no search. To list the runs: kedro mlrun runs")
    if state not in {"aborted", "error"}:
        raise SearchError(
            f"Search {uid} is {state}, so it can't go on. To begin another, leave out --resume."
        )
    return str(text)


def _kept(run: Record) -> Record:
    """Give the part of a run's record that a job which goes on with it is to have."""
    kept: Record = {}
    for part, name in (*ADDED, ("spec", "parameters")):
        kept.setdefault(part, {})[name] = section(run, part, name)
    for name in (BEFORE, GIVEN):
        kept["metadata"]["annotations"].pop(name, None)
    return kept


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Name the run that is opened, unless MLRun was told otherwise."""
    before = os.environ.get(_CONTEXT_NAME)
    os.environ[_CONTEXT_NAME] = before or name
    try:
        yield
    finally:
        if before is None:
            del os.environ[_CONTEXT_NAME]
