"""Where a test's label store is: SQLite, and PostgreSQL where there is one."""

import itertools

import pytest
from postgres import new_schema, running

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
