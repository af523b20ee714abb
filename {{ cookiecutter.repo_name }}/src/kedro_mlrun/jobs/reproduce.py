"""A recorded run, made once more in a folder of its own, and what comes out otherwise."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import yaml
from kedro.io import AbstractDataset

from ..records.records import RecordNotFoundError, Records
from ..records.summaries import artifact_summary, uid_of
from ..runs import provenance
from ..secrets.known import REDACTED
from ..store.fields import MADE_OF, OWN, SEARCH, SWEEP, artifact_uri, run_title, section
from ..store.rows import Record
from ..store.store import Store
from . import rerun
from .background import inherited

ROUNDING = 1e-9  # by which share numbers may differ that are sums, added up in another order
# What has such a name is another one each time.
_TIME = re.compile(r"(^|[._ ])(seconds|duration|elapsed|runtime|time|timestamp)($|[._ ])")
# What is recorded in place of a parameter's value; that one is taken from the project's files.
_STAND_INS = {REDACTED, "NaN", "Infinity", "-Infinity"}


class ReproduceError(click.ClickException):
    """A run can't be made once more."""


def reproduce(records: Records, run: Record, folder: Path) -> Record:
    """Make a run once more, and tell what comes out otherwise.

    It is made of the commit, parameters, files and artifacts that its record names, and is recorded
    in a store of its own. Nothing of that is left.

    Args:
        records: those that have the run.
        run: its record.
        folder: the project's, with its repository and its data.

    Returns:
        How many results, artifacts and files are `equal`, the `differences`, each with a `reason`
        if nothing is wrong with it, and the `packages` of another version.

    Raises:
        ReproduceError: the record doesn't tell enough, the inputs are others by now, or it fails.
    """
    _check(run)
    made_of = json.loads(run["metadata"]["annotations"][MADE_OF])
    commit = run["metadata"]["labels"]["git-commit"]
    with TemporaryDirectory(prefix="kedro-mlrun-reproduce-") as place:
        project = Path(place, folder.name)
        _unpack(folder, commit, project)
        _bring_files(folder, run, made_of["loaded"], project)
        own = Records(Store(f"sqlite:///{project.as_posix()}/.mlrun/mlrun.db"), records.project)
        inputs = _bring_records(records, run, made_of["loaded"], own.db)
        again = _run_again(folder, run, inputs, project, own)
        found = _compared(_outcome(records, run), _outcome(own, again))
    return {"run": uid_of(run), "commit": commit, **found}


def _named(run: Record) -> str:
    return f"Run '{run_title(run['metadata'])}' {uid_of(run)[:8]}"


def _check(run: Record) -> None:
    labels, notes = (section(run, "metadata", name) for name in ("labels", "annotations"))
    why = ""
    if {SEARCH, SWEEP} & notes.keys():
        why = "is a search. Reproduce a run with the parameters that it has found."
    elif (state := run["status"].get("state")) != "completed":
        why = f"is {state}. Reproduce one that is completed."
    elif MADE_OF not in notes:
        why = (
            "has no record of what it was made of. Reproduce a run of a pipeline, made from now on."
        )
    elif section(run, "spec", "parameters").get(f"{OWN}only_missing_outputs"):
        why = "has made only what was missing then. Reproduce one that has made all."
    elif "git-commit" not in labels:
        why = "is of no commit. Commit the project, and run it again."
    elif labels.get("git-dirty") != "false":
        why = "is of changes that were in no commit. Commit them, and run it again."
    if why:
        raise ReproduceError(f"{_named(run)} {why}")


def _unpack(folder: Path, commit: str, project: Path) -> None:
    """Unpack the project as it is in a commit, with this machine's configuration."""
    from kedro.framework.project import settings

    archive, conf = project.with_name("code.tar"), folder / settings.CONF_SOURCE
    done = provenance.git(folder, "archive", "--format=tar", f"--output={archive}", commit)
    if done.returncode:
        why = " ".join(done.stderr.split())
        raise ReproduceError(f"git can't give commit {commit[:12]} ({why}). Fetch it: git fetch")
    with tarfile.open(archive) as tar:
        tar.extractall(project, filter="tar")
    # Without this folder Kedro doesn't start.
    (project / settings.CONF_SOURCE / "local").mkdir(parents=True, exist_ok=True)
    for file in filter(Path.is_file, {*conf.glob("local/**/*"), *conf.rglob("*credentials*")}):
        _copy(file, project / file.relative_to(folder))


def _copy(file: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(file, target)


def _bring_files(folder: Path, run: Record, loaded: Mapping[str, Any], project: Path) -> None:
    """Bring the files that a run has loaded, if they are the same as then."""
    others = []
    for name, origin in loaded.items():
        path, recorded = origin if isinstance(origin, list) else ("", "")
        here, there = folder / path, project / path  # the same, if it isn't in the project
        found = provenance.file_hash(here) if here.is_file() else ""
        if found == recorded:
            if path and here != there:
                _copy(here, there)
            continue
        # What is committed by now may be another one; what isn't is what the question is about.
        if here != there and there.is_file() and provenance.file_hash(there) == recorded:
            if not provenance.git(folder, "status", "--porcelain", "--", path).stdout:
                continue
        is_now = f"has the SHA-1 {found}" if found else "is gone"
        others.append(f"Input '{name}': {here} {is_now}; the run's had {recorded}.")
    if others:
        told = "\n".join(others)
        raise ReproduceError(
            f"{_named(run)} can't be reproduced, for its data are others by now.\n{told}\n"
            "Restore them, or make a new run of those that are there."
        )


def _bring_records(
    records: Records, run: Record, loaded: Mapping[str, Any], store: Store
) -> dict[str, str]:
    """Copy the records that a run has loaded from, and give its inputs by their catalog entries."""
    given = {name: str(path) for name, path in section(run, "spec", "inputs").items()}
    inputs = {name: path for name, path in given.items() if not path.startswith("store://")}
    for name, origin in loaded.items():
        if str(origin).startswith("store://"):
            # Its file stays where it is.
            record = records.artifact(origin)
            metadata, key = record["metadata"], record["spec"]["db_key"]
            where = {"iter": metadata.get("iter") or 0, "tree": metadata["tree"]}
            inputs[name] = artifact_uri(store.store_artifact(key, record, records.project, **where))
        elif isinstance(origin, str):
            # Of its results there are no versions: this is the newest run that has them.
            store.store_run(records.run(origin), origin, records.project)
    return inputs


def _run_again(
    folder: Path, run: Record, inputs: Mapping[str, str], project: Path, own: Records
) -> Record:
    """Make the run in a process of its own, and give its record."""
    path = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    path = [place for place in path if place and not Path(place).absolute().is_relative_to(folder)]
    settings = {
        "MLRUN_ACTIVE_PROJECT": own.project,
        "MLRUN_ARTIFACT_PATH": f"{project}/.mlrun/artifacts",
        "MLRUN_DBPATH": f"sqlite:///{project}/.mlrun/mlrun.db",
        "MLRUN_IGNORE_ENV_FILE": "true",
        "PYTHONPATH": os.pathsep.join(path),
    }
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-P", "-c", Path(rerun.__file__).read_text(encoding="utf-8")],
        cwd=project,
        env=inherited() | settings,
        input=json.dumps(_told(run, inputs)),
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode:
        why = done.stderr.strip().rpartition("\n")[2]
        with suppress(RecordNotFoundError):
            why = str(own.run("last")["status"].get("error") or why).partition("\n\n")[0]
        raise ReproduceError(
            f"{_named(run)} fails now: {why.rstrip('.')}. Look at what it needs beside its commit, "
            "parameters and data: packages, services, files that no catalog entry names."
        )
    return own.run("last")


def _told(run: Record, inputs: Mapping[str, str]) -> Record:
    """Give what `rerun` is told: which nodes run, and with which parameters and inputs."""
    parameters = section(run, "spec", "parameters")
    given = {name: parameters.get(f"{OWN}{name}") for name in provenance.OPTIONS}
    options = {provenance.OPTIONS[name]: value for name, value in given.items() if value}
    params = options.pop("runtime_params", {})
    if uri := section(run, "status", "artifact_uris").get(f"{OWN}parameters"):
        entry = {"type": "kedro_mlrun.MLRunAbstractDataset", "key": uri}
        params = yaml.safe_load(AbstractDataset.from_config("parameters", entry).load())
    told = {"env": options.pop("env", None), "runner": options.pop("runner"), "inputs": inputs}
    names, versions = options["pipeline_names"].split(","), options.get("load_versions") or {}
    options["pipeline_names"] = None if names == [provenance.DEFAULT] else names
    options["load_versions"] = {n: of for n, of in versions.items() if n not in inputs}
    return {**told, "params": _recorded(params), "options": options}


def _recorded(params: Mapping[str, Any]) -> Record:
    """Give parameters but for those that have stand-ins."""
    found = {}
    for name, value in params.items():
        texts = value if isinstance(value, list) else [value]
        if not any(isinstance(text, str) and text in _STAND_INS for text in texts):
            found[name] = _recorded(value) if isinstance(value, dict) else value
    return found


def _outcome(records: Records, run: Record) -> Record:
    """Give what a run has made: results by value, artifacts and files by hash."""
    own = json.loads(run["metadata"]["annotations"][MADE_OF])
    saved = {told["key"]: told for told in map(artifact_summary, records.artifacts_of(run))}
    saved = {key: told for key, told in saved.items() if not key.startswith(OWN)}
    return {
        "result": section(run, "status", "results"),
        "artifact": {key: told["hash"] for key, told in saved.items()},
        "file": {name: recorded for name, (_, recorded) in own["saved"].items()},
        "paths": {key: told["path"] for key, told in saved.items()},
        "packages": own["packages"],
    }


def _compared(before: Record, after: Record) -> Record:
    """Tell what two runs have made otherwise, and the reason where nothing is wrong with that."""
    pairs = ((n, v, after["packages"].get(n, v)) for n, v in before["packages"].items())
    packages = [f"{name} {now} (then {then})" for name, then, now in pairs if then != now]
    differences, reasons, equal = [], dict[str, str](), Counter[str]()
    for kind in ("result", "artifact", "file"):
        for name in dict.fromkeys([*before[kind], *after[kind]]):
            then, now = before[kind].get(name), after[kind].get(name)
            # An artifact that MLRun itself has logged may have no hash.
            if repr(then) == repr(now) and (kind == "result" or then):
                equal[kind] += 1
                continue
            share = _share(then, now)
            columns = _columns(before["paths"].get(name, ""), after["paths"].get(name, ""))
            if _TIME.search(name) or (columns and all(map(_TIME.search, columns))):
                reasons[name] = "a time"
            elif share is not None and share < ROUNDING:
                reasons[name] = "rounding, as of a sum in the order of threads"
            elif name.endswith(".chart"):
                reasons[name] = reasons.get(name.removesuffix(".chart"), "")
            reason = reasons.get(name) or ("other packages" if packages else "")
            told = {"kind": kind, "name": name, "recorded": then, "now": now}
            differences.append({**told, "relative": share, "reason": reason})
    return {"packages": packages, "equal": dict(equal), "differences": differences}


def _share(then: Any, now: Any) -> float | None:
    """Give by which share of the larger one two numbers differ; None for anything else."""
    are_numbers = all(type(v) in {int, float} and math.isfinite(v) for v in (then, now))
    return abs(now - then) / max(abs(then), abs(now)) if are_numbers else None


def _columns(then: str, now: str) -> list[str]:
    """Name the columns in which two tables in Parquet differ, if nothing else differs."""
    import pandas as pd

    with suppress(Exception):  # of a file that is none, or gone
        if then.endswith(".parquet") and now:
            one, other = pd.read_parquet(then), pd.read_parquet(now)
            if one.columns.equals(other.columns) and one.index.equals(other.index):
                return [str(name) for name in one if not one[name].equals(other[name])]
    return []
