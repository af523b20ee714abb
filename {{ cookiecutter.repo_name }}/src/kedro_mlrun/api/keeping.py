"""MLRun's client for an API that goes away in the middle of a run: no record is lost."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from inspect import signature
from typing import Any

import requests
from mlrun.common.runtimes.constants import RunStates
from mlrun.db.httpdb import HTTPRunDB
from mlrun.errors import MLRunNotFoundError, MLRunRuntimeError

from ..store.db import LocalRunDB
from .client import address

UNSENT = "unsent-to"
"""The label of a run in the embedded store that an MLRun API is still to be sent."""

WRITES = ("store_run", "update_run", "store_artifact", "store_log")
READS = ("read_run", "read_artifact", "list_runs", "list_artifacts", "paginated_list_runs")

_LOST = object()
_GATEWAY_SAYS = {502, 503, 504}


class KeepingRunDB(HTTPRunDB):  # type: ignore[misc]
    """MLRun's client; from the first record on that can't be sent it works on an embedded store.

    That store then gets all records of the runs that are open, and these runs a label.
    """

    def __init__(self, embedded_store: Callable[[], str], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.embedded_store = embedded_store
        self.kept: LocalRunDB | None = None
        # What was sent of the runs that are open: method, arguments, answer.
        self.journal: list[tuple[str, dict[str, Any], Any]] = []
        self.renamed: dict[str, str] = {}

    def ask(self, send: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Give the API's answer; `_LOST` from the moment on that there is none."""
        if self.kept is None:
            try:
                with _quiet():
                    return send(self, *args, **kwargs)
            except Exception as exc:
                # Where no run is open, nothing of one can be read elsewhere.
                if not _is_lost(exc) or not (self.journal or send.__name__ in WRITES):
                    raise
            self._begin_to_keep()
        return _LOST

    def remember(self, name: str, arguments: dict[str, Any], answer: Any) -> None:
        """Note what was sent, until its run has ended."""
        self.journal.append((name, arguments, answer))
        written = arguments.get("struct") or {}
        status = (written if isinstance(written, dict) else written.to_dict()).get("status", {})
        status = {f"status.{key}": value for key, value in status.items()}
        state = (arguments.get("updates") or status).get("status.state")
        if state in RunStates.terminal_states():
            uid = arguments["uid"]
            self.journal = [entry for entry in self.journal if _run_of(entry[1]) != uid]

    def _begin_to_keep(self) -> None:
        self.kept = LocalRunDB(self.embedded_store())
        for name, arguments, sent in self.journal:
            kept = self.keep(name, arguments)
            if name == "store_artifact":
                # An API of another release gives other uids, which the run goes on naming.
                self.renamed[sent["metadata"]["uid"]] = kept["metadata"]["uid"]
        self.journal = []

    def keep(self, name: str, arguments: dict[str, Any]) -> Any:
        """Write a record to the embedded store."""
        of_run = name in {"store_run", "update_run"}
        arguments = renamed(arguments, self.renamed) if of_run else arguments
        answer = getattr(self.kept, name)(**arguments)
        if of_run and self.kept:
            run = {key: arguments[key] for key in ("uid", "project", "iter") if key in arguments}
            # Each time, for MLRun writes all labels of a run anew.
            label = {f"metadata.labels.{UNSENT}": address(self.base_url)}
            self.kept.update_run(label, **run)
        return answer


def _writing(send: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(send)
    def write(client: KeepingRunDB, *args: Any, **kwargs: Any) -> Any:
        # A copy, for what MLRun hands over goes on changing.
        arguments = deepcopy(signature(send).bind(None, *args, **kwargs).arguments)
        del arguments["self"]
        answer = client.ask(send, args, kwargs)
        if answer is _LOST:
            return client.keep(send.__name__, arguments)
        client.remember(send.__name__, arguments, answer)
        return answer

    return write


def _reading(send: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(send)
    def read(client: KeepingRunDB, *args: Any, **kwargs: Any) -> Any:
        answer = client.ask(send, args, kwargs)
        if answer is not _LOST:
            return answer
        bound = signature(send).bind(None, *args, **kwargs)
        uid = bound.arguments.get("uid")
        if isinstance(uid, str):
            bound.arguments["uid"] = client.renamed.get(uid, uid)
        try:
            return getattr(client.kept, send.__name__)(*bound.args[1:], **bound.kwargs)
        except MLRunNotFoundError as exc:
            raise MLRunRuntimeError(
                f"The MLRun API at {address(client.base_url)} stopped answering during this run, "
                f"and the embedded store doesn't have what was asked for: {exc}"
            ) from exc

    return read


for _name in WRITES:
    setattr(KeepingRunDB, _name, _writing(getattr(HTTPRunDB, _name)))
for _name in READS:
    setattr(KeepingRunDB, _name, _reading(getattr(HTTPRunDB, _name)))


def unsent(client: Any) -> LocalRunDB | None:
    """Give the embedded store with what a client could not send; None while nothing is lost."""
    return client.kept if isinstance(client, KeepingRunDB) else None


@contextmanager
def _quiet() -> Iterator[None]:
    """Say once, and not at each of the many tries, that an API doesn't answer."""

    def once(record: logging.LogRecord) -> bool:
        if not told and record.levelno >= logging.WARNING:
            told.append("The MLRun API doesn't answer. Trying again for half a minute ...")
            logging.getLogger(__name__).warning(told[0])
        return False

    told: list[str] = []
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
    if isinstance(cause, requests.HTTPError) and cause.response is not None:
        # It answered; only a gateway answers in place of an API that is away.
        return cause.response.status_code in _GATEWAY_SAYS
    return isinstance(cause, requests.RequestException)


def _run_of(arguments: dict[str, Any]) -> str:
    if "artifact" not in arguments:
        return str(arguments["uid"])
    producer = (arguments["artifact"].get("spec") or {}).get("producer") or {}
    return str(producer.get("uri", "")).rpartition("/")[2]


def renamed(value: Any, uids: dict[str, str]) -> Any:
    """Copy a record with other uids in its artifacts' URIs, and other texts, by what they are."""
    if isinstance(value, dict):
        return {key: renamed(item, uids) for key, item in value.items()}
    if isinstance(value, list):
        return [renamed(item, uids) for item in value]
    if isinstance(value, str) and value.startswith("store://"):
        before, caret, uid = value.rpartition("^")
        return f"{before}{caret}{uids.get(uid, uid)}"
    return uids.get(value, value) if isinstance(value, str) else value
