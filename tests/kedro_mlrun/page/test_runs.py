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


def heads_of(answer: Answers) -> list[str]:
    heads = re.findall(r'<th scope="col".*?</th>', answer.text, re.DOTALL)  # type: ignore[attr-defined]
    return [" ".join(re.sub("<[^>]*>", " ", head).split()) for head in heads]


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
    """Results first, of each group in turn; beside them, parameters that differ have room."""
    many = {f"test.{name}": 0.5 for name in "abc"} | {"train.loss": 0.25}
    for n in range(3):
        results = {**many, "test.auc": n / 4, "train.auc": n} if n else many
        make_run(params={"same": 1, "rate": n, "depth": n, "seed": n, "more": n}, results=results)
    make_run(labels={"workflow": "nightly", "git-commit": "c0ffee1234"})
    told = heads_of(page("/"))
    assert told[:6] == ["run", "state", "started", "took", "commit", "chain"]
    assert told[6:] == ["test.auc", "train.auc", "test.a", "train.loss", "test.b", *told[11:]]
    assert told[11:] == ["rate", "depth", "seed"]


def test_what_sums_up_comes_first_and_then_each_group(page: Answers, make_run: MakeRun) -> None:
    """What hardly any run has is last, also if it is of a group of its own."""
    results = {f"{part}.{metric}": 1 for part in ("test.a", "test.b") for metric in "xy"}
    for _ in range(11):
        make_run(results=results | {"score": 1, "cost": 2})
    make_run(results=results | {"score": 1, "cost": 2, "drift.score": 1})
    told = heads_of(page("/"))[4:]
    assert told == ["score", "cost", "test.a.x", "test.b.x", "test.a.y", "test.b.y", "drift.score"]


def test_chosen_columns_are_kept(page: Answers, make_run: MakeRun) -> None:
    """By a cookie; none or what differs are choices, too, and what is too much is said."""
    make_run(results={"auc": 0.5}, labels={"team": "blue"})
    for asked, shown in (("", []), ("&columns=labels.team", ["team"]), ("&columns=auto", ["auc"])):
        chosen = page(f"/?columns={asked}")
        cookie = chosen.headers["set-cookie"].partition(";")[0]
        for answer in chosen, page("/rows", headers={"cookie": cookie}):
            assert heads_of(answer)[4:] == shown and "too many" not in answer.words
    # The page asks for its rows again and again, which would undo the choice of another window.
    assert "set-cookie" not in page("/rows?columns=auc").headers
    many = "&".join(f"columns=params.a_long_name_{n}" for n in range(200))
    for path in "/", "/rows":
        assert "too many to be remembered" in page(f"{path}?{many}").words


def test_commits_and_workflows_are_sorted(page: Answers, make_run: MakeRun) -> None:
    """And it is told what a star after a commit means."""
    for commit, dirty in (("c2", "true"), ("c1", "false"), ("c3", "false")):
        make_run(labels={"git-commit": commit, "git-dirty": dirty, "workflow": commit})
    for name in "labels.git-commit", "labels.workflow":
        assert f"/?sort={name}" in page("/").links("/?sort")
        told = page(f"/?sort={name}")
        assert re.findall(r"<code>(c\d\*?)</code>", told.text) == ["c3", "c2*", "c1"]
        assert heads_of(told)[4:] == ["commit", "chain"]
    assert told.text.count("With changes that are in no commit") == 1


def test_there_is_a_way_back_from_beyond_the_end(page: Answers, make_run: MakeRun) -> None:
    make_run()
    assert page("/rows?page=99&q=training").links("/?q") == ["/?q=training"]


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
