"""What is recorded of a run, from its beginning to its end."""

from .manager import MLRunContextManager

__all__ = ["MLRunContextManager"]
