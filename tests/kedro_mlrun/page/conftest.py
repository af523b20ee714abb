"""A page on each kind of store, and runs to look at."""

from collections.abc import Callable
from typing import Any

import pytest
from asked import Answers, page_of
from helpers import Store

MakeRun = Callable[..., str]


@pytest.fixture
def page(store: Store) -> Answers:
    """Give a function that asks the page."""
    return page_of(store)


@pytest.fixture
def make_run(store: Store) -> MakeRun:
    """Give a function that makes a run, and gives its id."""

    def make_run(
        name: str = "training",
        params: Any = (),
        results: Any = (),
        labels: Any = (),
        saves: Any = (),
        inputs: Any = (),
        error: str | None = None,
        ends: bool = True,
    ) -> str:
        context = store.manager.open_run(
            name, labels={"pipeline": name, **dict(labels)}, parameters=dict(params)
        )
        for key, (data, ending) in dict(saves).items():
            context.log_artifact(key, body=data, db_key=key, format=ending)
        for key, uri in dict(inputs).items():
            store.manager.add_input(key, uri)
        context.log_results(dict(results))
        if ends:
            store.manager.close_run(error)
        return str(context._uid)

    return make_run
