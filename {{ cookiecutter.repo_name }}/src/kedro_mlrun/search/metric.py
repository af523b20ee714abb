"""Whether a search's metric is a result of its pipeline, as far as that can be known."""

import difflib
import logging
from collections.abc import Iterable, Mapping

from ..datasets.result import MLRunResult
from ..records.records import Records
from ..runs.manager import MLRunContextManager
from ..store.fields import section
from .config import SearchConfig, SearchError

_AT_MOST = 5  # names that are told
_MISSPELT = 0.8  # how like a name is to one that was meant, of 1


def no_metric(metric: str, known: Iterable[str]) -> SearchError:
    """Say that no result has the metric's name, and which have one like it."""
    like = difflib.get_close_matches(metric, sorted({*known}), n=_AT_MOST, cutoff=0)
    return SearchError(
        f"No result that depends on the searched parameters is called '{metric}'. "
        f"Change `metric`; the closest are {', '.join(like)}."
    )


def check_metric(config: SearchConfig, entries: Mapping[str, MLRunResult]) -> None:
    """Refuse a metric that no entry can have, and warn of one that the last run hadn't."""
    names = [entry.known_name for entry in entries.values()]
    if config.metric not in names and None not in names:
        raise no_metric(config.metric, filter(None, names))
    records = Records(*MLRunContextManager().to_read())
    for run in records.runs(1, config.pipeline, states=["completed"]):
        results = section(run, "status", "results")
        like = difflib.get_close_matches(config.metric, results, n=1, cutoff=_MISSPELT)
        if like and like[0] != config.metric:
            # It may be a new one all the same.
            logging.getLogger(__name__).warning(
                "The last run of pipeline '%s' had no result '%s'. Did you mean '%s'? The first "
                "trial will tell.",
                *(config.pipeline, config.metric, *like),
            )
