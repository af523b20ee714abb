"""What keeps a job from running, found before anything is sent."""

import contextlib
import json

from kedro.io import AbstractDataset, DatasetError

from ..lazy import mlrun
from ..runs.dataset import check_used, entry_of, is_run_type, with_inputs
from ..runs.manager import MLRunContextManager
from ..secrets import known as secrets
from ..text import nearest
from . import doctor, image
from .function import SubmitError, on_cluster, on_volume
from .groups import Parts, check_inputs, check_outputs
from .handler import runner
from .parameters import JobError
from .plan import Plan

LARGEST_TASK = 120_000
"""Bytes: a job gets its task as an environment variable, for which Linux has 128 KiB."""


def check(plan: Plan, others: Parts | None = None) -> Plan:
    """Refuse a job that could not run, or would lose data or give away a secret.

    `others` are what other jobs of its workflow run.
    """
    runner(plan.parameters.runner)
    for look in (_secrets, _inputs, _versions, _cluster, _data, _size):
        look(plan)
    check_outputs(plan, others or {})
    return plan


def _secrets(plan: Plan) -> None:
    reference = "Write ${mlrun.secret:NAME} in conf/base/credentials.yml, and set NAME."
    given = {f"Parameter '{name}'": name for name in plan.parameters.runtime_params}
    for variable in plan.function["spec"].get("env") or []:
        if variable.get("value"):
            name = variable["name"]
            given[f"function.yaml gives the environment variable '{name}' its value, which"] = name
    for what, name in given.items():
        if secrets.is_secret(name):
            raise JobError(
                f"{what} seems to be a secret, and everyone who sees the run could read it. "
                f"{reference}"
            )
    # Not as JSON: how that writes quotes and other alphabets is none of a secret's known forms.
    if secrets.line_with_secret(repr(plan.to_dict()).encode()):
        raise SubmitError(
            "function.yaml or a parameter holds what is known as a secret, and everyone who sees "
            f"the run could read it. {reference}"
        )


def _inputs(plan: Plan) -> None:
    given, pipeline, project = plan.task["spec"]["inputs"], plan.pipeline, plan.project
    with contextlib.chdir(project.folder):
        with_inputs(project.context.config_loader["catalog"], given, lambda name: name)
    check_used(given, pipeline.inputs())
    places = {name: _target(name, path) for name, path in given.items()}
    if not project.archive or not on_cluster():
        return
    for name, path in places.items():
        is_seen = path in project.archive.files or on_volume(plan.mounts, path)
        if "://" not in path and not is_seen:
            raise SubmitError(
                f"Input '{name}' is {path}, which is on this machine and not in the source that "
                "the job gets. Give it as a URL that the cluster can read."
            )


def _target(name: str, path: str) -> str:
    """Tell where an input's data are, of an artifact as it is recorded."""
    if not path.startswith("store://"):
        return path
    MLRunContextManager().connect()
    project, db = mlrun.mlconf.active_project, mlrun.get_run_db()
    try:
        found = mlrun.datastore.get_store_resource(path, project=project, db=db)
    except (mlrun.errors.MLRunNotFoundError, ValueError) as error:
        raise JobError(
            f"Input '{name}' is {path}, which isn't there ({str(error).rstrip('.')}). To list what "
            "there is: kedro mlrun artifacts"
        ) from None
    return str(getattr(found, "target_path", "") or path)


def _versions(plan: Plan) -> None:
    """Each version that is to be loaded exists, as far as MLRun records it."""
    catalog = plan.project.context.config_loader["catalog"]
    for name, version in plan.parameters.load_versions.items():
        if name not in plan.pipeline.datasets():
            raise JobError(
                f"--load-versions names '{name}', which no node of this run uses. "
                f"{nearest(name, plan.pipeline.datasets())}Leave it out, or name another."
            )
        entry = entry_of(name, catalog)
        if not is_run_type(str(entry.get("type"))):
            continue
        try:
            found = AbstractDataset.from_config(name, entry, load_version=version).exists()
            why = "it has no such version, or its file is gone"
        except DatasetError as error:
            found, why = False, str(error).rstrip(".")
        if not found:
            raise JobError(
                f"'{name}' can't be loaded in version '{version}': {why}. Give the id of a run "
                f"that saved it, or a tag. To list them: kedro mlrun artifacts --key {entry['key']}"
            )


def _cluster(plan: Plan) -> None:
    own = str(plan.function["spec"].get("image") or "")
    if plan.project.source == "image" and (not on_cluster() or image.is_stock(own)):
        raise SubmitError(
            f"The image {own} isn't one with this project's code. Build the Dockerfile, name what "
            "it gave as `image` in function.yaml, and submit to an MLRun API."
        )
    if plan.project.source and on_cluster():
        doctor.check_artifact_path(mlrun.new_function(runtime=plan.function))


def _data(plan: Plan) -> None:
    """The job finds its data and credentials."""
    project = plan.project
    if not project.archive:
        return
    check_inputs(plan)
    for name, entry in project.context.config_loader["catalog"].items():
        needed = entry.get("credentials") if isinstance(entry, dict) else None
        sent = not isinstance(needed, str) or needed in project.archive.credentials
        if name in plan.pipeline.datasets() and not sent:
            raise SubmitError(
                f"Catalog entry '{name}' needs the credentials '{needed}', which the job won't "
                "have, for no secret is sent. Put them into conf/base/credentials.yml as "
                "${mlrun.secret:NAME}."
            )


def _size(plan: Plan) -> None:
    size = len(json.dumps(plan.task, default=str))
    if plan.project.source and size > LARGEST_TASK:
        raise SubmitError(
            f"The job's parameters and inputs have {size:,} bytes, and no more than "
            f"{LARGEST_TASK:,} reach a job. Put what is large into a file of conf/base."
        )
