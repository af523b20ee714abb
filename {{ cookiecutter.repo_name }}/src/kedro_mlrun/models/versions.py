"""Which version of a model a name means, which one has an alias now, and how it is loaded."""

from typing import TYPE_CHECKING, Any

import click

from ..records.records import Records
from ..records.summaries import Record, artifact_key

if TYPE_CHECKING:
    import pandas as pd

CHAMPION = "champion"


class ModelError(click.ClickException):
    """A model can't be loaded, judged, promoted or served."""


def model_version(records: Records, which: str) -> Record:
    """Find a version of a model: by KEY (the latest), KEY:TAG, KEY@RUN, a store:// URI, or a uid.

    An alias, such as `champion`, is a tag, and moves: who wants to know whether it did asks again.
    """
    found = records.named(which)
    if found["kind"] != "model":
        raise click.UsageError(
            f"'{which}' is of kind '{found['kind']}', and not a model. To list the models: "
            "kedro mlrun models"
        )
    return found


def holder(records: Records, key: str, alias: str = CHAMPION) -> Record | None:
    """Give the version of a model that has an alias now; None where none has it."""
    return next(iter(records.versions(2, name=key, kind="model", tag=alias)), None)


def load_model(record: Record) -> Any:
    """Load a version of a model, whose file has to have the hash that was recorded."""
    from ..datasets.model import MLRunModel

    return _load(MLRunModel, record)


def load_frame(record: Record) -> "pd.DataFrame":
    """Load a version of a table."""
    from ..datasets.dataframe import MLRunDataframeDataset

    return _load(MLRunDataframeDataset, record)


def _load(kind: Any, record: Record) -> Any:
    from kedro.io import DatasetError

    try:
        return kind(artifact_key(record)).load_version(record)
    except DatasetError as error:
        raise ModelError(str(error)) from error
