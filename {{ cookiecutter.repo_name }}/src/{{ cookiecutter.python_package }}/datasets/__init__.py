"""How a catalog entry becomes an MLRun artifact or result, and comes back."""

from ..tracking.context import MLRunContextManager
from .artifact import MLRunAbstractDataset
from .dataframe import MLRunDataframeDataset
from .model import MLRunModel
from .result import MLRunResult

__all__ = [
    "MLRunAbstractDataset",
    "MLRunContextManager",
    "MLRunDataframeDataset",
    "MLRunModel",
    "MLRunResult",
]
