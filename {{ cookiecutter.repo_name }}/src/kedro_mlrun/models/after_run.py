"""What becomes of a model when the run that has trained it has ended."""

import logging
from typing import Any

import click

from ..records.records import Records
from ..runs.manager import MLRunContextManager
from ..text import visible
from .promote import promote_trained


def promote(context: Any) -> None:
    """Promote what a run has trained, as `promote_if_better` wants it; the run can't fail by it."""
    if context.iteration:
        return  # of a sweep, of which others may be better
    try:
        manager = MLRunContextManager()
        for line in promote_trained(Records(*manager.to_read()), context._uid, manager.models):
            click.echo(visible(line))
    except Exception as error:
        why = str(getattr(error, "message", error)).rstrip(".")
        logging.getLogger(__name__).warning("No model is promoted: %s. The run has ended.", why)
