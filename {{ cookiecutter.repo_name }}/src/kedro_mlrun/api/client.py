"""An MLRun API that may not answer: asked before a run begins, and what it was not sent."""

import os
import sys
import threading
import warnings

import click

from ..lazy import mlrun

_PATIENCE, _LONGEST_WAIT = (3, 3), 6  # seconds: to connect and to answer; in all


class APIUnreachableError(click.ClickException, ConnectionError):
    """The MLRun API doesn't answer: one line for the user of Kedro."""


def check(url: str) -> None:
    """Make sure that an MLRun API answers within ten seconds; any other URL is fine."""
    if not url.startswith("http"):
        return
    outcome = ["no answer"]
    # In a thread, because looking up a name can't be given a limit.
    thread = threading.Thread(target=lambda: outcome.append(_knock(url)), daemon=True)
    thread.start()
    thread.join(_LONGEST_WAIT)
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
    health = f"{url.rstrip('/')}/api/v1/healthz"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            response = requests.get(health, timeout=_PATIENCE, verify=verify)
    except requests.exceptions.InvalidURL:
        # Its message may hold a part of a password.
        return "it isn't a URL"
    except requests.RequestException as exc:
        reason = getattr(exc.args[0] if exc.args else exc, "reason", exc)
        return str(reason).rpartition(": ")[2] or type(exc).__name__
    # Who must log in first, does so with MLRun's own means.
    if response.ok or response.status_code in {401, 403}:
        return ""
    return f"it says {response.status_code} {response.reason}"


def address(url: str) -> str:
    """Give a run database's URL without the credentials that it may hold."""
    scheme, separator, rest = url.partition("://")
    return url if scheme == "sqlite" else f"{scheme}{separator}{rest.rpartition('@')[2]}"


def forget_connection() -> None:
    """Let MLRun connect anew, in a process that was forked from one that was connected."""
    factory = sys.modules.get("mlrun.db.factory")
    if factory:
        # MLRun has no public way to do that without asking the API something.
        factory.RunDBFactory()._run_db = None
    mlrun.datastore.store_manager._db = None
