"""What the server says: answers, metadata, metrics, and the page that describes all that."""

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from .prediction import Answer
from .schema import KINDS

if TYPE_CHECKING:
    from .following import Followed, Predicting
    from .requests import RequestLog

# MLRun's, and `infer` is the Open Inference Protocol's, too.
OPERATIONS = ("infer", "predict", "infer_dict", "predict_dict")
OF_KINDS = {"number": "FP64", "whole number": "INT64", "true or false": "BOOL"}
OF_JSON = {"number": "number", "whole number": "integer", "true or false": "boolean"}
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Seconds, of the histogram in `/metrics`."""


@dataclass
class Counts:
    """What `/metrics` tells."""

    requests: Counter[int] = field(default_factory=Counter)
    rows: int = 0
    seconds: float = 0.0
    buckets: Counter[float] = field(default_factory=Counter)

    def note(self, status: int, seconds: float) -> None:
        """Count a request."""
        self.requests[status] += 1
        self.seconds += seconds
        self.buckets[next((limit for limit in BUCKETS if seconds <= limit), float("inf"))] += 1


def said(answer: Answer, name: str, identifier: Any, as_tensors: bool) -> dict[str, Any]:
    """Give the body of an answer, to tensors as tensors."""
    told: dict[str, Any] = {"model_name": name}
    told |= {} if identifier is None else {"id": identifier}
    if not as_tensors:
        return told | answer.body
    outputs = np.array(answer.outputs)
    if outputs.ndim != 1 or outputs.dtype.kind not in "fiub":
        outputs = np.array([str(output) for output in answer.outputs], dtype=object)
    found = {answer.output: outputs}
    if answer.probabilities is not None:
        found["probabilities"] = answer.probabilities
    kinds = {"f": "FP", "i": "INT", "u": "UINT", "b": "BOOL", "O": "BYTES"}
    told["model_version"], told["outputs"] = answer.version, []
    for key, array in found.items():
        kind = array.dtype.kind
        bits = f"{8 * array.itemsize}" if kind in "fiu" else ""
        tensor: dict[str, Any] = {"name": key, "shape": [*array.shape]}
        tensor |= {"datatype": kinds[kind] + bits, "data": array.reshape(-1).tolist()}
        if key == "probabilities":
            tensor["parameters"] = {"classes": json.dumps(answer.classes)}
        told["outputs"].append(tensor)
    return told


def metadata(predictor: "Predicting") -> dict[str, Any]:
    """Describe what is served, with its schema, in MLRun's words and as tensors."""
    schema = predictor.schema
    inputs = [
        {**feature, "datatype": OF_KINDS.get(kind, "BYTES"), "shape": [-1]}
        for feature, kind in zip(schema.inputs, schema.kinds, strict=True)
    ]
    outputs = [{**output, "datatype": "BYTES", "shape": [-1]} for output in schema.outputs]
    for output in outputs:
        kind = KINDS.get(output.get("value_type") or "", "text")
        if not any(isinstance(name, str) for name in predictor.classes):
            output["datatype"] = OF_KINDS.get(kind, "BYTES")
    told = {"name": predictor.name, "versions": [predictor.version], "platform": "kedro-mlrun"}
    return {**told, "inputs": inputs, "outputs": outputs}


def metrics(counts: Counts, followed: "Followed", waiting: int, log: "RequestLog | None") -> str:
    """Give the counts in Prometheus' format."""
    total, below = sum(counts.requests.values()), 0
    lines = ["# TYPE kedro_mlrun_requests_total counter"]
    for status, number in sorted(counts.requests.items()):
        lines.append(f'kedro_mlrun_requests_total{{status="{status}"}} {number}')
    lines.append("# TYPE kedro_mlrun_request_seconds histogram")
    for limit in BUCKETS:
        below += counts.buckets[limit]
        lines.append(f'kedro_mlrun_request_seconds_bucket{{le="{limit}"}} {below}')
    lines.append(f'kedro_mlrun_request_seconds_bucket{{le="+Inf"}} {total}')
    lines.append(f"kedro_mlrun_request_seconds_sum {counts.seconds}")
    lines.append(f"kedro_mlrun_request_seconds_count {total}")
    for kind, key, value in (
        ("counter", "rows_total", counts.rows),
        ("counter", "swaps_total", followed.swaps),
        ("counter", "log_dropped_rows_total", log.dropped if log else 0),
        ("gauge", "waiting_requests", waiting),
    ):
        lines += [f"# TYPE kedro_mlrun_{key} {kind}", f"kedro_mlrun_{key} {value}"]
    source, version = followed.source, followed.predictor.version
    labels = {"name": source.name, "tag": source.tag, "version": version}
    told = ",".join(f"{label}={json.dumps(value)}" for label, value in labels.items())
    lines += ["# TYPE kedro_mlrun_model_info gauge", f"kedro_mlrun_model_info{{{told}}} 1"]
    return "\n".join([*lines, ""])


def openapi(predictor: "Predicting") -> dict[str, Any]:
    """Describe the server as OpenAPI does."""
    schema, model = predictor.schema, f"/v2/models/{predictor.name}"
    columns: dict[str, Any] = {}
    for name, kind in zip(schema.names, schema.kinds, strict=True):
        of_json = OF_JSON.get(kind, "string")
        columns[name] = {} if kind == "value" else {"type": [of_json, "null"]}
        if kind == "time":
            columns[name]["format"] = "date-time"
    row = {"type": "object", "properties": columns, "required": [*columns]}
    text, array = {"type": "string"}, {"type": "array"}
    outputs = array | {"description": f"{schema.output} of each row"}
    told: dict[str, Any] = {"model_name": text, "model_version": text, "outputs": outputs}
    told |= {"classes": array, "probabilities": array | {"items": array}}
    answer = {"type": "object", "properties": told}
    inputs = {"anyOf": [{"$ref": "#/components/schemas/Row"}, {"type": "array"}]}
    rows = {"type": "array", "items": inputs, "minItems": 1}
    body = {"anyOf": [rows, {"type": "object", "properties": {"inputs": rows}}]}
    given = {"schema": body, "example": {"inputs": [schema.example]}}
    errors = {400: "The rows can't be used", 401: "The token is missing", 413: "Too many rows"}
    errors |= {404: "There is no such model", 415: "Neither JSON nor CSV", 429: "Too many requests"}

    def response(what: str, named: str) -> dict[str, Any]:
        of_json = {"schema": {"$ref": f"#/components/schemas/{named}"}}
        return {"description": what, "content": {"application/json": of_json}}

    responses = {"200": response("The answer to each row", "Answer")}
    responses |= {str(status): response(what, "Error") for status, what in errors.items()}
    content = {"application/json": given, "text/csv": {"schema": text}}
    predict = {"summary": "Predict", "requestBody": {"required": True, "content": content}}
    posts = {"/predict": "MLRun's rows, plain rows, or CSV"}
    posts |= {f"{model}/predict": posts["/predict"], f"{model}/infer": "The same, and tensors"}
    gets = {"/ready": "Ready to answer", "/health": "Alive", "/metadata": "The schema"}
    gets |= {model: "The schema", f"{model}/ready": "Ready", "/v2/models": "The models' names"}
    gets |= {"/metrics": "Prometheus' metrics", "/v2/health/live": "Alive"}
    gets["/v2/health/ready"] = "Ready to answer"
    ok = {"200": {"description": "Yes"}}
    paths: dict[str, Any] = {
        path: {"post": {**predict, "description": what, "responses": responses}}
        for path, what in posts.items()
    }
    paths |= {path: {"get": {"summary": what, "responses": ok}} for path, what in gets.items()}
    error = {"type": "object", "properties": {"error": text}, "required": ["error"]}
    return {
        "openapi": "3.1.0",
        "info": {"title": predictor.name, "version": predictor.version},
        "paths": paths,
        "components": {"schemas": {"Row": row, "Answer": answer, "Error": error}},
    }


def page(predictor: "Predicting") -> Markup:
    """Show the same to a person, with nothing loaded from elsewhere."""
    row = Markup("<tr><td>{}</td><td><code>{}</code></td><td>{}</td></tr>").format
    paths = Markup("").join(
        row(method.upper(), path, each["summary"])
        for path, methods in openapi(predictor)["paths"].items()
        for method, each in methods.items()
    )
    schema = predictor.schema
    row = Markup("<tr><td>{}</td><td>{}</td></tr>").format
    columns = Markup("").join(map(row, schema.names, schema.kinds))
    body = json.dumps({"inputs": [schema.example]})
    return Markup(
        """<!doctype html><html lang="en"><meta charset="utf-8"><title>{predictor.name}</title>
<style>body{{font:16px sans-serif;max-width:60em;margin:2em auto;padding:0 1em}}
td,th{{text-align:left;padding:.2em 1em .2em 0}}pre{{white-space:pre-wrap;overflow-wrap:anywhere;
background:#f4f4f4;padding:1em}}</style>
<h1>{predictor.name}</h1><p>Version {predictor.version}. The same for programs:
<a href="/openapi.json">/openapi.json</a></p>
<h2>Ask it</h2><pre>curl --json '{body}' http://…/predict</pre>
<h2>Paths</h2><table>{paths}</table><h2>Columns</h2><table>{columns}</table></html>
"""
    ).format(predictor=predictor, body=body, paths=paths, columns=columns)
