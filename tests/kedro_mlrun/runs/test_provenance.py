"""What is recorded of a run."""

import ast
import datetime
import enum
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from helpers import PROJECT
from kedro.io import MemoryDataset, Version
from kedro.runner import ThreadRunner
from kedro_datasets.json import JSONDataset
from kedro_datasets.pandas import CSVDataset
from pydantic import BaseModel, SecretStr

from kedro_mlrun.runs import provenance
from kedro_mlrun.secrets import known as secrets


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "_known", secrets._Known())


class Colour(enum.Enum):
    RED = "red"


class Model(BaseModel):
    depth: int = 3
    code: SecretStr = SecretStr("sesame")


class Limit(BaseModel):
    most: float = math.inf
    large: int = 2**63


@dataclass
class Split:
    size: float
    model: Model


def test_parameters_are_flattened_and_redacted() -> None:
    params = {
        "split": Split(0.25, Model()),
        "db": {"password": "hunter2", "uri": "mysql://me:hunter2@db"},
        "columns": ["a", {"b": 1}],
        "empty": {},
        "none": None,
        1: np.float64(0.5),
    }
    secrets.register(params)
    shown = provenance.parameters(params, {"pipeline_names": None}, "kedro run -p hunter2")
    assert shown == {
        "split.size": 0.25,
        "split.model.depth": 3,
        "split.model.code": "**********",
        "db.password": "*****",
        "db.uri": "mysql://*****@db",
        "columns": ["a", {"b": 1}],
        "empty": {},
        "none": None,
        "1": 0.5,
        "kedro.pipeline": "__default__",
        "kedro.command": "kedro run -p *****",
    }
    json.dumps(shown, allow_nan=False)


def test_a_run_without_a_runner_has_kedros_own() -> None:
    """Law 4: Kedro's hooks tell of None, and the sequential one runs."""
    assert provenance.parameters({}, {"runner": "None"})["kedro.runner"] == "SequentialRunner"


def test_only_the_first_items_tell_what_leads_to_data() -> None:
    """Law 7: nobody waits until millions of numbers have been looked at."""

    class Numbers(list[float]):
        def __iter__(self) -> Iterator[float]:
            yield from (1.0, 2.0, 3.0)
            pytest.fail("more than a few")

    assert provenance.stand_in(Numbers()) == provenance.stand_in({"a": Numbers()}) == ""
    assert provenance.stand_in({"a": [len]}).startswith("a builtins.")


def test_only_options_that_were_given_are_recorded() -> None:
    run_params = {
        "run_id": "2026",
        "pipeline_names": ["training", "evaluation"],
        "node_names": ("split",),
        "tags": [],
        "env": "staging",
        "runner": str(ThreadRunner()),
        "load_versions": {"model": "abc"},
        "only_missing_outputs": False,
        "from_nodes": None,
        "runtime_params": {"db": {"password": "hunter2"}, "depth": 2},
    }
    assert provenance.parameters({}, run_params) == {
        "kedro.pipeline": "training,evaluation",
        "kedro.nodes": ["split"],
        "kedro.environment": "staging",
        "kedro.runner": "ThreadRunner",
        "kedro.load_versions": {"model": "abc"},
        "kedro.params": {"db": {"password": "*****"}, "depth": 2},
    }


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        (np.int64(3), 3),
        (np.array([[1.0, math.nan]]), [[1.0, "NaN"]]),
        (2**63, str(2**63)),
        (-(2**63), -(2**63)),
        (True, True),
        (Colour.RED, "red"),
        ({"a"}, ["a"]),
        (Limit(), {"most": "Infinity", "large": str(2**63)}),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        (PurePosixPath("a/b"), "a/b"),
        (math.sqrt, "math.sqrt"),
        (Colour, f"{__name__}.Colour"),
    ],
)
def test_what_json_does_not_have_is_text(value: Any, shown: Any) -> None:
    assert provenance.plain(value) == shown
    assert type(provenance.plain(value)) is type(shown)


def test_a_large_value_is_named_and_the_others_stay() -> None:
    values = {"small": 1, "large": "ä" * 40_000, "list": list(range(20_000))}
    short = provenance.shortened(values)
    assert short["small"] == 1
    assert short["large"] == "79 KiB: see the artifact 'parameters'"
    assert short["list"].endswith("KiB: see the artifact 'parameters'")
    assert provenance.shortened(short) == short


def test_small_values_are_left_as_they_are() -> None:
    values = {f"a.{n}": n for n in range(1000)}
    assert provenance.shortened(values) == values


def git(folder: Path, *arguments: str) -> str:
    me = ["-c", "user.name=me", "-c", "user.email=me@example.com"]
    command = ["git", "-C", str(folder), *me, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_the_commit_and_whether_something_differs_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert provenance.git_labels(tmp_path) == {}
    git(tmp_path, "init", "-q")
    assert provenance.git_labels(tmp_path) == {}, "no commit yet"
    (tmp_path / "a").write_text("a")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-qm", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")
    index = tmp_path / ".git" / "index"
    os.utime(tmp_path / "a", (1, 1))  # Git would note in its index that the content is the same
    before = (index.stat().st_mtime_ns, index.read_bytes())
    clean = {"git-commit": commit, "git-dirty": "false"}
    assert provenance.git_labels(tmp_path) == clean
    assert (index.stat().st_mtime_ns, index.read_bytes()) == before
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert provenance.git_labels(tmp_path) == clean
    (tmp_path / "new").write_text("")
    assert provenance.git_labels(tmp_path) == {**clean, "git-dirty": "true"}
    monkeypatch.setenv("PATH", "")
    assert provenance.git_labels(tmp_path) == {}


def test_git_that_does_not_answer_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    slow = tmp_path / "git"
    slow.write_text("#!/bin/sh\necho noise >&2\nexec sleep 5\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(provenance, "_GIT_SECONDS", 0.05)
    assert provenance.git_labels(tmp_path) == {}
    assert capfd.readouterr() == ("", "")


def test_labels(tmp_path: Path) -> None:
    names = [f"pipeline_{n}" for n in range(100)]
    labels = provenance.labels({"pipeline_names": names, "run_id": "2026-11-21"}, tmp_path)
    assert len(labels["pipeline"]) == 255
    assert labels["pipeline"].startswith("pipeline_0,pipeline_1,")
    assert labels["pipeline"].endswith("…")
    assert labels["session"] == "2026-11-21"
    assert labels["environment"] == "local"
    assert labels["kedro-version"].startswith("1.") and labels["mlrun-version"].startswith("1.")
    assert provenance.labels({"env": "dev"}, tmp_path)["environment"] == "dev"
    assert provenance.labels({}, tmp_path)["pipeline"] == "__default__"
    assert "session" not in provenance.labels({}, tmp_path)


def test_configuration_is_written_for_a_person() -> None:
    same = ["x"]
    text = provenance.config_yaml(
        {
            "b": {"z": same, "a": same, "when": datetime.date(2026, 1, 2)},
            "a": {"type": "pandas.CSVDataset", "credentials": {"key": "hunter2"}},
            "text": "two\nlines\n",
            "uml": "Größe",
            "none": None,
            "typed": Model(depth=4),
        }
    )
    assert text == (
        "a:\n  type: pandas.CSVDataset\n  credentials:\n    key: '*****'\n"
        "b:\n  z:\n  - x\n  a:\n  - x\n  when: '2026-01-02'\n"
        "none: null\n"
        "text: |\n  two\n  lines\n"
        "typed:\n  depth: 4\n  code: '**********'\n"
        "uml: Größe\n"
    )
    assert yaml.safe_load(text)["text"] == "two\nlines\n"


class Lazy:
    """Asking it for its shape or length would compute it."""

    __module__ = "pyspark.sql.dataframe"
    columns = ("a", "b", "c")

    @property
    def shape(self) -> tuple[int, int]:
        raise AssertionError("computed")

    __len__ = shape


class Broken:
    @property
    def shape(self) -> tuple[int, int]:
        raise RuntimeError("no shape")


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (pd.DataFrame({"a": [1, 2, 3], "b": 0}), {"rows": 3, "columns": 2}),
        (pd.Series([1, 2]), {"rows": 2}),
        (np.zeros((4, 3)), {"rows": 4, "columns": 3}),
        (np.zeros((4, 3, 2)), {"rows": 4}),
        (np.float64(1), {}),
        ([1, 2], {"rows": 2}),
        ({"a": 1}, {"rows": 1}),
        ({1, 2}, {"rows": 2}),
        ("text", {}),
        (b"bytes", {}),
        (5, {}),
        (None, {}),
        (iter([1]), {}),
        (Lazy(), {"columns": 3}),
        (Broken(), {}),
        (SimpleNamespace(shape=(None, 2)), {}),
    ],
)
def test_the_size_of_data(data: Any, size: dict[str, int]) -> None:
    assert provenance.size_of(MemoryDataset(), data) == size


def test_the_size_of_a_file(tmp_path: Path) -> None:
    """Kedro's datasets keep their file under private names, which may go."""
    frame = pd.DataFrame({"a": [1]})
    dataset = CSVDataset(filepath=str(tmp_path / "a.csv"), save_args={"index": False})
    assert provenance.size_of(dataset, frame) == {"rows": 1, "columns": 1}
    dataset.save(frame)
    assert provenance.size_of(dataset, frame) == {"rows": 1, "columns": 1, "bytes": 4}
    versioned = JSONDataset(filepath=str(tmp_path / "b.json"), version=Version(None, None))
    assert provenance.size_of(versioned, 1) == {}
    versioned.save({"a": 1})
    assert provenance.size_of(versioned, 1)["bytes"] == len('{\n  "a": 1\n}')
    remote = CSVDataset(filepath="memory://a.csv")
    assert provenance.size_of(remote, None) == {}


@pytest.mark.parametrize("name", ["runs/provenance", "secrets/known", "store/process"])
def test_nothing_slow_is_imported_with_it(name: str) -> None:
    """`kedro --help` imports it."""
    path = PROJECT / "src" / "kedro_mlrun" / f"{name}.py"
    tree = ast.parse(path.read_text())
    imported = [node.names[0].name for node in tree.body if isinstance(node, ast.Import)]
    imported += [
        str(node.module)
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and not node.level
    ]
    assert {name.partition(".")[0] for name in imported} <= {
        *sys.stdlib_module_names,
        *("click", "kedro", "psutil", "pydantic_core", "wrapt"),
    }
