"""Tests a generated project with the oldest and newest versions of what it needs, one by one.

Each cell is requirements.lock with one package changed, and what that package asks for. Cells of
the same packages run once. `--main` takes Kedro and MLRun from their repositories instead.
"""

import os
import re
import shutil
import subprocess
import sys
import time
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
    done = run(WORK / "log", project, BIN / "uv", *COMPILE.split(), lock, *cell.options)
    return lock.read_text() if done else ""


def version(lock: str, package: str) -> str:
    """Give what a lock has of a package."""
    found = re.search(rf"(?m)^{package}(?:\[.*\])?(?:==| @ )(\S+)", lock)
    return found[1].rpartition("@")[2][:12] if found else ""


def test(lock: str, log: Path) -> dict[str, bool]:
    """Make an environment of a lock, and see what works in it."""
    venv, project = WORK / "venv", WORK / "breast-cancer"
    (WORK / "requirements.txt").write_text(lock)
    shutil.rmtree(venv, ignore_errors=True)
    log.unlink(missing_ok=True)
    run(log, WORK, BIN / "uv", "venv", "--quiet", "--python=3.11", venv)
    install = ("pip", "install", "--quiet", f"--python={venv}/bin/python", "--no-deps")
    installed = run(log, WORK, BIN / "uv", *install, f"--requirement={WORK}/requirements.txt")
    ours = [f"tests/kedro_mlrun/{name}" for name in OURS]
    shutil.rmtree(project / ".mlrun", ignore_errors=True)
    return {
        "installs": installed,
        "kedro run": installed and run(log, project, venv / "bin" / "kedro", "run"),
        "project's tests": installed and run(log, project, "make", "test", f"VENV={venv}"),
        "package's tests": installed
        and run(
            log, ROOT, venv / "bin" / "python", "-m", "pytest", "-n0", "-k", f"not {EXCEPT}", *ours
        ),
    }


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
    only = [name for name in sys.argv[1:] if name != "--main"]
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    run(WORK / "log", ROOT, BIN / "cookiecutter", ".", "--no-input", f"--output-dir={WORK}")
    locked = (WORK / "breast-cancer" / "requirements.lock").read_text()
    known: dict[str, dict[str, bool]] = {}
    rows, bad = [], []

    def works(lock: str, name: str) -> bool:
        if lock not in known:
            begun = time.monotonic()
            known[lock] = test(lock, WORK / f"{name}.log")
            print(f"{name}: {known[lock]} in {time.monotonic() - begun:.0f} s", flush=True)
        return all(known[lock].values())

    for cell in cells(only, "--main" in sys.argv):
        lock = resolve(cell)
        now = version(lock, cell.package)
        name = f"{cell.package}-{now or cell.which}"
        if not lock:
            rows.append(f"| {cell.package} | {cell.which} | | can't be resolved | | | |")
            bad.append(name)
            continue
        if not works(lock, name):
            # Down from the newest, to the last version that works.
            while cell.which == "newest" and cell.package in PACKAGES:
                below = resolve(
                    cell._replace(options=option("constraint", f"{cell.package}<{now}"))
                )
                tried = version(below, cell.package)
                if tried in {"", version(locked, cell.package)} or works(
                    below, f"{cell.package}-{tried}"
                ):
                    break
                now = tried
            bad.append(f"{cell.package} {now}".strip())
        said = " | ".join("yes" if good else "**no**" for good in known[lock].values())
        rows.append(f"| {cell.package} | {cell.which} | {version(lock, cell.package)} | {said} |")
    head = ["# Tested versions", "", f"By `make matrix`, {datetime.now(UTC):%Y-%m-%d}."]
    table = ["| package | | version | installs | `kedro run` | project's tests | package's tests |"]
    text = "\n".join([*head, "", *table, "|---|---|---|---|---|---|---|", *rows, ""])
    (WORK / "versions.md").write_text(text)
    (WORK / "bad.txt").write_text(", ".join(bad))
    print(text)
    if not sys.argv[1:]:
        (ROOT / "docs" / "versions.md").write_text(text)
    sys.exit(f"Doesn't work: {', '.join(bad)}. Logs are in {WORK}." if bad else 0)


if __name__ == "__main__":
    main()
