"""The examples of the documentation: of the published MLRun datasets, and of this project's own.

The former are here word for word but for the import. Source: the README of
kedro_datasets_experimental.mlrun. A catalog or a script that was written for those datasets works
here with only its `type:` or its import changed.
"""

import re
import textwrap
from collections.abc import Callable

import pandas as pd
import pytest
import yaml
from helpers import Store, metadata, states
from kedro.io import DataCatalog
from sklearn.linear_model import LogisticRegression

from kedro_mlrun import datasets

QUICK_START = """
import pandas as pd
from sklearn.ensemble import RandomForestClassifier

trained_model = RandomForestClassifier(bootstrap=False).fit([[1.0], [2.0]], [0, 1])
df = pd.DataFrame({"a": [1, 2], "b": [3, 4]})

model_dataset = MLRunModel(
    key="trained_model",
    framework="sklearn",
    model_format="pkl",
)
model_dataset.save(trained_model)
loaded_model = model_dataset.load()
assert loaded_model.predict([[2.0]]) == [1]

df_dataset = MLRunDataframeDataset(key="processed_data")
df_dataset.save(df)
loaded_df = df_dataset.load()
pd.testing.assert_frame_equal(loaded_df, df)

result_dataset = MLRunResult(key="metrics", flatten=True)
result_dataset.save({"accuracy": 0.95, "loss": 0.05})
"""

DATASETS = """
dataset = MLRunModel(
    key="my_sklearn_model",
    framework="sklearn",
    model_format="pkl",
)
dataset.save(trained_model)
loaded_model = dataset.load()
assert loaded_model.predict([[2.0]]) == [1]

dataset = MLRunDataframeDataset(key="processed_df")
dataset.save(pd.DataFrame({"a": [1, 2], "b": [3, 4]}))
loaded_df = dataset.load()
pd.testing.assert_frame_equal(loaded_df, df)

dataset = MLRunResult(key="metrics", flatten=True)
dataset.save({"accuracy": 0.95, "loss": 0.05})
loaded = dataset.load()
assert loaded == {"accuracy": 0.95, "loss": 0.05}

dataset = MLRunAbstractDataset(key="config_data")
dataset.save({"param1": "value1", "param2": 42})
loaded = dataset.load()
assert loaded == {"param1": "value1", "param2": 42}

ctx_manager = MLRunContextManager()
project = ctx_manager.project
context = ctx_manager.context
assert context.project == project.metadata.name
"""

CATALOG = """
trained_model:
  type: kedro_datasets_experimental.mlrun.MLRunModel
  key: my_sklearn_model
  framework: sklearn
  model_format: pkl
  # save_args/load_args: any args supported by log_model/get_artifact for your MLRun version

user_data:
  type: kedro_datasets_experimental.mlrun.MLRunDataframeDataset
  key: generate-data-main_user_data
  # load_args/save_args: any args supported by get_artifact/log_artifact for your MLRun version

training_metrics:
  type: kedro_datasets_experimental.mlrun.MLRunResult
  key: metrics
  flatten: true

generic_artifact:
  type: kedro_datasets_experimental.mlrun.MLRunAbstractDataset
  key: my_artifact

rf_model:
  type: kedro_datasets_experimental.mlrun.MLRunModel
  key: rf_classifier
  framework: sklearn

evaluation_metrics:
  type: kedro_datasets_experimental.mlrun.MLRunResult
  key: eval_metrics
  flatten: true

xgboost_model:
  type: kedro_datasets_experimental.mlrun.MLRunModel
  key: xgb_regressor
  framework: xgboost
  model_format: pkl
  save_args:
    labels:
      - production
      - v1.0
"""

OPEN_CATALOG = """
import yaml
from kedro.io import DataCatalog
catalog = DataCatalog.from_config(yaml.safe_load('''{catalog}'''))
"""

USAGE = """
from kedro.pipeline import node, pipeline
from kedro.runner import SequentialRunner

def train_model(X_train, y_train):
    from sklearn.ensemble import RandomForestClassifier
    model = RandomForestClassifier(n_estimators=3)
    model.fit(X_train, y_train)
    return model

def evaluate_model(model, X_test, y_test):
    accuracy = model.score(X_test, y_test)
    return {"test_accuracy": accuracy}

for name, data in {"X_train": [[1.0], [2.0]], "y_train": [0, 1]}.items():
    catalog[name] = data
SequentialRunner().run(
    pipeline([
        node(train_model, ["X_train", "y_train"], "rf_model"),
        node(evaluate_model, ["rf_model", "X_train", "y_train"], "evaluation_metrics"),
    ]),
    catalog,
)

import xgboost
catalog.save("xgboost_model", xgboost.XGBRegressor(n_estimators=2).fit([[1.0], [2.0]], [0, 1]))
catalog.save("user_data", df)
catalog.save("generic_artifact", "anything")
"""

LOADS = """
import pandas as pd
assert MLRunModel(key="trained_model").load().predict([[2.0]]) == [1]
frame = pd.DataFrame({"a": [1, 2], "b": [3, 4]})
pd.testing.assert_frame_equal(MLRunDataframeDataset(key="processed_data").load(), frame)
pd.testing.assert_frame_equal(MLRunDataframeDataset(key="processed_df").load(), frame)
metrics = {"accuracy": 0.95, "loss": 0.05}
assert MLRunResult(key="metrics", flatten=True).load() == metrics
assert MLRunAbstractDataset(key="config_data").load() == {"param1": "value1", "param2": 42}

assert catalog.load("trained_model").predict([[2.0]]) == [1]
pd.testing.assert_frame_equal(catalog.load("user_data"), frame)
assert catalog.load("training_metrics") == metrics
assert catalog.load("generic_artifact") == "anything"
assert catalog.load("rf_model").score([[1.0], [2.0]], [0, 1]) <= 1
assert set(catalog.load("evaluation_metrics")) == {"test_accuracy"}
assert catalog.load("xgboost_model").n_estimators == 2
print("all loaded")
"""


def test_every_example_works_and_loads_in_a_second_process(
    embedded: Store, python: Callable[[str], str]
) -> None:
    """What the published datasets promise holds, and outlives the process, whose run completes."""
    catalog = CATALOG.replace("kedro_datasets_experimental.mlrun", "kedro_mlrun")
    open_catalog = textwrap.dedent(OPEN_CATALOG).format(catalog=catalog)
    python(QUICK_START + DATASETS + open_catalog + USAGE)
    assert states(embedded) == [("kedro-mlrun-ctx", "completed")]
    assert python(open_catalog + LOADS).splitlines()[-1] == "all loaded"
    assert len(states(embedded)) == 1  # Reading opened no other run.


@pytest.mark.parametrize(
    "name",
    [name for name in datasets.__all__ if name.startswith("MLRun") and "Context" not in name],
)
def test_the_examples_of_the_docstrings_work(embedded: Store, name: str) -> None:
    """The YAML makes the dataset, and the Python does what it says."""
    dataset = getattr(datasets, name)
    examples = textwrap.dedent(dataset.__doc__.partition("Example:\n")[2])
    (config,) = re.findall(r"```yaml\n(.*?)```", examples, re.DOTALL)
    catalog = DataCatalog.from_config(
        yaml.safe_load(config.replace("my_project", str(metadata().package_name)))
    )
    assert [type(made) for made in catalog.values()] == [dataset]
    (code,) = re.findall(r"```python\n(.*?)```", examples, re.DOTALL)
    trained_model = LogisticRegression().fit([[1.0], [2.0]], [0, 1])
    exec(code, {**vars(datasets), "pd": pd, "trained_model": trained_model})
