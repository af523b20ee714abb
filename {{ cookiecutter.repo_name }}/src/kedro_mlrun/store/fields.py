"""What the fields of runs' and artifacts' records hold, and how they are named."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

OWN = "kedro."
"""Beginning of the keys of what is recorded beside what the nodes save."""

DEFAULT_CONTEXT_NAME = "kedro-mlrun-ctx"
"""The name of a run that a notebook or a script opens by saving something."""

PROCESS = "process"
"""The label that tells which process of the host has the run open."""


def run_name(name: str) -> str:
    """Make a name that MLRun takes for a run.

    Args:
        name: any text, such as the name of a Kedro pipeline.

    Returns:
        At most 63 letters, digits, dots, hyphens and underscores, a letter or digit at each end.

    Example:
        >>> run_name("__default__"), run_name("data science")
        ('default', 'data-science')
    """
    return re.sub(r"[^-A-Za-z0-9_.]+", "-", name)[:63].strip("-_.") or DEFAULT_CONTEXT_NAME


def artifact_file(record: Mapping[str, Any]) -> str:
    """Give the file or folder, or the URL, that an artifact's bytes are in.

    Args:
        record: the artifact's record.

    Returns:
        Its target path; of a model that of the model's own file. Empty for an inline artifact.

    Example:
        >>> artifact_file({"spec": {"target_path": "/data/forest/", "model_file": "model.pkl"}})
        '/data/forest/model.pkl'
    """
    spec = record["spec"]
    return (spec.get("target_path") or "") + (spec.get("model_file") or "")


def artifact_uid(uri: Any) -> str:
    """Give the uid of the artifact that a URI names.

    Args:
        uri: a run's input.

    Returns:
        The uid; empty where the URI has none, or isn't one of MLRun's artifacts.

    Example:
        >>> artifact_uid("store://models/iris/forest#0@f1c0^9e5a")
        '9e5a'
    """
    return str(uri).partition("^")[2] if str(uri).startswith("store://") else ""


def producer(record: Mapping[str, Any]) -> str:
    """Give the id of the run that has saved an artifact.

    Args:
        record: the artifact's record.

    Returns:
        The run's id; empty where no run did.

    Example:
        >>> producer({"spec": {"producer": {"kind": "run", "uri": "iris/f1c0"}}})
        'f1c0'
    """
    of = record["spec"].get("producer") or {}
    if of.get("kind") != "run":
        return ""
    # An iteration of a run has the run's id with its number.
    iteration = (record.get("metadata") or {}).get("iter")
    return str(of.get("uri") or "").rpartition("/")[2].removesuffix(f"-{iteration}")


def moment(text: Any) -> datetime | None:
    """Read a time as MLRun writes it.

    Args:
        text: the time; None for none. Without a zone it is UTC.

    Returns:
        The time with its zone, or None.

    Example:
        >>> moment("2026-11-21 10:00:00").isoformat()
        '2026-11-21T10:00:00+00:00'
    """
    if not text:
        return None
    value = text if isinstance(text, datetime) else datetime.fromisoformat(str(text))
    return value if value.tzinfo else value.replace(tzinfo=UTC)
