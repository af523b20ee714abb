"""The typed parameters of the pipelines. Kedro checks them before the first node runs."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Metric = Literal["accuracy", "precision", "recall", "f1", "roc_auc", "log_loss"]


class SplitParameters(BaseModel):
    """`split` in `parameters_training.yml`: how to divide the data."""

    model_config = ConfigDict(extra="forbid")

    target: str = Field(min_length=1, description="Column to predict: text, numbers or booleans.")
    test_size: float = Field(
        default=0.25, gt=0, lt=1, description="Share of the rows to keep for evaluation."
    )
    seed: int = Field(default=42, ge=0, lt=2**32, description="Seed of the shuffle.")


class EstimatorParameters(BaseModel):
    """`<candidate>.model` in `parameters_training.yml`: what to train."""

    model_config = ConfigDict(extra="forbid")

    estimator: str = Field(
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$",
        description="Import path of a scikit-learn-compatible classifier with `predict_proba`.",
    )
    # May be null, because `--params` cannot replace a dictionary by an empty one.
    arguments: dict[str, Any] | None = Field(
        default=None, description="Keyword arguments of the estimator."
    )


class EvaluationParameters(BaseModel):
    """`evaluation` in `parameters_evaluation.yml`: how to choose between the candidates."""

    model_config = ConfigDict(extra="forbid")

    metric: Metric = Field(
        default="roc_auc",
        description="Metric to rank by: the lowest `log_loss` or the highest other metric wins.",
    )
