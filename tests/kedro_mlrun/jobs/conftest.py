"""What the tests of jobs share: no secret that another test has made known."""

import pytest


@pytest.fixture(autouse=True)
def no_known_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are known to the whole process, and no file that holds one is packed."""
    from kedro_mlrun.secrets import known as secrets

    known = type(secrets._known)
    for name, value in list(vars(secrets).items()):
        if isinstance(value, known):
            monkeypatch.setattr(secrets, name, known())
