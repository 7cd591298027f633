"""No acknowledged click is lost and none doubled while the server is killed under its users."""

import socket

import pytest

from tests.labels.hammer import OVERLAP, hammer


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.mark.parametrize(
    ("annotators", "kills", "items"),
    [(8, 2, 12), pytest.param(50, 20, 400, marks=pytest.mark.slow)],
)
def test_kill_9_loses_and_doubles_nothing(tmp_path, annotators, kills, items):
    path = tmp_path / "labels.sqlite"
    counted = hammer(path, annotators=annotators, kills=kills, items=items, port=free_port())
    check(counted, kills, items)
    assert counted["integrity"] == "ok"


@pytest.mark.slow
def test_kill_9_loses_and_doubles_nothing_of_postgresql(location_of_postgres):
    counted = hammer(location_of_postgres, annotators=20, kills=8, items=60, port=free_port())
    check(counted, 8, 60)


def check(counted, kills, items):
    assert counted["kills"] == kills
    for fault in ("lost", "doubled", "altered", "never_acknowledged", "items_over_overlap"):
        assert counted[fault] == 0, counted
    assert counted["items_whole"] == items
    assert counted["labels"] == OVERLAP * items
    assert counted["refused"] == counted["server_errors"] == counted["late"] == 0
