"""How a catalog entry becomes an MLRun artifact or result, and comes back."""

from ..runs.manager import MLRunContextManager
from .abstract import MLRunAbstractDataset
from .artifact import MLRunArtifactDataset
from .dataframe import MLRunDataframeDataset
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
