"""The typed parameters of the pipelines; Kedro refuses wrong ones before the first node runs."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Metric = Literal["accuracy", "precision", "recall", "f1", "roc_auc", "log_loss"]


class SplitParameters(BaseModel):
    """`split` in `parameters_training.yml`: how the data are divided.

    Example:
        >>> SplitParameters(target="diagnosis", test_size=0.25, seed=42).target
        'diagnosis'
    """

    model_config = ConfigDict(extra="forbid")

    target: str = Field(min_length=1, description="Column to predict: text, numbers or booleans.")
    test_size: float = Field(
        default=0.25, gt=0, lt=1, description="Share of the rows that is kept for evaluation."
    )
    seed: int = Field(
        default=42, ge=0, lt=2**32, description="Seed of the shuffle; the same seed, the same sets."
    )


class EstimatorParameters(BaseModel):
    """`<candidate>.model` in `parameters_training.yml`: what is trained.

    Example:
        >>> EstimatorParameters(
        ...     estimator="sklearn.ensemble.RandomForestClassifier", arguments={"n_estimators": 10}
        ... ).arguments
        {'n_estimators': 10}
    """

    model_config = ConfigDict(extra="forbid")

    estimator: str = Field(
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$",
        description="Import path of a scikit-learn-compatible classifier with `predict_proba`.",
    )
    arguments: dict[str, Any] = Field(
        default_factory=dict, description="Keyword arguments of the estimator."
    )


class EvaluationParameters(BaseModel):
    """`evaluation` in `parameters_evaluation.yml`: what decides between the candidates.

    Example:
        >>> EvaluationParameters().metric
        'roc_auc'
    """

    model_config = ConfigDict(extra="forbid")

    metric: Metric = Field(
        default="roc_auc",
        description="Metric that the best candidate is chosen by: the lowest `log_loss`, "
        "the highest of any other.",
    )
