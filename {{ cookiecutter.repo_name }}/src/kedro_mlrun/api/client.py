"""An MLRun API that doesn't answer: at the start of a run, and in its middle."""

from __future__ import annotations

import functools
import json
import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from http import HTTPStatus
from inspect import BoundArguments, signature
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ..store.db import LocalRunDB

CONNECT_SECONDS, ANSWER_SECONDS, LONGEST_WAIT = 3, 3, 6

UNSENT = "unsent-to"
"""The label of a run in the embedded store that an MLRun API is still to be sent."""


class APIUnreachableError(click.ClickException, ConnectionError):
    """The MLRun API doesn't answer.

    Being one of click's, it reaches the user of `kedro` as one line and not as a traceback.
    """


def check(url: str) -> None:
    """Make sure that an MLRun API answers, within ten seconds.

    Args:
        url: the run database; one that is no `http(s)://` URL needs no answer.

    Raises:
        APIUnreachableError: it doesn't.

    Example:
        >>> check("sqlite:///mlrun.db")
    """
    if not url.startswith("http"):
        return
    outcome: list[str] = ["no answer"]
    # In a thread, for looking up a name can't be given a limit.
    thread = threading.Thread(target=lambda: outcome.append(_knock(url)), daemon=True)
    thread.start()
    thread.join(LONGEST_WAIT)
    if outcome[-1]:
        raise APIUnreachableError(
            f"The MLRun API at {address(url)} doesn't answer ({outcome[-1]}). Start it, or "
            "correct MLRUN_DBPATH or `dbpath` in mlrun.yml; to use the embedded store instead, set "
            "MLRUN_DBPATH=sqlite:///.mlrun/mlrun.db."
        )


def _knock(url: str) -> str:
    """Give the reason why an API doesn't answer; empty if it does."""
    import requests

    # As MLRun's own setting has it, which can't be asked before it is imported.
    verify = os.environ.get("MLRUN_HTTPDB__HTTP__VERIFY", "").lower() not in {"false", "0"}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            response = requests.get(
                f"{url.rstrip('/')}/api/v1/healthz",
                timeout=(CONNECT_SECONDS, ANSWER_SECONDS),
                verify=verify,
            )
    except requests.exceptions.InvalidURL:
        # Its message may hold a part of a password.
        return "it is no URL"
    except requests.RequestException as exc:
        reason = getattr(exc.args[0] if exc.args else exc, "reason", exc)
        return str(reason).rpartition(": ")[2] or type(exc).__name__
    # Who must log in first, does so with MLRun's own means.
    if response.ok or response.status_code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return ""
    return f"it says {response.status_code} {response.reason}"


def address(url: str) -> str:
    """Give a URL without the credentials that it may hold.

    Args:
        url: the run database.

    Returns:
        The URL as it may be shown.

    Example:
        >>> address("https://me:p@ss/word@mlrun-api:8080")
        'https://mlrun-api:8080'
    """
    scheme, separator, rest = url.partition("://")
    return url if scheme == "sqlite" else f"{scheme}{separator}{rest.rpartition('@')[2]}"


def forget_connection() -> None:
    """Let MLRun connect anew, in a process that was forked from one that was connected."""
    import mlrun

    factory = sys.modules.get("mlrun.db.factory")
    if factory:
        # MLRun has no public way to do that without asking the API something.
        factory.RunDBFactory()._run_db = None
    mlrun.datastore.store_manager._db = None


SENT = "sent-artifacts"
"""The annotation of such a run with the uids of artifacts that the API has, and their uids here."""

WRITES = ("store_run", "update_run", "store_artifact", "store_log")
READS = ("read_run", "read_artifact", "list_runs", "list_artifacts", "paginated_list_runs")


def run_db(embedded_store: Callable[[], str], *args: Any, **kwargs: Any) -> Any:
    """Make MLRun's client for an API, so that nothing is lost when the API goes away.

    From the first record on that can't be sent, the client works on an embedded store, which gets
    all records of the runs that are open, and to these runs the label `unsent-to`.

    Args:
        embedded_store: gives the URL of that store.
        *args: of `mlrun.db.httpdb.HTTPRunDB`.
        **kwargs: the same.

    Returns:
        The client.
    """
    return _client_class()(embedded_store, *args, **kwargs)


def unsent(client: Any) -> LocalRunDB | None:
    """Give the embedded store with what could not be sent.

    Args:
        client: MLRun's run database.

    Returns:
        The store; None while nothing is lost.
    """
    return getattr(client, "kept", None)


@functools.cache
def _client_class() -> type:
    # In a function, for MLRun is imported only when it is needed.
    from mlrun.db.httpdb import HTTPRunDB

    class KeepingRunDB(HTTPRunDB):  # type: ignore[misc]
        """MLRun's client, with what it has sent of the runs that are open."""

        def __init__(self, embedded_store: Callable[[], str], *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.embedded_store = embedded_store
            self.kept: LocalRunDB | None = None
            self.journal: list[tuple[str, dict[str, Any], Any]] = []
            self.renamed: dict[str, str] = {}

    for name in WRITES:
        setattr(KeepingRunDB, name, _writing(getattr(HTTPRunDB, name)))
    for name in READS:
        setattr(KeepingRunDB, name, _reading(getattr(HTTPRunDB, name)))
    return KeepingRunDB


def _writing(send: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(send)
    def write(client: Any, *args: Any, **kwargs: Any) -> Any:
        # A copy, for what MLRun hands over goes on changing.
        arguments = deepcopy(signature(send).bind(None, *args, **kwargs).arguments)
        del arguments["self"]
        if client.kept is None:
            try:
                with _quiet():
                    answer = send(client, *args, **kwargs)
            except Exception as exc:
                if not _is_lost(exc):
                    raise
                _keep(client)
            else:
                _remember(client, send.__name__, arguments, answer)
                return answer
        return _write_kept(client, send.__name__, arguments)

    return write


def _reading(ask: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(ask)
    def read(client: Any, *args: Any, **kwargs: Any) -> Any:
        if client.kept is None:
            try:
                with _quiet():
                    return ask(client, *args, **kwargs)
            except Exception as exc:
                # Where no run is open, nothing of it could be read.
                if not _is_lost(exc) or not client.journal:
                    raise
                _keep(client)
        return _read_kept(client, ask, signature(ask).bind(None, *args, **kwargs))

    return read


def _read_kept(client: Any, ask: Callable[..., Any], bound: BoundArguments) -> Any:
    from mlrun.errors import MLRunNotFoundError, MLRunRuntimeError

    uid = bound.arguments.get("uid")
    if isinstance(uid, str):
        bound.arguments["uid"] = client.renamed.get(uid, uid)
    try:
        return getattr(client.kept, ask.__name__)(*bound.args[1:], **bound.kwargs)
    except MLRunNotFoundError as exc:
        raise MLRunRuntimeError(
            f"the MLRun API at {address(client.base_url)} stopped answering during this run, and "
            f"the embedded store hasn't what was asked: {exc}"
        ) from exc


@contextmanager
def _quiet() -> Iterator[None]:
    """Say once, and not at each of the many tries, that an API doesn't answer."""

    def once(record: logging.LogRecord) -> bool:
        if not said and record.levelno >= logging.WARNING:
            said.append(record)
            logging.getLogger(__name__).warning(
                "The MLRun API doesn't answer. Trying again for half a minute ..."
            )
        return False

    said: list[logging.LogRecord] = []
    loggers = [logging.getLogger(name) for name in ("urllib3.connectionpool", "mlrun.http-client")]
    for logger in loggers:
        logger.addFilter(once)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(once)


def _is_lost(exc: Exception) -> bool:
    import requests

    gateway_says = {
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
    if isinstance(exc.__cause__, requests.HTTPError):
        # It answered; only a gateway answers in place of an API that is away.
        return getattr(exc, "error_status_code", None) in gateway_says
    return isinstance(exc.__cause__, requests.RequestException)


def _remember(client: Any, name: str, arguments: dict[str, Any], answer: Any) -> None:
    """Note what was sent, until its run has ended."""
    from mlrun.common.runtimes.constants import RunStates

    client.journal.append((name, arguments, answer))
    written = arguments.get("struct") or {}
    written = written if isinstance(written, dict) else written.to_dict()
    state = (arguments.get("updates") or {}).get(
        "status.state", written.get("status", {}).get("state")
    )
    if state in RunStates.terminal_states():
        uid = arguments["uid"]
        client.journal = [entry for entry in client.journal if _run_of(entry[1]) != uid]


def _run_of(arguments: dict[str, Any]) -> str:
    if "artifact" not in arguments:
        return str(arguments["uid"])
    producer = (arguments["artifact"].get("spec") or {}).get("producer") or {}
    return str(producer.get("uri", "")).rpartition("/")[2]


def _keep(client: Any) -> None:
    """Put what was sent of the open runs into the embedded store, which is used from now on."""
    from ..store.db import LocalRunDB

    client.kept = LocalRunDB(client.embedded_store())
    for name, arguments, sent in client.journal:
        kept = _write_kept(client, name, arguments)
        if name == "store_artifact":
            # An API of another release gives artifacts other uids, which the run goes on naming.
            client.renamed[sent["metadata"]["uid"]] = kept["metadata"]["uid"]
    client.journal = []


def _write_kept(client: Any, name: str, arguments: dict[str, Any]) -> Any:
    if name in {"store_run", "update_run"}:
        arguments = renamed(arguments, client.renamed)
    answer = getattr(client.kept, name)(**arguments)
    if name in {"store_run", "update_run"}:
        run = {
            field: arguments[field] for field in ("uid", "project", "iter") if field in arguments
        }
        # Each time, for MLRun writes all labels and annotations of a run anew.
        client.kept.update_run(
            {
                f"metadata.labels.{UNSENT}": address(client.base_url),
                f"metadata.annotations.{SENT}": json.dumps(client.renamed),
            },
            **run,
        )
    return answer


def renamed(value: Any, uids: dict[str, str]) -> Any:
    """Give URIs of artifacts other uids.

    Args:
        value: URIs, in dicts and lists of any depth.
        uids: the new uid of each artifact's uid.

    Returns:
        A copy; what is in it beside such URIs stays as it is.

    Example:
        >>> renamed({"model": "store://models/iris/forest#0@f1^9e5a"}, {"9e5a": "77"})
        {'model': 'store://models/iris/forest#0@f1^77'}
    """
    if isinstance(value, dict):
        return {key: renamed(item, uids) for key, item in value.items()}
    if isinstance(value, list):
        return [renamed(item, uids) for item in value]
    if isinstance(value, str) and value.startswith("store://"):
        before, caret, uid = value.rpartition("^")
        return f"{before}{caret}{uids.get(uid, uid)}"
    return value
