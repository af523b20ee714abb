"""What the fields of records hold: names, times and files, and which files are a run's own."""

import hashlib
import json
import numbers
import re
import unicodedata
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

OWN = "kedro."  # begins the keys of what is recorded beside what the nodes save
DEFAULT_CONTEXT_NAME = "kedro-mlrun-ctx"  # of a run that saving something in a notebook opens
PROCESS = "process"  # the label that tells which process of the host has the run open
# Annotations of a search's run: what it was asked for, and how much each parameter counts; and of
# each of its iterations, what that was given.
SEARCH, IMPORTANCE, TRIAL = "kedro.search", "kedro.importance", "kedro.trial"
SWEEP = "kedro.sweep"  # and of MLRun's own sweep, what the best of it is chosen by
# The annotation of a pipeline's run with what it was made of, and the files that it saved.
MADE_OF = "kedro.made-of"
# The label of a run that gave a model's version an alias, or was to: the model's key.
PROMOTION = "promotion"
# How annotations begin that tell where each flattened result stood in the nested dict.
PATHS = "kedro-mlrun.result."
# JSON has no such numbers, and MLRun's API gives null for them. The texts are json.dumps's.
NOT_FINITE = ("NaN", "Infinity", "-Infinity")
# The annotation of a run that a new job goes on with: what its record had before.
BEFORE = "kedro.before"
# The label of runs that another run has started as jobs, with its id; MLRun has none for that, but
# for functions `mlrun/parent-function`.
PARENT = "mlrun/parent-run"
# What is no part of an artifact's hash, by its kind.
NO_PART: dict[str, tuple[str, ...]] = {"artifact": ("db_key", "extra_data")}
NO_PART["dataset"] = (*NO_PART["artifact"], *"schema header length column_metadata".split())
NO_PART["dataset"] += "features", "partition_keys", "timestamp_key", "label_column"
NO_PART["model"] = (*NO_PART["artifact"], *"metrics parameters inputs outputs".split())
NO_PART["model"] += "feature_vector", "feature_weights", "feature_stats"
# Without a time, MLRun lists the runs of one week, and of each name the newest.
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
TERMINAL_STATES = ("completed", "error", "aborted", "skipped")
OWN_ID = re.compile("[0-9a-f]{32}")  # of a run; another one may be the name of any folder


def run_name(name: str) -> str:
    """Make a name that MLRun takes for a run: `__default__` is `default`, and `é` is `e`."""
    name = unicodedata.normalize("NFKD", name.replace("ß", "ss"))
    name = "".join(letter for letter in name if not unicodedata.combining(letter))
    return re.sub(r"[^-A-Za-z0-9_.]+", "-", name)[:63].strip("-_.") or DEFAULT_CONTEXT_NAME


def run_title(run: Mapping[str, Any]) -> str:
    """Give the name that people see: with `+` between the pipelines that a run is named after."""
    names = str((run.get("labels") or {}).get("pipeline") or "").split(",")
    title, name = "+".join(part.strip("_") for part in names), str(run.get("name") or "")
    return title if title and run_name(title) == name else name


def artifact_file(record: Mapping[str, Any]) -> str:
    """Give the path or URL of an artifact's bytes, of a model its own file; "" if it is inline."""
    spec = record["spec"]
    return (spec.get("target_path") or "") + (spec.get("model_file") or "")


def artifact_uid(uri: Any) -> str:
    """Give the uid of the artifact that a URI names: `9e5a` of `store://models/iris/forest^9e5a`."""
    return str(uri).partition("^")[2] if str(uri).startswith("store://") else ""


def artifact_uri(record: Mapping[str, Any], tag: str = "") -> str:
    """Give the `store://` URI of a version of an artifact; a tag in it may move on."""
    metadata, kind = record["metadata"], record.get("kind")
    place = f"{kind}s" if kind in {"model", "dataset", "llm-prompt"} else "artifacts"
    uri = f"store://{place}/{metadata.get('project')}/{record['spec'].get('db_key')}"
    parts = {"#": metadata.get("iter"), ":": tag or None}
    parts |= {"@": metadata.get("tree"), "^": metadata.get("uid")}
    return uri + "".join(f"{sign}{part}" for sign, part in parts.items() if part is not None)


def artifact_hash(record: Mapping[str, Any], iteration: int, tree: str | None) -> str:
    """Give the uid of a version of an artifact: the hash of what makes it what it is.

    As MLRun has it (mlrun.artifacts.base.fill_artifact_object_hash), for the kinds in `NO_PART`.
    """
    metadata, spec = {**record["metadata"]}, {**record["spec"]}
    metadata |= {"iter": iteration or metadata.get("iter"), "tree": metadata.get("tree") or tree}
    metadata |= {"tag": "", "uid": "", "updated": None}
    for name in ("labels", "created"):
        metadata.pop(name, None)
    for name in NO_PART[record.get("kind") or "artifact"]:
        spec.pop(name, None)
    what = {**record, "metadata": metadata, "spec": spec, "status": None}
    text = json.dumps(what, sort_keys=True, default=str)
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def as_json(value: Any) -> Any:
    """Copy what a record holds as JSON's types, other values as MLRun writes them."""
    return json.loads(json.dumps(value, default=_of_numpy))


def _of_numpy(value: Any) -> Any:
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    return value.tolist() if getattr(value, "shape", ()) else str(value)


def artifact_named(uri: str) -> dict[str, str]:
    """Take apart what names an artifact: `[project/]key[#iter][:tag][@tree][^uid]`, or a URI."""
    # MLRun's own rule (mlrun.utils.regex.artifact_uri_pattern).
    pattern = (
        r"(store://((artifacts|models|datasets|documents|llm-prompts)/)?)?((?P<project>.*)/)?"
        r"(?P<key>.*?)(#(?P<iter>\d*))?"
        r"(:(?P<tag>.*?))?(@(?P<tree>.*?))?(\^(?P<uid>.*))?"
    )
    found = re.fullmatch(pattern, uri.rstrip("/"))
    return {name: part for name, part in found.groupdict().items() if part} if found else {}


def producer(record: Mapping[str, Any]) -> str:
    """Give the id of the run that has saved an artifact; "" where no run did."""
    of = record["spec"].get("producer") or {}
    if of.get("kind") != "run":
        return ""
    # An iteration of a run has the run's id with its number.
    iteration = (record.get("metadata") or {}).get("iter")
    return str(of.get("uri") or "").rpartition("/")[2].removesuffix(f"-{iteration}")


_PLAIN = (str, int, float, list, tuple)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Give nested dicts as one, with dots in the names."""
    return {prefix + ".".join(map(str, path)): leaf for path, leaf in leaves(values)}


def leaves(values: Mapping[Any, Any]) -> Iterator[tuple[list[Any], Any]]:
    """Give what is in nested dicts, each with its path; an empty dict is a value itself."""
    for name, value in values.items():
        # Most values are plain ones, which are told sooner than that they are no mappings.
        if value and not isinstance(value, _PLAIN) and isinstance(value, Mapping):
            yield from (([name, *path], leaf) for path, leaf in leaves(value))
        else:
            yield [name], value


def section(run: Mapping[str, Any], part: str, field: str) -> dict[str, Any]:
    """Give a dict of a run's record; an empty one for what it lacks, or has otherwise."""
    fields = run.get(part)
    found = fields.get(field) if isinstance(fields, Mapping) else None
    return dict(found) if isinstance(found, Mapping) else {}


def run_fields(*sections: Mapping[str, Any]) -> dict[str, Any]:
    """Give a run's parameters, results and labels by their names, as `params.split.seed`."""
    found: dict[str, Any] = {}
    for prefix, values in zip(("params.", "results.", "labels."), sections, strict=True):
        found |= flatten(values, prefix)
    return found


def failure(run: Mapping[str, Any]) -> str:
    """Give what a run has failed with or was aborted for, and after an empty line the traceback."""
    status = run.get("status") or {}
    text = status.get("status_text") if status.get("state") == "aborted" else None
    return str(status.get("error") or text or "").strip()


def moment(text: Any) -> datetime | None:
    """Read a time as MLRun writes it. Without a zone it is UTC."""
    value = datetime.fromisoformat(str(text)) if text else None
    return value.replace(tzinfo=value.tzinfo or UTC) if value else None


def run_folder(artifact_path: str, uid: str) -> str:
    """Give the folder that one run writes to and no other."""
    if "://" not in artifact_path:
        artifact_path = Path(artifact_path).absolute().as_posix()
    if uid in artifact_path or "{{run.uid}}" in artifact_path:
        return artifact_path
    return f"{artifact_path.rstrip('/')}/{uid}"


def own_folder(path: str, run_id: str) -> str:
    """Give the folder of a run that a path or URL is in, up to the run's id; "" if in none."""
    # An iteration of a sweep has the sweep's id with its number.
    found = OWN_ID.fullmatch(run_id) and re.match(rf"(.*?/{run_id}(-\d+)?)/", f"{path}/")
    return found[1] if found else ""
