"""No acknowledged label is lost or doubled while the server is killed repeatedly."""

import pytest

from tests.labels.hammer import OVERLAP, hammer
from tests.ports import free_port


@pytest.mark.parametrize(
    ("annotators", "kills", "items"),
    [(8, 2, 12), pytest.param(50, 20, 400, marks=pytest.mark.slow)],
)
def test_kill_9_loses_and_doubles_no_label(tmp_path, annotators, kills, items):
    path = tmp_path / "labels.sqlite"
    counts = hammer(path, annotators=annotators, kills=kills, items=items, port=free_port())
    check(counts, kills, items)
    assert counts["integrity"] == "ok"


@pytest.mark.slow
def test_kill_9_loses_and_doubles_no_label_in_postgresql(location_of_postgres):
    counts = hammer(location_of_postgres, annotators=20, kills=8, items=60, port=free_port())
    check(counts, 8, 60)


def check(counts, kills, items):
    assert counts["kills"] == kills
    for fault in ("lost", "doubled", "altered", "never_acknowledged", "items_over_overlap"):
        assert counts[fault] == 0, counts
    assert counts["items_whole"] == items
    assert counts["labels"] == OVERLAP * items
    assert counts["rejected"] == counts["server_errors"] == counts["late"] == 0
