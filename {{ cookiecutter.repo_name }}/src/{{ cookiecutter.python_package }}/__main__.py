"""Runs the pipelines: `python -m <package>`, or the command that the package installs."""

import sys
from pathlib import Path
from typing import Any

from kedro.framework.cli.utils import find_run_command
from kedro.framework.project import configure_project


def main(*args: Any, **kwargs: Any) -> Any:
    """Run Kedro's `run` command for this package, with the arguments of the command line."""
    package = Path(__file__).parent.name
    configure_project(package)
    # click ends the process after a command, which would end a notebook's kernel too.
    kwargs.setdefault("standalone_mode", not hasattr(sys, "ps1"))
    return find_run_command(package)(*args, **kwargs)


if __name__ == "__main__":
    main()
