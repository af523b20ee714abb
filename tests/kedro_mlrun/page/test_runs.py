"""The table of runs."""

from collections.abc import Callable

from asked import Answers

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
    none = page("/?q=params.split.seed+%3E")
    assert (
        none.status == 400
        and "is no condition" in none.words
        and 'value="params.split' in none.text
    )
