"""The lines of a long pass: how many items are done, and how long the others will take."""

import pytest

from rlhf.runtime import progress as module
from rlhf.runtime.progress import progress, remaining


@pytest.mark.parametrize(
    ("done", "left", "seconds", "text"),
    [
        (10, 30, 20.0, ", about 60 s left"),  # 2 s each
        (10, 90, 20.0, ", about 3 min left"),
        (1, 3630, 2.0, ", about 2 h 1 min left"),
        (0, 5, 20.0, ""),
        (5, 0, 20.0, ""),
    ],
)
def test_time_left_is_that_of_as_many_items(done, left, seconds, text):
    assert remaining(done, left, seconds) == text


def test_items_of_an_interrupted_pass_count_as_done_but_not_for_the_pace(monkeypatch):
    """20 of 40 were done before; 10 more take 20 s, so the other 10 take 20 s."""
    clock, lines = [0.0], []
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(module, "print_once", lines.append)
    with progress("responses", 40, 20) as advance:
        clock[0] = 5.0
        advance(4)
        clock[0] = 20.0
        advance(6)
    assert lines == ["responses: 30 of 40, about 20 s left"]
