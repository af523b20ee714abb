"""The table of runs."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, unquote

from starlette.requests import Request

from ..records.query import full_name, select, value_of
from ..records.records import RecordNotFoundError
from ..records.summaries import ABOUT, Record, differing, fields_of, summary, trials_of, uid_of
from ..store.fields import moment, section
from .app import Page, address, whole
from .run import trials as of_search
from .shown import heads

SIZE, MOST = 100, 500  # runs in a page, and that are checked, or compared, at once
FEW, RESULTS = 8, 5  # columns that nobody has chosen, and how many of them are results
ROOM = 3_500  # characters of a cookie, of which browsers keep 4,096
LABELS = "labels.git-commit", "labels.workflow"  # that have columns of their own


def runs(page: Page, request: Request) -> Any:
    """Show runs; as a part of the page the rows alone; or give `all` ids, or those there are."""
    records, query, number = page.records(), request.query_params, whole(request, "page")
    is_part, ascending = request.url.path != "/", query.get("ascending") == "1"
    search, asked = query.get("q", ""), query.get("sort", "")
    if "all" in query:
        return [uid_of(run) for run in select(records, (), asked, ascending, MOST, search)]
    if "id" in query:
        return [uid_of(run) for run in records.runs_of(query.getlist("id"))]
    found, error, skip = list[Record](), "", SIZE * number
    try:
        found = select(records, (), asked, ascending, SIZE + 1, search, skip)
    except RecordNotFoundError as exc:
        error = exc.message
    fields = [fields_of(summary(run)) for run in found[:SIZE]]
    known = {name for own in fields for name in own}
    sort = full_name(asked, known) if asked else "started"
    cookie = "columns-" + hashlib.sha256(records.project.encode()).hexdigest()[:8]
    kept = request.cookies.get(cookie, "auto").split("&")
    chosen = query.getlist("columns") or [*map(unquote, kept)]
    columns = [*dict.fromkeys(full_name(name, known) for name in chosen if name)]
    if "auto" in chosen:
        chosen, columns = ["auto"], telling(fields)
        columns = columns if sort in {*columns, *ABOUT, *LABELS} else [sort, *columns][:FEW]

    def link(**changed: object) -> str:
        present = {"q": search, "sort": asked, "ascending": "1" if ascending else None}
        return address("/", **present | {"page": number or None} | changed)

    end, has_more = skip + len(fields), len(found) > SIZE
    # To count what matches takes longer than to find the first, and is asked for later.
    number_of = end if not has_more else None if search else records.count()
    choosable = [] if is_part else sorted((known | records.run_fields()) - {*ABOUT})
    # Those that are shown, then results, parameters, and labels.
    choosable.sort(key=lambda name: (name in columns, name.partition(".")[0]), reverse=True)
    told = {"search": search, "sort": sort, "asked": asked, "ascending": ascending, "link": link}
    told |= {"number": number, "end": f"{end:,}", "number_of": number_of, "has_more": has_more}
    told["counts"] = end < MOST  # or more are known already than will be counted
    keep = "".join(quote(name, safe="", errors="replace") + "&" for name in chosen)
    told |= {"error": error, "cut": len(keep) > ROOM, "columns": heads(columns), "known": choosable}
    told["rows"] = [row(run, own, columns) for run, own in zip(found, fields, strict=False)]
    told["shown"] = f"{skip + 1:,}–{end:,} of {'' if number_of is None else f'{number_of:,}'}"
    told["checks"] = "all" if number_of and number_of <= MOST else f"the first {MOST}"
    # What is typed is often not whole yet.
    status = 400 if error and not is_part else 200
    answer = page.html(request, "_runs.html" if is_part else "runs.html", status, **told)
    # Not by what asks again and again: another window may have chosen since.
    if query.getlist("columns") and not is_part:
        keep = keep[:ROOM].rpartition("&")[0]
        answer.set_cookie(cookie, keep, max_age=10**8, samesite="strict")
    return answer


def telling(fields: Sequence[Record]) -> list[str]:
    """Choose columns: results first, for these are what one looks for, of each group in turn."""
    names, turns, results = differing(fields), Counter[str](), dict[str, tuple[bool, int]]()
    for name in filter(lambda each: each.startswith("results."), names):
        group = name.rpartition(".")[0]  # such as test.forest; what sums up is in none
        is_rare = 10 * sum(name in own for own in fields) < len(fields)
        results[name] = is_rare, turns[group]
        turns[group] += group != "results"
    params = names[: min(len(names) - len(results), FEW - min(len(results), RESULTS))]
    return [*sorted(results, key=results.__getitem__)[: FEW - len(params)], *params]


def row(run: Record, fields: Record, columns: Sequence[str]) -> Record:
    """Give what a line of the table shows of a run."""
    told, labels = summary(run), section(run, "metadata", "labels")
    commit, began = str(labels.get("git-commit") or ""), moment(told["start_time"])
    told["commit"] = commit[:8] + ("*" if labels.get("git-dirty") == "true" and commit else "")
    told["since"] = began.timestamp() if began and not told["end_time"] else None
    told["problem"] = (told["error"] or "").partition("\n")[0]
    told["values"] = [value_of(fields, name) for name in columns]
    about = {"title": fields["name"], "chain": labels.get("workflow")}
    return told | about | {"trials": len(trials_of(run))}


def trials(page: Page, request: Request) -> Any:
    """Show what a search has tried, in place of a line that opens."""
    run = page.records().run(request.query_params.get("id", ""))
    return page.html(request, "_trials.html", **of_search(run))
