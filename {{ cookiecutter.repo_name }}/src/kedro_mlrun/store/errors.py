"""What isn't in a store: MLRun's own error where MLRun is imported, and the same without it."""

from http import HTTPStatus

from ..lazy import mlrun_loaded


class NotFoundError(LookupError):
    """A record isn't in an embedded store."""

    error_status_code = HTTPStatus.NOT_FOUND.value


def not_found(what: str) -> Exception:
    """Make the error that a record isn't there."""
    mlrun = mlrun_loaded()
    kind: type[Exception] = mlrun.errors.MLRunNotFoundError if mlrun else NotFoundError
    return kind(what)


def is_not_found(error: BaseException) -> bool:
    """Tell whether an error is that a record isn't there, by MLRun's own number for it."""
    return getattr(error, "error_status_code", None) == HTTPStatus.NOT_FOUND
