"""A project that is renamed and copied, by its commands."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from conftest import KEDRO, Folder


def test_a_renamed_and_a_copied_project_use_their_own_files(
    bake: Callable[..., Folder], tmp_path: Path
) -> None:
    """Law 12: evaluation, `open` and `delete` work with what lies in the project's own folder."""
    before = bake()
    before.run(
        KEDRO,
        "run",
        "--pipelines=training",
        "--params=random_forest.model.arguments.n_estimators=5",
    )
    before.path.rename(tmp_path / "renamed")
    project = before.at(tmp_path / "renamed")
    project.run(KEDRO, "run", "--pipelines=evaluation")
    copy = project.at(tmp_path / "copy")
    shutil.copytree(project.path, copy.path, dirs_exist_ok=True)
    for folder in project, copy:
        for key in "xgboost_model", "roc_curve":
            path = folder.run(KEDRO, "mlrun", "open", key).stdout.strip()
            assert Path(path).is_relative_to(folder.path)
    copy.run(KEDRO, "mlrun", "delete", "last", "--artifacts", "-y")
    assert not Path(path).exists()
    checks = json.loads(project.run(KEDRO, "mlrun", "doctor", "--json").stdout)
    (files,) = (check["found"] for check in checks if check["name"] == "files")
    assert files.endswith("artifacts all are there")
