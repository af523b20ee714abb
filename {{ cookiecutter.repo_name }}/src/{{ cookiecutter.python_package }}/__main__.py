"""Runs the pipelines: `python -m <package>`, or the command that the package installs."""

import sys
from pathlib import Path
from typing import Any

from kedro.framework.cli.utils import find_run_command
from kedro.framework.project import configure_project


def main(*args: Any, **kwargs: Any) -> Any:
    """Runs Kedro's `run` command for this package.

    Args:
        *args: The command line; none reads it from `sys.argv`.
        **kwargs: Passed on to click's `Command.main`.

    Returns:
        What the run returned, in an interactive session; otherwise the process ends.
    """
    package = Path(__file__).parent.name
    configure_project(package)
    # click ends the process after a command, which would end a notebook's kernel too.
    kwargs.setdefault("standalone_mode", not hasattr(sys, "ps1"))
    return find_run_command(package)(*args, **kwargs)


if __name__ == "__main__":
    main()
