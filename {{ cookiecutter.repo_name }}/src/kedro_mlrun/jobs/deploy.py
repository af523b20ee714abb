"""A model or a pipeline served on a cluster: a serving function in MLRun's format, by nuclio."""

from typing import Any

from ..lazy import mlrun
from ..project import current_project
from ..runs.manager import MLRunContextManager
from ..store.fields import run_name
from .function import SubmitError, load_function, on_cluster
from .image import CODE_FOLDER, is_stock

# What the function has of function.yaml's.
FIELDS: tuple[str, ...] = (
    "resources",
    "node_selector",
    "tolerations",
    "volumes",
    "volume_mounts",
    "env",
)
FIELDS += ("image_pull_secret", "service_account")
# Where the server classes are, which MLRun imports there.
SERVING = "kedro_mlrun.models.serving"


def make_function(key: str, tag: str, pipeline: str | None, env: str | None) -> Any:
    """Make MLRun's function of function.yaml, without a handler, for MLRun sets its own."""
    job = load_function(current_project())
    if is_stock(image := str(job.spec.image or "")):
        raise SubmitError(
            f"The image {image or 'mlrun/mlrun'} has no code of this project, and a server gets "
            "none later. Build the Dockerfile, and name its image as `image` in function.yaml."
        )
    name = run_name(f"serve-{pipeline or key}").lower().replace("_", "-").replace(".", "-")
    project = MLRunContextManager().project_name
    function = mlrun.new_function(name, project=project, kind="serving", image=image)
    for field in FIELDS:
        if hasattr(function.spec, field) and (value := getattr(job.spec, field)):
            setattr(function.spec, field, value)
    function.set_env("PYTHONPATH", f"{CODE_FOLDER}/src")
    if env:
        function.set_env("KEDRO_ENV", env)
    if pipeline:
        server = f"{SERVING}.MLRunPipelineServer"
        function.add_model(pipeline, model_path="", class_name=server, pipeline=pipeline)
    else:
        uri, server = f"store://models/{project}/{key}:{tag}", f"{SERVING}.MLRunModelServer"
        function.add_model(key, model_path=uri, class_name=server)
    return function


def deploy(key: str, tag: str, pipeline: str | None, env: str | None) -> tuple[str, str]:
    """Deploy it, and give the function's name and its address."""
    if not on_cluster():
        raise MLRunContextManager().store.needs_api("cluster to deploy to")
    function = make_function(key, tag, pipeline, env)
    try:
        url = function.deploy()
    except (OSError, ValueError, mlrun.errors.MLRunBaseError, mlrun.db.base.RunDBError) as error:
        raise SubmitError(
            f"MLRun couldn't deploy {function.metadata.name} ({str(error).rstrip('.')}). "
            "The log above says why; fix that, or ask who runs the MLRun API."
        ) from error
    return str(function.metadata.name), str(url)
