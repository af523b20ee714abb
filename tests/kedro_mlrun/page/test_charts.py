"""What the comparison's charts are drawn from, on the page and in the exported file."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from asked import Answers
from helpers import Store

from kedro_mlrun import MLRunMetricHistory, MLRunModel
from kedro_mlrun.page import compare, views
from kedro_mlrun.records.records import Records

MakeHistory = Callable[..., str]
IMAGE = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def make_history(store: Store, monkeypatch: pytest.MonkeyPatch) -> MakeHistory:
    """Give a function that makes a run with metric histories, and a result."""
    # Their own images, which are tested elsewhere, would take most of the time.
    monkeypatch.setattr("kedro_mlrun.datasets.history.draw_lines", lambda frame, title: IMAGE)

    def make_history(histories: dict[str, Any], loss: Any = 0.5) -> str:
        context = store.manager.open_run("training", parameters={"rate": loss, "same": 1})
        for key, data in histories.items():
            ending = {"save_args": {"format": "csv"}} if key == "csv" else {}
            MLRunMetricHistory(key, **ending).save(data)
        context.log_results({"loss": loss})
        store.manager.close_run()
        return str(context._uid)

    return make_history


def test_metrics_over_steps_are_drawn_from_histories(
    page: Answers, make_history: MakeHistory
) -> None:
    """Those of all runs by their names; long ones are thinned, and keep their extremes."""
    spike = [1.0] * 4_000
    spike[1_234], spike[3_210] = 9.5, float("nan")
    table = pd.DataFrame({"train": [3, 2, 1], "test": [4, 3, None]}, index=[10, 20, 30])
    days = pd.date_range("2026-01-01", periods=2, freq="h")
    first = make_history({"curve": table.rename_axis("round"), "long": spike})
    timed = {"csv": {"loss": [2.0, 1.0], "time": [5, 7]}, "days": pd.DataFrame({"x": [1, 2]}, days)}
    close = [123456.1, 123456.8]
    uids = [
        first,
        make_history({"curve": {"train": [5, 4], "test": close}, **timed}, 0.25),
    ]
    told = page(f"/compare/data?id={','.join(uids)}&curves=1").json()
    found = {each["name"]: each for each in told}
    assert set(found) == {"curve.train", "curve.test", "long", "csv", "days"}
    assert found["curve.test"]["over"] == "round"
    assert found["curve.test"]["curves"] == [
        {"run": 0, "x": [10, 20], "y": [4, 3], "time": None},
        {"run": 1, "x": [0, 1], "y": close, "time": None},
    ]
    [long] = found["long"]["curves"]
    assert len(long["x"]) <= compare.MOST_POINTS and max(long["y"]) == 9.5
    assert long["x"][long["y"].index(9.5)] == 1_234
    assert found["csv"]["curves"] == [{"run": 1, "x": [0, 1], "y": [2, 1], "time": [0, 2]}]
    assert found["days"]["curves"] == [{"run": 1, "x": [0, 1], "y": [1, 2], "time": [0, 3600]}]


@pytest.mark.parametrize("store", ["embedded"], indirect=True)
def test_what_is_gone_leaves_the_rest(
    store: Store, page: Answers, make_history: MakeHistory
) -> None:
    """A file that was deleted by hand is no error of the comparison."""
    uids = [make_history({"curve": [1, 2]}), make_history({"curve": [3, 4]})]
    for record in Records(*store.manager.to_read()).artifacts("curve"):
        if uids[0] in record["spec"]["target_path"]:
            Path(record["spec"]["target_path"]).unlink()
    [metric] = page(f"/compare/data?id={','.join(uids)}&curves=1").json()
    assert [each["run"] for each in metric["curves"]] == [1]
    assert page(f"/compare?id={','.join(uids)}").status == 200


@pytest.mark.parametrize("store", ["embedded"], indirect=True)
def test_an_exported_file_has_all_that_is_drawn(
    store: Store, page: Answers, make_history: MakeHistory
) -> None:
    """The script, its data and images, as far as there is room; each run against the first."""
    uids = [make_history({"curve": [n, n + 1]}, n / 4) for n in range(3)]
    records = Records(*store.manager.to_read())
    text = views.exported(records, [*records.runs_of(uids)], "here")
    data = json.loads(re.findall(r'id="data">(.*?)</script>', text)[0])
    assert [run["uid"] for run in data["runs"]] == uids
    assert [curve["y"] for curve in data["curves"][0]["curves"]] == [[0, 1], [1, 2], [2, 3]]
    assert text.count('src="data:image/png;base64,iVBO') == 3 and 'href="/' not in text
    assert text.count('<details class="diff"') == 2
    asked = page(f"/compare?id={','.join(uids)}")
    assert asked.text.count('<details class="diff"') == 2
    assert len(asked.links("/image?key=curve.chart")) == 3
    full = compare.compared(records, [*records.runs_of(uids)], room=40)["images"]["curve.chart"]
    assert [bool(each["image"]) for _, each in full] == [True, False, False]


def test_curves_of_one_run_are_together(page: Answers, make_history: MakeHistory) -> None:
    """On its page, and on that of an artifact; other pages have no charts."""
    uid = make_history({"both": {"train": [2, 1], "test": [4, 3]}, "other": [1, 2]})
    told = page(f"/compare/data?id={uid}&curves=1").json()
    assert [each["name"] for each in told] == ["both", "other"]
    [train, test] = told[0]["curves"]
    assert (train["name"], train["y"], test["name"]) == ("train", [2, 1], "test")
    run = page(f"/run?id={uid}")
    assert f'data-url="/compare/data?id={uid}"' in run.text and "/static/charts.js" in run.text
    for key in ("other", "other.chart"):
        artifact = page(run.links(f"/artifact?key={key}&")[0]).text
        assert f'data-url="/compare/data?id={uid}&amp;key=other"' in artifact
    [other] = page(f"/compare/data?id={uid}&key=other&curves=1").json()
    assert other["name"] == "other"
    plain = page(f"/run?id={make_history({})}").text
    assert "charts.js" not in plain and 'id="charts"' not in plain


def test_trials_are_drawn_as_runs_are(
    store: Store, page: Answers, make_history: MakeHistory
) -> None:
    """What has no place in a chart, such as NaN, is none of its values."""
    uid = make_history({})
    run = store.manager.db.read_run(uid, store.project)
    header = ["state", "iter", "param.depth", "param.kedro.env", "output.loss"]
    rows = [
        ["completed", 1, 3, "a", 0.5],
        ["error", 2, 4, "b", None],
        ["completed", 3, 5, "c", "NaN"],
    ]
    run["status"]["iterations"] = [header, *rows]
    store.manager.db.store_run(run, uid, store.project)
    assert "/static/charts.js" in page(f"/run?id={uid}").text
    told = page(f"/compare/data?id={uid}").json()
    assert [each["title"] for each in told["runs"]] == ["trial 1", "trial 2", "trial 3"]
    [depth], [loss], [state] = (told[part] for part in ("parameters", "results", "labels"))
    assert (depth["name"], depth["values"]) == ("depth", [3, 4, 5])
    assert loss["values"] == [0.5, None, None]
    assert state["values"] == ["completed", "error", "completed"]


@pytest.mark.parametrize("store", ["embedded"], indirect=True)
def test_an_exported_file_tells_what_a_link_would(
    store: Store, make_history: MakeHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why runs failed, what a search has tried, models; of one run all that it has recorded."""
    search, training = make_history({}), make_history({})
    run = store.manager.db.read_run(search, store.project)
    run["status"]["iterations"] = [["state", "iter", "param.depth"], ["completed", 1, 31]]
    store.manager.db.store_run(run, search, store.project)
    context = store.manager.open_run("training")
    for name in ("first", "second"):
        MLRunModel(name).save([name])
    context.log_results({"test.first.auc": 0.875, "test.second.auc": 0.625})
    store.manager.close_run("Node 'train': ValueError: no rows\n\nTraceback: <b>\nin train")
    records = Records(*store.manager.to_read())
    records.tag(records.artifact("second"), "champion")
    runs = [*records.runs_of([search, training, context._uid])]
    text = views.exported(records, runs, "here")
    assert "Node &#39;train&#39;: ValueError: no rows</summary>" in text
    assert "Traceback: &lt;b&gt;\nin train</pre>" in text and "<bdi>31</bdi>" in text
    assert f'data-sorts="{search}"' in text
    # Those with an alias are first.
    head = "<bdi>test.auc</bdi></button></th></tr>"
    first, second = text.partition(head)[2].partition("</table>")[0].split("</tr>")[:2]
    assert "champion" in first and "0.6250" in first and "0.8750" in second
    monkeypatch.setattr(compare, "ROOM_OF_TRIALS", 10)
    assert "<bdi>31</bdi>" not in views.exported(records, runs, "here")
    one = views.exported(records, runs[1:2], "here")
    assert "<h1>1 run</h1>" in one and ">same</bdi>" in one and "What differs" not in one
    # It is as long as it is.
    assert re.findall('class="wide( held)?" .*label="What was recorded"', one) == [""]


def test_of_many_runs_eight_are_beside_each_other(page: Answers, make_history: MakeHistory) -> None:
    """It is said which, and the others are a click away; each against the first."""
    uids = [make_history({"curve": [n]} if n in {0, 9} else {}, n / 4) for n in range(10)]
    many = page(f"/compare?id={','.join(uids)}")
    assert "Images of runs 1–8 of 10 Next" in many.words
    assert many.text.count('<details class="diff"') == 7
    rest = page(many.links("/compare?")[0])
    assert "Images of runs 9–10 of 10 Previous" in rest.words
    assert rest.text.count(f"training {uids[0][:8]} → training") == 2
    [image] = re.findall(r'alt="curve.chart of run (\w+)"', rest.text)
    assert image == uids[9][:8]
    assert many.links("/compare?")[0].endswith("first=8#diff")
