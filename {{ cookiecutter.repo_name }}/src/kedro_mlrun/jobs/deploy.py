"""A model or a pipeline served on a cluster: a serving function in MLRun's format, by nuclio."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ..lazy import mlrun
from ..project import config_loader, current_project
from ..runs.manager import MLRunContextManager
from ..store.fields import run_name
from .function import FIELDS, SubmitError, load_function, on_cluster
from .image import CODE_FOLDER, is_stock, usable
from .source import pack_for

# What of function.yaml is for jobs alone.
OF_JOBS = {"image", "default_handler", "workdir", "build"}
# Where the server classes are, which MLRun imports there.
SERVING = "kedro_mlrun.models.serving"


def make_function(
    key: str, tag: str, pipeline: str | None, env: str | None, image: str = ""
) -> Any:
    """Make MLRun's function of function.yaml, without a handler, for MLRun sets its own."""
    folder = current_project()
    job = load_function(folder)
    image = image or str(job.spec.image or "")
    if is_stock(image):
        image = usable(job, folder, pack_for(env, folder, config_loader(folder, env)))
    name, project = _name(pipeline or key), MLRunContextManager().project_name
    function = mlrun.new_function(name, project=project, kind="serving", image=image)
    for field in FIELDS.keys() - OF_JOBS:
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


def _name(served: str) -> str:
    return run_name(f"serve-{served}").lower().replace("_", "-").replace(".", "-")


def deploy(key: str, tag: str, pipeline: str | None, env: str | None) -> tuple[str, str]:
    """Deploy it, and give the function's name and its address."""
    if not on_cluster():
        raise MLRunContextManager().store.needs_api("cluster to deploy to")
    function = make_function(key, tag, pipeline, env)
    with _refused(f"deploy {function.metadata.name}"):
        url = function.deploy()
    return str(function.metadata.name), str(url)


def monitor(key: str, tag: str, minutes: int, env: str | None) -> str:
    """Have MLRun monitor a model that is deployed, and give the function's name.

    MLRun's own functions for it are deployed where the project has none, and the model's function
    once more, so that it sends its requests to them.
    """
    name, project = _name(key), MLRunContextManager().project
    try:
        deployed = mlrun.get_run_db().get_function(name, project.name)
    except mlrun.errors.MLRunNotFoundError:
        raise SubmitError(
            f"There is no function {name}, so {key} isn't deployed. To deploy it: "
            f"kedro mlrun serve {key}:{tag} --deploy"
        ) from None
    with _refused("monitor models"), suppress(mlrun.errors.MLRunConflictError):  # it does already
        project.enable_model_monitoring(base_period=minutes)
    # With the code that it has, and not what that is here by now.
    function = make_function(key, tag, None, env, str(deployed["spec"].get("image") or ""))
    function.set_tracking()
    with _refused(f"deploy {name}"):
        function.deploy()
    return name


@contextmanager
def _refused(what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, mlrun.errors.MLRunBaseError, mlrun.db.base.RunDBError) as error:
        raise SubmitError(
            f"MLRun couldn't {what} ({str(error).rstrip('.')}). "
            "The log above says why; fix that, or ask who runs the MLRun API."
        ) from error
