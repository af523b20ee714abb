"""What an existing project needs to be recorded: planned, written, and taken out again."""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from os.path import relpath
from pathlib import Path
from textwrap import indent
from typing import Any, NamedTuple

import click
import yaml
from kedro.framework.startup import ProjectMetadata
from slugify import slugify

from . import manifest
from .plugin import starter_folder

PACKAGE = manifest.PACKAGE
# The edits that were made. Git ignores the folder from inside.
MEMORY = Path(".mlrun", "init.json")
METRICS = re.compile(r"(metric|score|accurac|evaluation)[^.]*$")
MODEL = re.compile(r"(model|classifier|regressor|estimator)s?(_?v?\d+)?$")
# A CSV file may be that of a series, which is no data frame.
SERIES = re.compile(r"(^|[._])(y|target|label)s?(_[^.]*)?$")
KEPT = {"versioned", "metadata", "validator"}
# Lines of an entry, with the deeper lines, or the list, below them.
_OF_THE_FILE = r"(?m)^( +)(?:filepath|save_args) *:.*\n?(?:\1[ -].*\n?)*"
_TYPE = r"(?m)^( +)type *: *[^\s#]+"


class Edit(NamedTuple):
    """A new part of a file in place of an old one; with "" at its end, with None as a new file."""

    file: str
    old: str | None
    new: str

    def apply(self, text: str) -> str:
        """Give the file's new text."""
        return text.replace(self.old, self.new, 1) if self.old else text + self.new


def read(file: Path) -> str:
    """Read a file, with the ends of its lines as they are; nothing where there is none."""
    return file.read_bytes().decode() if file.is_file() else ""


def needed(metadata: ProjectMetadata, conf: Path, vendor: bool) -> list[Edit]:
    """Plan what a project lacks. Files that are there stay, but for lines at their end."""
    project, source = metadata.project_path, metadata.source_dir
    edits = [
        Edit(relpath(folder / Path(name).name, project), None, _from_starter(name, metadata))
        for folder, name in ((conf, "conf/base/mlrun.yml"), (project, "function.yaml"))
        if not (folder / Path(name).name).exists()
    ]
    edits += _with_lines(project, ".gitignore", "/.mlrun/")
    if vendor and not (source / PACKAGE.name).exists():
        for name in (*manifest.hashes(), manifest.MANIFEST):
            target = source / PACKAGE.name / name
            edits.append(Edit(relpath(target, project), None, read(PACKAGE / name)))
        edits += _as_entry_points(project, relpath(source / metadata.package_name, project))
    return edits


def _from_starter(name: str, metadata: ProjectMetadata) -> str:
    if not (starter := starter_folder()):
        raise click.ClickException(f"Only an installed kedro-mlrun has {name}. Install it first.")
    text = read(starter / "{{ cookiecutter.repo_name }}" / name)
    project = slugify(metadata.project_name, max_length=63) or slugify(metadata.package_name)
    source = metadata.source_dir.relative_to(metadata.project_path).as_posix()
    text = text.replace("{{ cookiecutter.mlrun_project }}", project)
    return text.replace("workdir: src ", f"workdir: {source} ")


def _as_entry_points(project: Path, package: str) -> list[Edit]:
    """Let the project's own files do what the entry points of an installed package do."""
    settings, cli = f"{package}/settings.py", f"{package}/cli.py"
    more = "*HOOKS, " if re.search(r"(?m)^HOOKS\b", read(project / settings)) else ""
    hooks = ["from kedro_mlrun import MLRunHooks  # noqa: E402", f"HOOKS = ({more}MLRunHooks(),)"]
    commands = ["from kedro_mlrun.commands.cli import cli, run  # noqa: F401"]
    if (project / cli).exists():
        commands = ["from kedro_mlrun.commands.cli import mlrun_group  # noqa: E402"]
        commands += ["cli.add_command(mlrun_group)"]
    return _with_lines(project, settings, *hooks) + _with_lines(project, cli, *commands)


def _with_lines(project: Path, file: str, *lines: str) -> list[Edit]:
    text = read(project / file)
    if lines[0] in text.splitlines():
        return []
    # A blank line before them, whether or not the last one has an end.
    before = [""] if text.endswith("\n") else ["", ""]
    new = "\n".join([*(before if text else []), "# Added by `kedro mlrun init`", *lines, ""])
    return [Edit(file, "" if (project / file).exists() else None, new)]


def catalog_edits(texts: Mapping[str, str], pipelines: Mapping[str, Any]) -> list[Edit]:
    """Plan how the entries change that nodes make and that MLRun has a dataset for."""
    nodes = [node for pipeline in pipelines.values() for node in pipeline.nodes]
    made = {name for node in nodes for name in node.outputs}
    edits = []
    for file, text in texts.items():
        catalog = yaml.safe_load(text) or {}
        for name in [name for name in catalog if name in made]:
            entry, own = catalog[name], _own(name, catalog[name])
            pattern = rf"""(?:\A|\n)["']?{re.escape(name)}["']? *:.*\n(?: .*\n?|\r?\n)+"""
            found = re.search(pattern, text)
            if not (own and found):
                continue
            # Comments and order stay.
            new = re.sub(_OF_THE_FILE, "", found[0])
            new = re.sub(_TYPE, lambda line: indent(own, line[1]), new)  # noqa: B023
            edit = Edit(file, found[0], new)
            kept = {key: entry[key] for key in entry if key in KEPT}
            wanted = {**catalog, name: kept | yaml.safe_load(own)}
            # Not where an anchor, or another way to write it, makes the edit change more or less.
            if yaml.safe_load(edit.apply(text)) == wanted:
                edits.append(edit)
    return edits


def _own(name: str, entry: Any) -> str:
    """Give an entry's new type, and what it needs beside it; nothing for one that stays."""
    if not isinstance(entry, dict) or entry.keys() - KEPT - {"type", "filepath", "save_args"}:
        return ""
    path = str(entry.get("filepath"))
    match str(entry.get("type")).removeprefix("kedro_datasets."):
        case _ if "://" in path or "@" in name or SERIES.search(name):
            return ""
        case "pandas.CSVDataset" | "pandas.ParquetDataset":
            return "type: kedro_mlrun.MLRunDataframeDataset"
        case "json.JSONDataset" | "yaml.YAMLDataset" if METRICS.search(name):
            return "type: kedro_mlrun.MLRunResult\nflatten: true"
        case "pickle.PickleDataset" if MODEL.search(name) or "models/" in path:
            return "type: kedro_mlrun.MLRunModel"
    return ""


def write(project: Path, edits: Sequence[Edit]) -> None:
    """Make edits, and remember them."""
    _remember(project, [*_remembered(project), *edits])
    for edit in edits:
        file = project / edit.file
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(edit.apply(read(file)).encode())


def undo(metadata: ProjectMetadata) -> tuple[set[str], set[str]]:
    """Take the edits back; give the files of those, and the files that were edited since."""
    project, edits = metadata.project_path, _remembered(metadata.project_path)
    left: list[Edit] = []
    for edit in reversed(edits):
        file = project / edit.file
        text = read(file)
        if edit.old is None and text == edit.new:
            file.unlink()
        elif edit.old is not None and edit.new in text:
            file.write_bytes(text.replace(edit.new, edit.old, 1).encode())
        elif text:
            left.insert(0, edit)
    _remember(project, left)
    package = metadata.source_dir / PACKAGE.name
    if not manifest.hashes(package):
        shutil.rmtree(package, ignore_errors=True)
    names = {edit.file for edit in left}
    return {edit.file for edit in edits} - names, names


def _remembered(project: Path) -> list[Edit]:
    return [Edit(*parts) for parts in json.loads(read(project / MEMORY) or "[]")]


def _remember(project: Path, edits: Sequence[Edit]) -> None:
    file = project / MEMORY
    file.parent.mkdir(exist_ok=True)
    file.with_name(".gitignore").write_text("*\n")
    file.write_text(json.dumps(edits), encoding="utf-8")
    if not edits:
        file.unlink()
        # Unless runs are recorded there.
        if len(list(file.parent.iterdir())) == 1:
            shutil.rmtree(file.parent)
