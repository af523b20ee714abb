"""MLRun's client for an API that goes away in the middle of a run: no record is lost."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from functools import partialmethod
from inspect import signature
from itertools import chain
from typing import Any

import requests
from mlrun.db.httpdb import HTTPRunDB
from mlrun.errors import MLRunNotFoundError, MLRunRuntimeError

from ..store.db import LocalRunDB
from ..store.fields import producer
from ..store.interface import as_dict
from ..store.rows import TERMINAL_STATES
from .client import address

UNSENT = "unsent-to"  # the label of a run in the embedded store that an API is still to be sent
WRITES = ("store_run", "update_run", "store_artifact", "store_log")
READS = ("read_run", "read_artifact", "list_runs", "list_artifacts", "paginated_list_runs")


class KeepingRunDB(HTTPRunDB):  # type: ignore[misc]
    """MLRun's client; from the first record on that can't be sent it works on an embedded store.

    That store then gets all records of the runs that are open, and these runs a label.
    """

    def __init__(self, embedded_store: Callable[[], str], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.embedded_store = embedded_store
        self.kept: LocalRunDB | None = None
        # What was sent of each run that is open: method, arguments, answer.
        self.journal: dict[str, list[tuple[str, dict[str, Any], Any]]] = {}
        self.renamed: dict[str, str] = {}

    def ask(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Give the API's answer, or that of the embedded store once there is none."""
        send, is_write = getattr(super(), name), name in WRITES
        # A copy, for what MLRun hands over goes on changing.
        arguments = deepcopy(signature(send).bind(*args, **kwargs).arguments) if is_write else {}
        if self.kept is None:
            try:
                with _quiet():
                    answer = send(*args, **kwargs)
                if is_write:
                    self._remember(name, arguments, answer)
                return answer
            except Exception as exc:
                # Where no run is open, nothing of one can be read elsewhere.
                if not _is_lost(exc) or not (self.journal or is_write):
                    raise
            self._begin_to_keep()
        if is_write:
            return self._keep(name, arguments)
        try:
            args, kwargs = renamed([list(args), kwargs], self.renamed)
            return getattr(self.kept, name)(*args, **kwargs)
        except MLRunNotFoundError as exc:
            raise MLRunRuntimeError(
                f"The MLRun API at {address(self.base_url)} stopped answering during this run, "
                f"and the embedded store doesn't have what was asked for: {exc}"
            ) from exc

    def _remember(self, name: str, arguments: dict[str, Any], answer: Any) -> None:
        """Note what was sent, until its run has ended."""
        uid = arguments.get("uid") or producer(arguments["artifact"])
        self.journal.setdefault(uid, []).append((name, arguments, answer))
        status = as_dict(arguments.get("struct") or {}).get("status", {})
        state = arguments.get("updates", {}).get("status.state") or status.get("state")
        if state in TERMINAL_STATES:
            del self.journal[uid]

    def _begin_to_keep(self) -> None:
        self.kept = LocalRunDB(self.embedded_store())
        for name, arguments, sent in chain(*self.journal.values()):
            kept = self._keep(name, arguments)
            if name == "store_artifact":
                # An API of another release gives other uids, which the run goes on naming.
                self.renamed[sent["metadata"]["uid"]] = kept["metadata"]["uid"]
        self.journal = {}

    def _keep(self, name: str, arguments: dict[str, Any]) -> Any:
        of_run = name in {"store_run", "update_run"}
        answer = getattr(self.kept, name)(
            **(renamed(arguments, self.renamed) if of_run else arguments)
        )
        if of_run and self.kept:
            run = {key: arguments[key] for key in arguments.keys() & {"uid", "project", "iter"}}
            # Each time, for MLRun writes all labels of a run anew.
            self.kept.update_run({f"metadata.labels.{UNSENT}": address(self.base_url)}, **run)
        return answer


for _name in (*WRITES, *READS):
    setattr(KeepingRunDB, _name, partialmethod(KeepingRunDB.ask, _name))


def unsent(client: Any) -> LocalRunDB | None:
    """Give the embedded store with what a client could not send; None while nothing is lost."""
    return getattr(client, "kept", None)


@contextmanager
def _quiet() -> Iterator[None]:
    """Say once, and not at each of the many tries, that an API doesn't answer."""
    told: list[str] = []

    def once(record: logging.LogRecord) -> bool:
        if not told and record.levelno >= logging.WARNING:
            told.append("The MLRun API doesn't answer. Trying again for half a minute ...")
            logging.getLogger(__name__).warning(told[0])
        return False

    with ExitStack() as stack:
        for name in ("urllib3.connectionpool", "mlrun.http-client"):
            logging.getLogger(name).addFilter(once)
            stack.callback(logging.getLogger(name).removeFilter, once)
        yield


def _is_lost(exc: Exception) -> bool:
    cause = exc.__cause__
    # Who answered is there; only a gateway answers in place of an API that is away.
    return isinstance(cause, requests.RequestException) and (
        cause.response is None or cause.response.status_code in {502, 503, 504}
    )


def renamed(value: Any, uids: dict[str, str]) -> Any:
    """Copy a record with other uids in its artifacts' URIs, and other texts, by what they are."""
    if isinstance(value, dict):
        return {key: renamed(item, uids) for key, item in value.items()}
    if isinstance(value, list):
        return [renamed(item, uids) for item in value]
    if not isinstance(value, str):
        return value
    before, caret, uid = value.rpartition("^") if value.startswith("store://") else ("", "", value)
    return f"{before}{caret}{uids.get(uid, uid)}"
