"""How a catalog entry becomes an MLRun artifact or result, and comes back."""

from ..runs.manager import MLRunContextManager as MLRunContextManager
from .abstract import MLRunAbstractDataset as MLRunAbstractDataset
from .artifact import MLRunArtifactDataset as MLRunArtifactDataset
from .dataframe import MLRunDataframeDataset as MLRunDataframeDataset
from .history import MLRunMetricHistory as MLRunMetricHistory
from .model import MLRunModel as MLRunModel
from .result import MLRunResult as MLRunResult

__all__ = [name for name in dir() if name.startswith("MLRun")]
