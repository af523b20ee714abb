"""The pipelines, which know nothing of MLRun: pure functions of data, models and parameters.

To add a candidate model, add its name to `CANDIDATES`, an entry `<name>_model` to
`conf/base/catalog.yml` and `<name>: {model: ...}` to `conf/base/parameters_training.yml`. If it
learns in rounds, add it to `BOOSTED` as well, and an entry `<name>_learning_curve` to the catalog.
"""

CANDIDATES = ("random_forest", "xgboost")  # each is a namespace in both pipelines
BOOSTED = ("xgboost",)  # those to record a learning curve of
