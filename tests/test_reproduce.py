"""The shipped project's runs, made once more here and elsewhere."""

import json
from collections.abc import Callable
from pathlib import Path

from conftest import KEDRO, Folder, changes, commit
from test_jobs import PARAMS

# How long the nodes took, and what is recorded of the run.
LEFT_OUT = {"kedro.nodes.parquet"}


def computed(project: Folder) -> dict[str, bytes]:
    """The files of all artifacts, by key and name."""
    files = (project.path / ".mlrun" / "artifacts").rglob("*")
    return {
        f"{file.parents[1].name}/{file.name}": file.read_bytes()
        for file in files
        if file.is_file() and file.name not in LEFT_OUT
    }


def test_a_run_is_reproduced_here_and_in_a_clone(
    bake: Callable[..., Folder], tmp_path: Path
) -> None:
    """All that is computed is the same, byte by byte, in another folder and by another runner."""
    project = bake()
    commit(project)
    project.run(KEDRO, "run", f"--params={PARAMS}")
    clone = project.at(tmp_path / "elsewhere" / "clone")
    # Where lines end as on Windows.
    project.run("git", "clone", "--quiet", "--config=core.autocrlf=true", ".", str(clone.path))
    assert b"\r\n" in (clone.path / "data/01_raw/new_measurements.csv").read_bytes()
    store = {"MLRUN_DBPATH": f"sqlite:///{project.path}/.mlrun/mlrun.db"}
    for folder, variables in (project, {}), (clone, store):
        done = folder.run(KEDRO, "mlrun", "reproduce", "last", "--json", **variables)
        told = json.loads(done.stdout)
        assert (told["differences"], told["equal"]) == ([], {"result": 41, "artifact": 10})
        assert changes(folder) == ""

    clone.run(KEDRO, "run", "--runner=ThreadRunner", f"--params={PARAMS}")
    there, here = computed(clone), computed(project)
    assert len(here) == 16
    assert {name for name in here | there if here.get(name) != there.get(name)} == set()

    with (project.path / "data/01_raw/measurements.csv").open("a") as data:
        data.write("\n")
    done = project.run(KEDRO, "mlrun", "reproduce", "last", ok=False)
    assert done.returncode == 2
    assert (
        "Input 'measurements': " in done.stderr and "measurements.csv has the SHA-1" in done.stderr
    )
