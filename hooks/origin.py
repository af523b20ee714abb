"""Where a project comes from: the content of its `.cruft.json`, in the format of cruft 2.16.

`kedro mlrun update` reads it, and so does cruft.
"""

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from cookiecutter.config import BUILTIN_ABBREVIATIONS
from cookiecutter.repository import expand_abbreviations
from cookiecutter.utils import simple_filter

REPOSITORY = "https://github.com/OWNER/kedro-mlrun-starter"
PACKAGE = Path("{{ cookiecutter.repo_name }}", "src", "kedro_mlrun")


def cruft_state(names: Mapping[str, object]) -> str:
    """Tells which starter made a project, and with which answers.

    Args:
        names: cookiecutter's variables.

    Returns:
        JSON with the template's address, its commit and the answers. A starter that is no git
        checkout, such as that of the wheel, is the release of its version.
    """
    # cookiecutter renders in the template's folder, so that relative paths mean nothing here.
    starter = Path.cwd().parent
    template = expand_abbreviations(
        str(names["_template"]).removeprefix("git+"), BUILTIN_ABBREVIATIONS
    )
    if not re.match(r"\w+://|[^/]+@[^/]+:", template):
        template = starter.as_posix()
    if (starter / ".git").exists():
        commit = subprocess.run(  # noqa: S603
            ["git", "-C", starter, "rev-parse", "HEAD"],  # noqa: S607
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    else:
        text = (starter / PACKAGE / "__init__.py").read_text(encoding="utf-8")
        version = re.search(r'^__version__ = "(.+)"', text, re.MULTILINE)
        template, commit = REPOSITORY, f"v{version[1] if version else ''}"
    answers = {name: value for name, value in names.items() if not name.startswith("_")}
    state = {
        "template": template,
        "commit": commit,
        "checkout": names.get("_checkout"),
        "context": {"cookiecutter": {**answers, "_template": template, "_commit": commit}},
        "directory": None,
        # For cruft, in whose own rendering it names another folder.
        "skip": [".cruft.json"],
    }
    return json.dumps(state, indent=2)


CruftState = simple_filter(cruft_state)
