"""The image that jobs run in: MLRun's own, with the packages of requirements.lock."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .function import on_cluster

if TYPE_CHECKING:
    import mlrun

LOCK = "requirements.lock"
CODE_FOLDER = "/project"
"""Where the code is in an image that is built from the project's Dockerfile."""

_DIGITS = 12
_STOCK = re.compile(r"(^|/)mlrun/(mlrun|ml-)[\w-]*(:[\w.-]+)?$")
# As a build argument it is a variable of pip's environment: MLRun has no option for --no-deps.
_NO_DEPS = "--build-arg PIP_NO_DEPS=1"


class ImageError(click.ClickException):
    """There is no image that jobs can run in; the message says why, and what to do."""


def image_name(project: str, lock: bytes, base_image: str, also: Sequence[str] = ()) -> str:
    """Name an image by what is in it, so that it is built once.

    Args:
        project: the MLRun project.
        lock: the content of requirements.lock.
        base_image: the image that it is built on.
        also: what else is installed in it.

    Returns:
        The name. The dot that it begins with stands for the registry that the MLRun API has.

    Example:
        >>> image_name("iris", b"kedro==1.7.0", "mlrun/mlrun:1.12.1")
        '.kedro-iris:b79a145ebcc7'
    """
    parts = [base_image.encode(), lock, *(text.encode() for text in also)]
    # A length before each, so that nothing can move from one part to the next unnoticed.
    content = b"".join(b"%d:%b" % (len(part), part) for part in parts)
    return f".kedro-{project}:{hashlib.sha256(content).hexdigest()[:_DIGITS]}"


def is_stock(image: str) -> bool:
    """Tell whether an image is one of MLRun's own, which have no Kedro.

    Args:
        image: its name.

    Returns:
        Whether it is.

    Example:
        >>> is_stock("quay.io/mlrun/mlrun-gpu:1.12.1"), is_stock(".kedro-iris:2bef1a98ee39")
        (True, False)
    """
    return not image or bool(_STOCK.search(image))


def build(function: mlrun.runtimes.KubejobRuntime, project_path: Path, again: bool = False) -> str:
    """Have MLRun build an image with the exact packages of requirements.lock.

    All of them, those for development too: the job has what the tests ran with. The base image is
    the function's. What function.yaml names as `requirements` and `commands` of the build comes
    before, so that it doesn't change what is locked. The log is printed as it comes.

    Args:
        function: what `load_function` gave; it isn't changed.
        project_path: the folder of the Kedro project.
        again: whether to build also what is built already.

    Returns:
        The image's name.

    Raises:
        ImageError: there is no MLRun API to build it, or the build failed.
    """
    import mlrun

    if not on_cluster():
        raise ImageError(
            "To build an image needs an MLRun API; jobs of the embedded store run in this "
            "environment. Set MLRUN_DBPATH to the address of one, or build the Dockerfile."
        )
    if not again and (image := built_image(function, project_path)):
        return image
    builder = _builder(function, project_path)
    image = builder.spec.build.image
    try:
        builder.deploy(watch=True, with_mlrun=False, force_build=again)
    except (mlrun.errors.MLRunRuntimeError, ValueError) as exc:
        raise ImageError(
            f"MLRun couldn't build the image {image} ({exc}). What the log above says last is why; "
            f"mend {LOCK} (make lock) or `build` in function.yaml, and build it again."
        ) from exc
    return str(image)


def built_image(function: mlrun.runtimes.KubejobRuntime, project_path: Path) -> str | None:
    """Find the image that MLRun has built for the present requirements.lock.

    Args:
        function: what `load_function` gave.
        project_path: the folder of the Kedro project.

    Returns:
        The image's name; None if there is none, as on the embedded store.
    """
    import mlrun

    if not on_cluster():
        return None
    builder = _builder(function, project_path)
    db, metadata = mlrun.get_run_db(), builder.metadata
    try:
        db.get_function(metadata.name, metadata.project, metadata.tag)
    except mlrun.errors.MLRunNotFoundError:
        return None
    # Its record may not have the end of a build that nobody waited for; this question makes it so.
    db.get_builder_status(builder, logs=False)
    return str(builder.spec.build.image) if builder.status.state == "ready" else None


def usable(function: mlrun.runtimes.KubejobRuntime, project_path: Path) -> str:
    """Give the image that a job of the function can run in on a cluster.

    Args:
        function: what `load_function` gave.
        project_path: the folder of the Kedro project.

    Returns:
        The function's own, or if that is MLRun's, what was built on it.

    Raises:
        ImageError: the function's is MLRun's own, which has no Kedro, and none was built on it.
    """
    own = str(function.spec.image or "")
    if not is_stock(own):
        return own
    image = built_image(function, project_path)
    if not image:
        raise ImageError(
            f"The image {own or 'mlrun/mlrun'} has no Kedro, and none is built on it for the "
            f"present {LOCK}. Build it with kedro mlrun build, or name another as `image` in "
            "function.yaml."
        )
    return image


def _builder(
    function: mlrun.runtimes.KubejobRuntime, project_path: Path
) -> mlrun.runtimes.KubejobRuntime:
    """Make the function that MLRun builds.

    It is another one than that of the jobs, whose record each submission writes anew, and has a tag
    of its own for each content.
    """
    import mlrun

    try:
        lock = (project_path / LOCK).read_bytes()
    except OSError as exc:
        raise ImageError(
            f"{project_path / LOCK} can't be read ({exc.strerror}). Make it with make lock."
        ) from None
    builder = mlrun.new_function(runtime=function.to_dict())
    build = builder.spec.build
    base_image = build.base_image or builder.spec.image or "mlrun/mlrun"
    commands, requirements = list(build.commands or []), list(build.requirements or [])
    if requirements:
        packages = " ".join(shlex.quote(requirement) for requirement in requirements)
        commands.append(f"PIP_NO_DEPS=0 python -m pip install {packages}")
    image = image_name(builder.metadata.project, lock, base_image, commands)
    builder.metadata.name = f"{builder.metadata.name}-image"
    builder.metadata.tag = image.rpartition(":")[2]
    # The code comes with each run.
    build.source, build.load_source_on_run = None, None
    builder.spec.default_handler = builder.spec.workdir = ""
    builder.build_config(
        image=image,
        base_image=base_image,
        commands=commands,
        requirements_file=str(project_path / LOCK),
        extra_args=" ".join(filter(None, [build.extra_args, _NO_DEPS])),
    )
    builder.spec.image = ""
    return builder
