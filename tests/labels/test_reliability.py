"""No acknowledged label is lost and none doubled while the server is killed under its users."""

import socket

import pytest
from hammer import hammer


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.mark.slow
@pytest.mark.parametrize(("annotators", "kills", "items"), [(8, 4, 40)])
def test_kill_9_loses_and_doubles_nothing(tmp_path, annotators, kills, items):
    counted = hammer(tmp_path, annotators=annotators, kills=kills, items=items, port=free_port())
    assert counted["kills"] == kills
    assert counted["lost"] == counted["doubled"] == counted["items_over_overlap"] == 0
    assert counted["items_whole"] == items
    assert counted["acknowledged"] == counted["labels"] == 3 * items
    assert counted["integrity"] == "ok"
