"""Fixtures: a database (SQLite, PostgreSQL), a store in it, and a browser."""

import itertools

import pytest

from rlhf.labels.queue import Queue
from rlhf.labels.records import Candidate
from rlhf.labels.selection import QueueConfig
from rlhf.labels.store import LabelStore
from tests.browsing import Window, chromium
from tests.labels.postgres import new_schema, running
from tests.labels.queues import judgment

numbers = itertools.count()


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server; skips the test if none is installed."""
    with running() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def location(request, tmp_path):
    """Location of a new store; the test runs once with each database."""
    if request.param == "sqlite":
        return tmp_path / "labels.sqlite"
    return request.getfixturevalue("location_of_postgres")


@pytest.fixture
def location_of_postgres(postgres):
    """URL of a new store in PostgreSQL."""
    return new_schema(postgres, f"store{next(numbers)}")


@pytest.fixture
def sqlite_store(tmp_path):
    """A new SQLite store, `labels.sqlite`."""
    with LabelStore(tmp_path / "labels.sqlite") as store:
        yield store


@pytest.fixture
def each_store(location):
    """A new store; the test runs once with each database."""
    with LabelStore(location) as store:
        yield store


@pytest.fixture(scope="module")
def browser():
    """Chromium; skips the test if there is none."""
    with chromium() as started:
        yield started


@pytest.fixture
def window(browser):
    """Opens a browser window with its own session; the test fails on any error in the console."""
    windows, problems = [], []

    def open_window(**options):
        windows.append(Window(browser, problems, **options))
        return windows[-1]

    yield open_window
    for opened in windows:
        opened.context.close()
    assert problems == []


@pytest.fixture
def open_page(window):
    """Opens the page of an annotator, or of "admin", in a window of its own."""

    def open_as(site, name, **options):
        ready = ".metrics" if name == "admin" else "body[data-ready]"
        return window(**options).enter(site.link(name), ready)

    return open_as


@pytest.fixture
def site(tmp_path):
    """A label server over four items, with two annotators per item."""
    from tests.labels.web_server import candidates, serving

    with serving(tmp_path, candidates(4), QueueConfig(overlap=2)) as site:
        yield site


@pytest.fixture
def browsed(sqlite_store):
    """Three items. Item 1: two annotators contradict each other. Item 2: skipped by Bob, a flag by
    Ann. Item 3: nothing."""
    store = sqlite_store
    store.add_candidates(
        [
            Candidate(
                prompt=f"Prompt {i}",
                responses=("Grüße", "b"),
                models=("m1", f"m{2 + i % 2}"),
                columns={"category": "maths" if i == 1 else "chat"},
            )
            for i in range(3)
        ]
    )
    queue = Queue(store, QueueConfig(overlap=2))
    for name, ranks in (("ann", (1, 2)), ("bob", (2, 1))):
        claim = queue.next(name)
        queue.submit(name, claim.id, judgment(ranks), request_key=f"{name}1")
    claim = queue.next("ann")
    extra = {"flags": [["unsafe"], []], "comment": "Odd"}
    queue.submit("ann", claim.id, judgment((1, 2), **extra), request_key="ann2")
    skip = {"reason": "unclear", "comment": "too SHORT", "seconds": 3.0}
    queue.skip("bob", queue.next("bob").id, skip, request_key="bob2")
    return store
