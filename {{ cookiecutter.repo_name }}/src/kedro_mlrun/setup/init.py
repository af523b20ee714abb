"""What an existing project needs to be recorded: planned, written, and taken out again."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from os.path import relpath
from pathlib import Path
from typing import NamedTuple

import click
from kedro.framework.startup import ProjectMetadata

from .plugin import starter_folder

PACKAGE = Path(__file__).parents[1]
MEMORY = Path(".mlrun", "init.json")
"""The edits that were made. Git ignores the folder from inside."""


class Edit(NamedTuple):
    """A new part of a file in place of an old one; with "" at its end, with None as a new file."""

    file: Path
    old: str | None
    new: str

    def apply(self, text: str | None) -> str:
        """Give the file's new text."""
        return text.replace(self.old, self.new, 1) if text and self.old else (text or "") + self.new


def read(file: Path) -> str | None:
    """Read a file, with the ends of its lines as they are; None where there is none."""
    return file.read_bytes().decode() if file.is_file() else None


def needed(metadata: ProjectMetadata, conf: Path, vendor: bool) -> list[Edit]:
    """Plan what a project lacks. Files that are there stay, but for lines at their end."""
    project, source = metadata.project_path, metadata.source_dir
    edits = [
        Edit(folder / Path(name).name, None, _from_starter(name, metadata))
        for folder, name in ((conf, "conf/base/mlrun.yml"), (project, "function.yaml"))
        if not (folder / Path(name).name).exists()
    ]
    edits += _with_lines(project / ".gitignore", "/.mlrun/")
    if vendor and not (source / PACKAGE.name).exists():
        for file in sorted(PACKAGE.rglob("*")):
            path = file.relative_to(PACKAGE)
            if file.is_file() and not {"starter", "__pycache__"} & set(path.parts):
                edits.append(Edit(source / PACKAGE.name / path, None, file.read_bytes().decode()))
        edits += _as_entry_points(source / metadata.package_name)
    return edits


def _from_starter(name: str, metadata: ProjectMetadata) -> str:
    from slugify import slugify

    starter = starter_folder()
    if starter is None:
        raise click.ClickException(
            f"{name} is missing, and this copy of kedro_mlrun has no starter to make it from. "
            "Install kedro-mlrun, and try again."
        )
    text = (starter / "{{ cookiecutter.repo_name }}" / name).read_text(encoding="utf-8")
    project = slugify(metadata.project_name, max_length=63) or slugify(metadata.package_name)
    source = relpath(metadata.source_dir, metadata.project_path).replace("\\", "/")
    text = text.replace("{{ cookiecutter.mlrun_project }}", project)
    return text.replace("workdir: src ", f"workdir: {source} ")


def _as_entry_points(package: Path) -> list[Edit]:
    """Let the project's own files do what the entry points of an installed package do."""
    settings, cli = package / "settings.py", package / "cli.py"
    more = "*HOOKS, " if re.search(r"^HOOKS\b", read(settings) or "", re.MULTILINE) else ""
    commands = ["from kedro_mlrun.commands.cli import cli, run  # noqa: F401"]
    if cli.exists():
        imported = "from kedro_mlrun.commands.cli import mlrun_group  # noqa: E402"
        commands = [imported, "", "cli.add_command(mlrun_group)"]
    imported = "from kedro_mlrun import MLRunHooks  # noqa: E402"
    hooks = _with_lines(settings, imported, "", f"HOOKS = ({more}MLRunHooks(),)")
    return hooks + _with_lines(cli, *commands)


def _with_lines(file: Path, *lines: str) -> list[Edit]:
    text = read(file)
    if text and lines[0] in text.splitlines():
        return []
    # A blank line before them, whether or not the last one has an end.
    before = ["", ""][: 2 - text.endswith("\n")] if text else []
    new = "\n".join([*before, "# Added by `kedro mlrun init`", *lines, ""])
    return [Edit(file, None if text is None else "", new)]


def write(project: Path, edits: Sequence[Edit]) -> None:
    """Make edits, and remember them."""
    new = [(relpath(edit.file, project), edit.old, edit.new) for edit in edits]
    _remember(project, [*_remembered(project), *new])
    for edit in edits:
        edit.file.parent.mkdir(parents=True, exist_ok=True)
        edit.file.write_bytes(edit.apply(read(edit.file)).encode())


def undo(metadata: ProjectMetadata) -> tuple[set[str], set[str]]:
    """Take the edits back; give the files of those, and the files that were edited since."""
    project = metadata.project_path
    edits = _remembered(project)
    left: list[tuple[str, str | None, str]] = []
    for name, old, new in reversed(edits):
        file = project / name
        text = read(file) or ""
        if old is None and text == new:
            file.unlink()
        elif old is not None and new in text:
            file.write_bytes(text.replace(new, old, 1).encode())
        elif text:
            left.insert(0, (name, old, new))
    _remember(project, left)
    package = metadata.source_dir / PACKAGE.name
    if not any(path.suffix != ".pyc" for path in package.rglob("*") if path.is_file()):
        shutil.rmtree(package, ignore_errors=True)
    names = {name for name, *_ in left}
    return {name for name, *_ in edits} - names, names


def _remembered(project: Path) -> list[tuple[str, str | None, str]]:
    return json.loads(read(project / MEMORY) or "[]")


def _remember(project: Path, edits: Sequence[tuple[str, str | None, str]]) -> None:
    folder = project / MEMORY.parent
    folder.mkdir(exist_ok=True)
    (folder / ".gitignore").write_text("*\n")
    (project / MEMORY).write_text(json.dumps(edits), encoding="utf-8")
    if not edits:
        (project / MEMORY).unlink()
        # Unless runs are recorded there.
        if len(list(folder.iterdir())) == 1:
            shutil.rmtree(folder)
