"""Run the project in the working folder as a process is told on its stdin: see `reproduce`.

That may be an earlier version of the project, with its own `kedro_mlrun`. So Python is given this
file's text, which imports only what any version has.
"""

import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Run it."""
    import kedro.runner
    import yaml
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project

    told, folder = yaml.safe_load(sys.stdin), Path.cwd()
    bootstrap_project(folder)  # from here on, the project's own packages are found
    from kedro_mlrun import MLRunContextManager

    MLRunContextManager().job_inputs = told["inputs"]
    runner = getattr(kedro.runner, told["runner"], kedro.runner.SequentialRunner)
    made: Any = KedroSession.create(folder, env=told["env"], runtime_params=told["params"])
    with made as session:
        session.run(runner=runner(), **told["options"])


if __name__ == "__main__":
    main()
