"""How a catalog entry becomes an MLRun artifact or result, and comes back."""

from ..tracking.context import MLRunContextManager
from .artifact import MLRunAbstractDataset
from .dataframe import MLRunDataframeDataset
from .file import MLRunArtifactDataset
from .history import MLRunMetricHistory
from .model import MLRunModel
from .result import MLRunResult

__all__ = [
    "MLRunAbstractDataset",
    "MLRunArtifactDataset",
    "MLRunContextManager",
    "MLRunDataframeDataset",
    "MLRunMetricHistory",
    "MLRunModel",
    "MLRunResult",
]
