"""Models: their versions with metrics, aliases, and what became of them."""

from collections.abc import Sequence
from itertools import groupby

from starlette.requests import Request
from starlette.responses import Response

from ..models.promote import history
from ..models.served import served
from ..models.versions import CHAMPION
from ..records.records import Records
from ..records.summaries import Record, artifact_key, short_metric, uid_of
from .app import Page
from .run import item

SIZE = 100  # versions, and moves of aliases


def models(page: Page, request: Request) -> Response:
    """Show versions of models or of one, those with an alias first, and the aliases' history."""
    records, key = page.records(), request.query_params.get("key", "")
    found, moves = records.artifacts(key, kind="model", limit=SIZE), history(records, key)
    for model, alias in sorted({(str(move["model"]), str(move["to"])) for move in moves}):
        # What has one may be older than all those.
        found += records.artifacts(model, kind="model", tag=alias, limit=1)
    found = sorted({uid_of(each): each for each in found}.values(), key=artifact_key)
    groups = []
    for name, same in groupby(versions(records, found), lambda each: each["key"]):
        rows = sorted(same, key=lambda each: (CHAMPION not in each["tags"], not each["tags"]))
        heads = [*dict.fromkeys(metric for row in rows for metric in row["metrics"])]
        heads.sort(key=lambda name: not name.startswith("test."))
        groups.append({"key": name, "rows": rows, "heads": heads})
    return page.html(request, "models.html", groups=groups, moves=moves[:SIZE])


def versions(records: Records, found: Sequence[Record]) -> list[Record]:
    """Give what is shown of versions of models: also their metrics, and where they are served."""
    metrics, using, serving = records.metrics(found), records.using(found), served(records, found)
    shown = [item(record, using[uid_of(record)]) for record in found]
    for told, of in zip(shown, metrics, strict=True):
        told["served"] = serving[told["uid"]]
        told["metrics"] = {short_metric(name, told["key"]): value for name, value in of.items()}
    return shown
