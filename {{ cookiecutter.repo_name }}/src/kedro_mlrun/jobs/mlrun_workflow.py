"""MLRun's workflow file, which project.yaml names: the project's pipelines as jobs in a row."""

import importlib
import sys
from pathlib import Path
from typing import Any


def pipeline(**arguments: Any) -> None:
    """Start one job after the other: `mlrun project . --run main --arguments names=training`.

    Args:
        **arguments: what the workflow is told, each of which may be left out:
            `names`: pipelines, with commas between them; empty for all.
            `group_by`: what becomes a job: each `pipeline`, each `namespace`, or each `tag`.
            `env`: Kedro's environment; empty for the default one.
            `params`: values for Kedro's parameters, as `kedro run --params` has them.
            `resume`: the id of a workflow that failed; what it completed isn't done again.
            `chain_id`: the workflow's id; empty for MLRun's own.
            `allow_lost`: names or patterns of data that may be lost with the jobs.
            `archive`: where the project's source was put; empty to pack it now.
    """
    # MLRun loads this file by its path, so that it has no package to import from.
    if "kedro_mlrun" not in sys.modules:
        sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    importlib.import_module("kedro_mlrun.jobs.workflow").run_as_told(arguments)
