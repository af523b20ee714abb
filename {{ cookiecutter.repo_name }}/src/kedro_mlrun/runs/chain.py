"""The id that ties separate runs together, so that they share their artifacts."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from ..project import MLRunConfigError

CHAIN = "MLRUN_CHAIN_ID"
CHAIN_PATTERN = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


def chain_id() -> str:
    """Give what `MLRUN_CHAIN_ID` holds; empty where it isn't set."""
    value = os.environ.get(CHAIN, "")
    if value and not CHAIN_PATTERN.fullmatch(value):
        raise MLRunConfigError(
            f"The chain id '{value}' can't be a label of a run. Use at most 63 letters, digits, "
            "hyphens, underscores and dots, with a letter or digit at each end."
        )
    return value


@contextmanager
def in_chain(value: str | None) -> Iterator[None]:
    """Tie the runs of a `with` block to those with an id; without one the environment's remains."""
    before = os.environ.get(CHAIN, "")
    os.environ[CHAIN] = value or before
    try:
        yield
    finally:
        # Set back, for a notebook's process goes on.
        os.environ[CHAIN] = before
