"""What the tests of labels run in: a database (SQLite, PostgreSQL) and a browser."""

import itertools

import pytest

from tests.browsing import Window, chromium
from tests.labels.postgres import new_schema, running

numbers = itertools.count()


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server; the test is skipped where none is installed."""
    with running() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def location(request, tmp_path):
    """A place for a store: the test runs once with each database."""
    if request.param == "sqlite":
        return tmp_path / "labels.sqlite"
    return request.getfixturevalue("location_of_postgres")


@pytest.fixture
def location_of_postgres(postgres):
    """URL of a place for a store in PostgreSQL."""
    return new_schema(postgres, f"store{next(numbers)}")


@pytest.fixture(scope="module")
def browser():
    """Chromium; the test is skipped where there is none."""
    with chromium() as started:
        yield started


@pytest.fixture
def window(browser):
    """Opens a window of somebody's own; the test fails on any error in the console."""
    windows, problems = [], []

    def open_window(**how):
        windows.append(Window(browser, problems, **how))
        return windows[-1]

    yield open_window
    for one in windows:
        one.context.close()
    assert problems == []


@pytest.fixture
def open_page(window):
    """Opens the page of somebody, in a window of their own."""

    def open_as(site, name, **how):
        ready = ".figures" if name == "admin" else "body[data-ready]"
        return window(**how).enter(site.link(name), ready)

    return open_as
