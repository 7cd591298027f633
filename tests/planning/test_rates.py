"""Rates of this machine."""

import time

from rlhf.planning.rates import _best


def test_call_longer_than_the_time_for_it_is_timed_once():
    """As on a busy machine; without a time the rate would be 0, which the plan divides by."""
    assert 0.01 <= _best(lambda: time.sleep(0.01), seconds=0.0) < float("inf")
