"""A project whose pipelines search and sweep quickly."""

from collections.abc import Callable

import pytest
from conftest import Folder
from searched import CATALOG, REGISTRY, SEARCH


@pytest.fixture
def project(bake: Callable[..., Folder]) -> Folder:
    """A project whose pipelines are those of this file."""
    project = bake()
    (project.path / "src" / "breast_cancer" / "pipeline_registry.py").write_text(REGISTRY)
    conf = project.path / "conf" / "base"
    for file in conf.glob("parameters*"):
        file.unlink()
    parameters = "{seed: 3, unused: 1, model: {x: 0.5, arguments: {n: 2, of: [1]}}}"
    (conf / "parameters.yml").write_text(parameters)
    (conf / "catalog.yml").write_text(CATALOG)
    (conf / "search.yml").write_text(SEARCH)
    return project
