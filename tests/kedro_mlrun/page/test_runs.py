"""The table of runs."""

import re
from collections.abc import Callable

import pytest
from asked import Answers
from helpers import Store

from kedro_mlrun.page import runs

MakeRun = Callable[..., str]


def ids(answer: object) -> list[str]:
    return [link.partition("=")[2] for link in answer.links("/run?id=")]  # type: ignore[attr-defined]


def test_runs_are_filtered_and_sorted(page: Answers, make_run: MakeRun) -> None:
    """Words and conditions hold together; a column's head sorts by it."""
    first = make_run(params={"split.seed": 7}, results={"test.auc": 0.9}, labels={"team": "blue"})
    second = make_run(params={"split.seed": 8}, results={"test.auc": 0.8}, labels={"team": "red"})
    failed = make_run("evaluation", error="ValueError: no")
    assert ids(page("/")) == [failed, second, first]
    assert ids(page("/rows?q=params.split.seed+%3D%3D+7+and+training")) == [first]
    assert ids(page("/rows?q=RED")) == [second]
    assert ids(page("/rows?q=state+%3D+error")) == [failed]
    assert ids(page("/rows?sort=results.test.auc")) == [first, second, failed]
    assert ids(page("/rows?sort=test.auc&ascending=1")) == [second, first, failed]
    assert ids(page("/rows?sort=name&ascending=1"))[0] == failed
    # A word is found in what made a run fail, and a commit by what is shown of it.
    assert ids(page("/rows?q=valueerror")) == [failed]
    none = page("/?q=params.split.seed+%3E")
    assert (
        none.status == 400
        and "is no condition" in none.words
        and 'value="params.split' in none.text
    )


def test_columns_are_what_many_runs_have_and_what_differs(page: Answers, make_run: MakeRun) -> None:
    """Results first, those of training last; beside them, parameters that differ have room."""
    many = {f"test.{name}": 0.5 for name in "abc"} | {"train.loss": 0.25}
    for n in range(3):
        results = {**many, "test.auc": n / 4, "train.auc": n} if n else many
        make_run(params={"same": 1, "rate": n, "depth": n, "seed": n, "more": n}, results=results)
    make_run(labels={"workflow": "nightly", "git-commit": "c0ffee1234"})
    heads = re.findall(r'<th scope="col".*?</th>', page("/").text, re.DOTALL)
    told = [" ".join(re.sub("<[^>]*>", " ", head).split()) for head in heads]
    assert told[:6] == ["run", "state", "started", "took", "commit", "chain"]
    assert told[6:] == ["test.auc", "train.auc", "test.a", "test.b", "test.c", *told[11:]]
    assert told[11:] == ["rate", "depth", "seed"]


def test_heads_tell_fields_apart(store: Store, page: Answers, make_run: MakeRun) -> None:
    """Also those of a comparison of many runs, and of trials."""
    uids = [make_run(params={"x": n, "y": n}, results={"x": n}) for n in range(10)]
    run = store.manager.db.read_run(uids[0], store.project)
    run["status"]["iterations"] = [["state", "iter", "param.x", "output.x"], ["completed", 1, 2, 3]]
    store.manager.db.store_run(run, uids[0], store.project)
    told = page("/?columns=params.x&columns=results.x&columns=params.y&columns=y").text
    assert told.count('title="9"') == 3
    told += page(f"/compare?id={','.join(uids)}").text.partition("</thead>")[0]
    told += page(f"/trials?id={uids[0]}").text
    heads = " ".join(re.findall('<th scope="col".*?<bdi>(.*?)</bdi>', told, re.DOTALL))
    for names in "params.x results.x y", "results.x params.x y", "state param.x output.x":
        assert names in heads


def test_it_is_told_how_many_runs_match(
    store: Store, page: Answers, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all of them, where that is known without reading them; and all ids can be asked for."""
    monkeypatch.setattr(runs, "SIZE", 2)
    made = [make_run(params={"x": n}) for n in range(5)]
    if not store.dbpath.startswith("http"):
        assert "1–2 of 5" in page("/rows").words and "3–4 of 5" in page("/rows?page=1").words
    assert "5–5 of 5" in page("/rows?page=2").words
    assert "1–2 of more than 2" in page("/rows?q=x+>+1").words
    assert "3–3 of 3" in page("/rows?q=x+>+1&page=1").words
    assert "1–1 of 1" in page("/rows?q=x+=+1").words
    assert page("/rows?q=x+>+1&all=1&sort=x&ascending=1").json() == made[2:]
