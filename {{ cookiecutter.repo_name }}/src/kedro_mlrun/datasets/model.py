"""Trained models as MLRun model artifacts."""

import io
import math
from pathlib import Path
from typing import Any

import joblib
from kedro.io import DatasetError, Version
from kedro.utils import load_obj

from .abstract import TYPE_LABEL, MLRunAbstractDataset, type_name, verified_bytes

PICKLED = ("pkl", "joblib")
XGBOOST = ("json", "ubj")


class MLRunModel(MLRunAbstractDataset):
    """A trained model as an MLRun model artifact.

    Args:
        key: as for `MLRunAbstractDataset`, and so are `load_args`, `version` and `metadata`.
        framework: the framework's name in MLRun, such as `sklearn`, `xgboost`, `lightgbm`.
        model_format: how the model is kept and how its file's name ends: `pkl` or `joblib` with
            joblib; `json` or `ubj` in XGBoost's own format, which gives back the model but none of
            the training arguments that it no longer needs. A pickle can run code: load pickled
            models only from a project whose members you trust.
        save_args: further arguments of MLRun's `log_model`, such as `tag`, `labels`, `metrics`,
            `parameters`, `algorithm`, `training_set` or `extra_data`.

    Example:
        ```yaml
        trained_model:
          type: kedro_mlrun.MLRunModel
          framework: sklearn
          model_format: pkl
        ```

        ```python
        dataset = MLRunModel(key="my_sklearn_model", framework="sklearn", model_format="pkl")
        dataset.save(trained_model)
        loaded_model = dataset.load()
        ```
    """

    LOG = ("log_model", "ModelArtifact")

    def __init__(
        self,
        key: str | None = None,
        framework: str = "sklearn",
        model_format: str = "pkl",
        load_args: dict[str, Any] | None = None,
        save_args: dict[str, Any] | None = None,
        version: Version | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(key, load_args, save_args, version, metadata)
        self._framework = framework
        self._format = model_format.lower().lstrip(".")
        self._check_names([self._format], PICKLED + XGBOOST, "model_format")

    def _prepare(self, data: Any, temporary: Path, folder: str, arguments: dict[str, Any]) -> None:
        file = self._write(data, temporary)
        arguments.setdefault("framework", self._framework)
        arguments.setdefault("algorithm", type(data).__name__)
        arguments.update(model_dir=str(temporary), model_file=file.name, target_path=f"{folder}/")

    def _write(self, data: Any, folder: Path) -> Path:
        file = folder / f"model.{self._format}"
        if self._format in PICKLED:
            joblib.dump(data, file)
            return file
        problem, missing = "", getattr(data, "missing", None)
        if not type_name(data).startswith("xgboost."):
            problem = f"is XGBoost's own, and this is a {type_name(data)}"
        elif callable(getattr(data, "objective", None)) or not (
            missing is None or math.isnan(missing)
        ):
            problem = "doesn't keep `missing` or an `objective` of one's own: it predicts otherwise"
        if problem:
            raise DatasetError(f"model_format '{self._format}' {problem}; use model_format: pkl")
        data.save_model(file)
        return file

    def _read(self, artifact: Any) -> Any:
        if artifact.kind != "model":
            raise DatasetError(f"it is of kind '{artifact.kind}' and not a model")
        file = artifact.model_target_file or artifact.model_file
        content = verified_bytes(artifact, artifact.target_path + file)
        ending = Path(file).suffix[1:]
        if ending not in XGBOOST:
            return joblib.load(io.BytesIO(content))
        kind = (artifact.labels or {}).get(TYPE_LABEL, "xgboost.core.Booster")
        model = load_obj(kind)()
        model.load_model(bytearray(content))
        return model
