"""Trained models as MLRun model artifacts."""

from __future__ import annotations

import importlib
import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.io import DatasetError, Version

from .abstract import TYPE_LABEL, MLRunAbstractDataset, _type_name, verified_bytes

if TYPE_CHECKING:
    import mlrun
    from mlrun.artifacts import Artifact

PICKLED = ("pkl", "joblib")
XGBOOST = ("json", "ubj")


class MLRunModel(MLRunAbstractDataset):
    """A trained model as an MLRun model artifact.

    A model's bytes are read only when they have the hash that was recorded with them. Even so a
    pickle can run code: load models only from a project whose members you trust, or keep XGBoost
    models in one of XGBoost's own formats.

    Args:
        key: as in `MLRunAbstractDataset`.
        framework: the framework's name in MLRun, such as `sklearn`, `xgboost`, `lightgbm`.
        model_format: how the model is kept and how its file's name ends: `pkl` or `joblib` with
            joblib; `json` or `ubj` in XGBoost's own format, which gives back the model but none of
            the training arguments that it no longer needs.
        load_args: as in `MLRunAbstractDataset`.
        save_args: further arguments of MLRun's `log_model`, such as `tag`, `labels`, `metrics`,
            `parameters`, `algorithm`, `training_set` or `extra_data`.
        version: as in `MLRunAbstractDataset`.
        metadata: as in `MLRunAbstractDataset`.

    Raises:
        DatasetError: the format is not known.

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
        self._model_format = model_format.lower().lstrip(".")
        if self._model_format not in PICKLED + XGBOOST:
            raise DatasetError(
                f"MLRunModel '{key}' doesn't know the model_format '{model_format}'. "
                f"Use one of {', '.join(PICKLED + XGBOOST)}."
            )

    def _describe(self) -> dict[str, Any]:
        own = {"framework": self._framework, "model_format": self._model_format}
        return {**super()._describe(), **own}

    def _log(self, context: mlrun.MLClientCtx, data: Any, folder: Path) -> None:
        from mlrun.artifacts import ModelArtifact

        file = folder / f"model.{self._model_format}"
        if self._model_format in PICKLED:
            import joblib

            try:
                joblib.dump(data, file)
            except Exception as exc:
                raise DatasetError(
                    f"a {_type_name(data)} can't be pickled ({exc}); "
                    "save a model of plain parts, without open files or lambdas"
                ) from exc
        else:
            _check_xgboost(_type_name(data), self._model_format)
            missing, objective = getattr(data, "missing", math.nan), getattr(data, "objective", "")
            if missing is not None and not math.isnan(missing) or callable(objective):
                raise DatasetError(
                    f"model_format '{self._model_format}' doesn't keep the model's `missing` or "
                    "an `objective` of one's own, and it would predict otherwise; "
                    "use model_format: pkl"
                )
            data.save_model(file)
        arguments = self._log_arguments(context, data, context.log_model, ModelArtifact)
        arguments.setdefault("framework", self._framework)
        arguments.setdefault("algorithm", type(data).__name__)
        arguments.update(model_dir=str(folder), model_file=file.name, upload=True)
        self._call(context.log_model, **arguments)

    def _read(self, artifact: Artifact) -> Any:
        if artifact.kind != "model":
            raise DatasetError(f"it is of kind '{artifact.kind}' and not a model")
        file = artifact.model_target_file or artifact.model_file
        content = verified_bytes(artifact, artifact.target_path + file)
        file_format = Path(file).suffix.removeprefix(".")
        type_name = (artifact.labels or {}).get(TYPE_LABEL, "xgboost.core.Booster")
        if file_format in XGBOOST:
            _check_xgboost(type_name, file_format)
            module, _, name = type_name.rpartition(".")
            model = getattr(importlib.import_module(module), name)()
            model.load_model(bytearray(content))
            return model
        import joblib

        return joblib.load(io.BytesIO(content))


def _check_xgboost(type_name: str, file_format: str) -> None:
    if not type_name.startswith("xgboost."):
        raise DatasetError(
            f"model_format '{file_format}' is XGBoost's own, and this is a {type_name}; "
            "use model_format: pkl"
        )
