"""MLRun's workflow file, which project.yaml names: the project's pipelines as jobs in a row."""

import importlib
import sys
from pathlib import Path
from typing import Any


def pipeline(
    names: str = "",
    group_by: str = "pipeline",
    env: str = "",
    params: str = "",
    resume: str = "",
    archive: str = "",
) -> None:
    """Start one job after the other. MLRun calls this, in a workflow of the project.

    Args:
        names: pipelines, with commas between them; empty for all.
        group_by: what becomes a job: each `pipeline`, each `namespace`, or each `tag`.
        env: Kedro's environment; empty for the default one.
        params: values for Kedro's parameters, as `kedro run --params` has them.
        resume: the id of a workflow that failed; what it completed isn't done again.
        archive: where the project's source was put; empty to pack it now.

    Example:
        ```bash
        mlrun project . --run main --arguments names=training,evaluation
        ```
    """
    # MLRun loads this file by its path, so that it has no package to import from.
    if "kedro_mlrun" not in sys.modules:
        sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    workflow: Any = importlib.import_module("kedro_mlrun.jobs.workflow")
    workflow.run_as_told(
        {
            "names": names,
            "group_by": group_by,
            "env": env,
            "params": params,
            "resume": resume,
            "archive": archive,
        }
    )
