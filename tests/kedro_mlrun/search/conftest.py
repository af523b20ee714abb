"""A project whose pipelines search and sweep quickly."""

from collections.abc import Callable

import pytest
from conftest import Folder, give_pipelines
from searched import CATALOG, REGISTRY, SEARCH


@pytest.fixture
def project(bake: Callable[..., Folder]) -> Folder:
    """A project whose pipelines are those of this file."""
    project = bake()
    parameters = "{seed: 3, unused: 1, model: {x: 0.5, arguments: {n: 2, of: [1]}}}"
    give_pipelines(project, REGISTRY, parameters, CATALOG)
    (project.path / "conf" / "base" / "search.yml").write_text(SEARCH)
    return project
