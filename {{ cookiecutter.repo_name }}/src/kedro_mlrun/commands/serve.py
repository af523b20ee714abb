"""The command that serves a model, or a pipeline."""

import json
import shlex
from collections.abc import Callable

import click
from click import FloatRange, IntRange, argument, option

from ..jobs import deploy as deployment
from ..jobs.function import SubmitError, on_cluster
from ..models.following import Followed, Source, follow
from ..models.prediction import ModelSource
from ..models.requests import RequestLog
from ..models.server import App, run
from ..models.versions import CHAMPION
from ..records.records import Records
from ..runs.manager import MLRunContextManager
from ..web import LOOPBACK, TOKEN, addresses, bound, make_server
from .base import Answer, command, tell

PORT = 8000


@command("serve", "kedro mlrun serve xgboost_model:champion")
@argument("model", required=False, metavar="[MODEL[:TAG]]")
@option("--pipeline", "-p", help="Serve a pipeline: its rows come with each request.")
@option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@option("--port", type=IntRange(0, 65535), help=f"The port; by default a free one from {PORT}.")
@option("--token", envvar=TOKEN, help=f"What requests must bring. Same as {TOKEN}.")
@option("--shadow", metavar="TAG", help="Record how the model with this tag would have answered.")
@option("--deploy", is_flag=True, help="Serve it on the cluster of the MLRun API, by nuclio.")
@option("--largest", type=FloatRange(0, min_open=True), default=10.0, help="MB of a request.")
def serve(
    _records: Records,
    model: str | None,
    pipeline: str | None,
    host: str,
    port: int | None,
    token: str | None,
    shadow: str | None,
    deploy: bool,
    largest: float,
) -> Answer | Callable[[], int]:
    """Serve a model over HTTP, here.

    It answers as the version with the tag `champion`, or TAG; when the tag moves to another
    version, that answers from then on. Requests are recorded if mlrun.yml has
    `models.log_requests`.
    """
    if (model is None) == (pipeline is None):
        raise click.UsageError("Name one thing to serve: MODEL, MODEL:TAG, or --pipeline NAME.")
    key, _, tag = str(model).partition(":")
    if deploy:
        if not pipeline and on_cluster():
            ModelSource(key, tag or CHAMPION).version()  # or there is none
        env = click.get_current_context().params["env"]
        name, url = deployment.deploy(key, tag or CHAMPION, pipeline, env)
        return Answer({"function": name, "url": url}, f"Function {name} serves it at {url}")
    if pipeline and shadow:
        raise click.UsageError("A model has a shadow, and a pipeline none: leave out --shadow.")
    if host not in LOOPBACK and not token:
        raise click.UsageError(
            f"At {host} others can reach the server. Set a token: --token, or {TOKEN}."
        )
    source: Source = ModelSource(key, tag or CHAMPION)
    if pipeline:
        from ..models.pipelines import PipelineSource

        source = PipelineSource(pipeline)
    followed = Followed(source)
    each, log, config = [followed], None, MLRunContextManager().models
    if shadow:
        each.append(Followed(ModelSource(key, shadow)))
    if shadow or config.log_requests:
        place = MLRunContextManager().artifact_path
        log = RequestLog(place, source.name, config.private, each[1] if shadow else None)
    app = App(followed, token or "", log, int(largest * 1_000_000))
    _ = make_server(app)
    opened = bound(host, PORT if port is None else port, port is None)
    as_json = click.get_current_context().params["as_json"]

    def go() -> int:
        url, version = addresses(host, opened)[0], followed.predictor.version
        told = {"url": url, "model": source.name, "tag": source.tag, "version": version}
        if as_json:
            tell(json.dumps(told), err=False)
        else:
            body = json.dumps({"inputs": [followed.predictor.schema.example]})
            key = ' -H "Authorization: Bearer $TOKEN"' if token else ""
            name = f"{source.name}:{source.tag}".rstrip(":")
            tell(f"Serving {name} (version {version[:8]}) at {url}", err=False)
            tell(f"To ask it: curl{key} --json {shlex.quote(body)} {url}/predict", err=False)
        end = follow(each)
        try:
            run(app, opened)
        finally:
            end()
            if log:
                log.close()
        return 0

    return go


@command("monitor", "kedro mlrun monitor model:champion")
@argument("model", metavar="MODEL[:TAG]")
@option(
    "--minutes",
    type=IntRange(10),
    default=10,
    show_default=True,
    help="How often MLRun looks; of a project that is monitored already, this stays as it is.",
)
def monitor(_records: Records, model: str, minutes: int) -> Answer:
    """Have MLRun monitor a model that is deployed on a cluster.

    That is for `kedro mlrun serve MODEL --deploy`. On the embedded store, the pipeline `monitoring`
    compares new rows, or recorded requests, with those that the model was trained on.
    """
    key, _, tag = model.partition(":")
    if not on_cluster():
        raise SubmitError(
            "MLRun monitors models on a cluster, and this project records in an embedded store. "
            "Here, to compare new rows with the training set: kedro run --pipelines=monitoring"
        )
    version = ModelSource(key, tag or CHAMPION).record()
    if not version["spec"].get("feature_stats"):
        raise SubmitError(
            f"{key} has no statistics of its training set, which MLRun compares with. "
            "Name its training_set in save_args of its catalog entry, and train it again."
        )
    env = click.get_current_context().params["env"]
    name = deployment.monitor(key, tag or CHAMPION, minutes, env)
    told = f"MLRun monitors {key}, which function {name} serves. Its UI shows drift and requests."
    return Answer({"function": name}, told)
