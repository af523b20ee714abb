"""A page on each kind of store, and runs to look at."""

import pytest
from asked import Answers, MakeRun, page_of, run_maker
from helpers import Store


@pytest.fixture
def page(store: Store) -> Answers:
    """Give a function that asks the page."""
    return page_of(store)


@pytest.fixture
def make_run(store: Store) -> MakeRun:
    """Give a function that makes a run, and gives its id."""
    return run_maker(store)
