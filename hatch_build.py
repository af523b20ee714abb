"""Puts the package at the top of the wheel, beside the starter that has it as well."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

STARTER = "kedro_mlrun/starter"


class PackageFromTemplate(BuildHookInterface):
    """Adds what hatchling's own options can't: a folder a second time, and single files."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name them, and a copy of the folder, for it may hold what git ignores.

        Args:
            version: "editable" for an environment to develop in, which has the folder itself.
            build_data: hatchling's plan, changed in place.
        """
        self.copy = Path(tempfile.mkdtemp(), "kedro_mlrun")
        if version == "editable":
            return
        root = Path(self.root)
        shutil.copytree(
            root / "{{ cookiecutter.repo_name }}" / "src" / "kedro_mlrun",
            self.copy,
            ignore=shutil.ignore_patterns("__pycache__", ".*"),
        )
        build_data["force_include"][str(self.copy)] = "kedro_mlrun"
        for name in ("cookiecutter.json", "prompts.yml"):
            build_data["force_include"][str(root / name)] = f"{STARTER}/{name}"

    def finalize(self, *_: Any) -> None:
        """Remove the copy."""
        shutil.rmtree(self.copy.parent)
