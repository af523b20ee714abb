"""What is computed: pure functions of data frames, models and typed parameters.

One more candidate takes its name in `CANDIDATES`, an entry `<name>.model` in
`conf/base/catalog.yml`, and `<name>: {model: ...}` in `conf/base/parameters_training.yml`; one that
learns in rounds may be in `BOOSTED`, too, with an entry `<name>.learning_curve`.
"""

CANDIDATES = ("random_forest", "xgboost")
"""The models that are trained and compared; each is a namespace in both pipelines."""

BOOSTED = ("xgboost",)
"""The candidates of which the training pipeline keeps the learning curve."""
