"""Each code block of the documentation is run as a reader would, in order: `make docs`.

Not among the tests of `make test`, for it takes minutes. A page is followed in a folder of its own:

- `bash` is typed into one shell, whose folder and variables go on from block to block; each
  command must succeed, but for those of a block whose title is “exits with 1”;
- `yaml` goes into the file that its title names, in place of the entries of the same names;
- `python` and `csv` with a title are that file, and `python` without one is run in the project;
- `text` is what the last command prints: all of it but numbers, and where … stands.
"""

import ast
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from conftest import PYTHON, Folder, commit
from forkserver import fork_server
from helpers import ROOT
from test_readme import ADDRESS
from test_readme import ELSEWHERE as OF_READMES

DOCS = ROOT / "docs"
# Those that begin without a project.
FROM_NOTHING = {"start", "existing-project"}
# Titles of what another tool takes, which is only looked at: it must be YAML or Python.
OF_OTHERS = {"kedro-mlflow", "with MLRun alone"}
# What goes on until Ctrl-C, as in a second terminal; each has a block of its own.
GOES_ON = ("kedro mlrun serve", "kedro mlrun ui", "make ui")
SERVER = "http://127.0.0.1:8000"  # as pages have it; where the port is in use, it is another
# Lines that aren't typed: the tests that are named there do so in their own way.
ELSEWHERE = [
    *(pattern for pattern, why in OF_READMES.items() if re.match("installs|needs an? ", why[0])),
    r"export MLRUN_DBPATH=https://.+",
]
# `make` where `make install` has been: with the environment that the tests run in.
MAKE = """#!/bin/sh
[ -e .venv ] || ln -s "{environment}" .venv
touch "{environment}/installed"
exec "{make}" "$@"
"""


class Unlike(Exception):
    """What happens isn't what the page says."""


class Block(NamedTuple):
    """A fenced block of a page.

    Args:
        language: what follows the fence.
        title: the file that it is for.
        text: its lines.
        line: where it stands.
    """

    language: str
    title: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    """Give a page's blocks."""
    text = page.read_text(encoding="utf-8")
    fence = r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$'
    found = [
        Block(each[1], each[2] or "", each[3], text[: each.start()].count("\n") + 1)
        for each in re.finditer(fence, text, re.MULTILINE | re.DOTALL)
    ]
    assert 2 * len(found) == text.count("```"), f"{page} has a fence that isn't understood."
    return found


def is_shown(line: str, said: str) -> bool:
    """Tell whether a line was printed, with any numbers, and anything for …."""
    words = [
        r"\S+" if re.search(r"\d", word) else re.escape(word).replace("…", ".*")
        for word in line.split()
    ]
    return re.search(r"\s+".join(words), said) is not None


class Reader:
    """Someone who follows a page.

    Args:
        folder: where to begin.
        notes: a folder for what is printed.
        blocks: those of the page.
    """

    def __init__(self, folder: Folder, notes: Path, blocks: list[Block]) -> None:
        self.blocks = blocks
        self.at, self.variables = folder.path, dict(folder.variables)
        self.said, self.server = "", SERVER
        self._notes = notes
        self._others: list[subprocess.Popen[bytes]] = []

    def follow(self, block: Block) -> None:
        """Do what a block says."""
        if block.language == "bash":
            self._type(block.text, int(block.title.rpartition(" ")[2] or 0))
        elif block.language == "text":
            for line in filter(str.strip, block.text.splitlines()):
                if not is_shown(line, self.said):
                    raise Unlike(f"{line!r} is not in:\n{self.said}")
        elif block.title in OF_OTHERS:
            (yaml.safe_load if block.language == "yaml" else ast.parse)(block.text)
        elif block.title:
            self._write(self.at / block.title, block)
        elif block.language != "python":
            raise Unlike(f"A block of {block.language} needs a file's name as its title.")
        else:
            self._run("python", "-c", block.text, PYTHONPATH=f"{self.at}/src")

    def _write(self, file: Path, block: Block) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        if block.language == "yaml" and file.exists():
            before = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
            text = yaml.safe_dump(before | yaml.safe_load(block.text), sort_keys=False)
            file.write_text(text, encoding="utf-8")
        else:
            file.write_text(block.text, encoding="utf-8")

    def _type(self, text: str, code: int) -> None:
        lines = text.replace(SERVER, self.server).splitlines()
        lines = [line for line in lines if not is_elsewhere(line)]
        if len(lines) == 1 and lines[0].startswith(GOES_ON) and "--export" not in lines[0]:
            self._begin(lines[0])
            return
        state = self._notes / "state"
        script = "\n".join(["set -e", f"trap 'pwd > {state}; env -0 >> {state}' EXIT", *lines])
        self._run("bash", "-c", script, code=code)
        folder, _, variables = state.read_text().partition("\n")
        self.at = Path(folder)
        pairs = (item.partition("=") for item in variables.split("\0") if item)
        self.variables = {name: value for name, _, value in pairs}

    def _run(self, *command: str, code: int = 0, **variables: str) -> None:
        # A background job has the streams of what started it, and may outlive that.
        printed = self._notes / "printed"
        with printed.open("wb") as file:
            done = subprocess.run(
                command,
                cwd=self.at,
                env=self.variables | variables,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                check=False,
            )
        self.said = printed.read_text(errors="replace")
        if done.returncode != code:
            raise Unlike(self.said)

    def _begin(self, command: str) -> None:
        """Type a command that goes on, and wait until it answers."""
        printed = self._notes / f"printed-{len(self._others)}"
        with printed.open("wb") as file:
            self._others.append(
                subprocess.Popen(
                    ["bash", "-c", f"exec {command}"],
                    cwd=self.at,
                    env=self.variables,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                )
            )
        while not (found := re.search(r"http://127.0.0.1:\d+", printed.read_text())):
            if self._others[-1].poll() is not None:
                raise Unlike(printed.read_text())
            time.sleep(0.1)
        if "serve" in command:
            self.server = found[0]
        self.said = printed.read_text()

    def end(self) -> None:
        """Press Ctrl-C in the other terminals."""
        for process in self._others:
            process.send_signal(signal.SIGINT)
        for process in self._others:
            process.wait(timeout=60)


def is_elsewhere(command: str) -> bool:
    return any(re.fullmatch(pattern, command) for pattern in ELSEWHERE)


@pytest.fixture
def reader(
    request: pytest.FixtureRequest,
    starter: Folder,
    bake: Callable[..., Folder],
    tmp_path: Path,
) -> Iterator[Reader]:
    """A reader of a page, for whom git takes this starter for the one at its address."""
    forked = fork_server(PYTHON).environment
    environment = tmp_path / "environment"
    shutil.copytree(forked, environment, symlinks=True)
    programs = tmp_path / "programs"
    programs.mkdir()
    (environment / "bin" / "activate").unlink(missing_ok=True)
    (environment / "bin" / "activate").write_text(f'export PATH="{programs}:{forked}/bin:$PATH"\n')
    (programs / "make").write_text(MAKE.format(environment=environment, make=shutil.which("make")))
    (programs / "make").chmod(0o755)
    redirect = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{starter.path}.insteadOf",
        "GIT_CONFIG_VALUE_0": ADDRESS,
    }
    if request.param in FROM_NOTHING:
        folder = starter.at(tmp_path / "reader")
    else:
        folder = bake()
        commit(folder)
    path = os.pathsep.join([str(programs), f"{forked}/bin", folder.variables["PATH"]])
    variables = {**folder.variables, **redirect, "PATH": path}
    page = blocks(DOCS / f"{request.param}.md")
    reader = Reader(replace(folder, variables=variables), tmp_path, page)
    yield reader
    reader.end()


PAGES = sorted(page.stem for page in DOCS.glob("*.md") if blocks(page))


@pytest.mark.parametrize("reader", PAGES, indirect=True)
def test_page(reader: Reader) -> None:
    for block in reader.blocks:
        told = ""
        try:
            reader.follow(block)
        except (Unlike, yaml.YAMLError) as error:
            told = str(error)
        if told:
            pytest.fail(f"line {block.line}: {told}", pytrace=False)
