"""Who may import whom, and what must not be imported to answer a simple question."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

from forkserver import fork_server
from helpers import PROJECT, Store

from kedro_mlrun import MLRunAbstractDataset, MLRunResult
from kedro_mlrun.jobs.doctor import examine
from kedro_mlrun.records.records import Records
from kedro_mlrun.store.db import LocalRunDB

SLOW_TO_IMPORT = {"mlrun", "sklearn", "xgboost", "wrapt", "kedro_mlrun.project"}
# Each command leaves what it has imported to the next one.
ASK_KEDRO = f"""
import shlex, sys
from kedro.framework.cli.cli import main

for line in sys.argv[1:]:
    sys.argv = ["kedro", *shlex.split(line)]
    try:
        main()
    except SystemExit as end:
        assert not end.code, line
    commands = sorted(name for name in sys.modules if name.startswith("kedro_mlrun.commands"))
    slow = sorted({SLOW_TO_IMPORT} & set(sys.modules))
    print(f"{{line}}:", commands, "pandas" in sys.modules, slow, file=sys.stderr)
"""


def imported_modules(path: Path) -> set[str]:
    """Absolute names of the modules that a file imports, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_the_rooms_import_only_what_they_may() -> None:
    """The contracts stand in pyproject.toml."""
    lint_imports = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [lint_imports, "--no-logo", "--no-cache"],
        cwd=PROJECT,
        env=os.environ | {"PYTHONPATH": "src"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_pipelines_do_not_know_the_catalog() -> None:
    """Import-linter sees no deeper than `kedro`, of which a pipeline needs `kedro.pipeline`."""
    files = list(PROJECT.glob("src/*/pipelines/**/*.py"))
    assert files
    for path in files:
        known = imported_modules(path)
        assert not [name for name in known if name.startswith(("kedro.io", "kedro_datasets"))], path


def test_a_simple_question_imports_nothing_slow() -> None:
    """Law 7: Kedro's own commands stay as quick as they are; ours are imported when used."""
    asked = ["mlrun --version", "--help", "registry list", "catalog describe-datasets"]
    done = subprocess.run(
        [sys.executable, "-c", ASK_KEDRO, *asked],
        cwd=PROJECT,
        env=os.environ | {"DO_NOT_TRACK": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = [line for line in done.stderr.splitlines() if line.partition(":")[0] in asked]
    own = "['kedro_mlrun.commands', 'kedro_mlrun.commands.cli']"
    assert told[0] == f"mlrun --version: {own} False []"
    # The last one makes a session, which reads mlrun.yml.
    assert [line[-2:] for line in told[:-1]] == ["[]"] * 3, told
    assert told[-1].endswith("['kedro_mlrun.project', 'wrapt']")


def test_a_run_is_recorded_on_an_embedded_store_without_mlrun(tmp_path: Path) -> None:
    """Law 7: MLRun is imported by whoever needs more of it than its records."""
    env = {**os.environ, "MLRUN_DBPATH": f"sqlite:///{tmp_path}/mlrun.db", "PYTHONPATH": "src"}
    asked = ["run --pipelines=training", "mlrun submit --local -p evaluation"]
    command = ["python", "-c", ASK_KEDRO, *asked]
    done = fork_server(Path(sys.executable)).run(
        command, PROJECT, env | {"MLRUN_ARTIFACT_PATH": f"{tmp_path}/artifacts"}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = [line for line in done.stderr.splitlines() if "kedro_mlrun.commands" in line]
    assert len(told) == len(asked) and "'mlrun'" not in "".join(told)
    records = Records(LocalRunDB(f"sqlite:///{tmp_path}/mlrun.db"), "breast-cancer")
    runs = [(run["metadata"]["name"], run["status"]["state"]) for run in records.runs()]
    assert runs == [("evaluation", "completed"), ("training", "completed")]


def test_an_embedded_store_is_read_without_mlrun(embedded: Store, tmp_path: Path) -> None:
    """Law 7: what is listed, shown, tagged or deleted there waits for no import of MLRun."""
    for number in range(3):
        MLRunResult("score").save(number)
        MLRunAbstractDataset("thing").save(number)
        embedded.new_process()
    embedded.manager.open_run("evaluation")
    MLRunAbstractDataset("thing").load()
    embedded.new_process()
    asked = ["runs", "runs --where 'results.score > 0' --sort results.score", "show last"]
    asked += ["compare --last 2", "artifacts", "models", "open thing", "lineage thing"]
    asked += ["tag thing@last~2 good", "artifacts --tag good", "delete last~1 --artifacts -y"]
    asked += ["doctor --store", "doctor --json"]
    done = subprocess.run(
        [sys.executable, "-c", ASK_KEDRO, *(f"mlrun {line}" for line in asked)],
        cwd=PROJECT,
        env=os.environ
        | {"DO_NOT_TRACK": "1", "MLRUN_DBPATH": embedded.dbpath}
        | {
            "MLRUN_ACTIVE_PROJECT": embedded.project,
            "MLRUN_ARTIFACT_PATH": f"{tmp_path}/artifacts",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = [line for line in done.stderr.splitlines() if "kedro_mlrun.commands" in line]
    assert len(told) == len(asked) and "'mlrun'" not in "".join(told)
    records = Records(embedded.manager.db, embedded.project)
    assert [item["metadata"]["tags"] for item in records.artifacts()] == [["good", "latest"], []]
    # With MLRun the very same is found.
    checks = json.loads(done.stdout[done.stdout.rindex("\n[") :])
    assert checks == [check._asdict() for check in examine(PROJECT)]
    assert [check["state"] for check in checks].count("ok") == 8
