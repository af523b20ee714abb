"""MLRun's client for an API that goes away in the middle of a run: no record is lost."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from functools import partialmethod
from inspect import signature
from socket import gethostname
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
        # What was sent of each open run, of its record the newest: method, arguments, answer.
        self.journal: dict[str, dict[Any, tuple[str, dict[str, Any], Any]]] = {}
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
                f"and the embedded store doesn't have what was asked for: {exc}. Start the "
                "run again when the API is back."
            ) from exc

    def _remember(self, name: str, arguments: dict[str, Any], answer: Any) -> None:
        """Note what was sent, until its run has ended."""
        uid = arguments.get("uid") or producer(arguments["artifact"])
        sent, iteration = self.journal.setdefault(uid, {}), arguments.get("iter") or 0
        key: Any = object()
        if name in {"store_run", "update_run"}:
            # Each artifact is sent once, but a run's record with each step, and it grows.
            key = name, iteration
            before = sent.pop(key, None)
            if name == "store_run":
                sent.pop(("update_run", iteration), None)
            elif before:
                # The newer ones last, for one field may be a part of another one.
                updates, earlier = arguments["updates"], before[1]["updates"]
                kept = {field: earlier[field] for field in earlier if field not in updates}
                arguments["updates"] = kept | updates
        # At the end, for a run's record names the artifacts that were sent before.
        sent[key] = name, arguments, answer
        status = as_dict(arguments.get("struct") or {}).get("status", {})
        state = arguments.get("updates", {}).get("status.state") or status.get("state")
        # An iteration's end isn't its sweep's.
        if state in TERMINAL_STATES and not iteration:
            del self.journal[uid]

    def _begin_to_keep(self) -> None:
        self.kept = LocalRunDB(self.embedded_store())
        for run in self.journal.values():
            for name, arguments, sent in run.values():
                kept = self._keep(name, arguments)
                if name == "store_artifact":
                    # An API of another release gives other uids, which the run goes on naming.
                    self.renamed[sent["metadata"]["uid"]] = kept["metadata"]["uid"]
        self.journal = {}

    def _keep(self, name: str, arguments: dict[str, Any]) -> Any:
        of_run = name in {"store_run", "update_run"}
        given = renamed(arguments, self.renamed) if of_run else arguments
        answer = getattr(self.kept, name)(**given)
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


def kept_run(client: Any, uid: str, project: str) -> tuple[str, str] | None:
    """Tell how a run has ended that an API was not sent to its end, and where it is kept."""
    store = LocalRunDB(client.embedded_store()) if isinstance(client, KeepingRunDB) else None
    if not (store and store.path.exists()):
        return None
    with suppress(MLRunNotFoundError):
        run = store.find_run(uid, project)
        state = run["status"].get("state")
        if UNSENT in (run["metadata"].get("labels") or {}) and state in TERMINAL_STATES:
            # It may be another machine's user who reads this.
            where = f"The API stopped answering. The run is kept on {gethostname()} in {store.url}."
            return state, f"{where} To send it: kedro mlrun push {uid[:8]}"
    return None


@contextmanager
def _quiet() -> Iterator[None]:
    """Say once, and not at each of the many tries, that an API doesn't answer."""
    told: list[str] = []

    def once(record: logging.LogRecord) -> bool:
        if not told and record.levelno >= logging.WARNING:
            told.append("The MLRun API doesn't answer. Trying again for half a minute ...")
            logging.getLogger(__name__).warning(told[0])
        return False

    loggers = [logging.getLogger(name) for name in ("urllib3.connectionpool", "mlrun.http-client")]
    for logger in loggers:
        logger.addFilter(once)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(once)


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
