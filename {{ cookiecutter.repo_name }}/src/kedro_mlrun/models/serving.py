"""MLRun's model servers of this project's models and pipelines: in its mock server, and nuclio."""

from typing import Any

import mlrun
from mlrun.serving import V2ModelServer

from ..runs.manager import MLRunContextManager
from ..store.fields import artifact_named
from . import protocol
from .following import Followed, Source, follow
from .pipelines import PipelineSource
from .prediction import ModelSource
from .schema import is_tensors

SECONDS = 5.0  # between two looks at a tag


class _Server(V2ModelServer):  # type: ignore[misc]
    """What answers as the server over HTTP does, from the same core."""

    def _source(self) -> Source:
        raise NotImplementedError

    def load(self) -> None:
        """Load and verify what is served, and follow its tag."""
        self._followed = Followed(self._source())
        self.model = self._followed.predictor
        # A mock server has no end that would end the thread.
        if not self.context.is_mock:
            follow([self._followed], SECONDS)

    def _inputs_to_list(self, request: Any) -> Any:
        return request  # the schema takes both

    def validate(self, request: Any, operation: str) -> dict[str, Any]:
        """Check rows or tensors against the schema."""
        rows = self._followed.predictor.schema.body(request)
        inputs = request if isinstance(request, list) else request["inputs"]
        return {"inputs": inputs, "rows": rows}

    def predict(self, request: dict[str, Any]) -> Any:
        """Answer the rows."""
        answer = self._followed.predictor.answer(request.pop("rows"))
        return protocol.said(answer, self.name, None, is_tensors(request["inputs"]))

    def postprocess(self, response: dict[str, Any]) -> dict[str, Any]:
        """Give the answer's parts beside what MLRun tells."""
        return {**response, **response["outputs"], "model_name": response["model_name"]}


class MLRunModelServer(_Server):
    """Serves a model artifact; the `store://` URI in `model_path` has the tag that is followed.

    Example:
        ```python
        function = mlrun.new_function("champion", kind="serving", image="mlrun/mlrun")
        function.add_model(
            "xgboost_model",
            model_path="store://models/breast-cancer/xgboost_model:champion",
            class_name="kedro_mlrun.models.serving.MLRunModelServer",
        )
        server = function.to_mock_server()
        server.test("/v2/models/xgboost_model/infer", {"inputs": [row]})
        ```
    """

    def _source(self) -> Source:
        named = artifact_named(str(self.model_path))
        names = ("key", "tag", "uid", "tree", "project")
        # Which also tells MLRun where the run database is.
        _ = MLRunContextManager().run_db
        self.model_spec = mlrun.get_dataitem(self.model_path).meta
        return ModelSource(*(named.get(name, "") for name in names))


class MLRunPipelineServer(_Server):
    """Serves the pipeline of this Kedro project that `pipeline` names, in the environment `env`.

    Example:
        ```python
        function.add_model(
            "inference",
            model_path="",
            class_name="kedro_mlrun.models.serving.MLRunPipelineServer",
            pipeline="inference",
        )
        ```
    """

    def _source(self) -> Source:
        return PipelineSource(self.get_param("pipeline"), self.get_param("env", None))
