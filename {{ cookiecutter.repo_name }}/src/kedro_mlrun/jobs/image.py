"""The image that jobs run in: MLRun's own, with the packages of requirements.lock.

With the project's code, too, it is what a server on a cluster runs in, which gets no code later.
"""

import hashlib
import re
import shlex
from pathlib import Path

from ..lazy import mlrun
from ..runs.manager import MLRunContextManager
from .function import Function, SubmitError, on_cluster
from .source import Archive, upload

LOCK = "requirements.lock"
CODE_FOLDER = "/project"
"""Where the code is in an image that has it, by `build` or from the project's Dockerfile."""
CONTEXTS = ("s3://", "gs://", "v3io://", "v3ios://")
"""Where MLRun's builder can read code, beside git."""

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
    function: Function, project_path: Path, again: bool = False, code: Archive | None = None
) -> str:
    """Have MLRun build an image on the function's own, print the log, and give the image's name.

    It gets all of requirements.lock, the packages for development too, so that a job has what the
    tests ran with. `requirements` and `commands` of function.yaml's build come before, and so don't
    change what is locked.
    """
    if not on_cluster():
        raise MLRunContextManager().store.needs_api("images of its own")
    if not again and (image := built_image(function, project_path, code)):
        return image
    builder = _builder(function, project_path, code)
    if code:
        place = MLRunContextManager().artifact_path
        if not place.startswith(CONTEXTS):
            raise SubmitError(
                f"MLRun builds images with code from {', '.join(CONTEXTS)} only, and the artifact "
                f"path is {place}. Set `artifact_path` in mlrun.yml to such a URL, or build the "
                "Dockerfile, and name its image as `image` in function.yaml."
            )
        source = upload(code, place)
        builder.with_source_archive(source, pull_at_runtime=False, target_dir=CODE_FOLDER)
    image = str(builder.spec.build.image)
    try:
        builder.deploy(watch=True, with_mlrun=False, force_build=again)
    except (mlrun.errors.MLRunRuntimeError, ValueError) as exc:
        raise SubmitError(
            f"MLRun couldn't build the image {image} ({exc}). The end of the log above says why; "
            f"fix {requirements_file(project_path).name} or `build` in function.yaml."
        ) from exc
    return image


def built_image(function: Function, project_path: Path, code: Archive | None = None) -> str | None:
    """Find the image that MLRun has built for the present requirements.lock, and this code."""
    builder = _builder(function, project_path, code)
    db, metadata = mlrun.get_run_db(), builder.metadata
    try:
        db.get_function(metadata.name, metadata.project, metadata.tag)
    except mlrun.errors.MLRunNotFoundError:
        return None
    # Its record may not have the end of a build that nobody waited for; this question makes it so.
    db.get_builder_status(builder, logs=False)
    return str(builder.spec.build.image) if builder.status.state == "ready" else None


def usable(function: Function, project_path: Path, code: Archive | None = None) -> str:
    """Give the image that a job can run in on a cluster: the function's, or what is built on it.

    With `code`, one that has it.
    """
    own = str(function.spec.image or "")
    image = built_image(function, project_path, code) if is_stock(own) else own
    if not image:
        lacks, also, how = "Kedro", "", ""
        if code:
            lacks, also, how = "code of this project", "code and ", " --with-code"
        raise SubmitError(
            f"The image {own or 'mlrun/mlrun'} has no {lacks}, and none is built on it for the "
            f"present {also}{requirements_file(project_path).name}. Build it with kedro mlrun "
            f"build{how}, or name another as `image` in function.yaml."
        )
    return image


def _builder(function: Function, project_path: Path, code: Archive | None) -> Function:
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
    if code:
        # A cluster may run it as any user, who must be able to add to the project.
        commands.append(f"chmod 777 {CODE_FOLDER}")
    parts = [base_image.encode(), file.read_bytes(), *(text.encode() for text in commands)]
    parts += [code.digest.encode()] if code else []
    # A length before each, so that nothing can move from one part to the next unnoticed.
    content = b"".join(b"%d:%b" % (len(part), part) for part in parts)
    builder.metadata.name = f"{builder.metadata.name}-image"
    builder.metadata.tag = hashlib.sha256(content).hexdigest()[:12]
    # The code of jobs comes with each run.
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
