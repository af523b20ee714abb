"""The image that jobs run in: MLRun's own, with the packages of requirements.lock."""

import hashlib
import re
import shlex
from pathlib import Path

from ..lazy import mlrun
from .function import SubmitError, on_cluster

LOCK = "requirements.lock"
CODE_FOLDER = "/project"
"""Where the code is in an image that is built from the project's Dockerfile."""

_STOCK = re.compile(r"(^|/)mlrun/(mlrun|ml-)[\w-]*(:[\w.-]+)?$")


def requirements_file(project_path: Path) -> Path:
    """Give the file that says what an image has: the lock, or else requirements.txt."""
    for file in (project_path / LOCK, project_path / "requirements.txt"):
        if file.is_file():
            return file
    raise SubmitError(f"No {LOCK} or {file.name} in {project_path} says what jobs need. Write one.")


def is_stock(image: str) -> bool:
    """Tell whether an image is one of MLRun's own, which have no Kedro."""
    return not image or bool(_STOCK.search(image))


def build(
    function: "mlrun.runtimes.KubejobRuntime", project_path: Path, again: bool = False
) -> str:
    """Have MLRun build an image on the function's own, print the log, and give the image's name.

    It gets all of requirements.lock, the packages for development too, so that a job has what the
    tests ran with. `requirements` and `commands` of function.yaml's build come before, and so don't
    change what is locked.
    """
    if not on_cluster():
        raise mlrun.get_run_db().needs_api("images of its own")
    if not again and (image := built_image(function, project_path)):
        return image
    builder = _builder(function, project_path)
    image = str(builder.spec.build.image)
    try:
        builder.deploy(watch=True, with_mlrun=False, force_build=again)
    except (mlrun.errors.MLRunRuntimeError, ValueError) as exc:
        raise SubmitError(
            f"MLRun couldn't build the image {image} ({exc}). The end of the log above says why; "
            f"fix {requirements_file(project_path).name} or `build` in function.yaml."
        ) from exc
    return image


def built_image(function: "mlrun.runtimes.KubejobRuntime", project_path: Path) -> str | None:
    """Find the image that MLRun has built for the present requirements.lock."""
    builder = _builder(function, project_path)
    db, metadata = mlrun.get_run_db(), builder.metadata
    try:
        db.get_function(metadata.name, metadata.project, metadata.tag)
    except mlrun.errors.MLRunNotFoundError:
        return None
    # Its record may not have the end of a build that nobody waited for; this question makes it so.
    db.get_builder_status(builder, logs=False)
    return str(builder.spec.build.image) if builder.status.state == "ready" else None


def usable(function: "mlrun.runtimes.KubejobRuntime", project_path: Path) -> str:
    """Give the image that a job can run in on a cluster: the function's, or what is built on it."""
    own = str(function.spec.image or "")
    image = built_image(function, project_path) if is_stock(own) else own
    if not image:
        raise SubmitError(
            f"The image {own or 'mlrun/mlrun'} has no Kedro, and none is built on it for the "
            f"present {requirements_file(project_path).name}. Build it with kedro mlrun build, or "
            "name another as `image` in function.yaml."
        )
    return image


def _builder(
    function: "mlrun.runtimes.KubejobRuntime", project_path: Path
) -> "mlrun.runtimes.KubejobRuntime":
    """Make the function that MLRun builds.

    It is another one than that of the jobs, whose record each submission writes anew, and has a tag
    of its own for each content.
    """
    file = requirements_file(project_path)
    builder = mlrun.new_function(runtime=function.to_dict())
    build = builder.spec.build
    base_image = build.base_image or builder.spec.image or "mlrun/mlrun"
    commands = list(build.commands or [])
    if build.requirements:
        packages = " ".join(map(shlex.quote, build.requirements))
        commands.append(f"PIP_NO_DEPS=0 python -m pip install {packages}")
    parts = [base_image.encode(), file.read_bytes(), *(text.encode() for text in commands)]
    # A length before each, so that nothing can move from one part to the next unnoticed.
    content = b"".join(b"%d:%b" % (len(part), part) for part in parts)
    builder.metadata.name = f"{builder.metadata.name}-image"
    builder.metadata.tag = hashlib.sha256(content).hexdigest()[:12]
    # The code comes with each run.
    build.source, build.load_source_on_run = None, None
    builder.spec.default_handler = builder.spec.workdir = ""
    # As a build argument it is a variable of pip's environment: MLRun has no option for --no-deps.
    no_deps = "--build-arg PIP_NO_DEPS=1" if file.name == LOCK else ""
    builder.build_config(
        # The dot stands for the registry that the MLRun API has.
        image=f".kedro-{builder.metadata.project}:{builder.metadata.tag}",
        base_image=base_image,
        commands=commands,
        requirements_file=str(file),
        extra_args=" ".join(filter(None, [build.extra_args, no_deps])),
    )
    builder.spec.image = ""
    return builder
