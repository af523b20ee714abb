"""Trials as MLRun jobs of their own, of one parent: the search's run."""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from kedro.pipeline import Pipeline

from ..datasets.abstract import MLRunAbstractDataset
from ..jobs.background import abort_jobs_of
from ..jobs.parameters import JobParameters
from ..jobs.plan import Plan, Project
from ..jobs.submit import submit
from ..project import current_project
from ..runs.manager import MLRunContextManager
from ..store.fields import LONG_AGO, PARENT, TERMINAL_STATES, flatten, run_name
from ..store.rows import Record, Where
from ..store.store import Store
from . import trial_job
from .space import Params
from .trials import Study, Trial, recorded_parameters
from .work import Prepared

POLL = 0.3, 2
"""Seconds between two looks at the jobs: on the embedded store, and on an MLRun API."""


class TrialJobs:
    """The jobs of a search's trials, which it starts, follows and, where it ends early, aborts.

    Args:
        context: the search's run.
        search: what is searched.
    """

    def __init__(self, context: Any, search: Any) -> None:
        self._context, self._search = context, search
        self._of_run = str(context._uid), str(context.project)
        self._waiting = dict[str, tuple[int, Params]]()  # by the ids of their runs

    def taken_over(self, study: Study) -> Iterator[Trial]:
        """Follow the jobs that the search had started before it was killed."""
        for run in self._runs(labels=[f"{PARENT}={self._of_run[0]}"]):
            metadata = run["metadata"]
            number, params, *_ = trial_job.asked(metadata["annotations"])
            # One that was aborted is tried anew.
            if number not in study.known and run["status"]["state"] not in {"aborted", "aborting"}:
                study.go_on_with(number, params)
                self._waiting[metadata["uid"]] = number, params
        with self._aborting():
            while self._waiting:
                yield from self._ended()

    def run(
        self, prepared: Prepared, asked: Iterator[tuple[Any, ...]], jobs: int
    ) -> Iterator[Trial]:
        """Run trials, so many at once, and give each when its job has ended."""
        plan = self._planner(prepared)
        with self._aborting():
            while True:
                for number, params, *limits in islice(asked, jobs - len(self._waiting)):
                    made = plan(number, params, *limits)
                    self._waiting[made.uid] = number, params
                    submit(made)
                if not self._waiting:
                    return
                yield from self._ended()

    @property
    def _store(self) -> Any:
        # A job that was killed may have recorded no end.
        return MLRunContextManager().to_read()[0]

    def _runs(self, **which: Any) -> Any:
        return self._store.list_runs(project=self._of_run[1], start_time_from=LONG_AGO, **which)

    def _planner(self, prepared: Prepared) -> Callable[..., Plan]:
        uid, project_name = self._of_run
        # As bytes, for a job has the project's code itself.
        MLRunAbstractDataset(trial_job.PREPARED).save(prepared.content())
        uri = self._context.artifact_uris[trial_job.PREPARED]
        function = _function(self._store, str(self._context.to_dict()["spec"]["function"]))
        project = Project(current_project(), None, None, project_name)
        asked, config = self._search.asked, self._search.config

        def plan(number: int, params: Params, *limits: Any) -> Plan:
            searched = recorded_parameters(config.values(params))
            known = flatten(asked["params"])
            job = JobParameters(env=asked["env"], runtime_params={**known, **searched})
            task = {
                "metadata": {
                    "name": run_name(f"{self._context.name}-{number}"),
                    "project": project_name,
                    "uid": uuid.uuid4().hex,
                    "labels": {PARENT: uid},
                    "annotations": trial_job.told(number, params, *limits),
                },
                "spec": {
                    "handler": f"{trial_job.__name__}.{trial_job.run.__name__}",
                    "parameters": job.to_dict(),
                    "inputs": {trial_job.PREPARED: uri},
                },
            }
            return Plan(project, Pipeline([]), job, function, task)

        return plan

    def _ended(self) -> Iterator[Trial]:
        time.sleep(POLL[not isinstance(self._store, Store)])
        runs = self._runs(uid=[*self._waiting])
        ended = [run for run in runs if run["status"].get("state") in TERMINAL_STATES]
        trials = [self._trial(run) for run in ended]
        yield from sorted(trials, key=lambda trial: trial.number)

    def _trial(self, run: Record) -> Trial:
        """Give the trial that a job was; how the job has died is said in one line."""
        uid, status = run["metadata"]["uid"], run["status"]
        number, params = self._waiting.pop(uid)
        if trial := trial_job.ended(run["metadata"].get("annotations") or {}):
            return trial
        why = status.get("error") or status.get("status_text") or f"its state is {status['state']}"
        # What follows an empty line is a log or a traceback.
        why = str(why).partition("\n\n")[0].strip()
        started = str(status.get("start_time") or "")
        return Trial(number, params, error=f"{why} (job {uid[:8]})", started=started)

    @contextmanager
    def _aborting(self) -> Iterator[None]:
        """Abort the jobs that go on where a block ends early."""
        try:
            yield
        finally:
            if self._waiting:
                abort_jobs_of(self._store, *self._of_run, "Its search was stopped.")


def _function(store: Any, uri: str) -> Record:
    """Give the function that a job's run is of, with the source and the image that it got."""
    project, _, name = uri.partition("/")
    name, _, digest = name.partition("@")
    name, _, tag = name.partition(":")
    if isinstance(store, Store):
        where = Where("project = ? AND name = ? AND hash = ?", project, name, digest)
        return store.records("functions", where, "id DESC")[0]
    return dict(store.get_function(name, project, tag, digest))
