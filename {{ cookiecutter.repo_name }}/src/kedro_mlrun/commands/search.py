"""The command that searches for the best parameters."""

from collections.abc import Sequence
from copy import copy
from shlex import quote
from typing import Any

import click
import yaml
from click import Choice, FloatRange, IntRange, option
from kedro.framework.cli.project import run as kedro_run
from rich.console import Group
from rich.text import Text

from ..records.records import Records
from ..runs.manager import MLRunContextManager
from ..runs.report import pairs
from ..search.runner import Search
from ..search.start import Start
from ..store.fields import flatten
from ..text import kedro_command, shown
from .base import Answer, command, named_value


def _ranges(_context: Any, _option: Any, values: Sequence[str]) -> dict[str, str]:
    return dict(named_value(item, "NAME=RANGE, such as depth=int(2,12)") for item in values)


@command("search", "kedro mlrun search --set 'random_forest.model.arguments.max_depth=int(2,12)'")
@option(
    "--set",
    "sets",
    multiple=True,
    callback=_ranges,
    metavar="NAME=RANGE",
    help="Search this parameter, not those of search.yml: int(2,12), float(0,1), log(0.001,10) "
    "or choice(gini,entropy).",
)
@option("--pipeline", "-p", help="The pipeline that makes the metric.")
@option("--metric", help="The result to find the best of, as `kedro mlrun show` names it.")
@option("--direction", type=Choice(["maximize", "minimize"]), help="Which is best.")
@option("--trials", "-n", type=IntRange(1), help="How many combinations to try.")
@option("--seconds", type=FloatRange(0, min_open=True), help="Begin no other after this long.")
@option("--sampler", type=Choice(["tpe", "random", "grid"]), help="What chooses the next one.")
@option(
    "--jobs",
    "-j",
    type=IntRange(1),
    help="How many trials to run at once: by default 1; with --distributed `jobs.at_once` of "
    "mlrun.yml, which is 2.",
)
@option("--resume", metavar="RUN", help="Go on with a search that was stopped or killed.")
@option("--submit", is_flag=True, help="Run the search as one MLRun job.")
@option("--distributed", is_flag=True, help="With --submit: run each trial as a job of its own.")
@option("--dry-run", is_flag=True, help="Show what would be run, and how often; run nothing.")
def search(records: Records, sets: dict[str, str], **options: Any) -> Answer:
    """Search for the parameters that give the best metric.

    What is searched is in conf/base/search.yml. The search is one run, and its trials are its
    iterations. Only the nodes that the searched parameters reach are run for each trial; the best
    one's models are recorded, and judged once by the pipeline that `evaluate` names.
    """
    own = ("dry_run", "resume", "params", "jobs", "submit", "distributed")
    dry_run, resume, params, jobs, submit, distributed = map(options.pop, own)
    if resume and (sets or params):
        raise click.UsageError(
            "A search goes on as it was begun: leave out --set and --params, or --resume."
        )
    if distributed and not submit:
        raise click.UsageError(
            "Trials are jobs of a job: give --submit, too, or leave out --distributed."
        )
    jobs = jobs or (MLRunContextManager().jobs.at_once if distributed else 1)
    env = click.get_current_context().params["env"]
    run = records.run(resume) if resume else None
    changes = {name: value for name, value in options.items() if value is not None}
    start = Start(changes, sets, params, env, jobs, run, distributed)
    plan = start.plan()
    job = start.job() if submit else None
    if job:
        plan |= {"submit": True, "distributed": distributed}
    if dry_run:
        text = yaml.safe_dump(plan, sort_keys=False, allow_unicode=True, width=100)
        return Answer(plan, text.rstrip())
    if job:
        uid = start.submit(job)
        text = f"Submitted search {uid}.\nTo follow it: {kedro_command()} mlrun logs {uid[:8]} -f"
        return Answer({"uid": uid}, text)
    found = start.go()
    config, best = found.config, found.best
    values = flatten(config.values(best.params)) if best else {}
    told = {"uid": found.uid, "trials": found.trials, "best_iteration": best and best.number}
    told |= {"metric": config.metric, "value": best and best.value, "parameters": values}
    head = Text(f"Best of all trials ({found.trials}): {config.metric} {shown(told['value'])}")
    again = Text(f"To run it again{_again(found, values)}")
    return Answer(told, Group(head, pairs(*values.items()), again))


def _again(found: Search, values: dict[str, Any]) -> str:
    """Tell how the pipeline is run with the best trial's parameters."""
    asked, config = found.asked, found.config
    whole = config.values(found.best.params) if found.best else {}
    # In --params, Kedro adds a dict to the one that there is, and has no null.
    if not all(isinstance(value, str | int | float) for value in whole.values()):
        return ", write these parameters into conf/base."
    values = flatten(asked["params"]) | values
    given = ",".join(f"{name}={value}" for name, value in values.items())
    env = f" --env={quote(asked['env'])}" if asked["env"] else ""
    return f": {kedro_command()} run --pipelines={config.pipeline}{env} --params={quote(given)}"


# Kedro's own, so that values are read as `kedro run` reads them.
search.params += [copy(given) for given in kedro_run.params if given.name == "params"]
