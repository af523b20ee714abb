"""Models that are served follow their tag: promoted ones are loaded, and replace what was there."""

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from ..records.records import RecordNotFoundError
from ..store.errors import is_not_found
from .prediction import ModelSource, Predictor, first_line
from .versions import ModelError

if TYPE_CHECKING:
    from .pipelines import PipelinePredictor, PipelineSource

LOG = logging.getLogger(__name__)
SECONDS = 1.0  # between two looks at a tag


Predicting: TypeAlias = "Predictor | PipelinePredictor"  # what answers rows
Source: TypeAlias = "ModelSource | PipelineSource"  # where that comes from


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
            why = "was deleted" if is_gone else f"can't be looked up ({first_line(error)})"
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
            what = f"Version {version[:8]} of {self.source.name}"
            self._say(f"{what} isn't served: {first_line(error)}")
            return
        self.predictor, self._said, self._refused = new, "", ""
        self.swaps += 1
        LOG.warning("%s is served in version %s from now on.", self.source.name, new.version[:8])

    def _say(self, what: str) -> None:
        """Say something once, until all is well again."""
        if what != self._said:
            self._said = what
            LOG.warning("%s. Version %s is served on.", what, self.predictor.version[:8])


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
