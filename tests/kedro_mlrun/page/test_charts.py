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

from kedro_mlrun import MLRunMetricHistory
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
    uids = [first, make_history({"curve": {"train": [5, 4], "test": [6.0, 5.0]}, **timed}, 0.25)]
    told = page(f"/compare/data?id={','.join(uids)}&curves=1").json()
    found = {each["name"]: each for each in told}
    assert set(found) == {"curve.train", "curve.test", "long", "csv", "days"}
    assert found["curve.test"]["over"] == "round"
    assert found["curve.test"]["curves"] == [
        {"run": 0, "x": [10, 20], "y": [4, 3], "time": None},
        {"run": 1, "x": [0, 1], "y": [6, 5], "time": None},
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
    full = compare.compared(records, [*records.runs_of(uids)], room=40)
    assert [bool(each["image"]) for each in full["images"]["curve.chart"]] == [True, False, False]
