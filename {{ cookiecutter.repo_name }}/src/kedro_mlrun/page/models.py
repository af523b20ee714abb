"""Models: their versions with metrics, aliases, and what became of them."""

from itertools import groupby

from starlette.requests import Request
from starlette.responses import Response

from ..models.promote import history
from ..models.served import served
from ..records.summaries import artifact_key, short_metric, uid_of
from .app import Page
from .run import item

SIZE = 100  # versions, and moves of aliases


def models(page: Page, request: Request) -> Response:
    """Show versions of models or of one, newest first, and the history of their aliases."""
    records, key = page.records(), request.query_params.get("key", "")
    found = sorted(records.artifacts(key, kind="model", limit=SIZE), key=artifact_key)
    metrics, using, serving = records.metrics(found), records.using(found), served(records, found)
    versions = [
        {
            **item(record, using[uid_of(record)]),
            "served": serving[uid_of(record)],
            "metrics": {short_metric(name, artifact_key(record)): v for name, v in of.items()},
        }
        for record, of in zip(found, metrics, strict=True)
    ]
    groups = []
    for name, same in groupby(versions, lambda each: each["key"]):
        rows = [*same]
        heads = [*dict.fromkeys(metric for row in rows for metric in row["metrics"])]
        groups.append({"key": name, "rows": rows, "heads": heads})
    return page.html(request, "models.html", groups=groups, moves=history(records, key)[:SIZE])
