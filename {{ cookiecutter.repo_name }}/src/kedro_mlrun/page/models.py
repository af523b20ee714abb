"""Models: their versions with metrics, aliases, and what became of them."""

from itertools import groupby

from starlette.requests import Request
from starlette.responses import Response

from ..models.promote import history
from ..records.summaries import artifact_key, short_metric
from ..store.fields import flatten
from .app import Page
from .run import item

SIZE = 100


def models(page: Page, request: Request) -> Response:
    """Show versions of models, newest first, and the history of their aliases."""
    records = page.records()
    key = request.query_params.get("key", "")
    found = records.artifacts(key, kind="model", limit=SIZE)
    metrics, using = records.metrics(found), records.using(found)
    versions = [
        {
            **item(record, using[record["metadata"]["uid"]]),
            "metrics": {short_metric(name, artifact_key(record)): v for name, v in of.items()},
        }
        for record, of in zip(found, metrics, strict=True)
    ]
    groups = []
    for name, same in groupby(sorted(versions, key=lambda each: each["key"]), lambda e: e["key"]):
        rows = [*same]
        heads = [*dict.fromkeys(metric for row in rows for metric in row["metrics"])]
        groups.append({"key": name, "rows": rows, "heads": heads})
    moves = [{**move, "results": flatten(move["results"])} for move in history(records, key)[:SIZE]]
    return page.html(request, "models.html", groups=groups, moves=moves)
