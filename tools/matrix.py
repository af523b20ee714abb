"""Tests a generated project with the oldest and newest versions of what it needs, one by one.

Each cell is requirements.lock with one package changed, and what that package asks for. Cells of
the same packages run once. `--main` takes Kedro and MLRun from their repositories instead.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
WORK = ROOT / "build" / "matrix"
BIN = Path(sys.prefix, "bin")
PACKAGES = ("kedro", "mlrun", "scikit-learn", "pandas", "xgboost")
MAIN = {
    "kedro": "kedro[server] @ git+https://github.com/kedro-org/kedro",
    "mlrun": "mlrun[plotly] @ git+https://github.com/mlrun/mlrun",
}
# Of the package: records, datasets and a model's way through the store.
OURS = ["store/test_context.py", "datasets/test_model.py", "datasets/test_dataframe.py"]
# What they record is the same with an older pyarrow, but it is compared more often.
EXCEPT = "what_parquet_keeps"
COLUMNS = ("installs", "`kedro run`", "project's tests", "package's tests")
COMPILE = "pip compile pyproject.toml --extra=dev --python-version=3.11 --quiet --no-annotate"
COMPILE += " --no-header --no-emit-package=nvidia-nccl-cu12 --no-emit-index-url --output-file"


class Cell(NamedTuple):
    """One package in one version, and what `uv pip compile` needs to get there."""

    package: str
    which: str
    options: list[str]


def cells(only: list[str], main: bool) -> list[Cell]:
    """Give the cells to run: of each package its oldest and its newest version."""
    asked = [name for name in (MAIN if main else PACKAGES) if name in only or not only]
    if main:
        return [Cell(name, "main", option("override", MAIN[name])) for name in asked]
    project = tomllib.loads((WORK / "breast-cancer" / "pyproject.toml").read_text())["project"]
    made = []
    for name in asked:
        [text] = [each for each in project["dependencies"] if re.match(rf"{name}\b(?!-)", each)]
        oldest = re.search(r">=([\d.]+)", text)[1]
        made.append(Cell(name, "oldest", option("constraint", f"{name}=={oldest}")))
        made.append(Cell(name, "newest", [f"--upgrade-package={name}"]))
    if not only or "all" in only:
        made.append(Cell("all", "oldest", ["--upgrade", "--resolution=lowest-direct"]))
        made.append(Cell("all", "newest", ["--upgrade"]))
    return made


def option(name: str, requirement: str) -> list[str]:
    """Give uv a requirement as an option, which takes files only."""
    file = WORK / f"{name}-{re.sub('[^a-z0-9.]+', '-', requirement)}.txt"
    file.write_text(requirement)
    return [f"--{name}={file}"]


def resolve(cell: Cell) -> str:
    """Give the lock of a cell; "" if there is none."""
    project, lock = WORK / "breast-cancer", WORK / "requirements.txt"
    # uv keeps to the versions of a file that is there.
    shutil.copy(project / "requirements.lock", lock)
    command = (BIN / "uv", *COMPILE.split(), lock, *cell.options)
    return lock.read_text() if run(WORK / "log", project, *command) else ""


def version(lock: str, package: str) -> str:
    """Give what a lock has of a package."""
    found = re.search(rf"(?m)^{package}(?:\[.*\])?(?:==| @ )(\S+)", lock)
    return found[1].rpartition("@")[2][:12] if found else ""


def tested(lock: str, cell: Cell, known: dict[str, list[bool]]) -> list[bool]:
    """Make an environment of a lock, unless another cell did, and see what works in it."""
    if lock not in known:
        name = f"{cell.package}-{version(lock, cell.package) or cell.which}"
        log, venv, project = WORK / f"{name}.log", WORK / "venv", WORK / "breast-cancer"
        (WORK / "requirements.txt").write_text(lock)
        for folder in (venv, project / ".mlrun"):
            shutil.rmtree(folder, ignore_errors=True)
        run(log, WORK, BIN / "uv", "venv", "--quiet", "--python=3.11", venv)
        python = venv / "bin" / "python"
        install = f"pip install --quiet --no-deps --requirement=requirements.txt --python={python}"
        ours = [f"tests/kedro_mlrun/{name}" for name in OURS]
        works = run(log, WORK, BIN / "uv", *install.split())
        known[lock] = [
            works,
            works and run(log, project, python, "-m", "kedro", "run"),
            works and run(log, project, "make", "test", f"VENV={venv}"),
            works and run(log, ROOT, python, "-m", "pytest", "-n0", "-k", f"not {EXCEPT}", *ours),
        ]
        print(name, *("yes" if each else "no" for each in known[lock]), flush=True)
    return known[lock]


def run(log: Path, folder: Path, *command: object) -> bool:
    """Run a command, add what it says to a log, and tell whether it succeeded."""
    env = {**os.environ, "PYTHONPATH": "src" if folder != ROOT else "", "UV_LINK_MODE": "hardlink"}
    with log.open("a") as out:
        print("$", *command, file=out, flush=True)
        words = [str(word) for word in command]
        done = subprocess.run(words, cwd=folder, env=env, stdout=out, stderr=out, check=False)
        return done.returncode == 0


def main() -> None:
    """Run the cells, write the table, and name the first bad version of each package."""
    asked = sys.argv[1:]
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    run(WORK / "log", ROOT, BIN / "cookiecutter", ".", "--no-input", f"--output-dir={WORK}")
    known = {"": [False] * len(COLUMNS)}
    rows, bad = [], []
    for cell in cells([name for name in asked if name != "--main"], "--main" in asked):
        lock = first = resolve(cell)
        said = " | ".join("yes" if good else "**no**" for good in tested(lock, cell, known))
        rows.append(f"| {cell.package} | {cell.which} | {version(lock, cell.package)} | {said} |")
        if "no" not in said:
            continue
        # Down from the newest, to the last version that works.
        while cell.which == "newest" and (at := version(first, cell.package)):
            below = option("constraint", f"{cell.package}<{at}")
            if (
                all(tested(lower := resolve(cell._replace(options=below)), cell, known))
                or not lower
            ):
                break
            first = lower
        # Of a repository it is another commit each night, and the same issue.
        found = version(first, cell.package) if cell.which != "main" else ""
        bad.append(f"{cell.package} {found or cell.which}")
    head = f"# Tested versions\n\nBy `make matrix`, {datetime.now(UTC):%Y-%m-%d}.\n"
    table = f"| package | | version | {' | '.join(COLUMNS)} |\n|---|---|---|---|---|---|---|"
    text = "\n".join([head, table, *rows, ""])
    (WORK / "versions.md").write_text(text)
    (WORK / "bad.txt").write_text(", ".join(bad))
    print(text)
    if not asked:
        (ROOT / "docs" / "versions.md").write_text(text)
    sys.exit(f"Doesn't work: {', '.join(bad)}. Logs are in {WORK}." if bad else 0)


if __name__ == "__main__":
    main()
