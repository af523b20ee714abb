"""How the estimator that the parameters name is made."""

from typing import Any

from kedro.utils import load_obj

from ..parameters import EstimatorParameters, Task


def make_estimator(model: EstimatorParameters, task: Task) -> Any:
    """Create the estimator that the parameters name.

    Within its arguments, what has an `estimator` is created as well, such as the steps of a
    scikit-learn Pipeline.
    """
    from sklearn.base import is_classifier, is_regressor

    model = model.instead or model
    estimator = _create(model)
    if task == "classification":
        # Some have it only with certain arguments, such as SVC(probability=True).
        suits = is_classifier(estimator) and hasattr(estimator, "predict_proba")
        wanted = "a classifier with `predict_proba`, such as LogisticRegression"
    else:
        suits, wanted = is_regressor(estimator), "a regressor, such as sklearn.linear_model.Ridge"
    if not suits:
        raise ValueError(
            f"{model.estimator!r} with these arguments does not suit split.task {task!r}. "
            f"Name {wanted}."
        )
    return estimator


def _create(model: EstimatorParameters) -> Any:
    try:
        kind = load_obj(model.estimator)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"Estimator {model.estimator!r} cannot be imported: {error}. "
            "Correct the import path, or install its package."
        ) from error
    # Before the call: a path in the parameters must not run just any function.
    if not isinstance(kind, type) or not hasattr(kind, "get_params"):
        raise ValueError(
            f"{model.estimator!r} is not a scikit-learn-compatible class. "
            "Name one that derives from sklearn.base.BaseEstimator."
        )
    arguments = {name: _created(value) for name, value in (model.arguments or {}).items()}
    hint = "Correct `arguments`, or name another estimator in `instead`, with arguments of its own."
    try:
        estimator = kind(**arguments)
    except TypeError as error:
        raise ValueError(
            f"{model.estimator} does not accept the arguments {arguments}: {error}. {hint}"
        ) from error
    # XGBoost keeps unknown arguments here, and would train without them.
    if unknown := getattr(estimator, "kwargs", None):
        raise ValueError(f"{model.estimator} does not know the arguments {unknown}. {hint}")
    return estimator


def _created(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_created(one) for one in value]
    if isinstance(value, dict) and "estimator" in value:
        return _create(EstimatorParameters(**value))
    return value
