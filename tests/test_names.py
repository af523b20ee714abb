"""Names that cannot work are refused in a sentence, and nothing is left behind."""

import importlib.util
import json
import re
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from conftest import KEDRO, VENV, Folder
from helpers import ROOT
from hypothesis import given
from hypothesis import strategies as st
from test_project import plain

COOKIECUTTER = VENV / "bin" / "cookiecutter"
GOOD = {
    "project_name": "Churn",
    "repo_name": "churn",
    "python_package": "churn",
    "mlrun_project": "churn",
    "kedro_version": "1.7.0",
}
# By the name at fault: values of it that cannot work.
BAD = {
    "project_name": [
        *("", "X", "it's", 'say "hi"', "back\\slash", "two\nlines", "a/b", "`id`", "$HOME"),
    ],
    "repo_name": [
        *("", "a/b", "../above", "/absolute", "a\\b", ".hidden", "-option", "it's", "a b"),
        *("con", "Nul", "com1", "nul.models"),
        "x" * 300,
    ],
    "python_package": [
        *("", "1st", "with-hyphen", "with space", "größe", "_private", "trailing_", "a.b", "a/b"),
        *("class", "match", "json", "email", "mlrun", "kedro", "sklearn", "yaml", "tests"),
        *("test", "kedro_mlrun", "Kedro_MLRun", "kedro__mlrun", "scikit_learn", "psutil"),
        *("con", "NUL", "aux", "prn", "com1", "lpt9"),
        "x" * 300,
    ],
    "mlrun_project": [
        *("", "Upper", "under_score", "-hyphen", "hyphen-", "dot.ted", "new\n", "x" * 64),
    ],
    "kedro_version": ["0.19.14", "2.0.0", "latest"],
}
BAD_PAIRS = [(name, value) for name, values in BAD.items() for value in values]


def load_hook() -> ModuleType:
    """The hook as a module."""
    spec = importlib.util.spec_from_file_location("hook", ROOT / "hooks" / "pre_gen_project.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hook = load_hook()


def assert_refused(folder: Folder, output: str, name: str) -> None:
    """One sentence says what is wrong, and one what to do; no traceback, no file."""
    (line,) = [line for line in output.splitlines() if line.startswith(name)]
    assert re.fullmatch(rf"{name} .+ is .+\. (Choose|Run) .+\.", line)
    assert "Traceback" not in output
    assert not list(folder.path.iterdir())


@pytest.mark.parametrize(("name", "value"), BAD_PAIRS)
def test_a_name_that_cannot_work_has_a_fault(name: str, value: str) -> None:
    fault = hook.find_fault(GOOD | {name: value})
    assert fault.startswith(f"{name} {value!r} is ")
    assert "\n" not in fault


@pytest.mark.parametrize(("name", "value"), [(name, values[-1]) for name, values in BAD.items()])
def test_cookiecutter_refuses_it(starter: Folder, tmp_path: Path, name: str, value: str) -> None:
    folder = starter.at(tmp_path / "here")
    done = folder.run(COOKIECUTTER, starter.path, "--no-input", f"{name}={value}", ok=False)
    assert done.returncode == 1
    assert_refused(folder, done.stdout + done.stderr, name)


@pytest.mark.parametrize(
    ("name", "value"),
    [("repo_name", "a/b"), ("python_package", "mlrun"), ("mlrun_project", "under_score")],
)
def test_kedro_new_refuses_it(starter: Folder, tmp_path: Path, name: str, value: str) -> None:
    config = tmp_path / "names.yml"
    config.write_text(yaml.safe_dump({"project_name": "Churn", name: value}))
    folder = starter.at(tmp_path / "here")
    done = folder.run(KEDRO, "new", f"--starter={starter.path}", "--config", config, ok=False)
    assert done.returncode == 1
    assert_refused(folder, done.stdout + done.stderr, name)


@pytest.mark.parametrize("value", ["a/b", "../a/b", "{folder}/a/b"])
def test_a_path_as_repo_name_makes_no_folder(starter: Folder, tmp_path: Path, value: str) -> None:
    """cookiecutter makes the folders of a path before it runs a hook, and leaves their parents."""
    folder = starter.at(tmp_path / "here")
    value = value.format(folder=tmp_path)
    folder.run(COOKIECUTTER, starter.path, "--no-input", f"repo_name={value}", ok=False)
    assert list(tmp_path.rglob("*")) == [folder.path]


def test_the_hook_guards_a_replay(starter: Folder, tmp_path: Path) -> None:
    """There the names come from a file, and cookiecutter derives none from another."""
    names = GOOD | {"python_package": "it's\n\"}}", "__names": "good", "_extensions": []}
    (tmp_path / "replay.json").write_text(json.dumps({"cookiecutter": names}))
    folder = starter.at(tmp_path / "here")
    done = folder.run(
        COOKIECUTTER, starter.path, "--replay-file", tmp_path / "replay.json", ok=False
    )
    assert done.returncode == 1
    assert "python_package" in done.stderr
    assert "SyntaxError" not in done.stderr
    assert not list(folder.path.iterdir())


@given(st.fixed_dictionaries({name: st.text() for name in GOOD}))
def test_any_text_is_judged(names: dict[str, str]) -> None:
    assert hook.find_fault(names) is None or hook.find_fault(names).endswith(".")


@given(
    st.builds(
        lambda first, rest: first + rest,
        st.sampled_from("abcxyzABC"),
        st.text("abcXYZ019 _-", min_size=1, max_size=80),
    )
)
def test_derived_names_are_good_or_at_fault_by_name(project_name: str) -> None:
    """A long name gives a shortened label; only the package or folder can be at fault."""
    package = project_name.strip().replace(" ", "_").replace("-", "_").lower()
    names = GOOD | {
        "project_name": project_name,
        "repo_name": package.replace("_", "-"),
        "python_package": package,
    }
    fault = hook.find_fault(names)
    assert fault is None or fault.startswith(("python_package", "repo_name"))


@pytest.mark.parametrize(
    ("project_name", "label"),
    [("Churn Model", "churn-model"), ("x" * 70, "x" * 63), ("A" * 62 + " B", "a" * 62)],
)
def test_the_mlrun_project_is_a_label(
    bake: Callable[..., Folder], project_name: str, label: str
) -> None:
    config = yaml.safe_load(
        (bake(project_name=project_name).path / "conf/base/mlrun.yml").read_text()
    )
    assert config["project"] == label


def test_accented_letters_work_where_they_can(bake: Callable[..., Folder]) -> None:
    project = bake(project_name="Größe", repo_name="groesse", python_package="groesse")
    kedro = tomllib.loads((project.path / "pyproject.toml").read_text())["tool"]["kedro"]
    assert kedro["project_name"] == "Größe"


def test_every_package_of_the_lock_is_reserved() -> None:
    """A package named like one of them would be imported, or installed, in its place."""
    lines = (ROOT / "{{ cookiecutter.repo_name }}" / "requirements.lock").read_text().splitlines()
    locked = {plain(line.split("==")[0]) for line in lines if "==" in line}
    # Of those here, some are for the starter alone.
    imported = {n: {*map(plain, of)} for n, of in packages_distributions().items()}
    names = {name for name, of in imported.items() if of & locked and name.isidentifier()}
    names |= {name.replace("-", "_") for name in locked}
    free = {name for name in names if hook.find_fault(GOOD | {"python_package": name}) is None}
    assert not free, f"add to RESERVED in hooks/pre_gen_project.py: {sorted(free)}"
    assert hook.RESERVED.isdisjoint(sys.stdlib_module_names)
