"""Trained models as MLRun model artifacts."""

import json
import logging
import pickle
from collections.abc import Mapping
from contextlib import suppress
from mmap import ACCESS_READ, mmap
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
from kedro.io import DatasetError, Version

from ..store.rows import Record
from .abstract import MLRunAbstractDataset, class_named, type_label, type_name
from .dataframe import MLRunDataframeDataset
from .files import verified_file
from .pickles import dump
from .preview import statistics

PICKLED = ("pkl", "joblib")
XGBOOST = ("json", "ubj")
# An attribute of a booster, for what XGBoost's own formats don't hold of an estimator.
NOTE, NOTING = "kedro-mlrun", Lock()
# MLRun's names of frameworks, by the packages of their classes.
FRAMEWORKS = {"sklearn": "sklearn", "xgboost": "xgboost", "lightgbm": "lightgbm"}
FRAMEWORKS |= {"catboost": "catboost", "torch": "pytorch"}
# MLRun's names of types, by Arrow's and Python's.
TYPES = {"bool": "bool", "int64": "int", "int32": "int32", "float": "float32", "double": "float"}
OF_PYTHON = {"bool": "bool", "int": "int", "float": "float", "str": "str", "bytes": "bytes"}


class MLRunModel(MLRunAbstractDataset):
    """A trained model as an MLRun model artifact.

    The record has its inputs and outputs: of the training set, with statistics, or of the fitted
    model. The classes' names are the output's `labels`, by their position in `predict_proba`.

    Args:
        key: as for `MLRunAbstractDataset`, and so are `load_args`, `version` and `metadata`. A
            `path` in `load_args` is a `store://` URI.
        framework: the framework's name in MLRun, for a model whose class doesn't tell it, as those
            of scikit-learn, XGBoost, LightGBM, CatBoost and PyTorch do.
        model_format: how the model is kept and how its file's name ends: `pkl`, a pickle, which
            MLRun's model servers read, also where the project's classes can't be imported;
            `joblib`; `json` or `ubj` in XGBoost's own format, which is refused if it loses
            anything. A pickle can run code: load them only from people whom you trust.
        save_args: further arguments of MLRun's `log_model`, such as `tag`, `labels`, `metrics`,
            `parameters`, `algorithm` or `extra_data`; `training_set`: the name of a catalog entry
            of the run, or a frame; `label_column`, by default the columns of the training set that
            the model doesn't take.

    Example:
        ```yaml
        trained_model:
          type: kedro_mlrun.MLRunModel
          framework: sklearn
          model_format: pkl
          save_args:
            training_set: user_data
        ```

        ```python
        dataset = MLRunModel(key="my_sklearn_model", framework="sklearn", model_format="pkl")
        dataset.save(trained_model)
        loaded_model = dataset.load()
        ```
    """

    KIND = "model"
    PLAIN = frozenset(
        {"tag", "labels", "db_key", "artifact_path", "metrics", "parameters", "algorithm"}
        | {"framework", "training_set", "label_column"}
    )
    READS_FILES = False

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
        training_set = self._save_args.get("training_set")
        self.uses = [training_set] if isinstance(training_set, str) else []
        self._at_hand: dict[str, pd.DataFrame] = {}

    def _prepare(
        self, data: Any, temporary: Path, folder: str, arguments: Record
    ) -> tuple[Path, Record, Record]:
        file, target = self._write(data, temporary), f"{folder}/"
        packages = (base.__module__.partition(".")[0] for base in type(data).__mro__)
        known = (FRAMEWORKS[package] for package in packages if package in FRAMEWORKS)
        arguments.setdefault("framework", next(known, self._framework))
        arguments.setdefault("algorithm", type(data).__name__)
        # MLRun writes the specification beside the model, for which it must find that.
        place = str(temporary) if "://" in folder else target
        spec = {"target_path": target, "src_path": place, "model_file": file.name}
        names = ("framework", "algorithm", "metrics", "parameters", "inputs", "outputs")
        spec |= {name: arguments.pop(name, None) for name in names}
        source, label = arguments.pop("training_set", None), arguments.pop("label_column", None)
        labels = [] if label is None else [label]
        labels = [*label] if isinstance(label, list | tuple) else labels
        for each in [None] if source is None else [source, None]:
            try:
                frame = each
                if isinstance(each, str) and (frame := self._at_hand.pop(each, None)) is None:
                    frame = (self.sources.get(each) or MLRunDataframeDataset(each)).load()
                return file, spec | _schema(data, frame, labels, spec), {}
            except Exception as error:
                what = "" if each is None else " of its training set"
                message = "'%s' is recorded without inputs and outputs%s: %s"
                logging.getLogger(__name__).warning(message, self.key, what, error)
        return file, spec, {}

    def see(self, inputs: Mapping[str, Any]) -> None:
        """Keep a training set that the node has loaded, so that it isn't read once more."""
        used = {name: inputs[name] for name in self.uses if name in inputs}
        # A node may add columns to its frame, or take some away.
        frames = {n: f.copy(deep=False) for n, f in used.items() if isinstance(f, pd.DataFrame)}
        self._at_hand = frames

    def _write(self, data: Any, folder: Path) -> Path:
        file = folder / f"model.{self._format}"
        if self._format == "joblib":
            joblib.dump(data, file)
        elif self._format == "pkl":
            dump(data, file)
        else:
            _save_xgboost(data, file)
        return file

    def _read(self, artifact: Record) -> Any:
        spec, kind = artifact["spec"], artifact["kind"]
        if kind != "model":
            kind = f"it is of kind '{kind}' and not a model"
            raise DatasetError(f"{kind}. Load it with the dataset that saved it")
        file = str(spec.get("model_target_file") or spec["model_file"])
        with verified_file(artifact, spec["target_path"] + file) as stream:
            if Path(file).suffix[1:] not in XGBOOST:
                return _unpickle(stream)
            kind = type_label(artifact) or "xgboost.core.Booster"
            return _load_xgboost(stream.read(), class_named(kind))


def _unpickle(stream: BinaryIO) -> Any:
    """Read a pickle, or joblib's kind of one, which is compressed or names joblib."""
    # For joblib reads the others, too, but needs three times the memory.
    is_plain = False
    with suppress(OSError, ValueError), mmap(stream.fileno(), 0, access=ACCESS_READ) as content:
        is_plain = content[:1] == pickle.PROTO and content.find(b"joblib") < 0
    return pickle.load(stream) if is_plain else joblib.load(stream)  # noqa: S301


def _answer(model: Any, name: str) -> Any:
    with suppress(Exception):  # of somebody else's class, whose property it may be
        return getattr(model, name)
    return None


def _schema(model: Any, frame: pd.DataFrame | None, labels: list[Any], given: Record) -> Record:
    """Give a model's inputs and outputs, with statistics, in MLRun's own words."""
    found, names = {"inputs": given["inputs"], "outputs": given["outputs"]}, list[Any]()
    inputs, classes = _answer(model, "feature_names_in_"), _answer(model, "classes_")
    if frame is not None:
        if inputs is not None:
            labels = labels or [name for name in frame.columns if name not in inputs]
            frame = frame[[*inputs, *labels]]
        elif _answer(model, "n_features_in_") not in {None, len(frame.columns) - len(labels)}:
            raise DatasetError("the model has another number of features; set label_column")
        # The index is no feature.
        frame = frame.reset_index(drop=True)
        found = {
            "inputs": _features(frame.drop(columns=labels), given["inputs"]),
            "outputs": _features(frame[labels], given["outputs"]) if labels else given["outputs"],
            "feature_stats": statistics(frame.select_dtypes(["number", "bool"])),
        }
        if labels and isinstance(kind := frame[labels[0]].dtype, pd.CategoricalDtype):
            names = [*kind.categories]
    elif inputs is not None and not given["inputs"]:
        # Their types nobody has told.
        found["inputs"] = [{"name": str(name)} for name in inputs]
    if isinstance(classes, np.ndarray) and classes.ndim == 1:
        learnt = classes.tolist()
        if not found["outputs"]:
            kind = OF_PYTHON.get(type(learnt[0]).__name__)
            found["outputs"] = [{"name": str(labels[0] if labels else "label"), "value_type": kind}]
        # It may have learnt the codes of a category.
        is_code = {*learnt} <= {*range(len(names))} and not {*learnt} <= {*names}
        named = [str(names[code] if is_code else code) for code in learnt]
        if len(found["outputs"]) == 1:
            [output] = found["outputs"]
            output["labels"] = {str(number): name for number, name in enumerate(named)}
    return found


def _features(frame: pd.DataFrame, given: list[Record] | None) -> list[Record]:
    """Give the features that a frame has, with MLRun's names of their types."""
    schema = pa.Schema.from_pandas(frame, preserve_index=False)
    known = {feature["name"]: dict(feature) for feature in given or ()}
    for name, kind in zip(schema.names, schema.types, strict=True):
        of_values = kind.value_type if pa.types.is_dictionary(kind) else kind
        is_time = pa.types.is_timestamp(of_values)
        named = "datetime" if is_time else TYPES.get(str(of_values), "str")
        known[name] = {**known.get(name, {"name": name}), "value_type": named}
    return [*known.values()]


def _save_xgboost(model: Any, file: Path) -> None:
    """Save a model in XGBoost's own format, and make sure that it answers the same afterwards."""
    from xgboost import Booster, XGBModel

    if not isinstance(model, Booster | XGBModel):
        what = f"is XGBoost's own, and this is a {type_name(model)}"
        raise DatasetError(f"model_format '{file.suffix[1:]}' {what}; use model_format: pkl")
    booster = model if isinstance(model, Booster) else model.get_booster()
    before = _answers(model)
    note = {name: before[name] for name in vars(model) if name in before}
    with NOTING:
        # What JSON can't hold doesn't come back, which is seen below.
        booster.set_attr(**{NOTE: json.dumps(note, sort_keys=True, default=repr)})
        try:
            model.save_model(file)
        finally:
            booster.set_attr(**{NOTE: None})
    after = _answers(_load_xgboost(file.read_bytes(), class_named(type_name(model))))
    if lost := sorted(name for name in before if not _same(before[name], after.get(name))):
        what = f"doesn't keep {', '.join(lost)} of this {type(model).__name__}"
        raise DatasetError(f"model_format '{file.suffix[1:]}' {what}; use model_format: pkl")


def _load_xgboost(content: bytes, kind: type) -> Any:
    from xgboost import Booster, XGBModel

    # Before the call: what stands in a record must not run just any function.
    if not (isinstance(kind, type) and issubclass(kind, Booster | XGBModel)):
        raise DatasetError(
            f"its file is XGBoost's, and {kind} is no model of XGBoost's. Train and save it again"
        )
    model = kind()
    model.load_model(bytearray(content))
    booster = model if isinstance(model, Booster) else model.get_booster()
    vars(model).update(json.loads(booster.attr(NOTE) or "{}"))
    booster.set_attr(**{NOTE: None})
    return model


def _answers(model: Any) -> dict[str, Any]:
    """Give an estimator's parameters, and what it has learnt, whose names end with `_`."""
    if not hasattr(model, "get_params"):
        return {}  # a Booster, of which the format is made
    found = {name: value for name, value in vars(model).items() if name[0] != "_"}
    learnt = (name for name in dir(model) if name[-1] == "_" != name[0])
    found |= {name: answer for name in learnt if (answer := _answer(model, name)) is not None}
    return found | model.get_params()


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):  # of any class
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    with suppress(Exception):  # of what can't be pickled, and so can't be compared
        return type(one) is type(other) and joblib.hash(one) == joblib.hash(other)
    return False
