"""Fixtures of the rewards' tests."""

import pytest

from rlhf.rewards import concurrent
from tests.rewards.fake_reward_server import FakeRewardServer


@pytest.fixture
def serve():
    """Starts fake servers, and ends them."""
    servers = []

    def start(answer, **keys):
        servers.append(FakeRewardServer(answer, **keys))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def no_wait(monkeypatch):
    """Retries follow at once."""
    monkeypatch.setattr(concurrent, "FIRST_WAIT", 0.0)
