"""The typed parameters of the pipelines. Kedro checks them before the first node runs."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, StrictInt

Task = Literal["classification", "regression"]
Metric = Literal[
    "accuracy", "precision", "recall", "f1", "roc_auc", "log_loss", "r2", "mae", "rmse"
]
Share = Annotated[float, Field(gt=0, lt=1)]
# `--params=split.leave_out=id` gives text: a list can't be written there.
Columns = Annotated[list[str], BeforeValidator(lambda x: [x] if isinstance(x, str) else x)]


class SplitParameters(BaseModel, extra="forbid"):
    """`split` in `parameters_training.yml`: what to predict, and how to divide the data."""

    target: str = Field(min_length=1, description="Column to predict.")
    task: Task = Field(default="classification", description="To predict classes, or numbers.")
    leave_out: Columns = Field(default=[], description="Columns that are not used.")
    test_size: Share = Field(default=0.25, description="Share of the rows to keep for evaluation.")
    validation: Share | Annotated[StrictInt, Field(ge=2)] = Field(
        default=0.2, description="Share of the training rows, or a number of folds."
    )
    seed: int = Field(default=42, ge=0, lt=2**32, description="Seed of the shuffle.")


class ChoiceParameters(BaseModel, extra="forbid"):
    """`choice` in `parameters_training.yml`: how to choose between the candidates."""

    metric: Metric = Field(default="roc_auc", description="Metric to rank by.")


class EstimatorParameters(BaseModel, extra="forbid"):
    """`<candidate>.model` in `parameters_training.yml`: what to train."""

    estimator: str = Field(
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$",
        description="Import path of a scikit-learn-compatible class.",
    )
    arguments: dict[str, Any] | None = Field(default=None, description="Its keyword arguments.")
    # `--params` adds to dictionaries, so another estimator needs one of its own for its arguments.
    instead: Annotated["EstimatorParameters | None", BeforeValidator(lambda x: x or None)] = Field(
        default=None, description="Another estimator, which is trained instead."
    )


class MonitoringParameters(BaseModel, extra="forbid"):
    """`monitoring` in `parameters_monitoring.yml`: what counts as drift."""

    leave_out: Columns = Field(default=[], description="Features that are not watched.")
    fewest_rows: int = Field(default=30, ge=2, description="Fewer are too few to judge.")
    smallest_distance: float = Field(default=0.1, ge=0, lt=1, description="Less is no drift.")
    fail_on_drift: bool = Field(default=False, description="Whether drift fails the run.")
