"""Models that are served follow their tag: promoted ones are loaded, and replace what was there."""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ..records.records import RecordNotFoundError
from ..store.errors import is_not_found
from .prediction import Answer
from .schema import Rows, Schema
from .versions import ModelError

LOG = logging.getLogger(__name__)
SECONDS = 1.0  # between two looks at a tag


class Predicting(Protocol):
    """What answers rows: a model, or a pipeline."""

    name: str
    version: str
    schema: Schema
    together: bool
    seconds: float
    classes: Sequence[Any]

    def answer(self, rows: Rows) -> Answer:
        """Answer rows that the schema has checked."""


class Source(Protocol):
    """Where what is served comes from."""

    name: str
    tag: str

    def version(self) -> str:
        """Find out which version is to be served now."""

    def load(self) -> Predicting:
        """Load and verify it."""


class Followed:
    """What is served of a source now, as `predictor`; another version replaces it as a whole."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.predictor = source.load()
        self.swaps = 0
        self._said, self._refused = "", ""

    def look(self) -> None:
        """Load the version that the source has now, if it is another one that can be served."""
        now = self.predictor
        try:
            version = self.source.version()
        except Exception as error:
            is_gone = is_not_found(error) or isinstance(error, RecordNotFoundError)
            why = "was deleted" if is_gone else f"can't be looked up ({_line(error)})"
            self._say(f"{self.source.name}:{self.source.tag} {why}")
            return
        if version in {now.version, self._refused}:
            if version == now.version:
                self._said = self._refused = ""
            return
        try:
            new = self.source.load()
            if new.schema.inputs != now.schema.inputs:
                raise ModelError("it takes other columns, so that requests would fail")
        except Exception as error:
            self._refused = version
            self._say(f"Version {version[:8]} of {self.source.name} isn't served: {_line(error)}")
            return
        self.predictor, self._said, self._refused = new, "", ""
        self.swaps += 1
        LOG.warning("%s is served in version %s from now on.", self.source.name, new.version[:8])

    def _say(self, what: str) -> None:
        """Say something once, until all is well again."""
        if what != self._said:
            self._said = what
            LOG.warning("%s. Version %s is served on.", what, self.predictor.version[:8])


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def follow(each: list[Followed], seconds: float = SECONDS) -> Callable[[], Any]:
    """Look at the tags again and again, in a thread; gives what ends that."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(seconds):
            for followed in each:
                followed.look()

    thread = threading.Thread(target=run, name="follow", daemon=True)
    thread.start()

    def end() -> None:
        ended.set()
        thread.join(timeout=seconds)

    return end
