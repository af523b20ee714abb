"""A recorded run, made once more in a folder of its own, and what comes out otherwise."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import yaml
from kedro.io import AbstractDataset, DatasetError

from ..records.records import RecordNotFoundError, Records
from ..records.summaries import artifact_key, artifact_summary, uid_of, unreproducible
from ..runs import provenance
from ..secrets.known import REDACTED
from ..store.fields import MADE_OF, OWN, artifact_uri, run_title, section
from ..store.rows import Record
from ..store.store import Store
from . import rerun
from .background import inherited

ROUNDING = 1e-9  # by which share numbers may differ that are sums, added up in another order
# What has such a name is another one each time; `trip_duration` may be what is predicted.
_WORK = "((mean|std)_)?(fit|train(ing)?|score|predict(ion)?|load|save|run|wall|cpu|total)[_ ]"
_TIME = re.compile(rf"(^|[.])({_WORK})?(seconds|duration|elapsed|time|timestamp)$")
_PARAMETERS = f"{OWN}parameters"  # the artifact that has them as they were


class ReproduceError(click.ClickException):
    """A run can't be made once more."""

    exit_code = 2


def reproduce(records: Records, run: Record, folder: Path) -> Record:
    """Make a run once more, of what its record names, and tell what comes out otherwise.

    The `differences` with which nothing is wrong have a `reason`. The project's `folder` has the
    repository and the data; nothing is written there, nor to the records.
    """
    _check(run)
    commit, loaded = run["metadata"]["labels"]["git-commit"], _made_of(run)["loaded"]
    with TemporaryDirectory(prefix="kedro-mlrun-reproduce-") as place:
        project = Path(place, folder.name)
        _unpack(folder, commit, project)
        _bring_files(folder, run, loaded, project)
        own = Records(Store(f"sqlite:///{project.as_posix()}/.mlrun/mlrun.db"), records.project)
        inputs = _bring_records(records, run, loaded, own.db)
        again = _run_again(folder, run, inputs, project, own)
        found = _compared(_outcome(records, run), _outcome(own, again))
    return {"run": uid_of(run), "commit": commit, **found}


def _named(run: Record) -> str:
    return f"Run '{run_title(run['metadata'])}' {uid_of(run)[:8]}"


def _made_of(run: Record) -> Any:
    return json.loads(run["metadata"]["annotations"][MADE_OF])


def _check(run: Record) -> None:
    if why := unreproducible(run):
        raise ReproduceError(f"{_named(run)} {why}")
    for name, (path, _) in _made_of(run)["saved"].items():
        if Path(path).is_absolute() or "://" in path:
            raise ReproduceError(
                f"{_named(run)} has saved '{name}' as {path}, outside of the project, and would do "
                "so again. Reproduce one that saves in MLRun, or in the project's folder."
            )


def _unpack(folder: Path, commit: str, project: Path) -> None:
    """Unpack the project as it is in a commit, with this machine's configuration."""
    from kedro.framework.project import settings

    archive, conf = project.with_name("code.tar"), folder / settings.CONF_SOURCE
    # As it is in the repository, wherever lines end otherwise in this clone.
    plain = "-c", "core.autocrlf=false", "-c", "core.eol=lf"
    arguments = "archive", "--format=tar", f"--output={archive}", commit
    done = provenance.git(folder, *plain, *arguments, seconds=3600)
    if done.returncode:
        why = " ".join(done.stderr.split())
        raise ReproduceError(
            f"git can't give the commit ({why}). Fetch it: git fetch origin {commit}"
        )
    shutil.unpack_archive(archive, project)
    # What is behind a link, such as to a disk of data, isn't this copy's.
    for path in [*project.rglob("*")]:
        if path.is_symlink() and not path.resolve().is_relative_to(project.resolve()):
            path.unlink()
            if (folder / path.relative_to(project)).is_dir():
                path.mkdir()
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
        if not isinstance(origin, list):
            continue
        path, recorded = origin
        here, there = folder / path, project / path  # the same, if it isn't in the project
        found = provenance.file_hash(here) if here.is_file() else ""
        if here.is_dir() and here != there:
            shutil.copytree(here, there, dirs_exist_ok=True)
        elif found == recorded and found and here != there:
            _copy(here, there)
        elif found != recorded and not _is_committed(folder, path, there, recorded):
            is_now = f"has the SHA-1 {found}" if found else "is gone"
            others.append(f"Input '{name}': {here} {is_now}; the run's had {recorded}.")
    if others:
        told = "\n".join(others)
        raise ReproduceError(
            f"{_named(run)} can't be reproduced, for its data are others by now.\n{told}\n"
            "Restore them, or make a new run of those that are there."
        )


def _is_committed(folder: Path, path: str, there: Path, recorded: str) -> bool:
    """Tell whether the commit has a file, and its changes since are in later ones."""
    if folder / path == there or not there.is_file() or provenance.file_hash(there) != recorded:
        return False
    return not provenance.git(folder, "status", "--porcelain", "--", path).stdout


def _bring_records(
    records: Records, run: Record, loaded: Mapping[str, Any], store: Store
) -> dict[str, str]:
    """Copy the records that a run has loaded from, and give its inputs by their catalog entries."""
    given = {name: str(path) for name, path in section(run, "spec", "inputs").items()}
    inputs = {name: path for name, path in given.items() if not path.startswith("store://")}
    inputs |= {name: loaded[name][0] for name in given if isinstance(loaded.get(name), list)}
    for name, origin in loaded.items():
        try:
            if str(origin).startswith("store://"):
                # Its file stays where it is.
                record = records.artifact(origin)
                of, place = record["metadata"], (artifact_key(record), record, records.project)
                stored = store.store_artifact(*place, iter=of.get("iter") or 0, tree=of["tree"])
                inputs[name] = artifact_uri(stored)
            elif isinstance(origin, str):
                # Of its results there are no versions: this is the newest run that has them.
                store.store_run(records.run(origin), origin, records.project)
        except RecordNotFoundError as error:
            raise ReproduceError(
                f"{_named(run)} has loaded '{name}' from a record that isn't there: "
                f"{error.message.partition('. ')[0]}. Make a new run of what is there."
            ) from None
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
        "TMPDIR": str(project.parent),
    }
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-P", "-c", Path(rerun.__file__).read_text(encoding="utf-8")],
        cwd=project,
        env=inherited() | settings,
        input=yaml.safe_dump(_told(run, inputs)),
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode:
        why, others = done.stderr.strip().rpartition("\n")[2], list[str]()
        with suppress(RecordNotFoundError, KeyError):  # it has failed before its record
            failed = own.run("last")
            why = str(failed["status"].get("error") or why).partition("\n\n")[0]
            others = _other_packages(_made_of(run), _made_of(failed))
        raise ReproduceError(
            f"{_named(run)} fails now: {why.rstrip('.')}. Look at what it needs beside its commit, "
            "parameters and data: services, files that no catalog entry names, packages"
            f"{' such as ' if others else ''}{', '.join(others)}."
        )
    return own.run("last")


def _told(run: Record, inputs: Mapping[str, str]) -> Record:
    """Give what `rerun` is told: which nodes run, and with which parameters and inputs."""
    parameters = section(run, "spec", "parameters")
    given = {name: parameters.get(f"{OWN}{name}") for name in provenance.OPTIONS}
    options = {provenance.OPTIONS[name]: value for name, value in given.items() if value}
    params = options.pop("runtime_params", {})
    if uri := section(run, "status", "artifact_uris").get(_PARAMETERS):
        entry = {"type": "kedro_mlrun.MLRunAbstractDataset", "key": uri}
        try:
            params = yaml.safe_load(AbstractDataset.from_config("parameters", entry).load())
        except DatasetError as error:
            raise ReproduceError(
                f"{_named(run)} can't be reproduced without its parameters: "
                f"{str(error).partition('. ')[0]}. Restore that, or make a new run."
            ) from None
    told = {"env": options.pop("env", None), "runner": options.pop("runner"), "inputs": inputs}
    names, versions = options["pipeline_names"].split(","), options.get("load_versions") or {}
    options["pipeline_names"] = None if names == [provenance.DEFAULT] else names
    options["load_versions"] = {n: of for n, of in versions.items() if n not in inputs}
    return {**told, "params": _recorded(params), "options": options}


def _recorded(params: Mapping[str, Any]) -> Record:
    """Give parameters but for secrets, which are taken from the project's files."""
    return {
        name: _recorded(value) if isinstance(value, dict) else value
        for name, value in params.items()
        if isinstance(value, dict) or REDACTED not in str(value)  # in a URL, anywhere in a list
    }


def _outcome(records: Records, run: Record) -> Record:
    """Give what a run has made: results by value, artifacts and files by hash."""
    saved, own = [*map(artifact_summary, records.artifacts_of(run))], _made_of(run)
    return {
        "result": section(run, "status", "results"),
        "artifact": {each["key"]: each["hash"] for each in saved if each["key"][: len(OWN)] != OWN},
        "file": {name: recorded for name, (_, recorded) in own["saved"].items() if recorded},
        "paths": {each["key"]: each["path"] for each in saved},
        "packages": own["packages"],
        "unchecked": sorted(n for n, of in own["loaded"].items() if of[1:] == [""]),
    }


def _other_packages(before: Record, after: Record) -> list[str]:
    """Name the packages of which two runs have had different versions."""
    pairs = ((n, v, after["packages"].get(n, v)) for n, v in before["packages"].items())
    return [f"{name} {now} (then {then})" for name, then, now in pairs if then != now]


def _compared(before: Record, after: Record) -> Record:
    """Tell what two runs have made otherwise, and the reason where nothing is wrong with that."""
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
            names = columns or [name]
            if None not in (then, now) and all(map(_TIME.search, names)):
                reasons[name] = "a time"
            elif share is not None and share < ROUNDING and float in {type(then), type(now)}:
                reasons[name] = "rounding, as of a sum in the order of threads"
            elif name.endswith(".chart"):
                reasons[name] = reasons.get(name.removesuffix(".chart"), "")
            each = {"kind": kind, "name": name, "recorded": then, "now": now}
            differences.append({**each, "relative": share, "reason": reasons.get(name, "")})
    packages = _other_packages(before, after)
    told = {"equal": dict(equal), "differences": differences, "packages": packages}
    return {**told, "unchecked": before["unchecked"]}


def _share(then: Any, now: Any) -> float | None:
    """Give by which share of the larger one two numbers differ; None for anything else."""
    are_numbers = all(type(v) in {int, float} and math.isfinite(v) for v in (then, now))
    return abs(now - then) / (max(abs(then), abs(now)) or 1) if are_numbers else None


def _columns(then: str, now: str) -> list[str]:
    """Name the columns in which two tables in Parquet differ, if nothing else differs."""
    import pandas as pd

    with suppress(Exception):  # of a file that is none, or gone
        if then.endswith(".parquet") and now:
            one, other = pd.read_parquet(then), pd.read_parquet(now)
            if one.columns.equals(other.columns) and one.index.equals(other.index):
                return [str(name) for name in one if not one[name].equals(other[name])]
    return []
