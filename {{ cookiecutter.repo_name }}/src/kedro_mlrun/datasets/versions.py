"""Which version of an artifact is loaded: by a URI, of a run, or of a chain of runs."""

import re
from typing import Any

from kedro.io import DatasetError

from ..runs.chain import chain_id
from ..runs.manager import MLRunContextManager
from ..store.errors import is_not_found, not_found
from ..store.fields import LONG_AGO, artifact_named, producer, section
from ..store.rows import Record
from ..store.sqlite import SCHEME


def of_uri(uri: str, project: str, with_tag: bool = True) -> Record:
    """Give the version that a URI names; without its tag, which may move on to a later one."""
    which = {"project": project, **artifact_named(uri)}
    if not with_tag:
        which.pop("tag", None)
    iteration = {"iter": int(which.pop("iter"))} if "iter" in which else {}
    db = MLRunContextManager().store
    record: Record = db.read_artifact(**which, **iteration)
    if record.get("kind") == "link":  # of MLRun's API, to the best iteration
        which = {name: part for name, part in which.items() if name in {"project", "key", "tag"}}
        record = db.read_artifact(**which, iter=record["spec"].get("link_iteration", 0))
    return record


def whole_id(uid: str, project: str) -> str:
    """Give a run's id for the beginning of one, as people copy it; anything else as it is."""
    db = MLRunContextManager().store
    if not re.fullmatch("[0-9a-f]{1,31}", uid):
        return uid
    if db.kind == SCHEME:
        rows = db.find_runs(project=project, beginning=uid)
    else:
        rows = db.list_runs(project=project, start_time_from=LONG_AGO)
    found = sorted({i for row in rows if (i := str(row["metadata"]["uid"])).startswith(uid)})
    if len(found) > 1:
        several = f"is the beginning of several runs' ids: {', '.join(found[:3])}"
        raise DatasetError(f"'{uid}' {several}. Give more of it")
    return found[0] if found else uid


def of_run(uid: str, key: str, project: str, iteration: int) -> Record:
    """Give the version that a run has saved."""
    uid = whole_id(uid, project)
    run = MLRunContextManager().store.read_run(uid, project, iter=iteration)
    for uri in (run["status"].get("artifact_uris") or {}).values():
        if artifact_named(uri).get("key") == key:
            return of_uri(uri, project, with_tag=False)
    raise not_found(f"run {uid} has no artifact '{key}'")


def of_origin(uri: str, key: str, project: str) -> Record:
    """Give the version that the run had, or else its tree, which made another artifact's version.

    A run has what it saved, and what it loaded of earlier runs.
    """
    made = of_uri(uri, project)
    origin, uid = made["metadata"], producer(made)
    project = origin.get("project") or project
    run = MLRunContextManager().store.read_run(uid, project, iter=origin.get("iter") or 0)
    had = section(run, "status", "artifact_uris") | section(run, "spec", "inputs")
    for found in had.values():
        if artifact_named(str(found)).get("key") == key:
            return of_uri(found, project, with_tag=False)
    try:
        return of_tree(origin["tree"], key, project, tag=None, iter=None)
    except Exception as error:
        if not is_not_found(error):
            raise
        raise DatasetError(
            f"run {uid}, which made {uri}, has no '{key}'. Correct `key` or `of` in load_args"
        ) from None


def of_tree(tree: str, key: str, project: str, **which: Any) -> Record:
    """Give the newest version that a chain or a workflow has saved."""
    # Not read_artifact: MLRun's API then looks only at what is the latest of all trees.
    best = which["iter"] is None
    db = MLRunContextManager().store
    found = db.list_artifacts(name=key, project=project, tree=tree, best_iteration=best, **which)
    if not found:
        what = "chain" if tree == chain_id() else "tree"
        raise not_found(f"{what} {tree} has no artifact '{key}'")
    return dict(max(found, key=lambda record: str(record["metadata"].get("updated"))))
