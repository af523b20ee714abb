"""What the tests of jobs share: no secret that another test has made known."""

import pytest

from tests import project_module


@pytest.fixture(autouse=True)
def no_known_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are known to the whole process, and no file that holds one is packed."""
    secrets = project_module("tracking.secrets")
    known = type(secrets._known)
    for name, value in list(vars(secrets).items()):
        if isinstance(value, known):
            monkeypatch.setattr(secrets, name, known())
