"""What the fields of runs' and artifacts' records hold, and how they are named."""

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
    """Make a name that MLRun takes for a run: `__default__` becomes `default`."""
    return re.sub(r"[^-A-Za-z0-9_.]+", "-", name)[:63].strip("-_.") or DEFAULT_CONTEXT_NAME


def artifact_file(record: Mapping[str, Any]) -> str:
    """Give the path or URL of an artifact's bytes, of a model its own file; "" if it is inline."""
    spec = record["spec"]
    return (spec.get("target_path") or "") + (spec.get("model_file") or "")


def artifact_uid(uri: Any) -> str:
    """Give the uid of the artifact that a URI names: `9e5a` of `store://models/iris/forest^9e5a`."""
    return str(uri).partition("^")[2] if str(uri).startswith("store://") else ""


def producer(record: Mapping[str, Any]) -> str:
    """Give the id of the run that has saved an artifact; "" where no run did."""
    of = record["spec"].get("producer") or {}
    if of.get("kind") != "run":
        return ""
    # An iteration of a run has the run's id with its number.
    iteration = (record.get("metadata") or {}).get("iter")
    return str(of.get("uri") or "").rpartition("/")[2].removesuffix(f"-{iteration}")


def moment(text: Any) -> datetime | None:
    """Read a time as MLRun writes it. Without a zone it is UTC."""
    if not text:
        return None
    value = text if isinstance(text, datetime) else datetime.fromisoformat(str(text))
    return value if value.tzinfo else value.replace(tzinfo=UTC)
