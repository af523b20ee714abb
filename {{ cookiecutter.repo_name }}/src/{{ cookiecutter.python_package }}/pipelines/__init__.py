"""What is computed: pure functions of data frames, models and typed parameters.

One more candidate takes its name in `CANDIDATES`, an entry `<name>.model` in
`conf/base/catalog.yml`, and `<name>: {model: ...}` in `conf/base/parameters_training.yml`.
"""

CANDIDATES = ("random_forest", "xgboost")
"""The models that are trained and compared; each is a namespace in both pipelines."""
