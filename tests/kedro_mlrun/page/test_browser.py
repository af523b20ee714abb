"""The page in a real browser: each view by the path of clicks that a person takes."""

import json
import os
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pandas as pd
import pytest
from asked import app_of, run_maker, served
from browser import NAMES, Tab, browser, found_browser
from click.testing import CliRunner
from helpers import Store, new_store

from kedro_mlrun import MLRunDataframeDataset, MLRunMetricHistory, MLRunModel
from kedro_mlrun.commands import cli
from kedro_mlrun.page import runs
from kedro_mlrun.records.records import Records
from kedro_mlrun.records.summaries import artifact_summary, uid_of

BROWSER = found_browser()
if BROWSER is None:
    reason = f"There is no {', '.join(NAMES)}. Name a browser: CHROMIUM=/path/to/chromium"
    pytest.skip(reason, allow_module_level=True)
# One browser, server and store for all of them.
pytestmark = pytest.mark.xdist_group("browser")
NODES = [
    {"name": "split", "inputs": ["rows", "params:seed"], "outputs": ["train_set"]},
    {"name": "train", "inputs": ["train_set"], "outputs": ["forest"]},
]
TIMES = {"node": ["split", "train"], "seconds": [0.25, 1.5]}
CURVE = [1.0, 0.5, 0.9, 0.4, 0.8, 0.3, 0.7, 0.2, 0.6, 0.1]
TIME = [n / 10 for n in range(10)]  # seconds
COMMAND = "kedro run --params split.seed=7"
# Tries to reach the page around it and the server, and tells what came of it.
SITE = """<h1>A chart</h1><script>
let told = "taken";
try { parent.document.title = told; } catch { told = "kept out"; }
fetch("/").catch(() => { told += ", kept in"; }).finally(() => parent.postMessage(told, "*"));
</script>"""
ROWS = "[...document.querySelectorAll('tr[data-id]')].map((row) => row.dataset.id)"
TRIALS = "[...document.querySelectorAll('.inner tbody th')].map((head) => head.innerText)"
NAMES_OF_RUNS = "[...document.querySelectorAll('tr[data-run] th')].map((head) => head.innerText)"
LISTEN = "addEventListener('message', (event) => { window.told = event.data; });"
# Timers are ten times as quick, so that nobody waits.
QUICK = "const slow = setInterval; window.setInterval = (work, time) => slow(work, time / 10);"
# Few runs fill a table, too.
LOW = """addEventListener("DOMContentLoaded", () => {
  for (const each of document.querySelectorAll(".held")) each.style.maxHeight = "90px";
});"""
CLICK = "mousePressed", "mouseReleased"
NONE = "/run?id=nothing"
LOG = "document.querySelector('#log')"
AXE, SCREENSHOTS = os.environ.get("AXE", ""), os.environ.get("SCREENSHOTS")
if SCREENSHOTS:
    Path(SCREENSHOTS).mkdir(parents=True, exist_ok=True)
# Colours change nothing else.
WIDTHS, SCHEMES = (1280, 390), ("light", "dark") if AXE or SCREENSHOTS else ("light",)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("page")
    yield from new_store(f"sqlite:///{folder}/mlrun.db", folder)


@pytest.fixture(scope="module")
def seen(store: Store) -> SimpleNamespace:
    """Runs to look at, by what is special about them."""
    make_run, manager = run_maker(store), store.manager
    saved = {
        "notes": (b"ends well", "txt"),
        "site": (SITE.encode(), "html"),
        "settings": (b'{"depth": 3}', "json"),
        "kedro.pipeline": (json.dumps({"nodes": NODES}), "json"),
    }
    runs = SimpleNamespace()
    for name, seed, auc in (("first", 7, 0.9), ("second", 8, 0.8)):
        params = {"split.seed": seed, "model": "forest", "kedro.command": COMMAND}
        results = {"test.auc": auc, "loss": 1 - auc}
        labels = {"git-commit": "c0ffee12", "team": "blue"}
        uid = make_run(params=params, results=results, labels=labels, saves=saved, ends=False)
        MLRunMetricHistory("curve").save({"train": CURVE, "test": [auc, *CURVE[1:]], "time": TIME})
        MLRunModel("forest").save(["no", "real", "model", seed])
        MLRunDataframeDataset("kedro.nodes").save(pd.DataFrame(TIMES))
        if name == "first":
            MLRunDataframeDataset("rows").save(pd.DataFrame({"x": range(250)}))
        log = b"line one\nline two\n"
        manager.db.store_log(uid, store.project, log, append=True)
        manager.close_run()
        setattr(runs, name, uid)
    records = Records(*manager.to_read())
    uri = artifact_summary(records.artifacts("forest")[-1])["uri"]
    runs.artifacts = {
        key: uid_of(records.artifacts(key)[-1])
        for key in ("curve", "curve.chart", "forest", "site")
    }
    error = "Node 'score': ValueError: no rows\n\nTraceback (most recent call last)"
    scored = {"nodes": [{"name": "score", "inputs": ["forest"], "outputs": ["scores"]}]}
    saved = {"kedro.pipeline": (json.dumps(scored), "json")}
    runs.failed = make_run("evaluation", inputs={"forest": uri}, saves=saved, error=error)
    runs.search = make_run("search")
    record = manager.db.read_run(runs.search, store.project)
    header = ["state", "iter", "param.depth", *[f"output.of_a_long_name.{n}" for n in range(9)]]
    trials = [["completed", n, n + 7, *[n / 4 + 0.25] * 9] for n in (1, 2)]
    trials.append(["error", 3, 10, *[None] * 9])
    asked = {"config": {"metric": "of_a_long_name.0", "direction": "maximize"}}
    record["metadata"]["annotations"] = {"kedro.search": json.dumps(asked)}
    record["status"]["iterations"] = [header, *trials]
    manager.db.store_run(record, runs.search, store.project)
    return runs


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def opened(downloads: Path) -> Iterator[Tab]:
    with browser(BROWSER, downloads) as tab:
        yield tab


@pytest.fixture
def tab(opened: Tab) -> Iterator[Tab]:
    """A browser in which nothing may go wrong: no error, and nothing that a policy forbids."""
    opened.problems.clear()
    opened.looks(1280, "light")
    # The page that is still open must not write again what it knows.
    opened.evaluate("try { sessionStorage.clear(); checked.clear(); } catch { /* Not ours. */ }")
    opened.ask("Network.clearBrowserCookies")
    yield opened
    # A recorded page tries what it must not, and a run is asked for that there isn't.
    assert [each for each in opened.problems if "/frame?" not in each and NONE not in each] == []


@pytest.fixture(scope="module")
def url(opened: Tab, store: Store, seen: SimpleNamespace) -> Iterator[str]:
    seen.aborted = []
    with served(app_of(store, seen.aborted)) as address:
        yield address


def drawn(tab: Tab, name: str) -> Any:
    """Tell whether an image has come."""
    return tab.call(tab.find("image", name), "function() { return this.naturalWidth }")


def test_runs_are_found(tab: Tab, url: str, seen: SimpleNamespace) -> None:
    """Columns are chosen and kept, a head sorts, words and conditions filter, a search opens."""
    newest_first = [seen.search, seen.failed, seen.second, seen.first]
    tab.goto(url)
    assert tab.evaluate(ROWS) == newest_first

    assert {"test.auc", "loss"} <= {*tab.names("columnheader")}
    tab.click("DisclosureTriangle", "Columns")
    tab.click("checkbox", "results.loss")
    tab.click("checkbox", "labels.team")
    tab.follow("button", "Show")
    tab.goto(url)
    heads = tab.names("columnheader")
    assert "team" in heads and "test.auc" in heads and "loss" not in heads

    tab.follow("link", "test.auc")
    assert tab.evaluate(ROWS)[:2] == [seen.first, seen.second]
    tab.follow("link", "test.auc")
    assert tab.evaluate(ROWS)[:2] == [seen.second, seen.first]
    tab.follow("link", "Runs")

    tab.keys("/")
    tab.write("evaluation")
    tab.wait(lambda: tab.evaluate(ROWS) == [seen.failed])
    tab.keys("Escape", "/")
    tab.write("results.test.auc > 0.85 and params.split.seed ==")
    assert "is no condition" in tab.text("alert")
    tab.keys(*" 7")
    tab.wait(lambda: tab.evaluate(ROWS) == [seen.first])
    assert tab.evaluate("new URLSearchParams(location.search).get('q')").endswith("seed == 7")
    tab.goto(url)

    width = "document.querySelector('table').clientWidth"
    before = tab.evaluate(width)
    tab.click("button", "Trials of search")
    assert "0.7500" in tab.text("region", "Trials") and tab.evaluate(width) == before
    for trials in (["3", "2 best", "1"], ["1", "2 best", "3"]):
        # A text would put 10 before 9.
        tab.click("button", "depth")
        tab.wait(lambda trials=trials: tab.evaluate(TRIALS) == trials)
    tab.click("button", "of_a_long_name.0")
    tab.wait(lambda: tab.evaluate(TRIALS) == ["2 best", "1", "3"])
    assert tab.evaluate("$('[data-sorts] [aria-sort]').ariaSort") == "descending"
    tab.click("button", "Trials of search")
    tab.wait(lambda: not tab.all("region", "Trials"))

    tab.looks(390, "light")
    for is_open in (True, False):
        tab.click("DisclosureTriangle", "Columns")
        assert bool(tab.all("button", "Show")) == is_open


def test_columns_are_looked_for(tab: Tab, url: str, seen: SimpleNamespace) -> None:
    """Those that are shown are first; Escape or a click beside it closes the menu."""
    tab.goto(f"{url}/?q=training&columns=labels.team&columns=loss")
    tab.click("DisclosureTriangle", "Columns")
    assert tab.names("checkbox")[:2] == ["results.loss", "labels.team"]
    tab.click("searchbox", "Find columns")
    tab.write("SEED")
    boxes = (
        "$$('.menu label').filter((each) => each.checkVisibility()).map((each) => each.innerText)"
    )
    tab.keys("Enter")
    assert [each.strip() for each in tab.evaluate(boxes)] == ["params.split.seed"]
    tab.keys("Escape")
    assert not tab.all("button", "Show")
    tab.click("DisclosureTriangle", "Columns")
    assert len(tab.evaluate(boxes)) > 2
    tab.click("searchbox", "Filter runs")
    assert not tab.all("button", "Show")
    tab.keys("Escape")
    tab.wait(lambda: len(tab.evaluate(ROWS)) > 2)
    tab.write("training")
    tab.wait(lambda: len(tab.evaluate(ROWS)) == 2)
    tab.click("DisclosureTriangle", "Columns")
    tab.follow("button", "What differs")
    assert "q=training" in tab.evaluate("location.search") and len(tab.evaluate(ROWS)) == 2


def test_what_was_not_answered_is_asked_for_again(
    tab: Tab, url: str, seen: SimpleNamespace, store: Store
) -> None:
    """What stands in the filter, and a preview; until then, that is said."""

    def network(is_there: bool) -> None:
        speed = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        tab.ask("Network.emulateNetworkConditions", offline=not is_there, **speed)

    def is_said() -> bool:
        return "doesn't answer" in tab.evaluate("$('#said').innerText")

    tab.ask("Network.enable")
    with tab.script(QUICK):
        tab.goto(url)
        network(False)
        tab.keys("/")
        tab.write("evaluation")
        tab.wait(is_said)
        network(True)
        tab.wait(lambda: tab.evaluate(ROWS) == [seen.failed])
        assert not is_said()
    tab.goto(f"{url}/run?id={seen.first}")
    network(False)
    tab.click("DisclosureTriangle", "Preview of notes")
    tab.wait(is_said)
    network(True)
    tab.click("DisclosureTriangle", "Preview of notes")
    tab.click("DisclosureTriangle", "Preview of notes")
    tab.wait(lambda: "ends well" in tab.text("region", "Artifacts"))
    assert not is_said()
    # What is refused isn't shown as a part either.
    uid, records = (
        run_maker(store)("spare", saves={"spare": (b"x", "txt")}),
        Records(*store.manager.to_read()),
    )
    tab.goto(f"{url}/run?id={uid}")
    records.delete(records.run(uid), True)
    tab.click("DisclosureTriangle", "Preview of spare")
    tab.wait("$('#said').innerText.includes('There is no artifact')")
    assert len(tab.all("navigation", "Views")) == 1
    expected = "ERR_INTERNET_DISCONNECTED", "404"
    tab.problems[:] = [each for each in tab.problems if not any(map(each.count, expected))]


def test_columns_may_have_any_name(tab: Tab, url: str, store: Store) -> None:
    """It is shown as what does nothing, and is chosen and kept as it is."""
    names = {"a,b": 70, "a\u202eb": 71, "a\x1b[1mb": 72, "a&b=%2C+é": 73}
    uid = run_maker(store)("named", params=names)
    tab.goto(f"{url}/?q=named")
    tab.click("DisclosureTriangle", "Columns")
    for name in "a,b", "a\\u202eb", "a\\u001b[1mb", "a&b=%2C+é":
        tab.click("checkbox", f"params.{name}")
    tab.follow("button", "Show")
    for _ in range(2):
        assert {*"70 71 72 73".split()} <= {*tab.names("cell")}
        tab.goto(f"{url}/?q=named")
    records = Records(*store.manager.to_read())
    records.delete(records.run(uid))


def test_keys_move_check_and_compare(tab: Tab, url: str, seen: SimpleNamespace) -> None:
    tab.goto(url)
    tab.keys(*"jjjxjxjk")
    assert tab.evaluate("document.activeElement.href").endswith(seen.second)
    tab.leave(lambda: tab.keys("c"))
    assert tab.text("heading", "2 runs compared")
    tab.find("heading", "Metrics over steps")
    tab.goto(url)
    tab.keys("j", "j")
    tab.leave(lambda: tab.keys("Enter"))
    assert "no rows" in tab.text("region", "Error")
    # One goes on where one was.
    tab.leave(lambda: tab.evaluate("history.back()"))
    tab.keys("j")
    assert tab.evaluate("document.activeElement.href").endswith(seen.second)


def test_what_is_checked_stays_checked_below_another_filter(
    tab: Tab, url: str, seen: SimpleNamespace
) -> None:
    tab.goto(url)
    tab.click("checkbox", f"Check run training {seen.first[:8]}")
    tab.keys("/")
    tab.write("evaluation")
    tab.wait(lambda: tab.evaluate(ROWS) == [seen.failed])
    tab.click("checkbox", f"Check run evaluation {seen.failed[:8]}")
    # So it does on the way to another page and back.
    tab.follow("link", f"evaluation {seen.failed[:8]}")
    tab.leave(lambda: tab.evaluate("history.back()"))
    tab.follow("button", "Compare 2")
    assert tab.text("heading", "2 runs compared")
    tab.goto(url)
    tab.click("button", "Uncheck all")
    assert not tab.all("button", "Compare 2")


def test_what_is_deleted_elsewhere_is_checked_no_more(
    tab: Tab, url: str, seen: SimpleNamespace, store: Store
) -> None:
    """Neither in the table nor below another filter; an address that names it says so."""
    records, make_run = Records(*store.manager.to_read()), run_maker(store)
    uids = [make_run("spare"), make_run("spare")]
    with tab.script(QUICK):
        tab.goto(f"{url}/?q=spare")
        tab.click("checkbox", "Check all runs of this page")
        tab.goto(f"{url}/?q=training")
        tab.click("checkbox", "Check all runs of this page")
        tab.find("button", "Compare 4")
        records.delete(records.run(uids[0]))
        tab.find("button", "Compare 3")
        tab.goto(url)
        records.delete(records.run(uids[1]))
        tab.find("button", "Compare 2")
        tab.goto(f"{url}/compare?id={uids[0]},{seen.first},{seen.second}")
        assert "1 of the checked runs was deleted." in tab.text("main")


def test_all_runs_are_checked_by_page_and_by_filter(
    tab: Tab, url: str, seen: SimpleNamespace
) -> None:
    with patch.object(runs, "SIZE", 2):
        tab.goto(url)
        tab.find("StaticText", "1–2 of 4")
        tab.click("checkbox", "Check all runs of this page")
        tab.find("button", "Compare 2")
        tab.click("button", "Check all that match")
        tab.find("button", "Compare 4")
        tab.follow("link", "Next")
        assert tab.evaluate("$$('tr[data-id] input:checked').length") == 2
        tab.click("checkbox", "Check all runs of this page")
        tab.find("button", "Compare 2")
        # How many match is counted after those that are shown.
        tab.goto(f"{url}/?q=local")
        tab.wait(lambda: "1–2 of 4" in tab.text("main"))


def test_the_name_and_the_head_stay_in_view(tab: Tab, url: str, seen: SimpleNamespace) -> None:
    """While one scrolls a table; and it is where it was when one comes back."""
    place = "(({ x, y }) => [x, y])($('{}').getBoundingClientRect())"
    name, head = "#chosen tbody th", "#chosen thead th:nth-of-type(3)"
    tab.looks(390, "light")
    with tab.script(LOW):
        tab.goto(url)
        before = [tab.evaluate(place.replace("{}", each)) for each in (name, head)]
        tab.evaluate("$('#runs .wide').scrollTo(90, 30)")
        after = [tab.evaluate(place.replace("{}", each)) for each in (name, head)]
        assert before[0][0] == after[0][0] and before[0][1] > after[0][1]
        # A telephone shows more of a name than a letter in each line.
        assert tab.evaluate(f"$('{name}').offsetWidth") > 110
        assert before[1][0] > after[1][0] and before[1][1] == after[1][1]
        tab.goto(f"{url}/models")
        tab.leave(lambda: tab.evaluate("history.back()"))
        tab.wait("$('#runs .wide').scrollLeft === 90 && $('#runs .wide').scrollTop === 30")


def test_runs_are_compared(tab: Tab, url: str, seen: SimpleNamespace) -> None:
    """Only what differs, with what is best; parameters as a text, and images side by side."""
    tab.goto(url)
    for uid in (seen.first, seen.second):
        tab.click("checkbox", f"Check run training {uid[:8]}")
    tab.follow("button", "Compare 2")
    table = tab.text("region", "What differs")
    assert "test.auc" in table and "model" not in table
    assert "best:\n0.9000" in table and "best:\n0.1000" in table and "0.8000 -0.1000" in table
    assert "-split.seed: " in tab.text() and "+split.seed: " in tab.text()
    for uid in (seen.first, seen.second):
        tab.wait(lambda uid=uid: drawn(tab, f"curve.chart of run {uid[:8]}"))


def test_an_image_that_is_none_is_said_to_be_none(tab: Tab, url: str, store: Store) -> None:
    uid = run_maker(store)("spare", saves={"plot": (b"no image", "png")})
    tab.goto(f"{url}/run?id={uid}")
    tab.wait(lambda: "plot can't be shown" in tab.text("region", "Artifacts"))
    records = Records(*store.manager.to_read())
    records.delete(records.run(uid))


def part_of(tab: Tab, chart: str, what: str) -> tuple[float, float]:
    """Tell where something is in a chart, as parts of its width and height."""
    boxes = [f"document.querySelector('{each}').getBoundingClientRect()" for each in (chart, what)]
    parts = "[(b.x + b.width / 2 - a.x) / a.width, (b.y + b.height / 2 - a.y) / a.height]"
    across, down = tab.evaluate(f"(([a, b]) => {parts})([{', '.join(boxes)}])")
    return across, down


def try_charts(tab: Tab) -> None:
    """Hover, smooth, zoom, brush, and choose what is drawn."""
    lines, tip = "#curves figure path.line", "document.querySelector('#tip').innerText"
    drawn = f"[...document.querySelectorAll('{lines}')].map((each) => each.getAttribute('d'))"
    tab.find("heading", "Metrics over steps")
    chart = ("image", "curve.train of 2 runs")
    tab.point(*chart)
    assert tab.wait(tip).startswith("step ") and tab.evaluate(tip).count("training ") == 2
    before = tab.evaluate(drawn)
    tab.click("slider", "Smoothing")
    tab.wait(lambda: tab.evaluate(drawn) != before)
    tab.click("slider", "Smoothing")
    tab.keys("Home")
    tab.wait(lambda: tab.evaluate(drawn) == before)
    tab.drag(*chart, (0.3, 0.5), (0.6, 0.5))
    tab.wait(lambda: tab.evaluate(drawn)[0].count("L") < before[0].count("L"))
    tab.click(*chart, count=2)
    tab.wait(lambda: tab.evaluate(drawn) == before)
    tab.click("checkbox", "Log scale")
    assert "(log)" in tab.text("region", "Metrics over steps") and tab.evaluate(drawn) != before
    tab.click("checkbox", "Log scale")
    tab.evaluate("document.querySelector('#over').focus()")
    tab.keys(*"time")
    tab.point(*chart, across=0.6)
    tab.wait(lambda: tab.evaluate(tip).startswith("time 0."))

    chart = ("image", "Parallel coordinates of 2 runs")
    across, down = part_of(tab, "#parallel svg", "#parallel .grip")
    tab.drag(*chart, (across, down - 0.42), (across, down))
    assert "1 of 2 runs" in tab.text("region", "Parallel coordinates")
    assert tab.evaluate("document.querySelectorAll('td.out').length") == 3
    tab.click("button", "Show all")
    assert tab.evaluate("document.querySelectorAll('.out').length") == 0
    tab.click("DisclosureTriangle", "Axes")
    tab.click("checkbox", "results.loss")
    tab.click("DisclosureTriangle", "Axes")
    assert tab.evaluate("document.querySelectorAll('.axis').length") == 2

    tab.find("image", "loss over split.seed of 2 runs")
    tab.evaluate("document.querySelector('#y').focus()")
    tab.keys(*"results.t")
    chart = ("image", "test.auc over split.seed of 2 runs")
    tab.point(*chart, *part_of(tab, "#scatter svg", "#scatter circle"))
    assert "test.auc: 0." in tab.wait(tip) and "split.seed: " in tab.evaluate(tip)


def test_charts_answer(tab: Tab, url: str, seen: SimpleNamespace) -> None:
    tab.goto(f"{url}/compare?id={seen.first},{seen.second}")
    try_charts(tab)
    chart = ("image", "test.auc over split.seed of 2 runs")
    place = tab.point(*chart, *part_of(tab, "#scatter svg", '#scatter [data-run="1"]'))
    tab.leave(lambda: [tab.mouse(kind, place, clickCount=1) for kind in CLICK])
    assert f"training {seen.second[:8]}" in tab.text("heading")


def test_a_table_of_many_runs_is_sorted(tab: Tab, url: str, store: Store) -> None:
    """By the head of a column, largest first; what is lacking or no number is last, both ways."""
    make_run, losses = (
        run_maker(store),
        [0.5, None, 0.001, *range(1, 6), float("inf"), float("nan")],
    )
    given = ({} if loss is None else {"loss": loss} for loss in losses)
    uids = [make_run("many", params={"n": n}, results=each) for n, each in enumerate(given)]
    tab.goto(f"{url}/compare?id={','.join(uids)}")
    order = "[...document.querySelectorAll('tr[data-run]')].map((row) => Number(row.dataset.run))"
    largest_first, last = [8, 7, 6, 5, 4, 3, 0, 2], [1, 9]
    tab.find("heading", "Scatter")  # The table is below it.
    tab.click("button", "loss")
    assert tab.evaluate(order) == [*largest_first, *last]
    tab.click("button", "loss")
    assert tab.evaluate(order) == [*largest_first[::-1], *last]
    tab.click("button", "run")
    assert {*tab.evaluate(order)} == {*range(10)} and len(tab.all("row")) == 11
    # Values over more than two decades, which is said, and can be undone.
    scatter = ("region", "Scatter")
    assert "loss (log)" in tab.text(*scatter)
    tab.evaluate("document.querySelector('#log-scatter').click()")
    assert "(log)" not in tab.text(*scatter) and "loss (log)" in tab.text(
        "region", "Parallel coordinates"
    )
    records = Records(*store.manager.to_read())
    for uid in uids:
        records.delete(records.run(uid))


def test_trials_and_curves_are_drawn_on_their_pages(
    tab: Tab, url: str, seen: SimpleNamespace
) -> None:
    """Of a search, a run and an artifact."""
    tab.goto(f"{url}/run?id={seen.search}")
    tab.point("image", "Parallel coordinates of 3 trials", 0.5, 0.9)
    tab.find("image", "of_a_long_name.0 over depth of 2 trials")
    tab.wait(lambda: not tab.all("heading", "Metrics over steps"))
    for place in f"run?id={seen.first}", f"artifact?key=curve&uid={seen.artifacts['curve']}":
        tab.goto(f"{url}/{place}")
        tab.point("image", "curve of 2 curves", 0.5)
        told = tab.wait("document.querySelector('#tip').innerText")
        assert told.startswith("step ") and "train" in told and "test" in told
        assert "train" in tab.text("region", "Metrics over steps")
        assert not tab.all("heading", "Scatter")


def test_a_scatter_begins_with_what_most_runs_have(tab: Tab, url: str, store: Store) -> None:
    """Other pairs may have no run in common."""
    make_run = run_maker(store)
    uids = [make_run("some", params={"early": n}) for n in range(2)]
    made = [make_run("some", params={"rate": n}, results={"loss": n}) for n in range(2)]
    # One that failed has parameters, and no result; and what is the same in all is no choice.
    uids += [*made, make_run("some", params={"rate": 3, "of": 1, "list": []}, error="no")]
    tab.goto(f"{url}/compare?id={','.join(uids)}")
    tab.find("image", "loss over rate of 2 runs")
    records = Records(*store.manager.to_read())
    for uid in uids:
        records.delete(records.run(uid))


OPENED = "$$('.live details[open] > summary').map((each) => each.textContent)"


def test_curves_of_a_run_that_goes_on_grow(
    tab: Tab, url: str, seen: SimpleNamespace, store: Store
) -> None:
    """From none on, until its end, with what the reader has chosen."""
    lines = "$$('#curves .chart .line').map((each) => each.getAttribute('d').split('L').length)"
    with tab.script(QUICK):
        uid = run_maker(store)("growing", ends=False)
        tab.goto(f"{url}/run?id={uid}")
        tab.evaluate("window.stays = true")
        for length in 2, 3:
            MLRunMetricHistory("loss").save([1.0, 0.5, 0.25][:length])
            store.manager.context.commit()
            tab.wait(lambda length=length: tab.evaluate(lines) == [length])
            tab.evaluate("$('#smoothing').value = 0.9")
            # Not the question whether to abort it, while which nothing grows.
            tab.wait("$('.live details:not(.ask)') !== null")
            tab.evaluate("$('.live details:not(.ask)').open = true")
        opened = tab.evaluate(OPENED)
        MLRunMetricHistory("other").save({"train": [1, 2], "test": [2, 1]})
        store.manager.close_run()
        tab.find("image", "other of 2 curves")
        # Also where others have come before it.
        assert opened == tab.evaluate(OPENED) != []
        assert tab.evaluate(lines) == [3, 2, 2] and tab.evaluate("$('#smoothing').value") == "0.9"
        assert "completed" in tab.text("heading") and tab.evaluate("window.stays")
    records = Records(*store.manager.to_read())
    records.delete(records.run(uid))


def test_a_run_is_read(tab: Tab, url: str, seen: SimpleNamespace) -> None:
    """What ran, on what, with which result; what it saved; how to repeat it."""
    tab.goto(url)
    tab.follow("link", f"training {seen.first[:8]}")
    assert "split.seed\t7" in tab.text("region", "Parameters")
    assert "test.auc\t0.9000" in tab.text("region", "Results")
    assert "git checkout c0ffee12" in tab.text() and COMMAND in tab.text("region", "Repeat it")
    tab.wait(lambda: "line one\nline two" in tab.text("region", "Log"))
    graph = tab.text("region", "Graph: Pipeline")
    assert "1.50 s" in graph and "train_set" in graph
    tab.wait(lambda: drawn(tab, "curve.chart"))
    width = "document.querySelector('.graph svg').getBoundingClientRect()"
    middle = tab.evaluate(f"(({{left, right}}) => (left + right) / 2)({width})")
    assert middle == pytest.approx(1280 / 2)
    tab.click("link", "Pipeline")
    assert tab.evaluate("document.querySelector('#pipeline').getBoundingClientRect().top < 300")

    # Its model, and by that the run that has used it.
    tab.follow("link", "forest")
    tab.follow("link", f"evaluation {seen.failed[:8]}")
    problem = tab.text("region", "Error")
    assert "ValueError: no rows" in problem and "Traceback (most recent call last)" in problem
    assert "score\n✕ failed" in tab.text("region", "Graph: Pipeline")
    tab.follow("link", "forest")
    tab.find("region", "Graph: Lineage")


def test_artifacts_are_looked_into(tab: Tab, url: str, seen: SimpleNamespace) -> None:
    """A table by page, texts, and a recorded page that reaches nothing around it."""
    tab.goto(f"{url}/run?id={seen.first}")
    tab.click("DisclosureTriangle", "Preview of notes")
    tab.wait(lambda: "ends well" in tab.text("region", "Artifacts"))
    tab.follow("link", "settings")
    assert '"depth": 3' in tab.text("region", "Preview")
    with tab.script(LISTEN):
        tab.goto(f"{url}/run?id={seen.first}")
        tab.follow("link", "site")
        assert tab.wait("window.told") == "kept out, kept in"
    tab.goto(f"{url}/run?id={seen.first}")
    tab.follow("link", "rows")
    assert "1–100 of 250 rows" in tab.text()
    tab.follow("link", "Next")
    tab.follow("link", "Next")
    assert "201–250 of 250 rows" in tab.text() and "249" in tab.text("region", "Table rows")
    assert not tab.all("link", "Next")


def test_models_are_followed(tab: Tab, url: str, seen: SimpleNamespace, downloads: Path) -> None:
    """Versions with metrics; a tag and a promotion after a question, and what they leave."""
    tab.goto(url)
    tab.follow("link", "Models")
    versions = tab.text("region", "Versions of forest")
    assert "0.9000" in versions and "0.8000" in versions and "evaluation" in versions
    tab.goto(f"{url}/run?id={seen.second}")
    tab.follow("link", "forest")
    tab.click("DisclosureTriangle", "Tag…")
    tab.click("textbox", "Tag")
    tab.write("night")
    tab.follow("button", "Tag it")
    assert "night" in tab.text("heading")
    tab.click("DisclosureTriangle", "Promote…")
    tab.click("textbox", "Reason")
    tab.write("more data")
    tab.follow("button", "Promote it")
    assert "champion" in tab.text("heading")
    tab.click("link", "Download")
    tab.wait(lambda: [*downloads.glob("*.pkl")])
    tab.follow("link", "Models")
    assert "champion" in tab.text("region", "Versions of forest")
    assert "more data" in tab.text("region", "History of aliases")


def test_runs_that_go_on_are_followed(
    tab: Tab, url: str, seen: SimpleNamespace, store: Store
) -> None:
    """They appear, grow, end and go without loading the page again."""
    with tab.script(QUICK):
        tab.goto(url)
        tab.evaluate("window.stays = true")
        uid = run_maker(store)("going", ends=False)
        tab.wait(lambda: uid in tab.evaluate(ROWS))
        tab.click("checkbox", f"Check run going {uid[:8]}")
        tab.wait("Number(/^\\d+/.exec($('[data-since]').innerText)) > 1")
        store.manager.context.log_result("score", 0.125)
        store.manager.context.commit()
        tab.wait(lambda: "0.1250" in tab.text("table"))
        assert tab.evaluate("window.stays && document.activeElement.matches('input')")

        tab.follow("link", f"going {uid[:8]}")
        tab.evaluate("window.stays = true")
        store.manager.db.store_log(uid, store.project, b"epoch 0\n" * 200, append=True)
        tab.wait(lambda: "epoch 0" in tab.text("region", "Log"))
        store.manager.db.store_log(uid, store.project, b"epoch 1\n" * 20, append=True)
        tab.wait(lambda: "epoch 1" in tab.text("region", "Log"))
        # It is no longer than a part of the window, and its end is shown.
        tab.wait(f"({LOG}.scrollHeight - {LOG}.scrollTop - {LOG}.clientHeight) < 4")
        assert tab.evaluate(
            f"{LOG}.scrollHeight > innerHeight && innerHeight > {LOG}.clientHeight * 2"
        )
        store.manager.context.log_result("score", 0.25)
        store.manager.context.commit()
        tab.wait(lambda: "0.2500" in tab.text("region", "Results"))
        assert tab.evaluate("window.stays")
        tab.click("DisclosureTriangle", "Abort…")
        tab.follow("button", "Abort it")
        assert [run["metadata"]["uid"] for run in seen.aborted] == [uid]
        store.manager.close_run()
        tab.wait(lambda: "completed" in tab.text("heading"))
        tab.find("link", "Delete…")

        tab.goto(url)
        tab.evaluate("window.stays = true")
        records = Records(*store.manager.to_read())
        records.delete(records.run(uid))
        tab.wait(lambda: uid not in tab.evaluate(ROWS))
        assert tab.evaluate("window.stays")


def test_runs_are_deleted_after_a_question(
    tab: Tab, url: str, store: Store, downloads: Path
) -> None:
    uid = run_maker(store)("spare", saves={"notes": (b"x", "txt")})
    tab.goto(url)
    tab.follow("link", f"spare {uid[:8]}")
    tab.wait(lambda: "This run has no log." in tab.text("region", "Log"))
    tab.click("link", "Download its record")
    tab.wait(lambda: [*downloads.glob(f"run-{uid[:8]}*.json")])
    # One comes back to what one has seen of the runs.
    tab.goto(f"{url}/?q=spare&sort=name")
    tab.click("checkbox", f"Check run spare {uid[:8]}")
    tab.follow("button", "Delete…")
    assert "Delete this run?" in tab.names("heading") and uid in tab.text("main")
    tab.follow("link", "Keep")
    assert tab.evaluate(ROWS) == [uid]
    # What was checked still is, and the table is the same after a look at the run.
    assert tab.all("button", "Uncheck all")
    tab.follow("link", f"spare {uid[:8]}")
    tab.follow("link", "Delete…")
    tab.click("checkbox", "Also delete what they saved: records and files")
    tab.follow("button", "Delete")
    assert tab.evaluate("location.search") == "?q=spare&sort=name"
    assert uid not in tab.evaluate(ROWS) and not tab.all("button", "Uncheck all")


def test_read_only_changes_nothing(tab: Tab, store: Store, seen: SimpleNamespace) -> None:
    forest = Records(*store.manager.to_read()).artifacts("forest")[0]["metadata"]
    with served(app_of(store, [], changes=None)) as url:
        for path in ("/", f"/run?id={seen.first}", f"/artifact?key=forest&uid={forest['uid']}"):
            tab.goto(url + path)
            shown = tab.names("button") + tab.names("link") + tab.names("DisclosureTriangle")
            assert not [name for name in shown if name.startswith(("Delete", "Tag", "Promote"))]


@pytest.fixture(scope="module")
def exported(seen: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("export") / "runs.html"
    words = ["ui", "--export", str(file), "--where", "name = training"]
    done = CliRunner().invoke(cli.mlrun_group, words)
    assert done.exit_code == 0, done.output
    return file


def test_an_exported_file_shows_the_same(tab: Tab, seen: SimpleNamespace, exported: Path) -> None:
    """By a double click, without a server."""
    tab.goto(exported.as_uri())
    runs = tab.text("region", "Runs")
    assert seen.first[:8] in runs and seen.second[:8] in runs and COMMAND in runs
    assert "best:\n0.9000" in tab.text("region", "What differs")
    assert drawn(tab, f"curve.chart of run {seen.first[:8]}")
    for uid in (seen.second, seen.first):
        tab.click("button", "started")
        names = tab.evaluate(NAMES_OF_RUNS)
        assert uid[:8] in names[0] and len(names) == 2
    try_charts(tab)


def views(url: str, seen: SimpleNamespace, exported: Path) -> dict[str, str]:
    """Give the addresses of what there is to see."""
    ids = f"id={seen.first}&id={seen.second}"
    found = {"runs": "/", "compare": f"/compare?{ids}", "models": "/models"}
    found |= {"run": f"/run?id={seen.first}", "failed": f"/run?id={seen.failed}"}
    found |= {"search": f"/run?id={seen.search}", "delete": f"/delete?{ids}"}
    found |= {"none": "/?q=nothing", "error": NONE}
    for key, uid in seen.artifacts.items():
        found[key] = f"/artifact?key={key}&uid={uid}"
    return {name: url + path for name, path in found.items()} | {"export": exported.as_uri()}


def looked_at(tab: Tab, pages: dict[str, str]) -> Iterator[str]:
    """Show each page at a window's and a telephone's width, light and dark."""
    for name, address in pages.items():
        tab.goto(address)
        tab.wait("!document.querySelector('#charts') || !!document.querySelector('#charts svg')")
        for width, scheme in product(WIDTHS, SCHEMES):
            tab.looks(width, scheme)
            yield f"{name}-{width}-{scheme}"


def test_every_view_fits_its_screen(
    tab: Tab, url: str, seen: SimpleNamespace, exported: Path
) -> None:
    """Nothing is wider than the page; SCREENSHOTS=folder has what that looks like."""
    for look in looked_at(tab, views(url, seen, exported)):
        wide = tab.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, look
        if SCREENSHOTS:
            tab.screenshot(Path(SCREENSHOTS, f"{look}.png"))


@pytest.mark.skipif(not AXE, reason="AXE names no axe.min.js: npm pack axe-core")
def test_every_view_is_accessible(
    tab: Tab, url: str, seen: SimpleNamespace, exported: Path
) -> None:
    """By the rules of axe-core."""
    found = []
    # Of a recorded page, axe would ask its frame, which refuses.
    pages = {name: page for name, page in views(url, seen, exported).items() if name != "site"}
    with tab.script(Path(AXE).read_text()):
        for look in looked_at(tab, pages):
            told = tab.evaluate("axe.run()")
            found += [
                (look, each["id"], [n["html"] for n in each["nodes"]])
                for each in told["violations"]
            ]
    assert found == []


def test_a_comparison_shows_all_that_differs(tab: Tab, url: str, store: Store) -> None:
    """Without a box to scroll in; ticks that are close to each other are told apart."""
    make_run = run_maker(store)
    given = [{f"a.long.name.{n}": n + auc for n in range(60)} for auc in (0.1, 0.2)]
    given = [each | {"auc": auc} for each, auc in zip(given, (0.99995, 0.99999), strict=True)]
    uids = [make_run("some", params={"n": n}, results=each) for n, each in enumerate(given)]
    tab.goto(f"{url}/compare?id={','.join(uids)}")
    assert (
        tab.evaluate(
            "(({ scrollHeight, clientHeight }) => scrollHeight - clientHeight)($('.held'))"
        )
        == 0
    )
    tab.find("image", "auc over n of 2 runs")
    ticks = "$$('#scatter text[text-anchor=end]:not(.name)').map((each) => each.textContent)"
    texts = tab.evaluate(ticks)
    assert "0.99996" in texts and len(texts) == len({*texts}) > 3
    records = Records(*store.manager.to_read())
    for uid in uids:
        records.delete(records.run(uid))


def test_what_is_set_in_charts_is_there_again(tab: Tab, url: str, seen: SimpleNamespace) -> None:
    """After a reload, and on the way back."""
    places = [f"{url}/compare?id={seen.first},{seen.second}", f"{url}/models"]
    tab.goto(places[0])
    tab.find("image", "loss over split.seed of 2 runs")
    for id, value in ("x", "results.loss"), ("colour", "params.split.seed"), ("smoothing", "0.5"):
        tab.evaluate(f"$('#{id}').value = '{value}'")
        tab.evaluate(f"$('#{id}').dispatchEvent(new Event('input', {{ bubbles: true }}))")
    tab.click("checkbox", "Log scale")
    tab.click("DisclosureTriangle", "Axes")
    tab.click("checkbox", "results.loss")
    set_now = "$$('#charts :is(select, input)').map((each) => each.checked ?? each.value).join()"
    before = tab.evaluate(set_now), tab.evaluate("$('#smoothing').value")
    for action in "location.reload()", "location = '/models'", "history.back()":
        tab.leave(lambda action=action: tab.evaluate(action))
    tab.find("image", "loss over loss of 2 runs")
    assert (tab.evaluate(set_now), tab.evaluate("$('#smoothing').value")) == before


def test_a_search_is_drawn_by_its_metric(tab: Tab, url: str, store: Store) -> None:
    """Which comes first, wherever its trials have it."""
    uid = run_maker(store)("search")
    run = store.manager.db.read_run(uid, store.project)
    asked = {"config": {"metric": "test.forest.auc", "direction": "maximize"}}
    run["metadata"]["annotations"] = {"kedro.search": json.dumps(asked)}
    outputs = [f"output.{name}" for name in (*"abcde", "test.forest.auc")]
    trials = [["completed", n, n, *[n / 4] * len(outputs)] for n in (1, 2)]
    run["status"]["iterations"] = [["state", "iter", "param.depth", *outputs], *trials]
    store.manager.db.store_run(run, uid, store.project)
    tab.goto(f"{url}/run?id={uid}")
    tab.find("image", "test.forest.auc over depth of 2 trials")
    assert "test.forest.auc" in tab.text("region", "Parallel coordinates")
    records = Records(*store.manager.to_read())
    records.delete(records.run(uid))
